"""Connects to a Ray cluster, or starts one on this machine."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import ray

from search_spaces import InputError
from trials.on_ray import QUIET
from trials.on_ray.addresses import require_ray, unreachable
from trials.on_ray.compat import node_resources
from trials.running.resources import Node


@contextlib.contextmanager
def ray_session(
    *,
    address: str | None = None,
    cpus: int | None = None,
    gpus: int | None = None,
    dashboard: bool = False,
    verbose: bool = False,
) -> Iterator[list[Node]]:
    """Connect to a Ray cluster, or start one on this machine; disconnect or stop it at the end.

    Yields the resources of each node, such as `[{"CPU": 2, "GPU": 1}]`.

    Args:
        address: of an existing cluster, `host:port` or `auto`; None starts a private one.
        cpus: CPU slots of a private cluster; None: all cores.
        gpus: GPUs of a private cluster; None: all that Ray finds.
        dashboard: start Ray's dashboard with a private cluster; only this machine can reach it.
        verbose: show Ray's own messages.

    Raises:
        InputError: no cluster answers at the address, or the dashboard is not installed.
    """
    level = logging.INFO if verbose else logging.CRITICAL
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(level)
    if address is not None:
        require_ray(address)
    options: dict[str, Any] = {}
    if address is None:
        options = {
            "num_cpus": cpus,
            "num_gpus": gpus,
            "include_dashboard": dashboard,
            "dashboard_host": "127.0.0.1",
        }
    worker_env = {
        **QUIET,
        "TUNE_FUNCTION_THREAD_TIMEOUT_S": "30",
        "MALLOC_ARENA_MAX": "1",  # trials run in threads; their own arenas give memory back
    }
    try:
        ray.init(
            address=address or "local",
            log_to_driver=verbose,
            logging_level=level,
            configure_logging=verbose,
            runtime_env={"env_vars": worker_env},
            **options,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        if address is None:
            raise
        raise unreachable(address, first_line(error)) from error
    except Exception as error:  # Ray without the dashboard's packages raises various types
        if not dashboard:
            raise
        raise InputError(
            "--dashboard needs more of Ray; pip install 'ray[default]', or leave --dashboard out"
        ) from error
    try:
        yield [*node_resources()]
    finally:
        ray.shutdown()


def first_line(error: Exception) -> str:
    """At most 160 characters of the first line of an error's message, or its type."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:160]
