"""Rebuilds by the commands that people type, on the real stores, under harm and with changed folds."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.projector.projecting import FOLDLINE
from integration.projector.rebuilding import RebuiltDomain, rebuilt_domain
from integration.projector.test_projector import orders
from kafka import TopicPartition as KafkaPartition
from support.eventually import eventually
from support.order_events import LIFE, customer, numbered

from foldline_contracts.codec import Event
from foldline_projector.engine.crash import REBUILD_POINTS
from foldline_projector.stores.port import Batch, Document

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

BASES = ("summaries", "details", "analytics", "search")


@pytest.fixture(params=BASES)
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RebuiltDomain]:
    with rebuilt_domain(tmp_path, request.param) as domain:
        yield domain


@pytest.fixture
def domain(tmp_path: Path) -> Iterator[RebuiltDomain]:
    with rebuilt_domain(tmp_path, "summaries") as domain:
        yield domain


def everything(number: int = 40) -> list[Event]:
    """Orders in between the names of their customer."""
    names = customer("c1", "Ada", "Eve", "Bob")
    return [names[0], *orders(number), names[1], *orders(number, "p"), names[2]]


def test_a_generation_is_built_verified_switched_to_left_and_dropped(
    any_store: RebuiltDomain,
) -> None:
    domain = any_store
    domain.produce(everything())
    domain.live()
    before = domain.documents_of(1)

    plan = domain.done("plan")
    assert plan["events"] == sum(domain.ends().values())
    assert plan["documents"] == len(before)
    assert plan["toGeneration"] == 2

    domain.done("start")
    assert domain.pointer().active == 1
    assert domain.documents_of(2) == before
    assert domain.operation(2).progress is not None
    eventually(lambda: domain.is_caught_up(2), within=60)

    found = domain.done("verify")
    assert found["documents"] == found["matched"] == len(before)
    assert found["expectedDigest"] == found["foundDigest"]
    assert [each["expected"] for each in found["totals"]] == [
        each["found"] for each in found["totals"]
    ]

    (flip,) = domain.done("activate")
    assert (flip["active"], flip["before"]) == (2, 1)
    assert domain.pointer().active == 2

    domain.produce(orders(5, "late"))
    for generation in (1, 2):
        eventually(lambda g=generation: domain.is_caught_up(g), within=60)
    assert domain.documents_of(1) == domain.documents_of(2)
    assert len(domain.documents_of(2)) == len(before) + 5

    (back,) = domain.done("rollback", "--generation", "2")
    assert (back["active"], back["before"]) == (1, 2)
    assert domain.done("rollback", "--generation", "2")[0]["active"] == 1
    assert domain.pointer().active == 1

    domain.done("drop", "--generation", "2")
    assert domain.store(2).size().documents == 0
    assert domain.documents_of(1)
    assert domain.registry.generation(2).state == "dropped"


def test_a_rebuild_that_is_killed_ten_times_ends_the_same(any_store: RebuiltDomain) -> None:
    domain = any_store
    domain.produce(everything())
    domain.live()
    kills = [f"{point}:{nth}" for nth in (1, 2) for point in REBUILD_POINTS[:6]][:10]
    start = ("start", "--flush-events", "60", "--buffer-documents", "20", "--parallelism", "2")
    for plan in kills:
        answer = domain.foldline(*start, CRASH_AT=plan)
        assert answer.returncode in (0, 1, -signal.SIGKILL), answer.stderr
    domain.done(*start, "--wait", "--activate")
    assert domain.pointer().active == 2
    assert [each.number for each in domain.registry.generations()] == [1, 2]
    assert domain.documents_of(2) == domain.documents_of(1)
    assert domain.store(2).parked(domain.ends()) == []
    domain.done("verify")


@pytest.mark.parametrize("point", ["before_flip", "after_flip"])
def test_an_activation_that_is_killed_is_done_again(domain: RebuiltDomain, point: str) -> None:
    domain.produce(everything())
    domain.live()
    domain.done("start", "--wait")
    killed = domain.foldline("activate", "--generation", "2", CRASH_AT=point)
    assert killed.returncode == -signal.SIGKILL
    if point == "before_flip":
        # The hold of a dead process is taken away by those that it holds.
        eventually(lambda: domain.pointer().hold is None, within=30)
        assert domain.pointer().active == 1
    domain.done("activate", "--generation", "2")
    assert domain.pointer().active == 2
    assert domain.operation(2).step == "active"
    domain.produce(orders(5, "late"))
    for generation in (1, 2):
        eventually(lambda g=generation: domain.is_caught_up(g), within=60)
    assert domain.documents_of(1) == domain.documents_of(2)


def test_two_starts_at_once_build_one_generation(domain: RebuiltDomain) -> None:
    domain.produce(everything())
    domain.live()
    words = [FOLDLINE, "rebuild", "start", domain.name, "--flush-events", "50"]
    both = [
        subprocess.Popen(words, env=domain.environ({}), stdout=subprocess.DEVNULL) for _ in range(2)
    ]
    assert [each.wait(timeout=120) for each in both] == [0, 0]
    assert [each.number for each in domain.registry.generations()] == [1, 2]
    assert domain.documents_of(2) == domain.documents_of(1)


def damage(domain: RebuiltDomain, generation: int, key: str) -> None:
    """Changes one document by hand."""
    domain.query(f"UPDATE own_{domain.id}_g{generation} SET total = total + 1 WHERE key = %s", key)


def test_a_difference_in_one_document_is_named_and_refuses_the_flip(domain: RebuiltDomain) -> None:
    domain.produce(everything())
    domain.live()
    domain.done("start")
    eventually(lambda: domain.is_caught_up(2), within=60)
    key = sorted(domain.documents_of(2))[7]
    damage(domain, 2, key)
    answer = domain.foldline("verify", "--output", "json")
    assert answer.returncode == 0  # the live generation is what its events say
    answer = domain.command("rebuild", "verify", domain.name, "--output", "json")
    assert answer.returncode == 1
    found = json.loads(answer.stdout)
    assert [(each["key"], each["fields"]) for each in found["differences"]] == [(key, ["total"])]
    assert found["expectedDigest"] != found["foundDigest"]
    assert key in domain.refused("activate")
    assert domain.pointer().active == 1


def test_a_live_document_that_somebody_changed_is_found(domain: RebuiltDomain) -> None:
    domain.produce(everything())
    domain.live()
    key = sorted(domain.documents_of(1))[3]
    domain.done("verify")
    damage(domain, 1, key)
    answer = domain.foldline("verify", "--output", "json")
    assert answer.returncode == 1
    found = json.loads(answer.stdout)
    assert [(each["key"], each["fields"]) for each in found["differences"]] == [(key, ["total"])]


def test_a_live_document_that_is_missing_or_too_many_is_found(domain: RebuiltDomain) -> None:
    domain.produce(everything())
    domain.live()
    key = sorted(domain.documents_of(1))[3]
    domain.query(f"DELETE FROM own_{domain.id}_g1 WHERE key = %s", key)
    stray = domain.documents_of(1).popitem()[1]
    domain.store(1).save(Batch(documents=[Document("stray", 0, stray.primary)]))
    answer = domain.foldline("verify", "--settle-seconds", "1", "--output", "json")
    assert answer.returncode == 1
    found = {each["key"]: each["fields"] for each in json.loads(answer.stdout)["differences"]}
    assert found == {key: ["missing"], "stray": ["unexpected"]}


def test_nothing_is_activated_unverified_or_without_projectors(domain: RebuiltDomain) -> None:
    domain.produce(everything(5))
    assert "run its projector first" in domain.refused("start")
    domain.live()
    assert "no rebuild" in domain.refused("activate")
    domain.done("start")
    assert "not verified" in domain.refused("activate")
    domain.done("start", "--wait")
    assert "the one that readers read" in domain.refused("drop", "--generation", "1")
    for process in domain._processes:
        process.stop()
    assert "is its projector running" in domain.refused("activate")
    assert domain.pointer().active == 1
    assert domain.pointer().hold is None
    domain.done("activate", "--force")
    assert domain.pointer().active == 2


def test_a_log_without_its_beginning_is_refused(domain: RebuiltDomain) -> None:
    domain.produce(everything(10))
    domain.live()
    at = max(domain.ends(), key=lambda each: (each.topic == domain.orders, domain.ends()[each]))
    admin = domain.admin()
    admin.delete_records({KafkaPartition(*at): 3})
    admin.close()
    assert "RetentionGap" in domain.refused("plan")
    assert "RetentionGap" in domain.refused("start")
    assert len(domain.registry.generations()) == 1
    domain.done("start", "--accept-retention-gap")
    assert domain.store(2).parked([at])[0].reason == "gap"


def test_an_in_place_rebuild_shows_readers_that_it_fills(domain: RebuiltDomain) -> None:
    domain.produce(everything())
    domain.live()
    killed = domain.foldline("start", "--strategy", "InPlace", CRASH_AT="after_load")
    assert killed.returncode == -signal.SIGKILL
    assert "filling" in killed.stderr
    assert domain.pointer().active == 2
    assert domain.registry.generation(2).state == "building"
    assert "InPlace" in domain.refused("start")
    domain.done("start", "--strategy", "InPlace")
    assert domain.registry.generation(2).state == "following"
    eventually(lambda: domain.is_caught_up(2), within=60)
    assert domain.documents_of(2) == domain.documents_of(1)
    assert "no generation to go back to" in domain.refused("rollback")


def test_a_rebuild_yields_to_a_live_projection_that_is_behind(domain: RebuiltDomain) -> None:
    domain.produce(everything())
    domain.live()
    for process in domain._processes:
        process.stop()
    positions = domain.store(1).positions()
    domain.query(
        "UPDATE foldline_positions SET end_offset = position + 100 WHERE projection = %s",
        domain.name,
    )
    popen = subprocess.Popen(
        [FOLDLINE, "rebuild", "start", domain.name, "--max-live-lag", "50"],
        env=domain.environ({}),
    )
    try:
        eventually(lambda: len(domain.registry.generations()) == 2, within=30)
        eventually(lambda: domain.operation(2).progress is not None, within=30)
        assert domain.store(2).positions() == {}
        domain.query(
            "UPDATE foldline_positions SET end_offset = position WHERE projection = %s AND"
            " generation = 1",
            domain.name,
        )
        assert popen.wait(timeout=60) == 0
    finally:
        popen.kill()
        popen.wait()
    assert domain.store(2).positions().keys() == positions.keys()


# Changed folds: old and new code side by side, each pinned to its generation.

FIELD_ADDED = """
def with_label(body, event):
    return {**BASE.evolve(body, event), "label": "order " + event.subject}
from foldline_contracts.readmodels import Column
from foldline_projector.projection import Changes
PROJECTION = replace(
    PROJECTION,
    read_model=replace(
        MODEL, primary_columns=(*MODEL.primary_columns, Column("label", "label", "text"))
    ),
    fold_version=2, evolve=with_label, changes={2: Changes(fields=("label",))},
)
"""
MEANING_CHANGED = """
def in_lower_case(body, event):
    before = None if body is None else {**body, "status": body["status"].upper()}
    folded = BASE.evolve(before, event)
    return {**folded, "status": folded["status"].lower()}
from foldline_projector.projection import Changes
PROJECTION = replace(
    PROJECTION, fold_version=2, evolve=in_lower_case, changes={2: Changes(fields=("status",))}
)
"""
UNDECLARED = MEANING_CHANGED.replace('fields=("status",)', "fields=()")
KEY_CHANGED = """
from foldline_contracts.readmodels import Column
from foldline_projector.projection import Changes
def named(body, event):
    return {"name": event.data.personal.name}
PROJECTION = replace(
    PROJECTION,
    read_model=replace(
        MODEL, primary=MODEL.reference, reference=None, link=None, reference_columns=(),
        primary_columns=(Column("name", "name", "text"),), indexes={},
    ),
    fold_version=2, evolve=named, evolve_reference=None, changes={2: Changes(keys=True)}, sums=(),
)
"""
EVENT_NEWLY_USED = """
from foldline_contracts.orders.events import PaymentReceived
from foldline_contracts.readmodels import Column
from foldline_projector.projection import Changes
def with_method(body, event):
    method = event.data.method if isinstance(event.data, PaymentReceived) else (body or {}).get("method")
    return {**BASE.evolve(body, event), "method": method}
PROJECTION = replace(
    PROJECTION,
    read_model=replace(
        MODEL, primary_columns=(*MODEL.primary_columns, Column("method", "method", "text"))
    ),
    fold_version=2, evolve=with_method, changes={2: Changes(fields=("method",))},
)
"""


def side_by_side(domain: RebuiltDomain, code: str) -> None:
    """Generation 1 by the old code, generation 2 by the new code, each by a process of its own."""
    domain.produce(everything())
    domain.live()
    domain.amend(code)
    domain.start(1, "--generation", "2")
    domain.done("start")
    eventually(lambda: positions_of(domain, 2), within=60)


def positions_of(domain: RebuiltDomain, generation: int) -> bool:
    ends = {at: end for at, end in domain.ends().items() if end}
    positions = domain.store(generation).positions()
    consumed = domain.registry.generation(generation).partitions
    return all(
        at in positions and positions[at].offset >= end
        for at, end in ends.items()
        if at.topic in consumed
    )


def column(domain: RebuiltDomain, name: str) -> dict[str, str]:
    """One column of generation 2 by key."""
    return dict(domain.query(f"SELECT key, {name} FROM own_{domain.id}_g2"))


def flipped(domain: RebuiltDomain) -> None:
    """Verified and activated by the new code; both go on with events that come then."""
    domain.done("start", "--wait", "--activate")
    assert domain.pointer().active == 2
    domain.produce(orders(5, "late"))
    for generation in (1, 2):
        eventually(lambda g=generation: positions_of(domain, g), within=60)


def test_a_field_that_is_added(domain: RebuiltDomain) -> None:
    side_by_side(domain, FIELD_ADDED)
    assert "+ primary label text" in json.dumps(domain.done("plan"))
    flipped(domain)
    assert column(domain, "label") == {key: f"order {key}" for key in domain.documents_of(1)}
    domain.done("rollback")
    assert domain.pointer().active == 1


def test_a_field_whose_meaning_changed(domain: RebuiltDomain) -> None:
    side_by_side(domain, MEANING_CHANGED)
    flipped(domain)
    statuses = {key: each.primary.body["status"] for key, each in domain.documents_of(1).items()}  # type: ignore[union-attr]
    assert column(domain, "status") == {key: each.lower() for key, each in statuses.items()}


def test_a_change_that_is_not_declared_refuses_the_flip(domain: RebuiltDomain) -> None:
    side_by_side(domain, UNDECLARED)
    answer = domain.command("rebuild", "verify", domain.name, "--output", "json")
    assert answer.returncode == 1
    found = json.loads(answer.stdout)
    assert found["different"] == len(domain.documents_of(1))
    assert {field for each in found["differences"] for field in each["fields"]} == {"status"}
    assert "differs in" in domain.refused("activate")


def test_a_key_that_changed(domain: RebuiltDomain) -> None:
    side_by_side(domain, KEY_CHANGED)
    flipped(domain)
    assert column(domain, "name") == {"c1": "Bob"}


def test_an_event_type_that_is_newly_used(domain: RebuiltDomain) -> None:
    side_by_side(domain, EVENT_NEWLY_USED)
    flipped(domain)
    methods = set(column(domain, "method").values())
    assert methods == {"card"}


def test_old_code_leaves_the_new_generation_alone(domain: RebuiltDomain) -> None:
    side_by_side(domain, FIELD_ADDED)
    old = domain._processes[0]
    eventually(lambda: '"other_fold_version"' in old.text(), within=30)
    assert old.popen.poll() is None
    pinned = domain.start(2, "--generation", "1")
    assert pinned.ended(within=30) == 1
    assert "fold version" in pinned.text()


BROKEN = """
def refusing(body, event):
    if event.subject == "o-bad" and event.version == 2:
        raise ValueError("not understood")
    return BASE.evolve(body, event)
PROJECTION = replace(PROJECTION, evolve=refusing)
"""
MENDED = "PROJECTION = replace(PROJECTION, fold_version=2, evolve=BASE.evolve)\n"


def test_a_fold_error_is_tried_again_and_an_undecodable_event_is_taken_as_known(
    domain: RebuiltDomain,
) -> None:
    domain.amend(BROKEN)
    domain.produce([*everything(10), *numbered("o-bad", LIFE), *numbered("o-torn", LIFE[:2])])
    domain.raw(domain.orders, b"o-torn", b"not json")
    domain.flush()
    domain.live()
    domain.amend(MENDED)
    domain.start(1)
    domain.done("start")
    assert {each.reason for each in domain.store(1).parked(domain.ends())} == {
        "fold",
        "blocked",
        "undecodable",
    }
    (torn,) = domain.store(2).parked(domain.ends())
    assert (torn.aggregate_id, torn.reason) == ("o-torn", "undecodable")
    mended = domain.documents_of(2)["o-bad"].primary
    assert mended is not None
    assert mended.version == len(LIFE)
