"""Every relu-search command in README, docs and examples is one that the command line accepts."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile
from pathlib import Path

import pytest
import typer

from relu_search.cli.app import app

ROOT = Path(__file__).parents[3]
FILES = sorted(
    path
    for folder, patterns in {
        ROOT: ["*.md"],
        ROOT / "docs": ["*.md"],
        ROOT / "examples": ["**/*.md", "**/*.yaml", "**/*.sbatch", "**/*.py"],
    }.items()
    for pattern in patterns
    for path in folder.glob(pattern)
)
VERBS = typer.main.get_command(app).commands
FENCED = re.compile(r"^```.*?\n(.*?)^```", re.M | re.S)
INLINE = re.compile(r"`([^`]+)`")
ARRAY = re.compile(r"^\s*(\w+)=\(\n(.*?)^\s*\)", re.M | re.S)


def code_of(path):
    """What is code in a file: of Markdown the code blocks and spans, of others the uncommented."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    if path.suffix == ".md":
        spans = [" ".join(span.split()) for span in INLINE.findall(FENCED.sub("", text))]
        return "\n".join([*FENCED.findall(text), *spans])
    return re.sub(r"(^|\s)#.*", "", text)


def commands_in(path):
    """Verb and arguments of each command, arrays of a shell script filled in."""
    code = code_of(path)
    arrays = dict(ARRAY.findall(code))
    for line in re.findall(r"\brelu-search ([a-z]+\b.*)", code):
        for name, content in arrays.items():
            line = line.replace(f'"${{{name}[@]}}"', " ".join(content.split()))  # noqa: PLW2901
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        verb, *arguments = takewhile(lambda word: set(word).isdisjoint(";&|<>"), lexer)
        yield verb, arguments


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_are_accepted(path):
    for verb, arguments in commands_in(path):
        assert verb in VERBS, f"relu-search {verb}"
        if arguments:  # a verb alone is a mention
            VERBS[verb].make_context(verb, arguments)  # parses, and calls nothing


def test_the_commands_are_found():
    found = {path.name: list(commands_in(path)) for path in FILES}
    assert {verb for commands in found.values() for verb, _ in commands} == set(VERBS)
    assert all("--granularity" in arguments for _, arguments in found["slurm.sbatch"])
    assert [verb for verb, _ in found["kuberay.yaml"]] == ["search", "search"]


def test_an_unknown_option_is_noticed(tmp_path):
    (tmp_path / "page.md").write_text("```bash\nrelu-search search --gpu-per-trial 1 &\n```\n")
    with pytest.raises(Exception, match="--gpu-per-trial"):
        test_commands_are_accepted(tmp_path / "page.md")
