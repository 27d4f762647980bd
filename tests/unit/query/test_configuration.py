"""Settings from the environment."""

import pytest

from foldline_contracts.config import ConfigurationError
from foldline_query.config import Settings

URLS = {
    "FOLDLINE_READ_DATABASE_URL": "postgresql://u@h/d",
    "FOLDLINE_MONGODB_URL": "mongodb://h/d",
    "FOLDLINE_CLICKHOUSE_URL": "http://h:8123/d",
    "FOLDLINE_ELASTICSEARCH_URL": "http://h:9200",
}


def test_only_the_stores_must_be_given() -> None:
    settings = Settings.from_env(URLS)
    assert settings.bind == "127.0.0.1:8082"
    assert settings.stale_after_seconds == 10
    assert settings.max_waiters < settings.threads
    assert settings.keep_reads == 200


def test_no_read_need_be_remembered() -> None:
    assert Settings.from_env({**URLS, "FOLDLINE_QUERY_KEEP_READS": "0"}).keep_reads == 0


@pytest.mark.parametrize("name", URLS)
def test_a_missing_store_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Settings.from_env({key: value for key, value in URLS.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FOLDLINE_STALE_AFTER_SECONDS", "0"),
        ("FOLDLINE_MAX_WAITERS", "many"),
        ("FOLDLINE_THREADS", "-1"),
        ("FOLDLINE_WORKERS", "1.5"),
        ("FOLDLINE_STORE_TIMEOUT_SECONDS", "nan"),
        ("FOLDLINE_MAX_WAITERS", "32"),
        ("FOLDLINE_QUERY_KEEP_READS", "-1"),
        ("FOLDLINE_QUERY_KEEP_READS", "201"),
        ("FOLDLINE_QUERY_KEEP_READS", "all"),
    ],
)
def test_a_bad_value_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Settings.from_env({**URLS, name: value})
