"""Problem types: one slug each, and `docs/command-api.md` lists exactly those that are served."""

import re
from pathlib import Path

import pytest

from foldline_command.app import create_app
from foldline_command.config import Settings

DOCUMENT = Path(__file__).parents[3] / "docs" / "command-api.md"
ROW = re.compile(r"^\| `(/problems/[a-z-]+)` \| (\d{3}) \| \S", re.MULTILINE)


@pytest.fixture(scope="module")
def served() -> list[tuple[str, str]]:
    app = create_app(Settings(write_database_url="postgresql://nobody@127.0.0.1:1/none"))
    with app.test_client() as client:
        listed = client.get("/problems").get_json()["problems"]
    assert all(each["title"] and each["meaning"] for each in listed)
    return [(each["type"], str(each["status"])) for each in listed]


def test_a_type_stands_for_one_problem(served: list[tuple[str, str]]) -> None:
    assert len({uri for uri, _ in served}) == len(served)


def test_the_document_lists_every_type_with_its_status(served: list[tuple[str, str]]) -> None:
    assert sorted(ROW.findall(DOCUMENT.read_text())) == sorted(served)
