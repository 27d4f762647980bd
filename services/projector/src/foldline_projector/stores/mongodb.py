"""MongoDB store: documents of nested sections, one transaction a batch.

Order: a batch's positions, documents, reference sources and parked records commit in one
transaction with majority write concern and snapshot reads, so a crash keeps all of it or nothing.

Concurrency: every document is one pipeline update filtered by `_id` alone, which merges each
section by its own version; a filter on the version would turn an upsert of an older one into a
duplicate key, and that aborts the transaction. A position is updated only where it holds the
expected offset: no match, or an insert that finds a row, is `Fenced` and aborts. Two transactions
that touch one document conflict; the loser is `RetryLater`.

Failure: a server that is away, changes its primary or cannot commit in time is `RetryLater`. A
commit whose outcome is unknown is too: if it did commit, the repetition is fenced and reads again.
Collections and indexes exist before the first transaction (`prepare`).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pymongo
from pymongo.client_session import ClientSession
from pymongo.collection import Collection as MongoCollection
from pymongo.errors import (
    BulkWriteError,
    CollectionInvalid,
    ConfigurationError,
    ConnectionFailure,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)
from pymongo.operations import DeleteOne, UpdateOne
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from foldline_contracts.state import GENERATIONS, PARKED, POSITIONS, PROJECTIONS
from foldline_projector.projection import Projection
from foldline_projector.stores import records
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
from foldline_projector.stores.records import Fields, state_id

AWAY_SECONDS = 1.0
CONFLICT_SECONDS = 0.05
#: Every operation is bounded unless the URL says otherwise.
TIMEOUT_MS = 30_000
SELECTION_MS = 5_000
MAJORITY = WriteConcern("majority")
SNAPSHOT = ReadConcern("snapshot")
NAMESPACE_EXISTS = 48
DUPLICATE_KEY = 11000

#: The server's clock as RFC 3339 text.
NOW: Fields = {"$dateToString": {"date": "$$NOW", "format": "%Y-%m-%dT%H:%M:%S.%LZ"}}


class MongoStore:
    """One projection generation in one MongoDB database."""

    def __init__(self, url: str, projection: Projection, generation: int) -> None:
        self._projection = projection
        self._model = projection.read_model
        self._generation = generation
        self._client: pymongo.MongoClient[Fields] = pymongo.MongoClient(url, **_bounds(url))
        try:
            database = self._client.get_default_database()
        except ConfigurationError as error:
            self._client.close()
            raise ValueError("the MongoDB URL must name a database in its path") from error
        self._database = database.with_options(
            read_concern=ReadConcern("majority"), write_concern=MAJORITY
        )
        self._documents = self._database[self._model.documents(generation)]
        self._references = self._database[self._model.references(generation)]

    def prepare(self, partitions: Mapping[str, int], fold_version: int) -> None:
        """See the port."""
        with _verdicts():
            self._create_collections()
            self._create_indexes()
            row = records.generation_fields(
                self._projection, self._generation, partitions, fold_version
            )
            stored = self._settle(GENERATIONS, state_id(self._model.name, self._generation), row)
            name = self._model.documents(self._generation)
            records.require_fold_version(name, stored["fold_version"], fold_version)
            pointer = {"projection": self._model.name, "active_generation": self._generation}
            self._settle(PROJECTIONS, self._model.name, pointer)

    def load(self, keys: Collection[str]) -> dict[str, Document]:
        """See the port."""
        with _verdicts():
            found = self._documents.find({"_id": {"$in": list(keys)}})
            return {row["_id"]: _document(row) for row in found}

    def load_references(self, keys: Collection[str]) -> dict[str, Reference]:
        """See the port."""
        with _verdicts():
            found = self._references.find({"_id": {"$in": list(keys)}})
            return {row["_id"]: records.reference_of(row["_id"], row) for row in found}

    def save(self, batch: Batch) -> None:
        """See the port."""
        with (
            _verdicts(),
            self._client.start_session() as session,
            session.start_transaction(SNAPSHOT, MAJORITY, pymongo.ReadPreference.PRIMARY),
        ):
            self._write(batch, session)

    def _write(self, batch: Batch, session: ClientSession) -> None:
        """Positions first: a zombie is turned away before it writes anything."""
        if batch.moves:
            self._move(batch.moves, session)
        parked = [self._park(each) for each in batch.parked]
        released = [DeleteOne({"_id": self._id(*at, offset)}) for at, offset in batch.released]
        writes: list[tuple[MongoCollection[Fields], list[UpdateOne | DeleteOne]]] = [
            (self._documents, [_document_update(each) for each in batch.documents]),
            (self._references, [_reference_update(each) for each in batch.references]),
            (self._database[PARKED], [*parked, *released]),
        ]
        for collection, requests in writes:
            if requests:
                collection.bulk_write(requests, session=session)

    def _move(self, moves: Mapping[TopicPartition, Move], session: ClientSession) -> None:
        requests = [self._position_update(at, move) for at, move in moves.items()]
        try:
            result = self._database[POSITIONS].bulk_write(requests, session=session)
        except BulkWriteError as error:
            if _is_duplicate(error):
                raise Fenced(f"{self._model.name}: a position exists already") from error
            raise
        if result.matched_count + result.upserted_count != len(requests):
            raise Fenced(f"{self._model.name}: a position of {sorted(moves)} has moved")

    def _position_update(self, at: TopicPartition, move: Move) -> UpdateOne:
        """Conditional on the expected offset; `expected=None` inserts, or hits the existing id."""
        is_new = move.expected is None
        condition = {"$exists": False} if is_new else move.expected
        fields = {**self._owner(), **at._asdict(), **records.position_fields(move.position)}
        pipeline = [{"$set": {**_literals(fields), "updated_at": NOW}}]
        return UpdateOne({"_id": self._id(*at), "position": condition}, pipeline, upsert=is_new)

    def _park(self, record: ParkedRecord) -> UpdateOne:
        fields = {**self._owner(), **records.parked_fields(record)}
        parked_at = {"$ifNull": ["$parked_at", NOW]}
        pipeline = [{"$set": {**_literals(fields), "parked_at": parked_at}}]
        return UpdateOne({"_id": self._id(*record.at, record.offset)}, pipeline, upsert=True)

    def patch_references(self, reference: Reference, limit: int) -> int:
        """See the port. Each document is merged atomically, so no transaction is needed."""
        stored_version = "reference.version"
        older = [{stored_version: None}, {stored_version: {"$lt": reference.section.version}}]
        with _verdicts():
            found = self._documents.find(
                {self._link: reference.key, "$or": older}, {"_id": True}, limit=limit
            )
            keys = [row["_id"] for row in found]
            if keys:
                merge = {"reference": _newest("reference", reference.section)}
                self._documents.update_many({"_id": {"$in": keys}}, [{"$set": merge}])
            return len(keys)

    def positions(self) -> dict[TopicPartition, Position]:
        """See the port."""
        with _verdicts():
            found = self._database[POSITIONS].find(self._owner())
            return {
                TopicPartition(row["topic"], row["partition"]): records.position_of(row)
                for row in found
            }

    def parked(self, partitions: Iterable[TopicPartition]) -> list[ParkedRecord]:
        """See the port."""
        wanted = [at._asdict() for at in partitions]
        if not wanted:
            return []
        order = [("topic", 1), ("partition", 1), ("record_offset", 1)]
        with _verdicts():
            found = self._database[PARKED].find({**self._owner(), "$or": wanted}).sort(order)
            return [records.parked_of(row) for row in found]

    def close(self) -> None:
        """See the port."""
        self._client.close()

    @property
    def _link(self) -> str:
        return f"primary.body.{self._model.link}"

    def _owner(self) -> Fields:
        return {"projection": self._model.name, "generation": self._generation}

    def _id(self, *parts: object) -> str:
        return state_id(self._model.name, self._generation, *parts)

    def _create_collections(self) -> None:
        own = [self._documents.name, *([self._references.name] if self._model.reference else [])]
        for name in (PROJECTIONS, GENERATIONS, POSITIONS, PARKED, *own):
            _create_collection(self._database, name)

    def _create_indexes(self) -> None:
        owner = ["projection", "generation"]
        self._database[POSITIONS].create_index(owner)
        self._database[PARKED].create_index([*owner, "topic", "partition", "record_offset"])
        if self._model.link:
            self._documents.create_index([self._link, "reference.version"])

    def _settle(self, collection: str, key: str, fields: Fields) -> Fields:
        """Writes the record unless there is one; answers the one that stands."""
        created = {"created_at": NOW} if collection == GENERATIONS else {}
        pipeline = [{"$set": {**_literals(fields), **created}}]
        target: MongoCollection[Fields] = self._database[collection]
        with suppress(DuplicateKeyError):  # another owner was first, or it is there for long
            target.update_one({"_id": key, "projection": {"$exists": False}}, pipeline, upsert=True)
        return target.find_one({"_id": key}) or fields


def _bounds(url: str) -> dict[str, Any]:
    """Client limits that the URL leaves open."""
    wanted = {"timeoutMS": TIMEOUT_MS, "serverSelectionTimeoutMS": SELECTION_MS}
    return {name: value for name, value in wanted.items() if name.lower() not in url.lower()}


def _create_collection(database: Any, name: str) -> None:
    try:
        database.create_collection(name, check_exists=False)
    except CollectionInvalid:
        return
    except OperationFailure as error:
        if error.code != NAMESPACE_EXISTS:
            raise


def _document_update(document: Document) -> UpdateOne:
    partition: Any = {"$ifNull": ["$partition", document.partition]}
    if document.primary is not None:
        stored = {"$ifNull": ["$partition", document.partition]}
        newer = _is_newer("primary.version", document.primary.version)
        partition = {"$cond": [newer, document.partition, stored]}
    merge = {
        "partition": partition,
        "primary": _newest("primary", document.primary),
        "reference": _newest("reference", document.reference),
    }
    return UpdateOne({"_id": document.key}, [{"$set": merge}], upsert=True)


def _newest(name: str, section: Section | None) -> Fields:
    """An expression: the stored section, or `section` when that is newer."""
    stored = {"$ifNull": [f"${name}", None]}
    if section is None:
        return stored
    fields = {"$literal": records.section_fields(section)}
    return {"$cond": [_is_newer(f"{name}.version", section.version), fields, stored]}


def _is_newer(path: str, version: int) -> Fields:
    return {"$lt": [{"$ifNull": [f"${path}", 0]}, version]}


def _reference_update(reference: Reference) -> UpdateOne:
    section = reference.section
    newer = _is_newer("version", section.version)
    values = {
        "partition": reference.partition,
        "event_id": section.event_id,
        "body": section.body,
        "version": section.version,
    }
    merge: Fields = {
        name: {"$cond": [newer, {"$literal": value}, f"${name}"]} for name, value in values.items()
    }
    merge["fanned_out_version"] = {"$max": ["$fanned_out_version", reference.fanned_out_version]}
    return UpdateOne({"_id": reference.key}, [{"$set": merge}], upsert=True)


def _literals(fields: Fields) -> Fields:
    return {name: {"$literal": value} for name, value in fields.items()}


def _document(row: Fields) -> Document:
    return Document(
        row["_id"],
        row["partition"],
        records.section_of(row["primary"]),
        records.section_of(row["reference"]),
    )


@contextmanager
def _verdicts() -> Iterator[None]:
    """Driver errors stop here: what can pass with time is RetryLater, the rest crashes."""
    try:
        yield
    except PyMongoError as error:
        if error.has_error_label("TransientTransactionError") and not isinstance(
            error, ConnectionFailure
        ):
            raise RetryLater(CONFLICT_SECONDS, f"MongoDB: {error}") from error
        if error.timeout or isinstance(error, ConnectionFailure | WTimeoutError):
            raise RetryLater(AWAY_SECONDS, f"MongoDB: {error}") from error
        raise


def _is_duplicate(error: BulkWriteError) -> bool:
    return any(each["code"] == DUPLICATE_KEY for each in error.details.get("writeErrors", ()))
