"""The pure decision about a batch: records in, outcome out."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from support.order_events import LIFE, customer, item, numbered, wire

from foldline_contracts.codec import Event
from foldline_contracts.orders.events import ItemAdded
from foldline_projector.engine.batch import Known, Outcome, fold
from foldline_projector.engine.records import Record, Waiting
from foldline_projector.orders import summaries
from foldline_projector.projection import Projection
from foldline_projector.stores.port import Body, Document, ParkedRecord, Reference, TopicPartition

ORDERS_0 = TopicPartition("order-events", 0)
CUSTOMERS_0 = TopicPartition("customer-events", 0)
NOTHING = Known({}, {}, {})
ORDER = numbered("o1", LIFE)


def record(event: Event, offset: int = 0) -> Record:
    at = CUSTOMERS_0 if event.kind == "customers" else ORDERS_0
    return Record(at, offset, event.kind, event.subject, wire(event), 1000 + offset, event, "")


def records(*events: Event, first: int = 0) -> list[Record]:
    return [record(event, offset) for offset, event in enumerate(events, first)]


def undecodable(key: str = "o1", offset: int = 0) -> Record:
    return Record(ORDERS_0, offset, "orders", key, b"\xff", 1000 + offset, None, "bad bytes")


def folded(
    polled: Iterable[Record],
    known: Known = NOTHING,
    projection: Projection = summaries.PROJECTION,
) -> Outcome:
    return fold(projection, polled, known)


def after(known: Known, outcome: Outcome) -> Known:
    """What is known when the outcome was committed, without reference sections."""
    gone = [(each.at, each.offset) for each in outcome.released]
    gone += [(each.record.at, each.record.offset) for each in outcome.parked]
    waiting: dict[tuple[str, str], list[Waiting]] = {}
    kept = [e for entries in known.waiting.values() for e in entries]
    kept = [e for e in kept if (e.record.at, e.record.offset) not in gone]
    for entry in [*kept, *outcome.parked]:
        waiting.setdefault((entry.record.kind, entry.record.aggregate_id), []).append(entry)
    return Known(
        {**known.documents, **outcome.documents},
        {**known.references, **outcome.references},
        waiting,
    )


def reasons(outcome: Outcome) -> list[tuple[int | None, str]]:
    return [(entry.record.version, entry.record.reason) for entry in outcome.parked]


def version(outcome: Outcome, key: str = "o1") -> int:
    section = outcome.documents[key].primary
    assert section is not None
    return section.version


def test_events_of_one_aggregate_become_one_document() -> None:
    outcome = folded(records(*ORDER))
    section = outcome.documents["o1"].primary
    assert section is not None
    assert (section.version, section.event_id) == (10, ORDER[-1].id)
    assert section.body["status"] == "DELIVERED"
    assert outcome.counts == {"applied": 10}


def test_a_batch_goes_on_from_the_stored_document() -> None:
    known = after(NOTHING, folded(records(*ORDER[:4])))
    outcome = folded(records(*ORDER[4:6]), known)
    assert version(outcome) == 6
    assert outcome.counts == {"applied": 2}


def test_duplicates_change_nothing() -> None:
    known = after(NOTHING, folded(records(*ORDER[:4])))
    outcome = folded(records(*ORDER[:4]), known)
    assert outcome.documents == {}
    assert outcome.parked == []
    assert outcome.counts == {"duplicate": 4}


def test_duplicates_inside_a_batch_are_skipped() -> None:
    outcome = folded(records(ORDER[0], ORDER[1], ORDER[0], ORDER[1], ORDER[2]))
    assert version(outcome) == 3
    assert outcome.counts == {"applied": 3, "duplicate": 2}


def test_a_gap_is_parked_and_reported() -> None:
    outcome = folded(records(ORDER[0], ORDER[2], ORDER[3]))
    assert version(outcome) == 1
    assert reasons(outcome) == [(3, "gap"), (4, "gap")]
    assert outcome.suspects == {("orders", "o1")}
    assert outcome.counts == {"applied": 1, "gap": 2}
    assert outcome.parked[0].record.detail == "version 2 is missing"


def test_a_gap_drains_when_the_missing_version_arrives() -> None:
    known = after(NOTHING, folded(records(ORDER[0], ORDER[2], ORDER[3])))
    outcome = folded(records(ORDER[1], first=9), known)
    assert version(outcome) == 4
    assert [(each.version, each.offset) for each in outcome.released] == [(3, 1), (4, 2)]
    assert outcome.parked == []
    assert after(known, outcome).waiting == {}


def test_a_gap_drains_as_far_as_versions_follow() -> None:
    known = after(NOTHING, folded(records(ORDER[0], ORDER[2], ORDER[5])))
    outcome = folded(records(ORDER[1], first=9), known)
    assert version(outcome) == 3
    assert [each.version for each in outcome.released] == [3]
    known = after(known, outcome)
    assert version(folded(records(*ORDER[3:5], first=10), known)) == 6


def test_a_reordered_batch_ends_as_the_ordered_one() -> None:
    outcome = folded(records(*reversed(ORDER)))
    assert outcome.documents == folded(records(*ORDER)).documents
    assert outcome.parked == []
    assert outcome.released == []


def test_a_parked_event_that_comes_again_is_a_duplicate() -> None:
    known = after(NOTHING, folded(records(ORDER[0], ORDER[2])))
    assert folded([record(ORDER[2], 1)], known).counts == {"duplicate": 1}
    assert folded([record(ORDER[2], 77)], known).counts == {"duplicate": 1}


def test_what_waits_for_a_version_that_was_applied_meanwhile_is_released() -> None:
    """A store without transactions: documents were saved, the release was not."""
    known = after(NOTHING, folded(records(ORDER[0], ORDER[2])))
    ahead = folded(records(*ORDER[:3])).documents
    outcome = folded(records(ORDER[1], first=5), replace(known, documents=ahead))
    assert [each.version for each in outcome.released] == [3]
    assert outcome.documents == {}


def test_the_same_version_with_another_id_is_a_fork() -> None:
    known = after(NOTHING, folded(records(*ORDER[:2])))
    other = replace(ORDER[1], id="another")
    outcome = folded(records(other, ORDER[2], first=5), known)
    assert reasons(outcome) == [(2, "fork"), (3, "blocked")]
    assert outcome.documents == {}
    assert outcome.suspects == {("orders", "o1")}


def test_a_fork_that_waited_behind_a_gap_is_judged_when_the_gap_closes() -> None:
    other = replace(ORDER[2], id="another")
    known = after(NOTHING, folded(records(ORDER[0], ORDER[2], other, ORDER[3])))
    assert len(known.waiting["orders", "o1"]) == 3
    outcome = folded(records(ORDER[1], first=9), known)
    assert version(outcome) == 3
    assert [each.event_id for each in outcome.released] == [ORDER[2].id]
    assert [(e.record.event_id, e.record.reason) for e in outcome.parked] == [("another", "fork")]
    assert outcome.suspects == {("orders", "o1")}
    blocked = folded(records(ORDER[4], first=10), after(known, outcome))
    assert reasons(blocked) == [(5, "blocked")]


def test_a_fork_within_the_batch_that_closes_the_gap_is_judged_too() -> None:
    other = replace(ORDER[2], id="another")
    outcome = folded(records(ORDER[0], ORDER[2], other, ORDER[1]))
    assert version(outcome) == 3
    assert reasons(outcome) == [(3, "fork")]


def test_what_waited_and_is_not_decoded_any_more_stops_its_aggregate() -> None:
    """A later version of the code may be stricter than the one that parked."""
    known = after(NOTHING, folded(records(ORDER[0], ORDER[2], ORDER[3])))
    (first, second) = known.waiting["orders", "o1"]
    known = replace(known, waiting={("orders", "o1"): [first._replace(event=None), second]})
    outcome = folded(records(ORDER[1], first=9), known)
    assert version(outcome) == 2
    assert reasons(outcome) == [(3, "undecodable")]


def test_many_wait_and_drain_in_the_order_of_their_versions() -> None:
    many = numbered("o1", [ItemAdded(item=item())] * 1_000, first=2)
    outcome = folded(records(*reversed(many), *numbered("o1", LIFE[:1])))
    assert version(outcome) == 1_001
    assert outcome.parked == []
    poisoned = folded([undecodable(offset=1), *records(*many, first=2)])
    assert [entry.record.version for entry in poisoned.parked] == [None, *range(2, 1_002)]


def test_an_undecodable_event_stops_its_aggregate_and_no_other() -> None:
    other = numbered("o2", LIFE)
    outcome = folded(
        [record(ORDER[0]), undecodable(offset=1), *records(ORDER[1], ORDER[2], *other, first=2)]
    )
    assert reasons(outcome) == [(None, "undecodable"), (2, "blocked"), (3, "blocked")]
    assert (version(outcome), version(outcome, "o2")) == (1, 10)
    assert outcome.parked[0].record.detail == "bad bytes"


def test_later_batches_are_blocked_behind_poison() -> None:
    known = after(NOTHING, folded([record(ORDER[0]), undecodable(offset=1)]))
    outcome = folded(records(ORDER[0], ORDER[1], first=5), known)
    assert reasons(outcome) == [(2, "blocked")]
    assert outcome.counts == {"duplicate": 1, "parked": 1}


def test_an_undecodable_event_that_comes_again_is_parked_once() -> None:
    known = after(NOTHING, folded([undecodable(offset=1)]))
    assert folded([undecodable(offset=1)], known).counts == {"duplicate": 1}


def refusing(refused: int) -> Projection:
    def evolve(body: Body | None, event: Event) -> Body:
        if event.version == refused:
            raise KeyError("unexpected")
        return summaries.evolve(body, event)

    return replace(summaries.PROJECTION, evolve=evolve)


def test_an_event_whose_fold_raises_is_poison() -> None:
    outcome = folded(records(*ORDER[:4]), projection=refusing(3))
    assert version(outcome) == 2
    assert reasons(outcome) == [(3, "fold"), (4, "blocked")]
    assert outcome.parked[0].record.detail == "KeyError: 'unexpected'"


def test_an_event_whose_fold_raises_while_a_gap_drains_is_judged_again() -> None:
    known = after(NOTHING, folded(records(ORDER[0], ORDER[2], ORDER[3])))
    outcome = folded(records(ORDER[1], first=9), known, refusing(3))
    assert version(outcome) == 2
    assert reasons(outcome) == [(3, "fold")]
    assert outcome.released == []
    entries = after(known, outcome).waiting["orders", "o1"]
    assert sorted((each.record.version or 0, each.record.reason) for each in entries) == [
        (3, "fold"),
        (4, "gap"),
    ]


def test_a_parked_record_keeps_bytes_and_time() -> None:
    parked = folded([undecodable(offset=7)]).parked[0].record
    assert isinstance(parked, ParkedRecord)
    assert (parked.value, parked.offset, parked.aggregate_id) == (b"\xff", 7, "o1")
    assert parked.recorded_at.timestamp() == 1.007


# References


def test_a_new_document_asks_for_its_reference() -> None:
    assert set(folded(records(*ORDER[:2])).lookups) == {"o1"}


def test_a_known_document_does_not_ask_again() -> None:
    known = after(NOTHING, folded(records(*ORDER[:2])))
    assert folded(records(ORDER[2], first=5), known).lookups == {}


def test_after_a_crash_the_repeated_batch_asks_again() -> None:
    known = after(NOTHING, folded(records(*ORDER[:2])))
    outcome = folded(records(*ORDER[:3]), known)
    assert set(outcome.lookups) == {"o1"}


def test_a_repeated_document_that_has_its_reference_does_not_ask() -> None:
    outcome = folded(records(*ORDER[:2]))
    section = folded(records(*customer("c1", "Ada"))).references["c1"].section
    documents = {key: replace(each, reference=section) for key, each in outcome.documents.items()}
    assert folded(records(*ORDER[:3]), Known(documents, {}, {})).lookups == {}


def test_customer_events_become_references_to_fan_out() -> None:
    outcome = folded(records(*customer("c1", "Ada", "Eve")))
    reference = outcome.references["c1"]
    assert (reference.section.version, reference.fanned_out_version) == (2, 0)
    assert reference.section.body == {"name": "Eve"}
    assert outcome.fan_outs == {"c1": reference}
    assert outcome.documents == {}


def test_an_unfinished_fan_out_is_asked_for_again() -> None:
    events = customer("c1", "Ada")
    known = after(NOTHING, folded(records(*events)))
    assert set(folded(records(*events), known).fan_outs) == {"c1"}
    done = {"c1": replace(known.references["c1"], fanned_out_version=1)}
    again = folded(records(*events), Known({}, done, {}))
    assert (again.fan_outs, again.references) == ({}, {})


def test_kinds_with_one_id_are_two_aggregates() -> None:
    outcome = folded(records(*numbered("x", LIFE[:1]), *customer("x", "Ada")))
    assert isinstance(outcome.documents["x"], Document)
    assert isinstance(outcome.references["x"], Reference)


def test_known_state_is_never_changed() -> None:
    known = after(NOTHING, folded(records(ORDER[0], ORDER[2])))
    waiting: dict[Any, Any] = {key: list(value) for key, value in known.waiting.items()}
    folded(records(ORDER[1], first=5), known)
    assert known.waiting == waiting
