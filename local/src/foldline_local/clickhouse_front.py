"""An HTTP front for the embedded ClickHouse engine, so that several processes can use it through the official client.

The engine allows one process per data folder; this process is it. It answers as the server's HTTP interface does for what
clients send: statements, inserts with their data in the body, `param_*` values, per-request settings and databases,
compression both ways. Requests run in parallel, each on an engine connection of its own out of a pool.

Limits, which a real server does not have: results are buffered whole, the counts in `X-ClickHouse-Summary` are zero,
sessions and authentication are ignored. An insert is acknowledged after the engine has it on disk.
"""

import argparse
import email.parser
import email.policy
import gzip
import json
import os
import re
import signal
import sys
import tempfile
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb
import lz4.frame
import zstandard

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
UNKNOWN_NAMES = frozenset({"60", "81"})  # table, database: the server answers 404
COMPRESS_FROM = 8192
SHARED_MEMORY = Path("/dev/shm")  # insert bodies pass through here once, in files of our own

_COMMENT = rb"(?:\s|/\*.*?\*/|--[^\n]*\n)*"
_INSERT = re.compile(_COMMENT + rb"INSERT\s+INTO\b", re.I | re.S)
_INSERT_FORMAT = re.compile(rb"(\s*.*?\bINSERT\s+INTO\b.*?)\bFORMAT\s+(\w+)[ \t]*\n?", re.I | re.S)
_SELECT = re.compile(rb"\bSELECT\b", re.I)
_TRAILING_FORMAT = re.compile(rb"\sFORMAT\s+(\w+)\s*;?\s*$", re.I)
_SETTING = re.compile(r"\w+")
_ERROR_CODE = re.compile(r"Code: (\d+)")


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
        connection = connection or chdb.connect(self._path)
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


def _lz4(data: bytes) -> bytes:
    return bytes(lz4.frame.decompress(data))


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


DECODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "lz4": _lz4,
    "zstd": _zstd,
}


class Handler(BaseHTTPRequestHandler):
    """HTTP in and out; everything about statements is above."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536
    engine: Engine

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Silent: one line per request would be the whole log."""

    def do_POST(self) -> None:
        """Answer any method: the interface tells requests apart by their parameters."""
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        body = self._body()
        if self.headers.get("Content-Type", "").startswith("multipart/form-data"):
            query.update(self._form(body))
            body = b""
        if url.path == "/ping" or not (query or body):
            self._reply(200, b"Ok.\n", {})
        else:
            self._answer(query, body)

    do_GET = do_POST  # noqa: N815 - the base class's names
    do_HEAD = do_POST  # noqa: N815

    def _answer(self, query: dict[str, str], body: bytes) -> None:
        headers = {
            "X-ClickHouse-Query-Id": query.get("query_id") or str(uuid.uuid4()),
            "X-ClickHouse-Server-Display-Name": "foldline-local",
            "X-ClickHouse-Timezone": self.engine.timezone,
        }
        default = self.headers.get("X-ClickHouse-Format") or "TabSeparated"
        try:
            answer = self.engine.run(statement(query, body, default))
        except (
            Exception
        ) as error:  # whatever the engine says is the client's answer, as the server does it
            self._refuse(str(error), headers)
            return
        headers["X-ClickHouse-Format"] = answer.format
        headers["X-ClickHouse-Summary"] = _summary(len(answer.body))
        self._reply(200, answer.body, headers)

    def _refuse(self, message: str, headers: dict[str, str]) -> None:
        found = _ERROR_CODE.search(message)
        code = found.group(1) if found else "1000"
        headers["X-ClickHouse-Exception-Code"] = code
        self._reply(404 if code in UNKNOWN_NAMES else 500, message.encode(), headers)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            data = b"".join(self._chunks())
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        decode = DECODERS.get(self.headers.get("Content-Encoding", "").lower())
        return decode(data) if decode else data

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _form(self, body: bytes) -> dict[str, str]:
        """Parameters sent as a form, which clients do when they are too long for a URL."""
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
        fields: dict[str, str] = {}
        for part in message.iter_parts():
            payload = part.get_payload(decode=True)
            name = part.get_param("name", header="content-disposition")
            fields[str(name)] = payload.decode() if isinstance(payload, bytes) else ""
        return fields

    def _reply(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        if status == 200 and len(data) > COMPRESS_FROM:
            data, coding = _encode(data, self.headers.get("Accept-Encoding", ""))
            headers |= {"Content-Encoding": coding} if coding else {}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _encode(data: bytes, accepted: str) -> tuple[bytes, str]:
    if "lz4" in accepted:
        return bytes(lz4.frame.compress(data)), "lz4"
    if "gzip" in accepted:
        return gzip.compress(data, 1), "gzip"
    return data, ""


def _summary(size: int) -> str:
    names = (
        "read_rows",
        "read_bytes",
        "written_rows",
        "written_bytes",
        "total_rows_to_read",
        "result_rows",
    )
    return json.dumps({**dict.fromkeys(names, "0"), "result_bytes": str(size), "elapsed_ns": "0"})


class Server(ThreadingHTTPServer):
    """One thread a connection, none of which keeps the process from ending."""

    daemon_threads = True
    request_queue_size = 256


def main() -> None:
    """Serve until SIGTERM, then close the engine so that nothing waits to be recovered."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bind", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    Handler.engine = Engine(arguments.data)
    server = Server((arguments.bind, arguments.port), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()
    Handler.engine.close()
    sys.stdout.flush()
    os._exit(0)  # the engine's own threads would otherwise hold the process


if __name__ == "__main__":
    main()
