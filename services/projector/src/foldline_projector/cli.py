"""The projector room's commands: run a projector, look at projections, parked events and topics.

They print tables for people and JSON for programs, errors are one line on standard error, and the
exit status is 0 when done, 1 when it failed, 2 when the call or the configuration is wrong.
"""

import os
from typing import Any

import click

from foldline_contracts.aggregates import aggregate_kinds
from foldline_projector.command_line import Usage, one_line_errors, the_projection
from foldline_projector.inspection import (
    events_of,
    following,
    parked_aggregates,
    parked_records,
    partitions_of,
)
from foldline_projector.output import Output, output_option
from foldline_projector.projection import projections as installed

generation_option = click.option(
    "--generation",
    type=click.IntRange(min=1),
    help="Which generation of the read model; by default the one that readers read.",
)


@click.group()
def projector() -> None:
    """Fold events into read models."""


@projector.command("run")
@click.argument("name")
@click.option(
    "--generation",
    type=click.IntRange(min=1),
    help="Pin this process to one generation; by default it follows all that its code may write.",
)
def run_(name: str, generation: int | None) -> None:
    """Run the projector of one projection until it is told to stop."""
    from foldline_projector.engine.generations import FoldVersionMismatch, NoSuchGeneration
    from foldline_projector.fleet import NotStarted
    from foldline_projector.main import run

    with one_line_errors():
        try:
            run(the_projection(name), generation, os.environ)
        except (NotStarted, FoldVersionMismatch, NoSuchGeneration) as error:
            raise click.ClickException(str(error)) from error


@click.group()
def projections() -> None:
    """Look at the projections."""


@projections.command("list")
@output_option
def list_(output: Output) -> None:
    """List the installed projections."""
    rows = [
        {
            "projection": name,
            "store": each.read_model.store,
            "topics": ", ".join(each.read_model.topics),
            "foldVersion": each.fold_version,
        }
        for name, each in sorted(installed().items())
    ]
    output.show(rows)


@projections.command("show")
@click.argument("name")
@generation_option
@output_option
def show(name: str, generation: int | None, output: Output) -> None:
    """Show position, lag and watermark of each partition, from the projection's own store."""
    with one_line_errors():
        output.show(partitions_of(the_projection(name), generation, os.environ))


@click.group()
def parked() -> None:
    """Look at events that were set aside."""


@parked.command("list")
@click.argument("name", required=False)
@generation_option
@output_option
def parked_list(name: str | None, generation: int | None, output: Output) -> None:
    """List parked aggregates of one projection, or of all of them."""
    names = sorted(installed()) if name is None else [name]
    rows: list[dict[str, Any]] = []
    with one_line_errors():
        for each in names:
            rows += parked_aggregates(the_projection(each), generation, os.environ)
    output.show(rows)


@parked.command("show")
@click.argument("name")
@click.argument("aggregate_id")
@generation_option
@output_option
def parked_show(name: str, aggregate_id: str, generation: int | None, output: Output) -> None:
    """Show the parked events of one aggregate, in order."""
    with one_line_errors():
        rows = parked_records(the_projection(name), generation, aggregate_id, os.environ)
    if not rows:
        raise click.ClickException(f"nothing of {aggregate_id} is parked in {name}")
    output.show(rows)


@click.group()
def events() -> None:
    """Look at events in Kafka."""


@events.command("show")
@click.argument("kind")
@click.argument("aggregate_id")
@output_option
def events_show(kind: str, aggregate_id: str, output: Output) -> None:
    """Show the events of one aggregate, such as `orders o-1`. Reads the whole topic."""
    with one_line_errors():
        rows = events_of(_kind(kind), aggregate_id, os.environ)
    if not rows:
        raise click.ClickException(f"there are no events of {kind}/{aggregate_id}")
    output.show(rows)


@events.command("tail")
@click.argument("kind")
@click.option("--last", default=10, show_default=True, type=click.IntRange(min=0))
@click.option("--follow", "-f", is_flag=True, help="Keep printing what arrives.")
@output_option
def events_tail(kind: str, last: int, follow: bool, output: Output) -> None:
    """Print the last events of a kind's topic, and with --follow those that arrive."""
    with one_line_errors():
        for row in following(_kind(kind), last, follow, os.environ):
            output.line(row)


def _kind(name: str) -> str:
    if name not in aggregate_kinds():
        known = ", ".join(sorted(aggregate_kinds()))
        raise Usage(f"there is no kind of aggregate {name!r}; there are: {known}")
    return name
