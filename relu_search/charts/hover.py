"""What a reader sees on pointing at a mark."""

from __future__ import annotations

import textwrap

from relu_search.charts.chart import lines, plotly_text
from relu_search.charts.placement_marks import Mark
from relu_search.settings.metrics import CountedCost, Metric, cost_text
from search_spaces import Architecture, Placement
from search_spaces.drawing import stage_bars

_WIDTH = 40
"""Characters of a line: a phone shows no more."""
_MOST_RUNS = 8


def mark_hover(
    mark: Mark, backbone: Architecture, metric: Metric, cost: CountedCost = "relus"
) -> str:
    """Name, cost, estimate, seeds and drawing of a placement, as text for Plotly.

    Raises:
        InputError: the placement does not fit the backbone.
    """
    shown = [metric.text(run) for run in mark.runs[:_MOST_RUNS]]
    more = ", …" if len(mark.runs) > _MOST_RUNS else ""
    seeds = f"{len(mark.runs)} seed{'' if len(mark.runs) == 1 else 's'} to the end"
    mean = f", mean {metric.text(mark.mean)}" if len(mark.runs) > 1 else ""
    stopped = f"{mark.stopped} stopped early" if mark.stopped else ""
    relus = cost_text("relus", int(mark.costs["relus"]))
    other = "" if cost == "relus" else cost_text(cost, _whole(mark.costs[cost]))
    texts = [
        f"<b>{plotly_text(_cut(mark.name))}</b>",
        *([plotly_text(_cut(mark.placement))] if mark.module else []),
        plotly_text(_cut(f"ratio {mark.ratio}, {relus}")),
        other,
        f"{metric.title} {mark.value}",
        f"{seeds}{mean}",
        *_wrapped(f"runs: {', '.join(shown)}{more}"),
        stopped,
        *drawing_lines(backbone, mark.placement),
    ]
    return lines(*texts)


def drawing_lines(backbone: Architecture, placement: str) -> list[str]:
    """The bars of `stage_bars`, one line or more per stage."""
    bars = stage_bars(backbone, Placement.parse(placement))
    return [
        f"{stage if part == 0 else ' ':<2}{line}"
        for stage, bar in enumerate(bars, start=1)
        for part, line in enumerate(_wrapped(bar))
    ]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH) if len(text) > _WIDTH else [text]


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value
