"""The customer: a name and perhaps an email, registered once and renamed at will."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Self

from foldline_command.aggregate import Recorder
from foldline_contracts.aggregates import AggregateKind
from foldline_contracts.orders.events import (
    CUSTOMERS,
    CustomerIdentity,
    CustomerRegistered,
    CustomerRenamed,
)


@dataclass(slots=True)
class Customer:
    """One customer."""

    kind: ClassVar[AggregateKind] = CUSTOMERS

    id: str
    version: int = 0
    name: str | None = None
    email: str | None = None
    recorder: Recorder = field(default_factory=Recorder)

    def identify(self, name: str, email: str | None, at: datetime) -> None:
        """Registers the customer, or renames it; the same identity again changes nothing."""
        if self.name is not None and (name, email) == (self.name, self.email):
            return
        personal = CustomerIdentity(name=name, email=email)
        known = self.name is not None
        fact = (
            CustomerRenamed(personal=personal) if known else CustomerRegistered(personal=personal)
        )
        self.recorder.record(fact, at)
        self.name, self.email = name, email

    def to_state(self) -> dict[str, Any]:
        """Name and email."""
        return {"name": self.name, "email": self.email}

    @classmethod
    def from_state(cls, id: str, version: int, state: dict[str, Any]) -> Self:  # noqa: A002
        """The customer that was stored."""
        return cls(id=id, version=version, name=state["name"], email=state["email"])
