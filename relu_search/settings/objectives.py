"""Several objectives at once, as users write them."""

from __future__ import annotations

from typing import Literal, get_args

from relu_search.settings.metrics import MetricName
from search_spaces.errors import InputError

Cost = Literal["relus", "relu_elements", "macs-after-fold"]
COSTS: tuple[Cost, ...] = get_args(Cost)
_METRICS: dict[str, MetricName] = {"accuracy": "val_accuracy", "loss": "val_loss"}


def parse_objective(text: str) -> tuple[MetricName | None, tuple[Cost, ...]]:
    """`accuracy,relus` -> its metric, if it names one, and its costs.

    Raises:
        InputError: an unknown name, one that comes twice, or two metrics.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in _METRICS and name not in COSTS:
            raise InputError(
                f"objective {name!r:.60} is unknown; write one of {', '.join(_METRICS)} and any of "
                f"{', '.join(COSTS)}, such as accuracy,relus"
            )
    metrics = [_METRICS[name] for name in names if name in _METRICS]
    if len(metrics) > 1 or len(set(names)) < len(names):
        raise InputError(
            f"objective {text!r:.60} names something twice, or both accuracy and loss; name each "
            "once, such as accuracy,relus"
        )
    return (metrics[0] if metrics else None), tuple(name for name in COSTS if name in names)
