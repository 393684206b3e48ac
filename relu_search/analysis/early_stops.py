"""What early stopping did in a search: which epochs predict the end, what it saved, its risk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from relu_search.analysis.estimates import full_length
from relu_search.settings.resolved_config import ResolvedConfig
from trials.early_stopping.rule import EarlyStopping, signal_value
from trials.early_stopping.rung_evidence import (
    FEWEST_FINISHED,
    TRUSTED_CORRELATION,
    RungEvidence,
    each_placement_once,
)
from trials.running.time_budget import OUT_OF_TIME

AUDIT = "audit"
"""First word of the reason of a full-length trial that would have been stopped."""
SIGNAL_NAMES = {
    "train-loss-sum": "the sum of the train losses",
    "train-loss": "the train loss",
    "val-loss": "the validation loss",
    "val-accuracy": "the validation accuracy",
}


def early_evidence(
    trials: pd.DataFrame, epochs: pd.DataFrame, config: ResolvedConfig
) -> dict[int, RungEvidence]:
    """How well the signal of early stopping predicts the end, by epoch.

    Args:
        trials, epochs: `trials.csv` and `epochs.csv`.
        config: of the search.

    Returns:
        Epoch -> its evidence, for every epoch but the last; epochs with too few finished placements
        are left out. The stopped trials are counted in the correlation; see `RungEvidence`.
    """
    finals = _finals(trials, config)
    placements = dict(zip(trials["trial"].tolist(), trials["placement"].tolist(), strict=True))
    known = epochs[epochs["trial"].isin(placements)]  # a trial that is running has no row yet
    signals = _signals(known, config.early_stopping)
    found = {
        epoch: RungEvidence.of(*each_placement_once(of_epoch, finals, placements))
        for epoch, of_epoch in signals.items()
    }
    return {epoch: one for epoch, one in found.items() if one is not None}


def early_evidence_table(evidence: Mapping[int, RungEvidence]) -> pd.DataFrame:
    """One row per epoch: `epoch`, `n` (finished placements), `correlation`, `at_least`."""
    rows = [(e, one.finished, one.correlation, one.at_least) for e, one in evidence.items()]
    return pd.DataFrame(rows, columns=["epoch", "n", "correlation", "at_least"])


def early_stopping_text(
    trials: pd.DataFrame, evidence: Mapping[int, RungEvidence], config: ResolvedConfig
) -> str:
    """What early stopping saved and what it may have cost, in a few sentences.

    Empty if no trial could be stopped. Trials that the time budget has ended are not counted.

    Args:
        trials: `trials.csv`.
        evidence: of `early_evidence`.
        config: of the search.
    """
    rungs = config.early_stopping.rungs
    ended = trials[(trials["state"] != "FAIL") & (trials["reason"] != OUT_OF_TIME)]
    if not rungs or ended.empty:
        return ""
    stopped = ended[ended["state"] == "PRUNED"]
    judged = "; ".join(_judged(rungs, evidence, {int(epoch) for epoch in stopped["epochs"]}))
    if stopped.empty:
        return f"Early stopping stopped no trial. {_capital(judged)}."
    saved = float((config.epochs - stopped["epochs"]).sum()) / (config.epochs * len(ended))
    sentences = [
        f"Early stopping saved {saved:.0%} of the epochs: it stopped {_trials(len(stopped))} by "
        f"{SIGNAL_NAMES[config.stop_on]}",
        _capital(judged),
        *_risk(stopped, evidence, trials, config),
        *_audits(trials, config),
    ]
    return ". ".join(sentences) + "."


def _judged(
    rungs: tuple[int, ...], evidence: Mapping[int, RungEvidence], stopped_at: set[int]
) -> Iterator[str]:
    """What is known of each rung at the end; one that has stopped trials was trusted before."""
    for rung in rungs:
        one = evidence.get(rung)
        if one is None:
            yield (
                f"after epoch {rung} fewer than {FEWEST_FINISHED} placements with a full-length "
                "trial tell whether it predicts the end"
            )
        else:
            before = " any more" if rung in stopped_at else ""
            verb = "is trusted" if one.trusted else f"is not trusted{before}"
            yield (
                f"epoch {rung} {verb} (rank correlation with the end {one.correlation:.2f}, at "
                f"least {one.at_least:.2f}, above {TRUSTED_CORRELATION} needed; "
                f"n = {one.finished} placements)"
            )


def _risk(
    stopped: pd.DataFrame,
    evidence: Mapping[int, RungEvidence],
    trials: pd.DataFrame,
    config: ResolvedConfig,
) -> Iterator[str]:
    """The sum of the chances of the stopped placements to have ended before the leader."""
    if config.costs:  # there is no single leader
        return
    finals = list(_finals(trials, config))
    at_rungs: dict[int, list[int]] = {}
    for number, epoch in zip(stopped["trial"], stopped["epochs"], strict=True):
        at_rungs.setdefault(int(epoch), []).append(int(number))
    chances = [
        evidence[epoch].chances(numbers, finals, 1)
        for epoch, numbers in at_rungs.items()
        if epoch in evidence and all(number in evidence[epoch] for number in numbers)
    ]
    if sum(map(len, chances)) == len(stopped):
        risk = max(0.001, min(1.0, sum(float(of_rung.sum()) for of_rung in chances)))
        yield (
            "By these predictions the chance that a stopped placement would have ended before the "
            f"best one is {'below' if risk < 1 else 'up to'} {_rounded_up(risk)}"
        )


def _audits(trials: pd.DataFrame, config: ResolvedConfig) -> Iterator[str]:
    """Where the audits ended among all full-length trials."""
    metric = config.optimised
    whole = full_length(trials, metric)
    audits = whole["reason"].str.startswith(AUDIT)
    if audits.any():
        places = (-metric.sign * whole[metric.name].astype(float)).rank(method="min")[audits]
        shown = ", ".join(str(int(place)) for place in sorted(places))
        words = "an audit" if len(places) == 1 else "audits"
        yield (
            f"{_capital(_trials(len(places)))} that it would have stopped trained on as {words} "
            f"and took place {shown} of {len(whole)}"
        )


def _finals(trials: pd.DataFrame, config: ResolvedConfig) -> dict[int, float]:
    """Trial -> final metric of the full-length trials; smaller is better."""
    metric = config.optimised
    whole = full_length(trials, metric)
    values = -metric.sign * whole[metric.name].astype(float)
    return dict(zip(whole["trial"].astype(int).tolist(), values.tolist(), strict=True))


def _signals(epochs: pd.DataFrame, stopping: EarlyStopping) -> dict[int, dict[int, float]]:
    """Epoch -> trial -> signal."""
    names = ["train_loss", "val_loss", "val_accuracy"]
    known = epochs.drop_duplicates(["trial", "epoch"], keep="last").sort_values(["trial", "epoch"])
    metrics: list[Any] = known[names].astype(float).to_dict("records")
    histories: dict[int, dict[int, Any]] = {}
    for trial, epoch, row in zip(known["trial"], known["epoch"], metrics, strict=True):
        histories.setdefault(int(trial), {})[int(epoch)] = row
    signals: dict[int, dict[int, float]] = {}
    for trial, of_trial in histories.items():
        history = [*of_trial.values()]
        if list(of_trial) != list(range(1, len(history) + 1)):  # epochs are missing
            continue
        for epoch in range(1, min(len(history) + 1, stopping.max_epochs)):
            value = signal_value(stopping.signal, history[:epoch])
            signals.setdefault(epoch, {})[trial] = value
    return dict(sorted(signals.items()))


def _rounded_up(share: float) -> str:
    """A share in percent with one digit, not smaller than it is."""
    tenths = -(-round(share * 1e6) // 1000)
    return f"{tenths / 10:g} %"


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
