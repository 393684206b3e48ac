"""Makes the pictures of the README: the live page during a search, and the report after it.

```bash
python -m docs.pictures            # runs a default search; needs Chromium and the extra watch
```
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from relu_search import RunFolder
from trials.files.scratch import scratch_folder

FOLDER = Path(__file__).parent / "pictures"
COLOURS = 128
"""A picture keeps so many; it is then a third as large."""
TRIALS = 48
SHOWN_AFTER = 20
"""The live page is shown when so many trials have ended."""
_CODE = "from relu_search.cli import main; raise SystemExit(main())"


def main() -> None:
    """Run a search, and take both pictures."""
    FOLDER.mkdir(exist_ok=True)
    with scratch_folder() as scratch, sync_playwright() as playwright:
        run = Path(scratch) / "digits"
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.set_default_timeout(120_000)  # milliseconds; the search uses all cores
        search = _started("search", "--trials", str(TRIALS), "--out", str(run))
        try:
            while not (run / "trials.csv").is_file():
                _wait(search)
            with _live_page(run) as url:
                page.goto(url)
                while RunFolder(run).count_trials() < SHOWN_AFTER:
                    _wait(search)
                page.wait_for_timeout(3_000)  # the page asks for news every second or two
                _take(page, "live.png")
            search.wait()
        finally:
            search.terminate()
        page.set_viewport_size({"width": 1100, "height": 630})
        page.goto((run / "report.html").as_uri())
        page.get_by_role("heading", name="Figures of the search").evaluate(
            "heading => heading.scrollIntoView()"
        )
        page.wait_for_timeout(3_000)  # charts are drawn when they come into view
        _take(page, "report.png")
        browser.close()


def _started(*words: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", _CODE, *words], text=True, **options)


def _wait(search: subprocess.Popen[str]) -> None:
    time.sleep(0.5)
    if search.poll():
        sys.exit("the search failed")


@contextmanager
def _live_page(run: Path) -> Iterator[str]:
    """The address of `relu-search watch`."""
    watch = _started("watch", str(run), stdout=subprocess.PIPE)
    try:
        line = watch.stdout.readline() if watch.stdout else ""
        found = re.search(r"http://\S+", line)
        if found is None:
            sys.exit("relu-search watch did not start")
        yield found[0]
    finally:
        watch.terminate()
        watch.wait()


def _take(page: Page, name: str) -> None:
    """A screenshot of what is in view, with few colours."""
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(FOLDER / name, optimize=True)


if __name__ == "__main__":
    main()
