"""The laws of the store port, stated once and run against every implementation.

A store's test module subclasses `StoreContract` (documents, positions, parked records), and
`ReferenceStoreContract` when it serves read models with a reference section, and says only how to
build itself:

    class TestMongo(ReferenceStoreContract):
        def make_store(self, generation: int = 1) -> Store:
            return MongoStore(self.read_model, generation, ...)

`self.read_model` has a name of its own for every test, so tests share a database without sharing
an object; a call of `make_store` within one test must reach the same data (another owner).
Anything a store may answer with `RetryLater` is tried again here until a deadline.
"""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import ClassVar
from uuid import uuid4

import pytest

from foldline_contracts.readmodels import Column, ReadModel, StoreName
from foldline_contracts.state import GENERATIONS, PARK_REASONS, PROJECTIONS
from foldline_projector.stores.port import (
    Batch,
    Body,
    Document,
    Fenced,
    Move,
    ParkedRecord,
    Position,
    Reference,
    RetryLater,
    Section,
    Size,
    StateRecord,
    Store,
    TopicPartition,
)

FOLD_VERSION = 1
ORDERS_0, ORDERS_1 = TopicPartition("order-events", 0), TopicPartition("order-events", 1)
MOMENT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
LATER = datetime(2026, 3, 1, 12, 30, 16, 1, tzinfo=UTC)

PRIMARY_COLUMNS = (
    Column("customer_id", "customerId", "text"),
    Column("total", "total", "money"),
    Column("created_at", "createdAt", "time"),
    Column("submitted_date", "submittedDate", "date"),
    Column("item_count", "itemCount", "integer"),
    Column("lines", "lines", "json"),
)
REFERENCE_COLUMNS = (Column("customer_name", "name", "text"),)


def body(customer: str | None = "c1", **changes: object) -> Body:
    """A primary body with every column type filled."""
    filled: Body = {
        "customerId": customer,
        "total": "39.98",
        "createdAt": "2026-03-01T12:30:15.123456Z",
        "submittedDate": "2026-03-01",
        "itemCount": 2,
        "lines": {"p1": [2, "19.99"], "ß-π": [1, "0.0001"]},
    }
    return {**filled, **changes}


def empty_body() -> Body:
    """A primary body that no event has filled yet: null, never missing."""
    return dict.fromkeys(column.field for column in PRIMARY_COLUMNS)


def section(version: int, content: Body | None = None, by: str = "e") -> Section:
    return Section(version, f"{by}-{version}", body() if content is None else content)


def document(key: str, version: int, content: Body | None = None) -> Document:
    return Document(key, 0, section(version, content))


def numbered(key: str, version: int, customer: str = "c1") -> Document:
    """A document whose body tells its version."""
    return document(key, version, body(customer, itemCount=version))


def name_section(version: int, name: str = "Ada") -> Section:
    return Section(version, f"c-{version}", {"name": name})


def reference(key: str, version: int, fanned_out: int = 0, name: str = "Ada") -> Reference:
    return Reference(key, 1, name_section(version, name), fanned_out)


def parked(offset: int, **changes: object) -> ParkedRecord:
    record = ParkedRecord(
        at=ORDERS_0,
        offset=offset,
        kind="orders",
        aggregate_id="o1",
        version=3,
        event_id="e-3",
        reason="gap",
        detail="version 2 is missing",
        value=b'{"half": \x00\xff',
        recorded_at=MOMENT,
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def move(expected: int | None, offset: int, at: TopicPartition = ORDERS_0) -> Batch:
    return Batch(moves={at: Move(expected, Position(offset=offset, end=offset))})


def save(store: Store, batch: Batch, within: float = 30) -> None:
    """Saves, obeying RetryLater until a deadline."""
    deadline = monotonic() + within
    while True:
        try:
            return store.save(batch)
        except RetryLater as verdict:
            if monotonic() > deadline:
                raise
            sleep(min(verdict.delay, 0.1))


class StoreContract:
    """Laws of documents, positions and parked records, for a read model without reference."""

    #: The store under test, as a read model names it.
    store_name: ClassVar[StoreName] = "postgresql"
    #: Whether a position that another owner has moved is refused.
    compares_positions: ClassVar[bool] = True
    #: Whether documents and positions commit together.
    transactional: ClassVar[bool] = True

    read_model: ReadModel

    def make_store(self, generation: int = 1) -> Store:
        """A new store object of `self.read_model`; another owner of the same data."""
        raise NotImplementedError

    def make_read_model(self, name: str) -> ReadModel:
        return ReadModel(
            name=name,
            store=self.store_name,
            primary="orders",
            primary_columns=PRIMARY_COLUMNS,
            indexes={"created": "created_at, key"},
        )

    @pytest.fixture(autouse=True)
    def _own_read_model(self) -> Iterator[None]:
        self.read_model = self.make_read_model(f"contract-{uuid4().hex[:12]}")
        self._opened: list[Store] = []
        yield
        for store in self._opened:
            store.close()

    def open(self, generation: int = 1) -> Store:
        """A prepared store, closed after the test."""
        store = self.make_store(generation)
        self._opened.append(store)
        store.prepare()
        store.create()
        return store

    # Preparing

    def test_a_new_generation_is_empty(self) -> None:
        store = self.open()
        assert store.load(["o1"]) == {}
        assert store.positions() == {}
        assert store.parked([ORDERS_0, ORDERS_1]) == []

    def test_preparing_again_keeps_everything(self) -> None:
        store = self.open()
        save(store, Batch(documents=[document("o1", 1)], moves=move(None, 1).moves))
        store.prepare()
        store.create()
        assert store.load(["o1"]) == {"o1": document("o1", 1)}
        assert store.positions()[ORDERS_0].offset == 1

    def test_owners_may_prepare_at_once(self) -> None:
        stores = [self.make_store() for _ in range(4)]
        self._opened.extend(stores)
        with ThreadPoolExecutor(len(stores)) as pool:
            for job in [pool.submit(each.prepare) for each in stores]:
                job.result(timeout=60)
            for job in [pool.submit(each.create) for each in stores]:
                job.result(timeout=60)
        save(stores[0], Batch(documents=[document("o1", 1)]))
        assert stores[3].load(["o1"]) == {"o1": document("o1", 1)}

    # State records

    def pointer(self, active: int) -> StateRecord:
        return {
            "projection": self.read_model.name,
            "active_generation": active,
            "previous_generation": None,
            "flipped_at": None,
            "hold": None,
        }

    def generation(self, number: int, **changes: object) -> StateRecord:
        record = {
            "projection": self.read_model.name,
            "generation": number,
            "fold_version": 1,
            "consumer_group": self.read_model.consumer_group(number),
            "state": "building",
            "partitions": {"order-events": 3},
            "layout": {"primary": {"total": "money"}},
            "rebuild": None,
            "created_at": "2026-03-01T12:30:15.123456Z",
        }
        return {**record, **changes}

    def test_a_new_projection_has_no_records(self) -> None:
        store = self.open()
        assert store.records(PROJECTIONS) == []
        assert store.records(GENERATIONS) == []

    def test_records_come_back_with_their_revision_to_another_owner(self) -> None:
        store = self.open()
        hold = {"operation": "ä", "limits": {"1": {"order-events/0": 7}}, "acks": {}, "list": [1]}
        pointer = {
            **self.pointer(3),
            "previous_generation": 2,
            "flipped_at": "2026-03-01T12:30:15.123456Z",
            "hold": hold,
        }
        two = self.generation(2, rebuild={"step": "loaded", "rate": 1.5, "none": None, "deep": {}})
        assert store.replace(PROJECTIONS, pointer, 0)
        assert store.replace(GENERATIONS, self.generation(1), 0)
        assert store.replace(GENERATIONS, two, 0)
        other = self.open(2)
        assert other.records(PROJECTIONS) == [{**pointer, "revision": 1}]
        found = sorted(other.records(GENERATIONS), key=lambda record: record["generation"])
        assert found == [{**self.generation(1), "revision": 1}, {**two, "revision": 1}]

    def test_a_record_is_replaced_at_its_revision_only(self) -> None:
        store = self.open()
        assert not store.replace(PROJECTIONS, self.pointer(9), 1)
        assert store.replace(PROJECTIONS, self.pointer(1), 0)
        assert not store.replace(PROJECTIONS, self.pointer(9), 0)
        assert store.replace(PROJECTIONS, self.pointer(2), 1)
        assert not store.replace(PROJECTIONS, self.pointer(9), 1)
        assert not store.replace(PROJECTIONS, self.pointer(9), 3)
        assert store.records(PROJECTIONS) == [{**self.pointer(2), "revision": 2}]

    def test_a_replaced_record_loses_what_is_null_now(self) -> None:
        store = self.open()
        held = {**self.pointer(1), "hold": {"operation": "a"}}
        assert store.replace(PROJECTIONS, held, 0)
        assert store.replace(PROJECTIONS, self.pointer(1), 1)
        assert store.records(PROJECTIONS) == [{**self.pointer(1), "revision": 2}]

    @pytest.mark.parametrize("revision", [0, 1])
    def test_of_writers_at_once_one_is_told_that_it_wrote(self, revision: int) -> None:
        stores = [self.open() for _ in range(4)]
        if revision:
            assert stores[0].replace(PROJECTIONS, self.pointer(100), 0)
        with ThreadPoolExecutor(len(stores)) as pool:
            jobs = [
                pool.submit(store.replace, PROJECTIONS, self.pointer(number), revision)
                for number, store in enumerate(stores, start=1)
            ]
            won = [number for number, job in enumerate(jobs, start=1) if job.result(timeout=60)]
        assert len(won) == 1
        assert stores[0].records(PROJECTIONS) == [
            {**self.pointer(won[0]), "revision": revision + 1}
        ]

    def test_counting_writers_lose_no_change(self) -> None:
        stores = [self.open() for _ in range(3)]
        assert stores[0].replace(GENERATIONS, self.generation(1, rebuild={"count": 0}), 0)

        def count(store: Store) -> None:
            for _ in range(10):
                while True:
                    record = store.records(GENERATIONS)[0]
                    grown = {**record, "rebuild": {"count": record["rebuild"]["count"] + 1}}
                    if store.replace(GENERATIONS, grown, record["revision"]):
                        break

        with ThreadPoolExecutor(len(stores)) as pool:
            for job in [pool.submit(count, store) for store in stores]:
                job.result(timeout=120)
        assert stores[0].records(GENERATIONS)[0]["rebuild"] == {"count": 30}

    # Bulk loads, scans and the end of a generation

    def built(self, *documents: Document) -> Store:
        """A generation that was loaded in bulk."""
        store = self.make_store(2)
        self._opened.append(store)
        store.prepare()
        store.create(indexed=False)
        store.fill(documents, [])
        store.complete()
        return store

    def test_what_was_filled_is_there_after_completion(self) -> None:
        documents = {f"o{number}": numbered(f"o{number}", 1) for number in range(3000)}
        store = self.built(*documents.values())
        assert store.load(documents) == documents
        assert store.size().documents == len(documents)
        assert store.size().bytes >= 0

    def test_completing_twice_and_creating_again_change_nothing(self) -> None:
        store = self.built(numbered("o1", 1))
        store.complete()
        store.create()
        store.create(indexed=False)
        assert store.load(["o1"]) == {"o1": numbered("o1", 1)}

    def test_filling_is_only_if_newer(self) -> None:
        store = self.built(numbered("o1", 5), numbered("o2", 2))
        store.fill([numbered("o1", 3), numbered("o2", 4), numbered("o3", 1)], [])
        store.fill([numbered("o1", 3), numbered("o2", 4), numbered("o3", 1)], [])
        assert store.load(["o1", "o2", "o3"]) == {
            "o1": numbered("o1", 5),
            "o2": numbered("o2", 4),
            "o3": numbered("o3", 1),
        }

    def test_filling_nothing_is_nothing(self) -> None:
        assert self.built().size().documents == 0

    def test_a_filled_generation_is_saved_into_like_any(self) -> None:
        store = self.built(numbered("o1", 1))
        moves = move(None, 1).moves
        save(store, Batch(documents=[numbered("o1", 2), numbered("o2", 1)], moves=moves))
        assert store.load(["o1", "o2"]) == {"o1": numbered("o1", 2), "o2": numbered("o2", 1)}

    def test_a_scan_walks_every_document_once(self) -> None:
        keys = [f"o{number}" for number in range(25)] + ["A", "a.b", "a~", "Z-1", "_"]
        documents = {key: numbered(key, 1) for key in keys}
        store = self.built(*documents.values())
        seen: list[Document] = []
        after: str | None = None
        while page := store.scan(after, None, 7):
            seen += page
            after = page[-1].key
        assert len(seen) == len(documents)
        assert {each.key: each for each in seen} == documents

    def test_a_scan_stops_at_its_bound(self) -> None:
        store = self.built(*[numbered(f"o{number}", 1) for number in range(9)])
        found = [each.key for each in store.scan("o2", "o6", 100)]
        assert found == ["o3", "o4", "o5", "o6"]
        assert store.scan("o6", "o6", 100) == []

    def test_dropping_leaves_other_generations_and_the_records(self) -> None:
        old, new = self.open(), self.built(numbered("o1", 2))
        save(old, Batch(documents=[document("o1", 1)], moves=move(None, 1).moves))
        save(new, Batch(parked=[parked(3)], moves=move(None, 5).moves))
        assert new.replace(GENERATIONS, self.generation(2), 0)
        new.drop()
        new.drop()
        assert new.size() == Size(0, 0)
        assert new.positions() == {}
        assert new.parked([ORDERS_0]) == []
        assert len(old.records(GENERATIONS)) == 1
        assert old.load(["o1"]) == {"o1": document("o1", 1)}
        assert old.positions() == {ORDERS_0: Position(offset=1, end=1)}

    def test_dropping_what_never_was_is_fine(self) -> None:
        store = self.make_store(7)
        self._opened.append(store)
        store.prepare()
        store.drop()
        assert store.size() == Size(0, 0)

    # Documents

    def test_documents_come_back_as_saved(self) -> None:
        store = self.open()
        saved = {
            "full": document("full", 3),
            "empty": document("empty", 1, empty_body()),
            "odd~.-_": Document("odd~.-_", 2, section(2, body("čustomer 'quoted'\t\\n,"))),
            "large": document("large", 1, body(total="1000000000000000.0001", lines=[])),
        }
        save(store, Batch(documents=list(saved.values())))
        assert store.load([*saved, "unknown"]) == saved

    def test_loading_no_keys_answers_nothing(self) -> None:
        assert self.open().load([]) == {}

    def test_saving_twice_is_saving_once(self) -> None:
        store = self.open()
        batch = Batch(documents=[document("o1", 2), document("o2", 1)])
        save(store, batch)
        save(store, batch)
        assert store.load(["o1", "o2"]) == {"o1": document("o1", 2), "o2": document("o2", 1)}

    def test_newest_version_wins_in_any_order(self) -> None:
        store = self.open()
        orders: Sequence[tuple[int, ...]] = list(itertools.permutations((1, 2, 3)))
        for number, order in enumerate(orders):
            for version in order:
                save(store, Batch(documents=[numbered(f"o{number}", version)]))
        keys = [f"o{number}" for number in range(len(orders))]
        assert store.load(keys) == {key: numbered(key, 3) for key in keys}

    def test_an_equal_version_does_not_overwrite(self) -> None:
        store = self.open()
        save(store, Batch(documents=[document("o1", 2)]))
        save(store, Batch(documents=[Document("o1", 0, section(2, body(itemCount=9), by="fork"))]))
        assert store.load(["o1"]) == {"o1": document("o1", 2)}

    def test_a_batch_mixes_new_newer_and_older(self) -> None:
        store = self.open()
        save(store, Batch(documents=[numbered("old", 5), numbered("mid", 2)]))
        save(store, Batch(documents=[numbered("old", 3), numbered("mid", 4), numbered("new", 1)]))
        assert store.load(["old", "mid", "new"]) == {
            "old": numbered("old", 5),
            "mid": numbered("mid", 4),
            "new": numbered("new", 1),
        }

    def test_a_large_batch_is_one_save(self) -> None:
        store = self.open()
        documents = {f"o{number}": numbered(f"o{number}", 1) for number in range(2000)}
        save(store, Batch(documents=list(documents.values()), moves=move(None, 2000).moves))
        assert store.load(documents.keys()) == documents

    def test_concurrent_writers_end_at_the_newest_version(self) -> None:
        stores = [self.open() for _ in range(3)]
        keys = [f"o{number}" for number in range(50)]

        def write(store: Store, step: int) -> None:
            for version in range(1 + step, 31, 3):
                save(store, Batch(documents=[numbered(key, version) for key in keys]))

        with ThreadPoolExecutor(len(stores)) as pool:
            for job in [pool.submit(write, s, n) for n, s in enumerate(stores)]:
                job.result(timeout=120)
        assert stores[0].load(keys) == {key: numbered(key, 30) for key in keys}

    # Positions

    def test_a_position_comes_back_as_saved_to_another_owner(self) -> None:
        position = Position(
            offset=7,
            end=9,
            recorded_at=MOMENT,
            oldest_recorded_at=LATER,
            as_of=MOMENT,
            incarnation=2,
        )
        bare = Position(offset=0, end=0)
        save(self.open(), Batch(moves={ORDERS_0: Move(None, position), ORDERS_1: Move(None, bare)}))
        assert self.open().positions() == {ORDERS_0: position, ORDERS_1: bare}

    def test_a_position_moves_from_where_it_is(self) -> None:
        store = self.open()
        for expected, offset in ((None, 3), (3, 5), (5, 5), (5, 8)):
            save(store, move(expected, offset))
        assert store.positions() == {ORDERS_0: Position(offset=8, end=8)}

    def test_a_move_may_keep_the_offset_and_record_the_watermark(self) -> None:
        store = self.open()
        save(store, move(None, 3))
        seen = Position(offset=3, end=3, as_of=MOMENT, incarnation=1)
        save(store, Batch(moves={ORDERS_0: Move(3, seen)}))
        assert store.positions() == {ORDERS_0: seen}

    @pytest.mark.parametrize("expected", [None, 2, 4])
    def test_a_position_that_moved_elsewhere_fences(self, expected: int | None) -> None:
        if not self.compares_positions:
            pytest.skip("this store cannot compare positions")
        owner, zombie = self.open(), self.open()
        save(owner, move(None, 3))
        with pytest.raises(Fenced):
            save(zombie, move(expected, 6))
        assert owner.positions() == {ORDERS_0: Position(offset=3, end=3)}

    def test_a_position_that_is_gone_fences(self) -> None:
        if not self.compares_positions:
            pytest.skip("this store cannot compare positions")
        with pytest.raises(Fenced):
            save(self.open(), move(3, 6))

    def test_a_fenced_batch_leaves_nothing(self) -> None:
        if not (self.compares_positions and self.transactional):
            pytest.skip("this store writes documents before positions")
        store = self.open()
        save(store, move(None, 3))
        moves = {**move(None, 1, ORDERS_1).moves, **move(1, 6).moves}
        with pytest.raises(Fenced):
            save(store, Batch(documents=[document("o1", 1)], parked=[parked(2)], moves=moves))
        assert store.load(["o1"]) == {}
        assert store.parked([ORDERS_0]) == []
        assert store.positions() == {ORDERS_0: Position(offset=3, end=3)}

    # Parked records

    def test_parked_records_come_back_by_offset_and_partition(self) -> None:
        store = self.open()
        late, early, elsewhere = parked(12), parked(5), parked(1, at=ORDERS_1)
        save(store, Batch(parked=[late, elsewhere, early], moves=move(None, 13).moves))
        assert store.parked([ORDERS_0]) == [early, late]
        assert store.parked([ORDERS_1]) == [elsewhere]
        assert store.parked([]) == []

    def test_every_reason_and_an_undecodable_value_can_be_parked(self) -> None:
        store = self.open()
        records = [
            parked(number, reason=reason, version=None, event_id=None, value=b"")
            for number, reason in enumerate(PARK_REASONS)
        ]
        save(store, Batch(parked=records))
        assert store.parked([ORDERS_0]) == records

    def test_parking_the_same_record_again_keeps_one(self) -> None:
        store = self.open()
        save(store, Batch(parked=[parked(5)]))
        save(store, Batch(parked=[parked(5)]))
        assert store.parked([ORDERS_0]) == [parked(5)]

    def test_a_parked_record_can_be_judged_again(self) -> None:
        store = self.open()
        save(store, Batch(parked=[parked(5), parked(6)]))
        judged = parked(5, reason="fold", detail="KeyError")
        save(store, Batch(parked=[judged]))
        assert store.parked([ORDERS_0]) == [judged, parked(6)]

    def test_released_records_are_taken_away(self) -> None:
        store = self.open()
        save(store, Batch(parked=[parked(5), parked(6), parked(7)]))
        batch = Batch(documents=[document("o1", 4)], released=[(ORDERS_0, 5), (ORDERS_0, 7)])
        save(store, batch)
        save(store, batch)
        assert store.parked([ORDERS_0]) == [parked(6)]

    # Generations

    def test_generations_do_not_touch_each_other(self) -> None:
        live, new = self.open(1), self.open(2)
        save(live, Batch(documents=[numbered("o1", 5)], moves=move(None, 9).moves))
        save(new, Batch(documents=[numbered("o1", 2)], parked=[parked(1)]))
        save(new, move(None, 4))
        assert live.load(["o1"]) == {"o1": numbered("o1", 5)}
        assert new.load(["o1"]) == {"o1": numbered("o1", 2)}
        assert live.positions()[ORDERS_0].offset == 9
        assert new.positions()[ORDERS_0].offset == 4
        assert live.parked([ORDERS_0]) == []


class ReferenceStoreContract(StoreContract):
    """The same laws for a read model with a reference section, and the laws of references."""

    def make_read_model(self, name: str) -> ReadModel:
        return replace(
            super().make_read_model(name),
            reference="customers",
            link="customerId",
            reference_columns=REFERENCE_COLUMNS,
        )

    def fan_out(self, store: Store, source: Reference, limit: int) -> list[int]:
        """Patches until nothing is left; the size of each step."""
        sizes = []
        while count := store.patch_references(source, limit):
            sizes.append(count)
            assert len(sizes) < 1000, "patching does not come to an end"
        return sizes

    # Bulk loads

    def test_references_are_filled_with_their_documents(self) -> None:
        whole = Document("o1", 2, section(4), name_section(7, "Zoë"))
        store = self.built(whole, document("o2", 1))
        source = reference("c1", 7, fanned_out=7, name="Zoë")
        store.fill([], [source])
        store.fill([], [reference("c1", 6, fanned_out=3, name="old")])
        assert store.load(["o1", "o2"]) == {"o1": whole, "o2": document("o2", 1)}
        assert store.load_references(["c1"]) == {"c1": source}
        assert store.scan(None, None, 10)[0] == whole

    def test_a_filled_generation_is_patched_like_any(self) -> None:
        store = self.built(*[document(f"o{number}", 1) for number in range(5)])
        assert sum(self.fan_out(store, reference("c1", 2), 100)) == 5
        loaded = store.load(["o3"])["o3"]
        assert loaded == Document("o3", 0, section(1), name_section(2))

    def test_references_go_with_their_generation(self) -> None:
        store = self.built(document("o1", 1))
        store.fill([], [reference("c1", 1)])
        store.drop()
        store.create()
        assert store.load_references(["c1"]) == {}

    # Sections

    def test_both_sections_come_back(self) -> None:
        store = self.open()
        whole = Document("o1", 2, section(4), name_section(7, "Zoë"))
        save(store, Batch(documents=[whole]))
        assert store.load(["o1"]) == {"o1": whole}

    def test_an_empty_reference_body_is_not_a_missing_reference(self) -> None:
        store = self.open()
        whole = Document("o1", 0, section(1), Section(1, "c-1", {"name": None}))
        save(store, Batch(documents=[whole, document("o2", 1)]))
        assert store.load(["o1", "o2"]) == {"o1": whole, "o2": document("o2", 1)}

    def test_a_section_that_is_not_given_is_left_alone(self) -> None:
        store = self.open()
        save(store, Batch(documents=[Document("o1", 0, section(1), name_section(1))]))
        save(store, Batch(documents=[Document("o1", 0, section(2), None)]))
        save(store, Batch(documents=[Document("o1", 0, None, name_section(2, "Eve"))]))
        expected = Document("o1", 0, section(2), name_section(2, "Eve"))
        assert store.load(["o1"]) == {"o1": expected}

    def test_sections_are_merged_each_by_its_own_version(self) -> None:
        store = self.open()
        save(store, Batch(documents=[Document("o1", 0, section(3), name_section(5, "new"))]))
        save(store, Batch(documents=[Document("o1", 0, section(4), name_section(4, "old"))]))
        save(store, Batch(documents=[Document("o1", 0, section(2), name_section(6, "newest"))]))
        expected = Document("o1", 0, section(4), name_section(6, "newest"))
        assert store.load(["o1"]) == {"o1": expected}

    # Reference sources

    def test_references_come_back_and_only_newer_ones_are_written(self) -> None:
        store = self.open()
        save(store, Batch(references=[reference("c1", 2, name="two"), reference("c2", 1)]))
        save(store, Batch(references=[reference("c1", 1, name="one")]))
        assert store.load_references(["c1", "c2", "c3"]) == {
            "c1": reference("c1", 2, name="two"),
            "c2": reference("c2", 1),
        }
        assert store.load_references([]) == {}

    def test_the_fanned_out_version_only_grows(self) -> None:
        store = self.open()
        save(store, Batch(references=[reference("c1", 1)]))
        save(store, Batch(references=[reference("c1", 1, fanned_out=1)]))
        assert store.load_references(["c1"]) == {"c1": reference("c1", 1, fanned_out=1)}
        save(store, Batch(references=[reference("c1", 3)]))
        assert store.load_references(["c1"]) == {"c1": reference("c1", 3, fanned_out=1)}
        save(store, Batch(references=[reference("c1", 2, fanned_out=2)]))
        assert store.load_references(["c1"]) == {"c1": reference("c1", 3, fanned_out=2)}

    def test_references_of_generations_are_apart(self) -> None:
        live, new = self.open(1), self.open(2)
        save(live, Batch(references=[reference("c1", 1)]))
        assert new.load_references(["c1"]) == {}

    # Fan-out

    def test_fan_out_reaches_every_document_that_names_the_reference(self) -> None:
        store = self.open()
        mine = [numbered(f"o{number}", 1) for number in range(25)]
        others = [numbered("other", 1, "c2"), document("nobody", 1, body(customer=None))]
        save(store, Batch(documents=[*mine, *others]))
        sizes = self.fan_out(store, reference("c1", 1), limit=10)
        assert sum(sizes) == 25
        assert max(sizes) <= 10
        patched = {doc.key: replace(doc, reference=name_section(1)) for doc in mine}
        assert store.load([doc.key for doc in mine]) == patched
        assert store.load(["other", "nobody"]) == {doc.key: doc for doc in others}

    def test_fan_out_patches_older_sections_only(self) -> None:
        store = self.open()
        newer = Document("newer", 0, section(1), name_section(3, "newer"))
        same = Document("same", 0, section(1), name_section(2, "same"))
        older = Document("older", 0, section(1), name_section(1, "older"))
        save(store, Batch(documents=[newer, same, older]))
        assert self.fan_out(store, reference("c1", 2, name="two"), limit=10) == [1]
        assert store.load(["newer", "same", "older"]) == {
            "newer": newer,
            "same": same,
            "older": replace(older, reference=name_section(2, "two")),
        }

    def test_fan_out_without_documents_ends_at_once(self) -> None:
        assert self.open().patch_references(reference("c1", 1), 10) == 0

    def test_a_document_saved_after_fan_out_keeps_its_patched_reference(self) -> None:
        store = self.open()
        save(store, Batch(documents=[numbered("o1", 1)]))
        self.fan_out(store, reference("c1", 1), limit=10)
        save(store, Batch(documents=[numbered("o1", 2)]))
        assert store.load(["o1"]) == {"o1": replace(numbered("o1", 2), reference=name_section(1))}

    def test_fan_out_and_saves_at_once_lose_nothing(self) -> None:
        writer, patcher = self.open(), self.open()
        keys = [f"o{number}" for number in range(30)]
        save(writer, Batch(documents=[numbered(key, 1) for key in keys]))

        def rename() -> None:
            for version in range(1, 11):
                self.patiently_fan_out(patcher, reference("c1", version))

        with ThreadPoolExecutor(1) as pool:
            renaming = pool.submit(rename)
            for version in range(2, 21):
                save(writer, Batch(documents=[numbered(key, version) for key in keys]))
            renaming.result(timeout=120)
        expected = {key: replace(numbered(key, 20), reference=name_section(10)) for key in keys}
        assert writer.load(keys) == expected

    def patiently_fan_out(self, store: Store, source: Reference) -> None:
        deadline = monotonic() + 60
        while True:
            try:
                self.fan_out(store, source, limit=7)
                return
            except RetryLater as verdict:
                if monotonic() > deadline:
                    raise
                sleep(min(verdict.delay, 0.1))
