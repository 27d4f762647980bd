import os
import socket

import pytest

from foldline_local.errors import LocalError
from foldline_local.ports import Wanted, is_taken, require_free


@pytest.fixture
def listener():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_a_taken_port_names_itself_its_owner_and_how_to_move_it(listener):
    wanted = Wanted("127.0.0.1", listener, "kafka", "FOLDLINE_LOCAL_PORT_KAFKA")
    with pytest.raises(LocalError) as raised:
        require_free([wanted])
    said = str(raised.value)
    assert f"port {listener} for kafka is taken by pid {os.getpid()}" in said
    assert said.endswith("; set FOLDLINE_LOCAL_PORT_KAFKA or FOLDLINE_LOCAL_PORT_OFFSET to move it")
    assert "\n" not in said


def test_of_many_taken_ports_the_first_are_named_and_what_moves_all(listener):
    """Such as when a whole stack runs there already."""
    names = ("kafka", "connect", "mongodb", "clickhouse", "command")
    wanted = [Wanted("127.0.0.1", listener, name, "X") for name in names]
    with pytest.raises(LocalError) as raised:
        require_free(wanted)
    said = str(raised.value)
    assert [name for name in names if f"for {name} " in said] == ["kafka", "connect", "mongodb"]
    assert said.endswith("; and 2 more; set FOLDLINE_LOCAL_PORT_OFFSET to move them")
    assert len(said) < 600


def test_a_wildcard_is_taken_when_one_address_is(listener):
    assert is_taken("0.0.0.0", listener)


def test_a_port_that_was_given_back_is_free(listener):
    with socket.create_connection(("127.0.0.1", listener)):
        pass
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
    assert not is_taken("127.0.0.1", port)


def test_an_address_of_another_machine_is_an_error_of_its_own():
    with pytest.raises(LocalError, match=r"cannot listen on 192\.0\.2\.1:4242"):
        is_taken("192.0.2.1", 4242)
