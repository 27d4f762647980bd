"""The stack as a whole: up in order of readiness, down in reverse, and never half of either.

`up` first asks everything that can be known before a process exists: platform, disk, ports. Then each service starts as
soon as those that it needs are ready, so what can start together does. If one fails, what this call started is stopped
again and the error says which one, why, and where its log is. Only a readiness check ends a wait.
"""

import fcntl
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from foldline_local import applications
from foldline_local.artifacts import Layout, install, require_space
from foldline_local.config import Settings, port_variable
from foldline_local.errors import LocalError
from foldline_local.output import reason
from foldline_local.patience import Patience
from foldline_local.ports import Wanted, require_free
from foldline_local.program import Program, Service
from foldline_local.services import services
from foldline_local.supervisor import State, Supervisor, home_of

Report = Callable[[str, str, float], None]
POLL_SECONDS = 0.05
PREPARATION_SECONDS = 600  # each of them has a patience of its own, which says more


class Stack:
    """One stack of a settings' directory and ports."""

    def __init__(self, settings: Settings, report: Report) -> None:
        self.settings = settings
        self.supervisor = Supervisor(settings)
        self._report = report

    def up(self, *, services_only: bool = False) -> None:
        """Bring up what is not up yet. Calling it again is harmless."""
        with self._exclusive():
            if home := self.foreign_home():
                raise LocalError(
                    f"a stack from {home} runs in {self.settings.directory}; stop it there (make down) or set "
                    "FOLDLINE_LOCAL_DIR and FOLDLINE_LOCAL_PORT_OFFSET"
                )
            install(Layout(self.settings.cache), self._report)
            backing = services(self.settings)
            front = [] if services_only else applications.applications(self.settings)
            self._preflight([*backing, *front])
            self._start_all(backing, front)

    def down(self, *, wipe: bool = False) -> None:
        """Stop everything, last started first; with `wipe`, forget its data and logs too."""
        with self._exclusive():
            if self.supervisor.is_running():
                if home := self.foreign_home():
                    self._report("stack", f"runs from {home}", 0.0)
                self._stop_all()
            else:
                self._report("stack", "is not running", 0.0)
            if wipe:
                for folder in (self.settings.data, self.settings.logs, self.settings.run):
                    shutil.rmtree(folder, ignore_errors=True)
                self._report("stack", f"removed the data in {self.settings.directory}", 0.0)

    def states(self) -> dict[str, State]:
        """Every process of this stack that supervisord knows; none when it is not running."""
        return self.supervisor.states() if self.supervisor.is_running() else {}

    def foreign_home(self) -> Path | None:
        """The other installation from which a stack runs in this directory; None when it is ours, or nobody's."""
        if not self.supervisor.is_running():
            return None
        home = self.supervisor.home()
        return None if home == home_of(Path(sys.executable)) else home

    def known(self) -> list[Service]:
        """Every process that this stack may run, in starting order."""
        return [*services(self.settings), *applications.applications(self.settings)]

    def wait_ready(self, name: str) -> None:
        """Wait until the named process serves, over as many restarts as it takes."""
        Start(self.supervisor, self._service(name), self._report, restarts=True).await_ready()

    def start(self, name: str) -> None:
        """Start one process of a running stack again and wait until it serves."""
        self.supervisor.start(self._service(name).name)
        self.wait_ready(name)

    def stop(self, name: str) -> None:
        """Stop one process of a running stack; it stays stopped until it is started."""
        self.supervisor.stop(self._service(name).name)

    def _service(self, name: str) -> Service:
        for service in self.known():
            if service.name == name:
                return service
        raise LocalError(
            f"{name} is not a process of this stack; there are {', '.join(self._names())}"
        )

    def _names(self) -> list[str]:
        return [service.name for service in self.known()]

    def _preflight(self, wanted: list[Service]) -> None:
        require_space(self.settings.directory)
        for service in wanted:
            service.check()
        alive = {name for name, state in self.states().items() if state.is_alive}
        ports = (
            port
            for service in wanted
            if service.name not in alive
            for port in self._ports(service.program)
        )
        require_free(ports)

    def _ports(self, program: Program) -> Iterator[Wanted]:
        for name, port in program.ports.items():
            host = (
                "127.0.0.1"
                if name in ("kafka_controller", "elasticsearch_transport")
                else self.settings.bind
            )
            yield Wanted(host, port, program.name, port_variable(name))

    def _start_all(self, backing: list[Service], front: list[Service]) -> None:
        before = set(self.states())
        running = {name for name, state in self.states().items() if state.is_alive}
        kept = [service.program for service in self.known() if service.name in before]
        programs = {program.name: program for program in kept}
        programs |= {service.name: service.program for service in [*backing, *front]}
        for program in programs.values():
            _materialise(program)
        self.supervisor.apply(programs.values())
        try:
            self._start(backing)
            if front:
                self._prepare_applications()
                self._start(front)
        except BaseException:
            self._undo(running)
            raise

    def _start(self, group: list[Service]) -> None:
        """Start a group, each member once its needs are met; the first failure ends it."""
        ready = {service.name: threading.Event() for service in group}
        broken = threading.Event()

        def bring(service: Service) -> None:
            for need in service.needs:
                _await(ready[need], broken)
            if broken.is_set():
                return
            self._start_one(service, broken)
            ready[service.name].set()

        with ThreadPoolExecutor(max(1, len(group))) as pool:
            pending: set[Future[None]] = {pool.submit(bring, service) for service in group}
            try:
                _finish(pending)
            except BaseException:
                broken.set()
                raise

    def _start_one(self, service: Service, broken: threading.Event) -> None:
        started = time.monotonic()
        state = self.states().get(service.name)
        start = Start(self.supervisor, service, self._report, broken)
        if state and state.is_alive:
            start.await_ready()
            self._report(
                service.name, f"already up on {service.program.address}", time.monotonic() - started
            )
            return
        service.prepare()
        self.supervisor.start(service.name)
        start.await_ready()
        self._report(
            service.name, f"ready on {service.program.address}", time.monotonic() - started
        )

    def _prepare_applications(self) -> None:
        for argv in applications.PREPARATIONS:
            started = time.monotonic()
            _run_once(argv, applications.environment(self.settings))
            self._report("foldline", " ".join(argv[1:]), time.monotonic() - started)

    def _undo(self, running: set[str]) -> None:
        """Stop what this call started; what ran before it goes on."""
        for name in reversed(self._names()):
            if name in self.states() and name not in running:
                self.supervisor.stop(name)
        if not running:
            self.supervisor.shutdown()

    def _stop_all(self) -> None:
        """Applications first, then Connect, then the rest at once: nothing loses what it still writes to."""
        alive = [name for name, state in self.states().items() if state.state != "STOPPED"]
        front = [name for name in alive if name in applications.NAMES]
        backing = [name for name in alive if name not in front and name != "connect"]
        for group in (front, [name for name in alive if name == "connect"], backing):
            with ThreadPoolExecutor(max(1, len(group))) as pool:
                list(pool.map(self._stop_one, group))
        self.supervisor.shutdown()

    def _stop_one(self, name: str) -> None:
        started = time.monotonic()
        self.supervisor.stop(name)
        self._report(name, "stopped", time.monotonic() - started)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Two commands on one stack at once would undo each other's work; the second is told so."""
        try:
            self.settings.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            handle = (self.settings.directory / ".lock").open("w")
        except OSError as error:
            raise LocalError(
                f"cannot write to {self.settings.directory}: {error.strerror}"
            ) from error
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LocalError(
                    f"another command is at work on {self.settings.directory}"
                ) from None
            yield


class Start:
    """The wait for one process: it ends with an answer, with the process's death, or when it stopped moving."""

    def __init__(
        self,
        supervisor: Supervisor,
        service: Service,
        report: Report,
        broken: threading.Event | None = None,
        restarts: bool = False,
    ) -> None:
        self._supervisor = supervisor
        self._service = service
        self._report = report
        self._broken = broken or threading.Event()
        self._restarts = restarts
        self._pid = 0

    def await_ready(self) -> None:
        """Return when the process serves; otherwise raise one line that says why it does not."""
        program = self._service.program
        patience = Patience(program.ready_seconds, lambda: self._supervisor.progress(program.name))
        while (reason := self._attempt()) is not None:
            if not self._restarts:
                self._require_alive()
            if self._broken.is_set():
                raise LocalError(f"{program.name} was given up, because another process failed")
            if patience.is_over():
                raise self._failure(f"is not ready after {patience.seconds:.0f} s ({reason})")
            if patience.has_news():
                self._report(program.name, "is still starting", patience.seconds)
            time.sleep(POLL_SECONDS)

    def _attempt(self) -> str | None:
        try:
            self._service.ready()
            self._service.provision()
        except (
            Exception
        ) as error:  # any failure means "not yet"; patience decides when it means more
            return (str(error) or type(error).__name__).splitlines()[0]
        return None

    def _require_alive(self) -> None:
        """A process that supervisord had to start twice has failed, even if it is running just now."""
        state = self._supervisor.states()[self._service.name]
        if state.state not in ("STARTING", "RUNNING") or (self._pid and state.pid != self._pid):
            raise self._failure("ended while starting")
        self._pid = state.pid

    def _failure(self, what: str) -> LocalError:
        name = self._service.name
        said = self._supervisor.last_line(name) or "nothing"
        return LocalError(
            f"{name} {what}; log {self._supervisor.log_path(name)}, last line: {said}"
        )


def _await(event: threading.Event, broken: threading.Event) -> None:
    while not event.wait(POLL_SECONDS) and not broken.is_set():
        pass


def _finish(pending: set[Future[None]]) -> None:
    """Wait for all, but raise the first failure as soon as it is there."""
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()


def _materialise(program: Program) -> None:
    """Write the files that the program reads at its start."""
    folders = [*program.directories, *(path.parent for path in [*program.files, *program.links])]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for path, text in program.files.items():
        path.write_text(text)
    for path, target in program.links.items():
        path.unlink(missing_ok=True)
        path.symlink_to(target)


def _run_once(argv: tuple[str, ...], environment: dict[str, str]) -> None:
    said = " ".join(argv)
    try:
        done = subprocess.run(
            applications.command_line(argv),
            env=environment,
            capture_output=True,
            text=True,
            timeout=PREPARATION_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise LocalError(
            f"`{said}` cannot run: {argv[0]} is not installed in this Python"
        ) from None
    except subprocess.TimeoutExpired:
        raise LocalError(f"`{said}` took longer than {PREPARATION_SECONDS} s") from None
    if done.returncode:
        raise LocalError(f"`{said}` failed: {reason(done.stderr or done.stdout)}")
