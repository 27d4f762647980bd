"""The served description, fuzzed: no 500, and no answer that it does not name.

Schemathesis makes the requests and judges the answers; hypothesis drives it from an ordinary test.
Refusing a cursor that nobody gave out, or a window of too many days, is right and cannot be said
in a schema, so accepting everything that fits the schema is not asked for.
"""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from .conftest import World
from .rows import DOCUMENTS

pytestmark = pytest.mark.integration

PATHS = [
    "/orders",
    "/orders/{id}",
    "/customers/{id}/orders",
    "/stats/daily",
    "/search",
    "/projections",
    "/projections/{projection}/reads",
    "/parked",
    "/parked/{projection}/{id}",
    "/healthz",
    "/readyz",
    "/metrics",
    "/problems",
    "/problems/{slug}",
    "/openapi.json",
]
FUZZ = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
#: A token or a minimum version that is not there is 504, which is described and right.
RIGHT = (504,)


@pytest.mark.parametrize("path", PATHS)
def test_answers_are_as_described(world: World, path: str) -> None:
    for name, document in DOCUMENTS.items():
        world.write(name, document("o1"))
    api = schemathesis.openapi.from_wsgi("/openapi.json", world.client.application)

    @FUZZ
    @given(case=api[path]["GET"].as_strategy())
    def answers(case: schemathesis.Case) -> None:
        response = case.call(headers={"Prefer": "wait=0"})
        excluded = [positive_data_acceptance]
        if response.status_code in RIGHT:
            excluded.append(schemathesis.checks.not_a_server_error)
        case.validate_response(response, excluded_checks=excluded)

    answers()


def test_every_described_path_is_fuzzed(world: World) -> None:
    document = world.get("/openapi.json").json
    assert sorted(document["paths"]) == sorted(PATHS)
