"""Small questions to a service, each in the service's own protocol.

A listening port proves nothing: a broker listens before it serves. So readiness is always an answer to a real request.
Every probe returns when the answer is good and raises otherwise.
"""

import socket
import struct

import httpx

PROBE_SECONDS = 2.0
_API_VERSIONS = 18
_REQUEST = struct.pack(">hhih", _API_VERSIONS, 0, 1, -1)


class NotReady(Exception):
    """The service answered, but it does not serve yet."""


def http_ok(url: str) -> httpx.Response:
    """A GET that is answered with success."""
    response = httpx.get(url, timeout=PROBE_SECONDS)
    if not response.is_success:
        raise NotReady(f"{url} answered {response.status_code}")
    return response


def kafka_answers(host: str, port: int) -> None:
    """ApiVersions, the request with which every Kafka client begins; a broker answers it once it has started."""
    with socket.create_connection((host, port), timeout=PROBE_SECONDS) as connection:
        connection.sendall(struct.pack(">i", len(_REQUEST)) + _REQUEST)
        head = _read(connection, 10)
    _, correlation, error = struct.unpack(">iih", head)
    if (correlation, error) != (1, 0):
        raise NotReady(f"the broker answered with error {error}")


def _read(connection: socket.socket, wanted: int) -> bytes:
    data = b""
    while len(data) < wanted:
        block = connection.recv(wanted - len(data))
        if not block:
            raise NotReady("the connection was closed")
        data += block
    return data
