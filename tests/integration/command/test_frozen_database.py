"""A PostgreSQL that stands still under a live kernel: every request is answered, and honestly.

That an answer comes at all while the server is frozen is the proof of the bound: without one it never would.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event
from support.eventually import eventually

from foldline_command.app import create_app
from foldline_command.config import Settings
from foldline_local.testing import RunningStack

from .conftest import ITEM, Api, own_database

pytestmark = pytest.mark.integration

ORDER = {"orderId": "frozen", "customerId": "c1", "items": [ITEM]}
KEY = {"Idempotency-Key": "k1"}


@pytest.fixture
def url(services: RunningStack) -> Iterator[str]:
    with own_database(services.urls["FOLDLINE_WRITE_DATABASE_URL"]) as url:
        yield url


@pytest.fixture
def hasty(url: str) -> Iterator[Api]:
    """A service that gives up after two seconds, with a connection in its pool."""
    settings = Settings(
        write_database_url=url, database_timeout_seconds=1, statement_timeout_seconds=1
    )
    app = create_app(settings)
    api = Api(app)
    api.place()
    yield api
    app.extensions["engine"].dispose()


def events_of(url: str, order: str) -> int:
    with psycopg.connect(url) as database:
        query = "SELECT count(*) FROM outbox WHERE aggregateid = %s"
        return int(database.execute(query, [order]).fetchone()[0])  # type: ignore[index]


def accepted(api: Api) -> Any:
    """The command's answer, once the server has noticed that the first client is gone."""

    def answer() -> Any:
        got = api.call("POST", "/orders", ORDER, KEY)
        return got if got.status_code == 202 else None

    return eventually(answer, within=30)


@pytest.mark.parametrize("path", ["/orders", "/readyz"])
def test_a_request_to_a_frozen_server_is_refused(
    hasty: Api, services: RunningStack, url: str, path: str
) -> None:
    method, body = ("GET", None) if path == "/readyz" else ("POST", ORDER)
    with services.frozen("postgres"):
        for _ in range(2):  # with the pooled connection, and then with a new one
            answer = hasty.call(method, path, body)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert answer.get_json()["type"] == "/problems/unavailable"
    accepted(hasty)
    assert events_of(url, "frozen") == 1


def test_a_server_that_freezes_before_the_commit_has_changed_nothing(
    hasty: Api, services: RunningStack, url: str
) -> None:
    engine: Engine = hasty.app.extensions["engine"]
    with ExitStack() as freezing:

        @event.listens_for(engine, "before_cursor_execute")
        def freeze(_: Any, __: Any, statement: str, *rest: Any) -> None:
            if statement.startswith("INSERT INTO outbox"):
                event.remove(engine, "before_cursor_execute", freeze)
                freezing.enter_context(services.frozen("postgres"))

        answer = hasty.call("POST", "/orders", ORDER, KEY)
        assert (answer.status_code, answer.get_json()["type"]) == (503, "/problems/unavailable")
    assert "Idempotency-Replayed" not in accepted(hasty).headers
    assert events_of(url, "frozen") == 1


def test_a_server_that_freezes_in_the_commit_leaves_the_outcome_unknown(
    hasty: Api, services: RunningStack, url: str
) -> None:
    engine: Engine = hasty.app.extensions["engine"]
    with ExitStack() as freezing:

        @event.listens_for(engine, "commit", once=True)
        def freeze(_: Any) -> None:
            freezing.enter_context(services.frozen("postgres"))

        answer = hasty.call("POST", "/orders", ORDER, KEY)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.get_json()["type"] == "/problems/outcome-unknown"
    assert accepted(hasty).get_json() == {"orderId": "frozen", "version": 1}
    assert events_of(url, "frozen") == 1


def test_a_statement_that_waits_too_long_is_ended_by_the_server(hasty: Api, url: str) -> None:
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        answer = hasty.call("POST", "/orders", ORDER, KEY)
        assert (answer.status_code, answer.get_json()["type"]) == (503, "/problems/unavailable")
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        assert other.execute(query).fetchone() == (0,)
    accepted(hasty)
