"""One Ray for all tests of this folder: it takes long to start."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import ray
from helpers import asha_simulation
from ray import cloudpickle

from trials.on_ray.compat import node_resources
from trials.on_ray.session import ray_session

HERE = Path(__file__).parent
_session = contextlib.ExitStack()


@pytest.fixture(scope="module")
def cluster(request):
    """Its nodes. The workers cannot import the file of a test, so that goes to them by value."""
    by_value = (request.module, asha_simulation)
    for module in by_value:
        cloudpickle.register_pickle_by_value(module)
    try:
        if not ray.is_initialized():
            _session.enter_context(ray_session(cpus=2, gpus=0))
        yield node_resources()
    finally:
        for module in by_value:
            cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture(scope="module")
def gpu_cluster(request):
    """The nodes of another Ray, with a GPU that exists in its books only."""
    _session.close()
    cloudpickle.register_pickle_by_value(request.module)
    try:
        with ray_session(cpus=2, gpus=1) as nodes:
            yield nodes
    finally:
        cloudpickle.unregister_pickle_by_value(request.module)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """Stop Ray after the last test of this folder: tests elsewhere start their own."""
    try:
        return (yield)
    finally:
        if nextitem is None or HERE not in nextitem.path.parents:
            _session.close()
