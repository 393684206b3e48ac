"""The page in Chromium beside a real search: what a user sees, without a reload and a request
elsewhere."""

from __future__ import annotations

import contextlib
import json

import pytest
from helpers.browser import CHROMIUM
from helpers.killing import SEARCH, Run, lines, running
from helpers.large_run import write_large_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]
PATIENCE = 120_000  # ms
CHARTS = ("learning-curves", "accuracy-relus", "placement-map")


@contextlib.contextmanager
def watched(folder):
    """The address of the page of a run, served by a process of its own."""
    with running("watch", folder, "--json") as run:
        text = "".join(iter(run.process.stdout.readline, "}\n"))
        yield json.loads(text + "}")["url"]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser, url, width=1600):
    """A page in the browser; at the end nothing has gone wrong in it."""
    wrong = []
    tab = browser.new_context(viewport={"width": width, "height": 900}).new_page()
    tab.set_default_timeout(PATIENCE)
    tab.on("console", lambda message: wrong.append(message.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("request", lambda one: one.url.startswith((url, "data:")) or wrong.append(one.url))
    tab.goto(url)
    yield tab
    tab.context.close()
    assert wrong == []


def check_width(tab, width):
    """At this width every chart is drawn, and only tables move sideways."""
    tab.set_viewport_size({"width": width, "height": 900})
    for name in CHARTS:
        tab.locator(f"#{name}").scroll_into_view_if_needed()
        tab.locator(f"#{name} .drawn .main-svg").first.wait_for()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_a_search_is_followed_through_a_kill_and_a_resume(tmp_path, browser):
    from playwright.sync_api import expect

    folder = tmp_path / "run"
    longer = [*SEARCH, "--trials", "200", "--train-limit", "1000", "--out", folder]
    with (
        running(*longer) as search,
        watched_when_begun(search, folder) as url,
        opened(browser, url) as tab,
    ):
        tab.evaluate("document.body.dataset.same = 'yes'")  # a reload would end it
        expect(tab.locator("#progress .state")).to_have_text("running")
        expect(tab.locator("#running tbody tr")).to_have_count(1)

        # a trial appears
        fresh = tab.locator("#log").get_by_text("started").first
        before = fresh.inner_text()
        ended = lines(folder / "trials.csv")
        assert search.wait_for(lambda: lines(folder / "trials.csv") > ended + 1)
        expect(fresh).not_to_have_text(before)

        # the pointer on a mark tells of its placement
        tab.locator("#accuracy-relus").scroll_into_view_if_needed()
        point = tab.locator("#accuracy-relus .points path.point").last
        point.scroll_into_view_if_needed()
        point.hover(force=True)
        expect(tab.locator("#accuracy-relus .hoverlayer")).to_contain_text("ratio")

        # the keyboard filters
        tab.keyboard.press("/")
        tab.keyboard.type("PAIRED")
        expect(tab.locator("#board tbody tr")).to_have_count(1)
        expect(tab.locator("#board tbody tr")).to_contain_text("paired")
        tab.keyboard.press("Escape")  # empties it
        expect(tab.locator("#board tbody tr").nth(3)).to_be_visible()

        # dark, by keyboard, at both widths
        light = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        tab.keyboard.press("Tab")
        expect(tab.locator("#theme")).to_be_focused()
        tab.keyboard.press("Enter")
        expect(tab.locator("#theme")).to_have_attribute("aria-pressed", "true")
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") != light
        for width in (1600, 360):
            check_width(tab, width)

        # a kill is told, and a resume goes on
        search.kill()
        expect(tab.locator("#progress .state")).to_contain_text("interrupted")
        expect(tab.locator("#progress code")).to_have_text(f"relu-search search --resume {folder}")
        expect(tab.locator("#running h2")).to_have_text("Not finished")
        with running("search", "--resume", folder) as again:
            ended = lines(folder / "trials.csv")
            assert again.wait_for(lambda: lines(folder / "trials.csv") > ended)
            expect(tab.locator("#progress .state")).to_have_text("running")
            expect(tab.locator("#log")).to_contain_text("search resumed")
        assert tab.evaluate("document.body.dataset.same") == "yes"


@contextlib.contextmanager
def watched_when_begun(search: Run, folder):
    """As `watched`, once two trials of the search have ended."""
    assert search.wait_for(lambda: lines(folder / "trials.csv") >= 3), search.finish()
    with watched(folder) as url:
        yield url


def test_five_thousand_trials_are_shown(tmp_path, browser):
    write_large_run(tmp_path / "run", 5_000)
    with watched(tmp_path / "run") as url, opened(browser, url) as tab:
        check_width(tab, 1600)
        assert tab.locator("#board tbody tr").count() >= 100
        assert tab.locator("#accuracy-relus path.point").count() >= 1_000
        tab.locator("#filter").fill("stopped")
        tab.locator("#board tbody tr", has_text="0+1").first.wait_for()


def test_the_list_of_a_folder_leads_to_its_runs_and_back(tmp_path, browser):
    write_large_run(tmp_path / "one", 6)
    write_large_run(tmp_path / "two", 6)
    with watched(tmp_path) as url, opened(browser, url, width=360) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
        tab.get_by_role("link", name="two").click()
        tab.get_by_role("heading", name="Leaderboard").wait_for()
        tab.get_by_role("link", name="All runs").click()
        tab.get_by_role("link", name="one").wait_for()
