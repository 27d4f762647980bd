"""Hand-written documents of the four read models, in the fields that the contracts name."""

from datetime import UTC, datetime
from typing import Any

from foldline_projector.stores.port import (
    Document,
    ParkedRecord,
    Reference,
    Section,
    TopicPartition,
)

CREATED = "2026-03-01T12:30:15.123456Z"
ADDRESS = {
    "recipient": "Zoë Ångström",
    "street": "Hauptstraße 1",
    "city": "Łódź",
    "postalCode": "90-001",
    "country": "PL",
}


def section(version: int, body: dict[str, Any]) -> Section:
    return Section(version, f"event-{version}", body)


def summary(key: str, version: int = 1, *, name: str | None = None, **fields: Any) -> Document:
    """A row of order-summaries."""
    body = {
        "customerId": "c1",
        "status": "CREATED",
        "total": "10.00",
        "currency": "EUR",
        "itemCount": 1,
        "createdAt": CREATED,
        "updatedAt": CREATED,
        "lines": {},
        **fields,
    }
    return Document(key, 0, section(version, body), customer(name))


def detail(key: str, version: int = 1, *, name: str | None = None, **fields: Any) -> Document:
    """A document of order-details or order-search."""
    body = {
        "customerId": "c1",
        "status": "CREATED",
        "total": "10.00",
        "currency": "EUR",
        "itemCount": 1,
        "createdAt": CREATED,
        "updatedAt": CREATED,
        "items": [item("p1", "Teapot")],
        "shipping": None,
        "payments": [],
        "history": [{"status": "CREATED", "at": CREATED}],
        "note": None,
        "reason": None,
        **fields,
    }
    return Document(key, 0, section(version, body), customer(name))


def analytics(key: str, version: int = 1, **fields: Any) -> Document:
    """A row of order-analytics."""
    body = {
        "status": "SUBMITTED",
        "currency": "EUR",
        "total": "10.00",
        "submittedDate": "2026-03-01",
        "submittedTotal": "10.00",
        "lines": None,
        **fields,
    }
    return Document(key, 0, section(version, body))


#: A version-1 document of each read model.
DOCUMENTS = {
    "order-summaries": summary,
    "order-details": detail,
    "order-analytics": analytics,
    "order-search": detail,
}


def item(product: str, name: str, quantity: int = 1, price: str = "10.00") -> dict[str, Any]:
    return {
        "productId": product,
        "name": name,
        "quantity": quantity,
        "unitPrice": price,
        "lineTotal": price,
    }


def customer(name: str | None, version: int = 1) -> Section | None:
    return None if name is None else section(version, {"name": name, "email": f"{name}@x.test"})


def reference(key: str, version: int, fanned_out: int, name: str = "Ada") -> Reference:
    return Reference(key, 0, section(version, {"name": name, "email": None}), fanned_out)


def parked(
    key: str, offset: int = 100, *, kind: str = "orders", reason: str = "fold", **fields: Any
) -> ParkedRecord:
    topic = "order-events" if kind == "orders" else "customer-events"
    given: dict[str, Any] = {
        "version": 2,
        "event_id": "bad",
        "detail": "cannot be folded",
        "value": b'{"type":"X"}',
        **fields,
    }
    return ParkedRecord(
        at=TopicPartition(topic, 0),
        offset=offset,
        kind=kind,
        aggregate_id=key,
        reason=reason,  # type: ignore[arg-type]
        recorded_at=datetime(2026, 3, 1, tzinfo=UTC),
        **given,
    )
