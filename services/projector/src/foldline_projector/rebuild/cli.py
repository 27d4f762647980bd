"""`foldline rebuild` and `foldline verify`: the steps of a rebuild as commands.

A step prints what it does on standard error while it works (a bar on a terminal, lines elsewhere) and
what came of it on standard output, as a table or as JSON. Exit status: 0 done, 1 refused or failed, 2
wrong call. A command that was interrupted is typed again.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import msgspec
from kafka.errors import KafkaError

from foldline_contracts.config import Environment
from foldline_projector.command_line import one_line_errors, the_projection
from foldline_projector.config import kafka_settings, store_url
from foldline_projector.engine import crash
from foldline_projector.engine.generations import (
    FoldVersionMismatch,
    Generation,
    NoSuchGeneration,
)
from foldline_projector.inspection import Failed
from foldline_projector.output import Output, output_option
from foldline_projector.rebuild import finish, start
from foldline_projector.rebuild.context import Context, Refused
from foldline_projector.rebuild.operation import Verification, operation_of
from foldline_projector.rebuild.plan import Plan
from foldline_projector.rebuild.plan import plan as make_plan
from foldline_projector.rebuild.shadow import NoShadow, compare_reads
from foldline_projector.rebuild.show import Shown
from foldline_projector.rebuild.switch import Flip, NotFlipped
from foldline_projector.rebuild.workers import WorkerDied
from foldline_projector.rebuild.writeback import Bounds
from foldline_projector.stores.port import RetryLater

MISMATCH = "the generation differs: it must not be activated"

accept_gap = click.option(
    "--accept-retention-gap", is_flag=True, help="Rebuild from what Kafka still has."
)
parallelism = click.option(
    "--parallelism",
    type=click.IntRange(1, 64),
    default=lambda: min(os.cpu_count() or 1, 4),
    show_default="processors, at most 4",
    help="Partitions that are loaded at once, each by a process.",
)
generation_option = click.option("--generation", type=click.IntRange(min=1))
max_pause = click.option(
    "--max-pause",
    type=click.FloatRange(0.1, 4.0),
    default=1.0,
    show_default=True,
    help="Seconds that the live generation may stand still; then nothing is changed.",
)
settle_seconds = click.option(
    "--settle-seconds",
    type=click.FloatRange(0, 600),
    default=30.0,
    show_default=True,
    help="How long documents that keep changing are compared again.",
)
force_option = click.option(
    "--force", is_flag=True, help="At once and unverified: readers may see older versions."
)


@contextmanager
def _context(name: str) -> Iterator[Context]:
    projection = the_projection(name)
    with one_line_errors():
        if (plan := Environment(os.environ).text("CRASH_AT")) is not None:
            crash.arm(plan)
        url = store_url(os.environ, projection.read_model.store)
        context = Context(projection, url, kafka_settings(os.environ))
        try:
            yield context
        except (Refused, NotFlipped, NoSuchGeneration, FoldVersionMismatch, WorkerDied) as error:
            raise Failed(str(error)) from error
        except RetryLater as error:
            raise Failed(f"the store of {name} does not answer: {error}") from error
        except KafkaError as error:
            raise Failed(f"Kafka does not answer: {error}") from error
        finally:
            context.close()


@click.group()
def rebuild() -> None:
    """Rebuild a read model beside the live one, verify it, switch to it and back."""


@rebuild.command()
@click.argument("name")
@parallelism
@accept_gap
@output_option
def plan(name: str, parallelism: int, accept_retention_gap: bool, output: Output) -> None:
    """Say what a rebuild would do; changes nothing."""
    with _context(name) as context:
        log = start.read_log(context.projection, context.kafka)
        made = make_plan(context, log, parallelism)
        _show_plan(made, output)
        start.refuse_gap(log, accept_retention_gap)


def _show_plan(made: Plan, output: Output) -> None:
    if output.form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(made)))
        return
    rows = msgspec.to_builtins(made)
    partitions = rows.pop("partitions")
    output.show([{"what": name, "value": value} for name, value in rows.items()])
    click.echo()
    output.show(partitions)


@rebuild.command("start")
@click.argument("name")
@click.option(
    "--strategy",
    type=click.Choice(["BlueGreen", "InPlace"]),
    default="BlueGreen",
    show_default=True,
    help="InPlace points readers to the new generation at once: they see it filling.",
)
@parallelism
@accept_gap
@click.option(
    "--max-live-lag",
    type=click.IntRange(min=0),
    default=10_000,
    show_default=True,
    help="Loading waits while the live generation is more events behind than this.",
)
@click.option(
    "--buffer-documents",
    type=click.IntRange(min=1),
    default=start.BOUNDS.documents,
    show_default=True,
    help="Documents that each process may hold in memory.",
)
@click.option(
    "--flush-events",
    type=click.IntRange(min=1),
    default=start.BOUNDS.events,
    show_default=True,
    help="Events between two flushes: what a killed process loads again.",
)
@click.option("--wait", is_flag=True, help="Go on until it has caught up and is verified.")
@click.option("--activate", is_flag=True, help="With --wait: switch to it when it is verified.")
@click.option(
    "--catch-up-seconds",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="How long --wait waits for the new generation's projector.",
)
@settle_seconds
@max_pause
@output_option
def start_(
    name: str,
    *,
    wait: bool,
    activate: bool,
    catch_up_seconds: float,
    settle_seconds: float,
    max_pause: float,
    output: Output,
    **given: Any,
) -> None:
    """Load a new generation, or go on with one that is unfinished."""
    if activate and not wait:
        raise click.UsageError("--activate needs --wait")
    shown = Shown(output)
    with _context(name) as context:
        generation = _loaded(context, _options(given), shown)
        if not wait:
            _show_status(context, output)
            return
        with shown.counting("events behind the live generation") as tell:
            start.catch_up(context, generation.number, catch_up_seconds, tell)
        if not _verified(context, generation.number, settle_seconds, output):
            raise Failed(MISMATCH)
        if activate:
            _show_flip(finish.activate(context, generation.number, max_pause), output)


def _options(given: dict[str, Any]) -> start.Options:
    return start.Options(
        strategy=given["strategy"],
        parallelism=given["parallelism"],
        accept_retention_gap=given["accept_retention_gap"],
        max_live_lag=given["max_live_lag"],
        bounds=Bounds(documents=given["buffer_documents"], events=given["flush_events"]),
        crash_at=Environment(os.environ).text("CRASH_AT"),
    )


def _loaded(context: Context, options: start.Options, shown: Shown) -> Generation:
    log = start.read_log(context.projection, context.kafka)
    generation = start.begin(context, log, options)
    if options.strategy == "InPlace":
        shown.say(
            f"readers of {context.name} see generation {generation.number} filling from now on"
        )
    shown.say(f"loading generation {generation.number} of {context.name}")
    with shown.progress() as tell:
        start.load(context, generation.number, log, options, tell)
    return generation


def _verified(context: Context, number: int, seconds: float, output: Output) -> bool:
    live = context.pointer().active
    with Shown(output).counting("documents compared") as tell:
        found = finish.verify(context, number, seconds, tell)
    found = _with_shadow_reads(context, live, number, found)
    finish.remember(context, number, found)
    _show_verification(found, output)
    return found.passed


def _with_shadow_reads(
    context: Context, live: int, number: int, found: Verification
) -> Verification:
    url = Environment(os.environ).text("QUERY_URL")
    if url is None or live == number:
        note = "no shadow reads: FOLDLINE_QUERY_URL is not set"
        return msgspec.structs.replace(found, notes=(*found.notes, note)) if url is None else found
    try:
        agreed, different = compare_reads(url, context.name, live, number, most=100)
    except NoShadow as error:
        return msgspec.structs.replace(found, notes=(*found.notes, f"no shadow reads: {error}"))
    return finish.with_reads(found, agreed, different)


@rebuild.command()
@click.argument("name")
@generation_option
@settle_seconds
@output_option
def verify(name: str, generation: int | None, settle_seconds: float, output: Output) -> None:
    """Compare a new generation with the live one, document by document."""
    with _context(name) as context:
        number = generation or context.require_candidate().number
        if not _verified(context, number, settle_seconds, output):
            raise Failed(MISMATCH)


@rebuild.command()
@click.argument("name")
@output_option
def status(name: str, output: Output) -> None:
    """Show the generations and how far each rebuild is."""
    with _context(name) as context:
        _show_status(context, output)


@rebuild.command()
@click.argument("name")
@generation_option
@max_pause
@force_option
@output_option
def activate(
    name: str, generation: int | None, max_pause: float, force: bool, output: Output
) -> None:
    """Point readers to a generation that was verified."""
    with _context(name) as context:
        number = generation or context.require_candidate().number
        _show_flip(finish.activate(context, number, max_pause, force=force), output)


@rebuild.command()
@click.argument("name")
@click.option("--generation", type=click.IntRange(min=1), help="The generation to leave.")
@max_pause
@force_option
@output_option
def rollback(
    name: str, generation: int | None, max_pause: float, force: bool, output: Output
) -> None:
    """Point readers back to the generation before."""
    with _context(name) as context:
        done = finish.rollback(context, max_pause, number=generation, force=force)
        _show_flip(done, output)


@rebuild.command()
@click.argument("name")
@click.option("--generation", type=click.IntRange(min=1), required=True)
@click.option(
    "--window",
    type=click.FloatRange(min=0),
    default=3600.0,
    show_default=True,
    help="Seconds after a flip in which the way back is kept.",
)
@output_option
def drop(name: str, generation: int, window: float, output: Output) -> None:
    """Free the space of a generation that nobody reads, for good."""
    with _context(name) as context:
        Shown(output).say("waiting until no request reads it any more")
        finish.drop(context, generation, window=window)
        _show_status(context, output)


@click.command("verify")
@click.argument("name")
@generation_option
@settle_seconds
@output_option
def verify_live(name: str, generation: int | None, settle_seconds: float, output: Output) -> None:
    """Fold all events again from Kafka and compare every document of a read model with that."""
    with _context(name) as context:
        side = context.side(generation or context.pointer().active)
        with Shown(output).counting("documents compared") as tell:
            found = finish.verify_live(context, side, settle_seconds, tell)
        _show_verification(found, output)
        if not found.passed:
            raise Failed(f"generation {side.number} of {name} is not what its events say")


def _show_verification(found: Verification, output: Output) -> None:
    if output.form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
        return
    rows = msgspec.to_builtins(found)
    differences = rows.pop("differences")
    output.show([{"what": name, "value": value} for name, value in rows.items()])
    if differences:
        click.echo()
        output.show(differences)


def _show_flip(done: Flip, output: Output) -> None:
    output.show(
        [
            {
                "active": done.active,
                "before": done.previous,
                "pauseSeconds": round(done.pause_seconds, 3),
            }
        ]
    )


def _show_status(context: Context, output: Output) -> None:
    pointer = context.pointer()
    rows = []
    for each in context.registry.generations():
        operation = operation_of(each.rebuild)
        progress = None if operation is None else operation.progress
        rows.append(
            {
                "generation": each.number,
                "readers": each.number == pointer.active,
                "state": each.state,
                "foldVersion": each.fold_version,
                "step": None if operation is None else operation.step,
                "strategy": None if operation is None else operation.strategy,
                "attempts": None if operation is None else operation.attempts,
                "percent": None if progress is None else progress.percent,
                "ratePerSecond": None if progress is None else progress.rate_per_second,
                "etaSeconds": None if progress is None else progress.eta_seconds,
                "createdAt": each.created_at,
            }
        )
    output.show(rows)
