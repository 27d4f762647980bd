"""A store that is killed under its writer keeps every batch that it acknowledged.

Its own module, because it needs the stack's handles for doing harm to a process.
"""

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import pytest
from contract.store_contract import (
    FOLD_VERSION,
    ORDERS_0,
    ReferenceStoreContract,
    StoreContract,
    move,
    numbered,
    save,
)

from foldline_local.testing import RunningStack
from foldline_projector.projection import Projection
from foldline_projector.stores.clickhouse import ClickHouseStore
from foldline_projector.stores.elasticsearch import ElasticsearchStore
from foldline_projector.stores.mongodb import MongoStore
from foldline_projector.stores.port import Batch, Document, Fenced, Store

pytestmark = pytest.mark.integration

SIZE = 20
PATIENCE_SECONDS = 120


class Writer:
    """An owner of one partition that writes batch after batch, each of new documents."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.written = 0

    def write(self) -> None:
        """One batch. An outcome that the kill left unknown is settled as the engine does it."""
        batch = Batch(documents=self.documents(), moves=move(self.offset, self.next).moves)
        try:
            save(self.store, batch, within=PATIENCE_SECONDS)
        except Fenced:
            assert self.store.positions()[ORDERS_0].offset == self.next
        self.written += SIZE

    @property
    def offset(self) -> int | None:
        return self.written or None

    @property
    def next(self) -> int:
        return self.written + SIZE

    def documents(self) -> list[Document]:
        return [numbered(f"o{number}", 1) for number in range(self.written, self.next)]


@pytest.mark.parametrize(
    ("name", "build", "contract"),
    [
        ("mongodb", MongoStore, ReferenceStoreContract()),
        ("clickhouse", ClickHouseStore, StoreContract()),
        ("elasticsearch", ElasticsearchStore, ReferenceStoreContract()),
    ],
    ids=["mongodb", "clickhouse", "elasticsearch"],
)
def test_a_killed_store_keeps_what_it_acknowledged(
    services: RunningStack,
    name: str,
    build: Callable[[str, Projection, int], Store],
    contract: StoreContract,
) -> None:
    model = replace(contract.make_read_model(f"killed-{uuid4().hex[:12]}"), store=name)
    projection = Projection(read_model=model, fold_version=FOLD_VERSION, evolve=lambda *_: {})
    store = build(services.urls[f"FOLDLINE_{name.upper()}_URL"], projection, 1)
    store.prepare()
    store.create()
    writer = Writer(store)
    writer.write()
    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill, services, name)
        while not killing.done():
            writer.write()
        killing.result()
    writer.write()
    expected = {f"o{number}": numbered(f"o{number}", 1) for number in range(writer.written)}
    assert store.positions()[ORDERS_0].offset == writer.written
    assert store.load(expected) == expected
    store.close()


def kill(stack: RunningStack, name: str) -> None:
    stack.kill(name, signal.SIGKILL)
    stack.wait_ready(name)
