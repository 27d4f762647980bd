"""Kafka clients of a projector, made in one place so that their settings have one reason each.

Membership is static and named by ordinal, so a crash costs a restart and not a session timeout;
heartbeats are frequent, so a rebalance is noticed at once. Offsets in Kafka are advisory: reading
never falls back to them or to a reset policy, since positions live in the projection's store.
"""

import math
from collections.abc import Mapping
from typing import Any

from kafka import KafkaConsumer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

HEARTBEAT_MS = 250
#: How long a fetch may wait at the broker when there is nothing; what arrives ends the wait.
FETCH_WAIT_MS = 250
#: Bigger fetches than the default: they cost less time per event.
FETCH_BYTES = 4 * 1024 * 1024
METADATA_MAX_AGE_MS = 60_000


def group_consumer(
    kafka: Mapping[str, Any], group: str, member: str, session_timeout: float, records: int
) -> Any:
    """A consumer that is a static member of a projection's group."""
    consumer = KafkaConsumer(
        **kafka,
        client_id=member,
        group_id=group,
        group_instance_id=member,
        partition_assignment_strategy=(CooperativeStickyAssignor,),
        session_timeout_ms=int(session_timeout * 1000),
        heartbeat_interval_ms=HEARTBEAT_MS,
        auto_offset_reset="none",
        enable_auto_commit=False,
        allow_auto_create_topics=False,
        fetch_max_wait_ms=FETCH_WAIT_MS,
        max_partition_fetch_bytes=FETCH_BYTES,
        metadata_max_age_ms=METADATA_MAX_AGE_MS,
        max_poll_records=records,
        metrics_enabled=False,
    )
    # The client ends each wait of a poll when a heartbeat is due, though a thread of its own sends them. It is due
    # all the time while a broker that is slow or frozen owes the answer to the last one: polling would spin.
    consumer._coordinator.time_to_next_poll = lambda: math.inf
    return consumer


def lone_consumer(kafka: Mapping[str, Any], client_id: str, **settings: Any) -> Any:
    """A consumer without a group, for partitions that are assigned by hand."""
    return KafkaConsumer(
        **kafka,
        client_id=client_id,
        group_id=None,
        enable_auto_commit=False,
        allow_auto_create_topics=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=FETCH_WAIT_MS,
        metadata_max_age_ms=METADATA_MAX_AGE_MS,
        metrics_enabled=False,
        **settings,
    )
