"""Reading a topic up to its end, for the commands."""

from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition

from foldline_projector import inspection
from foldline_projector.inspection import Failed

AT = TopicPartition("order-events", 0)


class Kafka:
    """A partition of five records, of which only so many ever come."""

    def __init__(self, coming: int) -> None:
        self.coming = coming
        self.offset = 0

    def position(self, _: TopicPartition) -> int:
        return self.offset

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        if self.offset == self.coming:
            return {}
        self.offset += 1
        return {AT: [SimpleNamespace(offset=self.offset - 1)]}


def test_records_are_read_up_to_the_end_that_was_known() -> None:
    read = [raw.offset for raw in inspection._until(Kafka(5), {AT: 3})]
    assert read == [0, 1, 2]


def test_a_broker_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(1000))
    monkeypatch.setattr(inspection, "monotonic", lambda: next(now))
    with pytest.raises(Failed, match="nothing came for 10 s"):
        list(inspection._until(Kafka(3), {AT: 5}))
