"""A keeper without Kafka: it stops soon when told to, and leaves nothing behind with each try."""

import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from support.eventually import eventually

from foldline_command import keeper

FOLDLINE = str(Path(sys.executable).with_name("foldline"))
#: Twice what is promised: the machine may be busy. Kafka's clients would wait for 30 s.
PATIENCE_SECONDS = 10


def closed_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_alive(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return answer.status == 200
    except urllib.error.URLError:
        return False


def test_it_stops_while_kafka_refuses_connections() -> None:
    port = closed_port()
    environ = os.environ | {
        "FOLDLINE_WRITE_DATABASE_URL": f"postgresql://nobody@127.0.0.1:{closed_port()}/none",
        "FOLDLINE_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{closed_port()}",
        "FOLDLINE_METRICS_PORT": str(port),
    }
    command = [FOLDLINE, "outbox", "keep"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE) as process:
        try:
            eventually(lambda: is_alive(port), within=60)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
    assert process.returncode == 0, said


def test_looking_for_a_broker_in_vain_leaves_nothing_behind() -> None:
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        with pytest.raises(OSError, match="refused"):
            keeper.Topics({"bootstrap_servers": [f"127.0.0.1:{closed_port()}"]})
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
