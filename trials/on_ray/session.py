"""Join a Ray cluster, or start one on this machine."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import ray

from search_spaces import InputError
from trials.on_ray import QUIET
from trials.on_ray.addresses import require_ray, unreachable


@contextlib.contextmanager
def ray_session(
    *,
    address: str | None = None,
    cpus: int | None = None,
    dashboard: bool = False,
    verbose: bool = False,
) -> Iterator[Mapping[str, float]]:
    """Connect to a Ray cluster, or start one on this machine, and leave it at the end.

    Yields the resources of the cluster, such as `{"CPU": 2, "GPU": 1}`.

    Args:
        address: of an existing cluster, `host:port` or `auto`; None starts a private one.
        cpus: CPU slots of a private cluster; None for all cores.
        dashboard: start Ray's dashboard beside a private cluster, for this machine alone.
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
        options = {"num_cpus": cpus, "include_dashboard": dashboard, "dashboard_host": "127.0.0.1"}
    worker_env = {
        **QUIET,
        "TUNE_FUNCTION_THREAD_TIMEOUT_S": "30",
        "MALLOC_ARENA_MAX": "1",  # trials run in threads, whose own arenas give memory back
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
    except Exception as error:  # what Ray raises without its dashboard's packages
        if not dashboard:
            raise
        raise InputError("--dashboard needs more of Ray: pip install 'ray[default]'") from error
    try:
        yield ray.cluster_resources()
    finally:
        ray.shutdown()


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:160]
