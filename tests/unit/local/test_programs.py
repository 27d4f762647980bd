import configparser
import shlex
from pathlib import Path

import pytest

from foldline_local import applications
from foldline_local.config import load
from foldline_local.program import Program
from foldline_local.services import NAMES, services
from foldline_local.supervisor import render


def stack(**environ):
    return load({"XDG_CACHE_HOME": "/cache", **environ}, directory=Path("/srv/foldline"))


def program(name, **environ):
    return next(s.program for s in services(stack(**environ)) if s.name == name)


def text_of(found, ending):
    return next(text for path, text in found.files.items() if path.name == ending)


def test_all_six_services_run_here_unless_an_address_is_given():
    assert [s.name for s in services(stack())] == list(NAMES)
    given = stack(FOLDLINE_KAFKA_BOOTSTRAP_SERVERS="k:9092", FOLDLINE_CONNECT_URL="http://c:8083")
    assert [s.name for s in services(given)] == [
        "postgres",
        "mongodb",
        "clickhouse",
        "elasticsearch",
    ]


def test_connect_waits_for_a_local_kafka_only():
    needs = {s.name: s.needs for s in services(stack())}
    assert needs["connect"] == ("kafka",)
    given = {s.name: s for s in services(stack(FOLDLINE_KAFKA_BOOTSTRAP_SERVERS="k:9092"))}
    assert given["connect"].needs == ()
    assert "bootstrap.servers=k:9092" in text_of(given["connect"].program, "connect.properties")


def test_two_stacks_share_no_port_and_no_folder_of_data():
    one = services(stack())
    two = services(load({}, directory=Path("/srv/other"), offset=2000))
    assert not {p for s in one for p in s.program.ports.values()} & {
        p for s in two for p in s.program.ports.values()
    }
    assert not {d for s in one for d in s.program.directories if "data" in d.parts} & {
        d for s in two for d in s.program.directories if "data" in d.parts
    }


def test_kafka_offers_a_second_listener_when_asked():
    plain = text_of(program("kafka"), "kafka.properties")
    assert "EXTERNAL://" not in plain
    external = text_of(
        program("kafka", FOLDLINE_LOCAL_KAFKA_EXTERNAL="10.88.0.1:9094"), "kafka.properties"
    )
    assert (
        "listeners=PLAINTEXT://127.0.0.1:9092,EXTERNAL://10.88.0.1:9094,CONTROLLER://" in external
    )
    assert "advertised.listeners=PLAINTEXT://127.0.0.1:9092,EXTERNAL://10.88.0.1:9094," in external


@pytest.mark.parametrize(
    ("service", "line"),
    [
        ("kafka", "auto.create.topics.enable=false"),
        ("connect", "offset.flush.interval.ms=1000"),
        ("connect", "scheduled.rebalance.max.delay.ms=0"),
        ("connect", "connector.client.config.override.policy=All"),
    ],
)
def test_what_the_guarantees_rest_on_is_configured(service, line):
    assert line in text_of(program(service), f"{service}.properties").splitlines()


def test_supervisord_starts_nothing_by_itself_and_keeps_odd_arguments_whole():
    odd = Program(
        "odd", ("/bin/x", 'a "b" %c', "d e"), "-", {}, {"URL": "http://h/?a=%20"}, user="nobody"
    )
    config = configparser.RawConfigParser()
    config.read_string(render(stack(), [odd], Path("/run/s.sock")))
    section = config["program:odd"]
    assert section["autostart"] == "false"
    assert section["autorestart"] == "true"
    assert section["user"] == "nobody"
    assert shlex.split(section["command"].replace("%%", "%")) == ["/bin/x", 'a "b" %c', "d e"]
    assert section["environment"] == 'URL="http://h/?a=%%20"'


def test_applications_get_the_stack_and_a_port_of_their_own():
    found = {s.name: s.program for s in applications.applications(stack())}
    assert list(found) == list(applications.NAMES)
    assert found["command"].environment["FOLDLINE_BIND"] == "127.0.0.1:8081"
    assert found["keeper"].environment["FOLDLINE_METRICS_PORT"] == "9400"
    ports = [p for program in found.values() for p in program.ports.values()]
    assert len(ports) == len(set(ports)) == 7
    for application in found.values():
        assert stack().addresses().items() <= application.environment.items()
