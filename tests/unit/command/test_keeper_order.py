"""What the keeper does while Kafka or Debezium does not answer."""

import threading
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.errors import KafkaError, UnknownTopicOrPartitionError

from foldline_command import keeper

SETTINGS = keeper.Settings(
    database_url="", kafka={}, interval_seconds=2, metrics_bind="127.0.0.1", metrics_port=0
)


@pytest.fixture
def maintained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The databases that were maintained, in order."""
    done: list[Any] = []
    monkeypatch.setattr(keeper, "_maintain", done.append)
    return done


def topics(*described: dict[str, Any]) -> keeper.Topics:
    made = keeper.Topics.__new__(keeper.Topics)
    made._admin = SimpleNamespace(describe_topics=lambda _: list(described))
    return made


def test_a_topic_is_known_by_its_id() -> None:
    known = topics({"name": "order-events", "topic_id": "id-1", "error_code": 0})
    assert known.identity() == {"order-events": "id-1"}


def test_a_topic_that_is_not_told_about_was_not_made_again() -> None:
    missing = topics({"name": "order-events", "topic_id": "0000", "error_code": 3})
    with pytest.raises(UnknownTopicOrPartitionError, match="order-events"):
        missing.identity()


def test_days_are_made_before_kafka_answers(
    monkeypatch: pytest.MonkeyPatch, maintained: list[Any]
) -> None:
    def away(_: Any) -> None:
        raise KafkaError("away")

    monkeypatch.setattr(keeper, "connect", lambda _: nullcontext("database"))
    monkeypatch.setattr(keeper, "Topics", away)
    with pytest.raises(KafkaError):
        keeper._keep_connected(SETTINGS, threading.Event())
    assert maintained == ["database"]


def test_days_are_made_while_debezium_confirms_nothing(
    monkeypatch: pytest.MonkeyPatch, maintained: list[Any]
) -> None:
    stop = threading.Event()
    monkeypatch.setattr(keeper, "NOTICE_SECONDS", 0.0)
    monkeypatch.setattr(keeper, "_is_confirmed", lambda *_: False)
    monkeypatch.setattr(keeper, "observe", lambda _: stop.set())
    database: Any = "database"
    with pytest.raises(keeper.NotConfirmed):
        keeper._await_confirmed(database, "0/1", stop)
    assert maintained == ["database"]
