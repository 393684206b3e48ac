"""What a search optimises: metrics, costs, and how a user names several objectives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from relu_search.settings.option_fields import option
from search_spaces.errors import InputError

MetricName = Literal["val_accuracy", "val_loss"]
Cost = Literal["relus", "relu_elements", "macs-after-fold", "latency"]
COSTS: tuple[Cost, ...] = get_args(Cost)
CountedCost = Literal["relus", "relu_elements", "latency"]
"""Costs that are columns of `trials.csv`."""
COLUMN_OF: dict[CountedCost, str] = {
    "relus": "relus",
    "relu_elements": "relu_elements",
    "latency": "latency_ms",
}
LatencyForm = Literal["eager", "onnx"]


@dataclass(frozen=True, kw_only=True)
class ObjectiveOptions:
    """Options of an objective beside its names, which `SearchOptions` has."""

    at_least_accuracy: float | None = option(
        None,
        "Search",
        "Find the fewest ReLU elements (with --objective relus: ReLUs) at which the validation "
        "accuracy is at least this, such as 0.92.",
        default_text="no floor",
        above=0,
        most=1,
    )
    latency_form: LatencyForm | None = option(
        None,
        "Search",
        "What --objective latency measures: eager (PyTorch) or onnx (ONNX Runtime).",
        default_text="eager",
    )
    latency_batch: int | None = option(
        None,
        "Search",
        "Images at once for --objective latency.",
        default_text="1",
        least=1,
        most=4096,
    )


_WORDS: dict[CountedCost, str] = {"relus": "ReLU", "relu_elements": "ReLU element"}
_BY_SHORT_NAME: dict[str, MetricName] = {"accuracy": "val_accuracy", "loss": "val_loss"}


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of a trial: a column of `trials.csv` and of `epochs.csv`.

    Attributes:
        name: of the column.
        title: in a sentence.
        higher_is_better: whether a larger value is better.
        factor: from the value to the number that people read; 100 for percent.
        unit: of that number, as it is written behind it.
        difference_unit: of a difference between two such numbers.
        decimals: of that number as text.
        log: whether ratios count rather than differences, so that models take the logarithm.
    """

    name: MetricName
    title: str
    higher_is_better: bool
    factor: float
    unit: str
    difference_unit: str
    decimals: int
    log: bool

    @property
    def sign(self) -> int:
        """1 if a larger value is better, else -1: `sign * value` is always to be maximised."""
        return 1 if self.higher_is_better else -1

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """The same as Optuna says it."""
        return "maximize" if self.higher_is_better else "minimize"

    @property
    def mode(self) -> Literal["max", "min"]:
        """The same as schedulers say it."""
        return "max" if self.higher_is_better else "min"

    @property
    def axis_label(self) -> str:
        """Title and unit, for the axis of a figure."""
        return f"{self.title} ({self.unit or self.difference_unit})"

    def text(self, value: float) -> str:
        """A value with its unit: `96.2 %`, `0.136`."""
        number = f"{value * self.factor:.{self.decimals}f}"
        return f"{number} {self.unit}" if self.unit else number


METRICS: dict[str, Metric] = {
    "val_accuracy": Metric(
        name="val_accuracy",
        title="validation accuracy",
        higher_is_better=True,
        factor=100,
        unit="%",
        difference_unit="percentage points",
        decimals=1,
        log=False,
    ),
    "val_loss": Metric(
        name="val_loss",
        title="validation loss",
        higher_is_better=False,
        factor=1,
        unit="",
        difference_unit="nats",
        decimals=3,
        log=True,
    ),
}


def cost_text(cost: CountedCost, count: float) -> str:
    """A cost with its unit: `4 ReLUs`, `6,144 ReLU elements`, `1.234 ms`."""
    if cost == "latency":
        return f"{count:.3f} ms"
    return f"{count:,} {_WORDS[cost]}{'' if count == 1 else 's'}"


def cost_columns(costs: Iterable[Cost]) -> list[str]:
    """The columns of `trials.csv` with those of the costs that it has."""
    return [COLUMN_OF[cost] for cost in counted_costs(costs)]


def counted_costs(costs: Iterable[Cost]) -> list[CountedCost]:
    """Those of the costs that are columns of `trials.csv`."""
    return [cost for cost in costs if cost != "macs-after-fold"]


def parse_objective(text: str) -> tuple[MetricName | None, tuple[Cost, ...]]:
    """`accuracy,relus` -> its metric, if it names one, and its costs.

    Raises:
        InputError: an unknown name, one that comes twice, or two metrics.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in _BY_SHORT_NAME and name not in COSTS:
            names_of_metrics = ", ".join(_BY_SHORT_NAME)
            raise InputError(
                f"objective {name!r:.60} is unknown; write one of {names_of_metrics} and any of "
                f"{', '.join(COSTS)}, such as accuracy,relus"
            )
    metrics = [_BY_SHORT_NAME[name] for name in names if name in _BY_SHORT_NAME]
    if len(metrics) > 1 or len(set(names)) < len(names):
        raise InputError(
            f"objective {text!r:.60} names something twice, or both accuracy and loss; name each "
            "once, such as accuracy,relus"
        )
    return (metrics[0] if metrics else None), tuple(name for name in COSTS if name in names)


def chosen_metric(metric: MetricName, objective: str | None) -> MetricName:
    """The metric that the objective names, or else the option `metric`.

    Raises:
        InputError: an objective that cannot be read, or that names another metric.
    """
    if objective is None:
        return metric
    named = parse_objective(objective)[0]
    if named == "val_loss" != metric:
        raise InputError(
            f"metric {metric} and objective {objective} exclude each other; leave one of them out"
        )
    return named or metric


def floor_objective(objective: str | None) -> str:
    """The objective of a search with a floor on accuracy: accuracy, and the cost to minimise.

    Raises:
        InputError: another metric, several costs, or one that `trials.csv` does not have.
    """
    metric, costs = (None, ()) if objective is None else parse_objective(objective)
    costs = costs or ("relu_elements",)
    if metric == "val_loss" or len(costs) > 1 or not counted_costs(costs):
        raise InputError(
            f"objective {objective} and at_least_accuracy exclude each other: a floor on accuracy "
            "goes with one cost, relu_elements or relus; give --objective relus, or leave it out"
        )
    return f"accuracy,{costs[0]}"


def latency_options(typed: ObjectiveOptions, objective: str | None) -> dict[str, Any]:
    """The options of the objective `latency`; they are None without it.

    Raises:
        InputError: one is given without it.
    """
    form, batch = typed.latency_form, typed.latency_batch
    if objective is not None and "latency" in parse_objective(objective)[1]:
        return {"latency_form": form or "eager", "latency_batch": batch or 1}
    if form is not None or batch is not None:
        raise InputError(
            "latency_form and latency_batch are for the objective latency; give --objective "
            "accuracy,latency, or leave them out"
        )
    return {}
