"""What every refused command line has in common."""

from __future__ import annotations

import re


def files_under(path):
    return {p: p.read_bytes() if p.is_file() else None for p in path.rglob("*")}


def check_refused(cli, folder, arguments, says):
    """Exit code 2, one line on stderr that says what is wrong, and no file changed."""
    before = files_under(folder)
    code, out, err = cli(*arguments)
    assert code == 2, err
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("relu-search: ")
    assert re.search(says, err), err
    assert "Traceback" not in err
    assert files_under(folder) == before


def by_arguments(value):
    """Name of a test case: its arguments."""
    return " ".join(map(str, value)) if isinstance(value, list) else ""
