"""The embedded ClickHouse engine as one HTTP request sees it: a statement with its data, settings and database.

Knows nothing of HTTP. Requests run in parallel, each on a connection of its own out of a pool; what a request sets is
taken back after it, and a connection on which that fails is not used again.
"""

import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chdb

# Parameters of the transport and of the client, which the engine must not see as settings.
TRANSPORT = frozenset(
    {
        "buffer_size",
        "client_protocol_version",
        "compress",
        "database",
        "decompress",
        "default_format",
        "enable_http_compression",
        "http_headers_progress_interval_ms",
        "http_native_compression_disable_checksumming_on_decompress",
        "password",
        "query",
        "query_id",
        "quota_key",
        "role",
        "send_progress_in_http_headers",
        "session_check",
        "session_id",
        "session_timeout",
        "user",
        "wait_end_of_query",
    }
)
QUERY_BYTES = 1_000_000_000
SHARED_MEMORY = Path("/dev/shm")  # insert bodies pass through here once, in files of our own

_COMMENT = rb"(?:\s|/\*.*?\*/|--[^\n]*\n)*"
_INSERT = re.compile(_COMMENT + rb"INSERT\s+INTO\b", re.I | re.S)
_INSERT_FORMAT = re.compile(rb"(\s*.*?\bINSERT\s+INTO\b.*?)\bFORMAT\s+(\w+)[ \t]*\n?", re.I | re.S)
_SELECT = re.compile(rb"\bSELECT\b", re.I)
_TRAILING_FORMAT = re.compile(rb"\sFORMAT\s+(\w+)\s*;?\s*$", re.I)
_SETTING = re.compile(r"\w+")


@dataclass(frozen=True)
class Statement:
    """One request, freed of its transport."""

    text: bytes
    data: bytes
    database: str
    settings: Mapping[str, str]
    parameters: Mapping[str, str]
    default_format: str


@dataclass(frozen=True)
class Answer:
    """What goes back: the body and the format that it is in."""

    body: bytes
    format: str


def statement(query: Mapping[str, str], body: bytes, default_format: str) -> Statement:
    """Sort a request's parameters: a query in the URL makes the body its data, else the body is the query."""
    text = query.get("query", "").encode()
    return Statement(
        text=text or body,
        data=body if text else b"",
        database=query.get("database", ""),
        settings={
            k: v for k, v in query.items() if k not in TRANSPORT and not k.startswith("param_")
        },
        parameters={
            k.removeprefix("param_"): v for k, v in query.items() if k.startswith("param_")
        },
        default_format=query.get("default_format") or default_format,
    )


def quoted(text: str) -> str:
    """A string literal of the engine's SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


class Engine:
    """The engine with a pool of connections; a connection that may have kept a request's state is not used again."""

    def __init__(self, data: Path) -> None:
        self._path = str(data)
        self._first = chdb.connect(self._path)  # keeps the engine open while the pool is empty
        self._idle: list[Any] = []
        self._lock = threading.Lock()
        self.timezone = str(self._first.query("SELECT timezone()", "TabSeparated")).strip()

    def run(self, request: Statement) -> Answer:
        """Execute one request; the engine's own errors pass through."""
        with self._connection() as connection, _scope(connection, request):
            if _INSERT.match(request.text):
                return _insert(connection, request)
            return _select(connection, request)

    def close(self) -> None:
        """Close every connection, which ends the engine cleanly."""
        with self._lock:
            for connection in self._idle:
                connection.close()
        self._first.close()

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._open()
        try:
            yield connection
        except UnclearedScope as error:
            connection.close()
            raise error.cause from None
        except BaseException:
            self._give_back(connection)
            raise
        else:
            self._give_back(connection)

    def _open(self) -> Any:
        """A connection whose queries stay small: this machine runs five other servers."""
        connection = chdb.connect(self._path)
        connection.query(f"SET max_memory_usage = {QUERY_BYTES}")
        return connection

    def _give_back(self, connection: Any) -> None:
        with self._lock:
            self._idle.append(connection)


class UnclearedScope(Exception):
    """A request's settings could not be taken back; carries what the client should hear."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


@contextmanager
def _scope(connection: Any, request: Statement) -> Iterator[None]:
    """The request's database and settings, for its duration only."""
    changed: list[str] = []
    try:
        if request.database:
            connection.query("USE `" + request.database.replace("`", "") + "`")
        for name, value in request.settings.items():
            if _SETTING.fullmatch(name):
                connection.query(f"SET {name} = {quoted(value)}")
                changed.append(name)
        yield
    finally:
        _clear(connection, changed, bool(request.database))


def _clear(connection: Any, changed: list[str], database: bool) -> None:
    try:
        if changed:
            connection.query("SET " + ", ".join(f"{name} = DEFAULT" for name in changed))
        if database:
            connection.query("USE default")
    except Exception as error:
        raise UnclearedScope(error) from error


def _select(connection: Any, request: Statement) -> Answer:
    text, wanted = request.text, request.default_format
    if found := _TRAILING_FORMAT.search(text):
        text, wanted = text[: found.start()], found.group(1).decode()
    given = {"params": dict(request.parameters)} if request.parameters else {}
    result = connection.query((text + request.data).decode(), wanted, **given)
    return Answer(result.bytes() or b"", wanted)


def _insert(connection: Any, request: Statement) -> Answer:
    """The engine takes insert data only from its own query text or from a file; binary formats need the file."""
    found = _INSERT_FORMAT.match(request.text)
    if found is None or _SELECT.search(found.group(1)):
        given = {"params": dict(request.parameters)} if request.parameters else {}
        connection.query((request.text + request.data).decode(), "Null", **given)
        return Answer(b"", request.default_format)
    head, wanted = found.group(1).decode(), found.group(2).decode()
    folder = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.NamedTemporaryFile(prefix="foldline-insert-", dir=folder) as file:
        file.write(request.text[found.end() :] + request.data)
        file.flush()
        connection.query(
            f"{head} FROM INFILE {quoted(file.name)} COMPRESSION 'none' FORMAT {wanted}", "Null"
        )
    return Answer(b"", wanted)
