"""The write database: its engine and the tables that every domain shares.

Table definitions here describe what the migrations made; a change is a migration first. Aggregates
have a table per kind with one shape, declared by their domain through `aggregate_table`.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Engine,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    create_engine,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import make_url

metadata = MetaData()

#: Advisory lock that guards the slice map: commands share it, a change of the map takes it alone.
SLICE_MAP_LOCK = 7171
PUBLICATION = "foldline_outbox"
SLOT = "foldline_outbox"

#: Run by whoever makes the slot or sees it missing: what was committed without a slot never reaches
#: Kafka, so the keeper's next watermark belongs to another incarnation. PostgreSQL gives slots no identity.
SLOT_IS_NEW = """UPDATE keeper SET identity = identity || '{"slot": "new"}' 
    WHERE identity IS NOT NULL AND identity ->> 'slot' IS NULL"""

outbox = Table(
    "outbox",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column(
        "recorded_at",
        DateTime(False),
        primary_key=True,
        server_default=text("(clock_timestamp() AT TIME ZONE 'UTC')"),
    ),
    Column("aggregatetype", Text, nullable=False),
    Column("aggregateid", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("contenttype", Text, nullable=False),
    Column("payload", Text, nullable=False),
)

topics = Table(
    "topics",
    metadata,
    Column("name", Text, primary_key=True),
    Column("partitions", Integer, nullable=False),
    Column("applied_at", DateTime(True), nullable=False, server_default=func.now()),
)

slice_map = Table(
    "slice_map",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("slice", Integer, primary_key=True),
    Column("partition", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("answer", JSONB, nullable=False),
    Column("expires_at", DateTime(True), nullable=False),
)


def aggregate_table(name: str) -> Table:
    """The table of one kind of aggregate: id, version, and its state as JSON."""
    return Table(
        name,
        metadata,
        Column("id", Text, primary_key=True),
        Column("version", BigInteger, nullable=False),
        Column("state", JSONB, nullable=False),
    )


def create(url: str, *, connections: int, timeout_seconds: float) -> Engine:
    """An engine with at most `connections`; waiting for one or making one ends after the time-out."""
    return create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=connections,
        max_overflow=0,
        pool_timeout=timeout_seconds,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": max(1, round(timeout_seconds)),
            "application_name": "foldline-command",
        },
    )
