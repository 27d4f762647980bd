"""Kafka Connect in distributed mode with Debezium's PostgreSQL connector as its plug-in.

The connector's own configuration belongs to another room and arrives over REST; here stands only the worker. Offsets are
flushed every second, because a watermark can be no fresher than the position that Debezium has confirmed.
"""

from pathlib import Path

from foldline_local.artifacts import Layout
from foldline_local.config import Settings
from foldline_local.probes import http_ok
from foldline_local.program import Program, Service
from foldline_local.services import java
from foldline_local.services.kafka import LOG_CONFIGURATION

HEAP = "512m"
_CONFIGURATION = """\
bootstrap.servers={bootstrap}
group.id=foldline-connect
listeners=http://{bind}:{port}
rest.advertised.host.name={host}
rest.advertised.port={port}
plugin.path={plugins}
plugin.discovery=service_load
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
config.storage.topic=_connect-configs
config.storage.replication.factor=1
offset.storage.topic=_connect-offsets
offset.storage.replication.factor=1
offset.storage.partitions=1
status.storage.topic=_connect-status
status.storage.replication.factor=1
status.storage.partitions=1
offset.flush.interval.ms=1000
scheduled.rebalance.max.delay.ms=0
connector.client.config.override.policy=All
topic.creation.enable=false
"""


def service(settings: Settings, layout: Layout) -> Service:
    """Describe the service for this stack."""
    address = f"{settings.host}:{settings.ports['connect']}"
    needs = ("kafka",) if settings.is_local("kafka") else ()
    return Service(_program(settings, layout, address), ready=lambda: _ready(address), needs=needs)


def _ready(address: str) -> None:
    """The list of connectors is answered only after the worker has read its configuration back from Kafka."""
    http_ok(f"http://{address}/connectors")


def _program(settings: Settings, layout: Layout, address: str) -> Program:
    properties = settings.run / "connect.properties"
    logging = settings.run / "connect-log4j2.properties"
    options = (
        "-Xms128m",
        "-XX:+UseG1GC",
        "-XX:MaxGCPauseMillis=20",
        f"-Dlog4j2.configurationFile=file:{logging}",
    )
    return Program(
        name="connect",
        argv=(
            *java.command(layout, "connect", HEAP, *options),
            *java.class_path(layout.kafka / "*"),
            "org.apache.kafka.connect.cli.ConnectDistributed",
            str(properties),
        ),
        address=address,
        ports={"connect": settings.ports["connect"]},
        files={
            properties: _configuration(settings, _plugins(settings)),
            logging: LOG_CONFIGURATION,
        },
        directories=(layout.class_data,),
        links={_plugins(settings) / "debezium-postgres": layout.debezium},
    )


def _plugins(settings: Settings) -> Path:
    return settings.run / "connect-plugins"


def _configuration(settings: Settings, plugins: Path) -> str:
    return _CONFIGURATION.format(
        bootstrap=settings.addresses()["FOLDLINE_KAFKA_BOOTSTRAP_SERVERS"],
        bind=settings.bind,
        host=settings.host,
        port=settings.ports["connect"],
        plugins=plugins,
    )
