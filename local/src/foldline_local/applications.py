"""Foldline's own processes, as the stack runs them: what to start, where it listens, how it says that it is ready.

They are data here and known by their commands only; this room imports none of the others. The three preparations run
once, in order, between the services and the applications, and are idempotent commands of their own rooms.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from foldline_local.config import Settings, inherited
from foldline_local.probes import http_ok
from foldline_local.program import Program, Service

PREPARATIONS: tuple[tuple[str, ...], ...] = (
    ("foldline", "migrate"),
    ("foldline", "topics", "apply"),
    ("foldline", "connector", "apply"),
)


@dataclass(frozen=True)
class Application:
    """One process. `port` names the port at which it answers `/readyz`, which is also where it serves metrics."""

    name: str
    argv: tuple[str, ...]
    port: str
    serves_http: bool = False


def _web(name: str) -> Application:
    argv = ("gunicorn", "-c", f"python:foldline_{name}.gunicorn", f"foldline_{name}.wsgi:app")
    return Application(name, argv, name, serves_http=True)


def _projector(projection: str) -> Application:
    port = f"{projection.replace('-', '_')}_metrics"
    return Application(
        f"projector-{projection}", ("foldline", "projector", "run", projection), port
    )


APPLICATIONS: tuple[Application, ...] = (
    _web("command"),
    Application("keeper", ("foldline", "outbox", "keep"), "keeper_metrics"),
    _projector("order-summaries"),
    _projector("order-details"),
    _projector("order-analytics"),
    _projector("order-search"),
    _web("query"),
)
NAMES = tuple(application.name for application in APPLICATIONS)


def executable(name: str) -> str:
    """A console command of this very Python, so that a stack never mixes installations."""
    return str(Path(sys.executable).with_name(name))


def command_line(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The same command with its program's full path."""
    return executable(argv[0]), *argv[1:]


def environment(settings: Settings) -> dict[str, str]:
    """What every Foldline process gets: the addresses of this stack, and nothing of the caller's `FOLDLINE_*`."""
    return {**inherited(), **settings.addresses(), "PYTHONUNBUFFERED": "1"}


def applications(settings: Settings) -> list[Service]:
    """Every process of Foldline itself, in starting order."""
    return [_service(settings, application) for application in APPLICATIONS]


def _service(settings: Settings, application: Application) -> Service:
    port = settings.ports[application.port]
    own = {"FOLDLINE_METRICS_PORT": str(port), "FOLDLINE_METRICS_BIND": settings.bind}
    if application.serves_http:
        own = {"FOLDLINE_BIND": f"{settings.bind}:{port}"}
    program = Program(
        name=application.name,
        argv=command_line(application.argv),
        address=f"{settings.host}:{port}",
        ports={application.port: port},
        environment={**environment(settings), **own},
        stop_seconds=40,
    )
    return Service(program, ready=lambda: _ready(f"http://{settings.host}:{port}/readyz"))


def _ready(url: str) -> None:
    http_ok(url)
