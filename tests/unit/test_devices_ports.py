"""MASTER_PORT: from where, and that nobody has it."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procession._os.ports import candidates, free_port, is_free


@given(st.integers(1, 65535), st.integers(0, 65535), st.binary(min_size=2, max_size=40))
def test_a_candidate_is_a_port_outside_the_ephemeral_range(
    low: int, width: int, noise: bytes
) -> None:
    high = min(low + width, 65535)
    ports = list(candidates((low, high), noise))
    assert len(ports) == len(noise) // 2
    assert all(1024 <= port <= 65535 for port in ports)
    if low > 1024 or high < 65535:
        assert not [port for port in ports if low <= port <= high]


@pytest.mark.parametrize(
    ("ephemeral", "expected"),
    [
        ((32768, 60999), {20000, 32767}),
        ((10000, 65535), {1024, 9999}),
        ((1024, 60000), {60001, 65535}),
        ((1024, 65535), {1024, 65535}),
    ],
)
def test_the_ends_of_where_candidates_are_from(
    ephemeral: tuple[int, int], expected: set[int]
) -> None:
    noise = b"".join(number.to_bytes(2, "big") for number in range(65536))
    ports = set(candidates(ephemeral, noise))
    assert {min(ports), max(ports)} == expected


@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0"),
        (socket.AF_INET6, "::1"),
        (socket.AF_INET6, "::"),
    ],
)
@pytest.mark.parametrize("listening", [True, False])
def test_a_port_that_somebody_has_is_not_free(
    family: socket.AddressFamily, address: str, listening: bool
) -> None:
    try:
        taken = socket.socket(family)
        taken.bind((address, 0))
    except OSError:
        pytest.skip("no such addresses on this host")
    with taken:
        if listening:
            taken.listen()
        port = taken.getsockname()[1]
        assert not is_free(port)
    assert is_free(port)


def test_a_free_port_can_be_had_by_those_who_ask_for_it() -> None:
    port = free_port()
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))
        server.listen()
        assert not is_free(port)


def test_ports_differ() -> None:
    assert len({free_port() for _ in range(5)}) > 1


def test_a_port_that_is_promised_is_not_given() -> None:
    assert {free_port(range(1, 65536, 2)) % 2 for _ in range(20)} == {0}
