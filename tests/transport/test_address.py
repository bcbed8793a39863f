from __future__ import annotations

import pytest

from bluesky_ext.transport.address import bind_address, connect_address


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("localhost:5567", "tcp://localhost:5567"),
        ("tcp://localhost:5567", "tcp://localhost:5567"),
        (("localhost", 5567), "tcp://localhost:5567"),
        (["localhost", "5567"], "tcp://localhost:5567"),
        (("tcp", "localhost", 5567), "tcp://localhost:5567"),
        (("tcp", "localhost:5567"), "tcp://localhost:5567"),
        ("ipc:///tmp/socket", "ipc:///tmp/socket"),
        (("ipc", "/tmp/socket"), "ipc:///tmp/socket"),
        (5567, "tcp://127.0.0.1:5567"),
        ("[::1]:5567", "tcp://[::1]:5567"),
    ],
)
def test_all_forms_of_an_address_are_understood(address, expected) -> None:
    assert connect_address(address) == bind_address(address) == expected


def test_host_and_port_may_be_two_arguments() -> None:
    assert connect_address("localhost", 5567) == "tcp://localhost:5567"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (None, "tcp://127.0.0.1:*"),
        ("localhost", "tcp://localhost:*"),
        ("*:5567", "tcp://*:5567"),
        ("[::1]", "tcp://[::1]:*"),
    ],
)
def test_a_socket_that_is_bound_needs_no_port_and_is_for_this_machine_unless_told_otherwise(address, expected) -> None:
    assert bind_address(address) == expected


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("localhost", "'localhost' has no port: give one, as in 'localhost:5567'"),
        ("localhost:http", "has the port 'http'"),
        ("localhost:70000", "has the port '70000'"),
        ("*:5567", "names no machine"),
    ],
)
def test_what_is_no_address_is_refused(address, message) -> None:
    with pytest.raises(ValueError, match="address") as error:
        connect_address(address)
    assert message in str(error.value)


@pytest.mark.parametrize("address", [3.5, True, (), ("a", "b", "c"), b"localhost:1", None])
def test_another_type_is_refused(address) -> None:
    with pytest.raises(TypeError, match="give 'localhost:5567'"):
        connect_address(address)


def test_a_port_beside_an_address_that_has_one_is_refused() -> None:
    with pytest.raises(ValueError, match="give the name of a machine and its port"):
        connect_address("localhost:5567", 5568)
