"""Topics that we create ourselves, and the header names on their records."""

from dataclasses import dataclass

from foldline_contracts.aggregates import aggregate_kinds

WATERMARKS = "foldline-watermarks"
#: Debezium's own (`topic.prefix` of the connector is `foldline`): its heartbeat, and the logical messages
#: by which the heartbeat keeps the slot moving. It cannot go on without them; nobody reads them.
DEBEZIUM = ("__debezium-heartbeat.foldline", "foldline.message")
WATERMARK_KEY = b"watermark"
HEADER_CONTENT_TYPE = "content-type"
DEFAULT_PARTITIONS = 12


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it must be: name, partitions and its configuration."""

    name: str
    partitions: int
    config: dict[str, str]


def required_topics(partitions: int = DEFAULT_PARTITIONS) -> tuple[Topic, ...]:
    """Every topic of the product: one a kind with unlimited retention, the watermarks and heartbeats."""
    events = tuple(
        Topic(
            kind.topic,
            partitions,
            {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"},
        )
        for kind in aggregate_kinds().values()
    )
    hour = {"cleanup.policy": "delete", "retention.ms": "3600000"}
    beats = tuple(Topic(name, 1, hour) for name in DEBEZIUM)
    return (*events, Topic(WATERMARKS, 1, {"cleanup.policy": "compact"}), *beats)
