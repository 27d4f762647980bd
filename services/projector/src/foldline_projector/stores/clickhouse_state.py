"""State records in ClickHouse: a conditional change where the engine has no compare-and-set.

Of inserts that carry one deduplication token a table keeps the first, and drops the rest as its
parts are committed, one at a time. The token of a change is its record's key and new revision, so of several
writers at once one writes. None is told, so each reads back: a row carries the names of those who wrote
it and its predecessors, and a writer that finds its own there has written, even if others went on since.

Order and failure: an answer is given after the row is on disk. After RetryLater the row may be there;
the record tells. A server that is killed between taking a token and keeping its row would refuse that
revision for ever; so who finds that nobody has written writes again without a token. That, and a
table that has seen more than `TOKENS` changes while one writer slept, leaves the choice to the row
version: the greater revision, then the row that was inserted earlier by the server's clock. There, and only
there, two writers at once may both be told that they wrote if the second to commit has the earlier time: its insert began
first and ended last, or the clock has jumped back. Readers agree on one row all the same.
"""

import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from foldline_projector.stores.clickhouse_client import AWAY_SECONDS, Database
from foldline_projector.stores.clickhouse_tables import JSON_FIELDS, RECORD_COLUMNS, RECORD_KEYS
from foldline_projector.stores.port import RetryLater, StateRecord, StateTable

#: Writers that a row remembers: so many changes may follow one before its writer looks.
WRITERS = 50


def records(database: Database, table: StateTable, projection: str) -> list[StateRecord]:
    """All records of a projection."""
    rows = database.select(table, RECORD_COLUMNS[table], {"projection": projection})
    return [_record(table, row) for row in rows]


def replace(database: Database, table: StateTable, record: StateRecord, expected: int) -> bool:
    """See the port."""
    revision, writers = _standing(database, table, record)
    if revision != expected:
        return False
    me = uuid4().hex
    row = _row(table, {**record, "revision": expected + 1}, [me, *writers][:WRITERS])
    claim = {
        "async_insert": 0,
        "insert_deduplicate": 1,
        "insert_deduplication_token": f"{_key(table, record)} {expected + 1}",
    }
    for settings in (claim, {**claim, "insert_deduplicate": 0, "insert_deduplication_token": ""}):
        database.insert(
            table, {**RECORD_COLUMNS[table], "writers": "Array(String)"}, [row], settings
        )
        revision, writers = _standing(database, table, record)
        if revision > expected:
            break
    if me not in writers and revision - expected > WRITERS:
        raise RetryLater(AWAY_SECONDS, f"ClickHouse: nobody knows any more who wrote {record}")
    return me in writers


def _standing(database: Database, table: StateTable, record: StateRecord) -> tuple[int, list[str]]:
    """The revision of the stored record, and who wrote it and its predecessors."""
    columns = {"revision": "UInt64", "writers": "Array(String)"}
    rows = database.select(table, columns, _key(table, record))
    return (rows[0][0], list(rows[0][1])) if rows else (0, [])


def _key(table: StateTable, record: StateRecord) -> dict[str, object]:
    return {name: record[name] for name in RECORD_KEYS[table]}


def _row(table: StateTable, record: StateRecord, writers: Sequence[str]) -> list[Any]:
    values = [
        json.dumps(record[name], ensure_ascii=False)
        if name in JSON_FIELDS and record[name] is not None
        else record[name]
        for name in RECORD_COLUMNS[table]
    ]
    return [*values, list(writers)]


def _record(table: StateTable, row: Sequence[Any]) -> StateRecord:
    return {
        name: json.loads(value) if name in JSON_FIELDS and value is not None else value
        for name, value in zip(RECORD_COLUMNS[table], row, strict=True)
    }
