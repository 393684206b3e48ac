"""Imports go one way, and light verbs stay light."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "torchvision", "ray", "optuna", "pandas", "sklearn", "matplotlib", "scipy")

PROBE = """
import json, sys
from relu_search.cli import main
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


VERBS = ("search", "confirm", "reproduce", "train", "show", "report", "export", "bench")


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
