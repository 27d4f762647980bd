"""Elasticsearch store: compare-and-set on every document, positions last.

Order: a batch's documents and reference sources, then a refresh that makes them visible to searches,
then parked records, then positions. So a position never claims what a search cannot see, and a crash
in between leaves documents ahead of positions, where applying the events again changes nothing. The
refresh happens for every batch with positions, even without documents: a predecessor may have
written this batch's documents and died before its refresh.

Concurrency: each document is merged section by section under its sequence number and read again on
a conflict (see `elasticsearch_cas`). Positions are read and compared before anything is written, and
written on the condition that they have not changed since (readers get them by id, in real time): either way a mismatch is `Fenced`. Between
the two a zombie may still write documents, which "only if newer" makes harmless, and park records,
which an owner that has released them keeps deleted by version.

Failure: a node that is away, overloaded or contended is `RetryLater`; nothing is tried again here
but conflicts. `updated_at`, `created_at` and `parked_at` are this process's clock: the store offers none.
"""

import base64
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice, takewhile
from typing import Any

from elasticsearch import BadRequestError, Elasticsearch, NotFoundError

from foldline_contracts import times
from foldline_contracts.state import GENERATIONS, PARKED, POSITIONS, PROJECTIONS
from foldline_projector.projection import Projection
from foldline_projector.stores import records
from foldline_projector.stores.elasticsearch_cas import (
    AWAY_SECONDS,
    CompareAndSet,
    Fields,
    Merge,
    verdicts,
)
from foldline_projector.stores.elasticsearch_indices import (
    generation_indices,
    state_indices,
    written,
)
from foldline_projector.stores.elasticsearch_merges import (
    document_merge,
    document_of,
    reference_merge,
    reference_patch,
)
from foldline_projector.stores.port import (
    Batch,
    Document,
    Fenced,
    Move,
    ParkedRecord,
    Position,
    Reference,
    RetryLater,
    Size,
    StateRecord,
    StateTable,
    TopicPartition,
)
from foldline_projector.stores.records import state_id

TIMEOUT_SECONDS = 30
PAGE = 1_000
MAX_WINDOW = 10_000
#: External versions of a parked record; the higher one stays when both arrive.
PARKED_VERSION, RELEASED_VERSION = 1, 2
_PLACE = ["topic", "partition"]


class ElasticsearchStore:
    """One projection generation in one Elasticsearch cluster."""

    def __init__(self, url: str, projection: Projection, generation: int) -> None:
        self._projection = projection
        self._model = projection.read_model
        self._generation = generation
        self._documents = self._model.documents(generation)
        self._references = self._model.references(generation)
        self._client = Elasticsearch(url, request_timeout=TIMEOUT_SECONDS, max_retries=0)
        self._cas = CompareAndSet(self._client)
        self._own = CompareAndSet(self._client, require_alias=True)

    def prepare(self) -> None:
        """See the port."""
        with verdicts():
            for name, body in state_indices().items():
                self._create_index(name, body)

    def create(self, *, indexed: bool = True) -> None:  # noqa: ARG002
        """See the port. A field is indexed as it is written or never, and refreshes wait anyhow."""
        own = generation_indices(self._model, self._generation, self._projection.index)
        with verdicts():
            for name, body in own.items():
                self._create_index(name, body)

    def records(self, table: StateTable) -> list[StateRecord]:
        """See the port. The pointer is read by id, which costs no refresh."""
        name = self._model.name
        with verdicts():
            if table == PROJECTIONS:
                return [each.source for each in self._cas.read(table, [name]).values()]
            self._refresh(table)
            return list(self._found(table, {"term": {"projection": name}}, ["generation"]))

    def replace(self, table: StateTable, record: StateRecord, expected: int) -> bool:
        """See the port."""
        parts = [record["projection"], *([record["generation"]] if table == GENERATIONS else [])]
        key = state_id(*parts)
        with verdicts():
            stored = self._cas.read(table, [key])
            revision = stored[key].source["revision"] if key in stored else 0
            if revision != expected:
                return False
            source = {**record, "revision": expected + 1}
            return not self._cas.write(table, {key: source}, stored)

    def load(self, keys: Collection[str]) -> dict[str, Document]:
        """See the port."""
        with verdicts():
            found = self._cas.read(self._documents, keys)
            return {key: document_of(key, stored.source) for key, stored in found.items()}

    def load_references(self, keys: Collection[str]) -> dict[str, Reference]:
        """See the port."""
        with verdicts():
            found = self._cas.read(self._references, keys) if keys else {}
            return {key: records.reference_of(key, each.source) for key, each in found.items()}

    def save(self, batch: Batch) -> None:
        """See the port."""
        with verdicts():
            expected = self._cas.read(POSITIONS, [self._id(*at) for at in batch.moves])
            self._check(batch.moves, {key: each.source for key, each in expected.items()})
            for index, merges in self._merges(batch.documents, batch.references).items():
                self._own.merge(written(index), merges)
            if batch.moves:
                self._refresh(self._documents)
            self._park(batch)
            rows = {self._id(*at): self._position(at, move) for at, move in batch.moves.items()}
            if self._cas.write(POSITIONS, rows, expected):
                raise Fenced(f"{self._model.name}: a position of {sorted(batch.moves)} has moved")

    def _check(self, moves: Mapping[TopicPartition, Move], stored: Mapping[str, Fields]) -> None:
        for at, move in moves.items():
            offset = stored.get(self._id(*at), {}).get("position")
            if offset != move.expected:
                raise Fenced(f"{self._model.name}: {at} is at {offset}, expected {move.expected}")

    def fill(self, documents: Sequence[Document], references: Sequence[Reference]) -> None:
        """See the port. What is there already is merged as `save` does it."""
        with verdicts():
            for index, merges in self._merges(documents, references).items():
                self._own.create(written(index), merges)

    def _merges(
        self, documents: Sequence[Document], references: Sequence[Reference]
    ) -> dict[str, dict[str, Merge]]:
        merges = {
            self._documents: {each.key: document_merge(each) for each in documents},
            self._references: {each.key: reference_merge(each) for each in references},
        }
        return {index: some for index, some in merges.items() if some}

    def complete(self) -> None:
        """See the port. Reference sources are read by id and need no refresh."""
        with verdicts():
            self._refresh(self._documents)

    def scan(self, after: str | None, until: str | None, limit: int) -> list[Document]:
        """See the port. Keys are ordered by their bytes."""
        with verdicts():
            found = self._found(
                self._documents,
                {"match_all": {}},
                ["key"],
                after=None if after is None else [after],
                page=min(limit, PAGE),
            )
            sources = takewhile(lambda source: until is None or source["key"] <= until, found)
            return [document_of(source["key"], source) for source in islice(sources, limit)]

    def size(self) -> Size:
        """See the port. Documents are those that searches see; bytes are those of all copies."""
        with verdicts():
            try:
                found = self._client.search(
                    index=self._documents,
                    size=0,
                    track_total_hits=True,
                    allow_partial_search_results=False,
                )
                stats = self._client.indices.stats(index=self._indices, metric="store")
            except NotFoundError:
                return Size(0, 0)
            stored = stats["_all"]["total"]["store"]["size_in_bytes"]
            return Size(found["hits"]["total"]["value"], stored)

    def drop(self) -> None:
        """See the port. Positions go first, so that none is ahead of the documents."""
        with verdicts():
            positions = self._owned(POSITIONS, {"match_all": {}}, _PLACE)
            keys = [self._id(*_place(row)) for row in positions]
            gone = [{"_op_type": "delete", "_index": POSITIONS, "_id": key} for key in keys]
            parked = self._owned(PARKED, {"match_all": {}}, [*_PLACE, "record_offset"])
            gone += [self._release(_place(row), row["record_offset"]) for row in parked]
            self._cas.bulk(gone)
            self._client.indices.delete(index=self._indices, ignore_unavailable=True)

    def _park(self, batch: Batch) -> None:
        """Releasing wins over parking, whichever is written last. A conflict says that it won."""
        actions = [self._parking(record) for record in batch.parked]
        actions += [self._release(at, offset) for at, offset in batch.released]
        if actions:
            self._cas.bulk(actions, refresh=True)

    def _parking(self, record: ParkedRecord) -> Fields:
        source = {**self._owner(), **records.parked_fields(record), "parked_at": _now()}
        source["value"] = base64.b64encode(record.value).decode("ascii")
        key = self._id(*record.at, record.offset)
        return _external(PARKED_VERSION, _op_type="index", _id=key, _source=source)

    def _release(self, at: TopicPartition, offset: int) -> Fields:
        return _external(RELEASED_VERSION, _op_type="delete", _id=self._id(*at, offset))

    def _position(self, at: TopicPartition, move: Move) -> Fields:
        fields = records.position_fields(move.position)
        return {**self._owner(), **at._asdict(), **fields, "updated_at": _now()}

    def patch_references(self, reference: Reference, limit: int) -> int:
        """See the port. The refresh shows every document that was saved before this call."""
        older = {"range": {"reference.version": {"gte": reference.section.version}}}
        named = {"term": {f"primary.body.{self._model.link}": reference.key}}
        with verdicts():
            self._refresh(self._documents)
            answer = self._client.search(
                index=self._documents,
                query={"bool": {"filter": [named], "must_not": [older]}},
                size=min(limit, MAX_WINDOW),
                source=False,
                track_total_hits=False,
                allow_partial_search_results=False,
            )
            keys = [hit["_id"] for hit in answer["hits"]["hits"]]
            patch = reference_patch(reference.section)
            self._own.merge(written(self._documents), dict.fromkeys(keys, patch))
            return len(keys)

    def positions(self) -> dict[TopicPartition, Position]:
        """See the port."""
        with verdicts():
            rows = self._owned(POSITIONS, {"match_all": {}}, _PLACE)
            return {_place(row): records.position_of(row) for row in rows}

    def parked(self, partitions: Iterable[TopicPartition]) -> list[ParkedRecord]:
        """See the port."""
        places = [[{"term": {name: value}} for name, value in _asdict(at)] for at in partitions]
        wanted = {"bool": {"should": [{"bool": {"filter": place}} for place in places]}}
        if not places:
            return []
        order = [*_PLACE, "record_offset"]
        with verdicts():
            return [_parked(row) for row in self._owned(PARKED, wanted, order)]

    def close(self) -> None:
        """See the port."""
        self._client.close()

    def _refresh(self, index: str) -> None:
        """Shows every acknowledged write to searches. The call succeeds even where a shard is away."""
        shards = self._client.indices.refresh(index=index)["_shards"]
        if shards["failed"] or not shards["successful"]:
            raise RetryLater(AWAY_SECONDS, f"Elasticsearch: {index} was not refreshed: {shards}")

    def _owner(self) -> Fields:
        return {"projection": self._model.name, "generation": self._generation}

    def _id(self, *parts: object) -> str:
        return state_id(self._model.name, self._generation, *parts)

    @property
    def _indices(self) -> list[str]:
        return [self._documents, *([self._references] if self._model.reference else [])]

    def _create_index(self, name: str, body: Fields) -> None:
        if self._client.indices.exists(index=name):
            return
        try:
            self._client.indices.create(index=name, body=body)
        except BadRequestError as error:
            if error.error != "resource_already_exists_exception":
                raise

    def _owned(self, index: str, query: Fields, order: list[str]) -> Iterator[Fields]:
        """All records of this generation that match, in order."""
        self._refresh(index)
        owner = [{"term": {name: value}} for name, value in self._owner().items()]
        return self._found(index, {"bool": {"filter": [*owner, query]}}, order)

    def _found(
        self,
        index: str,
        query: Fields,
        order: list[str],
        after: list[Any] | None = None,
        page: int = PAGE,
    ) -> Iterator[Fields]:
        """Everything that matches beyond `after`, in order, page by page."""
        while True:
            answer = self._client.search(
                index=index,
                query=query,
                sort=order,
                size=page,
                search_after=after,
                track_total_hits=False,
                allow_partial_search_results=False,
            )
            hits = answer["hits"]["hits"]
            yield from (hit["_source"] for hit in hits)
            if len(hits) < page:
                return
            after = hits[-1]["sort"]


def _external(version: int, **action: object) -> Fields:
    return {"_index": PARKED, "version": version, "version_type": "external_gte", **action}


def _parked(row: Fields) -> ParkedRecord:
    return records.parked_of({**row, "value": base64.b64decode(row["value"])})


def _place(row: Fields) -> TopicPartition:
    return TopicPartition(row["topic"], row["partition"])


def _asdict(at: TopicPartition) -> Iterable[tuple[str, object]]:
    return at._asdict().items()


def _now() -> str:
    return times.to_text(datetime.now(UTC))
