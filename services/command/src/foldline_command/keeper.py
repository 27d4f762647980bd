"""The outbox keeper: publishes watermarks and keeps the outbox's days ahead of time.

The only process of the command room that talks to Kafka. A watermark's truth rests on the order of four
steps: (1) read the database's clock T, (2) read the log position L, so that everything committed before T
ends at or before L, (3) wait until the slot has confirmed L, which Debezium does after Kafka has
acknowledged, (4) read the end offset of every partition. Then all that was committed before T is below those ends.

Two keepers at once are harmless: each publishes truths, and days are made idempotently. Whatever is away
(database, Kafka, Debezium) only delays the next watermark; the keeper tries again for ever and says so.
Told to stop, it ends after the call in hand, and no call to Kafka takes longer than `KAFKA_SECONDS`.
Nothing is dropped here: a day goes only once it is confirmed, audited and past its retention.
"""

import json
import signal
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from types import FrameType
from typing import Any

import psycopg
import structlog
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.cluster import collect_hosts
from kafka.errors import KafkaError
from psycopg import sql

from foldline_command import keeper_metrics, logs
from foldline_command.database import SLOT, SLOT_IS_NEW
from foldline_contracts import watermark
from foldline_contracts.aggregates import aggregate_kinds
from foldline_contracts.topics import WATERMARK_KEY, WATERMARKS
from foldline_contracts.watermark import Watermark

DAYS_AHEAD = 7
NOTICE_SECONDS = 5.0
POLL_SECONDS = 0.05
MAINTENANCE_SECONDS = 60.0
FIRST_BACKOFF, LAST_BACKOFF = 0.5, 10.0
#: How long Kafka may take to answer. The keeper cannot end before the call in hand does, so this bounds that too.
KAFKA_SECONDS = 3.0
#: How long the producer may take to say farewell. What it still holds is only a watermark; the next one replaces it.
CLOSE_SECONDS = 1.0

log = structlog.get_logger()

Ends = dict[str, dict[str, int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a keeper is told."""

    database_url: str
    #: Keyword arguments for a Kafka client.
    kafka: Mapping[str, Any]
    interval_seconds: float
    metrics_bind: str
    metrics_port: int


class NotConfirmed(Exception):
    """The keeper was told to stop before Debezium confirmed the position."""


@dataclass(slots=True)
class Topics:
    """The event topics as Kafka has them now."""

    kafka: Mapping[str, Any]
    _consumer: KafkaConsumer = field(init=False)
    _producer: KafkaProducer = field(init=False)
    _admin: KafkaAdminClient = field(init=False)
    _open: ExitStack = field(init=False)

    def __post_init__(self) -> None:
        _find_broker(self.kafka["bootstrap_servers"])
        with ExitStack() as opened:  # closes the first clients when a later one cannot be made
            bounded = {**self.kafka, **_bounds()}
            self._consumer = KafkaConsumer(group_id=None, enable_auto_commit=False, **bounded)
            opened.callback(self._consumer.close, timeout_ms=_milliseconds(CLOSE_SECONDS))
            self._producer = KafkaProducer(acks="all", **_producer_bounds(), **bounded)
            opened.callback(self._producer.close, timeout=CLOSE_SECONDS)
            self._admin = KafkaAdminClient(**bounded)
            opened.callback(self._admin.close)
            self._open = opened.pop_all()

    def ends(self) -> Ends:
        """The end offset of every partition of every event topic."""
        found: Ends = {}
        for kind in aggregate_kinds().values():
            numbers = self._consumer.partitions_for_topic(kind.topic) or ()
            partitions = [TopicPartition(kind.topic, number) for number in sorted(numbers)]
            offsets = self._consumer.end_offsets(partitions)
            found[kind.topic] = {str(each.partition): offsets[each] for each in partitions}
        return found

    def identity(self) -> dict[str, str]:
        """The id of each event topic; another id means that the topic was made again."""
        names = [kind.topic for kind in aggregate_kinds().values()]
        described = self._admin.describe_topics(names)
        return {each["name"]: str(each.get("topic_id", "")) for each in described}

    def publish(self, published: Watermark) -> None:
        """Puts a watermark on its topic, acknowledged by all replicas."""
        value = watermark.encode(published)
        self._producer.send(WATERMARKS, key=WATERMARK_KEY, value=value).get(timeout=KAFKA_SECONDS)

    def close(self) -> None:
        """Releases connections."""
        self._open.close()


def _find_broker(servers: str | list[str]) -> None:
    """Raises OSError unless a broker takes connections: a client that finds none leaves a thread and sockets behind."""
    addresses = collect_hosts(servers)
    for number, (host, port, _) in enumerate(addresses, 1):
        try:
            socket.create_connection((host, port), KAFKA_SECONDS / len(addresses)).close()
            return
        except OSError:
            if number == len(addresses):
                raise


def _bounds() -> dict[str, int]:
    """What keeps a client from waiting long for a broker that is away."""
    return {
        "bootstrap_timeout_ms": _milliseconds(KAFKA_SECONDS),
        "request_timeout_ms": _milliseconds(KAFKA_SECONDS),
    }


def _producer_bounds() -> dict[str, int]:
    """The same for sending, which waits for metadata, then for the acknowledgement."""
    return {
        "max_block_ms": _milliseconds(KAFKA_SECONDS),
        "delivery_timeout_ms": _milliseconds(KAFKA_SECONDS),
    }


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def keep(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT."""
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    logs.configure()
    keeper_metrics.serve(settings.metrics_bind, settings.metrics_port)
    backoff = FIRST_BACKOFF
    while not stop.is_set():
        started = time.monotonic()
        try:
            _keep_connected(settings, stop)
        except (psycopg.Error, KafkaError, OSError) as error:
            if time.monotonic() - started > LAST_BACKOFF:  # it worked for a while: a new trouble
                backoff = FIRST_BACKOFF
            log.warning("keeper_waits", reason=str(error).split("\n")[0], seconds=backoff)
            stop.wait(backoff)
            backoff = min(backoff * 2, LAST_BACKOFF)


def _keep_connected(settings: Settings, stop: threading.Event) -> None:
    """Watermark after watermark on one pair of connections, until something breaks."""
    topics = Topics(settings.kafka)
    try:
        with connect(settings.database_url) as database:
            maintained = 0.0
            while not stop.is_set():
                started = time.monotonic()
                if started - maintained > MAINTENANCE_SECONDS or maintained == 0.0:
                    _maintain(database)
                    maintained = started
                _tick(database, topics, stop)
                observe(database)
                stop.wait(max(0.0, settings.interval_seconds - (time.monotonic() - started)))
    finally:
        topics.close()


def _tick(database: psycopg.Connection[Any], topics: Topics, stop: threading.Event) -> None:
    try:
        publish_watermark(database, topics, stop)
    except NotConfirmed as error:
        log.info("keeper_stops", reason=str(error))


def connect(url: str) -> psycopg.Connection[Any]:
    """A connection of the keeper; every statement commits by itself."""
    name = "foldline-keeper"
    return psycopg.connect(url, autocommit=True, connect_timeout=5, application_name=name)


def publish_watermark(
    database: psycopg.Connection[Any], topics: Topics, stop: threading.Event | None = None
) -> Watermark:
    """One watermark, in the order that makes it true. Raises NotConfirmed when stopped."""
    as_of = _one(database, "SELECT clock_timestamp()")
    position = _one(database, "SELECT pg_current_wal_insert_lsn()")
    _await_confirmed(database, position, stop or threading.Event())
    ends = topics.ends()
    incarnation = _incarnation(database, topics.identity())
    published = Watermark(as_of=as_of.astimezone(UTC), ends=ends, incarnation=incarnation)
    topics.publish(published)
    database.execute(
        "UPDATE keeper SET as_of = %s, published_at = clock_timestamp() WHERE id = 1", [as_of]
    )
    keeper_metrics.published()
    return published


def _await_confirmed(
    database: psycopg.Connection[Any], position: str, stop: threading.Event
) -> None:
    """Waits on one position for as long as it takes: under a long backlog a newer one would never come true."""
    noticed = time.monotonic()
    while not _is_confirmed(database, position):
        if stop.is_set():
            raise NotConfirmed(f"slot {SLOT} has not confirmed {position}")
        if time.monotonic() - noticed > NOTICE_SECONDS:
            log.warning("watermark_delayed", reason=f"slot {SLOT} has not confirmed {position}")
            observe(database)
            noticed = time.monotonic()
        stop.wait(POLL_SECONDS)


def _is_confirmed(database: psycopg.Connection[Any], position: str) -> bool:
    query = (
        "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE slot_name = %s"
    )
    row = database.execute(query, [position, SLOT]).fetchone()
    if row is None:
        database.execute(SLOT_IS_NEW)
    return row is not None and bool(row[0])


def _incarnation(database: psycopg.Connection[Any], topics: dict[str, str]) -> int:
    """The number of this slot and these topics; it grows when one of them was made again."""
    query = "SELECT system_identifier::text FROM pg_control_system()"
    identity = {"system": _one(database, query), "topics": topics}
    with database.transaction():
        row = database.execute("SELECT incarnation, identity FROM keeper FOR UPDATE").fetchone()
        assert row is not None
        incarnation, known = row
        if known == identity:
            return int(incarnation)
        if known is not None:
            incarnation += 1
            log.error("incarnation_changed", incarnation=incarnation, before=known, now=identity)
        database.execute(
            "UPDATE keeper SET incarnation = %s, identity = %s", [incarnation, json.dumps(identity)]
        )
    return int(incarnation)


def maintain(database_url: str) -> list[str]:
    """Makes the coming days and prunes expired keys, once; the names of the days made."""
    with connect(database_url) as database:
        return _maintain(database)


def _maintain(database: psycopg.Connection[Any]) -> list[str]:
    today = _one(database, "SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date")
    days = [today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1)]
    made = [name for day in days if (name := _make_day(database, day)) is not None]
    database.execute("DELETE FROM idempotency_keys WHERE expires_at < now()")
    return made


def _make_day(database: psycopg.Connection[Any], day: date) -> str | None:
    """Makes the partition of a UTC day, unless it is there. Rows that came first stay in DEFAULT."""
    name = f"outbox_{day:%Y%m%d}"
    if _one(database, "SELECT to_regclass(%s)", [name]) is not None:
        return None
    begin = datetime(day.year, day.month, day.day)
    statement = sql.SQL("CREATE TABLE {} PARTITION OF outbox FOR VALUES FROM ({}) TO ({})").format(
        sql.Identifier(name), begin.isoformat(), (begin + timedelta(days=1)).isoformat()
    )
    try:
        with database.transaction():
            database.execute("SET LOCAL lock_timeout = '2s'")
            database.execute(statement)
    except psycopg.errors.CheckViolation:
        log.warning("day_is_in_default", day=name)
        return None
    except (psycopg.errors.DuplicateTable, psycopg.errors.LockNotAvailable) as error:
        log.warning("day_not_made", day=name, reason=str(error).split("\n")[0])
        return None
    return name


def status(database_url: str) -> dict[str, Any]:
    """What `foldline outbox status` shows."""
    with connect(database_url) as database:
        return _facts(database)


def observe(database: psycopg.Connection[Any]) -> None:
    """Refreshes the gauges."""
    keeper_metrics.observe(_facts(database))


def _facts(database: psycopg.Connection[Any]) -> dict[str, Any]:
    """Slot and outbox now. The oldest unpublished event is at most as old as the watermark."""
    cursor = database.execute(
        """SELECT k.as_of, k.published_at, k.incarnation,
                  extract(epoch FROM clock_timestamp() - k.as_of)::float8 AS watermark_age_seconds,
                  s.active AS slot_active,
                  (pg_current_wal_insert_lsn() - s.restart_lsn)::bigint AS slot_retained_bytes,
                  (SELECT sum(pg_stat_get_live_tuples(i.inhrelid))::bigint FROM pg_inherits i
                   WHERE i.inhparent = 'outbox'::regclass) AS rows,
                  (SELECT extract(epoch FROM
                     clock_timestamp() AT TIME ZONE 'UTC' - min(o.recorded_at))::float8
                   FROM outbox o WHERE o.recorded_at >
                     coalesce(k.as_of AT TIME ZONE 'UTC', '-infinity')) AS oldest_unpublished_seconds
           FROM keeper k LEFT JOIN pg_replication_slots s ON s.slot_name = %s""",
        [SLOT],
    )
    row = cursor.fetchone()
    assert row is not None
    assert cursor.description is not None
    return {column.name: value for column, value in zip(cursor.description, row, strict=True)}


def _one(database: psycopg.Connection[Any], query: str, parameters: list[Any] | None = None) -> Any:
    """The first column of the first row, or None when there is no row."""
    row = database.execute(query, parameters).fetchone()
    return None if row is None else row[0]
