"""The served description of the command API, fuzzed: no 500, and no answer that it does not name.

The query service's is fuzzed in `tests/integration/query/test_openapi_fuzz.py`. A request that fits
the schema may still break a rule or a precondition (409, 412), so accepting all of them is not asked for.
"""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from foldline_local.testing import RunningStack

pytestmark = pytest.mark.e2e

SECONDS = 60
FUZZ = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def fuzz(url: str) -> int:
    """Fuzzes every operation that is described at `url`; their number."""
    operations = [found.ok() for found in schemathesis.openapi.from_url(url).get_all_operations()]
    for operation in operations:

        @FUZZ
        @given(case=operation.as_strategy())
        def answers(case: schemathesis.Case) -> None:
            response = case.call(timeout=SECONDS)
            case.validate_response(response, excluded_checks=[positive_data_acceptance])

        answers()
    return len(operations)


def test_commands_are_answered_as_described(pipeline: RunningStack) -> None:
    host, port = pipeline.settings.host, pipeline.settings.ports["command"]
    assert fuzz(f"http://{host}:{port}/openapi.json") >= 14
