from pathlib import Path

import pytest

from foldline_local.config import ADDRESS_VARIABLES, DEFAULT_PORTS, load, without_password
from foldline_local.errors import LocalError


def settings(**environ):
    return load(environ, directory=Path("/srv/foldline"))


def test_defaults_are_the_documented_addresses():
    assert settings().addresses() == {
        "FOLDLINE_WRITE_DATABASE_URL": "postgresql://foldline@127.0.0.1:5432/foldline_write",
        "FOLDLINE_READ_DATABASE_URL": "postgresql://foldline@127.0.0.1:5432/foldline_read",
        "FOLDLINE_MONGODB_URL": "mongodb://127.0.0.1:27017/foldline_read?replicaSet=rs0",
        "FOLDLINE_CLICKHOUSE_URL": "http://127.0.0.1:8123/foldline_read",
        "FOLDLINE_ELASTICSEARCH_URL": "http://127.0.0.1:9200",
        "FOLDLINE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9092",
        "FOLDLINE_CONNECT_URL": "http://127.0.0.1:8083",
    }


def test_an_offset_moves_every_port_and_a_port_of_its_own_wins():
    moved = settings(FOLDLINE_LOCAL_PORT_OFFSET="2000", FOLDLINE_LOCAL_PORT_KAFKA="4242")
    assert moved.ports == {
        name: 4242 if name == "kafka" else port + 2000 for name, port in DEFAULT_PORTS.items()
    }


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"FOLDLINE_LOCAL_PORT_KAFKA": "many"}, "FOLDLINE_LOCAL_PORT_KAFKA is 'many'"),
        ({"FOLDLINE_LOCAL_PORT_KAFKA": "70000"}, "FOLDLINE_LOCAL_PORT_KAFKA is 70000"),
        ({"FOLDLINE_LOCAL_PORT_KAFKA": "5432"}, "port 5432 is given to both kafka and postgres"),
        ({"FOLDLINE_LOCAL_PORT_OFFSET": "60000"}, "FOLDLINE_LOCAL_PORT_OFFSET is 60000"),
        ({"FOLDLINE_LOCAL_PORT_OFFSET": "-9000"}, "FOLDLINE_LOCAL_PORT_OFFSET is -9000"),
        ({"FOLDLINE_LOCAL_KAFKA_EXTERNAL": "10.88.0.1"}, "which is not host:port"),
        (
            {"FOLDLINE_WRITE_DATABASE_URL": "postgresql://db/write"},
            "FOLDLINE_WRITE_DATABASE_URL is given but FOLDLINE_READ_DATABASE_URL is not",
        ),
    ],
)
def test_a_bad_value_is_one_line_that_names_it(environ, said):
    with pytest.raises(LocalError, match=said) as raised:
        settings(**environ)
    assert "\n" not in str(raised.value)


def test_a_given_address_replaces_the_local_service():
    given = settings(FOLDLINE_MONGODB_URL="mongodb://elsewhere/db")
    assert not given.is_local("mongodb")
    assert given.is_local("kafka")
    assert given.addresses()["FOLDLINE_MONGODB_URL"] == "mongodb://elsewhere/db"


def test_the_stack_s_own_addresses_in_the_environment_change_nothing():
    """Such as in a shell that has evaluated `foldline local env`."""
    own = settings(FOLDLINE_LOCAL_PORT_OFFSET="2000")
    again = settings(FOLDLINE_LOCAL_PORT_OFFSET="2000", **own.addresses())
    assert again == own


@pytest.mark.parametrize(
    ("name", "address", "is_own"),
    [
        ("kafka", "localhost:9092", True),
        ("kafka", "127.0.0.1:9092,127.0.0.1:9093", False),
        ("elasticsearch", "http://127.0.0.1:9200/", True),
        ("elasticsearch", "http://127.0.0.2:9200", False),
        ("mongodb", "mongodb://127.0.0.1:27017/foldline_read?directConnection=true", True),
        ("mongodb", "mongodb://127.0.0.1:27017/other", False),
        ("clickhouse", "http://default:secret@127.0.0.1:8123/foldline_read", True),
        ("clickhouse", "http://127.0.0.1:8124/foldline_read", False),
    ],
)
def test_an_address_is_the_stack_s_own_by_host_port_and_database(name, address, is_own):
    (variable,) = ADDRESS_VARIABLES[name]
    assert settings(**{variable: address}).is_local(name) == is_own


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://ada:s3:cret@db:5432/write", "postgresql://ada:***@db:5432/write"),
        ("mongodb://ada:s3cret@a:1,b:2/db", "mongodb://ada:***@a:1,b:2/db"),
        ("http://:s3cret@db/x", "http://:***@db/x"),
        ("postgresql://ada@db/write", "postgresql://ada@db/write"),
        ("broker-1:9092,broker-2:9092", "broker-1:9092,broker-2:9092"),
    ],
)
def test_a_given_address_is_shown_without_its_password(address, shown):
    assert without_password(address) == shown


def test_clients_reach_a_wildcard_by_loopback_and_an_interface_by_its_address():
    assert settings(FOLDLINE_LOCAL_BIND="0.0.0.0").host == "127.0.0.1"
    assert settings(FOLDLINE_LOCAL_BIND="10.88.0.1").host == "10.88.0.1"


def test_the_socket_folder_is_short_and_belongs_to_one_directory():
    deep = Path("/srv") / ("a" * 200)
    socket = load({}, directory=deep).runtime / "supervisor.sock"
    assert len(str(socket)) < 100
    assert socket != load({}, directory=deep / "b").runtime / "supervisor.sock"
