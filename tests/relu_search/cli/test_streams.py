"""Standard streams: closed ones, and progress that is seen at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROBE = """
import os, sys
from relu_search.cli.app import main
try:
    main(["--help"])
except SystemExit as end:
    code = end.code
file = open({file!r}, "w")
print(file.fileno(), file=file)
os.write(2, b"a library complains")
os.system("echo and so does a child >&2")
print("said", file=sys.stderr)
file.close()
sys.exit(code)
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_neither_ends_a_command_nor_writes_into_its_files(closed, tmp_path):
    file = tmp_path / "file"
    (tmp_path / "probe.py").write_text(PROBE.format(file=str(file)))
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} probe.py {closed}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (number,) = file.read_text().split()
    assert int(number) > 2
    assert ("confirm" in done.stdout) == (">&-" not in closed.replace("2>&-", ""))
    assert ("said" in done.stderr) == ("2>&-" not in closed)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_the_program_runs_with_closed_streams(closed, tmp_path):
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m relu_search.cli --version {closed}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ("relu-search" in done.stdout) == (">&-" not in closed.replace("2>&-", ""))


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_line_of_progress_is_seen_at_once(unbuffered):
    code = "import os, sys; from relu_search.cli.streams import own_streams; own_streams(); "
    code += "sys.stderr.write('1/24\\n'); os._exit(0)"  # nothing is flushed at the end
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "1/24\n"
