"""Gunicorn's configuration: `gunicorn -c python:foldline_command.gunicorn foldline_command.wsgi:app`.

Threads, because a command mostly waits for the database; each has a connection of the worker's pool. The
application is loaded in each worker, after the fork, so connections belong to one process.
Metrics of all workers meet in a directory of this run.
"""

import os
import shutil
import sys
import tempfile
from typing import Any

from foldline_command.config import Settings
from foldline_contracts.config import ConfigurationError

_METRICS = "PROMETHEUS_MULTIPROC_DIR"

try:
    _settings = Settings.from_env(os.environ)
except ConfigurationError as error:
    sys.exit(str(error))

bind = _settings.bind
workers = _settings.workers
worker_class = "gthread"
threads = _settings.threads
# A worker's main loop must answer in this time; requests themselves are bounded by their waits.
timeout = 60
graceful_timeout = 35
keepalive = 30
preload_app = False
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
accesslog = None
control_socket_disable = True
_made = _METRICS not in os.environ
if _made:
    os.environ[_METRICS] = tempfile.mkdtemp(prefix="foldline-command-metrics-")


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001
    """Takes a dead worker's gauges out of the metrics."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:  # noqa: ARG001
    """Removes this run's metrics."""
    if _made:
        shutil.rmtree(os.environ[_METRICS], ignore_errors=True)
