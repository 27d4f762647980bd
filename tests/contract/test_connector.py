"""Three sources that must agree: the outbox table, the connector's configuration, the topics."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from foldline_command import connector, database
from foldline_command.connector import Target, configuration, template
from foldline_contracts import codec
from foldline_contracts.topics import HEADER_CONTENT_TYPE

COLUMNS = {column.name: column for column in database.outbox.columns}
TEMPLATE = template()
FIELD = "transforms.outbox.table.field.event."
TARGET = Target(
    connect_url="http://connect:8083",
    database_url="postgresql://u:secret@db.example:5433/write%20db",
    user="debezium",
    password="p@ss",
)


@pytest.mark.parametrize("field", ["id", "key", "payload", "timestamp"])
def test_the_router_reads_columns_that_exist(field: str) -> None:
    assert TEMPLATE[FIELD + field] in COLUMNS


def test_id_key_payload_and_time_are_the_right_columns() -> None:
    chosen = [TEMPLATE[FIELD + field] for field in ("id", "key", "payload", "timestamp")]
    assert chosen == ["id", "aggregateid", "payload", "recorded_at"]
    assert TEMPLATE["transforms.outbox.route.by.field"] == "aggregatetype"


def test_the_partition_and_the_content_type_are_ours() -> None:
    text = TEMPLATE["transforms.outbox.table.fields.additional.placement"]
    placed = {tuple(each.split(":")) for each in text.split(",")}
    assert placed == {
        ("partition", "partition"),
        ("contenttype", "header", HEADER_CONTENT_TYPE),
    }
    assert codec.CONTENT_TYPE == "application/cloudevents+json"


def test_the_topic_is_the_aggregate_type_itself() -> None:
    pattern = TEMPLATE["transforms.outbox.route.topic.regex"]
    replacement = TEMPLATE["transforms.outbox.route.topic.replacement"].replace("$", "\\")
    assert re.sub(f"^{pattern}$", replacement, "order-events") == "order-events"


def test_the_payload_passes_through_unparsed() -> None:
    assert TEMPLATE["transforms.outbox.table.expand.json.payload"] == "false"
    assert TEMPLATE["value.converter"].endswith(".StringConverter")
    assert str(COLUMNS["payload"].type) == "TEXT"


def test_recorded_at_is_a_column_that_debezium_gives_as_a_number() -> None:
    assert not COLUMNS["recorded_at"].type.timezone  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("publication.autocreate.mode", "disabled"),
        ("slot.drop.on.stop", "false"),
        ("snapshot.mode", "no_data"),
        ("plugin.name", "pgoutput"),
        ("tasks.max", "1"),
        ("poll.interval.ms", "5"),
        ("heartbeat.interval.ms", "1000"),
        ("producer.override.acks", "all"),
        ("table.include.list", "public.outbox"),
    ],
)
def test_what_the_guarantees_rest_on_is_set(option: str, value: str) -> None:
    assert TEMPLATE[option] == value


def test_the_heartbeat_needs_no_table() -> None:
    assert "pg_logical_emit_message" in TEMPLATE["heartbeat.action.query"]


def test_the_address_of_the_write_database_is_filled_in() -> None:
    filled = configuration(TARGET)
    expected = {
        "slot.name": database.SLOT,
        "publication.name": database.PUBLICATION,
        "database.hostname": "db.example",
        "database.port": "5433",
        "database.dbname": "write db",
        "database.user": "debezium",
        "database.password": "p@ss",
    }
    assert {name: filled[name] for name in expected} == expected
    assert set(filled) == set(TEMPLATE) | set(expected)


def test_the_template_holds_no_address_and_no_secret() -> None:
    assert not [name for name in TEMPLATE if name.startswith("database.")]


def test_publication_and_slot_are_those_of_the_migrations() -> None:
    revisions = Path(str(files("foldline_command") / "migrations" / "versions"))
    text = "\n".join(path.read_text() for path in revisions.glob("*.py"))
    assert f"CREATE PUBLICATION {database.PUBLICATION} " in text
    assert "publish = 'insert', publish_via_partition_root = true" in text
    created = re.search(r"CREATE TABLE outbox \((.*?)\n\)", text, re.DOTALL)
    assert created is not None
    names = re.findall(r"^    ([a-z_]+) ", created[1], re.MULTILINE)
    assert names == list(COLUMNS)


def test_a_wheel_carries_the_template() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '"debezium/connector.json" = "foldline_command/connector.json"' in project
    assert connector._IN_TREE.is_file()
