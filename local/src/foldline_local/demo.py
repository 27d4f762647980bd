"""The demo: one order through its life, answered by four read models, and a real log that must agree.

It talks to the running pipeline over HTTP alone, as any client would, and to `foldline import` for the
past orders. Every line it prints is an answer of the system; a disagreement ends it with an error.
"""

import csv
import subprocess
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import httpx

from foldline_local.applications import command_line, environment
from foldline_local.artifacts import Layout
from foldline_local.config import Settings
from foldline_local.errors import LocalError
from foldline_local.output import reason
from foldline_local.patience import Patience

WAIT_SECONDS = 30
POLL_SECONDS = 0.2
SAY_SECONDS = 5.0
#: How long nothing may move in the pipeline until waiting for it is given up.
QUIET_SECONDS = 60.0
DATASET = "cdnow-sample"


class Demo:
    """One run against one stack."""

    def __init__(self, settings: Settings, transport: httpx.BaseTransport | None = None) -> None:
        self._settings = settings
        self._command = f"http://{settings.host}:{settings.ports['command']}"
        self._query = f"http://{settings.host}:{settings.ports['query']}"
        self._http = httpx.Client(timeout=WAIT_SECONDS + QUIET_SECONDS, transport=transport)

    def run(self) -> None:
        """Place orders, read them back from every store, import the log and compare its days."""
        self._life_of_an_order()
        self._real_log(Layout(self._settings.cache).cdnow / "CDNOW_sample.txt")
        click.echo(f"\nLeft running: commands {self._command}, queries {self._query}")
        click.echo(f"console        {self._query}/console")
        click.echo(f"API documents  {self._command}/openapi.json, {self._query}/openapi.json")
        click.echo("stop it with   make down")

    def _life_of_an_order(self) -> None:
        run = uuid.uuid4().hex[:8]
        order, customer = f"demo-{run}", f"ada-{run}"
        click.echo("\n== commands: one order through its life")
        self._send(
            "PUT", f"/customers/{customer}", {"name": "Ada Lovelace", "email": "ada@example.org"}
        )
        self._send("POST", "/orders", {"orderId": order, "customerId": customer, "items": [BOOK]})
        self._send("POST", f"/orders/{order}/items", CAFETIERE)
        self._send("PUT", f"/orders/{order}/shipping-address", ADDRESS)
        self._send("POST", f"/orders/{order}/submit", None)
        payment = {"paymentId": f"pay-{run}", "method": "card", "amount": "64.48"}
        token = self._send("POST", f"/orders/{order}/payments", payment)
        click.echo(f"\n== queries: four stores, each waits for {token}")
        detail = self._get("MongoDB", f"/orders/{order}", token)
        _expect(
            detail["version"] == int(token.rpartition("@")[2]), "the detail has another version"
        )
        listed = self._get("PostgreSQL", f"/customers/{customer}/orders", token)
        _expect(
            [item["orderId"] for item in listed["items"]] == [order], "the list lacks the order"
        )
        found = self._get("Elasticsearch", f"/search?q=cafetiere&customerId={customer}", token)
        _expect([item["orderId"] for item in found["items"]] == [order], "search lacks the order")
        day = detail["order"]["history"][-1]["at"][:10]
        stats = self._get("ClickHouse", f"/stats/daily?from={day}&to={day}&currency=EUR", token)
        _expect(stats["days"][0]["orderCount"] >= 1, "the day's statistics lack the order")

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> str:
        answer = self._ask(method, self._command, path, json=body)
        if answer.status_code != httpx.codes.ACCEPTED:
            raise LocalError(f"{method} {path} answered {answer.status_code}: {answer.text}")
        token = answer.headers["Foldline-Token"]
        click.echo(f"{method:<5}{path:<42} -> {answer.status_code} {token}")
        return str(token)

    def _get(self, store: str, path: str, token: str = "") -> dict[str, Any]:
        headers = {"Foldline-Token": token, "Prefer": f"wait={WAIT_SECONDS}"} if token else {}
        answer = self._await(path, lambda answer: not _is_early(answer), headers)
        if answer.status_code != httpx.codes.OK:
            raise LocalError(f"GET {path} answered {answer.status_code}: {answer.text}")
        body: dict[str, Any] = answer.json()
        fresh = body["freshness"]
        milliseconds = answer.elapsed.total_seconds() * 1000
        click.echo(f"{store:<14}GET {path}")
        click.echo(
            f"{'':<14}{_shown(body)}  asOf {fresh['asOf']}, stale {fresh['stale']}, "
            f"generation {answer.headers['Foldline-Generation']}, {milliseconds:.0f} ms"
        )
        return body

    def _ask(self, method: str, base: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, base + path, **options)
        except httpx.ConnectError as error:
            raise LocalError(f"nothing answers on {base}; run `make up`") from error
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
            raise LocalError(f"{method} {base}{path} was not answered: {why}") from error

    def _await(
        self, path: str, enough: Callable[[httpx.Response], bool], headers: Mapping[str, str]
    ) -> httpx.Response:
        """The first answer that is enough, as long as the answers before it get fresher."""
        answer = self._ask("GET", self._query, path, headers=headers)
        patience = Patience(QUIET_SECONDS, lambda: _fresh(answer).get("asOf"), news=SAY_SECONDS)
        while not enough(answer):
            if patience.is_over():
                raise LocalError(
                    f"GET {path} is not caught up after {patience.seconds:.0f} s: {_lag(answer)}"
                )
            if patience.has_news():
                click.echo(f"{'':<14}events still arriving, {_lag(answer)}")
            time.sleep(POLL_SECONDS)
            answer = self._ask("GET", self._query, path, headers=headers)
        return answer

    def _real_log(self, path: Path) -> None:
        click.echo("\n== a real purchase log: CDNOW, 1997 and 1998")
        self._import(path)
        expected = sums_by_day(path)
        url = f"/stats/daily?from={min(expected)}&to={max(expected)}&currency=USD"
        moment = datetime.now(UTC)
        self._await(url, lambda answer: _holds_everything_until(moment, answer), {})
        _compare(expected, self._get("ClickHouse", url)["days"])

    def _import(self, path: Path) -> None:
        argv = (
            "foldline",
            "import",
            "orders",
            str(path),
            "--dataset",
            DATASET,
            "--format",
            "cdnow",
        )
        done = subprocess.run(
            command_line(argv),
            env=environment(self._settings),
            check=False,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise LocalError(f"the import failed: {reason(done.stderr)}")


BOOK = {
    "productId": "book-1",
    "name": "Sketch of the Analytical Engine",
    "quantity": 2,
    "unitPrice": "19.99",
}
CAFETIERE = {"productId": "caf-1", "name": "Cafetière", "quantity": 1, "unitPrice": "24.50"}
ADDRESS = {
    "recipient": "Ada Lovelace",
    "street": "12 St James's Square",
    "city": "London",
    "postalCode": "SW1Y 4JH",
    "country": "GB",
}


def _fresh(answer: httpx.Response) -> Mapping[str, Any]:
    """What the answer says of its freshness; a 503 says nothing."""
    found: Mapping[str, Any] = answer.json().get("freshness", {})
    return found


def _lag(answer: httpx.Response) -> str:
    lag = _fresh(answer).get("lagSeconds")
    return f"lag {lag:.0f} s" if lag is not None else answer.json().get("detail", "lag unknown")


def _is_early(answer: httpx.Response) -> bool:
    """Whether the same question may be answered a little later."""
    timed_out = answer.status_code == httpx.codes.GATEWAY_TIMEOUT
    parked = timed_out and answer.json()["reason"] == "parked"
    return (timed_out and not parked) or answer.status_code == httpx.codes.SERVICE_UNAVAILABLE


def _holds_everything_until(moment: datetime, answer: httpx.Response) -> bool:
    """Whether what was committed before `moment` is in the answer."""
    if answer.is_client_error:
        raise LocalError(f"GET {answer.request.url} answered {answer.status_code}: {answer.text}")
    as_of = _fresh(answer).get("asOf")
    return as_of is not None and datetime.fromisoformat(as_of) >= moment


def sums_by_day(path: Path) -> dict[str, tuple[int, Decimal]]:
    """The log's own figures: ISO date to number of purchases and their dollars."""
    days: dict[str, tuple[int, Decimal]] = defaultdict(lambda: (0, Decimal(0)))
    for row in _purchases(path):
        date, dollars = row[-3], Decimal(row[-1])
        day = f"{date[:4]}-{date[4:6]}-{date[6:]}"
        count, revenue = days[day]
        days[day] = (count + 1, revenue + dollars)
    return dict(days)


def _purchases(path: Path) -> list[list[str]]:
    with path.open(encoding="ascii", newline="") as lines:
        rows = csv.reader(lines, delimiter=" ", skipinitialspace=True)
        return [row for row in rows if row and row[-3].isdigit()]


def _compare(expected: dict[str, tuple[int, Decimal]], days: list[dict[str, Any]]) -> None:
    answered = {day["date"]: (day["orderCount"], Decimal(day["totalRevenue"])) for day in days}
    wrong = sorted(day for day in expected | answered if expected.get(day) != answered.get(day))
    if wrong:
        day = wrong[0]
        raise LocalError(
            f"{len(wrong)} days disagree, first {day}: file {expected.get(day)}, statistics {answered.get(day)}"
        )
    purchases = sum(count for count, _ in expected.values())
    revenue = sum(dollars for _, dollars in expected.values())
    click.echo(f"agrees to the cent: {len(expected)} days, {purchases} purchases, {revenue} USD")


def _shown(body: Mapping[str, Any]) -> str:
    """The one fact of an answer that a person looks for first."""
    if "order" in body:
        return f"{body['order']['status']} {body['order']['total']} version {body['version']}"
    if "days" in body:
        return f"{len(body['days'])} day(s)"
    return f"{len(body['items'])} item(s)"


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise LocalError(f"the demo failed: {otherwise}")
