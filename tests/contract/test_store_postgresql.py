"""The PostgreSQL store keeps the port's promises, on a real server."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from contract.store_contract import (
    ReferenceStoreContract,
    StoreContract,
    document,
    numbered,
    reference,
    save,
)
from psycopg import sql

from foldline_contracts.state import GENERATIONS, PROJECTIONS
from foldline_projector.projection import Projection
from foldline_projector.stores.port import Batch, RetryLater, Size, Store
from foldline_projector.stores.postgresql import PostgresStore
from foldline_projector.stores.postgresql_tables import Layout
from foldline_query.readers.port import Generation
from foldline_query.readers.postgresql import PostgresReader
from foldline_query.readers.postgresql import PostgresStore as QueryStore

pytestmark = pytest.mark.integration


class _OnPostgres(StoreContract):
    @pytest.fixture(autouse=True)
    def _own_objects(self, _own_read_model: None) -> Iterator[None]:
        yield
        for store in self._opened:
            store.close()
        with psycopg.connect(os.environ["FOLDLINE_READ_DATABASE_URL"]) as connection:
            for generation in (1, 2):
                for name in (
                    self.read_model.documents(generation),
                    self.read_model.references(generation),
                ):
                    drop = sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name))
                    connection.execute(drop)
            for name in ("projections", "generations", "positions", "parked"):
                delete = sql.SQL("DELETE FROM {} WHERE projection = %s")
                table = sql.Identifier(f"foldline_{name}")
                connection.execute(delete.format(table), (self.read_model.name,))

    def projection(self) -> Projection:
        return Projection(read_model=self.read_model, fold_version=1, evolve=lambda *_: {})

    def make_store(self, generation: int = 1) -> Store:
        url = os.environ["FOLDLINE_READ_DATABASE_URL"]
        return PostgresStore(url, self.projection(), generation)


class TestPostgres(_OnPostgres):
    def test_a_server_that_is_away_asks_for_patience(self) -> None:
        self.open()
        away = "postgresql://foldline@127.0.0.1:1/nowhere"
        store = PostgresStore(away, self.projection(), 1)
        self._opened.append(store)
        with pytest.raises(RetryLater):
            store.positions()

    def test_a_url_that_is_none_is_refused(self) -> None:
        self.open()
        with pytest.raises(ValueError, match="not a PostgreSQL URL"):
            PostgresStore("postgresql://host:port:1/x y", self.projection(), 1)

    def indexes(self) -> set[str]:
        """Secondary indexes of generation 2."""
        table = self.read_model.documents(2)
        with psycopg.connect(os.environ["FOLDLINE_READ_DATABASE_URL"]) as connection:
            names = "SELECT indexname FROM pg_indexes WHERE tablename = %s"
            found = connection.execute(names, (table,)).fetchall()
        return {name.removeprefix(f"{table}_") for (name,) in found} - {"pkey"}

    def test_indexes_and_statistics_come_with_completion(self) -> None:
        store = self.make_store(2)
        self._opened.append(store)
        store.prepare()
        store.create(indexed=False)
        store.fill([document(f"o{number}", 1) for number in range(500)], [])
        assert self.indexes() == set()
        store.complete()
        assert self.indexes() == {"created"}
        with psycopg.connect(os.environ["FOLDLINE_READ_DATABASE_URL"]) as connection:
            known = "SELECT n_distinct FROM pg_stats WHERE tablename = %s AND attname = 'key'"
            table = self.read_model.documents(2)
            assert connection.execute(known, (table,)).fetchone() == (-1,)

    def test_an_indexed_generation_has_its_indexes_at_once(self) -> None:
        self.open(2)
        assert self.indexes() == {"created"}

    def test_a_scan_walks_the_primary_key(self) -> None:
        self.built(*[document(f"o{number}", 1) for number in range(2000)])
        statement = Layout(self.read_model, 2).scan(after=True, until=True)
        with psycopg.connect(os.environ["FOLDLINE_READ_DATABASE_URL"]) as connection:
            explain = sql.SQL("EXPLAIN {}").format(statement)
            plan = connection.execute(explain, ("o1", "o9", 10)).fetchall()
        text = "\n".join(line for (line,) in plan)
        assert f"Index Scan using {self.read_model.documents(2)}_pkey" in text
        assert "Sort" not in text

    def test_a_loader_that_wakes_up_after_the_drop_makes_nothing(self) -> None:
        store = self.built(document("o1", 1))
        store.drop()
        with pytest.raises(psycopg.errors.UndefinedTable):
            store.fill([document("o1", 1)], [])
        with pytest.raises(psycopg.errors.UndefinedTable):
            store.complete()
        assert store.size() == Size(0, 0)

    def test_owners_may_complete_at_once(self) -> None:
        stores = [self.make_store(2) for _ in range(4)]
        self._opened.extend(stores)
        stores[0].prepare()
        stores[0].create(indexed=False)
        stores[0].fill([document("o1", 1)], [])
        with ThreadPoolExecutor(len(stores)) as pool:
            for job in [pool.submit(each.complete) for each in stores]:
                job.result(timeout=60)
        assert stores[3].load(["o1"]) == {"o1": document("o1", 1)}

    def test_a_loader_beside_a_newer_writer_overwrites_nothing(self) -> None:
        loader, writer = self.built(), self.open(2)
        keys = [f"o{number}" for number in range(100)]
        stale = [numbered(key, 1) for key in keys]

        def write() -> None:
            for version in range(2, 21):
                save(writer, Batch(documents=[numbered(key, version) for key in keys]))

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            while not writing.done():
                loader.fill(stale, [])
            writing.result()
        loader.fill(stale, [])
        assert writer.load(keys) == {key: numbered(key, 20) for key in keys}

    def test_the_query_room_reads_the_generation(self) -> None:
        store = self.open()
        assert store.replace(PROJECTIONS, self.pointer(2), 0)
        assert store.replace(GENERATIONS, self.generation(2), 0)
        room = QueryStore(os.environ["FOLDLINE_READ_DATABASE_URL"], timeout=10)
        self._opened.append(room)
        found = PostgresReader(room, self.read_model).generation()
        assert found == Generation(2, {"order-events": 3}, "building", 1)


class TestPostgresWithReferences(_OnPostgres, ReferenceStoreContract):
    def test_a_batch_mixes_new_newer_and_older_references(self) -> None:
        store = self.built()
        store.fill([], [reference("c1", 5), reference("c2", 1, fanned_out=1)])
        mixed = [reference("c3", 1), reference("c2", 2), reference("c1", 4, fanned_out=4)]
        store.fill([], mixed)
        assert store.load_references(["c1", "c2", "c3"]) == {
            "c1": reference("c1", 5, fanned_out=4),
            "c2": reference("c2", 2, fanned_out=1),
            "c3": reference("c3", 1),
        }
