"""Opens a page in Chromium, cut off from any network, and says what is wrong with its charts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

_FAULTS = """() => {
  const faults = [];
  for (const chart of document.querySelectorAll("[data-chart]")) {
    const say = (what) => faults.push(`${chart.dataset.chart}: ${what}`);
    if (!chart.classList.contains("drawn")) say("is not drawn");
    const frame = chart.getBoundingClientRect();
    const texts = [...chart.querySelectorAll("text")]
      .filter((text) => text.textContent.trim() && getComputedStyle(text).display !== "none")
      .map((text) => [text.textContent, text.getBoundingClientRect()])
      .filter(([, box]) => box.width && box.height);
    texts.forEach(([text, a], i) => {
      if (/[$\\\\{}<>]|&[a-z]+;/.test(text)) say(`shows markup: ${text}`);
      if (a.left < frame.left - 1 || a.right > frame.right + 1
          || a.top < frame.top - 1 || a.bottom > frame.bottom + 1) say(`leaves the chart: ${text}`);
      for (const [other, b] of texts.slice(0, i)) {
        if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1.5
            && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3.5)
          say(`overlap: ${text} and ${other}`);
      }
    });
  }
  if (document.documentElement.scrollWidth > innerWidth) {
    const isWide = (one) => one.getBoundingClientRect().right > innerWidth + 1;
    const wide = [...document.querySelectorAll("body *")].filter(
      (one) => isWide(one) && !one.closest("table, pre, svg"));
    const names = wide.slice(0, 3).map((one) => one.outerHTML.slice(0, 80));
    faults.push(`the page is too wide: ${names}`);
  }
  return faults;
}"""


@contextmanager
def browser() -> Iterator[Any]:
    """A headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@contextmanager
def opened(
    browser: Any,
    page: Path,
    *,
    width: int = 1280,
    scheme: Literal["light", "dark"] = "light",
    scripts: bool = True,
) -> Iterator[tuple[Any, list[str]]]:
    """A page in the browser, and a list of its errors and foreign requests, which grows."""
    wrong: list[str] = []
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        offline=True,
        java_script_enabled=scripts,
    )
    context.set_default_timeout(120_000)  # milliseconds; a machine may be busy
    tab = context.new_page()
    tab.on("console", lambda message: wrong.append(f"console: {message.text}"))
    tab.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    tab.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("file:", "data:"))
            else wrong.append(f"request: {request.url}")
        ),
    )
    tab.goto(page.as_uri())
    yield tab, wrong
    context.close()


def chart_faults(tab: Any) -> list[str]:
    """One line for each fault of the charts of an open page."""
    tab.wait_for_function("document.querySelectorAll('[data-chart]:not(.drawn)').length === 0")
    return list(tab.evaluate(_FAULTS))
