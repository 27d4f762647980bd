"""Topics are made once, whoever applies them and however often."""

import os
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from foldline_command import migrate, topics
from foldline_contracts.topics import required_topics

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True, scope="module")
def _migrated() -> None:
    migrate.migrate(os.environ["FOLDLINE_WRITE_DATABASE_URL"])


def apply(partitions: int) -> list[str]:
    servers = os.environ["FOLDLINE_KAFKA_BOOTSTRAP_SERVERS"].split(",")
    url = os.environ["FOLDLINE_WRITE_DATABASE_URL"]
    return topics.apply({"bootstrap_servers": servers}, url, required_topics(partitions), 1)


def test_applied_twice_at_once_they_are_there_once() -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(apply, [12, 12])
    assert len(first) == len(second) == len(required_topics())
    with psycopg.connect(os.environ["FOLDLINE_WRITE_DATABASE_URL"]) as database:
        query = "SELECT topic, count(*), count(DISTINCT partition) FROM slice_map GROUP BY topic"
        rows = database.execute(query).fetchall()
    assert {row[0]: row[1:] for row in rows} == {
        "customer-events": (256, 12),
        "order-events": (256, 12),
    }


def test_another_number_of_partitions_is_refused() -> None:
    with pytest.raises(topics.TopicMismatch, match="has 12 partitions, not 13"):
        apply(13)
