"""Writers at once on one PostgreSQL: one order, one key, and what must hold afterwards."""

import threading
from collections import Counter
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Engine
from support.eventually import eventually

from foldline_command import commands, database
from foldline_command.commands import Conditions
from foldline_command.idempotency import StillRunning
from foldline_command.orders.model import Order
from foldline_command.orders.tables import ORDERS
from foldline_command.unit_of_work import UnitOfWork

from .conftest import ITEM, Api, at_once

pytestmark = pytest.mark.integration

Sql = psycopg.Connection[Any]
WRITERS = 8


def versions(sql: Sql, order: str) -> list[int]:
    query = "SELECT version FROM outbox WHERE aggregateid = %s ORDER BY version"
    return [version for (version,) in sql.execute(query, [order])]


def test_writers_of_one_order_are_serialised(api: Api, sql: Sql) -> None:
    order = api.place(items=[])
    calls = [
        lambda number=number: api.post(f"/orders/{order}/items", ITEM | {"productId": f"p{number}"})
        for number in range(WRITERS)
    ]
    answers = at_once(*calls)
    assert [answer.status_code for answer in answers] == [202] * WRITERS
    assert sorted(answer.get_json()["version"] for answer in answers) == list(range(2, WRITERS + 2))
    assert versions(sql, order) == list(range(1, WRITERS + 2))
    row = sql.execute("SELECT version, state FROM orders WHERE id = %s", [order]).fetchone()
    assert row is not None
    assert row[0] == WRITERS + 1
    assert len(row[1]["items"]) == WRITERS


def test_only_one_of_two_conditional_writers_wins(api: Api) -> None:
    order = api.place()
    call = lambda: api.post(f"/orders/{order}/submit", If_Match='"1"').status_code  # noqa: E731
    assert Counter(at_once(*[call] * WRITERS)) == {202: 1, 412: WRITERS - 1}


def test_only_one_writer_places_an_id(api: Api, sql: Sql) -> None:
    order = uuid4().hex
    body = {"orderId": order, "customerId": "c1", "items": [ITEM]}
    codes = at_once(*[lambda: api.post("/orders", body).status_code] * WRITERS)
    assert Counter(codes) == {202: 1, 409: WRITERS - 1}
    assert versions(sql, order) == [1]


def test_payments_at_once_never_overpay(api: Api, sql: Sql) -> None:
    order = api.place(items=[ITEM | {"quantity": 1, "unitPrice": "3.00"}])
    api.post(f"/orders/{order}/submit")
    calls = [
        lambda number=number: (
            api.post(
                f"/orders/{order}/payments",
                {"paymentId": f"pay{number}", "method": "card", "amount": "1.00"},
            ).status_code
        )
        for number in range(WRITERS)
    ]
    assert Counter(at_once(*calls)) == {202: 3, 409: WRITERS - 3}
    assert versions(sql, order) == [1, 2, 3, 4, 5, 6]


def test_a_key_at_once_places_one_order(api: Api, sql: Sql) -> None:
    key, body = uuid4().hex, {"customerId": f"c-{uuid4().hex}", "items": [ITEM]}
    answers = at_once(*[lambda: api.post("/orders", body, Idempotency_Key=key)] * WRITERS)
    assert {answer.status_code for answer in answers} <= {202, 409}
    accepted = [answer for answer in answers if answer.status_code == 202]
    assert len({answer.get_json()["orderId"] for answer in accepted}) == 1
    fresh = [each for each in accepted if "Idempotency-Replayed" not in each.headers]
    assert len(fresh) == 1
    query = "SELECT count(*) FROM outbox WHERE payload LIKE %s"
    assert sql.execute(query, [f"%{body['customerId']}%"]).fetchone() == (1,)


def test_a_key_whose_first_command_still_runs_is_refused(database_url: str) -> None:
    engine: Engine = database.create(
        database_url, connections=2, timeout_seconds=3, statement_seconds=10
    )
    inside, leave = threading.Event(), threading.Event()
    conditions = Conditions(idempotency_key=uuid4().hex, fingerprint="one")

    def slow(uow: UnitOfWork) -> Order:
        order = place(uow)
        inside.set()
        assert leave.wait(30)
        return order

    def place(uow: UnitOfWork) -> Order:
        order = Order(id=uuid4().hex)
        order.create("c1", "EUR", [], None, uow.now)
        uow.save(ORDERS, [order])
        return order

    answers: list[commands.Answer] = []
    first = threading.Thread(target=lambda: answers.append(commands.run(engine, slow, conditions)))
    first.start()
    try:
        assert inside.wait(30)
        with pytest.raises(StillRunning):
            commands.run(engine, place, conditions)
    finally:
        leave.set()
        first.join(30)
    replayed = commands.run(engine, place, conditions)
    assert replayed.replayed
    assert replayed.id == answers[0].id
    engine.dispose()


def test_a_replay_is_the_first_answer_whatever_happened_since(api: Api, sql: Sql) -> None:
    order, key = api.place(), uuid4().hex
    first = api.post(f"/orders/{order}/submit", Idempotency_Key=key)
    api.post(f"/orders/{order}/cancel", {"reason": "no"})
    again = api.post(f"/orders/{order}/submit", {}, Idempotency_Key=f'"{key}"')
    assert again.status_code == 202
    assert again.get_json() == first.get_json()
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert versions(sql, order) == [1, 2, 3]


def test_anything_else_under_a_key_is_refused(api: Api) -> None:
    key, body = uuid4().hex, {"customerId": "c1", "items": [ITEM]}
    assert api.post("/orders", body, Idempotency_Key=key).status_code == 202
    reordered = dict(reversed(body.items()))
    assert api.post("/orders", reordered, Idempotency_Key=key).status_code == 202
    others = [
        api.post("/orders", body | {"note": "x"}, Idempotency_Key=key),
        api.post("/orders", body, Idempotency_Key=key, If_Match='"0"'),
        api.post("/orders/o/submit", None, Idempotency_Key=key),
    ]
    assert {answer.status_code for answer in others} == {422}
    assert {answer.get_json()["type"] for answer in others} == {"/problems/idempotency-key-reused"}


def test_a_refusal_releases_its_key(api: Api, sql: Sql) -> None:
    order, key = api.place(items=[]), uuid4().hex
    assert api.post(f"/orders/{order}/submit", Idempotency_Key=key).status_code == 409
    assert sql.execute("SELECT 1 FROM idempotency_keys WHERE key = %s", [key]).fetchone() is None
    api.post(f"/orders/{order}/items", ITEM)
    assert api.post(f"/orders/{order}/submit", Idempotency_Key=key).status_code == 202


def test_an_expired_key_is_forgotten(api: Api, sql: Sql) -> None:
    key, body = uuid4().hex, {"customerId": "c1", "items": []}
    first = api.post("/orders", body, Idempotency_Key=key).get_json()
    sql.execute("UPDATE idempotency_keys SET expires_at = now() WHERE key = %s", [key])
    assert api.post("/orders", body, Idempotency_Key=key).get_json() != first


@pytest.mark.parametrize("key", ["", "x" * 256, '"' + "x" * 256 + '"', '"open', "ä"])
def test_a_bad_key_is_400(api: Api, key: str) -> None:
    answer = api.post("/orders", {"customerId": "c1", "items": []}, Idempotency_Key=key)
    assert answer.status_code == 400


def test_a_command_waits_while_the_slice_map_changes(api: Api, sql: Sql, database_url: str) -> None:
    done = threading.Event()
    with psycopg.connect(database_url) as mover:
        mover.execute("SELECT pg_advisory_xact_lock(%s)", [database.SLICE_MAP_LOCK])
        writer = threading.Thread(target=lambda: done.set() if api.place() else None)
        writer.start()
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        eventually(lambda: sql.execute(waiting).fetchone(), within=10)
        assert not done.is_set()
    writer.join(30)
    assert done.is_set()
