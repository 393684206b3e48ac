"""The tables of `benchmarks/verdicts.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages import write_below_mark

PAGE = Path(__file__).parents[1] / "verdicts.md"


def write_page(rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the tables behind the page's mark."""
    write_below_mark(PAGE, tables(rows))


def tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """False verdicts of equal arms, power, false verdicts of arms at the margin; as Markdown."""
    return (
        "\n\n".join(
            [
                _of_errors("Arms that are all equal", "null", rows),
                _of_power(rows),
                _of_errors("Found arms exactly one margin ahead or behind", "margin", rows),
            ]
        )
        + "\n"
    )


def _of_errors(title: str, kind: str, rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"### {title}",
        "",
        "| noise | arms | sds | cap | better | worse | equivalent | any false | before | seeds | "
        "looks | n |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = row["name"].split("|")
        if name[0] != kind:
            continue
        new = row["false"]["new"]
        cells = [*name[1:5]]
        if kind == "margin":
            cells[3] += f", margin {name[5]} sd"
        cells += [_percent(new[word]) for word in ("better", "worse", "equivalent")]
        cells += [f"**{_percent(new['any'])}**", _percent(row["false"]["old"]["any"])]
        cells += [f"{row['seeds']['new']:.0f}", f"{row['looks']:.1f}", f"{row['confirmations']:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _of_power(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "### Power",
        "",
        "| true difference | arms | seeds | found | before | mean seeds | before | n |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        kind, *name = row["name"].split("|")
        if kind != "power":
            continue
        effect, arms, first, cap = name
        seeds = f"{cap} at once" if first == cap else f"as advised, to {cap}"
        cells = [f"{effect} sd", arms, seeds]
        cells += [_percent(row["found"][rule]) for rule in ("new", "old")]
        cells += [f"{row['seeds'][rule]:.0f}" for rule in ("new", "old")]
        lines.append(f"| {' | '.join([*cells, format(row['confirmations'], ',')])} |")
    return "\n".join(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
