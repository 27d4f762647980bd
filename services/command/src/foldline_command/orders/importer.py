"""`foldline import orders FILE`: past orders through the same rules and transactions as new ones.

An order's id is the dataset's name and its line number, so importing is idempotent and resumes by itself: a line
whose order exists is skipped, identical lines are different purchases. Lines are taken in blocks, a block a
transaction; a bad line imports nothing and is reported with its number and reason, and the rest goes on.
Events happen at the time that the line says; they are recorded now.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import Engine

from foldline_command import database
from foldline_command.bodies import InvalidBody, MalformedJson, decode, validate
from foldline_command.cli import one_line_errors
from foldline_command.commands import uncontended
from foldline_command.config import write_database_url
from foldline_command.orders.bodies import PastOrder
from foldline_command.orders.model import Order
from foldline_command.orders.tables import ORDERS
from foldline_command.rules import Refused
from foldline_command.unit_of_work import UnitOfWork
from foldline_contracts import money
from foldline_contracts.identifiers import is_identifier

BLOCK = 500
SHOWN_FAULTS = 20
#: How far a line's time may be ahead of the database's: clocks differ, and dates have zones.
AHEAD = timedelta(days=1)
CDNOW_FIELDS = (4, 5)  # customer, (customer of the sample,) date, number of CDs, dollars
_DATE = re.compile(r"[0-9]{8}")


class BadLine(ValueError):
    """A line that names no order; the message is the reason."""


@dataclass(slots=True)
class Report:
    """What became of the lines."""

    imported: int = 0
    skipped: int = 0
    bad: int = 0
    #: The first bad lines with their reasons.
    faults: list[tuple[int, str]] = field(default_factory=list)


Line = tuple[int, Any]
Loaded = tuple[int, int, list[tuple[int, str]]]
"""Of one block: imported, skipped, and faults by line."""
Reader = Callable[[TextIO], Iterator[Line]]


def read_ndjson(lines: TextIO) -> Iterator[Line]:
    """One JSON object a line, in the shape of `PastOrder`."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, _attempt(lambda line=line: decode(line.encode()))  # type: ignore[misc]


def read_csv(lines: TextIO) -> Iterator[Line]:
    """One item a line, which is an order of its own: columns of `PastOrder` and of its item."""
    rows = csv.DictReader(lines, strict=True)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield rows.line_num, BadLine(str(error))
            continue
        yield rows.line_num, _attempt(lambda row=row: _csv_order(row))  # type: ignore[misc]


def _csv_order(row: dict[str | None, Any]) -> dict[str, Any]:
    if None in row or None in row.values():
        raise BadLine("the line has another number of columns than the header")
    given = {str(name): value for name, value in row.items() if value != ""}
    names = ("productId", "name", "unitPrice")
    item: dict[str, Any] = {name: given.pop(name) for name in names if name in given}
    quantity = given.pop("quantity", "1")
    item["quantity"] = int(quantity) if quantity.isdecimal() else quantity
    return {**given, "items": [item]}


def read_cdnow(lines: TextIO) -> Iterator[Line]:
    """The CDNOW log: a purchase a line, submitted and paid at midnight UTC of its date."""
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if fields and not (number == 1 and not fields[-1][0].isdigit()):
            yield number, _attempt(lambda fields=fields: _cdnow_order(fields))  # type: ignore[misc]


def _cdnow_order(fields: list[str]) -> dict[str, Any]:
    if len(fields) not in CDNOW_FIELDS:
        raise BadLine(f"has {len(fields)} fields, not {' or '.join(map(str, CDNOW_FIELDS))}")
    customer, (date, count, dollars) = fields[0], fields[-3:]
    if not count.isdecimal():
        raise BadLine(f"number of CDs {count!r} is not a number")
    if _DATE.fullmatch(date) is None:  # strptime would take 1997111 for some day
        raise BadLine(f"date {date!r} is not YYYYMMDD")
    moment = datetime.strptime(date, "%Y%m%d").replace(tzinfo=UTC)
    name = f"{int(count)} CD{'' if int(count) == 1 else 's'}"
    item = {"productId": "cds", "name": name, "quantity": 1, "unitPrice": dollars}
    return {
        "customerId": customer,
        "currency": "USD",
        "createdAt": moment.isoformat(),
        "items": [item],
        "paid": True,
    }


READERS: dict[str, Reader] = {"csv": read_csv, "ndjson": read_ndjson, "cdnow": read_cdnow}


def _attempt(make: Callable[[], Any]) -> Any:
    """The order as data, or the BadLine that says why there is none."""
    try:
        return make()
    except (MalformedJson, ValueError) as error:
        return BadLine(str(error))


def to_order(order_id: str, value: Any, now: datetime) -> Order:
    """The order that a line states, with its facts recorded. Raises BadLine."""
    if isinstance(value, BadLine):
        raise value
    try:
        body = validate(PastOrder, value)
        at = body.created_at or now
        if at > now + AHEAD:
            raise BadLine(f"its time {at:%Y-%m-%dT%H:%M:%SZ} is in the future")
        order = Order(id=order_id)
        order.create(
            body.customer_id, body.currency, [item.to_item() for item in body.items], body.note, at
        )
        if body.submitted or body.paid:
            order.submit(at)
        if body.paid and order.total > 0:
            order.pay("import", "import", Decimal(money.to_text(order.total)), at)
    except InvalidBody as error:
        reasons = [f"{fault['pointer'] or '/'}: {fault['detail']}" for fault in error.errors]
        raise BadLine("; ".join(reasons)) from error
    except Refused as error:
        raise BadLine(error.detail) from error
    return order


def load(
    engine: Engine, lines: Iterable[Line], dataset: str, progress: Callable[[int], None]
) -> Report:
    """Imports block by block. A block that meets another writer is done again. Raises Contended."""
    report = Report()
    remaining = iter(lines)
    while block := list(islice(remaining, BLOCK)):
        imported, skipped, faults = uncontended(
            partial(_load_block, engine, block, dataset),
            f"another import of {dataset} kept winning; run this one again",
        )
        report.imported += imported
        report.skipped += skipped
        report.bad += len(faults)
        report.faults += faults[: SHOWN_FAULTS - len(report.faults)]
        progress(block[-1][0])
    return report


def _load_block(engine: Engine, block: list[Line], dataset: str) -> Loaded:
    """One transaction."""
    ids = {number: f"{dataset}-{number}" for number, _ in block}
    faults = []
    orders = []
    with UnitOfWork.begin(engine) as uow:
        existing = uow.find_many(ORDERS, list(ids.values()))
        for number, value in block:
            if ids[number] in existing:
                continue
            try:
                orders.append(to_order(ids[number], value, uow.now))
            except BadLine as error:
                faults.append((number, str(error)))
        uow.save(ORDERS, orders)
        uow.commit()
    return len(orders), len(existing), faults


@click.command("orders")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dataset", required=True, help="Prefix of the order ids: <dataset>-<line>.")
@click.option(
    "--format", "form", type=click.Choice(sorted(READERS)), help="Default: by the ending."
)
def command(file: Path, dataset: str, form: str | None) -> None:
    """Import past orders from FILE; exit status 1 when a line was bad."""
    chosen = form or file.suffix.lstrip(".")
    if chosen not in READERS:
        raise click.UsageError(f"--format is needed: {file.name} does not end in .csv or .ndjson")
    if not dataset or not is_identifier(f"{dataset}-{'9' * 9}"):
        raise click.UsageError("--dataset must be 1 to 54 characters of A-Z a-z 0-9 . _ ~ -")
    with one_line_errors() as env:
        engine = database.create(
            write_database_url(env), connections=1, timeout_seconds=10, statement_seconds=60
        )
        try:
            report = _with_progress(engine, file, dataset, READERS[chosen])
        finally:
            engine.dispose()
    _say(report)


def _with_progress(engine: Engine, file: Path, dataset: str, reader: Reader) -> Report:
    with file.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
        total = sum(1 for _ in lines)
        lines.seek(0)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
        )
        console = Console(stderr=True)
        hidden = not console.is_terminal
        with Progress(*columns, TimeRemainingColumn(), console=console, disable=hidden) as bar:
            task = bar.add_task(file.name, total=total)
            report = load(
                engine, reader(lines), dataset, lambda line: bar.update(task, completed=line)
            )
            bar.update(task, completed=total)
    return report


def _say(report: Report) -> None:
    for number, reason in report.faults:
        click.echo(f"line {number}: {reason}", err=True)
    if report.bad > len(report.faults):
        click.echo(f"... and {report.bad - len(report.faults)} more bad lines", err=True)
    click.echo(f"imported {report.imported}, already there {report.skipped}, bad {report.bad}")
    if report.bad:
        raise click.exceptions.Exit(1)
