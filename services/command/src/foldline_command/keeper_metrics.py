"""Metrics of the outbox keeper and its small HTTP server: `/metrics`, `/healthz`, `/readyz`."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import Gauge, make_wsgi_app

READY_SECONDS = 60.0

OLDEST = Gauge(
    "foldline_outbox_oldest_unpublished_seconds",
    "Age of the oldest event that Kafka is not known to have.",
)
ROWS = Gauge("foldline_outbox_rows", "Rows in the outbox, as the database estimates.")
RETAINED = Gauge(
    "foldline_outbox_slot_retained_bytes", "Write-ahead log that the slot keeps from removal."
)
AGE = Gauge("foldline_watermark_age_seconds", "Age of the last watermark, by the database's clock.")

_last_published = float("-inf")
#: The last known age of the watermark and when that was; without one, the keeper's own age counts.
_age_seen = (0.0, time.monotonic())


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Says nothing: a scrape is no news."""


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a request, so that one client that says nothing keeps no probe waiting."""

    daemon_threads = True


def serve(bind: str, port: int) -> WSGIServer:
    """Serves in threads of its own until the process ends. Raises OSError when the address is taken."""
    AGE.set_function(watermark_age)
    exposition = make_wsgi_app()

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/metrics":
            served: Iterable[bytes] = exposition(environ, start)
            return served
        if environ["PATH_INFO"] not in ("/healthz", "/readyz"):
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"not here\n"]
        ready = environ["PATH_INFO"] == "/healthz" or is_ready()
        start("200 OK" if ready else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"ok\n" if ready else b"no recent watermark\n"]

    try:
        server = make_server(bind, port, app, server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        raise OSError(f"cannot serve metrics on {bind}:{port}: {error}") from error
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def published() -> None:
    """A watermark went out."""
    global _last_published
    _last_published = time.monotonic()


def is_ready() -> bool:
    """Whether a watermark went out not long ago."""
    return time.monotonic() - _last_published < READY_SECONDS


def watermark_age() -> float:
    """Grows while database or Kafka is away, too: silence is not freshness."""
    age, seen = _age_seen
    return age + time.monotonic() - seen


def observe(facts: Mapping[str, Any]) -> None:
    """Sets the gauges."""
    OLDEST.set(facts["oldest_unpublished_seconds"] or 0.0)
    ROWS.set(facts["rows"] or 0)
    RETAINED.set(facts["slot_retained_bytes"] or 0)
    if facts["watermark_age_seconds"] is not None:
        global _age_seen
        _age_seen = (facts["watermark_age_seconds"], time.monotonic())
