"""The pure parts of a rebuild: comparing documents, measuring progress, writing back, planning."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.order_events import CANCELLED, LIFE, customer, numbered
from unit.projector.test_engine import CUSTOMERS_0, ORDERS_0, Silent, Topic

from foldline_projector.engine.engine import Engine
from foldline_projector.engine.generations import layout_of
from foldline_projector.orders import analytics, details, summaries
from foldline_projector.projection import Changes, Projection, Sum
from foldline_projector.rebuild.comparison import Comparison, explain
from foldline_projector.rebuild.operation import Operation, operation_of
from foldline_projector.rebuild.plan import schema_changes
from foldline_projector.rebuild.progress import Meter
from foldline_projector.rebuild.writeback import Bounds, WriteBack
from foldline_projector.stores.memory import Memory, MemoryStore
from foldline_projector.stores.port import Document, Section, TopicPartition

SUMS = (Sum("total", per="currency"),)


def document(
    version: int = 1, by: str = "e", reference: Section | None = None, **body: Any
) -> Document:
    content = {"total": "1.50", "currency": "EUR", "items": [{"lineTotal": "1.50"}], **body}
    return Document("o1", 0, Section(version, f"{by}-{version}", content), reference)


def compare(expected: Document | None, found: Document | None, *declared: str) -> Any:
    comparison = Comparison("test", Changes(fields=declared), SUMS)
    verdict = comparison.judge("o1", expected, found)
    return verdict, comparison.result()


def test_equal_documents_have_equal_digests_and_sums() -> None:
    verdict, result = compare(document(), document())
    assert verdict == "same"
    assert result.passed
    assert (result.documents, result.matched) == (1, 1)
    assert result.expected_digest == result.found_digest
    assert [(each.name, each.expected, each.found) for each in result.totals] == [
        ("total EUR", "1.50", "1.50")
    ]


@pytest.mark.parametrize(
    ("change", "paths"),
    [
        ({"total": "2.00"}, ("total",)),
        ({"items": [{"lineTotal": "9.00"}]}, ("items.lineTotal",)),
        ({"items": []}, ("items",)),
        ({"note": None}, ("note",)),
    ],
)
def test_a_difference_is_named(change: dict[str, Any], paths: tuple[str, ...]) -> None:
    verdict, result = compare(document(), document(**change))
    assert verdict == "different"
    assert not result.passed
    assert [(each.key, each.fields) for each in result.differences] == [("o1", paths)]
    assert result.expected_digest != result.found_digest


@pytest.mark.parametrize(
    ("declared", "change"),
    [
        ("total", {"total": "2.00"}),
        ("items", {"items": [{"lineTotal": "9.00"}]}),
        ("items.lineTotal", {"items": [{"lineTotal": "9.00"}]}),
        ("note", {"note": "new"}),
    ],
)
def test_a_declared_difference_is_none(declared: str, change: dict[str, Any]) -> None:
    verdict, result = compare(document(), document(**change), declared)
    assert verdict == "same"
    assert result.expected_digest == result.found_digest
    assert result.expected_differences == (declared,)


def test_a_declared_field_covers_no_field_of_a_longer_name() -> None:
    assert compare(document(), document(totals="2.00"), "total")[0] == "different"


def test_another_event_at_the_same_version_is_a_difference() -> None:
    _, result = compare(document(), document(by="fork"))
    assert result.differences[0].fields == ("eventId",)


def test_a_reference_section_is_compared_by_its_own_version() -> None:
    ada, eve = Section(1, "c-1", {"name": "Ada"}), Section(1, "c-1", {"name": "Eve"})
    assert compare(document(reference=ada), document(reference=eve))[1].differences[0].fields == (
        "reference.name",
    )
    later = replace(eve, version=2)
    assert compare(document(reference=ada), document(reference=later))[0] == "moved"


@pytest.mark.parametrize(
    ("expected", "found", "told"),
    [
        (document(1), document(2), "version 2 instead of 1"),
        (document(1), None, "missing"),
        (None, document(1), "unexpected"),
    ],
)
def test_what_cannot_be_compared_has_moved(
    expected: Document | None, found: Document | None, told: str
) -> None:
    verdict, result = compare(expected, found)
    assert verdict == "moved"
    assert result.documents == 0
    assert explain(expected, found) == (told,)


def test_the_order_of_comparisons_does_not_matter() -> None:
    results = []
    for keys in (("a", "b", "c"), ("c", "a", "b")):
        comparison = Comparison("test", Changes(), SUMS)
        for key in keys:
            each = replace(document(), key=key)
            comparison.judge(key, each, each)
        results.append(comparison.result())
    assert results[0] == results[1]


def test_an_operation_comes_back_as_written() -> None:
    operation = Operation(
        id="x",
        strategy="BlueGreen",
        step="loaded",
        base=1,
        targets={"order-events/0": 3},
        progress=Meter({"order-events/0": 0}, {"order-events/0": 3}).read(1.0),
        verification=compare(document(), document(total="3.00"))[1],
    )
    assert operation_of(operation.to_record()) == operation
    assert operation.to_record()["progress"]["recordsTotal"] == 3


def test_progress_tells_rate_and_time_left() -> None:
    meter = Meter({"a/0": 10, "a/1": 0}, {"a/0": 110, "a/1": 100})
    assert meter.read(0.0).eta_seconds is None
    meter.reached("a/0", 60)
    progress = meter.read(2.0)
    assert (progress.records_processed, progress.records_total) == (50, 200)
    assert (progress.percent, progress.rate_per_second, progress.eta_seconds) == (25.0, 25.0, 6.0)
    meter.reached("a/0", 110)
    meter.reached("a/1", 100)
    assert meter.read(4.0).eta_seconds == 0.0


def test_a_load_that_begins_again_has_no_negative_rate() -> None:
    meter = Meter({"a/0": 0}, {"a/0": 100})
    meter.reached("a/0", 50)
    meter.read(1.0)
    meter.reached("a/0", 0)
    assert meter.read(2.0).rate_per_second == 0.0


def test_nothing_to_load_is_done() -> None:
    progress = Meter({}, {}).read(0.0)
    assert (progress.percent, progress.eta_seconds) == (100.0, 0.0)


def test_a_changed_layout_is_told_line_by_line() -> None:
    before = summaries.PROJECTION.read_model
    total, *rest = (each for each in before.primary_columns if each.name in ("total", "status"))
    after = replace(
        before,
        primary_columns=(replace(total, type="json"), replace(rest[0], name="note")),
        reference_columns=before.reference_columns,
        indexes={"created": "created_at"},
    )
    lines = schema_changes(layout_of(before), layout_of(after))
    assert "+ primary note money" in lines
    assert "~ primary status text -> json" in lines
    assert "~ index created (created_at, key) -> (created_at)" in lines
    assert schema_changes(layout_of(before), layout_of(before)) == ()


# Writing back: whatever the bounds, the interleaving and the crashes, the store ends as if events had
# been folded one by one.


class Loading:
    """Loads topics through a `WriteBack` as a worker does, and may be killed between polls."""

    def __init__(self, projection: Projection, bounds: Bounds) -> None:
        self.projection = projection
        self.bounds = bounds
        self.memory = Memory()
        self.store = MemoryStore(projection.read_model, 2, self.memory)

    def load(self, topic: Topic, most: int, killed_after: int | None = None) -> None:
        buffer = WriteBack(self.store, topic.at, self.bounds)
        engine = Engine(self.projection, buffer, Silent(), cache_limit=1)
        position = engine.assign([topic.at])[topic.at]
        offset = 0 if position is None else position.offset
        polls = 0
        while offset < len(topic.records):
            if polls == killed_after:
                return
            batch = topic.records[offset : offset + most]
            engine.process({topic.at: batch}, {}, lambda _at, position: position)
            offset += len(batch)
            polls += 1
        buffer.flush()

    def documents(self) -> Mapping[str, Document]:
        return self.memory.generations[self.projection.read_model.name, 2].documents


def live(projection: Projection, *topics: Topic) -> Mapping[str, Document]:
    """What the live engine makes of the topics."""
    memory = Memory()
    store = MemoryStore(projection.read_model, 1, memory)
    for topic in topics:
        engine = Engine(projection, store, Silent(), cache_limit=100)
        engine.assign([topic.at])
        if topic.records:
            engine.process({topic.at: topic.records}, {}, lambda _at, position: position)
    return memory.generations[projection.read_model.name, 1].documents


def topics_of(interleaved: list[int]) -> tuple[Topic, Topic]:
    """Several orders with their events in a given interleaving, and two customers."""
    orders, customers = Topic(ORDERS_0), Topic(CUSTOMERS_0)
    waiting = {n: list(numbered(f"o{n}", LIFE if n % 2 else CANCELLED)) for n in set(interleaved)}
    for n in interleaved:
        if waiting[n]:
            orders.add(waiting[n].pop(0))
    customers.add(*customer("c1", "Ada", "Eve"), *customer("c2", "Bob"))
    return orders, customers


@settings(max_examples=60, deadline=None)
@given(
    interleaved=st.lists(st.integers(0, 4), max_size=40),
    most=st.integers(1, 10),
    documents=st.integers(1, 6),
    events=st.integers(1, 30),
    kills=st.lists(st.integers(0, 6), max_size=3),
    projection=st.sampled_from([summaries.PROJECTION, details.PROJECTION, analytics.PROJECTION]),
)
def test_a_killed_and_bounded_load_ends_as_the_live_fold(
    interleaved: list[int],
    most: int,
    documents: int,
    events: int,
    kills: list[int],
    projection: Projection,
) -> None:
    orders, customers = topics_of(interleaved)
    loading = Loading(projection, Bounds(documents=documents, events=events))
    has_reference = projection.read_model.reference is not None
    topics = [customers, orders] if has_reference else [orders]
    for topic in topics:
        for killed_after in kills:
            loading.load(topic, most, killed_after)
        loading.load(topic, most)
    assert dict(loading.documents()) == dict(live(projection, *topics))
    position = loading.store.positions().get(ORDERS_0)
    assert (0 if position is None else position.offset) == len(orders.records)


def test_an_undecodable_event_is_parked_by_a_load_as_live() -> None:
    orders, _ = topics_of([1, 1])
    orders.raw(b"o1", b"not json")
    loading = Loading(summaries.PROJECTION, Bounds(documents=10, events=10))
    loading.load(orders, 2)
    parked = loading.store.parked([ORDERS_0])
    assert [(each.offset, each.reason) for each in parked] == [(2, "undecodable")]


def test_a_gap_that_closes_within_a_load_leaves_nothing_parked() -> None:
    orders = Topic(ORDERS_0)
    first, second, third = numbered("o1", LIFE[:3])
    orders.add(first, third, second)
    loading = Loading(summaries.PROJECTION, Bounds(documents=10, events=2))
    loading.load(orders, 1)
    assert loading.store.parked([ORDERS_0]) == []
    section = loading.documents()["o1"].primary
    assert section is not None
    assert section.version == 3


def test_a_load_reads_nothing_back_that_it_holds() -> None:
    orders, _ = topics_of([1] * 5)
    loading = Loading(summaries.PROJECTION, Bounds(documents=10, events=100))
    loading.store.load = None  # type: ignore[assignment, method-assign]
    loading.load(orders, 1)
    assert TopicPartition(*ORDERS_0) in loading.store.positions()


def test_a_load_that_goes_on_starts_from_what_was_flushed() -> None:
    orders, _ = topics_of([1] * 8)
    loading = Loading(summaries.PROJECTION, Bounds(documents=100, events=4))
    loading.load(orders, 2, killed_after=2)
    assert loading.store.positions()[ORDERS_0].offset == 4
    loading.load(orders, 2)
    assert dict(loading.documents()) == dict(live(summaries.PROJECTION, orders))
    assert loading.store.parked([ORDERS_0]) == []
