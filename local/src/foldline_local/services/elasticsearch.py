"""Elasticsearch as one node, from the server's own jars and our small launcher.

What the assembly lacks against a packaged server (scripts, reindex, update by query) the search read model does not use.
"""

from foldline_local.artifacts import Layout
from foldline_local.config import LOOPBACK, Settings
from foldline_local.probes import NotReady, http_ok
from foldline_local.program import Program, Service
from foldline_local.services import java

HEAP = "320m"
_OPTIONS = (
    "-Xms320m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # ready in half the time; searches here are small
    "-Dorg.elasticsearch.nativeaccess.enableVectorLibrary=false",
)


def service(settings: Settings, layout: Layout) -> Service:
    """Describe the service for this stack."""
    address = f"{settings.host}:{settings.ports['elasticsearch']}"
    return Service(_program(settings, layout, address), ready=lambda: _ready(address))


def _ready(address: str) -> None:
    health = http_ok(f"http://{address}/_cluster/health").json()
    if health["status"] == "red":
        raise NotReady("some primary shards are not started yet")


def _program(settings: Settings, layout: Layout, address: str) -> Program:
    home, data = layout.elasticsearch, settings.data / "elasticsearch"
    node = {
        "cluster.name": "foldline",
        "discovery.type": "single-node",
        "http.host": settings.bind,
        "http.port": settings.ports["elasticsearch"],
        "transport.host": LOOPBACK,
        "transport.port": settings.ports["elasticsearch_transport"],
        "path.data": data,
        "path.logs": settings.logs / "elasticsearch",
        # One node on a developer's disk: watermarks meant for a cluster would only make indices read-only.
        "cluster.routing.allocation.disk.threshold_enabled": "false",
    }
    return Program(
        name="elasticsearch",
        argv=(
            *java.command(layout, "elasticsearch", HEAP, *_OPTIONS, f"-Des.path.home={home}"),
            *java.class_path(home / "lib/*"),
            "dev.foldline.local.Launcher",
            *(f"{key}={value}" for key, value in node.items()),
        ),
        address=address,
        ports={name: settings.ports[name] for name in ("elasticsearch", "elasticsearch_transport")},
        directories=(data, layout.class_data),
    )
