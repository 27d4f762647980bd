"""The MongoDB store keeps the port's promises, on a real replica set."""

import os
from collections.abc import Iterator

import pymongo
import pytest
from contract.store_contract import ReferenceStoreContract, StoreContract

from foldline_projector.projection import Projection
from foldline_projector.stores.mongodb import MongoStore
from foldline_projector.stores.port import Store

pytestmark = pytest.mark.integration


class _OnMongo(StoreContract):
    store_name = "mongodb"

    @pytest.fixture(autouse=True)
    def _own_objects(self, _own_read_model: None) -> Iterator[None]:
        yield
        with pymongo.MongoClient(os.environ["FOLDLINE_MONGODB_URL"]) as client:
            database = client.get_default_database()
            for generation in (1, 2):
                database.drop_collection(self.read_model.documents(generation))
                database.drop_collection(self.read_model.references(generation))
            for name in ("projections", "generations", "positions", "parked"):
                owned = {"projection": self.read_model.name}
                database[f"foldline_{name}"].delete_many(owned)

    def make_store(self, generation: int = 1) -> Store:
        projection = Projection(read_model=self.read_model, fold_version=1, evolve=lambda *_: {})
        return MongoStore(os.environ["FOLDLINE_MONGODB_URL"], projection, generation)


class TestMongo(_OnMongo):
    pass


class TestMongoWithReferences(_OnMongo, ReferenceStoreContract):
    pass
