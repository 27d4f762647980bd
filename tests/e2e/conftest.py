"""A client of the running pipeline, as an application developer would write one."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import pytest

from foldline_local.testing import RunningStack

WAIT = {"Prefer": "wait=30"}


@dataclass(frozen=True)
class Client:
    """Commands and queries over HTTP."""

    command: httpx.Client
    query: httpx.Client

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> str:
        """A command that must be accepted; its token."""
        answer = self.command.request(method, path, json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        return answer.headers["Foldline-Token"]

    def read(self, path: str, *tokens: str) -> dict[str, Any]:
        """A query that must be answered with the writes that `tokens` name."""
        headers = [*WAIT.items(), *(("Foldline-Token", token) for token in tokens)]
        answer = self.query.get(path, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def has_caught_up(self, moment: datetime) -> bool:
        """Whether every part of every read model has all that was committed before the moment."""
        answer = self.query.get("/projections")
        assert answer.status_code == 200, answer.text
        parts = [part for each in answer.json()["projections"] for part in each["partitions"]]
        return bool(parts) and all(
            part["asOf"] is not None and datetime.fromisoformat(part["asOf"]) >= moment
            for part in parts
        )

    def place(self, customer: str = "nobody", price: str = "10.00") -> tuple[str, str]:
        """A new order of one item; its id and token."""
        order = f"e2e-{uuid.uuid4().hex[:12]}"
        item = {"productId": "p-1", "name": "Teapot", "quantity": 2, "unitPrice": price}
        body = {"orderId": order, "customerId": customer, "items": [item]}
        return order, self.send("POST", "/orders", body)


@pytest.fixture(scope="session")
def client(pipeline: RunningStack) -> Iterator[Client]:
    """The pipeline's two services."""
    ports, host = pipeline.settings.ports, pipeline.settings.host
    with (
        httpx.Client(base_url=f"http://{host}:{ports['command']}", timeout=60) as command,
        httpx.Client(base_url=f"http://{host}:{ports['query']}", timeout=60) as query,
    ):
        yield Client(command, query)
