"""Read models of a test's own in the real stores, filled through the projector's stores, and the
query service over them.

Each test gets read models under names that nobody else uses, so tests run beside each other and
beside a demo. A store is touched only when the test writes to it.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import clickhouse_connect
import psycopg
import pymongo
import pytest
from elasticsearch import Elasticsearch
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from foldline_contracts.readmodels import ReadModel, read_models
from foldline_contracts.state import GENERATIONS, PARKED, POSITIONS, PROJECTIONS, GenerationState
from foldline_projector.engine.generations import Registry, ensure_first, new_generation
from foldline_projector.projection import Projection, projections
from foldline_projector.stores.port import (
    Batch,
    Document,
    Move,
    ParkedRecord,
    Position,
    Reference,
    Store,
    TopicPartition,
)
from foldline_projector.stores.registry import open_store
from foldline_query import services
from foldline_query.app import create_app
from foldline_query.config import Settings

PARTITIONS = 2
#: What a test may make of a read model.
GENERATION_NUMBERS = (1, 2, 3)
TOPICS = ("order-events", "customer-events")
URLS = {
    "postgresql": "FOLDLINE_READ_DATABASE_URL",
    "mongodb": "FOLDLINE_MONGODB_URL",
    "clickhouse": "FOLDLINE_CLICKHOUSE_URL",
    "elasticsearch": "FOLDLINE_ELASTICSEARCH_URL",
}


@dataclass
class World:
    """One test's read models and how to change them."""

    models: Mapping[str, ReadModel]
    client: FlaskClient
    _stores: dict[tuple[str, int], Store] = field(default_factory=dict)
    _offsets: dict[tuple[str, int, TopicPartition], int] = field(default_factory=dict)

    def store(self, name: str, generation: int = 1) -> Store:
        """The projector's store, of a generation that is made when first used and then followed."""
        if (name, generation) not in self._stores:
            if generation == 1:
                store, own = self._opened(name, 1)
                ensure_first(Registry(store, own.read_model), store, own, self.partitions(name))
            else:
                self.add(name, generation, "following")
        return self._stores[name, generation]

    def add(
        self,
        name: str,
        generation: int,
        state: GenerationState,
        *,
        fold_version: int | None = None,
        rebuild: Mapping[str, Any] | None = None,
    ) -> None:
        """Makes a generation beside the first one, as a rebuild does."""
        self.store(name)
        store, own = self._opened(name, generation)
        if fold_version is not None:
            own = replace(own, fold_version=fold_version)
        made = new_generation(own, generation, self.partitions(name), state, rebuild)
        assert self.registry(name).add(made)
        store.create()

    def registry(self, name: str) -> Registry:
        """The pointer and the generations."""
        return Registry(self._stores[name, 1], self.models[name])

    def flip(self, name: str, generation: int) -> None:
        """Points readers to another generation."""
        registry = self.registry(name)
        seen = registry.pointer()
        assert seen is not None
        to = replace(seen, active=generation, previous=seen.active, flipped_at=datetime.now(UTC))
        assert registry.move_pointer(seen, to)

    def become(self, name: str, generation: int, state: GenerationState) -> None:
        """Changes the state in a generation's record."""
        self.registry(name).change(generation, lambda each: replace(each, state=state))

    def _opened(self, name: str, generation: int) -> tuple[Store, Projection]:
        own = replace(projections()[name], read_model=self.models[name])
        store = open_store(os.environ[URLS[self.models[name].store]], own, generation)
        store.prepare()
        self._stores[name, generation] = store
        return store, own

    def partitions(self, name: str) -> dict[str, int]:
        return dict.fromkeys(self.models[name].topics, PARTITIONS)

    def write(
        self,
        name: str,
        *documents: Document,
        references: tuple[Reference, ...] = (),
        parked: tuple[ParkedRecord, ...] = (),
        generation: int = 1,
    ) -> None:
        """Saves and moves every position on, caught up as of now."""
        self.save(
            name, Batch(documents=documents, references=references, parked=parked), generation
        )

    def save(self, name: str, batch: Batch, generation: int = 1) -> None:
        moves = {
            TopicPartition(topic, number): self._move(
                name, generation, TopicPartition(topic, number), caught_up()
            )
            for topic, count in self.partitions(name).items()
            for number in range(count)
        }
        self.store(name, generation).save(replace(batch, moves=moves))

    def place(self, name: str, at: TopicPartition, position: Position) -> None:
        """Sets one partition's position."""
        self.store(name).save(Batch(moves={at: self._move(name, 1, at, position)}))

    def _move(self, name: str, generation: int, at: TopicPartition, position: Position) -> Move:
        """The offset always grows, as it must in every store."""
        known = self._offsets.get((name, generation, at))
        offset = 10 if known is None else known + 10
        self._offsets[name, generation, at] = offset
        ahead = position.end - position.offset
        return Move(known, replace(position, offset=offset, end=offset + ahead))

    def get(self, path: str, **headers: str) -> TestResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.get(path, headers=named)

    def close(self) -> None:
        for store in self._stores.values():
            store.close()


def caught_up() -> Position:
    now = datetime.now(UTC)
    return Position(offset=0, end=0, recorded_at=now - timedelta(hours=1), as_of=now, incarnation=1)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    make, cleanup = _world(monkeypatch)
    made = make(Settings.from_env(os.environ))
    yield made
    cleanup()


@pytest.fixture
def make_world(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Settings], World]]:
    make, cleanup = _world(monkeypatch)
    yield make
    cleanup()


def _world(
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Callable[[Settings], World], Callable[[], None]]:
    suffix = uuid4().hex[:10]
    models = {
        name: replace(model, name=f"{name}-{suffix}") for name, model in read_models().items()
    }
    monkeypatch.setattr(services, "read_models", lambda: models)
    made: list[tuple[World, services.Services]] = []

    def make(settings: Settings) -> World:
        app = create_app(settings)
        world = World(models, app.test_client())
        made.append((world, app.extensions["foldline"]))
        return world

    def cleanup() -> None:
        used = {name for world, _ in made for name, _ in world._stores}
        for world, room in made:
            world.close()
            room.stores.close()
        for name in used:
            CLEANERS[models[name].store](models[name])

    return make, cleanup


def _clean_postgresql(model: ReadModel) -> None:
    with psycopg.connect(os.environ["FOLDLINE_READ_DATABASE_URL"], autocommit=True) as connection:
        for generation in GENERATION_NUMBERS:
            for table in (model.documents(generation), model.references(generation)):
                connection.execute(f"DROP TABLE IF EXISTS {table}")  # type: ignore[arg-type]
        for table in (PROJECTIONS, GENERATIONS, POSITIONS, PARKED):
            connection.execute(
                f"DELETE FROM {table} WHERE projection = %s",  # type: ignore[arg-type]
                (model.name,),
            )


def _clean_mongodb(model: ReadModel) -> None:
    with pymongo.MongoClient[dict[str, Any]](os.environ["FOLDLINE_MONGODB_URL"]) as client:
        database = client.get_default_database()
        for generation in GENERATION_NUMBERS:
            database.drop_collection(model.documents(generation))
            database.drop_collection(model.references(generation))
        for collection in (PROJECTIONS, GENERATIONS, POSITIONS, PARKED):
            database[collection].delete_many({"projection": model.name})


def _clean_clickhouse(model: ReadModel) -> None:
    client = clickhouse_connect.get_client(
        dsn=os.environ["FOLDLINE_CLICKHOUSE_URL"], autogenerate_session_id=False
    )
    for generation in GENERATION_NUMBERS:
        client.command(f"DROP TABLE IF EXISTS {model.documents(generation)}")
    client.close()


def _clean_elasticsearch(model: ReadModel) -> None:
    with Elasticsearch(os.environ["FOLDLINE_ELASTICSEARCH_URL"]) as client:
        names = [
            name
            for generation in GENERATION_NUMBERS
            for name in (model.documents(generation), model.references(generation))
        ]
        client.indices.delete(index=names, ignore_unavailable=True)


CLEANERS: Mapping[str, Callable[[ReadModel], None]] = {
    "postgresql": _clean_postgresql,
    "mongodb": _clean_mongodb,
    "clickhouse": _clean_clickhouse,
    "elasticsearch": _clean_elasticsearch,
}
