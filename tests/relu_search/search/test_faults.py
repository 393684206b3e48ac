"""Whatever dies in mid run, the search that goes on ends as if nothing had happened.

Real searches over Ray in processes of their own, killed and starved. One trial at a time, so that
trials.csv and epochs.csv must be those of an undisturbed search, to the last digit.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time

import pytest
from helpers.killing import SEARCH, Run, lines, results, running, strike

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs Linux's /proc"),
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    code, text = Run(*SEARCH, "--out", folder).finish()
    assert code == 0, text
    return results(folder)


def go_on(folder, search=SEARCH):
    """The command that a user would give next."""
    begun = (folder / "config.toml").exists()
    return ("search", "--resume", folder) if begun else (*search, "--out", folder)


def finish(folder, *options):
    code, text = Run(*go_on(folder), *options).finish()
    assert code == 0, text


def test_a_driver_killed_at_twenty_moments_loses_nothing(tmp_path):
    """Each kill follows one to three new lines of the journal, of about 200 in all.

    More trials and more images than in the other tests, so that the search lasts for all kills.
    """
    longer = [*SEARCH, "--trials", "16", "--train-limit", "1000"]
    whole, folder = tmp_path / "whole", tmp_path / "run"
    code, text = Run(*longer, "--out", whole).finish()
    assert code == 0, text
    rng = random.Random(0)
    for kills in range(20):
        with running(*go_on(folder, longer)) as run:
            goal = lines(folder / "study.journal") + rng.randrange(1, 4)
            if not run.wait_for(lambda goal=goal: lines(folder / "study.journal") >= goal):
                pytest.fail(f"ended after {kills} kills: {run.finish()}")
            time.sleep(rng.uniform(0, 0.05))  # so that some kills meet a worker that writes
            run.kill()
    before = lines(folder / "trials.csv")
    finish(folder)
    assert before < lines(folder / "trials.csv")  # the last kill left something to do
    assert results(folder) == results(whole)


@pytest.mark.parametrize("exchange", [False, True], ids=["run folder", "exchange"])
def test_killed_workers_lose_nothing(exchange, undisturbed, tmp_path):
    folder, rng, kills = tmp_path / "run", random.Random(1), 0
    options = ["--max-failures", "50"]
    options += ["--exchange", f"file://{tmp_path}/exchange"] if exchange else []
    with running(*SEARCH, "--out", folder, *options) as run:
        while kills < 8:
            goal = lines(folder / "epochs.csv") + rng.randrange(1, 3)
            if not run.wait_for(lambda goal=goal: lines(folder / "epochs.csv") >= goal):
                break
            for pid in run.workers()[:1]:
                strike(pid)
                kills += 1
        code, text = run.finish()
    assert code == 0, text
    assert kills >= 4
    assert results(folder) == undisturbed
    assert len(list((folder / "weights").iterdir())) == sum(
        row["state"] == "COMPLETE" for row in undisturbed[0]
    )


def test_of_two_that_go_on_at_once_one_is_refused(undisturbed, tmp_path):
    folder = tmp_path / "run"
    with running(*SEARCH, "--out", folder) as run:
        assert run.wait_for(lambda: lines(folder / "trials.csv") >= 4)
        run.kill()
    both = [Run(*go_on(folder)) for _ in range(2)]
    ends = sorted(run.finish() for run in both)
    assert [code for code, _ in ends] == [0, 2]
    assert "another process is at work" in ends[1][1]
    assert results(folder) == undisturbed


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of a size that can be changed; size -> its mount point."""
    if os.getuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small tmpfs needs root")
    disk = tmp_path / "disk"
    disk.mkdir()

    def size(kilobytes):
        options = f"{'remount,' if os.path.ismount(disk) else ''}size={kilobytes}k"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode()}")
        return disk

    yield size
    subprocess.run(["umount", "-l", disk], check=False)


@pytest.mark.parametrize("kilobytes", [64, 140, 256])
def test_a_full_disk_ends_a_search_cleanly(kilobytes, small_disk, undisturbed, tmp_path):
    folder = small_disk(kilobytes) / "run"
    code, text = Run(*SEARCH, "--out", folder).finish()
    assert code == 1, text
    last = text.strip().splitlines()[-1]
    assert last.startswith("relu-search: ")
    assert "No space left on device" in last
    assert f"--resume {folder}" in last
    assert "Traceback" not in text
    small_disk(20_000)
    finish(folder)
    assert results(folder) == undisturbed


@pytest.fixture
def under():
    """Root may write everywhere, unless it is started without that capability."""
    if os.getuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root cannot be kept from writing without setpriv")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


def test_a_folder_made_read_only_ends_a_search_cleanly(under, undisturbed, tmp_path):
    folder = tmp_path / "run"
    folders = [folder, folder / "checkpoints", folder / "weights"]
    with running(*SEARCH, "--out", folder, under=under) as run:
        assert run.wait_for(lambda: lines(folder / "trials.csv") >= 4), run.finish()
        for path in folders:
            path.chmod(0o555)
        code, text = run.finish()
    last = text.strip().splitlines()[-1]
    assert code == 1, text
    assert "Permission denied" in last
    assert "finished trials are safe" in last
    assert "Traceback" not in text
    for path in folders:
        path.chmod(0o755)
    finish(folder)
    assert results(folder) == undisturbed
