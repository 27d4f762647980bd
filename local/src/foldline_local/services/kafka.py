"""Kafka 4 in KRaft mode, broker and controller in one process.

A second listener can be added for clients that do not share this machine's loopback, such as pods on a bridge: a broker
tells clients where to connect, so each network needs an address of its own.
"""

import subprocess
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from foldline_local.artifacts import Layout
from foldline_local.config import LOOPBACK, Settings
from foldline_local.errors import LocalError
from foldline_local.output import reason
from foldline_local.probes import kafka_answers
from foldline_local.program import Program, Service
from foldline_local.services import java

HEAP = "512m"
LOG_CONFIGURATION = """\
status = warn
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = OUT
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
logger.connect.name = org.apache.kafka.connect.runtime
logger.connect.level = info
logger.debezium.name = io.debezium
logger.debezium.level = info
"""
_CONFIGURATION = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={loopback}:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners={listeners},CONTROLLER://{loopback}:{controller}
advertised.listeners={advertised},CONTROLLER://{loopback}:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,EXTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
num.partitions=12
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
offsets.retention.minutes=525600
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
num.network.threads=2
num.io.threads=4
num.recovery.threads.per.data.dir=2
log.segment.bytes=268435456
log.cleaner.dedupe.buffer.size=16777216
controlled.shutdown.enable=true
"""


def service(settings: Settings, layout: Layout) -> Service:
    """Describe the service for this stack."""
    host, port = settings.host, settings.ports["kafka"]
    return Service(
        _program(settings, layout),
        prepare=lambda: _format(settings, layout),
        ready=lambda: kafka_answers(host, port),
    )


def _program(settings: Settings, layout: Layout) -> Program:
    ports = {
        "kafka": settings.ports["kafka"],
        "kafka_controller": settings.ports["kafka_controller"],
    }
    options = ("-Xms128m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", _logging(settings))
    return Program(
        name="kafka",
        argv=(
            *java.command(layout, "kafka", HEAP, *options),
            *java.class_path(layout.kafka / "*"),
            "kafka.Kafka",
            str(_properties(settings)),
        ),
        address=f"{settings.host}:{ports['kafka']}",
        ports=ports,
        files={
            _properties(settings): _configuration(settings),
            settings.run / "log4j2.properties": LOG_CONFIGURATION,
        },
        directories=(_data(settings), layout.class_data),
        stop_seconds=60,
    )


def _configuration(settings: Settings) -> str:
    port = settings.ports["kafka"]
    listeners, advertised = (
        [f"PLAINTEXT://{settings.bind}:{port}"],
        [f"PLAINTEXT://{settings.host}:{port}"],
    )
    if settings.kafka_external:
        listeners.append(f"EXTERNAL://{settings.kafka_external}")
        advertised.append(f"EXTERNAL://{settings.kafka_external}")
    return _CONFIGURATION.format(
        listeners=",".join(listeners),
        advertised=",".join(advertised),
        loopback=LOOPBACK,
        controller=settings.ports["kafka_controller"],
        data=_data(settings),
    )


def _properties(settings: Settings) -> Path:
    return settings.run / "kafka.properties"


def _logging(settings: Settings) -> str:
    return f"-Dlog4j2.configurationFile=file:{settings.run / 'log4j2.properties'}"


def _data(settings: Settings) -> Path:
    return settings.data / "kafka"


def _format(settings: Settings, layout: Layout) -> None:
    """Give an empty data folder its cluster identity; a folder that has one is left alone."""
    if (_data(settings) / "meta.properties").exists():
        return
    options = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", _logging(settings))
    identity = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A", 1)
    command = [
        *java.command(layout, "kafka-format", "128m", *options),
        *java.class_path(layout.kafka / "*"),
    ]
    command += [
        "kafka.tools.StorageTool",
        "format",
        "--standalone",
        "-t",
        identity,
        "-c",
        str(_properties(settings)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LocalError(
            f"formatting Kafka's data folder failed: {reason(done.stderr + done.stdout)}"
        )
