"""Who holds a port: asked before anything starts, so that nothing is left half-started."""

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from foldline_local.config import OFFSET_VARIABLE
from foldline_local.errors import LocalError

COMMAND_CHARACTERS = 60
SHOWN = 3


@dataclass(frozen=True)
class Wanted:
    """A port that a process of the stack is about to listen on."""

    host: str
    port: int
    program: str
    variable: str


def require_free(wanted: Iterable[Wanted]) -> None:
    """Raise one line that names the first taken ports with their owners and how to move them, or return."""
    taken = [want for want in wanted if is_taken(want.host, want.port)]
    if not taken:
        return
    said = "; ".join(describe(want) for want in taken[:SHOWN])
    more = f"; and {len(taken) - SHOWN} more" if len(taken) > SHOWN else ""
    remedy = OFFSET_VARIABLE if len(taken) > 1 else f"{taken[0].variable} or {OFFSET_VARIABLE}"
    raise LocalError(f"{said}{more}; set {remedy} to move {'them' if taken[1:] else 'it'}")


def is_taken(host: str, port: int) -> bool:
    """Whether listening there would fail. Lingering connections of an earlier process do not count."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            return _means_taken(error, host, port)
    return False


def _means_taken(error: OSError, host: str, port: int) -> bool:
    if error.errno == errno.EADDRINUSE:
        return True
    raise LocalError(f"cannot listen on {host}:{port}: {error.strerror}") from error


def describe(want: Wanted) -> str:
    """One clause: the port, who wants it, and who has it."""
    return f"port {want.port} for {want.program} is taken by {owner(want.port)}"


def owner(port: int) -> str:
    """The process that holds the port, as `pid 12 (command line)`.

    A listener first; without one, it is the near end of somebody's connection. Another user's process may hide from us.
    """
    held = [
        found for found in psutil.net_connections("tcp") if found.laddr and found.laddr[1] == port
    ]
    held.sort(key=lambda found: found.status != psutil.CONN_LISTEN)
    return _process(held[0].pid) if held else "an unknown process"


def _process(pid: int | None) -> str:
    if pid is None:
        return "a process of another user"
    try:
        program, *arguments = psutil.Process(pid).cmdline() or ["unknown command"]
    except psutil.Error:
        return f"pid {pid}"
    command = " ".join([Path(program).name, *arguments])
    return f"pid {pid} ({command[:COMMAND_CHARACTERS]})"
