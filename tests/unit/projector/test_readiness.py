"""When a member of the group says that it is ready."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from kafka.structs import TopicPartition as KafkaPartition

from foldline_projector.engine.consumer import Loop, Parts
from foldline_projector.engine.engine import Engine
from foldline_projector.engine.metrics import Metrics
from foldline_projector.engine.watermarks import Watermarks
from foldline_projector.orders import summaries
from foldline_projector.stores.memory import Memory, MemoryStore
from foldline_projector.stores.port import Position, RetryLater, TopicPartition

AT = KafkaPartition("order-events", 0)


class Kafka:
    """A consumer that joins in its first poll, and is given some partitions."""

    def __init__(self, given: Iterable[KafkaPartition]) -> None:
        self.given = set(given)
        self.generation = -1
        self.listener: Any = None

    def subscribe(self, topics: list[str], listener: Any) -> None:
        self.listener = listener

    def poll(self, timeout_ms: int) -> dict[KafkaPartition, list[Any]]:
        if self.generation < 0:
            self.generation = 1
            if self.given:
                self.listener.on_partitions_assigned(self.given)
        return {}

    def group_metadata(self) -> SimpleNamespace:
        return SimpleNamespace(generation_id=self.generation)

    def assignment(self) -> set[KafkaPartition]:
        return self.given

    def beginning_offsets(self, at: list[KafkaPartition], **_: int) -> dict[KafkaPartition, int]:
        return dict.fromkeys(at, 0)

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


class Away(MemoryStore):
    is_away = True

    def positions(self) -> dict[TopicPartition, Position]:
        if self.is_away:
            raise RetryLater(0, "away")
        return super().positions()


def loop(kafka: Kafka, store: MemoryStore) -> Loop:
    store.prepare({"order-events": 1, "customer-events": 1}, 1)
    metrics = Metrics("order-summaries", 1, Watermarks())
    reader: Any = SimpleNamespace(start=lambda: None, stop=lambda: None, check=lambda: None)
    engine = Engine(summaries.PROJECTION, store, metrics, 10)
    return Loop(Parts(engine, kafka, Watermarks(), reader, metrics, 10.0))


def run(of: Loop, steps: int) -> bool:
    """Whether it is ready after so many steps."""
    left = iter(range(steps))
    of.run(lambda: next(left, None) is None)
    return of.is_ready


def test_a_member_without_partitions_is_ready_once_it_joined() -> None:
    member = loop(Kafka([]), MemoryStore(summaries.PROJECTION.read_model, 1, Memory()))
    assert not run(member, 0)
    assert run(member, 1)


def test_a_member_is_ready_once_its_store_told_where_it_was() -> None:
    store = Away(summaries.PROJECTION.read_model, 1, Memory())
    member = loop(Kafka([AT]), store)
    assert not run(member, 0)
    assert not run(member, 1)
    store.is_away = False
    assert run(member, 1)
