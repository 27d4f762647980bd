"""What the stack decides about processes, with a supervisord that only remembers."""

import sys
from pathlib import Path

import pytest

from foldline_local import stack as stack_module
from foldline_local.config import load
from foldline_local.errors import LocalError
from foldline_local.stack import Stack
from foldline_local.supervisor import State, home_of


class Supervisord:
    """Runs for somebody, and notes what it is told to do."""

    def __init__(self, home):
        self._home = home
        self.told = []

    def is_running(self):
        return True

    def home(self):
        return self._home

    def states(self):
        return {"kafka": State("kafka", "RUNNING", 4242, 10)}

    def stop(self, name):
        self.told.append(f"stop {name}")
        return False

    def shutdown(self):
        self.told.append("shutdown")


@pytest.fixture
def told(tmp_path):
    """A stack whose supervisord runs from another clone, and what it reported."""
    reported = []
    stack = Stack(
        load({"XDG_CACHE_HOME": str(tmp_path / "cache")}, directory=tmp_path / "stack"),
        lambda name, event, seconds: reported.append(f"{name} {event}"),
    )
    stack.supervisor = Supervisord(Path("/home/ada/foldline"))
    return stack, reported


def test_up_leaves_the_stack_of_another_clone_alone_and_says_whose_it_is(told, monkeypatch):
    stack, reported = told
    monkeypatch.setattr(stack_module, "install", lambda *_: pytest.fail("it installed something"))
    with pytest.raises(LocalError) as raised:
        stack.up()
    assert str(raised.value) == (
        f"a stack from /home/ada/foldline runs in {stack.settings.directory}; stop it there (make down) or set "
        "FOLDLINE_LOCAL_DIR and FOLDLINE_LOCAL_PORT_OFFSET"
    )
    assert (stack.supervisor.told, reported) == ([], [])


def test_down_stops_the_stack_of_another_clone_and_says_whose_it_is(told):
    stack, reported = told
    stack.down()
    assert reported[0] == "stack runs from /home/ada/foldline"
    assert stack.supervisor.told == ["stop kafka", "shutdown"]


def test_a_stack_s_folder_that_is_a_file_is_called_one(tmp_path):
    (tmp_path / "stack").touch()
    stack = Stack(load({}, directory=tmp_path / "stack"), lambda *_: None)
    with pytest.raises(LocalError, match=r"stack is a file, not a directory$"):
        stack.down()


def test_a_stack_of_this_installation_is_nobody_else_s(told):
    stack, _ = told
    stack.supervisor = Supervisord(home_of(Path(sys.executable)))
    assert stack.foreign_home() is None


@pytest.mark.parametrize(
    ("python", "home"),
    [
        ("/home/ada/foldline/.venv/bin/python", "/home/ada/foldline"),
        ("/opt/foldline/bin/python3", "/opt/foldline"),
    ],
)
def test_an_installation_is_called_by_its_clone_or_its_environment(python, home):
    assert home_of(Path(python)) == Path(home)
