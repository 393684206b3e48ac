"""Figures and charts of every kind of run: no text overlaps, leaves its canvas, or is markup."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.browser import CHROMIUM, browser, chart_faults, opened
from helpers.confirmation_tables import confirm_table
from helpers.figure_faults import faults_of
from helpers.report_pages import NASTY, modules, trial

from relu_search.analysis.early_stops import early_evidence
from relu_search.analysis.run_snapshot import RunSnapshot
from relu_search.analysis.site_effects import site_importance
from relu_search.report.page_figures import search_figures, verdict_figures
from relu_search.report.run_report import write_report
from search_spaces import Backbone, Placement, ratio_text, reference_modules

KINDS = {
    "default": {"backbone": "plain-38"},
    "accuracy": {"metric": "val_accuracy", "backbone": "plain-20"},
    "two objectives": {"objective": "loss,relus", "backbone": "preresnet-20"},
    "latency": {"objective": "accuracy,relu_elements,latency", "backbone": "plain-20"},
    "floor": {"at_least_accuracy": 0.6, "backbone": "resnet-20"},
    "sites": {"granularity": "site", "backbone": "preresnet-20"},
    "dfn": {"backbone": "dfn-26"},
    "bottleneck": {"backbone": "preresnet-bottleneck-20"},
    "confirmed": {"backbone": "plain-8", "confirmed": True},
}

_LINES = """([how, count]) => {
  const lines = document.querySelectorAll("[data-chart=learning-curves] .lines path.js-line");
  return (lines.length === count) === (how === "==");
}"""


def rows_of_a_search(name, found=14, epochs=2):
    """Noisy trials of hand-designed modules and of found placements, some with several seeds."""
    backbone = Backbone.parse(name, 4)
    rng = np.random.default_rng(5)
    named = [*reference_modules(backbone).items()]
    drawn = [
        Placement("".join(map(str, rng.integers(0, 2, len(backbone.sites))))) for _ in range(found)
    ]
    rows = []
    for module, placement in [*named, *(("", p) for p in drawn for _ in range(rng.integers(1, 5)))]:
        accuracy = 0.9 - placement.kept / len(placement) / 2 + rng.normal(0, 0.03)
        rows.append(
            trial(
                len(rows),
                module=module,
                placement=placement.text,
                ratio=ratio_text(backbone, placement),
                relus=placement.kept,
                relu_elements=256 * placement.kept,
                val_accuracy=accuracy,
                val_loss=-np.log(accuracy),
                latency_ms=1 + placement.kept / 30,
            )
        )
    stopped = trial(len(rows), state="PRUNED", epochs=1, placement=drawn[0].text)
    return [*rows, stopped]


@pytest.fixture
def run_of(make_run):
    """The name of a kind -> a run folder."""

    def make(kind):
        options = dict(KINDS[kind])
        confirmed = confirm_table() if options.pop("confirmed", False) else None
        return make_run(*rows_of_a_search(options["backbone"]), confirmed=confirmed, **options)

    return make


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_figure_has_a_fault(kind, run_of):
    tables = RunSnapshot.read(run_of(kind))
    config = tables.config
    evidence = early_evidence(tables.trials, tables.epochs, config)
    importance = site_importance(tables.trials, config.network, config.optimised)
    drawn = [*verdict_figures(tables), *search_figures(tables, evidence, importance)]
    assert len(drawn) >= 6
    faults = {one.name: faults_of(one.figure) for one in drawn}
    assert faults == {one.name: [] for one in drawn}


@pytest.fixture(scope="module")
def chromium():
    """One browser for all tests; it starts slowly."""
    pytest.importorskip("playwright.sync_api")
    with browser() as started:
        yield started


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome on PATH")
@pytest.mark.usefixtures("real_scripts")
class TestInABrowser:
    @pytest.mark.parametrize("kind", KINDS)
    def test_no_chart_has_a_fault(self, kind, run_of, chromium):
        page = write_report(run_of(kind))
        for width, scheme in ((360, "light"), (1600, "dark")):
            with opened(chromium, page, width=width, scheme=scheme) as (tab, wrong):
                assert chart_faults(tab) == []
            assert wrong == []

    def test_faults_are_found(self, run_of, chromium):
        with opened(chromium, write_report(run_of("default"))) as (tab, wrong):
            tab.evaluate("document.querySelector('.xtitle').textContent = '$x$'")
            tab.evaluate("document.querySelector('.ytitle').setAttribute('x', -900)")
            tab.evaluate(
                "document.querySelectorAll('.xtick text')"
                ".forEach((tick) => tick.setAttribute('transform', ''))"
            )
            assert {line.split(": ")[1] for line in chart_faults(tab)} == {
                *("shows markup", "leaves the chart", "overlap"),
            }
        assert wrong == []

    def test_names_of_strangers_are_shown_as_they_are(self, make_run, chromium):
        run = make_run(*modules(), trial(4, module=NASTY[:40]), trial(5))
        with opened(chromium, write_report(run)) as (tab, wrong):
            assert chart_faults(tab) != []  # the name itself looks like markup
            legend = tab.locator("[data-chart=accuracy-relus] .legendtext").all_text_contents()
            assert any("<script>alert(1)" in name for name in legend)
            assert tab.locator("[data-chart] script, [data-chart] a, [data-chart] img").count() == 0
        assert wrong == []

    def test_a_script_that_a_stranger_smuggles_in_does_not_run(self, run_of, chromium):
        page = write_report(run_of("default"))
        foreign = "<main><script>document.title = 'x'</script>"
        page.write_text(page.read_text().replace("<main>", foreign))
        with opened(chromium, page) as (tab, wrong):
            assert tab.title() != "x"
            assert chart_faults(tab) == []
        assert any("Content Security Policy" in line for line in wrong)

    def test_a_reader_points_at_a_mark_hides_a_curve_and_changes_to_dark(self, run_of, chromium):
        with opened(chromium, write_report(run_of("default"))) as (tab, wrong):
            chart = tab.locator("[data-chart=accuracy-relus]")
            chart.locator(".point").last.hover(force=True)
            hover = chart.locator(".hoverlayer").text_content()
            assert "validation loss" in hover
            assert "█" in hover or "░" in hover
            curves = tab.locator("[data-chart=learning-curves]")
            before = curves.locator(".lines path.js-line").count()
            curves.locator(".legendtoggle").last.click()
            tab.wait_for_timeout(600)
            assert curves.locator(".lines path.js-line").count() < before
            dark = "rgb(230, 230, 230)"
            assert dark not in (chart.locator(".xtitle").get_attribute("style") or "")
            tab.emulate_media(color_scheme="dark")
            tab.wait_for_timeout(600)
            assert dark in chart.locator(".xtitle").get_attribute("style")
        assert wrong == []

    def test_the_keyboard_hides_and_shows_a_curve(self, run_of, chromium):
        with opened(chromium, write_report(run_of("default"))) as (tab, wrong):
            curves = tab.locator("[data-chart=learning-curves]")
            lines = curves.locator(".lines path.js-line")
            before = lines.count()
            last = curves.locator(".legendtoggle").last
            last.focus()
            tab.keyboard.press("Enter")
            tab.wait_for_function(_LINES, arg=["!=", before])
            assert lines.count() < before
            assert last.evaluate("(entry) => entry === document.activeElement")
            tab.keyboard.press("Space")
            tab.wait_for_function(_LINES, arg=["==", before])
        assert wrong == []

    @pytest.mark.parametrize("how", ["print", "no script"])
    def test_print_and_readers_without_scripts_get_the_pictures(self, how, run_of, chromium):
        page = write_report(run_of("default"))
        with opened(chromium, page, scripts=how == "print") as (tab, _):
            if how == "print":
                tab.emulate_media(media="print")
            pictures = tab.locator("figure img")
            assert pictures.count() == 7
            assert all(picture.is_visible() for picture in pictures.all())
            assert not any(chart.is_visible() for chart in tab.locator("[data-chart]").all())
