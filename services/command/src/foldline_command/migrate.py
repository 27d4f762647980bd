"""`foldline migrate`: the write database as this version of the code needs it.

Runs the revisions, then makes the replication slot and grants Debezium its reads: slot and publication
exist before the first command is accepted. Idempotent, and safe to run twice at once (one waits for
the other under an advisory lock).
"""

from importlib.resources import files

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from foldline_command.database import SLOT, SLOT_IS_NEW

MIGRATION_LOCK = 7170


def migrate(url: str, debezium_user: str = "debezium") -> None:
    """Brings the database at `url` up to date. Raises sqlalchemy.exc.SQLAlchemyError."""
    address = make_url(url).set(drivername="postgresql+psycopg")
    engine = create_engine(address, poolclass=NullPool, connect_args={"connect_timeout": 5})
    with engine.connect() as connection:
        connection.execute(select(func.pg_advisory_lock(MIGRATION_LOCK)))
        connection.commit()
        _upgrade(connection)
        _create_slot(connection)
        _grant(connection, debezium_user)
        connection.commit()


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(files("foldline_command") / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()


def _create_slot(connection: Connection) -> None:
    """Says that the slot is new before it is: a crash between leaves a slot that is missed, not one that
    nobody knows to be new. It cannot be made in a transaction that has written.
    """
    exists = text(
        "SELECT 1 FROM pg_replication_slots"
        " WHERE slot_name = :slot AND database = current_database()"
    )
    if connection.execute(exists, {"slot": SLOT}).one_or_none() is None:
        connection.exec_driver_sql(SLOT_IS_NEW)
        connection.commit()
        create = text("SELECT pg_create_logical_replication_slot(:slot, 'pgoutput')")
        connection.execute(create, {"slot": SLOT})
    connection.commit()


def _grant(connection: Connection, user: str) -> None:
    exists = text("SELECT 1 FROM pg_roles WHERE rolname = :user")
    if connection.execute(exists, {"user": user}).one_or_none() is not None:
        quoted = connection.dialect.identifier_preparer.quote(user)
        connection.execute(text(f"GRANT SELECT ON outbox TO {quoted}"))
