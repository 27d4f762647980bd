"""The keeper's own small server."""

import socket
import urllib.request

import pytest

from foldline_command import keeper_metrics


def test_a_client_that_says_nothing_keeps_no_probe_waiting() -> None:
    server = keeper_metrics.serve("127.0.0.1", 0)
    try:
        port = server.server_port
        with (
            socket.create_connection(("127.0.0.1", port)),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer,
        ):
            assert answer.status == 200
    finally:
        server.shutdown()
        server.server_close()


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
            keeper_metrics.serve("127.0.0.1", port)
