"""The memory that a process may use: of the machine, or of its container."""

from __future__ import annotations

import os

import pytest

from search_spaces import InputError
from trials.files import memory
from trials.files.memory import memory_limit, require_memory

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
GIB = 2**30


def write(root, **files):
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def limits(root, path, value):
    file = root / "sys/fs/cgroup" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(value)


def test_without_groups_it_is_the_machine(tmp_path):
    assert memory_limit(tmp_path) == MACHINE


@pytest.mark.parametrize(
    ("where", "value", "expected"),
    [
        ("pod/box/memory.max", f"{GIB}\n", GIB),
        ("pod/memory.max", f"{GIB}\n", GIB),  # of the group around it
        ("memory.max", f"{GIB}\n", GIB),  # a container sees its own group as the top
        ("pod/box/memory.max", "max\n", MACHINE),
        ("pod/box/memory.max", "٣\n", MACHINE),
    ],
)
def test_the_limit_of_a_group_of_version_two(tmp_path, where, value, expected):
    write(tmp_path, proc__self__cgroup="0::/pod/box\n")
    limits(tmp_path, where, value)
    assert memory_limit(tmp_path) == expected


@pytest.mark.parametrize("where", ["memory/pod/box", "memory/pod", "memory"])
def test_the_limit_of_a_group_of_version_one(tmp_path, where):
    write(tmp_path, proc__self__cgroup="9:cpu,cpuacct:/x\n4:memory,hugetlb:/pod/box\n0::/\n")
    limits(tmp_path, "memory/memory.limit_in_bytes", "9223372036854771712")
    limits(tmp_path, f"{where}/memory.limit_in_bytes", f"{2 * GIB}\n")
    limits(tmp_path, "cpu/x/memory.limit_in_bytes", "1\n")
    assert memory_limit(tmp_path) == 2 * GIB


def test_what_does_not_fit_is_refused_with_both_sizes(monkeypatch):
    monkeypatch.setattr(memory, "memory_limit", lambda: 2 * GIB)
    require_memory("this", 2 * GIB, "use less")
    with pytest.raises(InputError, match=r"this would take 2\.5 GiB .* may use 2\.0; use less"):
        require_memory("this", 5 * GIB // 2, "use less")
