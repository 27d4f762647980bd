"""The order in which a slot comes to be."""

from typing import Any

from foldline_command import migrate
from foldline_command.database import SLOT_IS_NEW


class Recorder:
    """A connection to a database without a slot, which notes what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def execute(self, statement: Any, _: Any) -> "Recorder":
        self.said.append("look" if "SELECT 1" in str(statement) else "make")
        return self

    def one_or_none(self) -> None:
        return None

    def exec_driver_sql(self, statement: str) -> None:
        assert statement == SLOT_IS_NEW
        self.said.append("mark")

    def commit(self) -> None:
        self.said.append("commit")


def test_a_slot_is_known_to_be_new_before_it_is_there() -> None:
    connection: Any = Recorder()
    migrate._create_slot(connection)
    assert connection.said == ["look", "mark", "commit", "make", "commit"]
