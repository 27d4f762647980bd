"""The command service's settings, read once from the environment at start.

Only this module, the gunicorn configuration and the command line look at the environment.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from foldline_contracts.config import ConfigurationError, Environment, positive_float, positive_int


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that a command process can be told."""

    #: `WRITE_DATABASE_URL`: PostgreSQL with aggregates and outbox, `postgresql://...`.
    write_database_url: str
    #: `BIND`: address to listen on.
    bind: str = "127.0.0.1:8081"
    #: `WORKERS`: processes.
    workers: int = 2
    #: `THREADS`: requests that one process works on at once, each with a connection.
    threads: int = 8
    #: `DATABASE_TIMEOUT_SECONDS`: how long a connection may take before the answer is 503.
    database_timeout_seconds: float = 3.0
    #: `STATEMENT_TIMEOUT_SECONDS`: how long a statement may take before the answer is 503.
    statement_timeout_seconds: float = 10.0
    #: `PROMETHEUS_MULTIPROC_DIR` (no prefix, set by `foldline_command.gunicorn`): where the
    #: processes of one service share their metrics.
    metrics_directory: str | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """The settings in `environ`. Raises ConfigurationError."""
        env = Environment(environ)
        return cls(
            write_database_url=write_database_url(env),
            bind=env.get("BIND", str, "127.0.0.1:8081"),
            workers=env.get("WORKERS", positive_int, 2),
            threads=env.get("THREADS", positive_int, 8),
            database_timeout_seconds=env.get("DATABASE_TIMEOUT_SECONDS", positive_float, 3.0),
            statement_timeout_seconds=env.get("STATEMENT_TIMEOUT_SECONDS", positive_float, 10.0),
            metrics_directory=environ.get("PROMETHEUS_MULTIPROC_DIR") or None,
        )


def write_database_url(env: Environment) -> str:
    """The write database's address. Raises ConfigurationError when it is not PostgreSQL's."""
    url = env.required("WRITE_DATABASE_URL")
    if not url.startswith(("postgresql://", "postgres://")):
        raise ConfigurationError("FOLDLINE_WRITE_DATABASE_URL must begin with postgresql://")
    return url
