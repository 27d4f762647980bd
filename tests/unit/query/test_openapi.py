"""The description covers what is served and is itself sound."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from foldline_query.app import create_app
from foldline_query.config import Settings

from .test_configuration import URLS

UNDESCRIBED = {"/console", "/console/console.js", "/console/console.css"}


@pytest.fixture(scope="module")
def app() -> Iterator[Flask]:
    """Stores are never asked here, so none needs to be there."""
    app = create_app(Settings.from_env(URLS))
    yield app
    app.extensions["foldline"].stores.close()


@pytest.fixture(scope="module")
def document(app: Flask) -> Any:
    answer = app.test_client().get("/openapi.json")
    assert answer.status_code == 200
    return answer.json


def test_every_route_is_described(app: Flask, document: Any) -> None:
    served = {
        re.sub(r"<(?:\w+:)?(\w+)>", "{}", rule.rule) for rule in app.url_map.iter_rules()
    } - UNDESCRIBED
    described = {re.sub(r"{\w+}", "{}", path) for path in document["paths"]}
    assert described == served


def test_every_reference_leads_somewhere(document: Any) -> None:
    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if "$ref" in value:
                yield value["$ref"]
            for each in value.values():
                yield from walk(each)
        elif isinstance(value, list):
            for each in value:
                yield from walk(each)

    for reference in walk(document):
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert found


def test_operation_ids_are_unique(document: Any) -> None:
    ids = [each["get"]["operationId"] for each in document["paths"].values()]
    assert len(ids) == len(set(ids))


def test_every_problem_that_is_raised_is_listed(app: Flask, document: Any) -> None:
    answer = app.test_client().get("/problems").json
    listed = {each["type"] for each in answer["problems"]}
    assert listed == set(document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"])
    assert {"/problems/not-caught-up", "/problems/too-many-waiters"} <= listed
    for uri in listed:
        assert app.test_client().get(uri).json["type"] == uri
