"""One stack beside whatever else runs here: every service by its real client, faults, and what a restart keeps."""

import json
import signal
import socket
import uuid
from contextlib import closing

import clickhouse_connect
import httpx
import psycopg
import pymongo
import pytest
from elasticsearch import Elasticsearch
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from support.eventually import eventually

from foldline_local.errors import LocalError
from foldline_local.stack import Stack
from foldline_local.testing import free_offset, isolated, running_stack, scratch

pytestmark = pytest.mark.integration


def clickhouse(stack):
    url = httpx.URL(stack.urls["FOLDLINE_CLICKHOUSE_URL"])
    return clickhouse_connect.get_client(
        host=url.host, port=url.port, database=url.path.strip("/"), autogenerate_session_id=False
    )


def test_postgres_decodes_logically_and_its_owner_is_no_superuser(stack):
    for name in ("WRITE", "READ"):
        with psycopg.connect(stack.urls[f"FOLDLINE_{name}_DATABASE_URL"]) as connection:
            assert connection.execute("SHOW wal_level").fetchone() == ("logical",)
            assert connection.execute("SHOW is_superuser").fetchone() == ("off",)
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            connection.rollback()


def test_kafka_keeps_what_is_produced_and_invents_no_topics(stack):
    servers, topic = stack.urls["FOLDLINE_KAFKA_BOOTSTRAP_SERVERS"], f"t-{uuid.uuid4()}"
    with closing(KafkaAdminClient(bootstrap_servers=servers)) as admin:
        admin.create_topics([NewTopic(name=topic, num_partitions=1, replication_factor=1)])
    with closing(KafkaProducer(bootstrap_servers=servers, compression_type="lz4")) as producer:
        producer.send(topic, key=b"k", value=b"v").get(timeout=10)
    with closing(
        KafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest")
    ) as consumer:
        records = eventually(lambda: consumer.poll(timeout_ms=500), within=30)
        assert [(r.key, r.value) for batch in records.values() for r in batch] == [(b"k", b"v")]
        assert "never-made" not in consumer.topics()


def test_connect_has_debezium(stack):
    plugins = httpx.get(f"{stack.urls['FOLDLINE_CONNECT_URL']}/connector-plugins").json()
    classes = {plugin["class"]: plugin["version"] for plugin in plugins}
    assert classes["io.debezium.connector.postgresql.PostgresConnector"].startswith("3.7.0")


def test_a_committed_row_arrives_in_kafka_through_debezium(stack):
    topic, settings = f"rows-{uuid.uuid4().hex[:8]}.public.thing", stack.settings
    servers = stack.urls["FOLDLINE_KAFKA_BOOTSTRAP_SERVERS"]
    with psycopg.connect(stack.urls["FOLDLINE_WRITE_DATABASE_URL"], autocommit=True) as write:
        write.execute("CREATE TABLE thing (id int PRIMARY KEY)")
        write.execute("GRANT SELECT ON thing TO debezium")
        write.execute("CREATE PUBLICATION thing_pub FOR TABLE thing")
        with closing(KafkaAdminClient(bootstrap_servers=servers)) as admin:
            admin.create_topics([NewTopic(name=topic, num_partitions=1, replication_factor=1)])
        config = {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "database.hostname": settings.host,
            "database.port": str(settings.ports["postgres"]),
            "database.user": "debezium",
            "database.dbname": "foldline_write",
            "topic.prefix": topic.split(".")[0],
            "plugin.name": "pgoutput",
            "slot.name": "thing_slot",
            "publication.name": "thing_pub",
            "publication.autocreate.mode": "disabled",
            "snapshot.mode": "no_data",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        }
        connector = f"{stack.urls['FOLDLINE_CONNECT_URL']}/connectors/thing"
        httpx.put(f"{connector}/config", json=config, timeout=30).raise_for_status()
        active = "SELECT active FROM pg_replication_slots WHERE slot_name = 'thing_slot'"
        eventually(lambda: (write.execute(active).fetchone() or (False,))[0], within=30)
        write.execute("INSERT INTO thing VALUES (7)")
        with closing(
            KafkaConsumer(topic, bootstrap_servers=servers, auto_offset_reset="earliest")
        ) as consumer:
            records = eventually(lambda: consumer.poll(timeout_ms=500), within=30)
        (record,) = (r for batch in records.values() for r in batch)
        assert json.loads(record.value)["payload"]["after"] == {"id": 7}
        httpx.delete(connector, timeout=30).raise_for_status()
        eventually(lambda: not write.execute(active).fetchone()[0], within=30)
        write.execute("SELECT pg_drop_replication_slot('thing_slot')")


def test_mongodb_has_transactions(stack):
    with pymongo.MongoClient(stack.urls["FOLDLINE_MONGODB_URL"]) as client:
        things = client.get_default_database()["things"]
        with client.start_session() as session, session.start_transaction():
            things.insert_one({"_id": 1}, session=session)
            session.abort_transaction()
        assert things.find_one({"_id": 1}) is None


def test_clickhouse_serves_the_official_client(stack):
    client = clickhouse(stack)
    client.command(
        "CREATE TABLE t (id String, v UInt64, d Date) ENGINE = ReplacingMergeTree(v) ORDER BY id"
    )
    rows = [[str(i % 100), i, "2026-01-02"] for i in range(1000)]
    client.insert(
        "t",
        [[a, b, __import__("datetime").date(2026, 1, 2)] for a, b, _ in rows],
        column_names=["id", "v", "d"],
    )
    result = client.query(
        "SELECT count(), max(v) FROM t FINAL WHERE d = {day:Date}",
        parameters={"day": "2026-01-02"},
        settings={"max_threads": 1},
    )
    assert result.result_rows == [(100, 999)]
    with pytest.raises(clickhouse_connect.driver.exceptions.DatabaseError, match="UNKNOWN_TABLE"):
        client.query("SELECT * FROM nowhere")
    assert client.query("SELECT getSetting('max_threads') > 1 OR 1").result_rows == [(1,)]
    client.command("DROP TABLE t")
    client.close()


def test_elasticsearch_is_accent_blind_and_typo_tolerant(stack):
    analysis = {
        "filter": {"prefix": {"type": "edge_ngram", "min_gram": 2, "max_gram": 10}},
        "analyzer": {
            "folded": {"tokenizer": "standard", "filter": ["lowercase", "asciifolding"]},
            "prefixed": {"tokenizer": "standard", "filter": ["lowercase", "prefix"]},
        },
    }
    for analyzer in analysis["analyzer"].values():
        analyzer["type"] = "custom"
    text = {"type": "text", "analyzer": "folded"}
    with Elasticsearch(stack.urls["FOLDLINE_ELASTICSEARCH_URL"]) as client:
        assert client.info()["version"]["number"] == "9.5.3"
        client.indices.create(
            index="t",
            settings={"analysis": analysis, "number_of_replicas": 0},
            mappings={
                "properties": {"name": text, "english": {"type": "text", "analyzer": "english"}}
            },
        )
        client.index(
            index="t",
            id="1",
            document={"name": "Café Crème", "english": "running"},
            version=3,
            version_type="external",
            refresh=True,
        )
        query = {"match": {"name": {"query": "crme cafe", "fuzziness": "AUTO"}}}
        assert client.search(index="t", query=query)["hits"]["total"]["value"] == 1
        stemmed = {"match": {"english": "runs"}}
        assert client.search(index="t", query=stemmed)["hits"]["total"]["value"] == 1
        client.indices.delete(index="t")


def test_a_killed_service_is_started_again_with_its_data(stack):
    url = stack.urls["FOLDLINE_READ_DATABASE_URL"]
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    before = stack.pid("postgres")
    stack.kill("postgres", signal.SIGKILL)
    stack.wait_ready("postgres")
    assert stack.pid("postgres") != before
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
        connection.execute("DROP TABLE kept")


def test_a_stopped_service_stays_stopped_until_it_is_started(stack):
    stack.stop("mongodb")
    assert stack.stack.states()["mongodb"].state == "STOPPED"
    stack.start("mongodb")
    with pymongo.MongoClient(stack.urls["FOLDLINE_MONGODB_URL"]) as client:
        assert client.admin.command("ping")["ok"] == 1


def test_up_again_starts_nothing(stack):
    reported = []
    pids = {name: state.pid for name, state in stack.stack.states().items()}
    again = Stack(stack.settings, lambda name, event, seconds: reported.append(event))
    again.up(services_only=True)
    assert pids == {name: state.pid for name, state in again.states().items()}
    assert len(reported) == 6
    assert all(event.startswith("already up on") for event in reported)


def test_down_keeps_every_service_s_data():
    with scratch() as folder:
        with running_stack(folder, keep=True) as stack:
            with psycopg.connect(stack.urls["FOLDLINE_WRITE_DATABASE_URL"]) as write:
                write.execute("CREATE TABLE kept AS SELECT 1 AS one")
            with pymongo.MongoClient(stack.urls["FOLDLINE_MONGODB_URL"]) as client:
                client.get_default_database()["kept"].insert_one({"_id": 1})
            clickhouse(stack).command(
                "CREATE TABLE kept ENGINE = MergeTree ORDER BY one AS SELECT 1 AS one"
            )
            httpx.put(f"{stack.urls['FOLDLINE_ELASTICSEARCH_URL']}/kept").raise_for_status()
            servers = stack.urls["FOLDLINE_KAFKA_BOOTSTRAP_SERVERS"]
            with closing(KafkaAdminClient(bootstrap_servers=servers)) as admin:
                admin.create_topics([NewTopic(name="kept", num_partitions=1, replication_factor=1)])
        # On other ports, so that nothing about the data may depend on them.
        with running_stack(folder) as stack:
            with psycopg.connect(stack.urls["FOLDLINE_WRITE_DATABASE_URL"]) as write:
                assert write.execute("SELECT one FROM kept").fetchone() == (1,)
            with pymongo.MongoClient(stack.urls["FOLDLINE_MONGODB_URL"]) as client:
                assert client.get_default_database()["kept"].find_one() == {"_id": 1}
            assert clickhouse(stack).query("SELECT one FROM kept").result_rows == [(1,)]
            url = stack.urls["FOLDLINE_ELASTICSEARCH_URL"]
            assert httpx.head(f"{url}/kept").status_code == 200
            servers = stack.urls["FOLDLINE_KAFKA_BOOTSTRAP_SERVERS"]
            with closing(KafkaAdminClient(bootstrap_servers=servers)) as admin:
                assert "kept" in {topic["name"] for topic in admin.describe_topics(["kept"])}
        assert not (folder / "data").exists()


def test_a_taken_port_stops_everything_before_it_starts():
    with scratch() as folder, socket.socket() as taken:
        offset = free_offset()
        taken.bind(("127.0.0.1", 27017 + offset))
        taken.listen()
        with (
            pytest.raises(LocalError, match=r"^port \d+ for mongodb is taken by pid \d+"),
            running_stack(folder, offset, keep=True),
        ):
            pytest.fail("it came up")
        assert not (folder / "data").exists()
        assert not (folder / "run").exists()


def test_a_failed_start_takes_down_what_it_started():
    with scratch() as folder:
        data = folder / "data/postgres"
        data.mkdir(parents=True)
        (data / "PG_VERSION").write_text("12")
        (data / "postgresql.conf").touch()
        said = r"^postgres ended while starting; log .*postgres\.log, last line: \S.*$"
        with pytest.raises(LocalError, match=said), running_stack(folder, keep=True):
            pytest.fail("it came up")
        stack = Stack(isolated(folder, free_offset(), {}), lambda *_: None)
        assert stack.states() == {}
