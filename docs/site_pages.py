"""The documentation site is made of the project's own pages, at the places that they have here.

MkDocs calls the functions `on_...`. Build the site with `mkdocs build --strict`.
"""

from __future__ import annotations

import html
import inspect
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from relu_search.cli.app import app

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
SHOWN = ("docs/", "benchmarks/", "examples/", "relu_search/", "search_spaces/", "trials/")
"""Folders whose files a page may link to."""
MARK = "<!-- command line -->"
WORKER = "https://unpkg.com/iframe-worker/shim"
"""What the theme loads from another host to search in pages from disk; ours takes its place."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Pages and linked files, in the places that they have in the repository."""
    from mkdocs.structure.files import File, Files, InclusionLevel

    kept = [file for file in files if not file.src_uri.endswith((".md", ".py"))]
    for path in tracked_files():
        page = path.endswith(".md")
        kept.append(
            File.generated(
                config,
                path,
                abs_src_path=str(ROOT / path),
                inclusion=InclusionLevel.INCLUDED if page else InclusionLevel.NOT_IN_NAV,
            )
        )
    return Files(kept)


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Put the reference of the command line into its page."""
    return markdown.replace(MARK, command_line()) if MARK in markdown else markdown


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Let nothing come from another host."""
    return _without_other_hosts(output, page.url)


def on_post_template(output_content: str, template_name: str, **_: Any) -> str:
    """The same for pages that are made from no file, such as 404.html."""
    return _without_other_hosts(output_content, template_name)


def _without_other_hosts(content: str, url: str) -> str:
    from mkdocs.utils import get_relative_url

    return content.replace(WORKER, get_relative_url("docs/search_from_disk.js", url))


def tracked_files() -> list[str]:
    """Files of the repository that a page may link to, relative to its root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [p for p in listed if p.startswith(SHOWN) or ("/" not in p and p.endswith(".md"))]


def command_line() -> str:
    """Every verb with its arguments and options, as Markdown, made from the code."""
    command: Any = typer.main.get_command(app)
    return "\n\n".join(_verb(name, verb) for name, verb in command.commands.items())


def _verb(name: str, verb: Any) -> str:
    arguments = [p for p in verb.params if p.param_type_name == "argument"]
    options = [p for p in verb.params if p.param_type_name == "option" and not p.hidden]
    usage = " ".join(["relu-search", name, *(_word(p) for p in arguments), "[OPTIONS]"])
    parts = [f"## {name}", f"`{usage}`", inspect.cleandoc(verb.help or "")]
    if arguments:
        parts.append(_table("argument", [(f"`{_word(p)}`", p.help) for p in arguments]))
    for panel in dict.fromkeys(p.rich_help_panel or "Options" for p in options):
        rows = [(_flags(p), _help(p)) for p in options if (p.rich_help_panel or "Options") == panel]
        parts.append(_table(panel, rows))
    return "\n\n".join(parts)


def _word(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _flags(option: Any) -> str:
    text = ", ".join([*option.opts, *option.secondary_opts])
    return f"`{text} {option.metavar}`" if option.metavar else f"`{text}`"


def _help(option: Any) -> str:
    default = option.show_default if isinstance(option.show_default, str) else None
    if default is None and option.show_default and option.default not in (None, False):
        default = str(option.default)
    return f"{option.help or ''} Default: {default}." if default else str(option.help or "")


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    lines = [f"| {title} | |", "|---|---|"]
    lines += [f"| {_cell(left)} | {_cell(right)} |" for left, right in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    in_code = text.startswith("`")
    text = " ".join(text.split()).replace("|", "\\|")
    return text if in_code else html.escape(text, quote=False)
