"""The write database: its engine and the tables that every domain shares.

Table definitions here describe what the migrations made; a change is a migration first. Aggregates
have a table per kind with one shape, declared by their domain through `aggregate_table`.

No statement is waited for without end. A server that is well keeps `statement_timeout` itself and so
answers for certain that nothing was done. One that is frozen or gone keeps no time-out, and as long as its
kernel lives it acknowledges what we send, so TCP's time-outs do not come either: there only our own clock
helps (`BoundedConnection`).
"""

from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.errors import _WaitTimeout
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
    event,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import make_url

metadata = MetaData()

#: Advisory lock that guards the slice map: commands share it, a change of the map takes it alone.
SLICE_MAP_LOCK = 7171
#: How much later than the server we give a statement up, so that the server's own word comes first.
GRACE_SECONDS = 1.0
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


R = TypeVar("R")


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that waits for an answer only so long, and is closed when none came.

    What it did is rolled back when the server finds it closed, unless COMMIT had been sent before.
    """

    answer_seconds: float | None = None

    def wait(self, gen: PQGen[R], interval: float = 0.1, timeout: float | None = None) -> R:
        """Waits for one exchange with the server. Raises OperationalError."""
        if timeout is not None:  # who asks for a bound of its own knows what it means
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.answer_seconds)
        except _WaitTimeout as error:
            self.pgconn.finish()
            raise psycopg.OperationalError(
                f"the server did not answer within {self.answer_seconds} s"
            ) from error


def create(
    url: str, *, connections: int, timeout_seconds: float, statement_seconds: float
) -> Engine:
    """An engine with at most `connections`. Waiting for one or making one ends after `timeout_seconds`,
    a statement after `statement_seconds` by the server's clock, or `GRACE_SECONDS` later by ours.
    """
    address = make_url(url).set(drivername="postgresql+psycopg")
    bound = f"-c statement_timeout={round(statement_seconds * 1000)}"
    engine = create_engine(
        address,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=timeout_seconds,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": max(1, round(timeout_seconds)),
            "application_name": "foldline-command",
            "options": f"{address.query.get('options', '')} {bound}",
        },
    )

    @event.listens_for(engine, "do_connect")
    def connect(_: Any, __: Any, arguments: Any, parameters: Any) -> psycopg.Connection[Any]:
        made = BoundedConnection.connect(*arguments, **parameters)
        made.answer_seconds = statement_seconds + GRACE_SECONDS
        return made

    return engine
