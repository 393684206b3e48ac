"""Imports go one way, and light verbs stay light."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "torchvision", "ray", "optuna", "pandas", "sklearn", "matplotlib", "scipy")

PROBE = """
import json, sys
from relu_search.cli.app import main
try:
    main({arguments!r})
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps([name for name in {heavy!r} if name in sys.modules]), file=sys.stderr)
"""


def python(code: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False
    )


def loaded_by(arguments: list[str], cwd: Path) -> set[str]:
    done = python(PROBE.format(arguments=arguments, heavy=HEAVY), cwd=cwd)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.fixture
def anywhere(tmp_path, monkeypatch):
    """An empty folder; Python finds the packages wherever the tests are run from."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def test_the_import_contracts_hold():
    code = (
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    )
    done = python(code, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


VERBS = (
    "discover",
    "search",
    "plan",
    "runs",
    "watch",
    "compare",
    "confirm",
    "reproduce",
    "train",
    "show",
    "report",
    "export",
    "bench",
)


@pytest.mark.parametrize("verb", [[], *([verb] for verb in VERBS)])
def test_help_loads_no_heavy_library(verb, anywhere):
    assert loaded_by([*verb, "--help"], anywhere) == set()


def test_show_loads_torch_but_neither_ray_nor_optuna(anywhere):
    assert loaded_by(["show", "plain-8"], anywhere) == {"torch"}


def test_train_does_not_load_ray(anywhere):
    options = ["--backbone", "plain-5", "--width", "2", "--epochs", "1", "--train-limit", "10"]
    assert "ray" not in loaded_by(["train", *options], anywhere)


def test_the_package_names_are_loaded_on_first_use():
    import relu_search

    assert all(getattr(relu_search, name) is not None for name in relu_search.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = relu_search.no_such_name


PACKAGES = ("search_spaces", "trials", "relu_search")
FORBIDDEN = {"utils", "helpers", "common", "base", "core", "manager"}


def modules() -> list[Path]:
    return [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def test_rooms_and_files_stay_small_and_have_names_that_say_something():
    rooms = {file.parent for file in modules()}
    assert {str(r) for r in rooms if len(list(r.glob("*.py"))) > 10} == set()
    assert {str(f) for f in modules() if len(f.read_text().splitlines()) > 400} == set()
    assert {str(f) for f in modules() if {f.stem, f.parent.name} & FORBIDDEN} == set()


def test_the_design_page_lists_every_module_in_its_room():
    page = (ROOT / "docs" / "design.md").read_text()
    tree = page[page.index("```\n") : page.index("## Where is what")]
    listed = set(re.findall(r"(?m)^ +(\w+\.py) ", tree))
    single = {"__init__.py", "__main__.py"}
    verbs = {file.name for file in (ROOT / "relu_search" / "cli" / "verbs").glob("*.py")}
    there = {file.name for file in modules() if file.parent.name != "verbs"} - single
    assert there - listed == set()
    assert listed - there - verbs == set()


def test_where_is_what_names_files_that_exist():
    page = (ROOT / "docs" / "design.md").read_text()
    rows = re.findall(r"(?m)^\| .*\? \| `([\w/]+/)` \| `(\w+\.py)` \|$", page)
    assert len(rows) == 20
    assert [row for row in rows if not (ROOT / row[0] / row[1]).is_file()] == []
