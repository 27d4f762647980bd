"""The MongoDB store keeps the port's promises, on a real replica set."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pymongo
import pytest
from contract.store_contract import (
    ORDERS_0,
    ReferenceStoreContract,
    StoreContract,
    document,
    move,
    name_section,
    numbered,
    parked,
    reference,
    save,
    section,
)
from pymongo.errors import OperationFailure

from foldline_contracts.state import GENERATIONS, PROJECTIONS
from foldline_projector.projection import Projection
from foldline_projector.stores.mongodb import MongoStore
from foldline_projector.stores.port import Batch, Document, Fenced, RetryLater, Store
from foldline_query.readers.mongodb import MongoReader
from foldline_query.readers.mongodb import MongoStore as QueryStore
from foldline_query.readers.port import Generation

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
        room = QueryStore(os.environ["FOLDLINE_MONGODB_URL"], timeout=10)
        self._opened.append(room)
        found = MongoReader(room, self.read_model).generation()
        assert found == Generation(2, {"order-events": 3}, "building", 1)


class TestMongoWithReferences(_OnMongo, ReferenceStoreContract):
    pass

    def database(self) -> pymongo.database.Database:
        client = pymongo.MongoClient(os.environ["FOLDLINE_MONGODB_URL"])
        self._opened.append(client)
        return client.get_default_database()

    def test_a_document_is_stored_as_the_contracts_say(self) -> None:
        whole = Document("o1", 2, section(4, {"customerId": "c1"}), name_section(7))
        save(self.open(), Batch(documents=[whole, Document("o2", 0, section(1, {}))]))
        found = {row["_id"]: row for row in self.database()[self.read_model.documents(1)].find()}
        assert found["o1"] == {
            "_id": "o1",
            "partition": 2,
            "primary": {"version": 4, "eventId": "e-4", "body": {"customerId": "c1"}},
            "reference": {"version": 7, "eventId": "c-7", "body": {"name": "Ada"}},
        }
        assert found["o2"]["reference"] is None

    def test_operators_in_a_body_stay_text(self) -> None:
        store = self.open()
        odd = {"customerId": "$$NOW", "note": "$primary", "nested": {"$a.b": ["$x", {"c.d": 1}]}}
        save(store, Batch(documents=[document("o1", 1, odd), document("o2", 1, {})]))
        assert store.load(["o1", "o2"]) == {
            "o1": document("o1", 1, odd),
            "o2": document("o2", 1, {}),
        }

    def test_a_failure_inside_a_batch_leaves_nothing(self) -> None:
        store = self.open()
        save(store, move(None, 3))
        broken = parked(1, version=2**70)
        batch = Batch(
            documents=[document("o1", 1)],
            references=[reference("c1", 1)],
            parked=[broken],
            moves=move(3, 6).moves,
        )
        with pytest.raises(OverflowError):
            store.save(batch)
        assert store.load(["o1"]) == {}
        assert store.load_references(["c1"]) == {}
        assert store.positions()[ORDERS_0].offset == 3

    def test_one_of_two_owners_wins_a_move(self) -> None:
        owners = [self.open() for _ in range(4)]
        start = Barrier(len(owners))

        def race(number: int) -> bool:
            batch = Batch(
                documents=[numbered("o1", number + 1)], moves=move(None, number + 1).moves
            )
            start.wait(timeout=30)
            try:
                save(owners[number], batch)
            except Fenced:
                return False
            return True

        with ThreadPoolExecutor(len(owners)) as pool:
            won = list(pool.map(race, range(len(owners)), timeout=60))
        assert won.count(True) == 1
        winner = won.index(True) + 1
        assert owners[0].positions()[ORDERS_0].offset == winner
        assert owners[0].load(["o1"]) == {"o1": numbered("o1", winner)}

    def test_conflicting_transactions_ask_for_patience(self) -> None:
        store, rival = self.open(), self.database()
        documents = rival[self.read_model.documents(1)]
        save(store, Batch(documents=[document("o1", 1)]))
        with rival.client.start_session() as session, session.start_transaction():
            documents.update_one({"_id": "o1"}, {"$set": {"held": True}}, session=session)
            with pytest.raises(RetryLater):
                store.save(Batch(documents=[document("o1", 2)]))
            session.abort_transaction()
        save(store, Batch(documents=[document("o1", 2)]))
        assert store.load(["o1"])["o1"].primary == section(2)

    def test_five_thousand_documents_with_references_are_one_save(self) -> None:
        store = self.open()
        documents = {
            f"o{number}": Document(f"o{number}", 0, section(1), name_section(1))
            for number in range(5000)
        }
        save(store, Batch(documents=list(documents.values()), moves=move(None, 5000).moves))
        assert store.load(documents) == documents

    def test_fan_out_is_served_by_an_index(self) -> None:
        store = self.open()
        save(store, Batch(documents=[document("o1", 1)]))
        indexes = self.database()[self.read_model.documents(1)].index_information()
        keys = [index["key"] for index in indexes.values()]
        assert [("primary.body.customerId", 1), ("reference.version", 1)] in keys

    def test_the_index_comes_with_completion(self) -> None:
        store = self.make_store(2)
        self._opened.append(store)
        store.prepare()
        store.create(indexed=False)
        store.fill([document("o1", 1)], [])
        documents = self.database()[self.read_model.documents(2)]
        assert list(documents.index_information()) == ["_id_"]
        store.complete()
        assert len(documents.index_information()) == 2

    def test_filled_and_saved_documents_are_stored_alike(self) -> None:
        odd = {"customerId": "$$NOW", "note": "$primary", "nested": {"$a.b": ["$x", {"c.d": 1}]}}
        both = [Document("o1", 2, section(4, odd), name_section(7)), document("o2", 1, {})]
        sources = [reference("c1", 7, fanned_out=3)]
        save(self.open(1), Batch(documents=both, references=sources))
        self.built(*both).fill([], sources)
        database, model = self.database(), self.read_model
        for name in (model.documents, model.references):
            saved, filled = (list(database[name(at)].find().sort("_id")) for at in (1, 2))
            assert saved
            assert filled == saved

    def test_filling_again_mixes_new_newer_and_older_sections(self) -> None:
        store = self.built(
            Document("o1", 0, section(3), name_section(5)), document("o2", 1), document("o3", 2)
        )
        store.fill(
            [
                Document("o1", 0, section(2), name_section(6)),
                Document("o2", 0, section(1), name_section(1)),
                document("o3", 3),
                document("o4", 1),
            ],
            [],
        )
        assert store.load(["o1", "o2", "o3", "o4"]) == {
            "o1": Document("o1", 0, section(3), name_section(6)),
            "o2": Document("o2", 0, section(1), name_section(1)),
            "o3": document("o3", 3),
            "o4": document("o4", 1),
        }

    def test_a_loader_that_wakes_up_after_the_drop_makes_nothing(self) -> None:
        store = self.built(document("o1", 1))
        store.drop()
        with pytest.raises(LookupError):
            store.fill([document("o1", 1)], [])
        with pytest.raises(LookupError):
            store.complete()
        assert self.read_model.documents(2) not in self.database().list_collection_names()

    def test_a_refused_statement_is_not_retried(self) -> None:
        store = self.open()
        name = self.read_model.documents(1)
        self.database().command("collMod", name, validator={"never": True})
        with pytest.raises(OperationFailure):
            store.save(Batch(documents=[document("o1", 1)]))


def test_a_server_that_is_away_asks_for_patience() -> None:
    url = "mongodb://127.0.0.1:1/foldline_read?serverSelectionTimeoutMS=200"
    model = StoreContract().make_read_model("contract-away")
    store = MongoStore(url, Projection(read_model=model, fold_version=1, evolve=lambda *_: {}), 1)
    with pytest.raises(RetryLater):
        store.prepare()
    with pytest.raises(RetryLater):
        store.save(Batch(documents=[document("o1", 1)]))
    store.close()


def test_a_url_without_a_database_is_refused() -> None:
    model = StoreContract().make_read_model("contract-nowhere")
    projection = Projection(read_model=model, fold_version=1, evolve=lambda *_: {})
    with pytest.raises(ValueError, match="database"):
        MongoStore("mongodb://127.0.0.1:1/", projection, 1)
