"""A stack of its own for tests: own ports, own data, gone afterwards.

    with running_stack() as stack:
        stack.urls["FOLDLINE_KAFKA_BOOTSTRAP_SERVERS"]
        stack.kill("connect", signal.SIGKILL)   # supervisord starts it again
        stack.wait_ready("connect")
        stack.stop("kafka"); stack.start("kafka")
    with stack.frozen("postgres"): ...

It runs beside a demo because nothing is shared with one but the installed programs. Addresses that the environment gives
are ignored here: a test must not write into somebody's database.
"""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from foldline_local import applications
from foldline_local.config import DEFAULT_PORTS, LOOPBACK, Settings, load
from foldline_local.errors import LocalError
from foldline_local.ports import is_taken
from foldline_local.stack import Stack

END_SECONDS = 30
POLL_SECONDS = 0.01
#: A signal takes effect a moment after it was sent.
STILL = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
# Keeps every port below 32768, from where the kernel takes the near ends of outgoing connections.
OFFSETS = range(1500, 5700, 100)


@dataclass(frozen=True)
class RunningStack:
    """A stack that is up, with handles for doing it harm."""

    stack: Stack

    @property
    def settings(self) -> Settings:
        """Ports, folders and bind address."""
        return self.stack.settings

    @property
    def urls(self) -> dict[str, str]:
        """The addresses by their variables."""
        return self.settings.addresses()

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment for a process of Foldline on this stack."""
        return applications.environment(self.settings)

    def pid(self, name: str) -> int:
        """The process as it runs now."""
        return int(self.stack.states()[name].pid)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal and return when that process is gone; supervisord then starts another.

        SIGKILL takes the process's children along, as a crash of the machine would: an orphaned worker would go on
        answering on its parent's port.
        """
        process = psutil.Process(self.pid(name))
        family = [process, *(process.children(recursive=True) if number == signal.SIGKILL else ())]
        for member in family:
            member.send_signal(number)
        psutil.wait_procs(family, timeout=END_SECONDS)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """The process and its children stand still for the block. Their kernel still answers TCP for them."""
        process = psutil.Process(self.pid(name))
        process.suspend()
        family = [process, *process.children(recursive=True)]
        try:
            for member in family:
                member.suspend()
            while any(member.status() not in STILL for member in family):
                time.sleep(POLL_SECONDS)
            yield
        finally:
            for member in reversed(family):
                member.resume()

    def stop(self, name: str) -> None:
        """Stop in good order, and keep it stopped."""
        self.stack.stop(name)

    def start(self, name: str) -> None:
        """Start what was stopped, and wait until it serves."""
        self.stack.start(name)

    def wait_ready(self, name: str) -> None:
        """Wait until it serves, over restarts."""
        self.stack.wait_ready(name)


@contextmanager
def running_stack(
    directory: Path | None = None,
    port_offset: int | None = None,
    *,
    services_only: bool = True,
    keep: bool = False,
) -> Iterator[RunningStack]:
    """Bring a stack up, and down again afterwards; its data goes too unless `keep` is set.

    Without a directory it gets a temporary one, without an offset a free set of ports.
    """
    with scratch(directory) as chosen:
        offset = free_offset() if port_offset is None else port_offset
        stack = Stack(isolated(chosen, offset, os.environ), _silent)
        try:
            stack.up(services_only=services_only)
            yield RunningStack(stack)
        finally:
            stack.down(wipe=not keep)


def free_offset() -> int:
    """An offset at which every port is free. Sessions begin their search at different places, so as not to race."""
    begin = os.getpid() % len(OFFSETS)
    offsets: list[int] = [*OFFSETS[begin:], *OFFSETS[:begin]]
    for offset in offsets:
        if not any(is_taken(LOOPBACK, port + offset) for port in DEFAULT_PORTS.values()):
            return offset
    raise LocalError("no free set of ports was found for a test stack")


def isolated(directory: Path, offset: int, environ: Mapping[str, str]) -> Settings:
    """Settings that take nothing of `FOLDLINE_*` from the environment."""
    own = {name: value for name, value in environ.items() if not name.startswith("FOLDLINE_")}
    return load(own, directory=directory, offset=offset)


@contextmanager
def scratch(directory: Path | None = None) -> Iterator[Path]:
    """The given folder, or one that PostgreSQL's account can enter when we run as root."""
    if directory is not None:
        yield directory
        return
    made = Path(tempfile.mkdtemp(prefix="foldline-test-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _silent(name: str, event: str, seconds: float) -> None:
    """Tests have a reporter of their own."""
