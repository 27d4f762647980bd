"""MongoDB store: documents of nested sections, one transaction a batch.

Order: a batch's positions, documents, reference sources and parked records commit in one
transaction with majority write concern and snapshot reads, so a crash keeps all of it or nothing.

Concurrency: every document is one pipeline update filtered by `_id` alone, which merges each
section by its own version; a filter on the version would turn an upsert of an older one into a
duplicate key, and that aborts the transaction. A position is updated only where it holds the
expected offset: no match, or an insert that finds a row, is `Fenced` and aborts. Two transactions
that touch one document conflict; the loser is `RetryLater`. A bulk load inserts without a transaction and
merges what the server refuses as a duplicate.

Failure: a server that is away, changes its primary or cannot commit in time is `RetryLater`. A
commit whose outcome is unknown is too: if it did commit, the repetition is fenced and reads again.
Collections and indexes exist before the first transaction (`prepare`, `create`).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import gt
from typing import Any

import pymongo
from pymongo.client_session import ClientSession
from pymongo.collection import Collection as MongoCollection
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    PyMongoError,
    WTimeoutError,
)
from pymongo.operations import DeleteOne, UpdateOne
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from foldline_contracts.state import PARKED, POSITIONS
from foldline_projector.projection import Projection
from foldline_projector.stores import records
from foldline_projector.stores.mongodb_documents import (
    DOCUMENTS,
    REFERENCES,
    VERSIONS,
    Form,
    Written,
    document_of,
    document_update,
    newest,
    reference_update,
)
from foldline_projector.stores.mongodb_state import (
    create_collection,
    create_state,
    find_records,
    own_id,
    parked_update,
    position_update,
    replace_record,
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
from foldline_projector.stores.records import Fields

AWAY_SECONDS = 1.0
CONFLICT_SECONDS = 0.05
#: Every operation is bounded unless the URL says otherwise.
TIMEOUT_MS = 30_000
SELECTION_MS = 5_000
MAJORITY = WriteConcern("majority")
SNAPSHOT = ReadConcern("snapshot")
DUPLICATE_KEY = 11000


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
            read_preference=pymongo.ReadPreference.PRIMARY,
            read_concern=ReadConcern("majority"),
            write_concern=MAJORITY,
        )
        self._documents = self._database[self._model.documents(generation)]
        self._references = self._database[self._model.references(generation)]

    def prepare(self) -> None:
        """See the port."""
        with _verdicts():
            create_state(self._database)

    def create(self, *, indexed: bool = True) -> None:
        """See the port."""
        with _verdicts():
            create_collection(self._database, self._documents.name)
            if self._model.reference:
                create_collection(self._database, self._references.name)
        if indexed:
            self.complete()

    def records(self, table: StateTable) -> list[StateRecord]:
        """See the port."""
        with _verdicts():
            return find_records(self._database, table, self._model.name)

    def replace(self, table: StateTable, record: StateRecord, expected: int) -> bool:
        """See the port."""
        with _verdicts():
            return replace_record(self._database, table, record, expected)

    def load(self, keys: Collection[str]) -> dict[str, Document]:
        """See the port."""
        with _verdicts():
            found = self._documents.find({"_id": {"$in": list(keys)}})
            return {row["_id"]: document_of(row) for row in found}

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
        owner = self._owner()
        parked = [parked_update(owner, each) for each in batch.parked]
        released = [DeleteOne({"_id": own_id(owner, *at, offset)}) for at, offset in batch.released]
        writes: list[tuple[MongoCollection[Fields], list[UpdateOne | DeleteOne]]] = [
            (self._documents, [document_update(each) for each in batch.documents]),
            (self._references, [reference_update(each) for each in batch.references]),
            (self._database[PARKED], [*parked, *released]),
        ]
        for collection, requests in writes:
            if requests:
                collection.bulk_write(requests, session=session)

    def _move(self, moves: Mapping[TopicPartition, Move], session: ClientSession) -> None:
        requests = [position_update(self._owner(), at, move) for at, move in moves.items()]
        try:
            result = self._database[POSITIONS].bulk_write(requests, session=session)
        except BulkWriteError as error:
            if _is_duplicate(error):
                raise Fenced(f"{self._model.name}: a position exists already") from error
            raise
        if result.matched_count + result.upserted_count != len(requests):
            raise Fenced(f"{self._model.name}: a position of {sorted(moves)} has moved")

    def fill(self, documents: Sequence[Document], references: Sequence[Reference]) -> None:
        """See the port."""
        with _verdicts():
            self._require_objects()
            _insert_or_merge(self._documents, documents, DOCUMENTS)
            _insert_or_merge(self._references, references, REFERENCES)

    def complete(self) -> None:
        """See the port. Waits for the index without a bound of time: a bound would end its build."""
        with _verdicts(), pymongo.timeout(None):
            self._require_objects()
            if self._model.link:
                self._documents.create_index([self._link, "reference.version"])

    def _require_objects(self) -> None:
        """Turns away who comes after `drop`: MongoDB would make the collection anew."""
        if not self._database.list_collection_names(filter={"name": self._documents.name}):
            raise LookupError(f"there is no collection {self._documents.name}")

    def scan(self, after: str | None, until: str | None, limit: int) -> list[Document]:
        """See the port."""
        given = {"$gt": after, "$lte": until}
        bounds = {operator: key for operator, key in given.items() if key is not None}
        with _verdicts():
            found = self._documents.find({"_id": bounds} if bounds else {}, limit=limit)
            return [document_of(row) for row in found.sort("_id")]

    def size(self) -> Size:
        """See the port. Counted, because a server that was killed estimates wrongly."""
        with _verdicts():
            count = self._documents.count_documents({}, hint="_id_")
            stored = [
                self._database.command("collStats", each.name)["totalSize"]
                for each in (self._documents, self._references)
            ]
            return Size(count, sum(stored))

    def drop(self) -> None:
        """See the port. Positions go first, so that a late writer is fenced."""
        with _verdicts():
            for name in (POSITIONS, PARKED):
                self._database[name].delete_many(self._owner())
            self._documents.drop()
            self._references.drop()

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
                merge = {"reference": newest("reference", reference.section)}
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


def _bounds(url: str) -> dict[str, Any]:
    """Client limits that the URL leaves open."""
    wanted = {"timeoutMS": TIMEOUT_MS, "serverSelectionTimeoutMS": SELECTION_MS}
    return {name: value for name, value in wanted.items() if name.lower() not in url.lower()}


def _insert_or_merge(
    collection: MongoCollection[Fields], given: Sequence[Written], form: Form[Written]
) -> None:
    """Inserts what is new, which is fast, and merges what turns out to be there and older."""
    if not given:
        return
    rows = [form.row(each) for each in given]
    try:
        collection.insert_many(rows, ordered=False)
    except BulkWriteError as error:
        failed = error.details["writeErrors"]
        refused = any(each["code"] != DUPLICATE_KEY for each in failed)
        if refused or error.details["writeConcernErrors"]:
            raise
        present = {given[each["index"]].key: given[each["index"]] for each in failed}
        for row in collection.find({"_id": {"$in": list(present)}}, VERSIONS):
            mine = form.versions(form.row(present[row["_id"]]))
            if not any(map(gt, mine, form.versions(row))):
                del present[row["_id"]]
        if present:
            collection.bulk_write([form.update(each) for each in present.values()], ordered=False)


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
