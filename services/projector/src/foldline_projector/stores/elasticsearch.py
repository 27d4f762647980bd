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
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from elasticsearch import BadRequestError, Elasticsearch

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
    document_index,
    reference_index,
    state_indices,
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
    Section,
    TopicPartition,
)
from foldline_projector.stores.records import state_id

TIMEOUT_SECONDS = 30
PAGE = 1_000
MAX_WINDOW = 10_000
#: External versions of a parked record; the higher one stays when both arrive.
PARKED_VERSION, RELEASED_VERSION = 1, 2


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

    def prepare(self, partitions: Mapping[str, int], fold_version: int) -> None:
        """See the port."""
        with verdicts():
            for name, body in self._indices().items():
                self._create_index(name, body)
            row = records.generation_fields(
                self._projection, self._generation, partitions, fold_version
            )
            row["created_at"] = _now()
            stored = self._settle(GENERATIONS, self._id(), row)
            records.require_fold_version(self._documents, stored["fold_version"], fold_version)
            pointer = {"projection": self._model.name, "active_generation": self._generation}
            self._settle(PROJECTIONS, self._model.name, pointer)

    def load(self, keys: Collection[str]) -> dict[str, Document]:
        """See the port."""
        with verdicts():
            found = self._cas.read(self._documents, keys)
            return {key: _document(key, stored.source) for key, stored in found.items()}

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
            self._merge(batch)
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

    def _merge(self, batch: Batch) -> None:
        documents = {each.key: _document_merge(each) for each in batch.documents}
        references = {each.key: _reference_merge(each) for each in batch.references}
        for index, merges in ((self._documents, documents), (self._references, references)):
            if merges:
                self._cas.merge(index, merges)

    def _park(self, batch: Batch) -> None:
        """Releasing wins over parking, whichever is written last. A conflict says that it won."""
        actions = [self._parking(record) for record in batch.parked]
        for at, offset in batch.released:
            key = self._id(*at, offset)
            actions.append(_external(RELEASED_VERSION, _op_type="delete", _id=key))
        if actions:
            self._cas.bulk(actions, refresh=True)

    def _parking(self, record: ParkedRecord) -> Fields:
        source = {**self._owner(), **records.parked_fields(record), "parked_at": _now()}
        source["value"] = base64.b64encode(record.value).decode("ascii")
        key = self._id(*record.at, record.offset)
        return _external(PARKED_VERSION, _op_type="index", _id=key, _source=source)

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
            patch = _patch(reference.section)
            self._cas.merge(self._documents, dict.fromkeys(keys, patch))
            return len(keys)

    def positions(self) -> dict[TopicPartition, Position]:
        """See the port."""
        with verdicts():
            rows = self._owned(POSITIONS, {"match_all": {}}, ["topic", "partition"])
            return {_place(row): records.position_of(row) for row in rows}

    def parked(self, partitions: Iterable[TopicPartition]) -> list[ParkedRecord]:
        """See the port."""
        places = [[{"term": {name: value}} for name, value in _asdict(at)] for at in partitions]
        wanted = {"bool": {"should": [{"bool": {"filter": place}} for place in places]}}
        if not places:
            return []
        order = ["topic", "partition", "record_offset"]
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

    def _indices(self) -> dict[str, Fields]:
        documents = document_index(self._model, self._projection.index)
        own = {self._documents: documents}
        if self._model.reference:
            own[self._references] = reference_index()
        return {**state_indices(), **own}

    def _create_index(self, name: str, body: Fields) -> None:
        if self._client.indices.exists(index=name):
            return
        try:
            self._client.indices.create(index=name, body=body)
        except BadRequestError as error:
            if error.error != "resource_already_exists_exception":
                raise

    def _settle(self, index: str, key: str, fields: Fields) -> Fields:
        """Writes the record unless there is one; answers the one that stands."""
        self._cas.merge(index, {key: lambda stored: fields if stored is None else None})
        return self._cas.read(index, [key])[key].source

    def _owned(self, index: str, query: Fields, order: list[str]) -> Iterator[Fields]:
        """All records of this generation that match, in order, page by page."""
        self._refresh(index)
        owner = [{"term": {name: value}} for name, value in self._owner().items()]
        bound = {"bool": {"filter": [*owner, query]}}
        after: list[Any] | None = None
        while True:
            answer = self._client.search(
                index=index,
                query=bound,
                sort=order,
                size=PAGE,
                search_after=after,
                allow_partial_search_results=False,
            )
            hits = answer["hits"]["hits"]
            yield from (hit["_source"] for hit in hits)
            if len(hits) < PAGE:
                return
            after = hits[-1]["sort"]


def _document_merge(document: Document) -> Merge:
    def merge(stored: Fields | None) -> Fields | None:
        if stored is None:
            return _fields(document)
        newer = {
            name: records.section_fields(section)
            for name, section in (("primary", document.primary), ("reference", document.reference))
            if section is not None and _is_newer(section, stored[name])
        }
        if "primary" in newer:
            stored = {**stored, "partition": document.partition}
        return {**stored, **newer} if newer else None

    return merge


def _patch(section: Section) -> Merge:
    """Writes the reference section into documents that exist."""

    def merge(stored: Fields | None) -> Fields | None:
        if stored is None or not _is_newer(section, stored["reference"]):
            return None
        return {**stored, "reference": records.section_fields(section)}

    return merge


def _reference_merge(reference: Reference) -> Merge:
    section = reference.section
    given = {
        "key": reference.key,
        "partition": reference.partition,
        "version": section.version,
        "event_id": section.event_id,
        "fanned_out_version": reference.fanned_out_version,
        "body": section.body,
    }

    def merge(stored: Fields | None) -> Fields | None:
        if stored is None:
            return given
        fanned_out = max(stored["fanned_out_version"], reference.fanned_out_version)
        newest = given if _is_newer(section, stored) else stored
        merged = {**newest, "fanned_out_version": fanned_out}
        return None if merged == stored else merged

    return merge


def _is_newer(section: Section, stored: Fields | None) -> bool:
    return stored is None or section.version > stored["version"]


def _fields(document: Document) -> Fields:
    return {
        "key": document.key,
        "partition": document.partition,
        "primary": records.section_fields(document.primary),
        "reference": records.section_fields(document.reference),
    }


def _document(key: str, source: Fields) -> Document:
    primary, reference = source["primary"], source["reference"]
    return Document(
        key, source["partition"], records.section_of(primary), records.section_of(reference)
    )


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
