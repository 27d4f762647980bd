"""What is a write database that is away, and what is a fault of ours."""

import pytest
from flask.testing import FlaskClient
from psycopg import errors
from sqlalchemy.exc import DBAPIError

from foldline_command.app import create_app
from foldline_command.config import Settings


def client_of(error: DBAPIError) -> FlaskClient:
    app = create_app(Settings(write_database_url="postgresql://nobody@127.0.0.1:1/none"))

    def fail() -> str:
        raise error

    app.add_url_rule("/fail", view_func=fail)
    return app.test_client()


@pytest.mark.parametrize(
    ("orig", "status"),
    [
        (errors.ReadOnlySqlTransaction("cannot execute INSERT in a read-only transaction"), 503),
        (errors.UndefinedTable("not migrated"), 503),
        (errors.OperationalError("gone"), 503),
        (errors.InFailedSqlTransaction("ours"), 500),
        (errors.SyntaxError("ours"), 500),
    ],
)
def test_a_demoted_server_is_as_good_as_away(orig: errors.Error, status: int) -> None:
    error = DBAPIError.instance("SELECT 1", {}, orig, errors.Error)
    assert isinstance(error, DBAPIError)
    with client_of(error) as client:
        answer = client.get("/fail")
    assert answer.status_code == status
    assert ("Retry-After" in answer.headers) is (status == 503)
