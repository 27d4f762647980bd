"""What a supervised process is, as data.

A service module only describes: it returns a `Service`, and nothing happens until the stack acts on it. So what would be
run can be read and tested without running it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


def nothing() -> None:
    """A step that this service does not need."""


@dataclass(frozen=True)
class Program:
    """One process: how to start it, where it listens, and how to stop it without loss."""

    name: str
    argv: tuple[str, ...]
    address: str
    ports: Mapping[str, int]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)
    directories: tuple[Path, ...] = ()
    links: Mapping[Path, Path] = field(default_factory=dict)
    user: str | None = None
    stop_signal: str = "TERM"
    stop_seconds: int = 30
    ready_seconds: int = 300


@dataclass(frozen=True)
class Service:
    """A program with what surrounds its start.

    `check` raises what stands in the way before any process of the stack exists. `prepare` runs before the process and `provision` once after it is ready; both are idempotent. `ready` returns when
    the service answers a request of its own protocol and raises anything at all while it does not.
    """

    program: Program
    ready: Callable[[], None]
    check: Callable[[], None] = nothing
    prepare: Callable[[], None] = nothing
    provision: Callable[[], None] = nothing
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name by which users and supervisord know it."""
        return self.program.name
