"""The order and its rules: pure decisions over plain state.

Life: CREATED -> SUBMITTED -> PAID -> SHIPPED -> DELIVERED; CANCELLED from CREATED, SUBMITTED or PAID.
Each method checks its rules, records facts in the past tense and changes the order; a repetition
that changes nothing records nothing. Time comes in with the command, so a test or an import may
say 1997.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Self

from foldline_command.aggregate import Recorder
from foldline_command.orders import rules
from foldline_contracts import money
from foldline_contracts.aggregates import AggregateKind
from foldline_contracts.orders import events
from foldline_contracts.orders.events import MAX_QUANTITY, ORDERS, OrderStatus

MAX_ITEMS = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One line: a product, how many, at what price each."""

    product_id: str
    name: str
    quantity: int
    unit_price: Decimal

    @property
    def total(self) -> Decimal:
        """Quantity times price."""
        return self.quantity * self.unit_price

    def as_event(self) -> events.Item:
        """The line as events carry it."""
        return events.Item(
            product_id=self.product_id,
            name=self.name,
            quantity=self.quantity,
            unit_price=money.to_text(self.unit_price),
        )


@dataclass(slots=True)
class Order:
    """One order."""

    kind: ClassVar[AggregateKind] = ORDERS

    id: str
    version: int = 0
    customer_id: str = ""
    currency: str = ""
    status: OrderStatus = "CREATED"
    #: By product id, in first-added order.
    items: dict[str, Item] = field(default_factory=dict)
    address: dict[str, str] | None = None
    #: Payment id to method and amount.
    payments: dict[str, tuple[str, Decimal]] = field(default_factory=dict)
    recorder: Recorder = field(default_factory=Recorder)

    @property
    def total(self) -> Decimal:
        """The sum of the lines."""
        return sum((item.total for item in self.items.values()), Decimal(0))

    @property
    def paid(self) -> Decimal:
        """The sum of the payments."""
        return sum((amount for _, amount in self.payments.values()), Decimal(0))

    def create(
        self, customer_id: str, currency: str, items: Sequence[Item], note: str | None, at: datetime
    ) -> None:
        """Places the order. The same product twice adds up."""
        self.customer_id, self.currency = customer_id, currency
        for item in items:
            self._put(item)
        self.recorder.record(
            events.OrderCreated(
                customer_id=customer_id,
                currency=currency,
                items=[item.as_event() for item in self.items.values()],
                personal=events.OrderNote(note=note),
            ),
            at,
        )

    def add_item(self, item: Item, at: datetime) -> None:
        """Adds a line, or to a line's quantity."""
        self._require_open("items change")
        self._put(item)
        self.recorder.record(events.ItemAdded(item=item.as_event()), at)

    def remove_item(self, product_id: str, at: datetime) -> None:
        """Takes a whole line away."""
        self._require_open("items change")
        if product_id not in self.items:
            raise rules.ItemNotFound(f"order {self.id} has no item {product_id}")
        del self.items[product_id]
        self.recorder.record(events.ItemRemoved(product_id=product_id), at)

    def set_shipping_address(self, address: dict[str, str], at: datetime) -> None:
        """Sets or replaces the address; the same again changes nothing."""
        self._require_open("the address changes")
        if address == self.address:
            return
        self.address = address
        self.recorder.record(events.ShippingAddressSet(personal=events.Address(**address)), at)

    def submit(self, at: datetime) -> None:
        """Completes the order; a total of 0 is paid at once."""
        self._require_open("an order is submitted")
        if not self.items:
            raise rules.OrderEmpty(f"order {self.id} has no items")
        self.status = "SUBMITTED"
        total = money.to_text(self.total)
        self.recorder.record(
            events.OrderSubmitted(total=total, currency=self.currency, item_count=len(self.items)),
            at,
        )
        self._settle(at)

    def pay(self, payment_id: str, method: str, amount: Decimal, at: datetime) -> None:
        """Adds a payment; the same payment again changes nothing, even once the order is paid."""
        known = self.payments.get(payment_id)
        if known == (method, amount):
            return
        if known is not None:
            raise rules.PaymentConflict(f"payment {payment_id} was received with other particulars")
        if self.status != "SUBMITTED":
            raise rules.NotAwaitingPayment(self._is("payments are taken while it is SUBMITTED"))
        if self.paid + amount > self.total:
            due = money.to_text(self.total - self.paid)
            raise rules.Overpayment(f"order {self.id} has {due} to pay", due=due)
        self.payments[payment_id] = (method, amount)
        self.recorder.record(
            events.PaymentReceived(
                payment_id=payment_id, method=method, amount=money.to_text(amount)
            ),
            at,
        )
        self._settle(at)

    def ship(self, carrier: str, tracking_number: str, at: datetime) -> None:
        """Hands a paid order to a carrier."""
        if self.status != "PAID":
            raise rules.NotPaid(self._is("it ships once it is PAID"))
        self.status = "SHIPPED"
        self.recorder.record(
            events.OrderShipped(carrier=carrier, tracking_number=tracking_number), at
        )

    def deliver(self, at: datetime) -> None:
        """Says that a shipped order arrived."""
        if self.status != "SHIPPED":
            raise rules.NotShipped(self._is("it is delivered once it is SHIPPED"))
        self.status = "DELIVERED"
        self.recorder.record(events.OrderDelivered(), at)

    def cancel(self, reason: str, at: datetime) -> None:
        """Cancels an order that has not been shipped."""
        if self.status not in ("CREATED", "SUBMITTED", "PAID"):
            raise rules.NotCancellable(self._is("it can be cancelled before it is SHIPPED"))
        fact = events.OrderCancelled(
            reason=reason, previous_status=self.status, total=money.to_text(self.total)
        )
        self.status = "CANCELLED"
        self.recorder.record(fact, at)

    def _settle(self, at: datetime) -> None:
        if self.paid == self.total:
            self.status = "PAID"
            self.recorder.record(events.OrderPaid(total=money.to_text(self.total)), at)

    def _put(self, item: Item) -> None:
        """Adds a line under the rules of an order's size."""
        known = self.items.get(item.product_id)
        if known is None and len(self.items) == MAX_ITEMS:
            raise rules.TooManyItems(f"an order has at most {MAX_ITEMS} items")
        if known is not None and known.unit_price != item.unit_price:
            price = money.to_text(known.unit_price)
            raise rules.PriceMismatch(f"item {item.product_id} costs {price} in this order")
        quantity = item.quantity + (known.quantity if known else 0)
        if quantity > MAX_QUANTITY:
            raise rules.QuantityTooLarge(f"a quantity is at most {MAX_QUANTITY}")
        merged = replace(known or item, quantity=quantity)
        if self.total - (known.total if known else 0) + merged.total > money.MAX_TOTAL:
            raise rules.TotalTooLarge(f"an order's total is at most {money.MAX_TOTAL}")
        self.items[item.product_id] = merged

    def _require_open(self, what: str) -> None:
        if self.status != "CREATED":
            raise rules.NotOpen(self._is(f"{what} only while it is CREATED"))

    def _is(self, rule: str) -> str:
        return f"order {self.id} is {self.status}; {rule}"

    def to_state(self) -> dict[str, Any]:
        """Everything that its rules need, as JSON data."""
        items = [
            asdict(item) | {"unit_price": str(item.unit_price)} for item in self.items.values()
        ]
        return {
            "customer_id": self.customer_id,
            "currency": self.currency,
            "status": self.status,
            "items": items,
            "address": self.address,
            "payments": {
                key: [method, str(amount)] for key, (method, amount) in self.payments.items()
            },
        }

    @classmethod
    def from_state(cls, id: str, version: int, state: dict[str, Any]) -> Self:  # noqa: A002
        """The order that was stored."""
        items = [
            Item(**item | {"unit_price": Decimal(item["unit_price"])}) for item in state["items"]
        ]
        return cls(
            id=id,
            version=version,
            customer_id=state["customer_id"],
            currency=state["currency"],
            status=state["status"],
            items={item.product_id: item for item in items},
            address=state["address"],
            payments={
                key: (method, Decimal(amount))
                for key, (method, amount) in state["payments"].items()
            },
        )
