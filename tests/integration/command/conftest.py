"""A write database of the tests' own on the real server: nothing here touches the pipeline's.

A replication slot belongs to the whole cluster, so a database of its own gets everything but the
slot; what needs slot, Debezium and Kafka uses the stack's database (`stack` below).
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from flask import Flask
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool
from werkzeug.test import TestResponse

from foldline_command import migrate, topics
from foldline_command.app import create_app
from foldline_command.config import Settings
from foldline_contracts.aggregates import aggregate_kinds
from foldline_contracts.topics import Topic

PARTITIONS = 5
ITEM = {"productId": "p1", "name": "Lamp", "quantity": 2, "unitPrice": "19.99"}


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """A database with the schema, the slice maps, and no slot."""
    with own_database(os.environ["FOLDLINE_WRITE_DATABASE_URL"]) as url:
        yield url


@contextmanager
def own_database(beside: str) -> Iterator[str]:
    """Such a database on the server of another one."""
    given = make_url(beside)
    name = f"command_{uuid4().hex[:12]}"
    server = given.set(username="postgres", database="postgres").render_as_string(False)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} OWNER {given.username}")
    url = given.set(database=name).render_as_string(False)
    _prepare(url)
    yield url
    # A connection of its own: another test may have restarted the server meanwhile.
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _prepare(url: str) -> None:
    address = make_url(url).set(drivername="postgresql+psycopg")
    engine = create_engine(address, poolclass=NullPool)
    with engine.connect() as connection:
        migrate._upgrade(connection)
    engine.dispose()
    events = [Topic(kind.topic, PARTITIONS, {}) for kind in aggregate_kinds().values()]
    with psycopg.connect(url) as connection:
        topics._record(connection, events)


@pytest.fixture
def sql(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A look at the database itself."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def app(database_url: str) -> Iterator[Flask]:
    app = create_app(Settings(write_database_url=database_url, threads=12))
    yield app
    app.extensions["engine"].dispose()


@dataclass
class Api:
    """The command API without a socket, on the real database."""

    app: Flask

    def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> TestResponse:
        sent = {"json": body} if body is not None else {}
        with self.app.test_client() as client:
            return client.open(path, method=method, headers=headers or {}, **sent)

    def raw(self, path: str, body: bytes, content_type: str = "application/json") -> TestResponse:
        with self.app.test_client() as client:
            return client.post(path, data=body, content_type=content_type)

    def place(self, **changes: Any) -> str:
        """A new order's id."""
        body = {"customerId": "c1", "items": [ITEM]} | changes
        answer = self.call("POST", "/orders", body)
        assert answer.status_code == 202, answer.text
        return str(answer.get_json()["orderId"])

    def post(self, path: str, body: Any = None, **headers: str) -> TestResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.call("POST", path, body, named)


@pytest.fixture
def api(app: Flask) -> Api:
    return Api(app)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Runs the calls in threads that start together; their results in order."""
    results: list[Any] = [None] * len(calls)
    barrier = threading.Barrier(len(calls))

    def run(number: int) -> None:
        barrier.wait()
        results[number] = calls[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results
