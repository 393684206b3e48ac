"""The report of a run: one HTML page and its figures, made from the run folder alone.

The page contains everything that it shows, and requests nothing. It runs two scripts, which draw
its charts: Plotly's, and `charts/draw.js`. Its content security policy names both by their hash, so
no other script can run. Without scripts, and in print, the page shows the figures as pictures.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from relu_search.analysis.early_stops import early_evidence
from relu_search.analysis.run_snapshot import RunSnapshot
from relu_search.analysis.site_effects import site_importance
from relu_search.charts.scripts import draw_script, plotly_script, script_hash
from relu_search.confirmation.verdict_table import stored_verdicts
from relu_search.report.figure_style import add_note, rendered
from relu_search.report.page_content import PageContent, page_content
from relu_search.report.page_figures import PageFigure, search_figures, verdict_figures
from relu_search.run_folder.folder import RunFolder
from search_spaces import InputError
from trials.files.durable import write_whole


def write_report(run: RunFolder) -> Path:
    """Write `report.html`, and each figure as `figures/NAME.png`, `.pdf` and `.svg`.

    Returns:
        The path of the page.

    Raises:
        InputError: the folder is damaged, cannot be written, or has no finished trial yet.
    """
    run.require_no_links()
    tables = RunSnapshot.read(run)
    verdicts, is_old = stored_verdicts(run)
    if is_old:
        judged_again = pd.DataFrame(verdicts).fillna(math.nan) if verdicts else None
        tables = replace(tables, verdicts=judged_again)
    metric = tables.config.optimised
    evidence = early_evidence(tables.trials, tables.epochs, tables.config)
    importance = site_importance(tables.trials, tables.config.network, metric)
    confirmation = list(verdict_figures(tables))
    search = list(search_figures(tables, evidence, importance))
    if tables.config.weights is not None:
        start = tables.config.start_text
        for drawn in (*confirmation, *search):
            add_note(drawn.figure, start)
        confirmation, search = (
            [
                replace(drawn, caption=f"{drawn.caption} Every training is {start}.")
                for drawn in part
            ]
            for part in (confirmation, search)
        )
    page = run.path / "report.html"
    try:
        run.sweep()
        run.figures.mkdir(exist_ok=True)
        for drawn in (*confirmation, *search):
            write_whole(run.figures / f"{drawn.name}.svg", drawn.svg)
            for form in ("png", "pdf"):
                write_whole(run.figures / f"{drawn.name}.{form}", rendered(drawn.figure, form))
        write_whole(run.figures / "site-importance.csv", importance.to_csv(index=False))
        write_whole(
            page, html_page(page_content(tables, evidence, is_old=is_old), confirmation, search)
        )
    except OSError as error:
        raise InputError(
            f"{page} cannot be written ({error.strerror or error}); copy the run folder to a place "
            "where you may write, or use --no-page"
        ) from error
    return page


def html_page(
    content: PageContent, confirmation: Sequence[PageFigure], search: Sequence[PageFigure]
) -> str:
    """The page as HTML text; the style sheet and the figures are inside it."""
    scripts = (plotly_script(), draw_script())
    figures = [*confirmation, *search]
    return html_of(
        "page.html.j2",
        page=content,
        charts={figure.name: figure.chart for figure in figures if figure.chart is not None},
        scripts=[Markup(script) for script in scripts],
        script_hashes=[Markup(script_hash(script)) for script in scripts],
        confirmation_figures=[picture(figure) for figure in confirmation],
        search_figures=[picture(figure) for figure in search],
    )


def html_of(template: str, **values: Any) -> str:
    """A page from one of the templates of this room; it gets the style sheet as `css`."""
    environment = Environment(
        loader=PackageLoader("relu_search.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_legal,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    css = resources.files("relu_search.report").joinpath("report.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(css=Markup(css), **values)


def picture(drawn: PageFigure) -> dict[str, str | bool]:
    """What the templates need of a figure."""
    svg = base64.b64encode(drawn.svg).decode()
    return {
        "name": drawn.name,
        "title": drawn.title,
        "caption": drawn.caption,
        "has_chart": drawn.chart is not None,
        "source": f"data:image/svg+xml;base64,{svg}",
    }


def _legal(value: Any) -> Any:
    """Text without control characters and lone surrogates: HTML cannot contain them.

    They become replacement characters (U+FFFD). Markup and other values stay as they are.
    """
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(
        c if c.isprintable() or c in "\n\t " else "\N{REPLACEMENT CHARACTER}" for c in value
    )
