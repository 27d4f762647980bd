"""Kafka Connect as it answers while it starts, rebalances, refuses, or is not there at all."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from foldline_command import connector
from foldline_command.connector import ConnectorError, Target

Answers = list[tuple[int, bytes]]
STATUS = b'{"connector":{"state":"RUNNING"},"tasks":[]}'


@contextmanager
def answering(answers: Answers) -> Iterator[Target]:
    """A server that gives these answers in turn, the last one for ever."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield Target(connect_url=url, database_url="", user="", password="")
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status", [409, 503])
def test_what_passes_by_itself_is_waited_for(status: int) -> None:
    with answering([(status, b'{"message":"a rebalance is expected"}'), (200, STATUS)]) as target:
        assert connector.status(target)["connector"]["state"] == "RUNNING"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ((500, b'{"message":"Failed to\\n find any class"}'), "Failed to find any class"),
        ((500, b"<html>"), "500 Internal Server Error"),
        ((502, b""), "502 Bad Gateway"),
        ((400, b"[]"), "400 Bad Request"),
        ((200, b"<html>"), "is not Kafka Connect"),
    ],
)
def test_what_does_not_pass_is_said_at_once(answer: tuple[int, bytes], line: str) -> None:
    with answering([answer, (200, STATUS)]) as target, pytest.raises(ConnectorError, match=line):
        connector.status(target)


def test_all_calls_of_one_command_share_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def look() -> float:
        """Each look at the clock is 20 s after the last."""
        looks.append(20.0 * len(looks))
        return looks[-1]

    monkeypatch.setattr(connector, "time", SimpleNamespace(monotonic=look, sleep=lambda _: None))
    monkeypatch.setattr(connector, "_require_publication", lambda target: None)
    with (
        answering([(409, b'{"message":"rebalance"}')]) as target,
        pytest.raises(ConnectorError, match="refuses: rebalance"),
    ):
        connector.apply(target, seconds=90)
    assert 90 < looks[-1] <= 110
