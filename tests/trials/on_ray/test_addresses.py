"""Is there a Ray cluster? Answered in seconds, whatever listens."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from search_spaces import InputError
from trials.on_ray import addresses
from trials.on_ray.addresses import require_ray


@contextlib.contextmanager
def listener(answer: bytes | None):
    """A server on this machine that answers each connection so, or never (None); its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    held.append(connection)
                    if answer is not None:
                        connection.recv(100)
                        connection.sendall(answer)
                        connection.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in held:
            connection.close()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "something else listens there"),
        (b"\x00\x00", "something else listens there"),
        (None, "what listens there does not answer"),
    ],
    ids=repr,
)
def test_what_is_no_grpc_server_is_refused(answer, says, monkeypatch):
    monkeypatch.setattr(addresses, "_PATIENCE", 0.5)
    with listener(answer) as address, pytest.raises(InputError, match=says) as caught:
        require_ray(address)
    assert address in str(caught.value)


def test_a_settings_frame_is_a_grpc_server():
    with listener(bytes([0, 0, 6, 4, 0, 0, 0, 0, 0])) as address:
        require_ray(address)


def test_ray_client_is_refused_with_the_way_out():
    with pytest.raises(InputError, match=r"Ray Client.*ray job submit"):
        require_ray("ray://127.0.0.1:10001")


def test_auto_is_left_to_ray():
    require_ray("auto")


@pytest.mark.parametrize(
    "port", ["99999999", "65536", "0", "-1", "٦٣٧٩", "", "1e3", "6379 ", "9" * 400]
)
def test_what_is_no_port_is_refused_before_anything_is_asked(port, monkeypatch):
    def connect(*_arguments):
        raise AssertionError("connected")

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(InputError, match="a port is a number from 1 to 65535"):
        require_ray(f"127.0.0.1:{port}")
