"""The ClickHouse store keeps the port's promises, on the real engine."""

import os
from collections.abc import Iterator

import clickhouse_connect
import pytest
from contract.store_contract import StoreContract

from foldline_projector.projection import Projection
from foldline_projector.stores.clickhouse import ClickHouseStore
from foldline_projector.stores.port import Store

pytestmark = pytest.mark.integration


class TestClickHouse(StoreContract):
    store_name = "clickhouse"
    transactional = False

    @pytest.fixture(autouse=True)
    def _own_objects(self, _own_read_model: None) -> Iterator[None]:
        yield
        url = os.environ["FOLDLINE_CLICKHOUSE_URL"]
        with clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False) as client:
            for generation in (1, 2):
                client.command(f"DROP TABLE IF EXISTS {self.read_model.documents(generation)}")

    def make_store(self, generation: int = 1) -> Store:
        projection = Projection(read_model=self.read_model, fold_version=1, evolve=lambda *_: {})
        return ClickHouseStore(os.environ["FOLDLINE_CLICKHOUSE_URL"], projection, generation)
