"""Read models in MongoDB.

All reads are majority reads from the primary: what has been read once is never taken back by a
fail-over, so a token that was met stays met. Each operation is bounded by one time-out.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pymongo
from pymongo.database import Database
from pymongo.errors import ConfigurationError, PyMongoError
from pymongo.read_concern import ReadConcern

from foldline_contracts.readmodels import ReadModel
from foldline_contracts.state import GENERATIONS, PARKED, POSITIONS, PROJECTIONS
from foldline_query.freshness import Observation
from foldline_query.readers.port import (
    Aggregate,
    Generation,
    ParkedEvent,
    StoreUnavailable,
)
from foldline_query.readers.rows import chosen, generation_from, observation_from, parked_from

Fields = dict[str, Any]


class MongoStore:
    """A client of one database; connects when first used."""

    def __init__(self, url: str, timeout: float) -> None:
        self._client: pymongo.MongoClient[Fields] = pymongo.MongoClient(
            url,
            timeoutMS=int(timeout * 1000),
            serverSelectionTimeoutMS=int(min(2.0, timeout) * 1000),
            connectTimeoutMS=2000,
        )
        try:
            database = self._client.get_default_database()
        except ConfigurationError as error:
            raise ValueError("the MongoDB URL must name a database in its path") from error
        self.database: Database[Fields] = database.with_options(
            read_concern=ReadConcern("majority"), read_preference=pymongo.ReadPreference.PRIMARY
        )

    @contextmanager
    def guard(self) -> Iterator[None]:
        """See the port."""
        try:
            yield
        except PyMongoError as error:
            raise StoreUnavailable("MongoDB", error) from error

    def find(self, collection: str, condition: Fields, limit: int = 0) -> list[Fields]:
        """The documents that meet `condition`."""
        with self.guard():
            return list(self.database[collection].find(condition, limit=limit))

    def one(self, collection: str, key: str) -> Fields | None:
        """The document with this id."""
        with self.guard():
            return self.database[collection].find_one({"_id": key})

    def ping(self) -> None:
        """See the port."""
        with self.guard():
            self.database.command("ping")

    def close(self) -> None:
        """See the port."""
        self._client.close()


class MongoReader:
    """One read model in MongoDB."""

    def __init__(self, store: MongoStore, model: ReadModel) -> None:
        self.store = store
        self.model = model

    def ping(self) -> None:
        """See the port."""
        self.store.ping()

    def generation(self, number: int | None = None) -> Generation:
        """See the port."""
        pointer = self.store.one(PROJECTIONS, self.model.name)
        wanted = number or (pointer and pointer["active_generation"])
        row = self.store.one(GENERATIONS, f"{self.model.name}/{wanted}") if wanted else None
        return chosen(self.model.name, number, row, pointer)

    def generations(self) -> list[Generation]:
        """See the port."""
        found = self.store.find(GENERATIONS, {"projection": self.model.name})
        return sorted(map(generation_from, found), key=lambda each: each.number)

    def observe(self, generation: Generation) -> Observation:
        """See the port."""
        of = self._of(generation)
        positions = self.store.find(POSITIONS, of)
        with self.store.guard():
            aggregates = self.store.database[PARKED].aggregate(
                [
                    {"$match": of},
                    {"$group": {"_id": {"kind": "$kind", "id": "$aggregate_id"}}},
                    {"$count": "parked"},
                ]
            )
            parked = next(iter(aggregates), {"parked": 0})["parked"]
            now = self.store.database.command("hello")["localTime"]
        return observation_from(generation, positions, parked, now)

    def seen(self, generation: Generation, keys: Collection[str]) -> dict[str, int]:
        """See the port."""
        found = self._pick(self.model.documents(generation.number), keys, "primary.version")
        return {row["_id"]: (row.get("primary") or {}).get("version", 0) for row in found}

    def seen_references(self, generation: Generation, keys: Collection[str]) -> dict[str, int]:
        """See the port."""
        found = self._pick(self.model.references(generation.number), keys, "fanned_out_version")
        return {row["_id"]: row.get("fanned_out_version") or 0 for row in found}

    def parked_among(
        self, generation: Generation, aggregates: Collection[Aggregate]
    ) -> set[Aggregate]:
        """See the port."""
        keys = {"$in": [aggregate.key for aggregate in aggregates]}
        found = self.store.find(PARKED, {**self._of(generation), "aggregate_id": keys})
        return {Aggregate(row["kind"], row["aggregate_id"]) for row in found} & set(aggregates)

    def parked(
        self, generation: Generation, aggregate_id: str | None, limit: int
    ) -> list[ParkedEvent]:
        """See the port."""
        one = {} if aggregate_id is None else {"aggregate_id": aggregate_id}
        order = [("topic", 1), ("partition", 1), ("record_offset", 1)]
        with self.store.guard():
            found = self.store.database[PARKED].find({**self._of(generation), **one})
            return [parked_from(row) for row in found.sort(order).limit(limit)]

    def _of(self, generation: Generation) -> Fields:
        return {"projection": self.model.name, "generation": generation.number}

    def _pick(self, collection: str, keys: Collection[str], field: str) -> list[Fields]:
        with self.store.guard():
            found = self.store.database[collection].find({"_id": {"$in": list(keys)}}, {field: 1})
            return list(found)
