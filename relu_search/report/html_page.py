"""A page of HTML from nested calls. Text is escaped unless it is `Html` already.

```python
tag("p", "a < b, ", tag("em", "so"), class_="note")   # <p class="note">a &lt; b, <em>so</em></p>
```
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from importlib import resources

_VOID = {"img", "meta"}
_NO_NETWORK = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Html(str):
    """Markup: built by `tag` alone, so that every text in it has been escaped."""

    __slots__ = ()


def tag(name: str, /, *content: str, **attributes: str) -> Html:
    """One element. A trailing underscore of an attribute is dropped, inner ones become hyphens."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_legal(value))}"'
        for key, value in attributes.items()
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(content)}</{name}>")


def join(parts: Iterable[str]) -> Html:
    """Parts one after the other, those that are plain text escaped."""
    return Html(
        "".join(part if isinstance(part, Html) else html.escape(_legal(part)) for part in parts)
    )


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """A table whose first column names the row."""
    head = tag("tr", *(tag("th", name, scope="col") for name in columns))
    body = [
        tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest))
        for first, *rest in rows
    ]
    whole = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))
    return tag("div", whole, class_="wide")


def definitions(pairs: Iterable[tuple[str, str]]) -> Html:
    return tag("dl", *(tag("div", tag("dt", k), tag("dd", v)) for k, v in pairs))


def picture(svg: bytes, title: str, caption: str, id_: str) -> Html:
    """A figure whose picture is part of the page."""
    source = "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
    caption_text = tag("figcaption", tag("strong", f"{title}. "), caption)
    return tag("figure", tag("img", src=source, alt=f"{title}. {caption}"), caption_text, id=id_)


def document(title: str, *body: str) -> str:
    """A whole page: style sheet inside, no script, and nothing may be fetched."""
    css = resources.files("relu_search.report").joinpath("report.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_NO_NETWORK),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(css)),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", tag("main", *body)), lang="en")


def _legal(text: str) -> str:
    """Control characters and lone surrogates, which HTML cannot hold, as replacement characters."""
    return "".join(
        c if c.isprintable() or c in "\n\t " else "\N{REPLACEMENT CHARACTER}" for c in text
    )
