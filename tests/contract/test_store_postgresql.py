"""The PostgreSQL store keeps the port's promises, on a real server."""

import os
from collections.abc import Iterator

import psycopg
import pytest
from contract.store_contract import ReferenceStoreContract, StoreContract
from psycopg import sql

from foldline_projector.projection import Projection
from foldline_projector.stores.port import RetryLater, Store
from foldline_projector.stores.postgresql import PostgresStore

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

    def test_no_statement_of_a_batch_is_waited_for_without_end(self) -> None:
        store = self.open()
        assert isinstance(store, PostgresStore)
        with store._transaction() as connection:
            assert connection.execute("SHOW statement_timeout").fetchone() == ("30s",)
            assert connection.info.get_parameters()["tcp_user_timeout"] == "30000"

    def test_a_url_that_is_none_is_refused(self) -> None:
        self.open()
        with pytest.raises(ValueError, match="not a PostgreSQL URL"):
            PostgresStore("postgresql://host:port:1/x y", self.projection(), 1)


class TestPostgresWithReferences(_OnPostgres, ReferenceStoreContract):
    pass
