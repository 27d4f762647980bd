import pytest

from foldline_local.testing import running_stack


@pytest.fixture(scope="session")
def stack():
    with running_stack() as running:
        yield running
