"""What a rebuild's commands show while they work: a bar on a terminal, a line now and then elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from foldline_projector.output import Output
from foldline_projector.rebuild.operation import Progress

#: Between two lines where there is no terminal.
LINE_SECONDS = 5.0


class Shown:
    """Where progress goes: standard error, as lines of JSON when that is asked for."""

    def __init__(self, output: Output) -> None:
        self._is_json = output.form == "json"
        self._console = Console(stderr=True, highlight=False)
        self._line_at = 0.0

    def say(self, text: str) -> None:
        """Prints a line for people."""
        if not self._is_json:
            click.echo(text, err=True)

    @contextmanager
    def progress(self) -> Iterator[Callable[[Progress], None]]:
        """Shows a load: a bar for all of it and one for each partition."""
        if self._is_json or not self._console.is_terminal:
            yield self._line
            return
        columns = (
            TextColumn("{task.description:>24}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} {task.fields[note]}"),
        )
        with Bars(*columns, console=self._console) as bars:
            tasks: dict[str, TaskID] = {}
            yield lambda progress: _draw(bars, tasks, progress)

    def _line(self, progress: Progress) -> None:
        is_done = progress.records_processed >= progress.records_total
        if monotonic() < self._line_at and not is_done:
            return
        self._line_at = monotonic() + LINE_SECONDS
        if self._is_json:
            click.echo(msgspec.json.encode(progress).decode(), err=True)
        else:
            click.echo(_summary(progress), err=True)

    @contextmanager
    def counting(self, what: str) -> Iterator[Callable[[int], None]]:
        """Shows a number that changes."""
        last = [0]

        def tell(number: int) -> None:
            last[0] = number
            if monotonic() >= self._line_at:
                self._line_at = monotonic() + LINE_SECONDS
                self.say(f"{number} {what}")

        yield tell
        self.say(f"{last[0]} {what}")


def _summary(progress: Progress) -> str:
    eta = "?" if progress.eta_seconds is None else f"{progress.eta_seconds:.0f}"
    return (
        f"{progress.percent:5.1f} %  {progress.records_processed}/{progress.records_total} events"
        f"  {progress.rate_per_second:.0f}/s  {eta} s left"
    )


def _draw(bars: Bars, tasks: dict[str, TaskID], progress: Progress) -> None:
    eta = "" if progress.eta_seconds is None else f"{progress.eta_seconds:.0f} s left"
    rows = [("all", progress.records_processed, progress.records_total)]
    rows += [(each.partition, each.position, each.target) for each in progress.partitions]
    for name, done, total in rows:
        note = f"{progress.rate_per_second:.0f}/s {eta}" if name == "all" else ""
        if name not in tasks:
            tasks[name] = bars.add_task(name, total=total, note=note)
        bars.update(tasks[name], completed=done, total=total, note=note)
