"""The Elasticsearch store keeps the port's promises, on a real node."""

import os
from collections.abc import Iterator

import pytest
from contract.store_contract import ReferenceStoreContract, StoreContract
from elasticsearch import Elasticsearch

from foldline_projector.projection import Projection
from foldline_projector.stores.elasticsearch import ElasticsearchStore
from foldline_projector.stores.port import Store

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
