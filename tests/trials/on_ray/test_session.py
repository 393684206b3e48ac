"""Sessions of Ray."""

from __future__ import annotations

import os

import pytest
import ray
from ray._private.node import Node as RayNode

from search_spaces import InputError
from trials.on_ray.compat import UNNEEDED
from trials.on_ray.session import first_line, ray_session
from trials.running.faults import RunStoppedError


def test_a_session_tells_the_resources_of_its_nodes(cluster):
    assert [node["CPU"] for node in cluster] == [2]


def test_workers_have_the_priority_of_the_driver(cluster):
    @ray.remote
    def of_a_task():
        return os.nice(0)

    @ray.remote(num_cpus=0)
    class Actor:
        def niceness(self):
            return os.nice(0)

    actor = Actor.remote()
    of_workers = ray.get([of_a_task.remote(), actor.niceness.remote()])
    assert of_workers == [os.nice(0), os.nice(0)]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "127.0.0.1:99999"])
def test_an_unreachable_address_is_one_clear_line(address):
    with (
        pytest.raises(InputError, match="no Ray cluster answers") as caught,
        ray_session(address=address),
    ):
        pass
    assert repr(address) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "line"), [(ValueError("\n a.\nb"), "a"), (ValueError(), "ValueError")], ids=str
)
def test_the_first_line_of_an_error(error, line):
    assert first_line(error) == line


@pytest.mark.parametrize(
    ("options", "kind", "rule"),
    [
        ({}, RunStoppedError, "Ray does not start: .*the node timed out$"),
        ({"dashboard": True}, InputError, "with its dashboard: .*the node timed out"),
        ({"address": "127.0.0.1:1"}, InputError, "no Ray cluster answers"),
    ],
    ids=["private", "dashboard", "address"],
)
@pytest.mark.parametrize("error", [Exception, RuntimeError, ray.exceptions.RaySystemError])
def test_any_error_at_the_start_of_ray_is_one_line(error, options, kind, rule, monkeypatch):
    def init(**_options):
        raise error("the node timed out\nmore lines")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr("trials.on_ray.session.require_ray", lambda _address: None)
    with pytest.raises(kind, match=rule) as caught, ray_session(**options):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "few"),
    [({}, True), ({"verbose": True}, False), ({"dashboard": True}, False)],
    ids=["quiet", "verbose", "dashboard"],
)
def test_ray_starts_with_few_processes_unless_more_is_shown(options, few, monkeypatch):
    original = {name: getattr(RayNode, name) for name in UNNEEDED}
    started = {}

    def init(**_options):
        started.update({name: getattr(RayNode, name) for name in UNNEEDED})

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "nodes", list)
    with ray_session(**options):
        assert all((started[name] is original[name]) != few for name in UNNEEDED)
        assert {name: getattr(RayNode, name) for name in UNNEEDED} == original
