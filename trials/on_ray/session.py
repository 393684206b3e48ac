"""Connects to a Ray cluster, or starts one on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray

from search_spaces import InputError
from trials.files.home import is_writable
from trials.on_ray import QUIET
from trials.on_ray.addresses import require_ray, unreachable
from trials.on_ray.compat import few_processes, node_resources
from trials.on_ray.interrupts import uninterrupted
from trials.on_ray.session_folder import session_folder
from trials.running.faults import RunStoppedError
from trials.running.resources import Node


@contextlib.contextmanager
def ray_session(
    *,
    address: str | None = None,
    cpus: int | None = None,
    gpus: int | None = None,
    niceness: int = 0,
    dashboard: bool = False,
    verbose: bool = False,
) -> Iterator[list[Node]]:
    """Connect to a Ray cluster, or start one on this machine; disconnect or stop it at the end.

    Yields the resources of each node, such as `[{"CPU": 2, "GPU": 1}]`.

    Args:
        address: of an existing cluster, `host:port` or `auto`; None starts a private one.
        cpus: CPU slots of a private cluster; None: all cores.
        gpus: GPUs of a private cluster; None: all that Ray finds.
        niceness: added to the niceness of the workers, 0 to 19; they have the driver's, or that of
            the cluster's `ray start`.
        dashboard: start Ray's dashboard with a private cluster; only this machine can reach it.
        verbose: show Ray's own messages.

    Raises:
        InputError: no cluster answers at the address, Ray has no folder for its sockets, or the
            dashboard does not start.
        RunStoppedError: a private Ray does not start.
    """
    level = logging.INFO if verbose else logging.CRITICAL
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(level)
    if address is not None:
        require_ray(address)
    with contextlib.ExitStack() as stack:
        options: dict[str, Any] = {}
        if address is None:
            _require_token()
            options = {
                "num_cpus": cpus,
                "num_gpus": gpus,
                "include_dashboard": dashboard,
                "dashboard_host": "127.0.0.1",
                "_temp_dir": str(stack.enter_context(session_folder())),
            }
        with uninterrupted():
            stack.callback(_stop)
            _start(address, niceness, options, verbose=verbose)
        yield [*node_resources()]


def _stop() -> None:
    with uninterrupted():
        ray.shutdown()


def _start(address: str | None, niceness: int, options: dict[str, Any], *, verbose: bool) -> None:
    """Call `ray.init`.

    Raises:
        InputError: no cluster answers at the address, or Ray does not start with its dashboard.
        RunStoppedError: a private Ray does not start.
    """
    level = logging.INFO if verbose else logging.CRITICAL
    worker_env = {
        **QUIET,
        "RAY_worker_niceness": str(niceness),
        "TUNE_FUNCTION_THREAD_TIMEOUT_S": "30",
        "MALLOC_ARENA_MAX": "1",  # trials run in threads; their own arenas give memory back
    }
    shows_more = address is not None or verbose or options["include_dashboard"]
    try:
        with contextlib.nullcontext() if shows_more else few_processes():
            ray.init(
                address=address or "local",
                log_to_driver=verbose,
                logging_level=level,
                configure_logging=verbose,
                runtime_env={"env_vars": worker_env},
                **options,
            )
    except Exception as error:  # of various types, `Exception` itself among them
        reason = first_line(error)
        if address is not None:
            raise unreachable(address, reason) from error
        if options["include_dashboard"]:
            raise InputError(
                f"Ray does not start with its dashboard: {reason}. --dashboard needs more of Ray; "
                "pip install 'ray[default]', or leave --dashboard out"
            ) from error
        raise RunStoppedError(f"Ray does not start: {reason}") from error


def _require_token() -> None:
    """Make a token for a private Ray, if Ray would keep a new one in a home that is read-only."""
    known = any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    folder = Path.home() / ".ray"
    if not known and not is_writable(folder) and not os.path.isfile(folder / "auth_token"):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def first_line(error: Exception) -> str:
    """At most 160 characters of the first line of an error's message, without a full stop, or its
    type."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:160].rstrip(".")
