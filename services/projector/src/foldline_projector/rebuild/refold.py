"""Folds a projection again from Kafka in memory, and compares what is stored with that.

The fold is the live one, so what is compared is everything after it: what was lost, doubled,
overwritten or changed by hand on the way from Kafka to the store. Memory is bounded by taking the
keys in several passes, each over the whole log; reference sources are few and are kept in each pass.

Concurrency: reads only. Keys that the live projector moved meanwhile are compared after the fold has
read on. Failure: a broker or store that is away ends it with an error; nothing was written.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from zlib import crc32

from kafka import TopicPartition as KafkaPartition

from foldline_projector.engine.engine import Engine
from foldline_projector.engine.generations import Generation
from foldline_projector.engine.kafka import lone_consumer
from foldline_projector.projection import Changes, Projection
from foldline_projector.rebuild.comparison import Comparison, explain
from foldline_projector.rebuild.loader import FETCH_BYTES, POLL_RECORDS, Silent, unmarked
from foldline_projector.rebuild.operation import Verification
from foldline_projector.rebuild.verify import PAGE, Tell, settle
from foldline_projector.rebuild.writeback import Bounds, WriteBack
from foldline_projector.stores.memory import Memory, MemoryStore
from foldline_projector.stores.port import Document, Store, TopicPartition

POLL_MS = 500
TIMEOUT_MS = 10_000
#: Documents that one pass may hold in memory.
DOCUMENTS_AT_ONCE = 200_000
_ALL = Bounds(documents=2**62, events=2**62)


class Refold:
    """The documents of one pass, as Kafka's events make them."""

    def __init__(
        self, projection: Projection, places: Sequence[TopicPartition], consumer: Any
    ) -> None:
        self._projection = projection
        self._consumer = consumer
        nothing = MemoryStore(projection.read_model, 1, Memory())
        self._folded = WriteBack(nothing, places[0], _ALL)
        self._engine = Engine(projection, self._folded, Silent(), cache_limit=1)
        self._engine.assign(places)
        self._places = [KafkaPartition(*at) for at in places]
        consumer.assign(self._places)
        consumer.seek_to_beginning(*self._places)

    def advance(self, mine: "Pass") -> None:
        """Folds on, up to the ends that the partitions have now."""
        ends = self._consumer.end_offsets(self._places, timeout_ms=TIMEOUT_MS)
        while any(self._consumer.position(at) < end for at, end in ends.items()):
            for at, records in self._consumer.poll(timeout_ms=POLL_MS).items():
                self._fold(TopicPartition(*at), [each for each in records if mine.has(each)])

    def _fold(self, at: TopicPartition, records: list[Any]) -> None:
        if records:
            self._engine.process({at: records}, {}, unmarked)

    @property
    def keys(self) -> Iterator[str]:
        """Keys of all documents."""
        return iter(self._folded.documents)

    def load(self, keys: list[str]) -> dict[str, Document]:
        """Documents with the reference sections that are newest now."""
        found = self._folded.load(keys)
        return {key: self._referenced(document) for key, document in found.items()}

    def _referenced(self, document: Document) -> Document:
        link = self._projection.read_model.link
        if link is None or document.primary is None:
            return document
        name = document.primary.body[link]
        source = self._folded.load_references([name]).get(name) if name is not None else None
        return replace(document, reference=None if source is None else source.section)


class Pass:
    """One part of all keys."""

    def __init__(self, projection: Projection, number: int, of: int) -> None:
        self._primary = projection.read_model.topics[0]
        self._number = number
        self._of = of

    def has(self, record: Any) -> bool:
        """Whether a record is needed: every reference, and the pass's own documents."""
        return record.topic != self._primary or self.has_key(record.key or b"")

    def has_key(self, key: bytes) -> bool:
        """Whether a document is of this pass."""
        return crc32(key) % self._of == self._number


def against_kafka(
    projection: Projection,
    generation: Generation,
    store: Store,
    kafka: Mapping[str, Any],
    seconds: float,
    tell: Tell,
) -> Verification:
    """Compares every document of a generation with a fold of the whole log.

    `seconds`: how long keys that move may be asked again. Raises KafkaError or RetryLater.
    """
    comparison = Comparison("a fold of Kafka's events", Changes(), projection.sums)
    passes = 1 + store.size().documents // DOCUMENTS_AT_ONCE
    with _consumer(kafka, projection) as consumer:
        for number in range(passes):
            mine = Pass(projection, number, passes)
            refold = Refold(projection, generation.places(), consumer)
            refold.advance(mine)
            moved = _compare(comparison, refold, store, mine, tell)

            def expected(keys: list[str], refold: Refold = refold, mine: Pass = mine) -> Any:
                refold.advance(mine)
                return refold.load(keys)

            left = settle(comparison, moved, expected, store.load, seconds)
            ours, theirs = refold.load(left), store.load(left)
            for key in left:
                comparison.differ(key, explain(ours.get(key), theirs.get(key)))
    return comparison.result()


def _compare(
    comparison: Comparison, refold: Refold, store: Store, mine: Pass, tell: Tell
) -> list[str]:
    """Compares all documents of a pass; answers the keys that have moved, or are on one side only."""
    missing = set(refold.keys)
    moved: list[str] = []
    after: str | None = None
    seen = 0
    while page := store.scan(after, None, PAGE):
        after = page[-1].key
        found = {each.key: each for each in page if mine.has_key(each.key.encode())}
        expected = refold.load(list(found))
        moved += [
            key
            for key, document in found.items()
            if comparison.judge(key, expected.get(key), document) == "moved"
        ]
        missing -= found.keys()
        seen += len(page)
        tell(seen)
    return moved + sorted(missing)


@contextmanager
def _consumer(kafka: Mapping[str, Any], projection: Projection) -> Iterator[Any]:
    consumer = lone_consumer(
        kafka,
        f"{projection.read_model.name}-verify",
        max_partition_fetch_bytes=FETCH_BYTES,
        max_poll_records=POLL_RECORDS,
    )
    try:
        yield consumer
    finally:
        consumer.close()
