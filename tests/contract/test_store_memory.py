"""The memory store keeps the port's promises."""

import pytest
from contract.store_contract import ReferenceStoreContract, StoreContract

from foldline_projector.stores.memory import Memory, MemoryStore
from foldline_projector.stores.port import Store


class _OnMemory(StoreContract):
    @pytest.fixture(autouse=True)
    def _own_memory(self) -> None:
        self.memory = Memory()

    def make_store(self, generation: int = 1) -> Store:
        return MemoryStore(self.read_model, generation, self.memory)


class TestMemory(_OnMemory):
    pass


class TestMemoryWithReferences(_OnMemory, ReferenceStoreContract):
    pass
