"""Stacks for the tests: real services on ports and data of their own, gone afterwards.

An integration or e2e test names the fixture `services` or `pipeline` to do harm to a process; each
test of these tiers gets the stack's addresses in the environment without asking.
"""

import os
from collections.abc import Iterator

import pytest

from foldline_local.testing import RunningStack, running_stack


def _export(stack: RunningStack) -> None:
    os.environ.update(stack.urls)


@pytest.fixture(scope="session")
def services() -> Iterator[RunningStack]:
    """The six services, without Foldline's own processes."""
    with running_stack() as stack:
        _export(stack)
        yield stack


@pytest.fixture(scope="session")
def pipeline() -> Iterator[RunningStack]:
    """The whole pipeline."""
    with running_stack(services_only=False) as stack:
        _export(stack)
        yield stack


@pytest.fixture(autouse=True, scope="session")
def _stack_for_tier(request: pytest.FixtureRequest) -> None:
    """Brings up what the collected tests need, before the first of them reads an address."""
    marks = {mark.name for item in request.session.items for mark in item.iter_markers()}
    if "e2e" in marks:
        request.getfixturevalue("pipeline")
    elif "integration" in marks and "FOLDLINE_READ_DATABASE_URL" not in os.environ:
        request.getfixturevalue("services")
