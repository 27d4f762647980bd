"""supervisord as the keeper of the processes: it starts, restarts and stops them, and keeps their logs.

Nothing starts by itself (`autostart=false`): the stack decides the order. A process that dies afterwards is restarted by
supervisord alone, whether or not any command of ours is running. We speak to it over a unix socket that only this user
can open.
"""

import configparser
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from foldline_local.config import Settings, inherited
from foldline_local.errors import LocalError
from foldline_local.output import reason
from foldline_local.program import Program

START_SECONDS = 20
LOG_BYTES = 20 * 1024**2
LOG_BACKUPS = 3
ALIVE = ("STARTING", "RUNNING")


@dataclass(frozen=True)
class State:
    """A process as supervisord sees it."""

    name: str
    state: str
    pid: int
    seconds: int

    @property
    def is_alive(self) -> bool:
        """Whether there is a process, starting or started."""
        return self.state in ALIVE


class Supervisor:
    """One stack's supervisord. Every call opens a connection of its own, so threads may share an instance."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._socket = settings.runtime / "supervisor.sock"
        self._configuration = settings.run / "supervisord.conf"

    def log_path(self, name: str) -> Path:
        """Where a program's output goes."""
        return self._settings.logs / f"{name}.log"

    def is_running(self) -> bool:
        """Whether this stack's supervisord answers."""
        try:
            return bool(self._call("getState")["statename"] == "RUNNING")
        except (OSError, Fault):
            return False

    def home(self) -> Path:
        """The installation that runs the stack: its supervisord's environment, or the clone around it."""
        argv = psutil.Process(self._call("getPID")).cmdline()
        return home_of(Path(argv[0]))

    def apply(self, programs: Iterable[Program]) -> None:
        """Make supervisord know exactly these programs. Those that run on unchanged are not disturbed."""
        self._write(render(self._settings, programs, self._socket))
        if not self.is_running():
            self._launch()
            return
        ((added, changed, removed),) = self._call("reloadConfig")
        for name in [*changed, *removed]:
            self.stop(name)
            self._call("removeProcessGroup", name)
        for name in [*added, *changed]:
            self._call("addProcessGroup", name)

    def states(self) -> dict[str, State]:
        """Every known program by name."""
        found: dict[str, State] = {}
        for info in self._call("getAllProcessInfo"):
            seconds = info["now"] - info["start"] if info["pid"] else 0
            found[info["name"]] = State(info["name"], info["statename"], info["pid"], seconds)
        return found

    def start(self, name: str) -> None:
        """Start without waiting; a running process is left alone."""
        self._tolerating(Faults.ALREADY_STARTED, "startProcess", name, False)

    def stop(self, name: str) -> bool:
        """Stop and wait until the process is gone; whether supervisord killed it, its stop time being over."""
        pid = self.states()[name].pid
        self._tolerating(Faults.NOT_RUNNING, "stopProcess", name, True)
        said = self.log_path("supervisord").read_text(errors="replace")
        return f"killing '{name}' ({pid}) with SIGKILL" in said

    def shutdown(self) -> None:
        """End supervisord itself, wait for it, and leave no folder behind."""
        process = self._process()
        self._call("shutdown")
        if process:
            process.wait(timeout=START_SECONDS)
        shutil.rmtree(self._settings.runtime, ignore_errors=True)

    def _process(self) -> psutil.Process | None:
        try:
            return psutil.Process(self._call("getPID"))
        except psutil.NoSuchProcess:
            return None

    def last_line(self, name: str) -> str:
        """The newest line of a program's log that says something."""
        try:
            lines = self.log_path(name).read_text(errors="replace")[-8192:].splitlines()
        except OSError:
            return ""
        spoken = [
            line.strip() for line in lines if line.strip() and not line.startswith(("\t", " "))
        ]
        return spoken[-1][:300] if spoken else ""

    def progress(self, name: str) -> object:
        """Differs from the last time when the program has logged something or had a second of processor time."""
        try:
            log = self.log_path(name).stat()
        except OSError:
            log = None
        return (log.st_ino, log.st_size) if log else None, int(self._processor_seconds(name))

    def _processor_seconds(self, name: str) -> float:
        """What the process and its children have used so far."""
        try:
            process = psutil.Process(self.states()[name].pid)
            family = [process, *process.children(recursive=True)]
            return sum(sum(member.cpu_times()[:2]) for member in family)
        except (psutil.Error, KeyError):
            return 0.0

    def _call(self, method: str, *arguments: object) -> Any:
        """One request over the unix socket; the URL is only what the protocol's library asks for."""
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        with ServerProxy("http://127.0.0.1", transport) as server:
            return getattr(server.supervisor, method)(*arguments)

    def _tolerating(self, fault: int, method: str, *arguments: object) -> None:
        try:
            self._call(method, *arguments)
        except Fault as error:
            if error.faultCode != fault:
                raise

    def _write(self, text: str) -> None:
        self._configuration.parent.mkdir(parents=True, exist_ok=True)
        self._settings.logs.mkdir(parents=True, exist_ok=True)
        self._configuration.write_text(text)
        self._configuration.chmod(0o600)

    def _launch(self) -> None:
        _private_folder(self._settings.runtime)
        self._socket.unlink(missing_ok=True)
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._configuration)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=inherited(), check=False, cwd="/"
        )
        if done.returncode:
            raise LocalError(f"supervisord did not start: {reason(done.stderr or done.stdout)}")
        deadline = time.monotonic() + START_SECONDS
        while not self.is_running():
            if time.monotonic() > deadline:
                raise LocalError(
                    f"supervisord did not answer; its log is {self.log_path('supervisord')}"
                )
            _pause(self._socket)


def home_of(python: Path) -> Path:
    """What a user calls the installation of this Python: the folder around its `.venv`, else its environment."""
    prefix = python.parent.parent
    return prefix.parent if prefix.name == ".venv" else prefix


def _pause(path: Path) -> None:
    """Wait a moment for the socket to be served."""
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(str(path)):
            time.sleep(0.02)


def _private_folder(path: Path) -> None:
    """A folder under a shared parent must be ours, or another user could answer in supervisord's place."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.geteuid():
        raise LocalError(
            f"{path} belongs to another user; set XDG_RUNTIME_DIR or TMPDIR to a folder of your own"
        )
    path.chmod(0o700)


def render(settings: Settings, programs: Iterable[Program], socket_path: Path) -> str:
    """The text of supervisord's configuration."""
    config = configparser.RawConfigParser()
    config["unix_http_server"] = {"file": _literal(str(socket_path)), "chmod": "0700"}
    config["supervisord"] = {
        "logfile": _literal(str(settings.logs / "supervisord.log")),
        "pidfile": _literal(str(settings.runtime / "supervisord.pid")),
        "childlogdir": _literal(str(settings.logs)),
        "minfds": "4096",
        "nocleanup": "true",
        **({"user": "root"} if os.geteuid() == 0 else {}),
    }
    factory = "supervisor.rpcinterface:make_main_rpcinterface"
    config["rpcinterface:supervisor"] = {"supervisor.rpcinterface_factory": factory}
    for program in programs:
        config[f"program:{program.name}"] = _section(settings, program)
    text = StringIO()
    config.write(text)
    return text.getvalue()


def _section(settings: Settings, program: Program) -> dict[str, str]:
    section = {
        "command": " ".join(_quoted(argument) for argument in program.argv),
        "environment": ",".join(
            f"{name}={_quoted(value)}" for name, value in sorted(program.environment.items())
        ),
        "directory": "/",
        "autostart": "false",
        "autorestart": "true",
        "startsecs": "1",
        "startretries": "100",
        "stopsignal": program.stop_signal,
        "stopwaitsecs": str(program.stop_seconds),
        "stopasgroup": "false",
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": _literal(str(settings.logs / f"{program.name}.log")),
        "stdout_logfile_maxbytes": str(LOG_BYTES),
        "stdout_logfile_backups": str(LOG_BACKUPS),
    }
    if program.user:
        section["user"] = program.user
    return section


def _literal(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_literal(escaped)}"'
