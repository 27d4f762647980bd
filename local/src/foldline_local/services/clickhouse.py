"""ClickHouse: the server when there is one on PATH, its engine behind our HTTP front otherwise.

No package registry serves a present-day server binary, but one carries the engine itself. The front speaks enough of the
server's HTTP interface for the official client; see `foldline_local.clickhouse_front` for its limits.
"""

import shutil
import sys
from pathlib import Path

import httpx

from foldline_local.artifacts import Layout
from foldline_local.config import Settings, inherited, search_path
from foldline_local.probes import PROBE_SECONDS, http_ok
from foldline_local.program import Program, Service

DATABASE = "foldline_read"
_SERVER_CONFIGURATION = """\
<clickhouse>
  <logger><console>1</console><level>warning</level></logger>
  <listen_host>{bind}</listen_host>
  <http_port>{port}</http_port>
  <path>{data}/</path>
  <tmp_path>{data}/tmp/</tmp_path>
  <user_files_path>{data}/user_files/</user_files_path>
  <format_schema_path>{data}/format_schemas/</format_schema_path>
  <max_server_memory_usage>1500000000</max_server_memory_usage>
  <mark_cache_size>67108864</mark_cache_size>
  <users><default><password/><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
  </default></users>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
</clickhouse>
"""


def service(settings: Settings, layout: Layout) -> Service:
    """Describe the service for this stack."""
    del layout  # the engine is an ordinary dependency of this Python
    url = f"http://{settings.host}:{settings.ports['clickhouse']}"
    return Service(_program(settings), ready=lambda: _ready(url), provision=lambda: _provision(url))


def _ready(url: str) -> None:
    http_ok(f"{url}/ping")


def _provision(url: str) -> None:
    statement = f"CREATE DATABASE IF NOT EXISTS {DATABASE}"
    httpx.post(url, content=statement, timeout=10 * PROBE_SECONDS).raise_for_status()


def _program(settings: Settings) -> Program:
    port, data = settings.ports["clickhouse"], settings.data / "clickhouse"
    server = shutil.which("clickhouse", path=search_path())
    configuration = settings.run / "clickhouse.xml"
    files = (
        {configuration: _SERVER_CONFIGURATION.format(bind=settings.bind, port=port, data=data)}
        if server
        else {}
    )
    return Program(
        name="clickhouse",
        argv=_server(server, configuration) if server else _front(settings.bind, port, data),
        address=f"{settings.host}:{port}",
        ports={"clickhouse": port},
        environment=inherited(),
        files=files,
        directories=(data,),
        stop_seconds=60,
    )


def _server(server: str, configuration: Path) -> tuple[str, ...]:
    return server, "server", "--config-file", str(configuration)


def _front(bind: str, port: int, data: Path) -> tuple[str, ...]:
    arguments = ("--bind", bind, "--port", str(port), "--data", str(data))
    return sys.executable, "-m", "foldline_local.clickhouse_front", *arguments
