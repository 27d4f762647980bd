"""Opaque cursors for keyset pages.

A cursor holds the sort key of the last item given out and nothing of the store, so it survives a
generation flip: the next page starts behind that key in whatever generation is active. It is
bound to the filters and the sort that it was made for by a digest, which also makes a changed
cursor a bad one. It is no secret and no permission, so it is not signed.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any

_DIGEST_BYTES = 9
MAX_LENGTH = 2048


class BadCursor(ValueError):
    """The cursor is not one of ours, or was made for another query."""


def encode(key: list[Any], bound_to: Mapping[str, Any]) -> str:
    """The cursor that continues behind `key` for the query that `bound_to` describes."""
    payload = json.dumps(key, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_digest(payload, bound_to) + payload).decode().rstrip("=")


def decode(cursor: str, bound_to: Mapping[str, Any], length: int) -> list[Any]:
    """The key in `cursor`, which has `length` parts. Raises BadCursor."""
    digest, payload = _split(cursor)
    try:
        key = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise BadCursor("is not a cursor of this service") from error
    if not isinstance(key, list) or len(key) != length:
        raise BadCursor("is not a cursor of this service")
    if digest != _digest(payload, bound_to):
        raise BadCursor("belongs to other filters or another sort, or was changed")
    return key


def _split(cursor: str) -> tuple[bytes, bytes]:
    if len(cursor) > MAX_LENGTH:
        raise BadCursor("is not a cursor of this service")
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadCursor("is not a cursor of this service") from error
    if base64.urlsafe_b64encode(raw).decode().rstrip("=") != cursor:
        raise BadCursor("is not a cursor of this service")
    return raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]


def _digest(payload: bytes, bound_to: Mapping[str, Any]) -> bytes:
    query = json.dumps(bound_to, sort_keys=True, separators=(",", ":"), default=str).encode()
    return hashlib.sha256(query + b"\n" + payload).digest()[:_DIGEST_BYTES]
