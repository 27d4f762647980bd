"""The query service's settings, read once from the environment at start.

Only this module and the gunicorn configuration look at the environment. Whatever is missing or
bad stops the start with one line that names the variable.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from foldline_contracts.config import (
    PREFIX,
    ConfigurationError,
    Environment,
    positive_float,
    positive_int,
)

MAX_KEPT_READS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that a query process can be told."""

    #: `READ_DATABASE_URL`: PostgreSQL with the read models, `postgresql://...`.
    read_database_url: str
    #: `MONGODB_URL`: `mongodb://.../<database>`.
    mongodb_url: str
    #: `CLICKHOUSE_URL`: `http(s)://[user:password@]host:port/<database>`.
    clickhouse_url: str
    #: `ELASTICSEARCH_URL`: `http(s)://[user:password@]host:port`.
    elasticsearch_url: str
    #: `BIND`: address to listen on.
    bind: str = "127.0.0.1:8082"
    #: `STALE_AFTER_SECONDS`: an `asOf` older than this is stale.
    stale_after_seconds: float = 10.0
    #: `WORKERS`: processes.
    workers: int = 2
    #: `THREADS`: requests that one process works on at once.
    threads: int = 32
    #: `MAX_WAITERS`: requests of one process that may wait for a token at once.
    max_waiters: int = 16
    #: `STORE_TIMEOUT_SECONDS`: how long a store may take before the answer is 503.
    store_timeout_seconds: float = 5.0
    #: `QUERY_KEEP_READS`: paths that each process remembers of each read model; 0 remembers none.
    keep_reads: int = 200
    #: `PROMETHEUS_MULTIPROC_DIR` (no prefix, set by `foldline_query.gunicorn`): where the processes
    #: of one service share their metrics.
    metrics_directory: str | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """The settings in `environ`. Raises ConfigurationError."""
        env = Environment(environ)
        settings = cls(
            read_database_url=env.required("READ_DATABASE_URL"),
            mongodb_url=env.required("MONGODB_URL"),
            clickhouse_url=env.required("CLICKHOUSE_URL"),
            elasticsearch_url=env.required("ELASTICSEARCH_URL"),
            bind=env.get("BIND", str, "127.0.0.1:8082"),
            stale_after_seconds=env.get("STALE_AFTER_SECONDS", positive_float, 10.0),
            workers=env.get("WORKERS", positive_int, 2),
            threads=env.get("THREADS", positive_int, 32),
            max_waiters=env.get("MAX_WAITERS", positive_int, 16),
            store_timeout_seconds=env.get("STORE_TIMEOUT_SECONDS", positive_float, 5.0),
            keep_reads=env.get("QUERY_KEEP_READS", _kept, 200),
            metrics_directory=environ.get("PROMETHEUS_MULTIPROC_DIR") or None,
        )
        settings._check_waiters()
        return settings

    def _check_waiters(self) -> None:
        """A waiting request occupies its thread; some must stay free for requests that do not wait."""
        if self.max_waiters >= self.threads:
            raise ConfigurationError(
                f"{PREFIX}MAX_WAITERS={self.max_waiters} must be below "
                f"{PREFIX}THREADS={self.threads}"
            )


def _kept(text: str) -> int:
    number = int(text)
    if not 0 <= number <= MAX_KEPT_READS:
        raise ValueError(f"must be 0 to {MAX_KEPT_READS}")
    return number
