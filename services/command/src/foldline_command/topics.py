"""`foldline topics apply`: the topics as they must be, and the slice map that goes with them.

Topics are ours, never auto-created: partitions are fixed, retention is unlimited. Applying is idempotent
and safe to run twice at once. A topic with another number of partitions is refused, because only
a change of the slice map may grow one; drifted configuration is set right. When topics exist, they
and their first slice map are recorded in the write database, which is how the command service, that
never talks to Kafka, knows that it may accept commands.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic

from foldline_command.database import SLICE_MAP_LOCK
from foldline_contracts.aggregates import aggregate_kinds
from foldline_contracts.slices import initial_map
from foldline_contracts.topics import Topic

TIMEOUT_MS = 30_000
#: Two runs at once wait for each other.
APPLY_LOCK = 7172


class TopicMismatch(Exception):
    """A topic exists with another number of partitions."""


def apply(
    kafka: Mapping[str, Any], database_url: str, topics: Sequence[Topic], replication: int
) -> list[str]:
    """Makes topics and records them; one line for each. Raises TopicMismatch."""
    of_events = {kind.topic for kind in aggregate_kinds().values()}
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [APPLY_LOCK])
        admin = KafkaAdminClient(client_id="foldline-topics", **kafka)
        try:
            lines = [_apply(admin, topic, replication) for topic in topics]
        finally:
            admin.close()
        _record(connection, [topic for topic in topics if topic.name in of_events])
    return lines


def _apply(admin: KafkaAdminClient, topic: Topic, replication: int) -> str:
    if topic.name not in admin.list_topics():
        new = NewTopic(
            name=topic.name,
            num_partitions=topic.partitions,
            replication_factor=replication,
            topic_configs=topic.config,
        )
        admin.create_topics([new], timeout_ms=TIMEOUT_MS, wait_for_metadata=True)
        return f"{topic.name}: created with {topic.partitions} partition(s)"
    found = len(admin.describe_topics([topic.name])[0]["partitions"])
    if found != topic.partitions:
        raise TopicMismatch(
            f"topic {topic.name} has {found} partitions, not {topic.partitions}; "
            "set FOLDLINE_TOPIC_PARTITIONS to what it has"
        )
    resource = ConfigResource(ConfigResourceType.TOPIC, topic.name, configs=topic.config)
    admin.alter_configs([resource])
    return f"{topic.name}: is there with {found} partition(s)"


def _record(connection: psycopg.Connection[Any], topics: Sequence[Topic]) -> None:
    """Topics and first slice maps, alone under the lock that every command shares."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [SLICE_MAP_LOCK])
        for topic in topics:
            cursor.execute(
                "INSERT INTO topics (name, partitions) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                [topic.name, topic.partitions],
            )
            rows = [
                (topic.name, number, partition)
                for number, partition in enumerate(initial_map(topic.partitions))
            ]
            cursor.executemany(
                "INSERT INTO slice_map (topic, slice, partition, version) VALUES (%s, %s, %s, 1)"
                " ON CONFLICT DO NOTHING",
                rows,
            )
