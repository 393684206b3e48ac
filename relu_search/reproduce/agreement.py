"""Do our runs agree with the paper? Means, differences, and whether sign and order agree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from relu_search.reproduce.paper_experiments import (
    PAPER_EPOCHS,
    PAPER_SEEDS,
    Experiment,
    ReproduceSettings,
)

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.05
WELL_TRAINED = 100
"""With fewer epochs a run measures early trainability rather than final accuracy."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Mean, std (ddof = 1) and size of a group of runs; accuracies in %."""

    mean: float
    std: float
    n: int

    @classmethod
    def of(cls, accuracies: Sequence[float]) -> Sample:
        """From accuracies in 0 to 1; at least two."""
        values = 100 * np.asarray(accuracies)
        return cls(mean=float(values.mean()), std=float(values.std(ddof=1)), n=len(values))

    @classmethod
    def published(cls, mean: float, std: float) -> Sample:
        """From the mean and std of 5 runs as printed in the paper, in %."""
        return cls(mean=mean, std=std, n=PAPER_SEEDS)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Module minus reference, in percentage points, with Welch's 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def between(cls, sample: Sample, reference: Sample) -> Difference:
        """Welch's interval from means and standard deviations; a point if neither group varies.

        The paper prints no single runs, and scipy's interval needs them, so it is worked out here.
        """
        value = sample.mean - reference.mean
        a, b = sample.std**2 / sample.n, reference.std**2 / reference.n
        if a + b == 0:
            return cls(value=value, low=value, high=value)
        freedom = (a + b) ** 2 / (a**2 / (sample.n - 1) + b**2 / (reference.n - 1))
        reach = float(stats.t.ppf(1 - LEVEL / 2, freedom)) * math.sqrt(a + b)
        return cls(value=value, low=value - reach, high=value + reach)

    @property
    def sign(self) -> int:
        """-1, 0 or 1; 0 if the interval contains zero."""
        return 0 if self.low <= 0 <= self.high else int(math.copysign(1, self.value))


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """One module of one network, our runs and the published ones; None: there is no such number."""

    data: str
    backbone: str
    module: str
    ours: Sample
    published: Sample | None
    our_difference: Difference | None
    published_difference: Difference | None

    @property
    def sign(self) -> str:
        """Whether both differences have the same sign, in words; empty if one is missing."""
        ours, theirs = self.our_difference, self.published_difference
        if ours is None or theirs is None:
            return ""
        if ours.sign == 0:
            return "ours is undecided"
        if theirs.sign == 0:
            return "theirs is undecided"
        return "agrees" if ours.sign == theirs.sign else "DISAGREES"


def compare_with_paper(settings: ReproduceSettings, runs: pd.DataFrame) -> list[ComparisonRow]:
    """One row per network and module with at least two scored runs.

    Args:
        runs: `runs.csv`.
    """
    experiment = settings.definition
    rows = []
    for data, backbone in settings.networks:
        ours = samples(runs, data, backbone.name)
        reference = ours.get(experiment.modules[0])
        theirs = published_samples(experiment, data, backbone.depth)
        their_reference = theirs.get(experiment.modules[0])
        for module in experiment.modules:
            if module not in ours:
                continue
            is_reference = module == experiment.modules[0]
            ours_beside = reference if not is_reference else None
            theirs_beside = their_reference if not is_reference else None
            published = theirs.get(module)
            rows.append(
                ComparisonRow(
                    data=data,
                    backbone=backbone.name,
                    module=module,
                    ours=ours[module],
                    published=published,
                    our_difference=Difference.between(ours[module], ours_beside)
                    if ours_beside
                    else None,
                    published_difference=Difference.between(published, theirs_beside)
                    if published and theirs_beside
                    else None,
                )
            )
    return rows


def samples(runs: pd.DataFrame, data: str, backbone: str) -> dict[str, Sample]:
    """Module -> sample of its test accuracies, for modules with at least two scored runs."""
    scored = runs[runs["test_accuracy"].notna() & (runs["state"] != "FAIL")]
    chosen = scored[(scored["data"] == data) & (scored["backbone"] == backbone)]
    return {
        str(module): Sample.of(group["test_accuracy"].tolist())
        for module, group in chosen.groupby("module", sort=False)
        if len(group) >= 2
    }


def published_samples(experiment: Experiment, data: str, depth: int) -> dict[str, Sample]:
    """Module -> published sample at this depth, for this data set or else for the paper's."""
    sets = [name for name, at, _ in experiment.cells if at == depth]
    name = data if data in sets else next(iter(sets), "")
    return {
        module: Sample.published(*figure)
        for (of, at, module), figure in experiment.cells.items()
        if (of, at) == (name, depth) and figure is not None
    }


def short_name(data: str) -> str:
    """The last part of a data name that is a path."""
    return data.rstrip("/").rpartition("/")[2][:24]


def order_lines(settings: ReproduceSettings, runs: pd.DataFrame) -> list[str]:
    """For each network: our order of the modules, the published order, and Kendall's tau."""
    experiment, lines = settings.definition, []
    for data, backbone in settings.networks:
        ours = samples(runs, data, backbone.name)
        if len(ours) < 2 or len(experiment.modules) < 2:
            continue
        theirs, source = _published_order(experiment, data, backbone.depth)
        ranked = sorted(ours, key=lambda module: -ours[module].mean)
        line = f"{short_name(data)}, {backbone.name}: our order {' > '.join(ranked)}"
        known = [module for module in theirs if module in ours]
        if len(known) > 1:
            places = [ranked.index(module) for module in known]
            tau = float(stats.kendalltau(range(len(known)), places).statistic)
            line += f"; the paper's{source} {' > '.join(known)}: " + (
                "the same" if tau == 1 else f"Kendall's tau {tau:+.2f}"
            )
        else:
            line += "; nothing published at this depth"
        lines.append(line)
    return lines


def _published_order(experiment: Experiment, data: str, depth: int) -> tuple[tuple[str, ...], str]:
    """The published order at this depth, or else at another depth, with words that name it."""
    figures = published_samples(experiment, data, depth)
    if figures:
        return tuple(sorted(figures, key=lambda module: -figures[module].mean)), ""
    for (_, at), order in experiment.order.items():
        return order, "" if at == depth else f" at depth {at}"
    return (), ""


def distance_lines(settings: ReproduceSettings, num_classes: Mapping[str, int]) -> list[str]:
    """In which settings the reproduction differs from the paper.

    Args:
        num_classes: data name -> number of its classes.
    """
    experiment, epochs = settings.definition, settings.training_recipe.epochs
    recipe = settings.training_recipe
    own = {"cifar10": 10, "cifar100": 100}
    sets = dict.fromkeys(data for data, _, _ in experiment.cells)
    depths = dict.fromkeys(depth for _, depth, _ in experiment.cells)
    found = [
        (epochs != PAPER_EPOCHS, f"{epochs} epochs (the paper: {PAPER_EPOCHS})"),
        (settings.seeds != PAPER_SEEDS, f"{settings.seeds} seeds ({PAPER_SEEDS})"),
        (recipe.text != "paper", f"recipe {recipe.text} (paper)"),
        (recipe.precision != "fp32", f"precision {recipe.precision} (fp32)"),
        (settings.width != 16, f"width {settings.width} (16)"),
        (
            settings.train_limit is not None,
            f"{settings.train_limit or 0:,} training images (50,000)",
        ),
        (settings.image_size is not None, f"images of {settings.image_size} pixels (32)"),
        (settings.augment is not None, f"augmentation {settings.augment} (crop-flip)"),
        (not settings.is_on_own_data, f"data {settings.data} ({', '.join(sets)})"),
        (
            settings.depths is not None and set(settings.depths) != set(depths),
            f"depths {', '.join(map(str, settings.depths or ()))} ({', '.join(map(str, depths))})",
        ),
    ]
    changes = [text for differs, text in found if differs]
    lines = [
        "Setting: "
        + ("the paper's own." if not changes else "not the paper's: " + "; ".join(changes) + ".")
    ]
    for data, classes in num_classes.items():
        if classes not in {own[name] for name in sets}:
            lines.append(
                f"{short_name(data)} has {classes} classes, the published figures are for "
                f"{' and '.join(str(own[name]) for name in sets)}: compare differences, not levels."
            )
    if epochs < WELL_TRAINED:
        lines.append(
            f"{epochs} epochs measure early trainability, how easily a network starts to learn: "
            "differences between modules are far larger than after 400."
        )
    return lines
