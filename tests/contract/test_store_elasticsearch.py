"""The Elasticsearch store keeps the port's promises, on a real node."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from contract.store_contract import (
    ORDERS_0,
    ReferenceStoreContract,
    StoreContract,
    body,
    document,
    move,
    name_section,
    numbered,
    parked,
    reference,
    save,
    section,
)
from elasticsearch import ApiError, Elasticsearch

from foldline_contracts.orders.readmodels import ORDER_SEARCH
from foldline_projector.orders.search_index import INDEX
from foldline_projector.projection import Projection
from foldline_projector.stores.elasticsearch import ElasticsearchStore
from foldline_projector.stores.elasticsearch_cas import Refused
from foldline_projector.stores.port import (
    Batch,
    Body,
    Document,
    Fenced,
    Move,
    Position,
    RetryLater,
    Section,
    Store,
    TopicPartition,
)

pytestmark = pytest.mark.integration


class _OnElasticsearch(StoreContract):
    store_name = "elasticsearch"
    transactional = False

    @pytest.fixture(autouse=True)
    def _own_objects(self, _own_read_model: None) -> Iterator[None]:
        yield
        with connect() as client:
            prefix = self.read_model.documents(1).removesuffix("1")
            names = list(client.indices.get(index=f"{prefix}*", expand_wildcards="all"))
            if names:
                client.indices.delete(index=names)

    def make_store(self, generation: int = 1) -> Store:
        projection = Projection(read_model=self.read_model, fold_version=1, evolve=lambda *_: {})
        return ElasticsearchStore(os.environ["FOLDLINE_ELASTICSEARCH_URL"], projection, generation)

    def visible(self) -> list[str]:
        """The keys that a search sees now."""
        with connect() as client:
            hits = client.search(index=self.read_model.documents(1), size=100)["hits"]["hits"]
        return sorted(hit["_id"] for hit in hits)


class TestElasticsearch(_OnElasticsearch):
    pass


class TestElasticsearchWithReferences(_OnElasticsearch, ReferenceStoreContract):
    def test_a_document_is_stored_as_the_contracts_say(self) -> None:
        whole = Document("o1", 2, section(4, {"customerId": "c1"}), name_section(7))
        save(self.open(), Batch(documents=[whole, document("o2", 1)]))
        with connect() as client:
            answer = client.mget(index=self.read_model.documents(1), ids=["o1", "o2"])
        first, second = (each["_source"] for each in answer["docs"])
        assert first == {
            "key": "o1",
            "partition": 2,
            "primary": {"version": 4, "eventId": "e-4", "body": {"customerId": "c1"}},
            "reference": {"version": 7, "eventId": "c-7", "body": {"name": "Ada"}},
        }
        assert second["reference"] is None

    def test_documents_are_found_as_soon_as_their_position_stands(self) -> None:
        store = self.open()
        save(store, Batch(documents=[document("o1", 1)]))
        assert self.visible() == []
        save(store, Batch(documents=[document("o2", 1)], moves=move(None, 2).moves))
        assert self.visible() == ["o1", "o2"]

    def test_a_crash_before_the_positions_leaves_documents_ahead(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batch = Batch(documents=[numbered("o1", 3)], parked=[parked(2)], moves=move(1, 4).moves)
        dying = self.open()
        assert isinstance(dying, ElasticsearchStore)
        save(dying, move(None, 1))
        monkeypatch.setattr(dying, "_park", killed)
        monkeypatch.setattr(dying._client.indices, "refresh", killed, raising=True)
        with pytest.raises(KeyboardInterrupt):
            dying.save(batch)
        assert self.visible() == []
        successor = self.open()
        assert successor.load(["o1"]) == {"o1": numbered("o1", 3)}
        assert successor.positions()[ORDERS_0].offset == 1
        save(successor, batch)
        assert self.visible() == ["o1"]
        assert successor.parked([ORDERS_0]) == [parked(2)]
        assert successor.positions()[ORDERS_0].offset == 4

    def test_a_position_without_documents_shows_what_a_predecessor_wrote(self) -> None:
        save(self.open(), Batch(documents=[document("o1", 1)]))
        save(self.open(), move(None, 1))
        assert self.visible() == ["o1"]

    def test_a_zombie_past_the_comparison_is_fenced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        owner, zombie = self.open(), self.open()
        assert isinstance(zombie, ElasticsearchStore)
        save(owner, Batch(documents=[numbered("o1", 1)], moves=move(None, 1).moves))
        check = zombie._check

        def held(*compared: Any) -> None:
            check(*compared)
            save(owner, Batch(documents=[numbered("o1", 9)], moves=move(1, 9).moves))

        monkeypatch.setattr(zombie, "_check", held)
        with pytest.raises(Fenced):
            zombie.save(Batch(documents=[numbered("o1", 4)], moves=move(1, 4).moves))
        assert owner.positions()[ORDERS_0].offset == 9
        assert owner.load(["o1"]) == {"o1": numbered("o1", 9)}

    def test_one_of_two_owners_wins_a_move(self) -> None:
        owners = [self.open() for _ in range(4)]
        start = Barrier(len(owners))

        def race(number: int) -> bool:
            start.wait(timeout=30)
            try:
                save(owners[number], move(None, number + 1))
            except Fenced:
                return False
            return True

        with ThreadPoolExecutor(len(owners)) as pool:
            won = list(pool.map(race, range(len(owners)), timeout=60))
        assert won.count(True) == 1
        assert owners[0].positions()[ORDERS_0].offset == won.index(True) + 1

    def test_a_zombie_parks_no_released_record_again(self) -> None:
        owner, zombie = self.open(), self.open()
        save(owner, Batch(parked=[parked(5), parked(6)]))
        save(owner, Batch(released=[(ORDERS_0, 5)]))
        save(zombie, Batch(parked=[parked(5), parked(6, reason="fold")]))
        assert owner.parked([ORDERS_0]) == [parked(6, reason="fold")]

    def test_more_parked_records_than_a_page_come_back(self) -> None:
        store = self.open()
        records = [parked(number) for number in range(2500)]
        save(store, Batch(parked=records))
        assert store.parked([ORDERS_0]) == records

    def test_five_thousand_documents_are_one_save(self) -> None:
        store = self.open()
        documents = {
            f"o{number}": Document(f"o{number}", 0, section(1), name_section(1))
            for number in range(5000)
        }
        save(store, Batch(documents=list(documents.values()), moves=move(None, 5000).moves))
        assert store.load(documents) == documents

    def test_a_batch_larger_than_a_request_is_one_save(self) -> None:
        store = self.open()
        long = body(lines={"text": "x" * 400_000})
        documents = {f"o{number}": document(f"o{number}", 1, long) for number in range(40)}
        save(store, Batch(documents=list(documents.values())))
        assert store.load(documents) == documents

    def test_what_is_filled_is_found_after_completion(self) -> None:
        store = self.open()
        store.fill([document("o1", 1), document("o2", 1)], [])
        assert self.visible() == []
        store.complete()
        assert self.visible() == ["o1", "o2"]

    @pytest.mark.parametrize("moment", ["write", "read"])
    def test_filling_while_newer_is_saved_keeps_the_newer(
        self, monkeypatch: pytest.MonkeyPatch, moment: str
    ) -> None:
        owner, loader = self.open(), self.open()
        assert isinstance(loader, ElasticsearchStore)
        save(owner, Batch(documents=[numbered("o1", 1)]))
        step = getattr(loader._own, moment)

        def overtaken(*given: Any) -> Any:
            monkeypatch.undo()
            answer = step(*given) if moment == "read" else None
            save(owner, Batch(documents=[numbered("o1", 9), numbered("o2", 9)]))
            return answer if moment == "read" else step(*given)

        monkeypatch.setattr(loader._own, moment, overtaken)
        loader.fill([numbered("o1", 4), numbered("o2", 4), numbered("o3", 4)], [])
        assert owner.load(["o1", "o3"]) == {"o1": numbered("o1", 9), "o3": numbered("o3", 4)}
        assert owner.load(["o2"])["o2"].primary == numbered("o2", 9).primary

    def test_a_writer_that_wakes_up_after_the_drop_makes_no_index(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loader, saver = self.open(), self.open()
        assert isinstance(saver, ElasticsearchStore)
        monkeypatch.setattr(saver._own, "read", lambda *_: {})
        self.open().drop()
        with pytest.raises(Refused):
            loader.fill([document("o1", 1)], [reference("c1", 1)])
        with pytest.raises(Refused):
            saver.save(Batch(documents=[document("o1", 1)]))
        with connect() as client:
            assert not client.indices.exists(index=self.read_model.documents(1))

    def test_a_scan_may_be_longer_than_a_page(self) -> None:
        documents = [numbered(f"o{number:04}", 1) for number in range(2600)]
        store = self.built(*documents)
        assert store.scan("o0049", "o2549", 10_000) == documents[50:2550]
        assert store.scan("o0049", "o2549", 1500) == documents[50:1550]

    def test_a_shard_that_is_away_asks_for_patience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        store = self.open()
        assert isinstance(store, ElasticsearchStore)
        away = {"_id": "o1", "error": {"type": "no_shard_available_action_exception"}}
        with monkeypatch.context() as patched:
            patched.setattr(store._client, "mget", lambda **_: {"docs": [away]})
            with pytest.raises(RetryLater):
                store.load(["o1"])
        silent = {"_shards": {"total": 1, "successful": 0, "failed": 0}}
        monkeypatch.setattr(store._client.indices, "refresh", lambda **_: silent)
        with pytest.raises(RetryLater):
            store.save(Batch(documents=[document("o1", 1)], moves=move(None, 1).moves))
        assert self.open().load(["o1"]) == {"o1": document("o1", 1)}

    def test_a_refused_document_is_not_skipped(self) -> None:
        store = self.open()
        batch = Batch(documents=[document("x" * 600, 1)], moves=move(None, 1).moves)
        with pytest.raises((Refused, ApiError)):
            store.save(batch)
        assert store.positions() == {}


def killed(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def connect() -> Elasticsearch:
    return Elasticsearch(os.environ["FOLDLINE_ELASTICSEARCH_URL"])


def test_a_node_that_is_away_asks_for_patience() -> None:
    model = ReferenceStoreContract().make_read_model("contract-away")
    projection = Projection(read_model=model, fold_version=1, evolve=lambda *_: {})
    store = ElasticsearchStore("http://127.0.0.1:1", projection, 1)
    with pytest.raises(RetryLater):
        store.prepare()
    with pytest.raises(RetryLater):
        store.create()
    with pytest.raises(RetryLater):
        store.save(Batch(documents=[document("o1", 1)]))
    store.close()


SEARCHED = (
    "primary.body.items.name",
    "primary.body.note",
    "primary.body.reason",
    "primary.body.shipping.*",
    "reference.body.name",
)


def order(customer: str, total: str, item: str, note: str | None = None) -> Body:
    """A body of order-search."""
    return {
        "customerId": customer,
        "status": "CREATED",
        "total": total,
        "currency": "EUR",
        "itemCount": 1,
        "createdAt": "2026-03-01T12:30:15.123456Z",
        "updatedAt": "2026-03-01T12:30:15.123456Z",
        "note": note,
        "reason": None,
        "items": [
            {"productId": "p1", "name": item, "quantity": 1, "unitPrice": total, "lineTotal": total}
        ],
        "shipping": {"recipient": "Ada", "city": "Łódź", "carrier": {"unmapped": ["$field"]}},
    }


class TestOrderSearch:
    """The index of order-search finds what the query room asks for."""

    @pytest.fixture
    def store(self) -> Iterator[ElasticsearchStore]:
        model = replace(ORDER_SEARCH, name=f"contract-{uuid4().hex[:12]}")
        projection = Projection(read_model=model, fold_version=1, evolve=lambda *_: {}, index=INDEX)
        self.index = model.documents(1)
        store = ElasticsearchStore(os.environ["FOLDLINE_ELASTICSEARCH_URL"], projection, 1)
        store.prepare()
        store.create()
        store.save(
            Batch(
                documents=[
                    self.order("o1", order("c1", "39.98", "Café crème", "für Zoë"), "Renée"),
                    self.order("o2", order("c2", "9.5", "Bicycle pump"), "Bob"),
                    self.order("o3", order("c1", "1000.0001", "Bicycle bell"), None),
                ],
                moves={TopicPartition("order-events", 0): Move(None, Position(offset=3, end=3))},
            )
        )
        yield store
        store.close()
        with connect() as client:
            client.indices.delete(index=f"{self.index},{model.references(1)}")

    def order(self, key: str, content: Body, name: str | None) -> Document:
        reference = None if name is None else Section(1, f"c-{name}", {"name": name})
        return Document(key, 0, Section(1, f"e-{key}", content), reference)

    def found(self, **search: Any) -> list[str]:
        with connect() as client:
            hits = client.search(index=self.index, **search)["hits"]["hits"]
        return [hit["_id"] for hit in hits]

    @pytest.mark.parametrize(
        ("words", "keys"),
        [
            ("cafe", ["o1"]),
            ("CRÈME", ["o1"]),
            ("creem", ["o1"]),
            ("renee", ["o1"]),
            ("zoe", ["o1"]),
            ("bicylce pump", ["o2", "o3"]),
            ("Łodz", ["o1", "o2", "o3"]),
            ("unmapped", []),
        ],
    )
    def test_words_are_found_without_accents_and_with_a_typo(
        self, store: Store, words: str, keys: list[str]
    ) -> None:
        match = {"query": words, "fields": list(SEARCHED), "fuzziness": "AUTO"}
        assert sorted(self.found(query={"multi_match": match})) == keys

    def test_totals_are_filtered_and_sorted_as_numbers(self, store: Store) -> None:
        total = "primary.body.total.number"
        assert self.found(query={"match_all": {}}, sort=[total]) == ["o2", "o1", "o3"]
        bounds = {"range": {total: {"gte": "9.5", "lt": "1000.0001"}}}
        assert self.found(query=bounds, sort=["key"]) == ["o1", "o2"]

    def test_facets_count_every_document(self, store: Store) -> None:
        fields = ("status", "customerId", "items.productId")
        facets = {name: {"terms": {"field": f"primary.body.{name}"}} for name in fields}
        with connect() as client:
            answer = client.search(index=self.index, size=0, aggs=facets)["aggregations"]
        counts = {
            name: {each["key"]: each["doc_count"] for each in answer[name]["buckets"]}
            for name in fields
        }
        assert counts == {
            "status": {"CREATED": 3},
            "customerId": {"c1": 2, "c2": 1},
            "items.productId": {"p1": 3},
        }

    def test_an_unmapped_field_changes_no_mapping(self, store: Store) -> None:
        with connect() as client:
            mapping = client.indices.get_mapping(index=self.index)[self.index]["mappings"]
        body = mapping["properties"]["primary"]["properties"]["body"]["properties"]
        assert "carrier" not in body["shipping"]["properties"]
        assert "unitPrice" not in body["items"]["properties"]
