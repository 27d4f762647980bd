"""Configuration, commands, metrics and what else surrounds the engine."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from foldline_contracts.config import ConfigurationError
from foldline_projector.cli import events, parked, projections, projector
from foldline_projector.config import Settings
from foldline_projector.engine import crash
from foldline_projector.engine.cache import Cache
from foldline_projector.engine.metrics import GenerationMetrics, Metrics, serve
from foldline_projector.stores.port import Position, TopicPartition

ENVIRON = {
    "FOLDLINE_READ_DATABASE_URL": "postgresql://h/d",
    "FOLDLINE_KAFKA_BOOTSTRAP_SERVERS": "a:1,b:2",
    "HOSTNAME": "order-summaries-3",
}


def test_kafka_has_a_checksum_in_c() -> None:
    """Without it kafka-python reads eight times slower."""
    assert find_spec("crc32c") is not None
    from kafka.record.util import calc_crc32c

    assert calc_crc32c(b"123456789") == 0xE3069283


def test_only_the_stores_own_address_is_required() -> None:
    settings = Settings.from_env(ENVIRON, "postgresql")
    assert settings.store_url == "postgresql://h/d"
    assert settings.kafka == {"bootstrap_servers": ["a:1", "b:2"]}
    with pytest.raises(ConfigurationError, match="FOLDLINE_MONGODB_URL is not set"):
        Settings.from_env(ENVIRON, "mongodb")


@pytest.mark.parametrize(
    ("more", "ordinal"),
    [({}, 3), ({"FOLDLINE_PROJECTOR_ORDINAL": "7"}, 7), ({"HOSTNAME": "laptop"}, 0)],
)
def test_the_ordinal_is_given_or_ends_the_host_name(more: Mapping[str, str], ordinal: int) -> None:
    assert Settings.from_env({**ENVIRON, **more}, "postgresql").ordinal == ordinal


@pytest.mark.parametrize(
    "name",
    ["PROJECTOR_ORDINAL", "PROJECTOR_SESSION_TIMEOUT_SECONDS", "METRICS_PORT"],
)
def test_a_bad_value_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"FOLDLINE_{name}"):
        Settings.from_env({**ENVIRON, f"FOLDLINE_{name}": "-1"}, "postgresql")


def run(command: object, *words: str, environ: Mapping[str, str] | None = None) -> tuple[int, str]:
    environ = dict.fromkeys(ENVIRON) | dict(environ or {})  # type: ignore[assignment]
    result = CliRunner().invoke(command, words, env=environ)  # type: ignore[arg-type]
    return result.exit_code, result.output


def test_projections_are_listed_for_people_and_programs() -> None:
    status, text = run(projections, "list")
    assert status == 0
    assert "order-summaries" in text
    assert "PROJECTION" in text
    status, text = run(projections, "list", "--output", "json")
    assert status == 0
    assert [row["store"] for row in json.loads(text) if row["projection"] == "order-details"] == [
        "mongodb"
    ]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (projector, ["run", "nothing"]),
        (projector, ["run", "order-summaries"]),
        (projector, ["run", "order-summaries", "--generation", "0"]),
        (projections, ["show", "nothing"]),
        (projections, ["show", "order-summaries"]),
        (parked, ["list", "order-summaries"]),
        (parked, ["show", "nothing", "o1"]),
        (events, ["show", "nothing", "o1"]),
        (events, ["tail", "orders"]),
    ],
)
def test_wrong_usage_and_configuration_end_with_2(command: object, words: list[str]) -> None:
    status, text = run(command, *words)
    assert status == 2
    assert "Traceback" not in text


def test_an_error_is_one_line() -> None:
    _, text = run(projector, "run", "nothing")
    assert text.splitlines() == [
        "Error: there is no projection 'nothing'; there are: "
        "order-analytics, order-details, order-search, order-summaries"
    ]


def test_a_crash_plan_names_a_known_point() -> None:
    with pytest.raises(ValueError, match="must be one of"):
        crash.arm("somewhere")
    with pytest.raises(ValueError, match="0 is not a number of times"):
        crash.arm("before_save:0")
    crash.reach("before_save")


def test_the_cache_is_bounded_and_keeps_what_was_used() -> None:
    cache: Cache[int] = Cache(2)
    cache.put({"a": 1, "b": 2})
    assert cache.pick(["a"]) == {"a": 1}
    cache.put({"c": 3})
    assert cache.pick(["a", "b", "c"]) == {"a": 1, "c": 3}
    cache.clear()
    assert len(cache) == 0


T = datetime(2026, 3, 1, tzinfo=UTC)
AT = TopicPartition("order-events", 4)


def metrics() -> GenerationMetrics:
    return GenerationMetrics(Metrics(), "order-summaries", 2, lambda: T + timedelta(seconds=30))


def sample(of: GenerationMetrics, name: str, **labels: str) -> float | None:
    return of.metrics.registry.get_sample_value(f"foldline_projection_{name}", labels)


def test_lag_is_told_by_the_databases_clock() -> None:
    known = metrics()
    known.show({AT: Position(offset=3, end=8, oldest_recorded_at=T)}, parked=2)
    labels = {
        "projection": "order-summaries",
        "generation": "2",
        "topic": "order-events",
        "partition": "4",
    }
    assert sample(known, "lag_records", **labels) == 5
    assert sample(known, "lag_seconds", **labels) == 30
    assert sample(known, "position", **labels) == 3
    owner = {"projection": "order-summaries", "generation": "2"}
    assert sample(known, "parked_aggregates", **owner) == 2
    known.close()
    assert sample(known, "lag_records", **labels) is None


def test_generations_of_one_process_are_told_apart() -> None:
    known = metrics()
    other = GenerationMetrics(known.metrics, "order-summaries", 3, lambda: T)
    known.count({"applied": 3})
    other.count({"applied": 4})
    for generation, applied in (("2", 3), ("3", 4)):
        owner = {"projection": "order-summaries", "generation": generation}
        assert sample(known, "events_total", outcome="applied", **owner) == applied


def test_events_and_seconds_are_counted() -> None:
    known = metrics()
    known.count({"applied": 3, "duplicate": 1})
    known.add_busy(0.5)
    with known.step("fold"):
        pass
    name = {"projection": "order-summaries", "generation": "2"}
    assert sample(known, "events_total", outcome="applied", **name) == 3
    assert sample(known, "events_total", outcome="gap", **name) == 0
    assert sample(known, "busy_seconds_total", **name) == 0.5
    assert sample(known, "batch_seconds_count", step="fold", **name) == 1


def fetch(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_is_served_beside_the_metrics() -> None:
    is_ready = [False]
    server = serve(("127.0.0.1", 0), metrics().metrics.registry, lambda: is_ready[0])
    try:
        port = server.server_address[1]
        assert fetch(port, "/healthz")[0] == 200
        assert fetch(port, "/readyz")[0] == 503
        is_ready[0] = True
        assert fetch(port, "/readyz")[0] == 200
        assert "foldline_projection_events_total" in fetch(port, "/metrics")[1]
        assert fetch(port, "/elsewhere")[0] == 404
    finally:
        server.shutdown()
        server.server_close()


def test_a_taken_port_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            serve(taken.getsockname(), metrics().metrics.registry, lambda: True)


def test_every_variable_metric_and_crash_point_is_documented() -> None:
    root = Path(__file__).parents[3]
    text = (root / "docs/projector.md").read_text()
    source = (root / "services/projector/src/foldline_projector/config.py").read_text()
    variables = {
        word
        for word in source.replace("`", " ").replace("=", " ").split()
        if word.startswith("FOLDLINE_")
    }
    names = {word.rstrip(".,:;*") for word in variables} - {"FOLDLINE_KAFKA_", "FOLDLINE_"}
    families = {family.name for family in metrics().metrics.registry.collect()}
    for name in [*names, *families, *crash.POINTS]:
        assert name in text, f"{name} is not in docs/projector.md"
