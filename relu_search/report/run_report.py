"""The report of a run: one HTML page and its figures, from the run folder alone.

The page holds everything it shows, runs no script and fetches nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from relu_search.analysis.answer import answer_lines
from relu_search.analysis.estimates import full_length
from relu_search.analysis.leaderboard import (
    LEADERBOARD_COLUMNS,
    best_trial,
    caveat,
    leaderboard_rows,
    rows_of,
)
from relu_search.analysis.rank_agreement import grace_warning, rank_correlation
from relu_search.analysis.run_tables import RunTables
from relu_search.analysis.site_effects import site_importance
from relu_search.confirmation.verdicts import verdict_words
from relu_search.report.confirmation_figures import points, rows_against
from relu_search.report.exhibits import (
    Exhibit,
    references,
    search_exhibits,
    verdict_exhibits,
)
from relu_search.report.figure_style import rendered
from relu_search.report.html_page import Html, definitions, document, join, picture, table, tag
from relu_search.run_folder.folder import RunFolder
from relu_search.settings.metrics import METRICS
from relu_search.settings.resolved_config import ResolvedConfig
from search_spaces import InputError
from trials.files.durable import write_whole

_HOW_TO_READ = (
    "A search shortlists: it trains each placement once or a few times, and the best of many equal "
    "placements looks better than it is. The order goes by shrunken means: a model over single "
    "ReLUs draws a lucky run towards what similar placements did; ± is one sd of it. Only a "
    "confirmation on fresh seeds and the test images decides.",
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


def write_report(run: RunFolder) -> Path:
    """Write `report.html`, and each figure as `figures/NAME.png` and `.pdf`; returns the page.

    Raises:
        InputError: the folder is damaged, cannot be written, or has no finished trial yet.
    """
    findings = RunTables.read(run)
    metric = METRICS[findings.config.metric]
    correlation = rank_correlation(findings.trials, findings.epochs, metric)
    confirmation = list(verdict_exhibits(findings))
    search = list(search_exhibits(findings, correlation))
    page = run.path / "report.html"
    try:
        run.figures.mkdir(exist_ok=True)
        for exhibit in (*confirmation, *search):
            for form in ("png", "pdf"):
                write_whole(run.figures / f"{exhibit.name}.{form}", rendered(exhibit.figure, form))
        importance = site_importance(findings.trials, findings.config.network, metric)
        write_whole(run.figures / "site-importance.csv", importance.to_csv(index=False))
        write_whole(page, _page(findings, confirmation, search, correlation))
    except OSError as error:
        raise InputError(
            f"{page} cannot be written ({error.strerror or error}); copy the run folder to where "
            "you may write, or use --no-page"
        ) from error
    return page


def _page(
    findings: RunTables,
    confirmation: list[Exhibit],
    search: list[Exhibit],
    correlation: pd.DataFrame,
) -> str:
    config, trials = findings.config, findings.trials
    title = f"relu-search: {config.network.name} on {config.data}"
    images = int(findings.record["data"]["validation_images"])
    warning = grace_warning(correlation, config.grace_epochs)
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
            "Validation figures, means over n seeds: all hand-designed modules and the best found.",
            _row_first(LEADERBOARD_COLUMNS),
            [_row_first(cells) for _, cells in leaderboard_rows(trials, METRICS[config.metric])],
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


def _answer(findings: RunTables) -> Iterator[Html]:
    """The answer first: verdicts where there are any, else the best of the search."""
    config, trials, verdicts = findings.config, findings.trials, findings.verdicts
    if verdicts is not None:
        against = (rows_against(verdicts, versus) for versus in references(verdicts))
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
    for row in rows_of(full_length(trials, METRICS[config.metric])):
        if row["module"] == "paired":
            yield tag("p", f"Paired, every ReLU kept: {_value(row, config)}.")
    for line in answer_lines(trials, findings.epochs, config, findings.run.read_supernet()):
        if not line.startswith("WARNING"):
            yield tag("p", line)
    yield tag(
        "p",
        "Few seeds each, chosen among many: a shortlist, not a verdict. To decide, run ",
        tag("code", f"relu-search confirm {findings.run.path}"),
        ".",
    )


def _value(row: dict[str, Any], config: ResolvedConfig) -> str:
    scale = METRICS[config.metric]
    kind = "validation accuracy" if scale.higher_is_better else "validation loss"
    value = row[config.metric]
    return f"{kind} {'unknown' if value is None else scale.text(value)}"


def _picture(exhibit: Exhibit) -> Html:
    svg = rendered(exhibit.figure, "svg")
    return picture(svg, exhibit.title, exhibit.caption.strip(), exhibit.name)


def _confirmation(findings: RunTables, exhibits: list[Exhibit]) -> Iterator[Html]:
    verdicts = findings.verdicts
    if not exhibits:
        return
    yield tag("h2", "Confirmation")
    if verdicts is not None:
        columns = (
            *("arm", "ratio", "ReLUs", "n", "mean ± sd (%)", "difference", "95 % t", "95 % BCa"),
            *("p (Holm)", "p (sign flip)", "verdict"),
        )
        for versus in references(verdicts):
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


def _facts(findings: RunTables) -> Iterator[tuple[str, str]]:
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
