"""Settings of one local stack, read once from the environment.

This is the only module here that reads `FOLDLINE_*`. A stack is a directory (its data, logs and generated files) and a
set of ports; two stacks with different directories and port offsets run side by side, which is how the tests run
beside a demo. An address that the environment already names is used as it is, and no local process is started for it,
unless it is the very address that the local service has: a shell that has evaluated `foldline local env` changes nothing.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from foldline_local.errors import LocalError

DEFAULT_PORTS: Mapping[str, int] = {
    "command": 8081,
    "query": 8082,
    "connect": 8083,
    "kafka": 9092,
    "kafka_controller": 9093,
    "postgres": 5432,
    "mongodb": 27017,
    "clickhouse": 8123,
    "elasticsearch": 9200,
    "elasticsearch_transport": 9300,
    "keeper_metrics": 9400,
    "order_summaries_metrics": 9401,
    "order_details_metrics": 9402,
    "order_analytics_metrics": 9403,
    "order_search_metrics": 9404,
}

# The variables that replace a local service; all of a service's must be given to replace it.
ADDRESS_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "postgres": ("FOLDLINE_WRITE_DATABASE_URL", "FOLDLINE_READ_DATABASE_URL"),
    "kafka": ("FOLDLINE_KAFKA_BOOTSTRAP_SERVERS",),
    "connect": ("FOLDLINE_CONNECT_URL",),
    "mongodb": ("FOLDLINE_MONGODB_URL",),
    "clickhouse": ("FOLDLINE_CLICKHOUSE_URL",),
    "elasticsearch": ("FOLDLINE_ELASTICSEARCH_URL",),
}

OFFSET_VARIABLE = "FOLDLINE_LOCAL_PORT_OFFSET"
LOOPBACK = "127.0.0.1"
WILDCARDS = ("0.0.0.0", "::", "*")  # recognised, never a default


@dataclass(frozen=True)
class Settings:
    """Everything that distinguishes one stack from another."""

    directory: Path
    cache: Path
    runtime: Path
    ports: Mapping[str, int]
    bind: str = LOOPBACK
    kafka_external: str | None = None
    given: Mapping[str, str] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """The address at which this machine reaches what listens on `bind`."""
        return _reachable(self.bind)

    @property
    def data(self) -> Path:
        """What `down` keeps and `down --wipe` removes."""
        return self.directory / "data"

    @property
    def logs(self) -> Path:
        """One file per process, with its rotated predecessors."""
        return self.directory / "logs"

    @property
    def run(self) -> Path:
        """Generated configuration: rewritten at every `up`, never edited by hand."""
        return self.directory / "run"

    def is_local(self, service: str) -> bool:
        """Whether this stack runs the service itself rather than using a given address."""
        return not all(name in self.given for name in ADDRESS_VARIABLES.get(service, ("",)))

    def addresses(self) -> dict[str, str]:
        """The environment by which every Foldline process finds the services of this stack."""
        return {**_local_addresses(self.host, self.ports), **self.given}


def load(
    environ: Mapping[str, str], *, directory: Path | None = None, offset: int | None = None
) -> Settings:
    """Read the settings, with `directory` and `offset` overriding the environment when given."""
    chosen = (directory or _directory(environ)).absolute()
    bind = environ.get("FOLDLINE_LOCAL_BIND") or LOOPBACK
    ports = _ports(environ, offset)
    return Settings(
        directory=chosen,
        cache=_cache(environ),
        runtime=_runtime(environ, chosen),
        ports=ports,
        bind=bind,
        kafka_external=_external_listener(environ),
        given=_given(environ, _local_addresses(_reachable(bind), ports)),
    )


def from_environment(*, directory: Path | None = None, offset: int | None = None) -> Settings:
    """The settings of this process's environment."""
    return load(os.environ, directory=directory, offset=offset)


def inherited() -> dict[str, str]:
    """What every child takes over from this process: enough to run, nothing that could change its meaning."""
    kept = (
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TMPDIR",
        "TZ",
        "LD_LIBRARY_PATH",
        "PYTHONPATH",
        "VIRTUAL_ENV",
    )
    return {name: os.environ[name] for name in kept if name in os.environ}


def search_path() -> str:
    """PATH, for looking up programs of the system."""
    return os.environ.get("PATH", os.defpath)


def _directory(environ: Mapping[str, str]) -> Path:
    if given := environ.get("FOLDLINE_LOCAL_DIR"):
        return Path(given).expanduser()
    if os.geteuid() == 0:  # PostgreSQL then runs as another user, who cannot look into root's home
        return Path("/var/lib/foldline")
    return Path(environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "foldline"


def _cache(environ: Mapping[str, str]) -> Path:
    if given := environ.get("XDG_CACHE_HOME"):
        return Path(given).expanduser().absolute() / "foldline"
    return Path("/var/cache/foldline") if os.geteuid() == 0 else Path.home() / ".cache/foldline"


def _runtime(environ: Mapping[str, str], directory: Path) -> Path:
    """A short path of the stack's own: a unix socket's address has only 108 bytes."""
    digest = hashlib.sha256(str(directory).encode()).hexdigest()[:10]
    parent = environ.get("XDG_RUNTIME_DIR")
    if parent and len(parent) <= 40 and os.access(parent, os.W_OK):
        return Path(parent) / f"foldline-{digest}"
    return Path(tempfile.gettempdir()) / f"foldline-{os.geteuid()}-{digest}"


def _ports(environ: Mapping[str, str], offset: int | None) -> dict[str, int]:
    shift = _integer(environ, OFFSET_VARIABLE, 0) if offset is None else offset
    if not 0 < min(DEFAULT_PORTS.values()) + shift <= max(DEFAULT_PORTS.values()) + shift < 65536:
        raise LocalError(f"{OFFSET_VARIABLE} is {shift}, which moves ports out of 1 to 65535")
    ports = {name: _port(environ, name, default + shift) for name, default in DEFAULT_PORTS.items()}
    seen: dict[int, str] = {}
    for name, port in ports.items():
        if port in seen:
            raise LocalError(
                f"port {port} is given to both {seen[port]} and {name}; change {port_variable(name)}"
            )
        seen[port] = name
    return ports


def without_password(address: str) -> str:
    """The address as it may be shown."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", address)


def port_variable(name: str) -> str:
    """The environment variable that moves this port."""
    return f"FOLDLINE_LOCAL_PORT_{name.upper()}"


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    port = _integer(environ, port_variable(name), default)
    if not 0 < port < 65536:
        raise LocalError(
            f"{port_variable(name)} is {port}, which is not a port between 1 and 65535"
        )
    return port


def _integer(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    try:
        return int(text)
    except ValueError:
        raise LocalError(f"{name} is {text!r}, which is not a whole number") from None


def _external_listener(environ: Mapping[str, str]) -> str | None:
    given = environ.get("FOLDLINE_LOCAL_KAFKA_EXTERNAL")
    if not given:
        return None
    host, _, port = given.rpartition(":")
    if not host or not port.isdigit():
        raise LocalError(f"FOLDLINE_LOCAL_KAFKA_EXTERNAL is {given!r}, which is not host:port")
    return given


def _reachable(bind: str) -> str:
    return LOOPBACK if bind in WILDCARDS else bind


def _local_addresses(host: str, ports: Mapping[str, int]) -> dict[str, str]:
    """Where the services of a stack listen when it runs all of them itself."""
    postgres = f"postgresql://foldline@{host}:{ports['postgres']}"
    return {
        "FOLDLINE_WRITE_DATABASE_URL": f"{postgres}/foldline_write",
        "FOLDLINE_READ_DATABASE_URL": f"{postgres}/foldline_read",
        "FOLDLINE_MONGODB_URL": f"mongodb://{host}:{ports['mongodb']}/foldline_read?replicaSet=rs0",
        "FOLDLINE_CLICKHOUSE_URL": f"http://{host}:{ports['clickhouse']}/foldline_read",
        "FOLDLINE_ELASTICSEARCH_URL": f"http://{host}:{ports['elasticsearch']}",
        "FOLDLINE_KAFKA_BOOTSTRAP_SERVERS": f"{host}:{ports['kafka']}",
        "FOLDLINE_CONNECT_URL": f"http://{host}:{ports['connect']}",
    }


def _given(environ: Mapping[str, str], local: Mapping[str, str]) -> dict[str, str]:
    """The addresses that replace local services; half a pair is a mistake rather than a wish."""
    found: dict[str, str] = {}
    for names in ADDRESS_VARIABLES.values():
        values = {
            name: environ[name]
            for name in names
            if environ.get(name) and _place(environ[name]) != _place(local[name])
        }
        if values and len(values) < len(names):
            missing = next(name for name in names if name not in values)
            raise LocalError(
                f"{next(iter(values))} is given but {missing} is not; give both or none"
            )
        found.update(values)
    return found


def _place(address: str) -> tuple[str, ...]:
    """Host with port, and database: what tells one address from another."""
    url = urlsplit(address if "://" in address else f"//{address}")
    place = url.netloc.rpartition("@")[2].lower().replace("localhost", LOOPBACK)
    return place, url.path.strip("/")
