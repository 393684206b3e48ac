"""Canaries: what trials uses of Ray beyond its documented API still does what is expected of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import ray
from helpers.asha_simulation import EPOCHS, asha, curve
from ray.tune.schedulers import ASHAScheduler

from trials.on_ray.compat import (
    SchedulerTrial,
    add_trial,
    node_resources,
    remove_trial,
    report,
)

BROKEN = (
    f"Ray {ray.__version__} has changed: {{}} Look at trials/on_ray/compat.py, the only place that "
    "relies on it."
)


def test_ray_takes_trials_that_are_not_its_own_and_no_controller():
    scheduler = ASHAScheduler(
        time_attr="epoch", metric="m", mode="max", max_t=EPOCHS, grace_period=1, reduction_factor=3
    )
    lengths = []
    try:
        for number in range(12):
            trial = SchedulerTrial({"number": number})
            add_trial(scheduler, trial)
            reached = 0
            for epoch, value in enumerate(curve(number), start=1):
                reached = epoch
                if not report(scheduler, trial, {"epoch": epoch, "m": value}):
                    break
            lengths.append(reached)
            remove_trial(scheduler, trial)
    except Exception as error:
        pytest.fail(
            BROKEN.format(
                "ASHAScheduler wants a controller, or more of a trial than trial_id and config "
                f"({type(error).__name__}: {error})."
            )
        )
    expected = asha([curve(number) for number in range(12)], grace=1, factor=3)
    assert lengths == expected, BROKEN.format("ASHAScheduler decides otherwise.")


def test_a_trial_that_was_added_twice_stays_one_trial():
    """So a restarted trial counts once at a rung."""
    scheduler = ASHAScheduler(
        time_attr="epoch", metric="m", mode="max", max_t=9, grace_period=1, reduction_factor=2
    )
    trial = SchedulerTrial({"number": "a"})
    for value in (5.0, 1.0):
        add_trial(scheduler, trial)
        goes_on = report(scheduler, trial, {"epoch": 1, "m": value})
    assert goes_on, BROKEN.format("ASHAScheduler no longer knows a trial by its trial_id alone.")


def test_nodes_tell_their_resources(cluster):
    total = sum(node.get("CPU", 0) for node in node_resources())
    assert total == ray.cluster_resources()["CPU"] == 2, BROKEN.format(
        "ray.nodes() has other fields than Alive and Resources."
    )


def test_a_private_ray_has_no_autoscaler_log_monitor_and_web_server(cluster):
    children = [
        stat.parent.joinpath("cmdline").read_text()
        for stat in Path("/proc").glob("[0-9]*/stat")
        if int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid()
    ]
    assert any("raylet" in command for command in children)
    for name in ("/monitor.py", "/log_monitor.py", "/dashboard.py"):
        assert not any(name in command for command in children), BROKEN.format(
            f"Its node starts {name} in another method."
        )
