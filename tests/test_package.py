"""The wheel, built and installed in a fresh environment."""

from __future__ import annotations

import importlib.util
import os
import re
import site
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("search_spaces", "trials", "relu_search")
TINY = (
    *("search", "--backbone", "plain-5", "--width", "2", "--train-limit", "10"),
    *("--epochs", "1", "--trials", "3", "--concurrent", "1", "--out", "run"),
)


def test_the_version_is_in_one_place():
    """The cards, config.toml and reports ask the installed package."""
    found = PROJECT["version"]
    files = [p for name in PACKAGES for p in (ROOT / name).rglob("*.py")]
    files += [p for p in (ROOT / "examples").rglob("*") if p.is_file()]
    assert [p for p in files if re.search(rf"\b{re.escape(found)}\b", p.read_text())] == []
    assert version("relu-search") == found


def test_every_package_says_that_it_has_types():
    assert [name for name in PACKAGES if not (ROOT / name / "py.typed").is_file()] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the files of the repository; without a network if hatchling is installed."""
    out = tmp_path_factory.mktemp("wheel")
    here = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    command = ["wheel", "--no-deps", *here, "--wheel-dir", str(out), str(ROOT)]
    subprocess.run([sys.executable, "-m", "pip", "-q", *command], check=True)
    (file,) = out.iterdir()
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The bin folder of a new environment with the wheel, and this environment's dependencies."""
    home = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(home, with_pip=True)
    pip = [home / "bin" / "python", "-m", "pip", "-q", "install", "--no-index", "--no-deps"]
    subprocess.run([*pip, wheel], check=True)
    (packages,) = (home / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return home / "bin"


def run(*command, cwd):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_packages(wheel):
    assert wheel.name == f"relu_search-{PROJECT['version']}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as content:
        names = {name for name in content.namelist() if ".dist-info/" not in name}
    command = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "--", *PACKAGES]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert names == {*listed.splitlines()}
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


@pytest.mark.slow
def test_the_installed_wheel_searches_from_an_empty_folder(installed, tmp_path):
    where = (
        "import relu_search, trials, search_spaces as s; print(relu_search.__file__, s.__file__)"
    )
    files = run(installed / "python", "-c", where, cwd=tmp_path).split()
    assert all(Path(file).is_relative_to(installed.parent) for file in files)
    out = run(installed / "relu-search", *TINY, cwd=tmp_path)
    assert "paired" in out
    run(installed / "relu-search", "report", "run", cwd=tmp_path)
    assert f'relu-search = "{PROJECT["version"]}"' in (tmp_path / "run/config.toml").read_text()
    assert "<style>" in (tmp_path / "run/report.html").read_text()
