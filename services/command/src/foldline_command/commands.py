"""Running one command: transaction, expected version, idempotency and bounded retry around a handler.

A handler loads, acts and saves; this module begins and commits. Order within the transaction: the
idempotency key is looked up first, then the handler runs, then the answer is remembered, then all of it commits. A
`Concurrent` writer rolls everything back and the handler runs again on fresh state, at most
`ATTEMPTS` times.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Engine

from foldline_command import idempotency
from foldline_command.aggregate import Aggregate
from foldline_command.rules import Contended
from foldline_command.unit_of_work import Concurrent, UnitOfWork
from foldline_contracts.tokens import Token

ATTEMPTS = 10
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What an accepted command answers."""

    kind: str
    id: str
    version: int
    replayed: bool = False

    @property
    def token(self) -> Token:
        """What a query waits for to contain this command's effect."""
        return Token(self.kind, self.id, self.version)

    def to_row(self) -> dict[str, Any]:
        """As the idempotency record keeps it."""
        return {"kind": self.kind, "id": self.id, "version": self.version}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Answer":
        """A remembered answer."""
        return cls(kind=row["kind"], id=row["id"], version=row["version"], replayed=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """What a request asks for beside the command itself."""

    expected_version: int | None = None
    idempotency_key: str | None = None
    fingerprint: str = ""


Handler = Callable[[UnitOfWork], Aggregate]


def run(engine: Engine, handler: Handler, conditions: Conditions) -> Answer:
    """Runs the handler to its commit. Raises Refused; Contended after `ATTEMPTS` lost races."""
    return uncontended(
        lambda: _attempt(engine, handler, conditions), "other writers kept changing this aggregate"
    )


def uncontended(attempt: Callable[[], T], otherwise: str) -> T:
    """What `attempt` answers once no other writer is faster. Raises Contended after `ATTEMPTS` lost
    races, with the message `otherwise`.
    """
    for _ in range(ATTEMPTS):
        try:
            return attempt()
        except Concurrent:
            continue
    raise Contended(otherwise)


def _attempt(engine: Engine, handler: Handler, conditions: Conditions) -> Answer:
    key, print_ = conditions.idempotency_key, conditions.fingerprint
    with UnitOfWork.begin(engine, conditions.expected_version) as uow:
        if key is not None and (row := idempotency.recall(uow.connection, key, print_)) is not None:
            return Answer.from_row(row)
        aggregate = handler(uow)
        answer = Answer(kind=aggregate.kind.name, id=aggregate.id, version=aggregate.version)
        if key is not None:
            idempotency.remember(uow.connection, key, print_, answer.to_row())
        uow.commit()
    return answer
