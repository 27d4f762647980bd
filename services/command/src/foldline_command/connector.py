"""`foldline connector apply`: the Debezium connector as `debezium/connector.json` describes it.

Registering is idempotent. It ends when events can flow: the task runs and the slot is held by it. REST's RUNNING alone
says too little, since after a restart the old walsender may hold the slot for a while. A failed task is restarted once;
one that fails again is explained by the first line of its trace.
"""

import json
import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, LiteralString
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

import psycopg

from foldline_command.database import PUBLICATION, SLOT

NAME = "foldline-outbox"
REQUEST_SECONDS = 30
CONNECT_SECONDS = 5
#: What passes by itself: a rebalance, and a worker that is still starting.
PASSING = (409, 503)
POLL_SECONDS = 0.2
_IN_TREE = Path(__file__).parents[4] / "debezium" / "connector.json"


class ConnectorError(Exception):
    """The connector does not run; the message says why in one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What the connector reads, and where it is registered."""

    connect_url: str
    database_url: str
    user: str
    password: str


def template() -> dict[str, str]:
    """The configuration without the database's address."""
    packaged = files("foldline_command") / "connector.json"
    text = packaged.read_text() if packaged.is_file() else _IN_TREE.read_text()
    loaded: dict[str, str] = json.loads(text)
    return loaded


def configuration(target: Target) -> dict[str, str]:
    """The whole configuration."""
    address = urlsplit(target.database_url)
    return template() | {
        "slot.name": SLOT,
        "publication.name": PUBLICATION,
        "database.hostname": address.hostname or "127.0.0.1",
        "database.port": str(address.port or 5432),
        "database.dbname": unquote(address.path.lstrip("/")),
        "database.user": target.user,
        "database.password": target.password,
    }


def apply(target: Target, seconds: float = 90.0) -> str:
    """Registers and waits until events can flow; one line of what was done. Raises ConnectorError."""
    _require_publication(target)
    deadline = time.monotonic() + seconds
    wanted = configuration(target)
    current = _call(target, deadline, f"/connectors/{NAME}/config", missing_is_none=True)
    changed = current is None or {**current, "name": NAME} != {**wanted, "name": NAME}
    if changed:
        _call(target, deadline, f"/connectors/{NAME}/config", method="PUT", body=wanted)
    elif _states(_status(target, deadline)) & {"STOPPED", "PAUSED"}:
        _call(target, deadline, f"/connectors/{NAME}/resume", method="PUT")
    _wait_until_running(target, deadline)
    return f"{NAME}: {'registered' if changed else 'unchanged'}, running"


def status(target: Target) -> dict[str, Any]:
    """What Connect says of the connector. Raises ConnectorError."""
    return _status(target, time.monotonic() + REQUEST_SECONDS)


def _status(target: Target, deadline: float) -> dict[str, Any]:
    found = _call(target, deadline, f"/connectors/{NAME}/status", missing_is_none=True)
    return found or {"connector": {"state": "MISSING"}, "tasks": []}


def _wait_until_running(target: Target, deadline: float) -> None:
    restarted = False
    while True:
        now = _status(target, deadline)
        states = _states(now)
        if "FAILED" in states:
            if restarted:
                raise ConnectorError(f"{NAME} failed: {_reason(now)}")
            restart = f"/connectors/{NAME}/restart?includeTasks=true&onlyFailed=true"
            _call(target, deadline, restart, method="POST")
            restarted = True
        elif now["tasks"] and states == {"RUNNING"} and _slot_is_active(target):
            return
        if time.monotonic() > deadline:
            raise ConnectorError(f"{NAME} does not run: {', '.join(sorted(states))} {_reason(now)}")
        time.sleep(POLL_SECONDS)


def _states(found: dict[str, Any]) -> set[str]:
    return {found["connector"]["state"], *(task["state"] for task in found["tasks"])}


def _reason(found: dict[str, Any]) -> str:
    """The first line of the innermost cause that a trace names."""
    traces = [part.get("trace", "") for part in (found["connector"], *found["tasks"])]
    lines = [line for line in "\n".join(traces).splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return (causes or lines or [""])[-1 if causes else 0]


def _require_publication(target: Target) -> None:
    """PostgreSQL only warns of a publication that is gone, and passes over every event meanwhile."""
    query = "SELECT count(*) > 0 FROM pg_publication WHERE pubname = %s"
    if not _is_true(target, query, PUBLICATION):
        raise ConnectorError(f"publication {PUBLICATION} is missing: its events would be lost")


def _slot_is_active(target: Target) -> bool:
    query = "SELECT active FROM pg_replication_slots WHERE slot_name = %s"
    return _is_true(target, query, SLOT)


def _is_true(target: Target, query: LiteralString, name: str) -> bool:
    url = target.database_url
    with psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_SECONDS) as connection:
        row = connection.execute(query, [name]).fetchone()
    return row is not None and bool(row[0])


def _call(
    target: Target,
    deadline: float,
    path: str,
    *,
    method: str = "GET",
    body: object = None,
    missing_is_none: bool = False,
) -> Any:
    """One REST call, made again until the deadline while Connect rebalances or starts."""
    request = Request(target.connect_url.rstrip("/") + path, method=method)
    request.add_header("Content-Type", "application/json")
    data = None if body is None else json.dumps(body).encode()
    while True:
        left = deadline - time.monotonic()
        try:
            return _send(request, data, missing_is_none, min(max(left, 1.0), REQUEST_SECONDS))
        except _Again as error:
            if left <= 0:
                raise ConnectorError(f"Kafka Connect refuses: {error}") from error
            time.sleep(POLL_SECONDS)


def _send(request: Request, data: bytes | None, missing_is_none: bool, seconds: float) -> Any:
    try:
        with urlopen(request, data, seconds) as answer:
            raw = answer.read()
    except HTTPError as error:
        if error.code == 404 and missing_is_none:
            return None
        detail = _detail(error)
        if error.code in PASSING:
            raise _Again(detail) from error
        raise ConnectorError(f"Kafka Connect refuses: {detail}") from error
    except (URLError, OSError) as error:
        raise ConnectorError(f"Kafka Connect at {request.host} does not answer: {error}") from error
    try:
        return json.loads(raw) if raw else None
    except ValueError as error:
        raise ConnectorError(f"what answers at {request.host} is not Kafka Connect") from error


def _detail(error: HTTPError) -> str:
    """Connect's own message in one line, or HTTP's, when something else answers."""
    try:
        message = json.loads(error.read())["message"]
    except (ValueError, LookupError, TypeError):
        message = f"{error.code} {error.reason}"
    return " ".join(str(message).split())


class _Again(Exception):
    """Connect cannot say yet; the message is its own."""
