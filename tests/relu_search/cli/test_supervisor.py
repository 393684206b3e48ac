"""How the program ends: by signals, crashes and by itself."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from helpers.killing import born, signals_as_usual

ROOT = Path(__file__).parents[3]
PROGRAM = """
import os, signal, subprocess, sys
from pathlib import Path
import relu_search.cli.app as app
from relu_search.cli import main
from relu_search.cli.console import begin
from relu_search.cli.supervisor import Progress

def run():
{work}
    return 0, ""

def wait():
    print("ready", flush=True)
    while True:
        signal.pause()

app.run = run
main()
"""
BEGUN = """
Path("config.toml").touch()
Path("trials.csv").write_text("trial\\n0\\n1\\n")
begin(Progress(begun="config.toml", table="trials.csv", command="this"), verbose=False)
"""
AGAIN = "no file is incomplete. Give the same command again"
GO_ON = "2 finished trainings are safe in .. Go on with: this"


@pytest.fixture
def program(tmp_path):
    """Starts the program with some other work, in a session of its own."""
    running = []

    def start(work, **options):
        text = PROGRAM.format(work="\n".join(f"    {line}" for line in work.splitlines()))
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", text],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
                **{"preexec_fn": signals_as_usual, **options},
            )
        )
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def end(process):
    """(exit code, stderr) of a program that has nothing to wait for."""
    _, err = process.communicate(timeout=60)
    return process.returncode, err


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "stopped by SIGTERM"),
        (signal.SIGHUP, 129, "stopped by SIGHUP"),
    ],
)
@pytest.mark.parametrize("to_all", [False, True], ids=["one process", "all processes"])
def test_a_signal_ends_it_with_one_line(number, code, says, to_all, program):
    process = program("wait()")
    assert process.stdout.readline() == "ready\n"
    (os.killpg if to_all else os.kill)(process.pid, number)
    assert end(process) == (code, f"relu-search: {says}; {AGAIN}\n")


def test_the_line_says_how_many_trainings_are_safe_and_how_to_go_on(program):
    process = program(f"{BEGUN}wait()")
    process.stdout.readline()
    process.terminate()
    assert end(process) == (143, f"relu-search: stopped by SIGTERM; {GO_ON}\n")


def test_what_the_work_cleans_up_is_cleaned_up(program, tmp_path):
    process = program("try:\n    wait()\nfinally:\n    Path('clean').touch()")
    process.stdout.readline()
    process.terminate()
    end(process)
    assert (tmp_path / "clean").exists()


def test_work_that_is_done_in_spite_of_a_signal_says_so(program):
    process = program("try:\n    wait()\nexcept KeyboardInterrupt:\n    pass")
    process.stdout.readline()
    process.terminate()
    assert end(process) == (0, "relu-search: stopped by SIGTERM, but all was done\n")


def test_work_that_does_not_answer_is_killed_by_a_second_signal(program):
    ask = "signal.signal(signal.SIGUSR1, lambda *_: print('asked', flush=True))"
    process = program(f"{ask}\nwait()")
    process.stdout.readline()
    process.terminate()
    assert process.stdout.readline() == "asked\n"
    process.terminate()
    assert end(process) == (143, f"relu-search: stopped by SIGTERM; {AGAIN}\n")


def test_a_hangup_that_nohup_ignores_is_ignored(program):
    ignore = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    process = program(
        "print('ready', flush=True)\nsys.stdin.readline()", preexec_fn=ignore, stdin=subprocess.PIPE
    )
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGHUP)
    _, err = process.communicate("\n", timeout=60)
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize(
    ("work", "says"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "the program was killed by SIGKILL, as a system"),
        (
            "os.kill(os.getpid(), signal.SIGSEGV)",
            "the program was killed by SIGSEGV (see ray.log)",
        ),
        ("os._exit(3)", "the program ended before its time, with exit code 3; "),
    ],
)
def test_a_crash_is_one_line_that_says_how_to_go_on(work, says, program):
    code, err = end(program(f"{BEGUN}{work}"))
    assert code == 1
    assert err.startswith(f"relu-search: {says}")
    assert err.endswith(f"{GO_ON}\n")
    assert err.count("\n") == 1


def test_a_result_is_not_lost_by_a_crash_at_the_very_end(program):
    assert end(program("import atexit\natexit.register(os._exit, 9)")) == (0, "")


def test_the_code_and_the_line_of_the_work_are_those_of_the_program(program):
    assert end(program("return 2, 'width is 0'")) == (2, "relu-search: width is 0\n")
    assert end(program("raise KeyboardInterrupt")) == (130, f"relu-search: interrupted; {AGAIN}\n")


SLEEPER = "subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE{how})"


@pytest.mark.parametrize("ends", ["pass", "os._exit(1)", "wait()"])
def test_no_process_outlives_it(ends, program):
    pids = [f"print({SLEEPER.format(how=how)}.pid)" for how in ("", ", start_new_session=True")]
    process = program("\n".join([*pids, "sys.stdout.flush()", ends]))
    sleepers = [born(int(process.stdout.readline())) for _ in pids]
    if ends == "wait()":
        process.stdout.readline()
        process.terminate()
    end(process)
    assert not any(one and born(one[0]) == one for one in sleepers)


def test_the_work_ends_with_its_supervisor(program):
    process = program("print(os.getpid(), flush=True)\nwait()")
    work = os.pidfd_open(int(process.stdout.readline()))
    process.kill()
    ended, _, _ = select.select([work], [], [], 60)
    assert ended


def test_what_libraries_print_goes_to_a_file_and_stdout_is_for_results(program, tmp_path):
    process = program(
        f"{BEGUN}os.write(1, b'from C')\nprint('a result')\nprint('a note', file=sys.stderr)"
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "a result\n", "a note\n")
    assert (tmp_path / "ray.log").read_text() == "from C"


def test_a_file_without_text_is_removed(program, tmp_path):
    assert end(program(BEGUN)) == (0, "")
    assert not (tmp_path / "ray.log").exists()


def test_the_file_for_what_libraries_print_is_not_written_through_a_link(program, tmp_path):
    (tmp_path / "ray.log").symlink_to("elsewhere")
    program(f"{BEGUN}os.write(2, b'from C')").communicate(timeout=60)
    assert not (tmp_path / "elsewhere").exists()


def test_an_import_is_finished_before_an_interruption(program, tmp_path):
    """In an import the exception could vanish, and with it the interruption."""
    (tmp_path / "slow_module.py").write_text(
        "import os, select, signal\n"
        "os.kill(os.getppid(), signal.SIGINT)\n"
        "signal.pause()\n"
        "print('imported', flush=True)\n"
    )
    process = program("sys.path.insert(0, '.')\nimport slow_module\nwait()")
    out, err = process.communicate(timeout=60)
    assert out.startswith("imported\n")
    assert (process.returncode, err) == (130, f"relu-search: interrupted; {AGAIN}\n")


BEGINNING = """
import sys, time
from types import SimpleNamespace
import relu_search.cli

class Slow:
    def find_spec(self, *_):
        global now
        now += 1

def run():
    from relu_search.cli.supervisor import command_began
    print(command_began(), time.monotonic() > 50)
    return 0, ""

now = 50
time.monotonic = lambda: now
sys.meta_path.insert(0, Slow())
sys.modules["relu_search.cli.app"] = SimpleNamespace(run=run)
relu_search.cli.main()
"""


def test_a_command_begins_before_its_imports():
    """By a clock that goes on with every import."""
    done = subprocess.run(
        [sys.executable, "-c", BEGINNING],
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("50 True\n", "")


@pytest.mark.parametrize("keeps", [True, False])
def test_what_a_command_has_started_ends_with_it_unless_it_is_to_stay(keeps, program):
    start = (
        "from relu_search.cli.supervisor import keep_children\n"
        "nothing = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}\n"
        "browser = subprocess.Popen(['sleep', '600'], start_new_session=True, **nothing)\n"
        "print(browser.pid, flush=True)\n"
    )
    process = program(f"{start}{'keep_children()' if keeps else ''}")
    browser = int(process.stdout.readline())
    assert end(process) == (0, "")
    assert (born(browser) is not None) == keeps
    if keeps:
        os.kill(browser, signal.SIGKILL)
