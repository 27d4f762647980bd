"""Tables of the PostgreSQL store and the statements on them, composed from a `ReadModel`.

Pure text by psycopg's `sql` composition. The merge statements carry the guard: a section is
written where its version is greater than the stored one, decided per section by CASE, and a row
is touched only where at least one section is newer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

import msgspec
from psycopg import sql
from psycopg.types.json import Jsonb

from foldline_contracts import money, times
from foldline_contracts.readmodels import Column, ColumnType, ReadModel

INCOMING = "foldline_incoming"


@dataclass(frozen=True, slots=True)
class Kind:
    """How one column type is stored, written from a body's text and read back to it."""

    type: str
    to_store: Callable[[Any], Any]
    to_body: Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def jsonb(value: Any) -> Jsonb:
    """A value for a jsonb column."""
    return Jsonb(value, dumps=_encoded)


KINDS: Mapping[ColumnType, Kind] = {
    "text": Kind("text", _same, _same),
    "money": Kind("numeric", Decimal, money.to_text),
    "time": Kind("timestamptz", datetime.fromisoformat, times.to_text),
    "date": Kind("date", date.fromisoformat, date.isoformat),
    "integer": Kind("int8", _same, _same),
    "json": Kind("jsonb", jsonb, _same),
}


@dataclass(frozen=True)
class Layout:
    """The columns of one read model, in the order in which rows are written and read."""

    read_model: ReadModel
    generation: int

    @cached_property
    def primary(self) -> list[tuple[str, str]]:
        """Columns of the primary section with their types."""
        return _section("primary", self.read_model.primary_columns)

    @cached_property
    def reference(self) -> list[tuple[str, str]]:
        """Columns of the reference section with their types; empty without a reference."""
        if self.read_model.reference is None:
            return []
        return _section("reference", self.read_model.reference_columns)

    @cached_property
    def columns(self) -> list[tuple[str, str]]:
        """All columns of a document."""
        return [("key", "text"), ("partition", "int4"), *self.primary, *self.reference]

    @property
    def documents(self) -> sql.Identifier:
        """The table of documents."""
        return sql.Identifier(self.read_model.documents(self.generation))

    @property
    def references(self) -> sql.Identifier:
        """The table of reference sources."""
        return sql.Identifier(self.read_model.references(self.generation))

    @property
    def link(self) -> sql.Identifier:
        """The column that names the reference."""
        fields = {column.field: column.name for column in self.read_model.primary_columns}
        return sql.Identifier(fields[self.read_model.link or ""])

    def create(self) -> sql.Composed:
        """DDL of the generation's tables, with the primary keys that the guards need."""
        statements = [
            sql.SQL("CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY (key))").format(
                self.documents, _declared(self.columns, required=("partition", *_MARKS))
            )
        ]
        if self.reference:
            statements.append(
                sql.SQL(
                    "CREATE TABLE IF NOT EXISTS {} (key text PRIMARY KEY, partition int4 NOT NULL,"
                    " version int8 NOT NULL, event_id text NOT NULL,"
                    " fanned_out_version int8 NOT NULL, body jsonb NOT NULL)"
                ).format(self.references)
            )
        return sql.SQL("; ").join(statements)

    def create_indexes(self) -> list[sql.Composed]:
        """DDL of the secondary indexes."""
        return [self._index(suffix, columns) for suffix, columns in self._indexes().items()]

    def analyze(self) -> sql.Composed:
        """Statistics for the planner, which autovacuum would bring only later."""
        return sql.SQL("ANALYZE {}").format(self.documents)

    def drop(self) -> sql.Composed:
        """Removes the generation's tables."""
        return sql.SQL("DROP TABLE IF EXISTS {}, {}").format(self.documents, self.references)

    def _indexes(self) -> dict[str, str]:
        """The read model's indexes, and one on the link where none begins with it."""
        indexes = dict(self.read_model.indexes)
        if self.reference:
            link = self.link.as_string(None).strip('"')
            if not any(columns.split(",")[0].strip() == link for columns in indexes.values()):
                indexes["link"] = link
        return indexes

    def _index(self, suffix: str, columns: str) -> sql.Composed:
        name = sql.Identifier(f"{self.read_model.documents(self.generation)}_{suffix}")
        names = sql.SQL(", ").join(sql.Identifier(each.strip()) for each in columns.split(","))
        return sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} ({})").format(
            name, self.documents, names
        )

    def create_incoming(self) -> sql.Composed:
        """DDL of the session's table that a batch is copied into; it has no constraints."""
        return sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS").format(
            sql.Identifier(INCOMING), _declared(self.columns)
        )

    def copy(self) -> sql.Composed:
        """COPY into the session's table."""
        return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
            sql.Identifier(INCOMING), _names(self.columns)
        )

    def merge(self) -> sql.Composed:
        """The copied rows into the documents, each section only if newer, in one order of locks."""
        return sql.SQL(
            "INSERT INTO {table} AS d ({names}) SELECT {names} FROM {incoming} i"
            " WHERE i.primary_version IS NOT NULL ORDER BY key"
            " ON CONFLICT (key) DO UPDATE SET {changes} WHERE {newer}"
        ).format(
            table=self.documents,
            names=_names(self.columns),
            incoming=sql.Identifier(INCOMING),
            changes=sql.SQL(", ").join(
                [
                    _guarded("primary", [("partition", ""), *self.primary]),
                    *([_guarded("reference", self.reference)] if self.reference else []),
                ]
            ),
            newer=self._newer("excluded"),
        )

    def merge_references(self) -> sql.Composed:
        """The copied rows that have only a reference section, into documents that exist."""
        return sql.SQL(
            "UPDATE {table} AS d SET {changes} FROM {incoming} i"
            " WHERE i.primary_version IS NULL AND i.key = d.key AND {newer}"
        ).format(
            table=self.documents,
            changes=_assigned("i", self.reference),
            incoming=sql.Identifier(INCOMING),
            newer=_is_newer("reference", "i"),
        )

    def _newer(self, source: str) -> sql.Composable:
        tests = [_is_newer("primary", source)]
        if self.reference:
            tests.append(_is_newer("reference", source))
        return sql.SQL(" OR ").join(tests)

    def select(self) -> sql.Composed:
        """Documents by key."""
        return sql.SQL("SELECT {} FROM {} WHERE key = ANY(%s)").format(
            _names(self.columns), self.documents
        )

    def scan(self, *, after: bool, until: bool) -> sql.Composed:
        """A page of documents in the order of the primary key, with the bounds that are given."""
        bounds = ([sql.SQL("key > %s")] if after else []) + (
            [sql.SQL("key <= %s")] if until else []
        )
        where = sql.SQL(" WHERE ") + sql.SQL(" AND ").join(bounds) if bounds else sql.SQL("")
        return sql.SQL("SELECT {} FROM {}{} ORDER BY key LIMIT %s").format(
            _names(self.columns), self.documents, where
        )

    def size(self) -> sql.Composed:
        """The number of documents, and the bytes of both tables with their indexes."""
        documents, references = (
            sql.Literal(table.as_string(None)) for table in (self.documents, self.references)
        )
        return sql.SQL(
            "SELECT count(*), pg_total_relation_size({}::regclass)"
            " + coalesce(pg_total_relation_size(to_regclass({})), 0) FROM {}"
        ).format(documents, references, self.documents)

    def select_references(self) -> sql.Composed:
        """Reference sources by key."""
        return sql.SQL(
            "SELECT key, partition, version, event_id, fanned_out_version, body"
            " FROM {} WHERE key = ANY(%s)"
        ).format(self.references)

    def upsert_references(self) -> sql.Composed:
        """Reference sources, given as columns, only if newer; the fanned out version only grows."""
        newer = "excluded.version > r.version"
        changes = ", ".join(
            f"{name} = CASE WHEN {newer} THEN excluded.{name} ELSE r.{name} END"
            for name in ("partition", "version", "event_id", "body")
        )
        return sql.SQL(
            "INSERT INTO {} AS r (key, partition, version, event_id, fanned_out_version, body)"
            " SELECT * FROM unnest(%s::text[], %s::int4[], %s::int8[], %s::text[], %s::int8[],"
            " %s::jsonb[]) ORDER BY 1 ON CONFLICT (key) DO UPDATE SET "
            + changes
            + ", fanned_out_version = greatest(excluded.fanned_out_version, r.fanned_out_version)"
        ).format(self.references)

    def patch(self) -> sql.Composed:
        """One reference section into some of the documents that name it and are behind."""
        return sql.SQL(
            "WITH behind AS (SELECT key FROM {table} WHERE {link} = %s"
            " AND coalesce(reference_version, 0) < %s LIMIT %s FOR UPDATE)"
            " UPDATE {table} AS d SET {changes} FROM behind WHERE d.key = behind.key"
            " AND coalesce(d.reference_version, 0) < %s"
        ).format(
            table=self.documents,
            link=self.link,
            changes=sql.SQL(", ").join(
                sql.SQL("{} = %s").format(sql.Identifier(name)) for name, _ in self.reference
            ),
        )


_MARKS = ("primary_version", "primary_event_id")


def _section(prefix: str, columns: Sequence[Column]) -> list[tuple[str, str]]:
    own = [(column.name, KINDS[column.type].type) for column in columns]
    return [(f"{prefix}_version", "int8"), (f"{prefix}_event_id", "text"), *own]


def _declared(columns: Sequence[tuple[str, str]], required: Sequence[str] = ()) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} {}{}").format(
            sql.Identifier(name),
            sql.SQL(type_),
            sql.SQL(" NOT NULL" if name in required else ""),
        )
        for name, type_ in columns
    )


def _names(columns: Sequence[tuple[str, str]]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns)


def _is_newer(section: str, source: str) -> sql.Composed:
    version = sql.Identifier(f"{section}_version")
    return sql.SQL("({}.{} > coalesce(d.{}, 0))").format(sql.SQL(source), version, version)


def _guarded(section: str, columns: Sequence[tuple[str, str]]) -> sql.Composed:
    newer = _is_newer(section, "excluded")
    return sql.SQL(", ").join(
        sql.SQL("{name} = CASE WHEN {newer} THEN excluded.{name} ELSE d.{name} END").format(
            name=sql.Identifier(name), newer=newer
        )
        for name, _ in columns
    )


def _assigned(source: str, columns: Sequence[tuple[str, str]]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{name} = {source}.{name}").format(
            name=sql.Identifier(name),
            source=sql.SQL(source),
        )
        for name, _ in columns
    )
