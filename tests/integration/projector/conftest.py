"""Fixtures of the projector's integration tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.projector.projecting import Domain, own_domain

from foldline_local.config import load
from foldline_local.stack import Stack
from foldline_local.testing import RunningStack


@pytest.fixture
def domain(tmp_path: Path) -> Iterator[Domain]:
    with own_domain(tmp_path) as domain:
        yield domain


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> RunningStack:
    """The services to do harm to: the tests' own, or the stack that `FOLDLINE_LOCAL_DIR` names."""
    if "FOLDLINE_LOCAL_DIR" not in os.environ:
        services: RunningStack = request.getfixturevalue("services")
        return services
    named = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("FOLDLINE_LOCAL") or not name.startswith("FOLDLINE_")
    }
    return RunningStack(Stack(load(named), lambda *_: None))
