"""The report of a run: one HTML page and its figures, from the run folder alone.

The page holds everything it shows, runs no script and fetches nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from relu_search.config import SearchConfig
from relu_search.confirmation_figures import (
    confirmation_runs,
    points,
    rows_against,
    verdict_forest,
    verdict_words,
)
from relu_search.figure_style import SCALES, module_label, rendered
from relu_search.figures import (
    MapRow,
    accuracy_against_relus,
    found_and_modules,
    influence_of_sites,
    learning_curves,
    placement_map,
    rung_correlation,
)
from relu_search.insights import full_length, grace_warning, rank_correlation, site_influence
from relu_search.leaderboard import (
    LEADERBOARD_COLUMNS,
    best_trial,
    caveat,
    leaderboard_rows,
    rows_of,
)
from relu_search.page import Html, definitions, document, join, picture, table, tag
from relu_search.results import RunFolder
from search_spaces import InputError, Placement
from trials.files import write_whole

MAPPED = 8
"""Found placements in the placement map."""

_TEXTS = {"arm", "origin", "placement", "ratio", "state", "reason", "versus", "verdict"}
_CONFIRM = ("arm", "state", "test_accuracy", "val_accuracy")
_VERDICT = (
    *("arm", "versus", "placement", "ratio", "relus", "n", "mean", "std", "difference"),
    *("t_low", "t_high", "bca_low", "bca_high", "p_t_holm", "p_sign_flip", "margin", "verdict"),
    *("more_seeds", "diverged", "dropped_after", "search_accuracy", "confirmed_val_accuracy"),
)

_HOW_TO_READ = (
    "A search shortlists: it trains each placement once, and the best of many equal placements "
    "looks better than it is. Only a confirmation on fresh seeds and the test images decides.",
    "A placement is written as one bit per ReLU site in forward order, 1 kept and 0 dropped; *n "
    "repeats and + joins, so 01*3+1*4 is 0101011111.",
    "A ratio N:M counts the convolutions and the ReLUs kept in the blocks. Stem, projections and "
    "the final ReLU are outside it.",
    "Trials stopped early saw fewer epochs and are never compared with those of full length.",
    "The all-linear control keeps no ReLU in the blocks. Where it leads, the training is too "
    "short, or the data too easy, to tell placements apart.",
)
_HOW_TO_READ_VERDICTS = (
    "Better or worse: the arm differs from the reference after Holm's correction over the arms. "
    "Equivalent: the difference lies within the margin. Inconclusive: neither is shown yet.",
    "Arms share their seeds, so differences are taken seed by seed. All figures of a verdict are "
    "on test images, which no search has seen.",
)


@dataclass(frozen=True)
class _Exhibit:
    """A figure with what the page says of it; `name` is that of its files."""

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class _Findings:
    """All that a report is made of; the tables of a confirmation are None where there is none."""

    run: RunFolder
    config: SearchConfig
    record: dict[str, Any]
    trials: pd.DataFrame
    epochs: pd.DataFrame
    runs: pd.DataFrame | None
    verdicts: pd.DataFrame | None

    @classmethod
    def read(cls, run: RunFolder) -> _Findings:
        config, record = run.read_config()
        trials = run.read_trials()
        if trials.empty:
            raise InputError(f"{run.path} has no finished trial yet; let the search run longer")
        return cls(
            run,
            config,
            record,
            trials,
            run.read_epochs().drop_duplicates(["trial", "epoch"], keep="last"),
            read_optional_table(run.path / "confirm.csv", _CONFIRM),
            read_optional_table(run.path / "verdict.csv", _VERDICT),
        )


def write_report(run: RunFolder) -> Path:
    """Write `report.html`, and each figure as `figures/NAME.png` and `.pdf`; returns the page.

    Raises:
        InputError: the folder is damaged, cannot be written, or has no finished trial yet.
    """
    findings = _Findings.read(run)
    correlation = rank_correlation(findings.trials, findings.epochs, findings.config.metric)
    confirmation = list(_verdict_exhibits(findings))
    search = list(_search_exhibits(findings, correlation))
    page = run.path / "report.html"
    try:
        run.figures.mkdir(exist_ok=True)
        for exhibit in (*confirmation, *search):
            for form in ("png", "pdf"):
                write_whole(run.figures / f"{exhibit.name}.{form}", rendered(exhibit.figure, form))
        write_whole(page, _page(findings, confirmation, search, correlation))
    except OSError as error:
        raise InputError(
            f"{page} cannot be written ({error.strerror or error}); copy the run folder to where "
            "you may write, or use --no-page"
        ) from error
    return page


def read_optional_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame | None:
    """A table of a confirmation, or None if there is none or it has no row yet.

    Raises:
        InputError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        found = pd.read_csv(path, dtype=str, keep_default_na=False)
        missing = [column for column in columns if column not in found]
        if missing:
            raise ValueError(f"no column {', '.join(missing)}")
        numbers = [column for column in found.columns if column not in _TEXTS]
        found[numbers] = found[numbers].apply(pd.to_numeric)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read ({reason}); the run folder is damaged") from error
    return None if found.empty else found


# --- figures ----------------------------------------------------------------------------------


def _search_exhibits(findings: _Findings, correlation: pd.DataFrame) -> Iterator[_Exhibit]:
    config, trials, epochs = findings.config, findings.trials, findings.epochs
    metric, backbone = config.metric, config.network
    images = int(findings.record["data"]["validation_images"])
    yield _Exhibit(
        "accuracy-relus",
        "Validation metric against ReLUs kept",
        "One point per full-length trial; the line is the best seen with at most so many ReLUs. "
        "One seed per point: points whose bars overlap are not to be told apart, and the front "
        "is optimistic.",
        accuracy_against_relus(trials, metric, images),
    )
    yield _Exhibit(
        "learning-curves",
        "Learning curves",
        "Hand-designed modules, the control and the best found; grey lines are the other trials, "
        "and end where early stopping ended them.",
        learning_curves(trials, epochs, metric),
    )
    modules, found = found_and_modules(trials, metric, MAPPED)
    yield _Exhibit(
        "placement-map",
        "Placement map",
        "Where each placement keeps its ReLUs: hand-designed modules above, the best found below, "
        "best first; at the right the validation metric and the ReLUs kept.",
        placement_map(
            backbone,
            [
                [_map_row(module_label(row["module"]), row, config) for row in modules],
                [_map_row(row["placement"], row, config) for row in found],
            ],
        ),
    )
    yield _Exhibit(
        "site-influence",
        "Influence of each site",
        "Mean over the full-length trials that keep a site minus mean over those that drop it, "
        "with Welch's 95 % interval (open: too few trials for one); below, the trials on each "
        "side. An association, not an effect: the sampler does not draw evenly, sites that are "
        f"decided together (granularity {config.granularity}) share their credit, and with many "
        "sites some intervals miss zero by chance.",
        influence_of_sites(site_influence(trials, backbone, metric), backbone, metric),
    )
    yield _Exhibit(
        "rung-correlation",
        "Do early ranks foretell final ones?",
        "Spearman correlation over full-length trials between the metric after an epoch and at "
        "the end, with a bootstrap 95 % interval. Trials that were stopped are missing, which "
        "makes it look weaker than it is. " + grace_warning(correlation, _grace(config)),
        rung_correlation(correlation, _grace(config)),
    )


def _verdict_exhibits(findings: _Findings) -> Iterator[_Exhibit]:
    verdicts = findings.verdicts
    if verdicts is not None:
        for number, versus in enumerate(_references(verdicts)):
            yield _Exhibit(
                "verdicts-paired" if number == 0 else f"verdicts-module-{number}",
                f"Verdicts against {versus}",
                "Difference in test accuracy, seed by seed; thick: t interval, thin: BCa "
                "interval, grey band: the margin within which arms count as equivalent.",
                verdict_forest(verdicts, versus),
            )
    if findings.runs is not None:
        empty = pd.DataFrame(columns=["arm", "search_accuracy"])
        yield _Exhibit(
            "confirmation-runs",
            "Every confirmation run",
            "One dot per seed, mean and standard deviation beside it. At the right the same runs "
            "on validation images, with what the search had said: the gap is selection's luck.",
            confirmation_runs(findings.runs, empty if verdicts is None else verdicts),
        )


def _map_row(name: str, row: dict[str, Any], config: SearchConfig) -> MapRow:
    placement = Placement.parse(row["placement"])
    config.network.check(placement)
    value = SCALES[config.metric].text(row[config.metric])
    stopped = "" if row["state"] == "COMPLETE" else f", epoch {row['epochs']}"
    return MapRow(name, placement, f"{value}, {row['relus']} ReLUs{stopped}")


def _references(verdicts: pd.DataFrame) -> list[str]:
    """The references compared with, paired first."""
    return sorted(dict.fromkeys(verdicts["versus"]), key=lambda name: name != "paired")


def _grace(config: SearchConfig) -> int:
    assert config.grace_epochs is not None  # resolved when the config is made
    return config.grace_epochs


# --- the page ---------------------------------------------------------------------------------


def _page(
    findings: _Findings,
    confirmation: list[_Exhibit],
    search: list[_Exhibit],
    correlation: pd.DataFrame,
) -> str:
    config, trials = findings.config, findings.trials
    title = f"relu-search: {config.network.name} on {config.data}"
    images = int(findings.record["data"]["validation_images"])
    warning = grace_warning(correlation, _grace(config))
    advice = _HOW_TO_READ + (() if findings.verdicts is None else _HOW_TO_READ_VERDICTS)
    return document(
        title,
        tag("h1", title),
        tag("section", *_answer(findings), class_="answer"),
        tag("p", warning, class_="warning" if warning.startswith("WARN") else "note")
        if warning
        else "",
        *_confirmation(findings, confirmation),
        tag("h2", "Leaderboard of the search"),
        table(
            "Validation figures, one seed each: all hand-designed modules and the best found.",
            _row_first(LEADERBOARD_COLUMNS),
            [_row_first(cells) for _, cells in leaderboard_rows(trials, config.metric)],
        ),
        tag("p", caveat(trials, config, images), class_="note"),
        tag("h2", "What the search saw"),
        *map(_picture, search),
        tag("h2", "What was searched"),
        definitions(_facts(findings)),
        tag("h2", "How to read this"),
        tag("ul", *(tag("li", line) for line in advice)),
    )


def _row_first(cells: tuple[str, ...] | list[str]) -> list[str]:
    """Leaderboard cells with the placement, which names the row, before the rank."""
    rank, name, *rest = cells
    return [name, rank, *rest]


def _answer(findings: _Findings) -> Iterator[Html]:
    """The answer first: verdicts where there are any, else the best of the search."""
    config, trials, verdicts = findings.config, findings.trials, findings.verdicts
    if verdicts is not None:
        against = (rows_against(verdicts, versus) for versus in _references(verdicts))
        for row in chain.from_iterable(against):
            line = (
                f" against {row['versus']}: {verdict_words(row)}; {points(row['difference'])} "
                f"points of test accuracy [{points(row['t_low'])}, {points(row['t_high'])}], "
                f"n = {int(row['n'])}."
            )
            yield tag("p", tag("strong", row["arm"]), line)
        return
    finished, budget = len(trials), config.trials
    if finished < budget:
        yield tag("p", f"{finished} of {budget} trials are finished; figures may still change.")
    best = best_trial(trials, config)
    if best is None:
        yield tag("p", "No trial within the ReLU limits has trained to the end yet.")
        return
    found = best_trial(trials[trials["module"] == ""], config)
    chosen = found or best
    name = chosen["placement"] if found else best["module"]
    yield tag(
        "p",
        "Best placement found: " if found else "Nothing found yet; best hand-designed module: ",
        tag("strong", name),
        f" ({chosen['ratio']}, {chosen['relus']} ReLUs): {_value(chosen, config)}.",
    )
    if best["module"] and found:
        yield tag(
            "p", f"The hand-designed module {best['module']} is ahead: {_value(best, config)}."
        )
    for row in rows_of(full_length(trials, config.metric)):
        if row["module"] == "paired":
            yield tag("p", f"Paired, every ReLU kept: {_value(row, config)}.")
    yield tag(
        "p",
        "One seed each, chosen among many: a shortlist, not a verdict. To decide, run ",
        tag("code", f"relu-search confirm {findings.run.path}"),
        ".",
    )


def _value(row: dict[str, Any], config: SearchConfig) -> str:
    scale = SCALES[config.metric]
    kind = "validation accuracy" if scale.higher_is_better else "validation loss"
    value = row[config.metric]
    return f"{kind} {'unknown' if value is None else scale.text(value)}"


def _picture(exhibit: _Exhibit) -> Html:
    svg = rendered(exhibit.figure, "svg")
    return picture(svg, exhibit.title, exhibit.caption.strip(), exhibit.name)


def _confirmation(findings: _Findings, exhibits: list[_Exhibit]) -> Iterator[Html]:
    verdicts = findings.verdicts
    if not exhibits:
        return
    yield tag("h2", "Confirmation")
    if verdicts is not None:
        columns = (
            *("arm", "ratio", "ReLUs", "n", "mean ± sd (%)", "difference", "95 % t", "95 % BCa"),
            *("p (Holm)", "p (sign flip)", "verdict"),
        )
        for versus in _references(verdicts):
            yield table(
                f"Test accuracy on fresh seeds against {versus}; differences in percentage points.",
                columns,
                [_verdict_cells(row) for row in rows_against(verdicts, versus)],
            )
        said = verdicts.dropna(subset=["search_accuracy", "confirmed_val_accuracy"])
        lines = [
            tag(
                "li",
                f"{row['arm']}: the search said {100 * row['search_accuracy']:.1f} %, confirmation "
                f"says {100 * row['confirmed_val_accuracy']:.1f} % ("
                f"{points(row['confirmed_val_accuracy'] - row['search_accuracy'])} points, on "
                "validation images).",
            )
            for row in said.drop_duplicates("arm").to_dict("records")
        ]
        if lines:
            yield join([tag("h3", "Shrinkage"), tag("ul", *lines)])
    yield from map(_picture, exhibits)


def _verdict_cells(row: dict[str, Any]) -> list[str]:
    return [
        f"{row['arm']} ({row['placement']})",
        row["ratio"],
        f"{row['relus']:.0f}",
        f"{row['n']:.0f}",
        f"{100 * row['mean']:.2f} ± {100 * row['std']:.2f}",
        points(row["difference"]),
        f"[{points(row['t_low'])}, {points(row['t_high'])}]",
        f"[{points(row['bca_low'])}, {points(row['bca_high'])}]",
        f"{row['p_t_holm']:.3g}",
        f"{row['p_sign_flip']:.3g}",
        verdict_words(row),
    ]


def _facts(findings: _Findings) -> Iterator[tuple[str, str]]:
    config, record, data = findings.config, findings.record, findings.record["data"]
    states = findings.trials["state"].value_counts()
    height, width = data["image_size"]
    yield "Run folder", str(findings.run.path)
    yield "Backbone", f"{config.network.name}, width {config.network.width}"
    yield "Data", config.data
    yield "Images", f"{data['train_images']:,} training, {data['validation_images']:,} validation"
    yield "Image", f"{data['in_channels']} x {height} x {width}"
    yield "Classes", f"{len(data['classes'])}: {_shortlist([str(c) for c in data['classes']])}"
    yield "Training", f"recipe {config.recipe}, {config.epochs} epochs, {config.precision}"
    yield "Budget", f"{config.trials} trials"
    yield (
        "Finished",
        f"{states.get('COMPLETE', 0)} full length, {states.get('PRUNED', 0)} stopped early, "
        f"{states.get('FAIL', 0)} failed",
    )
    yield "Early stopping", f"ASHA, not before epoch {config.grace_epochs}"
    yield "Granularity", config.granularity
    yield "Space", f"{record.get('space_size', 'unknown')} placements"
    limit = "" if config.max_relus is None else f", at most {config.max_relus}"
    yield "ReLU limits", f"at least {config.min_relus}{limit}"
    yield "Sampler and metric", f"{config.sampler}, {config.metric}"
    yield "Seed", str(config.seed)
    yield "Split digest", str(data["split_digest"])
    versions = record.get("versions", {})
    yield "Versions", ", ".join(f"{name} {version}" for name, version in versions.items())


def _shortlist(names: list[str], limit: int = 12) -> str:
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "")
