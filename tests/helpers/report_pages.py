"""A strict reader of report pages, and rows of the tables that a page is made from."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

from relu_search import RunFolder
from relu_search.charts.scripts import draw_script, script_hash
from relu_search.report import run_report
from relu_search.report.run_report import write_report

NASTY = "<script>alert(1)</script>\"'&amp;<img src=http://x.example/ onerror=alert(1)>\x07$x^$"
VOID = {"meta", "img", "link", "input"}
MODULES = {"paired": "1*6", "2:1": "01*3", "linear": "0*6"}


class Page(HTMLParser):
    """Reads a page strictly: every element closed in order; what it holds is kept."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.css = ""
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        assert len(dict(attributes)) == len(attributes)
        if name == "script":
            self.scripts.append("")
        if name not in VOID:
            self._open.append(name)

    def handle_endtag(self, name):
        assert self._open.pop() == name

    def handle_data(self, data):
        if self._open[-1:] == ["style"]:
            self.css += data
        elif self._open[-1:] == ["script"]:
            self.scripts[-1] += data
        else:
            self.text += data

    def all(self, name):
        return [attributes for element, attributes in self.elements if element == name]


def check_safe(page: Page) -> None:
    """No foreign script, no event attribute, nothing from outside, a text for every picture."""
    names = {name for name, _ in page.elements}
    assert not names & {"iframe", "object", "embed", "link", "base", "form"}
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    if page.scripts:
        data, *code = page.scripts
        assert page.all("script") == [{"type": "application/json", "id": "charts"}, {}, {}]
        assert not re.search("[<>&]", data)
        assert code == [run_report.plotly_script(), draw_script()]
        assert not any(re.search("</script|<!--|\r", script, re.I) for script in code)
        hashes = " ".join(map(script_hash, code))
        assert policy.endswith(f"'unsafe-inline'; script-src {hashes}")
        assert policy.count("unsafe") == 1
        names = [place["data-chart"] for place in page.all("div") if "data-chart" in place]
        assert sorted(names) == sorted(json.loads(data))
    for _, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on")]
        for key in ("src", "href", "action", "srcset", "data"):
            assert attributes.get(key, "data:").startswith("data:")
    assert all(attributes["alt"].strip() for attributes in page.all("img"))
    assert not re.search(r"url\(|@import|//", page.css)


def page_of(run: RunFolder) -> Page:
    """Write the report of a run and check its form."""
    path = write_report(run)
    assert path == run.path / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    check_safe(page)
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("meta")[0] == {"charset": "utf-8"}
    assert len(page.all("title")) == len(page.all("h1")) == 1
    assert len(page.all("caption")) == len(page.all("table"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    return page


def trial(number, **changes):
    """A row of `trials.csv` of plain-8, trained for both of two epochs."""
    row = {"trial": number, "state": "COMPLETE", "module": "", "placement": "011011"}
    row |= {"ratio": "3:2", "relus": 4, "relu_elements": 9, "params": 9, "macs": 9, "seed": 0}
    row |= {"epochs": 2, "val_accuracy": 0.5 + number / 50, "val_loss": 1.0, "train_loss": 1.0}
    return row | {"seconds": 0.1, "reason": ""} | changes


def modules(start=0):
    """The rows of the three hand-designed modules."""
    return [
        trial(start + i, module=name, placement=bits, relus=bits.count("1"))
        for i, (name, bits) in enumerate(MODULES.items())
    ]
