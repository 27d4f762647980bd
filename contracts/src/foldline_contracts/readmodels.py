"""Read models as data: what projectors write by and the query service reads by.

A read model lives in one store. Its objects are named by generation (`order_summaries_g7`), its
documents have a section per source aggregate: the *primary* section is the aggregate that keys
the document, the *reference* section is copied from another aggregate that the primary names
(an order's customer). Each section carries the version and event id that it reflects.

Physical layout, the same names in every store:

- document: `key`, `partition` (of the primary aggregate's topic), then the sections.
  Column stores: `primary_version`, `primary_event_id`, the primary columns, `reference_version`,
  `reference_event_id`, the reference columns. Document stores: `{_id, partition, primary:
  {version, eventId, body: {...}}, reference: {version, eventId, body: {...}} | null}`.
- reference source (`..._references`): `key`, `partition`, `version`, `event_id`,
  `fanned_out_version` (all documents that name it carry at least this version), `body`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Literal

from foldline_contracts.aggregates import aggregate_kinds

ENTRY_POINT_GROUP = "foldline.read_models"

StoreName = Literal["postgresql", "mongodb", "clickhouse", "elasticsearch"]
ColumnType = Literal["text", "money", "time", "date", "integer", "json"]


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a section's body as a column of a column store."""

    #: Column name: `customer_id`.
    name: str
    #: Field in the section's body: `customerId`.
    field: str
    #: Bodies hold money, times and dates as text; the store holds the typed value. All nullable.
    type: ColumnType


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadModel:
    """One read model and where it lives."""

    #: Name of the projection: `order-summaries`.
    name: str
    store: StoreName
    #: Kind of the aggregate that keys its documents.
    primary: str
    #: Kind of the aggregate whose section is copied in, if any.
    reference: str | None = None
    #: Field of the primary body that names the reference: `customerId`.
    link: str | None = None
    #: Columns of the sections, for column stores.
    primary_columns: tuple[Column, ...] = ()
    reference_columns: tuple[Column, ...] = ()
    #: PostgreSQL: index name suffix to the column list, such as {"created": "created_at, key"}.
    indexes: Mapping[str, str] = field(default_factory=dict)

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that it consumes, the primary's first."""
        kinds = [self.primary] + ([self.reference] if self.reference else [])
        return tuple(aggregate_kinds()[kind].topic for kind in kinds)

    def documents(self, generation: int) -> str:
        """Name of the table, collection or index that holds the documents of a generation."""
        return f"{self.name.replace('-', '_')}_g{generation}"

    def references(self, generation: int) -> str:
        """Name of the object that holds the reference sources of a generation."""
        return f"{self.documents(generation)}_references"

    def consumer_group(self, generation: int) -> str:
        """Kafka consumer group of a generation."""
        return f"foldline.{self.name}.g{generation}"


@cache
def read_models() -> Mapping[str, ReadModel]:
    """All installed read models by name, found by entry point."""
    found: list[ReadModel] = [point.load() for point in entry_points(group=ENTRY_POINT_GROUP)]
    return {model.name: model for model in sorted(found, key=lambda model: model.name)}
