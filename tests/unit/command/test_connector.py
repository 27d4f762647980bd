"""`foldline connector apply` and a task that failed: restarted once, then explained in one line."""

from collections.abc import Iterator
from typing import Any

import pytest

from foldline_command import connector
from foldline_command.connector import NAME, ConnectorError, Target

TARGET = Target(connect_url="http://c", database_url="postgresql://h/d", user="u", password="p")
TRACE = """org.apache.kafka.connect.errors.ConnectException: the task failed
\tat org.apache.kafka.connect.Somewhere
Caused by: org.postgresql.util.PSQLException: FATAL: password authentication failed for user "u"
\tat org.postgresql.Elsewhere
"""


def said(state: str, trace: str = "") -> dict[str, Any]:
    return {"connector": {"state": "RUNNING"}, "tasks": [{"state": state, "trace": trace}]}


@pytest.fixture
def restarts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of Connect besides its status."""
    asked: list[str] = []
    monkeypatch.setattr(connector, "_call", lambda target, deadline, path, **_: asked.append(path))
    monkeypatch.setattr(connector, "_slot_is_active", lambda target: True)
    return asked


def answers(monkeypatch: pytest.MonkeyPatch, *states: dict[str, Any]) -> Iterator[dict[str, Any]]:
    left = iter(states)
    monkeypatch.setattr(connector, "_status", lambda target, deadline: next(left))
    return left


def test_a_failed_task_is_restarted(monkeypatch: pytest.MonkeyPatch, restarts: list[str]) -> None:
    left = answers(monkeypatch, said("FAILED", TRACE), said("RESTARTING"), said("RUNNING"))
    connector._wait_until_running(TARGET, float("inf"))
    assert restarts == [f"/connectors/{NAME}/restart?includeTasks=true&onlyFailed=true"]
    assert list(left) == []


def test_one_that_fails_again_is_explained_in_one_line(
    monkeypatch: pytest.MonkeyPatch, restarts: list[str]
) -> None:
    answers(monkeypatch, said("FAILED", TRACE), said("RUNNING"), said("FAILED", TRACE))
    monkeypatch.setattr(connector, "_slot_is_active", lambda target: False)
    with pytest.raises(ConnectorError) as raised:
        connector._wait_until_running(TARGET, float("inf"))
    assert str(raised.value) == (
        f"{NAME} failed: org.postgresql.util.PSQLException: "
        'FATAL: password authentication failed for user "u"'
    )
    assert len(restarts) == 1
