"""The wire, frozen: `golden/<kind>/<type>-<n>.json` holds the exact bytes of every event type.

The writer must produce the newest file of each type byte for byte; the reader must understand every
file ever written. A change of an event adds a file with the next number, and edits none.
"""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from uuid import UUID, uuid5

import msgspec
import pytest

from foldline_contracts import codec
from foldline_contracts.aggregates import aggregate_kinds
from foldline_contracts.codec import Event
from foldline_contracts.orders import events

GOLDEN = Path(str(files("foldline_contracts") / "golden"))
ROOT = Path(__file__).parents[2]
NAMESPACE = UUID("f01d11ae-0000-4000-8000-000000000000")
MOMENT = datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=UTC)

LAMP = events.Item(product_id="lamp-1", name="Lampe „Köln“", quantity=2, unit_price="19.99")
NAIL = events.Item(product_id="nail", name="Nail", quantity=1_000_000, unit_price="0.0001")
ADDRESS = events.Address(
    recipient="Zoë 'Z' O\"Neil",
    street="Straße 1\nHinterhaus",
    city="Łódź",
    postal_code="90-001",
    country="PL",
)
SAMPLES: tuple[msgspec.Struct, ...] = (
    events.OrderCreated(
        customer_id="c.1",
        currency="EUR",
        items=[LAMP, NAIL],
        personal=events.OrderNote(note="ring twice 🔔"),
    ),
    events.ItemAdded(item=NAIL),
    events.ItemRemoved(product_id="nail"),
    events.ShippingAddressSet(personal=ADDRESS),
    events.OrderSubmitted(total="139.98", currency="EUR", item_count=2),
    events.PaymentReceived(payment_id="pay~1", method="card", amount="39.98"),
    events.OrderPaid(total="139.98"),
    events.OrderShipped(carrier="DHL", tracking_number="00340434161094"),
    events.OrderDelivered(),
    events.OrderCancelled(reason="too slow", previous_status="SUBMITTED", total="139.98"),
    events.CustomerRegistered(
        personal=events.CustomerIdentity(name="Ada Lovelace", email="ada@example.org")
    ),
    events.CustomerRenamed(personal=events.CustomerIdentity(name="Ada King", email=None)),
)


def sample_events() -> Iterator[Event]:
    """One event a type, of a whole life in order."""
    for kind in aggregate_kinds().values():
        own = [data for data in SAMPLES if type(data) in kind.events.values()]
        for version, data in enumerate(own, 1):
            name = kind.type_of(data)
            identity = str(uuid5(NAMESPACE, name))
            yield Event(identity, kind.name, f"{kind.name}-1", version, MOMENT, data)


EVENTS = {aggregate_kinds()[event.kind].type_of(event.data): event for event in sample_events()}
FILES = sorted(GOLDEN.glob("*/*.json"))


def newest(kind: str, name: str) -> Path:
    found = [path for path in FILES if path.parent.name == kind and path.stem[: len(name)] == name]
    assert found, f"no golden file of {name}"
    return max(found, key=lambda path: int(path.stem.rpartition("-")[2]))


def test_every_event_type_has_a_sample_and_a_file() -> None:
    types = {name for kind in aggregate_kinds().values() for name in kind.events}
    assert types == set(EVENTS)
    assert types == {path.stem.rpartition("-")[0] for path in FILES}


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_the_writer_makes_the_newest_file_byte_for_byte(name: str) -> None:
    event = EVENTS[name]
    written = codec.encode(aggregate_kinds()[event.kind], event)
    assert written == newest(event.kind, name).read_bytes()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_reader_understands_every_file_ever_written(path: Path) -> None:
    kind = aggregate_kinds()[path.parent.name]
    event = codec.decode(kind, path.read_bytes())
    assert kind.type_of(event.data) == path.stem.rpartition("-")[0]
    assert event.version >= 1
    assert event.time.tzinfo is not None


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_the_newest_file_is_read_back_as_it_was_meant(name: str) -> None:
    event = EVENTS[name]
    value = newest(event.kind, name).read_bytes()
    assert codec.decode(aggregate_kinds()[event.kind], value) == event


def test_no_golden_file_was_edited_after_it_was_committed() -> None:
    folder = "contracts/src/foldline_contracts/golden"
    argv = ["git", "log", "--format=", "--name-status", "--diff-filter=MDR", "HEAD", "--", folder]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git work tree")
    assert done.stdout.strip() == ""
