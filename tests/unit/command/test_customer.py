"""A customer registers once and is renamed; the same identity again is no fact."""

from datetime import UTC, datetime

from foldline_command.customers.model import Customer
from foldline_contracts.orders.events import CustomerIdentity, CustomerRegistered, CustomerRenamed

AT = datetime(2026, 1, 2, tzinfo=UTC)


def facts(*identities: tuple[str, str | None]) -> list[object]:
    customer = Customer(id="c1")
    for name, email in identities:
        customer.identify(name, email, AT)
    return [data for data, _ in customer.recorder.facts]


def test_the_first_identity_registers() -> None:
    assert facts(("Ada", None)) == [CustomerRegistered(personal=CustomerIdentity(name="Ada"))]


def test_the_same_identity_again_changes_nothing() -> None:
    assert len(facts(("Ada", "a@b.c"), ("Ada", "a@b.c"))) == 1


def test_another_name_or_email_renames() -> None:
    found = facts(("Ada", "a@b.c"), ("Ada", None), ("Eve", None))
    assert found[1:] == [
        CustomerRenamed(personal=CustomerIdentity(name="Ada", email=None)),
        CustomerRenamed(personal=CustomerIdentity(name="Eve", email=None)),
    ]


def test_a_customer_comes_back_from_its_state() -> None:
    customer = Customer(id="c1", name="Ada", email="a@b.c")
    again = Customer.from_state("c1", 3, customer.to_state())
    assert (again.name, again.email, again.version) == ("Ada", "a@b.c", 3)
