"""The order's rules as tables: given what happened, when a command, then these facts or that refusal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

from foldline_command.orders import rules
from foldline_command.orders.model import MAX_ITEMS, MAX_QUANTITY, Item, Order
from foldline_command.rules import Refused
from foldline_contracts.orders import events

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ADDRESS = {
    "recipient": "Ada",
    "street": "Way 1",
    "city": "Köln",
    "postal_code": "50667",
    "country": "DE",
}
Command = Callable[[Order], None]


def line(product: str = "p1", quantity: int = 2, price: str = "19.99", name: str = "Lamp") -> Item:
    return Item(product_id=product, name=name, quantity=quantity, unit_price=Decimal(price))


def create(*items: Item, note: str | None = None) -> Command:
    return lambda order: order.create("c1", "EUR", items, note, AT)


def add(item: Item) -> Command:
    return lambda order: order.add_item(item, AT)


def remove(product: str) -> Command:
    return lambda order: order.remove_item(product, AT)


def address(**changes: str) -> Command:
    return lambda order: order.set_shipping_address(ADDRESS | changes, AT)


def pay(amount: str, payment: str = "pay1", method: str = "card") -> Command:
    return lambda order: order.pay(payment, method, Decimal(amount), AT)


def submit(order: Order) -> None:
    order.submit(AT)


def ship(order: Order) -> None:
    order.ship("DHL", "T1", AT)


def deliver(order: Order) -> None:
    order.deliver(AT)


def cancel(order: Order) -> None:
    order.cancel("too slow", AT)


@dataclass
class Given:
    """An order to which the given commands happened."""

    order: Order

    def when(self, command: Command) -> "Given":
        self.order.recorder.facts.clear()
        command(self.order)
        return self

    def then(self, *expected: msgspec.Struct) -> None:
        assert [data for data, _ in self.order.recorder.facts] == list(expected)
        assert all(at == AT for _, at in self.order.recorder.facts)

    def refused(self, command: Command, rule: type[Refused]) -> None:
        before = self.order.to_state()
        self.order.recorder.facts.clear()
        with pytest.raises(rule):
            command(self.order)
        assert self.order.recorder.facts == []
        assert self.order.to_state() == before


def given(*commands: Command) -> Given:
    order = Order(id="o1")
    for command in commands:
        command(order)
    return Given(order)


CREATED = (create(line()),)
SUBMITTED = (*CREATED, submit)
PAID = (*SUBMITTED, pay("39.98"))
SHIPPED = (*PAID, ship)
DELIVERED = (*SHIPPED, deliver)
CANCELLED = (*CREATED, cancel)
LIFE = {
    "CREATED": CREATED,
    "SUBMITTED": SUBMITTED,
    "PAID": PAID,
    "SHIPPED": SHIPPED,
    "DELIVERED": DELIVERED,
    "CANCELLED": CANCELLED,
}


@pytest.mark.parametrize("status", LIFE)
def test_each_life_reaches_its_status(status: str) -> None:
    assert given(*LIFE[status]).order.status == status


#: Command, the statuses that allow it, the refusal elsewhere.
ALLOWED: Sequence[tuple[str, Command, set[str], type[Refused]]] = (
    ("add", add(line("p2")), {"CREATED"}, rules.NotOpen),
    ("remove", remove("p1"), {"CREATED"}, rules.NotOpen),
    ("address", address(), {"CREATED"}, rules.NotOpen),
    ("submit", submit, {"CREATED"}, rules.NotOpen),
    ("pay", pay("0.01", "other"), {"SUBMITTED"}, rules.NotAwaitingPayment),
    ("ship", ship, {"PAID"}, rules.NotPaid),
    ("deliver", deliver, {"SHIPPED"}, rules.NotShipped),
    ("cancel", cancel, {"CREATED", "SUBMITTED", "PAID"}, rules.NotCancellable),
)


@pytest.mark.parametrize("status", LIFE)
@pytest.mark.parametrize(
    ("name", "command", "allowed", "rule"), ALLOWED, ids=lambda each: str(each)
)
def test_commands_belong_to_their_statuses(
    status: str, name: str, command: Command, allowed: set[str], rule: type[Refused]
) -> None:
    order = given(*LIFE[status])
    if status in allowed:
        assert order.when(command).order.recorder.facts, name
    else:
        order.refused(command, rule)


def test_placing_says_everything_about_the_order() -> None:
    given().when(create(line(), note="ring")).then(
        events.OrderCreated(
            customer_id="c1",
            currency="EUR",
            items=[line().as_event()],
            personal=events.OrderNote(note="ring"),
        )
    )


def test_one_product_twice_in_a_new_order_is_one_line() -> None:
    order = given(create(line(quantity=2), line("p2"), line(quantity=3))).order
    assert [(item.product_id, item.quantity) for item in order.items.values()] == [
        ("p1", 5),
        ("p2", 2),
    ]


def test_adding_a_product_again_grows_its_line_in_place() -> None:
    order = given(create(line(), line("p2")), add(line(quantity=3, name="Other"))).order
    assert list(order.items) == ["p1", "p2"]
    assert order.items["p1"] == line(quantity=5)


def test_adding_records_what_was_added_not_the_sum() -> None:
    given(*CREATED).when(add(line(quantity=3))).then(
        events.ItemAdded(item=line(quantity=3).as_event())
    )


def test_the_price_of_a_product_agrees_whatever_its_zeros() -> None:
    given(create(line(price="5"))).when(add(line(price="5.00"))).then(
        events.ItemAdded(item=line(price="5.00").as_event())
    )


def test_removing_takes_the_whole_line() -> None:
    order = given(*CREATED).when(remove("p1"))
    order.then(events.ItemRemoved(product_id="p1"))
    assert order.order.items == {}


SIZE: Sequence[tuple[str, Sequence[Command], Command, type[Refused]]] = (
    ("price", CREATED, add(line(price="20.00")), rules.PriceMismatch),
    ("quantity", CREATED, add(line(quantity=MAX_QUANTITY)), rules.QuantityTooLarge),
    ("absent item", CREATED, remove("p2"), rules.ItemNotFound),
    (
        "items",
        [create(*(line(f"p{number}") for number in range(MAX_ITEMS)))],
        add(line("one-more")),
        rules.TooManyItems,
    ),
    (
        "total",
        [create(line(quantity=1_000_000, price="1000000000"))],
        add(line("p2", 1, "0.0001")),
        rules.TotalTooLarge,
    ),
    ("empty", [create()], submit, rules.OrderEmpty),
    ("emptied", [*CREATED, remove("p1")], submit, rules.OrderEmpty),
    ("overpaid at once", SUBMITTED, pay("39.99"), rules.Overpayment),
    (
        "overpaid together",
        [*SUBMITTED, pay("39.97")],
        pay("0.0101", "pay2"),
        rules.Overpayment,
    ),
    ("other amount", [*SUBMITTED, pay("1.00")], pay("2.00"), rules.PaymentConflict),
    ("other amount, paid", PAID, pay("2.00"), rules.PaymentConflict),
    ("other method", PAID, pay("39.98", method="cash"), rules.PaymentConflict),
)


@pytest.mark.parametrize(
    ("before", "command", "rule"), [row[1:] for row in SIZE], ids=[row[0] for row in SIZE]
)
def test_a_broken_rule_changes_nothing(
    before: Sequence[Command], command: Command, rule: type[Refused]
) -> None:
    given(*before).refused(command, rule)


@pytest.mark.parametrize(
    ("before", "command"),
    [
        ((*CREATED, address()), address()),
        ((*SUBMITTED, pay("1.00")), pay("1.0000")),
        (PAID, pay("39.98")),
        (SHIPPED, pay("39.98")),
    ],
    ids=["same address", "same payment", "same payment once paid", "same payment once shipped"],
)
def test_the_same_again_changes_nothing(before: Sequence[Command], command: Command) -> None:
    given(*before).when(command).then()


def test_another_address_replaces_the_first() -> None:
    given(*CREATED, address()).when(address(city="Bonn")).then(
        events.ShippingAddressSet(personal=events.Address(**ADDRESS | {"city": "Bonn"}))
    )


def test_payments_add_up_to_paid() -> None:
    order = given(*SUBMITTED)
    order.when(pay("39.97")).then(
        events.PaymentReceived(payment_id="pay1", method="card", amount="39.97")
    )
    order.when(pay("0.01", "pay2")).then(
        events.PaymentReceived(payment_id="pay2", method="card", amount="0.01"),
        events.OrderPaid(total="39.98"),
    )


def test_an_order_for_nothing_is_paid_at_submission() -> None:
    given(create(line(price="0"))).when(submit).then(
        events.OrderSubmitted(total="0.00", currency="EUR", item_count=1),
        events.OrderPaid(total="0.00"),
    )


def test_the_greatest_total_is_allowed() -> None:
    given(create(line(quantity=1_000_000, price="1000000000"))).when(submit).then(
        events.OrderSubmitted(total="1000000000000000.00", currency="EUR", item_count=1)
    )


@pytest.mark.parametrize("status", ["CREATED", "SUBMITTED", "PAID"])
def test_cancelling_says_from_where(status: str) -> None:
    given(*LIFE[status]).when(cancel).then(
        events.OrderCancelled(
            reason="too slow",
            previous_status=status,  # type: ignore[arg-type]
            total="39.98",
        )
    )


@pytest.mark.parametrize("status", LIFE)
def test_an_order_comes_back_from_its_state_as_it_was(status: str) -> None:
    order = given(*LIFE[status]).order
    state = msgspec.json.decode(msgspec.json.encode(order.to_state()))
    again = Order.from_state("o1", 7, state)
    assert again.to_state() == order.to_state()
    assert again.version == 7
