"""One order out of MongoDB, with a freshness of its own.

An order rests on two partitions: its own and its customer's. It is stale when one of these is
known to be behind, when it or its customer is parked, or when the customer has a version that
has not reached the order yet. What other orders wait for does not make it stale.

Positions are observed before the order is read. Whether something is parked depends on the order
itself (who its customer is), so then the order is read once more after that question: the answer
is never older than what it says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foldline_query.access import Access, View
from foldline_query.freshness import BEHIND, Freshness, Partition
from foldline_query.readers.mongodb import MongoStore
from foldline_query.readers.port import Aggregate

Json = dict[str, Any]

_SCALARS = ("status", "total", "currency", "itemCount", "createdAt", "updatedAt")
_LISTS = ("items", "payments", "history")
_OBJECTS = ("shipping", "note")


@dataclass(frozen=True, slots=True)
class Found:
    """An order, or none, and how fresh that is."""

    order: Json | None
    version: int
    customer_version: int
    freshness: Freshness

    def body(self) -> Json:
        """The answer without its `freshness`."""
        order = self.order or {}
        shown: Json = {
            "order": order,
            "version": self.version,
            "lastUpdated": order.get("updatedAt"),
            "stale": self.freshness.stale,
        }
        return {**shown, "staleReason": self.freshness.reason} if self.freshness.stale else shown

    def etag(self, view: View) -> str:
        """Covers all that the order is made of, and the generation that made it."""
        return f"g{view.generation.number}-o{self.version}-c{self.customer_version}"


def find(store: MongoStore, access: Access, view: View, key: str) -> Found:
    """The order in the view's generation."""
    document = store.one(view.documents, key)
    customer = _customer_id(document)
    is_parked = False
    if view.observation.parked:
        is_parked = bool(access.parked_among(view, _aggregates(view, key, customer)))
        document = store.one(view.documents, key)
        customer = _customer_id(document)
    source = store.one(view.references, customer) if customer else None
    freshness = view.freshness(_rests_on(view, document, source), is_parked)
    if not freshness.stale and _lacks_customer(document, source):
        freshness = freshness.because(BEHIND)
    if document is None or not document.get("primary"):
        return Found(None, 0, 0, freshness)
    reference = document.get("reference") or {}
    order = detail(key, document)
    return Found(order, document["primary"]["version"], reference.get("version", 0), freshness)


def detail(key: str, document: Mapping[str, Any]) -> Json:
    """A document as the API shows it; what no event has filled is null or an empty list."""
    body = document["primary"]["body"]
    customer = (document.get("reference") or {}).get("body") or {}
    return {
        "orderId": key,
        "customerId": body.get("customerId"),
        "customerName": customer.get("name"),
        **{name: body.get(name) for name in _SCALARS},
        "version": document["primary"]["version"],
        "customer": {
            "customerId": body.get("customerId"),
            "name": customer.get("name"),
            "email": customer.get("email"),
        },
        **{name: body.get(name) or [] for name in _LISTS},
        **{name: body.get(name) for name in _OBJECTS},
    }


def _customer_id(document: Mapping[str, Any] | None) -> str | None:
    primary = (document or {}).get("primary")
    found: str | None = primary["body"].get("customerId") if primary else None
    return found


def _aggregates(view: View, key: str, customer: str | None) -> list[Aggregate]:
    own = [Aggregate(view.model.primary, key)]
    reference = view.model.reference
    return [*own, Aggregate(reference, customer)] if reference and customer else own


def _rests_on(
    view: View, document: Mapping[str, Any] | None, source: Mapping[str, Any] | None
) -> list[Partition]:
    """The order's partition and its customer's; of a topic whose partition is not known, all."""
    of_order, *of_others = view.model.topics
    known: dict[str, Mapping[str, Any] | None] = {of_order: document}
    known |= dict.fromkeys(of_others, source)
    return [
        (topic, partition)
        for topic, partition in view.observation.expected()
        if (row := known.get(topic)) is None or row["partition"] == partition
    ]


def _lacks_customer(document: Mapping[str, Any] | None, source: Mapping[str, Any] | None) -> bool:
    if document is None or source is None:
        return False
    carried = (document.get("reference") or {}).get("version", 0)
    return bool(source["version"] > carried)
