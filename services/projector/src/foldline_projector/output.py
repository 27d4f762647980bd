"""Rows for people or for programs: `--output table|json`, the same on every command."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from foldline_contracts import times

F = TypeVar("F", bound=Callable[..., Any])
Row = Mapping[str, Any]
#: Wide enough that a table in a pipe or a log is never folded.
PIPE_WIDTH = 240


@dataclass(frozen=True, slots=True)
class Output:
    """Where rows go and in which form."""

    form: str

    def show(self, rows: Sequence[Row]) -> None:
        """Prints all rows as one table or one JSON array."""
        if self.form == "json":
            click.echo(json.dumps([_plain(row) for row in rows], indent=2))
        else:
            _table(rows)

    def line(self, row: Row) -> None:
        """Prints one row of a stream: a JSON object or tab-separated text a line."""
        if self.form == "json":
            click.echo(json.dumps(_plain(row)))
        else:
            click.echo("\t".join(_text(value) for value in row.values()))


def output_option(command: F) -> F:
    """Adds `--output`; the command gets an `Output`."""
    return click.option(
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        callback=lambda _context, _parameter, value: Output(value),
        help="A table for people, JSON for programs.",
    )(command)


def _table(rows: Sequence[Row]) -> None:
    if not rows:
        click.echo("nothing")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in rows[0]:
        table.add_column(name.upper(), overflow="fold")
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    Console(width=width, highlight=False, markup=False).print(table)


def _plain(row: Row) -> dict[str, Any]:
    return {name: times.to_text(v) if isinstance(v, datetime) else v for name, v in row.items()}


def _text(value: Any) -> str:
    match value:
        case None:
            return "-"
        case datetime():
            return times.to_text(value)
        case str() | int() | float():
            return str(value)
        case _:
            return json.dumps(value)
