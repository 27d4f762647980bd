"""The Elasticsearch store keeps the port's promises, on a real node."""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from contract.store_contract import ReferenceStoreContract, StoreContract
from elasticsearch import Elasticsearch

from foldline_contracts.orders.readmodels import ORDER_SEARCH
from foldline_projector.orders.search_index import INDEX
from foldline_projector.projection import Projection
from foldline_projector.stores.elasticsearch import ElasticsearchStore
from foldline_projector.stores.port import (
    Batch,
    Body,
    Document,
    Move,
    Position,
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
        with Elasticsearch(os.environ["FOLDLINE_ELASTICSEARCH_URL"]) as client:
            prefix = self.read_model.documents(1).removesuffix("1")
            names = list(client.indices.get(index=f"{prefix}*", expand_wildcards="all"))
            if names:
                client.indices.delete(index=names)

    def make_store(self, generation: int = 1) -> Store:
        projection = Projection(read_model=self.read_model, fold_version=1, evolve=lambda *_: {})
        return ElasticsearchStore(os.environ["FOLDLINE_ELASTICSEARCH_URL"], projection, generation)


class TestElasticsearch(_OnElasticsearch):
    pass


class TestElasticsearchWithReferences(_OnElasticsearch, ReferenceStoreContract):
    pass


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
        store.prepare({"order-events": 1, "customer-events": 1}, 1)
        store.save(
            Batch(
                documents=[
                    self.document("o1", order("c1", "39.98", "Café crème", "für Zoë"), "Renée"),
                    self.document("o2", order("c2", "9.5", "Bicycle pump"), "Bob"),
                    self.document("o3", order("c1", "1000.0001", "Bicycle bell"), None),
                ],
                moves={TopicPartition("order-events", 0): Move(None, Position(offset=3, end=3))},
            )
        )
        yield store
        store.close()
        with self.client() as client:
            client.indices.delete(index=f"{self.index},{model.references(1)}")

    def client(self) -> Elasticsearch:
        return Elasticsearch(os.environ["FOLDLINE_ELASTICSEARCH_URL"])

    def document(self, key: str, body: Body, name: str | None) -> Document:
        reference = None if name is None else Section(1, f"c-{name}", {"name": name})
        return Document(key, 0, Section(1, f"e-{key}", body), reference)

    def found(self, **search: Any) -> list[str]:
        with self.client() as client:
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
        with self.client() as client:
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
        with self.client() as client:
            mapping = client.indices.get_mapping(index=self.index)[self.index]["mappings"]
        body = mapping["properties"]["primary"]["properties"]["body"]["properties"]
        assert "carrier" not in body["shipping"]["properties"]
        assert "unitPrice" not in body["items"]["properties"]
