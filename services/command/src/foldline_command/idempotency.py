"""`Idempotency-Key`: the same command again gets the first answer again, whatever was lost on the way.

The key is a row of the command's own transaction, so it exists exactly when the command's events
do. It is looked for under a transaction-scoped advisory lock; not getting the lock means that the first is
still running. Only accepted answers are remembered, for 24 hours; a refusal rolls back and so releases
the key. The outbox keeper removes what has expired.
"""

import hashlib
import json
import re
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, func, select, text
from sqlalchemy.dialects import postgresql

from foldline_command.database import idempotency_keys
from foldline_command.rules import Refused
from foldline_contracts.problems import ProblemType

HEADER = "Idempotency-Key"
MAX_LENGTH = 255
KEPT = timedelta(hours=24)
#: A string of RFC 8941: a backslash stands only before a quote or another one.
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_ESCAPED = re.compile(r'\\(["\\])')


class IdempotencyRefused(Refused):
    """Base of what can be wrong with a key."""


class KeyReused(IdempotencyRefused):
    """The key was used for another command."""

    problem = ProblemType(
        "idempotency-key-reused",
        422,
        "Idempotency key reused",
        "The Idempotency-Key was used with another method, path, If-Match or body.",
    )


class StillRunning(IdempotencyRefused):
    """The first command of this key has not ended."""

    problem = ProblemType(
        "idempotency-key-in-use",
        409,
        "Idempotency key in use",
        "The first command of this Idempotency-Key is still running; repeat it a moment later.",
    )


def parse(header: str) -> str:
    """The key in the header: bare, or a quoted string. Raises ValueError when it is malformed."""
    key = header.strip()
    if key.startswith('"') or key.endswith('"'):
        quoted = _QUOTED.fullmatch(key)
        if quoted is None:
            raise ValueError("a quoted key is one quoted string")
        key = _ESCAPED.sub(r"\1", quoted[1])
    if not 1 <= len(key) <= MAX_LENGTH or not key.isascii() or not key.isprintable():
        raise ValueError(f"must be 1 to {MAX_LENGTH} printable ASCII characters")
    return key


def fingerprint(method: str, path: str, if_match: str | None, body: Any) -> str:
    """What makes two commands the same: method, path, If-Match and the decoded body."""
    canonical = json.dumps([method, path, if_match, body], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def recall(connection: Connection, key: str, print_: str) -> dict[str, Any] | None:
    """The answer remembered under `key`, or None; either way the key is ours until the end of the
    transaction. Raises StillRunning or KeyReused.
    """
    locked = select(func.pg_try_advisory_xact_lock(func.hashtextextended(key, 0)))
    if not connection.execute(locked).scalar_one():
        raise StillRunning("the first command of this key is still running")
    table = idempotency_keys
    fresh = table.c.expires_at > func.now()
    row = connection.execute(select(table).where(table.c.key == key, fresh)).one_or_none()
    if row is None:
        return None
    if row.fingerprint != print_:
        raise KeyReused("this key was used for another command")
    answer: dict[str, Any] = row.answer
    return answer


def remember(connection: Connection, key: str, print_: str, answer: dict[str, Any]) -> None:
    """Keeps an accepted answer, in place of an expired one."""
    expires = func.now() + text(f"interval '{int(KEPT.total_seconds())} seconds'")
    values = {"fingerprint": print_, "answer": answer, "expires_at": expires}
    statement = postgresql.insert(idempotency_keys).values(key=key, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_=values))
