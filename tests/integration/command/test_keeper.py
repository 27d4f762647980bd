"""The keeper's dealings with its own database: days, keys, incarnations."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from foldline_command import keeper

from .conftest import Api

pytestmark = pytest.mark.integration

Sql = psycopg.Connection[Any]
TOPICS = {"order-events": "id-1", "customer-events": "id-2"}


@pytest.fixture(autouse=True)
def _own_state(sql: Sql) -> None:
    sql.execute("UPDATE keeper SET incarnation = 1, identity = NULL, as_of = NULL")


def days(sql: Sql) -> set[str]:
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'outbox'::regclass"
    return {name for (name,) in sql.execute(query)}


def test_days_are_made_ahead_once_and_events_land_in_theirs(
    api: Api, sql: Sql, database_url: str
) -> None:
    sql.execute(
        "DELETE FROM outbox_default"
    )  # rows of other tests would keep today from being made
    keeper.maintain(database_url)
    today = datetime.now(UTC).date()
    wanted = {f"outbox_{today + timedelta(days=ahead):%Y%m%d}" for ahead in range(8)}
    assert wanted <= days(sql)
    assert keeper.maintain(database_url) == []
    order = api.place()
    found = sql.execute(
        "SELECT tableoid::regclass::text FROM outbox WHERE aggregateid = %s", [order]
    ).fetchone()
    assert found is not None
    assert found[0] in wanted


def test_a_row_beyond_every_day_lands_in_default(sql: Sql) -> None:
    sql.execute(
        "INSERT INTO outbox (id, recorded_at, aggregatetype, aggregateid, type, version, partition,"
        " payload) VALUES (gen_random_uuid(), '2099-01-01', 't', 'far', 'x', 1, 0, '')"
    )
    query = "SELECT tableoid::regclass::text FROM outbox WHERE aggregateid = 'far'"
    assert sql.execute(query).fetchone() == ("outbox_default",)
    sql.execute("DELETE FROM outbox_default")


def test_expired_keys_are_pruned_and_others_kept(sql: Sql, database_url: str) -> None:
    insert = (
        "INSERT INTO idempotency_keys (key, fingerprint, answer, expires_at) VALUES"
        " (%s, '', '{}', now() + %s)"
    )
    sql.execute(insert, ["old", timedelta(seconds=-1)])
    sql.execute(insert, ["new", timedelta(hours=1)])
    keeper.maintain(database_url)
    kept = {key for (key,) in sql.execute("SELECT key FROM idempotency_keys")}
    assert "new" in kept
    assert "old" not in kept


def test_the_first_look_and_the_same_again_stay_in_one_incarnation(sql: Sql) -> None:
    assert keeper._incarnation(sql, TOPICS) == 1
    assert keeper._incarnation(sql, TOPICS) == 1


def test_a_topic_made_again_begins_another_incarnation(sql: Sql) -> None:
    keeper._incarnation(sql, TOPICS)
    assert keeper._incarnation(sql, TOPICS | {"order-events": "id-3"}) == 2
    assert keeper._incarnation(sql, TOPICS | {"order-events": "id-3"}) == 2


def test_a_slot_that_was_missing_begins_another_incarnation(
    sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper._incarnation(sql, TOPICS)
    monkeypatch.setattr(keeper, "SLOT", "absent_slot")
    assert not keeper._is_confirmed(sql, "0/1")
    assert not keeper._is_confirmed(sql, "0/1")
    assert keeper._incarnation(sql, TOPICS) == 2
    assert keeper._incarnation(sql, TOPICS) == 2


def test_waiting_for_a_confirmation_ends_when_told_to_stop(
    sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "SLOT", "absent_slot")
    stop = threading.Event()
    stop.set()
    with pytest.raises(keeper.NotConfirmed):
        keeper._await_confirmed(sql, "0/1", stop)


def test_the_oldest_unpublished_event_shows_before_the_first_watermark(
    api: Api, sql: Sql, database_url: str
) -> None:
    api.place()
    assert keeper.status(database_url)["oldest_unpublished_seconds"] > 0
    sql.execute("UPDATE keeper SET as_of = clock_timestamp()")
    assert keeper.status(database_url)["oldest_unpublished_seconds"] is None
