"""The command room's part of the `foldline` command line.

A user's mistake or a service that is away ends with one line and exit status 1; a bad variable with
one line that names it and exit status 2. Nothing here decides anything.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

import click
import psycopg
from kafka.errors import KafkaError
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from foldline_command import connector as connectors
from foldline_command import keeper
from foldline_command import migrate as migrations
from foldline_command import topics as topic_admin
from foldline_command.config import write_database_url
from foldline_command.rules import OutcomeUnknown
from foldline_command.unit_of_work import NotReady
from foldline_contracts.config import ConfigurationError, Environment, positive_float, positive_int
from foldline_contracts.kafka_security import kafka_client_settings
from foldline_contracts.topics import DEFAULT_PARTITIONS, required_topics

IMPORTERS = "foldline.importers"
EXPECTED = (
    connectors.ConnectorError,
    topic_admin.TopicMismatch,
    NotReady,
    OutcomeUnknown,
    KafkaError,
    SQLAlchemyError,
    psycopg.Error,
)


class Usage(click.ClickException):
    """One line, exit status 2."""

    exit_code = 2


@contextmanager
def one_line_errors() -> Iterator[Environment]:
    """The environment, and what goes wrong as one line."""
    try:
        yield Environment(os.environ)
    except ConfigurationError as error:
        raise Usage(str(error)) from error
    except EXPECTED as error:
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise click.ClickException(line) from error


output = click.option(
    "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)


def show(document: dict[str, Any], form: str) -> None:
    """Prints facts by name."""
    if form == "json":
        click.echo(json.dumps(document, default=str))
        return
    table = Table("what", "value")
    for name, value in document.items():
        table.add_row(name, str(value))
    Console().print(table)


@click.command()
def migrate() -> None:
    """Bring the write database up to date; make publication, slot and the outbox's days."""
    with one_line_errors() as env:
        user = env.get("DEBEZIUM_USER", str, "debezium")
        migrations.migrate(write_database_url(env), user)
        keeper.maintain(write_database_url(env))
    click.echo("the write database is up to date")


@click.group()
def topics() -> None:
    """The Kafka topics."""


@topics.command("apply")
def apply_topics() -> None:
    """Make the topics and record them for the command service; idempotent."""
    with one_line_errors() as env:
        lines = topic_admin.apply(
            kafka_client_settings(env),
            write_database_url(env),
            required_topics(env.get("TOPIC_PARTITIONS", positive_int, DEFAULT_PARTITIONS)),
            env.get("TOPIC_REPLICATION", positive_int, 1),
        )
    click.echo("\n".join(lines))


@click.group()
def connector() -> None:
    """The Debezium connector."""


def _target(env: Environment) -> connectors.Target:
    return connectors.Target(
        connect_url=env.required("CONNECT_URL"),
        database_url=write_database_url(env),
        user=env.get("DEBEZIUM_USER", str, "debezium"),
        password=env.get("DEBEZIUM_PASSWORD", str, ""),
    )


@connector.command("apply")
def apply_connector() -> None:
    """Register the connector and wait until events can flow; idempotent."""
    with one_line_errors() as env:
        click.echo(connectors.apply(_target(env)))


@connector.command("status")
@output
def connector_status(output: str) -> None:
    """Show connector and task states; exit status 1 unless all run."""
    with one_line_errors() as env:
        found = connectors.status(_target(env))
    states = {f"task {task['id']}": task["state"] for task in found["tasks"]}
    facts = {"connector": found["connector"]["state"], **states}
    show(facts, output)
    if set(facts.values()) != {"RUNNING"} or not states:
        raise click.exceptions.Exit(1)


@click.group()
def outbox() -> None:
    """The outbox: watermarks, days, state."""


def _keeper_settings(env: Environment) -> keeper.Settings:
    return keeper.Settings(
        database_url=write_database_url(env),
        kafka=kafka_client_settings(env),
        interval_seconds=env.get("WATERMARK_INTERVAL_SECONDS", positive_float, 2.0),
        metrics_bind=env.get("METRICS_BIND", str, "127.0.0.1"),
        metrics_port=env.get("METRICS_PORT", positive_int, 9400),
    )


@outbox.command()
def keep() -> None:
    """Run the outbox keeper until it is told to stop."""
    with one_line_errors() as env:
        keeper.keep(_keeper_settings(env))


@outbox.command()
def maintain() -> None:
    """Make the coming days and prune expired idempotency keys, once."""
    with one_line_errors() as env:
        made = keeper.maintain(write_database_url(env))
    click.echo(f"made {', '.join(made)}" if made else "every coming day is there")


@outbox.command("status")
@output
def outbox_status(output: str) -> None:
    """Show rows, the slot and the last watermark."""
    with one_line_errors() as env:
        show(keeper.status(write_database_url(env)), output)


class _Importers(click.Group):
    """One command per installed importer."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(point.name for point in entry_points(group=IMPORTERS))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        for point in entry_points(group=IMPORTERS):
            if point.name == cmd_name:
                loaded: Callable[..., Any] = point.load()
                assert isinstance(loaded, click.Command)
                return loaded
        return None


@click.command("import", cls=_Importers)
def import_() -> None:
    """Load past aggregates from files, through the rules of their domain."""
