"""Checks within seconds whether a Ray cluster answers; `ray.init` would wait for minutes."""

from __future__ import annotations

import contextlib
import os
import re
import socket

from search_spaces import InputError

_PATIENCE = 5  # seconds
_LARGEST_PORT = 2**16 - 1
# Ray's servers speak gRPC over HTTP/2 (RFC 9113). They answer the client's preface and an empty
# SETTINGS frame with a SETTINGS frame; the fourth byte of a frame is its type, 4.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS = 4


def require_ray(address: str) -> None:
    """Check within seconds that a gRPC server listens at an address.

    Args:
        address: `host:port`; `auto` and `local` are not checked.

    Raises:
        InputError: no Ray cluster listens there, or the address is one of Ray Client. (Over Ray
            Client, Ray Tune would run the driver on the cluster, away from its study.)
    """
    if address.startswith("ray://"):
        raise InputError(
            f"address {address!r} is Ray Client, over which a search cannot run; start it on a "
            "node of the cluster with its host:port or auto, or as a job: ray job submit -- "
            "relu-search search --address auto"
        )
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if not re.fullmatch(r"0*[0-9]{1,5}", port) or not 1 <= int(port) <= _LARGEST_PORT:
        raise unreachable(address, f"a port is a number from 1 to {_LARGEST_PORT}")
    answer = b""
    try:
        with contextlib.closing(socket.create_connection((host, int(port)), _PATIENCE)) as server:
            if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
                return
            server.sendall(_PREFACE)
            while len(answer) < 4 and (part := server.recv(4 - len(answer))):
                answer += part
    except TimeoutError as error:
        raise unreachable(address, "what listens there does not answer") from error
    except (OSError, ValueError, OverflowError) as error:
        raise unreachable(address, str(error) or type(error).__name__) from error
    if len(answer) < 4 or answer[3] != _SETTINGS:
        raise unreachable(address, "something else listens there")


def unreachable(address: str, reason: str) -> InputError:
    """The error for an address where no Ray cluster answers."""
    return InputError(
        f"no Ray cluster answers at {address!r} ({reason[:160]}); start one with `ray start "
        "--head`, give its host:port, or leave --address out to use this machine. If it runs, it "
        "may want its token: RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
    )
