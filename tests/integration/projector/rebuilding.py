"""Rebuilds of a test's own read model in any of the stores, by the commands that people type."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from integration.projector.projecting import PARTITIONS, Domain
from kafka import TopicPartition as KafkaPartition
from support.eventually import eventually

from foldline_projector.config import STORE_VARIABLES
from foldline_projector.engine.generations import Pointer, Registry
from foldline_projector.engine.kafka import lone_consumer
from foldline_projector.projection import Projection
from foldline_projector.rebuild.operation import Operation, operation_of
from foldline_projector.stores.port import Document, Store, TopicPartition
from foldline_projector.stores.registry import open_store


class RebuiltDomain(Domain):
    """A domain whose generations are looked at through the store port, whatever the store."""

    def __init__(self, folder: Path, base: str) -> None:
        super().__init__(folder, base)
        own: Projection = import_module(f"foldline_projector.orders.{base}").PROJECTION
        self.projection = replace(own, read_model=replace(own.read_model, name=self.name))
        self.url = os.environ[f"FOLDLINE_{STORE_VARIABLES[own.read_model.store]}"]
        self._opened: dict[int, Store] = {}
        self.registry = Registry(self.store(1), self.projection.read_model)

    def store(self, generation: int) -> Store:
        if generation not in self._opened:
            self._opened[generation] = open_store(self.url, self.projection, generation)
        return self._opened[generation]

    def topics(self) -> list[str]:
        """The topics that its read model consumes."""
        has_customers = self.projection.read_model.reference is not None
        return [self.orders, *([self.customers] if has_customers else [])]

    def documents_of(self, generation: int) -> dict[str, Document]:
        """All documents of a generation, as queries see them."""
        found: dict[str, Document] = {}
        after: str | None = None
        while page := self.store(generation).scan(after, None, 500):
            found.update({each.key: each for each in page})
            after = page[-1].key
        return found

    def pointer(self) -> Pointer:
        pointer = self.registry.pointer()
        assert pointer is not None
        return pointer

    def operation(self, generation: int) -> Operation:
        operation = operation_of(self.registry.generation(generation).rebuild)
        assert operation is not None
        return operation

    def is_caught_up(self, generation: int = 1) -> bool:
        """Whether all that was produced is applied."""
        ends = self.ends()
        positions = self.store(generation).positions()
        return all(
            (positions[at].offset if at in positions else 0) >= end for at, end in ends.items()
        )

    def ends(self) -> Mapping[TopicPartition, int]:
        """End offsets of all partitions."""
        consumer = lone_consumer({"bootstrap_servers": [self._kafka]}, "test")
        try:
            places = [TopicPartition(each, n) for each in self.topics() for n in range(PARTITIONS)]
            found = consumer.end_offsets([KafkaPartition(*at) for at in places])
        finally:
            consumer.close()
        return {TopicPartition(*at): end for at, end in found.items()}

    def live(self) -> None:
        """Runs a projector until generation 1 has everything."""
        self.store(1).prepare()
        self.start()
        eventually(lambda: self.registry.pointer() is not None, within=60)
        eventually(self.is_caught_up, within=60)

    def foldline(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """A command about this read model."""
        first, *rest = words
        named = (
            ["verify", self.name, *rest]
            if first == "verify"
            else ["rebuild", first, self.name, *rest]
        )
        return self.command(*named, **more)

    def done(self, *words: str, **more: str) -> Any:
        """A command that must succeed; its JSON."""
        answer = self.foldline(*words, "--output", "json", **more)
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout) if answer.stdout.strip() else None

    def refused(self, *words: str, **more: str) -> str:
        """A command that must be refused; what it says."""
        answer = self.foldline(*words, **more)
        assert answer.returncode == 1, (answer.stdout, answer.stderr)
        assert "Traceback" not in answer.stderr
        return answer.stderr

    def close(self) -> None:
        super().close()
        for generation in range(1, 5):
            self.store(generation).drop()
        for store in self._opened.values():
            store.close()


@contextmanager
def rebuilt_domain(folder: Path, base: str) -> Iterator[RebuiltDomain]:
    domain = RebuiltDomain(folder, base)
    try:
        yield domain
    finally:
        domain.close()
