"""What this room hands to a domain: its stores, the way to each read model, and the description.

Built once per process by `app.create_app`; nothing connects before the first request. A domain's
blueprint factory takes one of these, registers what it serves with `api`, and returns a blueprint.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from foldline_contracts.readmodels import ReadModel, StoreName, read_models
from foldline_query.access import Access
from foldline_query.config import Settings
from foldline_query.openapi import Api
from foldline_query.readers.clickhouse import ClickHouseReader, ClickHouseStore
from foldline_query.readers.elasticsearch import ElasticsearchReader, ElasticsearchStore
from foldline_query.readers.mongodb import MongoReader, MongoStore
from foldline_query.readers.port import Reader, Store
from foldline_query.readers.postgresql import PostgresReader, PostgresStore
from foldline_query.reads import Reads
from foldline_query.tokens.waiting import Places, Waiter


@dataclass(frozen=True, slots=True)
class Stores:
    """One connection to each store."""

    postgresql: PostgresStore
    mongodb: MongoStore
    clickhouse: ClickHouseStore
    elasticsearch: ElasticsearchStore

    @classmethod
    def connect(cls, settings: Settings) -> "Stores":
        """Prepares the connections; they are made when first used."""
        timeout = settings.store_timeout_seconds
        return cls(
            PostgresStore(settings.read_database_url, timeout),
            MongoStore(settings.mongodb_url, timeout),
            ClickHouseStore(settings.clickhouse_url, timeout),
            ElasticsearchStore(settings.elasticsearch_url, timeout),
        )

    def by_name(self) -> Mapping[StoreName, Store]:
        """All of them."""
        return {
            "postgresql": self.postgresql,
            "mongodb": self.mongodb,
            "clickhouse": self.clickhouse,
            "elasticsearch": self.elasticsearch,
        }

    def reader(self, model: ReadModel) -> Reader:
        """The reader of a read model in its store."""
        match model.store:
            case "postgresql":
                return PostgresReader(self.postgresql, model)
            case "mongodb":
                return MongoReader(self.mongodb, model)
            case "clickhouse":
                return ClickHouseReader(self.clickhouse, model)
            case "elasticsearch":
                return ElasticsearchReader(self.elasticsearch, model)
            case _:
                assert_never(model.store)

    def close(self) -> None:
        """Releases all connections."""
        for store in self.by_name().values():
            store.close()


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a blueprint needs."""

    settings: Settings
    stores: Stores
    #: By name of the projection.
    read_models: Mapping[str, Access]
    api: Api


def build(settings: Settings) -> Services:
    """The room's services for these settings."""
    stores = Stores.connect(settings)
    places = Places(settings.max_waiters)
    read = {
        name: _access(stores.reader(model), places, settings)
        for name, model in read_models().items()
    }
    return Services(settings, stores, read, Api())


def _access(reader: Reader, places: Places, settings: Settings) -> Access:
    reads = Reads(settings.keep_reads)
    return Access(reader, Waiter(reader, places), settings.stale_after_seconds, reads)
