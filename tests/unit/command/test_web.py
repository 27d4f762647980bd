"""What a request can do wrong before any command of it is looked at."""

import io
from typing import Any

import pytest
from flask.testing import FlaskClient
from gunicorn.http.errors import InvalidChunkSize, NoMoreData  # type: ignore[import-untyped]

from foldline_command.app import MAX_BODY_BYTES, create_app
from foldline_command.config import Settings


class Broken(io.RawIOBase):
    """A body that the server cannot decode to its end."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def readable(self) -> bool:
        return True

    def readinto(self, _: Any) -> int:
        raise self._error


@pytest.fixture
def client() -> FlaskClient:
    app = create_app(Settings(write_database_url="postgresql://nobody@127.0.0.1:1/none"))
    return app.test_client()


@pytest.mark.parametrize("error", [InvalidChunkSize(b"xyz"), NoMoreData(), ConnectionResetError()])
def test_a_body_whose_chunks_are_malformed_is_a_bad_request(
    client: FlaskClient, error: Exception
) -> None:
    environ = {"wsgi.input": Broken(error), "wsgi.input_terminated": True}
    answer = client.post("/orders", content_type="application/json", environ_overrides=environ)
    assert (answer.status_code, answer.get_json()["type"]) == (400, "/problems/malformed-json")


def test_a_body_without_a_length_is_bounded_too(client: FlaskClient) -> None:
    environ = {"wsgi.input": io.BytesIO(b" " * (MAX_BODY_BYTES + 1)), "wsgi.input_terminated": True}
    answer = client.post("/orders", content_type="application/json", environ_overrides=environ)
    assert (answer.status_code, answer.get_json()["type"]) == (413, "/problems/too-large")
