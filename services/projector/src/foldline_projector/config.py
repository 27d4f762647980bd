"""Settings of a projector process, read once from the environment."""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foldline_contracts.config import Environment, positive_float, positive_int
from foldline_contracts.kafka_security import kafka_client_settings
from foldline_contracts.readmodels import StoreName

#: The variable, without prefix, that holds the address of a store.
STORE_VARIABLES: dict[StoreName, str] = {
    "postgresql": "READ_DATABASE_URL",
    "mongodb": "MONGODB_URL",
    "clickhouse": "CLICKHOUSE_URL",
    "elasticsearch": "ELASTICSEARCH_URL",
}
_ORDINAL = re.compile(r"-(\d+)$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a projector of one store needs to know."""

    #: Address of the projection's own store: `FOLDLINE_READ_DATABASE_URL`, `FOLDLINE_MONGODB_URL`,
    #: `FOLDLINE_CLICKHOUSE_URL` or `FOLDLINE_ELASTICSEARCH_URL`.
    store_url: str
    #: `FOLDLINE_KAFKA_*`: arguments of every Kafka client.
    kafka: Mapping[str, Any]
    #: `FOLDLINE_PROJECTOR_ORDINAL`: names the static group member; by default the number at the end
    #: of the host name, as a StatefulSet gives it, or 0.
    ordinal: int
    #: `FOLDLINE_PROJECTOR_SESSION_TIMEOUT_SECONDS`: after so long without heartbeats Kafka gives the
    #: partitions away.
    session_timeout: float
    #: `FOLDLINE_PROJECTOR_MAX_POLL_RECORDS`: the largest batch.
    max_poll_records: int
    #: `FOLDLINE_PROJECTOR_CACHE_DOCUMENTS`: bound of the write-through cache.
    cache_documents: int
    #: `FOLDLINE_METRICS_PORT`: serves `/metrics`, `/healthz` and `/readyz`; not served when unset.
    metrics_port: int | None
    #: `FOLDLINE_METRICS_BIND`: address to listen on.
    metrics_bind: str
    #: `FOLDLINE_CRASH_AT`: for crash tests only, see `engine.crash`.
    crash_at: str | None

    @classmethod
    def from_env(cls, environ: Mapping[str, str], store: StoreName) -> "Settings":
        """The settings for a projection of `store`. Raises ConfigurationError."""
        env = Environment(environ)
        return cls(
            store_url=env.required(STORE_VARIABLES[store]),
            kafka=kafka_client_settings(env),
            ordinal=env.get("PROJECTOR_ORDINAL", _ordinal, _ordinal_of_host(environ)),
            session_timeout=env.get("PROJECTOR_SESSION_TIMEOUT_SECONDS", positive_float, 10.0),
            max_poll_records=env.get("PROJECTOR_MAX_POLL_RECORDS", positive_int, 5_000),
            cache_documents=env.get("PROJECTOR_CACHE_DOCUMENTS", positive_int, 20_000),
            metrics_port=env.get("METRICS_PORT", positive_int, None),
            metrics_bind=env.text("METRICS_BIND") or "127.0.0.1",
            crash_at=env.text("CRASH_AT"),
        )


def kafka_settings(environ: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of a Kafka client alone. Raises ConfigurationError."""
    return kafka_client_settings(Environment(environ))


def store_url(environ: Mapping[str, str], store: StoreName) -> str:
    """The address of a store alone. Raises ConfigurationError."""
    return Environment(environ).required(STORE_VARIABLES[store])


def _ordinal(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError("must not be below 0")
    return number


def _ordinal_of_host(environ: Mapping[str, str]) -> int:
    match = _ORDINAL.search(environ.get("HOSTNAME") or socket.gethostname())
    return 0 if match is None else int(match[1])
