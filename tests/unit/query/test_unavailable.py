"""What is a store that is away, and what is a fault of ours; the log says why."""

from collections.abc import Iterator
from threading import Event, Thread
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import (
    DatabaseError,
    OperationalError,
    ProgrammingError,
)
from pymongo.errors import (
    AutoReconnect,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
)
from structlog.testing import capture_logs

from foldline_query.app import create_app
from foldline_query.config import Settings
from foldline_query.readers.clickhouse import ClickHouseStore
from foldline_query.readers.mongodb import MongoStore
from foldline_query.readers.port import NotPrepared, StoreUnavailable

URLS = {
    "FOLDLINE_READ_DATABASE_URL": "postgresql://u@127.0.0.1:1/d",
    "FOLDLINE_MONGODB_URL": "mongodb://127.0.0.1:1/d",
    "FOLDLINE_CLICKHOUSE_URL": "http://127.0.0.1:1/d",
    "FOLDLINE_ELASTICSEARCH_URL": "http://127.0.0.1:1",
}


@pytest.fixture
def clickhouse() -> Iterator[ClickHouseStore]:
    store = ClickHouseStore("http://127.0.0.1:1/d", timeout=0.2)
    yield store
    store.close()


@pytest.fixture
def mongodb() -> Iterator[MongoStore]:
    store = MongoStore("mongodb://127.0.0.1:1/d", timeout=1)
    yield store
    store.close()


def server_error(code: int) -> DatabaseError:
    error = DatabaseError(f"Code: {code}. DB::Exception: what it says")
    error.code = code
    return error


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (OperationalError("connection refused"), StoreUnavailable),
        (TimeoutError("slow"), StoreUnavailable),
        (server_error(159), StoreUnavailable),
        (server_error(60), NotPrepared),
        (server_error(62), DatabaseError),
        (ProgrammingError("ours"), ProgrammingError),
    ],
)
def test_clickhouse_is_away_or_we_are_wrong(
    clickhouse: ClickHouseStore, error: Exception, seen: type[Exception]
) -> None:
    with pytest.raises(seen) as raised, clickhouse.guard():
        raise error
    assert type(raised.value) is seen


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (AutoReconnect("gone"), StoreUnavailable),
        (NetworkTimeout("slow"), StoreUnavailable),
        (ExecutionTimeout("slow"), StoreUnavailable),
        (OperationFailure("no majority yet", 134), StoreUnavailable),
        (OperationFailure("unknown operator", 2), OperationFailure),
    ],
)
def test_mongodb_is_away_or_we_are_wrong(
    mongodb: MongoStore, error: PyMongoError, seen: type[Exception]
) -> None:
    with pytest.raises(seen) as raised, mongodb.guard():
        raise error
    assert type(raised.value) is seen


def test_nobody_waits_without_end_for_another_to_connect(
    clickhouse: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    connecting, released = Event(), Event()

    def connect(**_: Any) -> None:
        connecting.set()
        released.wait(30)
        raise OperationalError("never")

    monkeypatch.setattr(clickhouse_connect, "get_client", connect)

    def first() -> None:
        with pytest.raises(StoreUnavailable):
            clickhouse.ping()

    thread = Thread(target=first)
    thread.start()
    try:
        assert connecting.wait(30)
        with pytest.raises(StoreUnavailable) as raised:
            clickhouse.ping()
        assert "still connecting" in str(raised.value.__cause__)
    finally:
        released.set()
        thread.join()


def test_the_log_says_why_a_store_is_unavailable() -> None:
    app = create_app(Settings.from_env(URLS))
    try:
        with capture_logs() as logs, app.test_client() as client:
            assert client.get("/stats/daily").status_code == 503
    finally:
        app.extensions["foldline"].stores.close()
    (line,) = [each for each in logs if each["event"] == "store_unavailable"]
    assert "refused" in line["cause"]
    assert "\n" not in line["cause"]
