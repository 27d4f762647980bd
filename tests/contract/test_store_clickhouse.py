"""The ClickHouse store keeps the port's promises, on the real engine."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from contract.store_contract import (
    LATER,
    MOMENT,
    ORDERS_0,
    StoreContract,
    body,
    document,
    move,
    numbered,
    parked,
    reference,
    save,
    section,
)

from foldline_contracts.state import GENERATIONS, PARKED, POSITIONS, PROJECTIONS
from foldline_projector.projection import Projection
from foldline_projector.stores.clickhouse import ClickHouseStore
from foldline_projector.stores.port import (
    Batch,
    Document,
    Fenced,
    Move,
    Position,
    RetryLater,
    Size,
    Store,
    TopicPartition,
)

pytestmark = pytest.mark.integration


class TestClickHouse(StoreContract):
    store_name = "clickhouse"
    transactional = False

    @pytest.fixture(autouse=True)
    def _own_objects(self, _own_read_model: None) -> Iterator[None]:
        yield
        with self.client() as client:
            for generation in (1, 2, 7):
                client.command(f"DROP TABLE IF EXISTS {self.read_model.documents(generation)}")

    def make_store(self, generation: int = 1) -> Store:
        projection = Projection(read_model=self.read_model, fold_version=1, evolve=lambda *_: {})
        return ClickHouseStore(os.environ["FOLDLINE_CLICKHOUSE_URL"], projection, generation)

    def client(self) -> Any:
        url = os.environ["FOLDLINE_CLICKHOUSE_URL"]
        return clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False)

    def rows(self, statement: str) -> list[dict[str, Any]]:
        with self.client() as client:
            return list(client.query(statement).named_results())

    def test_a_row_is_stored_as_the_contracts_say(self) -> None:
        save(self.open(), Batch(documents=[Document("o1", 2, section(4, body(lines=[])))]))
        (row,) = self.rows(
            "SELECT *, toTypeName(total) AS money, toTypeName(submitted_date) AS day, "
            f"toTypeName(created_at) AS time FROM {self.read_model.documents(1)} FINAL"
        )
        assert {name: str(value) for name, value in row.items() if name != "written_at"} == {
            "key": "o1",
            "partition": "2",
            "primary_version": "4",
            "primary_event_id": "e-4",
            "customer_id": "c1",
            "total": "39.9800",
            "created_at": "2026-03-01 12:30:15.123456",
            "submitted_date": "2026-03-01",
            "item_count": "2",
            "lines": "[]",
            "money": "Nullable(Decimal(38, 4))",
            "day": "Nullable(Date32)",
            "time": "Nullable(DateTime64(6, 'UTC'))",
        }

    def test_merging_parts_changes_nothing(self) -> None:
        store, table = self.open(), self.read_model.documents(1)
        versions = [version for version in range(1, 21) for _ in range(2)]
        Random(7).shuffle(versions)
        for version in versions:
            save(store, Batch(documents=[numbered("o1", version)]))
        before = store.load(["o1"])
        with self.client() as client:
            client.command(f"OPTIMIZE TABLE {table} FINAL")
        assert store.load(["o1"]) == before == {"o1": numbered("o1", 20)}
        assert self.rows(f"SELECT count() AS rows FROM {table}") == [{"rows": 1}]

    def test_an_acknowledged_insert_is_on_disk(self) -> None:
        self.open()
        for name in (self.read_model.documents(1), PROJECTIONS, GENERATIONS, POSITIONS, PARKED):
            (row,) = self.rows(f"SHOW CREATE TABLE {name}")
            assert "fsync_after_insert = 1, fsync_part_directory = 1" in str(row)

    def past_the_comparison(self, monkeypatch: pytest.MonkeyPatch) -> ClickHouseStore:
        """An owner that compared its positions and was then held for so long that it became a zombie."""
        zombie = self.open()
        assert isinstance(zombie, ClickHouseStore)
        monkeypatch.setattr(zombie, "_check", lambda moves: None)
        return zombie

    def test_a_zombie_past_the_comparison_takes_no_position_back(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner, zombie = self.open(), self.past_the_comparison(monkeypatch)
        save(owner, Batch(documents=[numbered("o1", 9)], moves=move(None, 9).moves))
        save(zombie, Batch(documents=[numbered("o1", 4)], moves=move(None, 4).moves))
        assert owner.positions()[ORDERS_0].offset == 9
        assert owner.load(["o1"]) == {"o1": numbered("o1", 9)}

    def test_a_zombie_at_the_same_offset_takes_no_watermark_back(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner, zombie = self.open(), self.past_the_comparison(monkeypatch)
        save(owner, Batch(moves={ORDERS_0: Move(None, Position(offset=5, end=5, as_of=LATER))}))
        save(zombie, Batch(moves={ORDERS_0: Move(None, Position(offset=5, end=5, as_of=MOMENT))}))
        assert owner.positions()[ORDERS_0].as_of == LATER

    def test_a_zombie_ahead_of_the_owner_fences_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        owner, zombie = self.open(), self.past_the_comparison(monkeypatch)
        save(owner, move(None, 5))
        save(zombie, Batch(documents=[numbered("o1", 7)], moves=move(None, 7).moves))
        with pytest.raises(Fenced):
            save(owner, move(5, 6))
        assert owner.positions()[ORDERS_0].offset == 7
        assert owner.load(["o1"]) == {"o1": numbered("o1", 7)}

    def test_a_zombie_parks_no_released_record_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        owner, zombie = self.open(), self.past_the_comparison(monkeypatch)
        save(owner, Batch(parked=[parked(5), parked(6)]))
        save(owner, Batch(released=[(ORDERS_0, 5)]))
        save(zombie, Batch(parked=[parked(5), parked(6, reason="fold")]))
        assert owner.parked([ORDERS_0]) == [parked(6, reason="fold")]

    def test_a_crash_before_the_positions_leaves_documents_ahead(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batch = Batch(documents=[numbered("o1", 3)], parked=[parked(2)], moves=move(1, 4).moves)
        dying = self.open()
        assert isinstance(dying, ClickHouseStore)
        save(dying, move(None, 1))
        insert = dying._database.insert

        def killed(table: str, *rest: Any) -> None:
            if table == "foldline_positions":
                raise KeyboardInterrupt
            insert(table, *rest)

        monkeypatch.setattr(dying._database, "insert", killed)
        with pytest.raises(KeyboardInterrupt):
            dying.save(batch)
        successor = self.open()
        assert successor.load(["o1"]) == {"o1": numbered("o1", 3)}
        assert successor.parked([ORDERS_0]) == [parked(2)]
        assert successor.positions()[ORDERS_0].offset == 1
        save(successor, batch)
        assert successor.load(["o1"]) == {"o1": numbered("o1", 3)}
        assert successor.positions()[ORDERS_0].offset == 4

    def interrupted(
        self,
        monkeypatch: pytest.MonkeyPatch,
        before: Callable[[], object],
        after: Callable[[], object],
        **extra: tuple[str, object],
    ) -> ClickHouseStore:
        """A writer of state records that is held around its first insert, which may say more."""
        held = self.open()
        assert isinstance(held, ClickHouseStore)
        insert = held._database.insert

        def slowly(table: str, columns: Any, rows: Any, settings: Any = None) -> None:
            monkeypatch.undo()
            before()
            columns = {**columns, **{name: kind for name, (kind, _) in extra.items()}}
            rows = [[*row, *(value for _, value in extra.values())] for row in rows]
            insert(table, columns, rows, settings)
            after()

        monkeypatch.setattr(held._database, "insert", slowly)
        return held

    def test_a_writer_that_is_late_is_told_so_whatever_its_clock_says(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner, won = self.open(), []
        late = self.interrupted(
            monkeypatch,
            before=lambda: won.append(owner.replace(PROJECTIONS, self.pointer(1), 0)),
            after=lambda: None,
            written_at=("DateTime64(6, 'UTC')", MOMENT - timedelta(days=9000)),
        )
        assert not late.replace(PROJECTIONS, self.pointer(2), 0)
        assert won == [True]
        assert owner.records(PROJECTIONS) == [{**self.pointer(1), "revision": 1}]

    def test_a_writer_that_others_have_followed_is_told_that_it_wrote(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other, won = self.open(), []
        slow = self.interrupted(
            monkeypatch,
            before=lambda: None,
            after=lambda: won.append(other.replace(PROJECTIONS, self.pointer(2), 1)),
        )
        assert slow.replace(PROJECTIONS, self.pointer(1), 0)
        assert won == [True]
        assert other.records(PROJECTIONS) == [{**self.pointer(2), "revision": 2}]

    def test_a_change_that_a_killed_server_took_and_lost_can_be_made(self) -> None:
        store = self.open()
        assert store.replace(PROJECTIONS, self.pointer(1), 0)
        with self.client() as client:
            name = self.read_model.name
            client.command(f"DELETE FROM {PROJECTIONS} WHERE projection = '{name}'")
        assert store.records(PROJECTIONS) == []
        assert store.replace(PROJECTIONS, self.pointer(2), 0)
        assert store.records(PROJECTIONS) == [{**self.pointer(2), "revision": 1}]

    def test_filling_what_a_newer_save_has_written_changes_nothing(self) -> None:
        owner, loader = self.built(numbered("o1", 1)), self.make_store(2)
        self._opened.append(loader)
        save(owner, Batch(documents=[numbered("o1", 9)]))
        loader.fill([numbered("o1", 4), numbered("o2", 1)], [])
        with self.client() as client:
            client.command(f"OPTIMIZE TABLE {self.read_model.documents(2)} FINAL")
        assert owner.scan(None, None, 10) == [numbered("o1", 9), numbered("o2", 1)]
        assert owner.size().documents == 2

    def test_a_loader_that_wakes_up_after_the_drop_makes_nothing(self) -> None:
        loader = self.built(numbered("o1", 1))
        self.make_store(2).drop()
        with pytest.raises(DatabaseError):
            loader.fill([numbered("o2", 1)], [])
        assert loader.size() == Size(0, 0)

    def test_owners_of_other_partitions_do_not_disturb_each_other(self) -> None:
        stores = [self.open() for _ in range(3)]

        def own(number: int) -> None:
            at, offset = TopicPartition("order-events", number), None
            for step in range(1, 11):
                documents = [numbered(f"o{number}-{step}", step)]
                save(stores[number], Batch(documents=documents, moves=move(offset, step, at).moves))
                offset = step

        with ThreadPoolExecutor(len(stores)) as pool:
            list(pool.map(own, range(len(stores)), timeout=120))
        assert {at.partition: found.offset for at, found in stores[0].positions().items()} == {
            0: 10,
            1: 10,
            2: 10,
        }

    def test_five_thousand_documents_are_one_save(self) -> None:
        store = self.open()
        documents = {f"o{number}": numbered(f"o{number}", 1) for number in range(5000)}
        save(store, Batch(documents=list(documents.values()), moves=move(None, 5000).moves))
        assert store.load(documents) == documents

    def test_times_and_dates_before_1970_come_back(self) -> None:
        store = self.open()
        old = body(createdAt="1912-06-23T00:00:00.000001Z", submittedDate="1912-06-23")
        record = parked(1, recorded_at=MOMENT - timedelta(days=40000))
        save(store, Batch(documents=[document("o1", 1, old)], parked=[record]))
        assert store.load(["o1"]) == {"o1": document("o1", 1, old)}
        assert store.parked([ORDERS_0]) == [record]

    def test_reference_sections_are_refused(self) -> None:
        model = replace(self.read_model, reference="customers", link="customerId")
        projection = Projection(read_model=model, fold_version=1, evolve=lambda *_: {})
        with pytest.raises(ValueError, match="reference"):
            ClickHouseStore(os.environ["FOLDLINE_CLICKHOUSE_URL"], projection, 1)
        with pytest.raises(ValueError, match="reference"):
            self.open().save(Batch(references=[reference("c1", 1)]))

    def test_a_refused_statement_is_not_retried(self) -> None:
        store = self.open()
        with self.client() as client:
            client.command(f"DROP TABLE {self.read_model.documents(1)}")
        with pytest.raises(DatabaseError):
            store.load(["o1"])


def test_a_server_that_is_away_asks_for_patience() -> None:
    model = StoreContract().make_read_model("contract-away")
    projection = Projection(read_model=model, fold_version=1, evolve=lambda *_: {})
    store = ClickHouseStore("http://127.0.0.1:1/foldline_read", projection, 1)
    with pytest.raises(RetryLater):
        store.prepare()
    with pytest.raises(RetryLater):
        store.create()
    with pytest.raises(RetryLater):
        store.save(Batch(documents=[document("o1", 1)]))
    store.close()
