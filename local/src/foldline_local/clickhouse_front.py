"""An HTTP front for the embedded ClickHouse engine, so that several processes can use it through the official client.

The engine allows one process per data folder; this process is it. It answers as the server's HTTP interface does for what
clients send: statements, inserts with their data in the body, `param_*` values, per-request settings and databases,
compression both ways.

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
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import lz4.frame
import zstandard

from foldline_local.clickhouse_engine import Engine, statement

UNKNOWN_NAMES = frozenset({"60", "81"})  # table, database: the server answers 404
COMPRESS_FROM = 8192
_ERROR_CODE = re.compile(r"Code: (\d+)")


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
