"""A real supervisord with a process that needs no service."""

import re
import sys
from pathlib import Path

import pytest
from support.eventually import eventually

from foldline_local.config import load
from foldline_local.program import Program
from foldline_local.stack import Stack
from foldline_local.supervisor import Supervisor, home_of

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
WILLING = "import time; print('here', flush=True); time.sleep(600)"


@pytest.fixture
def settings(tmp_path):
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    return load({"XDG_RUNTIME_DIR": str(runtime)}, directory=tmp_path / "stack")


@pytest.fixture
def start(settings):
    supervisor = Supervisor(settings)

    def run(code, **given):
        program = Program("one", (sys.executable, "-c", code), "127.0.0.1:1", {}, **given)
        supervisor.apply([program])
        supervisor.start("one")
        eventually(lambda: supervisor.last_line("one"), within=30)
        return supervisor

    yield run
    if supervisor.is_running():
        supervisor.shutdown()


@pytest.mark.parametrize(
    ("code", "said"), [(STUBBORN, r"one killed after \d s"), (WILLING, "one stopped")]
)
def test_down_tells_a_process_that_was_killed_from_one_that_ended(settings, start, code, said):
    start(code, stop_seconds=1)
    reported = []
    Stack(settings, lambda name, event, _: reported.append(f"{name} {event}")).down()
    (line,) = reported
    assert re.fullmatch(said, line)


def test_a_stack_knows_the_installation_that_runs_it(start):
    assert start(WILLING).home() == home_of(Path(sys.executable))


def test_progress_is_what_a_process_logs_or_computes(start):
    supervisor = start(WILLING)
    assert supervisor.progress("one") == supervisor.progress("one")
    before = supervisor.progress("one")
    with supervisor.log_path("one").open("a") as log:
        log.write("more\n")
    assert supervisor.progress("one") != before
