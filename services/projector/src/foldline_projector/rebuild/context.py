"""What all steps of a rebuild work with: one projection, its registry, and a store per generation."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from foldline_projector.engine.generations import (
    Generation,
    Pointer,
    Registry,
    pinned,
)
from foldline_projector.projection import Projection
from foldline_projector.rebuild.operation import Operation, Step, operation_of
from foldline_projector.rebuild.switch import Side
from foldline_projector.stores.port import Store
from foldline_projector.stores.registry import open_store

Opener = Callable[[str, Projection, int], Store]
UNFINISHED: tuple[Step, ...] = ("loading", "loaded", "verified")


class Refused(Exception):
    """A step that may not be done now; the message is one line that says why. Nothing has changed."""


class Context:
    """One projection's generations, and how to reach them. Not for several threads."""

    def __init__(
        self,
        projection: Projection,
        store_url: str,
        kafka: Mapping[str, Any],
        opened: Opener = open_store,
    ) -> None:
        """`opened`: opens a store; another one in tests."""
        self._opened = opened
        self.projection = projection
        self.store_url = store_url
        self.kafka = kafka
        self._stores: dict[int, Store] = {}
        self._own = opened(store_url, projection, 1)
        self.registry = Registry(self._own, projection.read_model)

    @property
    def name(self) -> str:
        """The projection's name."""
        return self.projection.read_model.name

    def close(self) -> None:
        """Releases connections."""
        for store in (self._own, *self._stores.values()):
            store.close()

    def pointer(self) -> Pointer:
        """The pointer. Refused before the projection's first projector has run."""
        self._own.prepare()
        pointer = self.registry.pointer()
        if pointer is None:
            raise Refused(f"{self.name} has no generation yet: run its projector first")
        return pointer

    def side(self, number: int) -> Side:
        """A generation with a store that reads it by the layout it was made with."""
        generation = self.registry.generation(number)
        if number not in self._stores:
            own = pinned(self.projection, generation)
            self._stores[number] = self._opened(self.store_url, own, number)
        return Side(generation, self._stores[number])

    def candidate(self, pointer: Pointer) -> Generation | None:
        """The generation of the unfinished rebuild, if there is one."""
        for each in reversed(self.registry.generations()):
            operation = operation_of(each.rebuild)
            if each.state == "dropped" or operation is None or operation.step not in UNFINISHED:
                continue
            is_read = each.number == pointer.active and operation.strategy == "BlueGreen"
            return None if is_read or each.number < pointer.active else each
        return None

    def require_candidate(self) -> Generation:
        """The generation of the unfinished rebuild. Refused when there is none."""
        found = self.candidate(self.pointer())
        if found is None:
            raise Refused(f"no rebuild of {self.name} is going on")
        return found

    def update(
        self, number: int, change: Callable[[Operation], Operation], **fields: Any
    ) -> Generation:
        """Changes the operation in a generation's record, and other fields of the record with it."""

        def changed(generation: Generation) -> Generation:
            operation = change(operation_in(generation))
            return replace(generation, rebuild=operation.to_record(), **fields)

        return self.registry.change(number, changed)

    def advance(self, number: int, step: Step, **fields: Any) -> Generation:
        """Notes that a step is done."""
        return self.update(number, lambda each: msgspec.structs.replace(each, step=step), **fields)


def operation_in(generation: Generation) -> Operation:
    """The operation that makes a generation. Refused when no rebuild made it."""
    operation = operation_of(generation.rebuild)
    if operation is None:
        raise Refused(f"generation {generation.number} was not made by a rebuild")
    return operation
