"""Store name to store: loads an adapter only when its read model is run.

Drivers are optional extras, so an image for one store need not carry the others' libraries.
"""

from importlib import import_module
from typing import cast

from foldline_contracts.readmodels import StoreName
from foldline_projector.projection import Projection
from foldline_projector.stores.port import Store

#: Store name to its module and class.
ADAPTERS: dict[StoreName, tuple[str, str]] = {
    "postgresql": ("postgresql", "PostgresStore"),
    "mongodb": ("mongodb", "MongoStore"),
    "clickhouse": ("clickhouse", "ClickHouseStore"),
    "elasticsearch": ("elasticsearch", "ElasticsearchStore"),
}


def open_store(url: str, projection: Projection, generation: int) -> Store:
    """The store of one projection generation at `url`. Raises ValueError for a bad URL."""
    module, name = ADAPTERS[projection.read_model.store]
    adapter = getattr(import_module(f"foldline_projector.stores.{module}"), name)
    return cast(Store, adapter(url, projection, generation))
