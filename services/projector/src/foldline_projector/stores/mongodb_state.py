"""A projection's state in MongoDB: state records, and the updates of positions and parked records.

A state record is replaced by one atomic operation: an insert, which a row of the same id refuses, or a
replacement filtered by id and revision. Writes are acknowledged by a majority and reads see what a
majority has, at the primary, so what was acknowledged is read. Errors of the driver pass.
"""

from pymongo.database import Database
from pymongo.errors import CollectionInvalid, DuplicateKeyError, OperationFailure
from pymongo.operations import UpdateOne

from foldline_contracts.state import GENERATIONS, PARKED, POSITIONS, PROJECTIONS
from foldline_projector.stores import records
from foldline_projector.stores.port import (
    Move,
    ParkedRecord,
    StateRecord,
    StateTable,
    TopicPartition,
)
from foldline_projector.stores.records import Fields, state_id

NAMESPACE_EXISTS = 48

#: The server's clock as RFC 3339 text.
NOW: Fields = {"$dateToString": {"date": "$$NOW", "format": "%Y-%m-%dT%H:%M:%S.%LZ"}}


def create_state(database: Database[Fields]) -> None:
    """The collections and indexes that all projections share."""
    for name in (PROJECTIONS, GENERATIONS, POSITIONS, PARKED):
        create_collection(database, name)
    owner = ["projection", "generation"]
    database[GENERATIONS].create_index(owner)
    database[POSITIONS].create_index(owner)
    database[PARKED].create_index([*owner, "topic", "partition", "record_offset"])


def create_collection(database: Database[Fields], name: str) -> None:
    """A collection that may be there."""
    try:
        database.create_collection(name, check_exists=False)
    except CollectionInvalid:
        return
    except OperationFailure as error:
        if error.code != NAMESPACE_EXISTS:
            raise


def find_records(
    database: Database[Fields], table: StateTable, projection: str
) -> list[StateRecord]:
    """The state records of a projection."""
    condition = {"_id": projection} if table == PROJECTIONS else {"projection": projection}
    return list(database[table].find(condition, {"_id": False}))


def replace_record(
    database: Database[Fields], table: StateTable, record: StateRecord, expected: int
) -> bool:
    """Writes a record at its expected revision; False when another writer was first."""
    key = [record["projection"], *([record["generation"]] if table == GENERATIONS else [])]
    row = {**record, "_id": state_id(*key), "revision": expected + 1}
    if expected:
        condition = {"_id": row["_id"], "revision": expected}
        return database[table].replace_one(condition, row).matched_count == 1
    try:
        database[table].insert_one(row)
    except DuplicateKeyError:
        return False
    return True


def position_update(owner: Fields, at: TopicPartition, move: Move) -> UpdateOne:
    """Conditional on the expected offset; `expected=None` inserts, or hits the existing id."""
    is_new = move.expected is None
    condition = {"$exists": False} if is_new else move.expected
    fields = {**owner, **at._asdict(), **records.position_fields(move.position)}
    pipeline = [{"$set": {**_literals(fields), "updated_at": NOW}}]
    return UpdateOne({"_id": own_id(owner, *at), "position": condition}, pipeline, upsert=is_new)


def parked_update(owner: Fields, record: ParkedRecord) -> UpdateOne:
    """Parks a record, or judges it again; it keeps the time when it was parked first."""
    fields = {**owner, **records.parked_fields(record)}
    parked_at = {"$ifNull": ["$parked_at", NOW]}
    pipeline = [{"$set": {**_literals(fields), "parked_at": parked_at}}]
    return UpdateOne({"_id": own_id(owner, *record.at, record.offset)}, pipeline, upsert=True)


def own_id(owner: Fields, *parts: object) -> str:
    """The id of a state record of a generation."""
    return state_id(owner["projection"], owner["generation"], *parts)


def _literals(fields: Fields) -> Fields:
    return {name: {"$literal": value} for name, value in fields.items()}
