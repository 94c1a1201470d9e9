"""Frames and fds between launcher and guardian."""

from __future__ import annotations

import os
from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st

from procession._guardian.channel import Channel
from procession._guardian.protocol import Decoder, encode
from procession._os import lean

VALUES = st.recursive(
    st.none() | st.integers(-(2**63), 2**63) | st.text() | st.binary(),
    lambda inner: st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
MESSAGES = st.lists(st.tuples(st.text(), VALUES), max_size=6)


@given(MESSAGES, st.lists(st.integers(1, 40), min_size=1))
def test_any_chunking_gives_the_messages_back(
    messages: list[tuple[object, ...]], sizes: list[int]
) -> None:
    stream = b"".join(encode(message, index) for index, message in enumerate(messages))
    decoder, got, at, turn = Decoder(), [], 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        got += decoder.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert got == [(message, index) for index, message in enumerate(messages)]


def test_surrogates_of_undecodable_names_survive() -> None:
    name = os.fsdecode(b"caf\xe9")
    assert Decoder().feed(encode((name,))) == [((name,), 0)]


def _pair() -> tuple[Channel, Channel]:
    ours, theirs = lean.socketpair()
    return Channel(ours), Channel(theirs)


def test_each_message_gets_its_own_fds_in_order() -> None:
    left, right = _pair()
    pipes = [os.pipe() for _ in range(6)]
    with closing(left), closing(right):
        left.send(("a",), [pipes[0][1], pipes[1][1]])
        left.send(("none",))
        left.send(("b",), [pipe[1] for pipe in pipes[2:]])
        got = list(right.receive())
    assert [(message, len(fds)) for message, fds in got] == [
        (("a",), 2),
        (("none",), 0),
        (("b",), 4),
    ]
    for index, fd in enumerate(fd for _, fds in got for fd in fds):
        assert not os.get_inheritable(fd)
        os.write(fd, b"%d" % index)
        os.close(fd)
    for index, (reader, writer) in enumerate(pipes):
        os.close(writer)
        assert os.read(reader, 10) == b"%d" % index
        os.close(reader)


def test_a_clogged_channel_keeps_what_the_socket_does_not_take() -> None:
    left, right = _pair()
    with closing(left), closing(right):
        big = "x" * 300_000
        for number in range(8):
            left.send((number, big))
        assert left.clogged
        got: list[object] = []
        while len(got) < 8:
            got += [message[0] for message, _ in right.receive()]
            left.flush()
        assert got == list(range(8))
        assert not left.clogged


def test_a_peer_that_is_gone_is_an_end_and_not_an_error() -> None:
    left, right = _pair()
    right.send(("last words",))
    left.send(("never read",))
    right.close()
    assert [message for message, _ in left.receive()] == [("last words",)]
    assert left.closed
    left.send(("into the void",))
    assert list(left.receive()) == []
    left.close()
