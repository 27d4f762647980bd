"""The served OpenAPI documents, fuzzed: no 500, and no answer that the documents do not name."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from foldline_local.testing import RunningStack

pytestmark = pytest.mark.e2e

FUZZ = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def _schema(pipeline: RunningStack, service: str) -> schemathesis.BaseSchema:
    host, port = pipeline.settings.host, pipeline.settings.ports[service]
    return schemathesis.openapi.from_url(f"http://{host}:{port}/openapi.json")


@pytest.fixture(scope="session")
def command_api(pipeline: RunningStack) -> schemathesis.BaseSchema:
    return _schema(pipeline, "command")


@pytest.fixture(scope="session")
def query_api(pipeline: RunningStack) -> schemathesis.BaseSchema:
    return _schema(pipeline, "query")


@schemathesis.pytest.from_fixture("command_api").parametrize()
@FUZZ
def test_the_command_api_answers_as_documented(case: schemathesis.Case) -> None:
    case.call_and_validate(timeout=30)


@schemathesis.pytest.from_fixture("query_api").parametrize()
@FUZZ
def test_the_query_api_answers_as_documented(case: schemathesis.Case) -> None:
    case.call_and_validate(timeout=40)
