"""Read models in Elasticsearch.

State is read by id, in real time, and first: a position is written only after the refresh that
made its events visible, so what a position covers is found by every later search. Documents are
only ever read by search, and tokens are judged by search too (`ids` query), because a realtime
get would see what searches do not. All searches carry one preference, so a request and the wait
before it look at the same copies of a shard.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from elastic_transport import ApiError, TransportError
from elasticsearch import Elasticsearch

from foldline_contracts.readmodels import ReadModel
from foldline_contracts.state import GENERATIONS, PARKED, POSITIONS, PROJECTIONS
from foldline_query.freshness import Observation
from foldline_query.readers.port import (
    Aggregate,
    Generation,
    NotPrepared,
    ParkedEvent,
    StoreUnavailable,
)
from foldline_query.readers.rows import chosen, generation_from, observation_from, parked_from

Fields = dict[str, Any]
PREFERENCE = "foldline"
MAX_HITS = 10_000
GENERATIONS_AT_ONCE = 50


class ElasticsearchStore:
    """A client; connects when first used."""

    def __init__(self, url: str, timeout: float) -> None:
        self._client = Elasticsearch(
            url, request_timeout=timeout, max_retries=0, retry_on_timeout=False
        )

    @contextmanager
    def guard(self) -> Iterator[None]:
        """See the port."""
        try:
            yield
        except ApiError as error:
            status = error.meta.status
            if status == 404:
                raise NotPrepared("an index of the projection is missing") from error
            if status in (401, 403, 408, 429) or status >= 500:
                raise StoreUnavailable("Elasticsearch", error) from error
            raise
        except TransportError as error:
            raise StoreUnavailable("Elasticsearch", error) from error

    def search(self, index: str, body: Fields) -> Fields:
        """One search."""
        with self.guard():
            return dict(
                self._client.search(
                    index=index,
                    body=body,
                    preference=PREFERENCE,
                    allow_partial_search_results=False,
                )
            )

    def get(self, index: str, key: str) -> Fields | None:
        """A document by id, in real time; None when it or its index is missing."""
        return next(iter(self.get_many(index, [key])), None)

    def get_many(self, index: str, keys: Iterable[str]) -> list[Fields]:
        """Documents by id, in real time."""
        wanted = list(keys)
        if not wanted:
            return []
        with self.guard():
            found = self._client.mget(index=index, ids=wanted)["docs"]
        return [dict(each["_source"]) for each in found if each.get("found")]

    def now(self) -> datetime:
        """The clock of the node that answers."""
        with self.guard():
            answer = self._client.nodes.stats(
                node_id="_local", metric="os", filter_path="nodes.*.timestamp"
            )
        (node,) = answer["nodes"].values()
        return datetime.fromtimestamp(node["timestamp"] / 1000, UTC)

    def ping(self) -> None:
        """See the port."""
        self.now()

    def close(self) -> None:
        """See the port."""
        self._client.close()


class ElasticsearchReader:
    """One read model in Elasticsearch."""

    def __init__(self, store: ElasticsearchStore, model: ReadModel) -> None:
        self.store = store
        self.model = model

    def ping(self) -> None:
        """See the port."""
        self.store.ping()

    def generation(self, number: int | None = None) -> Generation:
        """See the port."""
        pointer = self.store.get(PROJECTIONS, self.model.name)
        wanted = number or (pointer and pointer["active_generation"])
        row = self.store.get(GENERATIONS, f"{self.model.name}/{wanted}") if wanted else None
        return chosen(self.model.name, number, row, pointer)

    def generations(self) -> list[Generation]:
        """See the port. By id, because a search would not see the newest; numbers have no holes."""
        found: list[Generation] = []
        while True:
            numbers = range(len(found) + 1, len(found) + 1 + GENERATIONS_AT_ONCE)
            ids = [f"{self.model.name}/{number}" for number in numbers]
            rows = self.store.get_many(GENERATIONS, ids)
            found += map(generation_from, rows)
            if len(rows) < GENERATIONS_AT_ONCE:
                return found

    def observe(self, generation: Generation) -> Observation:
        """See the port."""
        prefix = f"{self.model.name}/{generation.number}"
        ids = [
            f"{prefix}/{topic}/{number}"
            for topic, count in generation.partitions.items()
            for number in range(count)
        ]
        positions = self.store.get_many(POSITIONS, ids)
        parked = self._count_parked(generation)
        return observation_from(generation, positions, parked, self.store.now())

    def seen(self, generation: Generation, keys: Collection[str]) -> dict[str, int]:
        """See the port."""
        body = {
            "query": {"ids": {"values": list(keys)}},
            "_source": ["primary.version"],
            "size": len(keys),
            "track_total_hits": False,
        }
        hits = self.store.search(self.model.documents(generation.number), body)["hits"]["hits"]
        return {hit["_id"]: (hit["_source"].get("primary") or {}).get("version", 0) for hit in hits}

    def seen_references(self, generation: Generation, keys: Collection[str]) -> dict[str, int]:
        """See the port. By id: the version is written after the refresh that shows the last patch."""
        found = self.store.get_many(self.model.references(generation.number), keys)
        return {row["key"]: row.get("fanned_out_version") or 0 for row in found}

    def parked_among(
        self, generation: Generation, aggregates: Collection[Aggregate]
    ) -> set[Aggregate]:
        """See the port."""
        keys = [aggregate.key for aggregate in aggregates]
        found = self._parked(generation, {"terms": {"aggregate_id": keys}}, MAX_HITS)
        return {Aggregate(row["kind"], row["aggregate_id"]) for row in found} & set(aggregates)

    def parked(
        self, generation: Generation, aggregate_id: str | None, limit: int
    ) -> list[ParkedEvent]:
        """See the port."""
        one = (
            {"match_all": {}} if aggregate_id is None else {"term": {"aggregate_id": aggregate_id}}
        )
        return [parked_from(row) for row in self._parked(generation, one, limit)]

    def _owner(self, generation: Generation) -> list[Fields]:
        of = {"projection": self.model.name, "generation": generation.number}
        return [{"term": {name: value}} for name, value in of.items()]

    def _parked(self, generation: Generation, condition: Fields, limit: int) -> list[Fields]:
        body = {
            "query": {"bool": {"filter": [*self._owner(generation), condition]}},
            "sort": ["topic", "partition", "record_offset"],
            "size": limit,
        }
        return [hit["_source"] for hit in self.store.search(PARKED, body)["hits"]["hits"]]

    def _count_parked(self, generation: Generation) -> int:
        """Distinct aggregates; exact up to 40,000 of a kind."""
        distinct = {"cardinality": {"field": "aggregate_id", "precision_threshold": 40_000}}
        body = {
            "query": {"bool": {"filter": self._owner(generation)}},
            "size": 0,
            "aggs": {"kinds": {"terms": {"field": "kind"}, "aggs": {"ids": distinct}}},
        }
        answer = self.store.search(PARKED, body)
        return sum(each["ids"]["value"] for each in answer["aggregations"]["kinds"]["buckets"])
