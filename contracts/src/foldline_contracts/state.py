"""Names of a projection's own state, which lives in the projection's own store.

Projectors write it, the query service reads it. Tables (PostgreSQL, ClickHouse), collections
(MongoDB) and indices (Elasticsearch) have these names; fields are these names too, snake_case
in every store. In MongoDB `_id`, in Elasticsearch the document id, is the key joined by `/`.
Times are native in PostgreSQL and ClickHouse, and RFC 3339 text in MongoDB and Elasticsearch, whose
own types keep milliseconds only. JSON fields are objects there, and JSON text in ClickHouse.
Projections and generations are *state records*: each has a `revision` that grows by one with every
change, and is changed only on the condition that it still has the revision that was read.

- `foldline_projections`: `projection` (key), `active_generation` (the pointer that readers follow),
  `previous_generation` (null, or where a rollback leads), `flipped_at` (null, or when the pointer last
  moved, RFC 3339 text in every store), `hold` (null, or the barrier of a flip), `revision`.
- `foldline_generations`: `projection`, `generation` (key), `fold_version`, `consumer_group`,
  `state` (a `GenerationState`), `partitions` (JSON: topic to count), `layout` (JSON: what the
  read model declared when the generation was made), `rebuild` (JSON, or null for a generation that no
  rebuild made: operation, step, progress, verification), `created_at` (RFC 3339 text in every
  store), `revision`.
- `foldline_positions`: `projection`, `generation`, `topic`, `partition` (key), `position` (next
  offset to apply), `end_offset` (last seen), `recorded_at` (record time of the last applied
  event), `oldest_recorded_at` (record time of the oldest event seen but not applied, null when
  caught up), `as_of` and `incarnation` (of the last watermark passed), `updated_at` (store clock).
  In Elasticsearch a position is written only after the refresh that made its events visible.
- `foldline_parked`: `projection`, `generation`, `topic`, `partition`, `record_offset` (key), `kind`,
  `aggregate_id`, `version` (null when undecodable), `event_id`, `reason` (a `ParkReason`), `detail`,
  `value` (the record's bytes), `recorded_at`, `parked_at`.
"""

from typing import Final, Literal, get_args

PROJECTIONS: Final = "foldline_projections"
GENERATIONS: Final = "foldline_generations"
POSITIONS = "foldline_positions"
PARKED = "foldline_parked"

FIRST_GENERATION = 1

#: `building`: a rebuild fills it and nobody follows. `following`: a projector keeps it up with Kafka,
#: whether or not the pointer names it. `dropped`: its objects are gone, its number is not used again.
GenerationState = Literal["building", "following", "dropped"]

#: Why an event is parked. `gap`: a version is missing before it. `undecodable`, `fold`: poison.
#: `fork`: same version, other event id. `blocked`: waits behind a parked event of its aggregate.
ParkReason = Literal["gap", "undecodable", "fold", "fork", "blocked"]
PARK_REASONS: tuple[str, ...] = get_args(ParkReason)
