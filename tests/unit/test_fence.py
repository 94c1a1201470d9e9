"""The clock of a lease."""

from __future__ import annotations

import pytest

from procession._store.fence import Fence, now

HELD_UP = "this host did not ask in time (it was stopped, or had no processor)"


@pytest.mark.parametrize(
    ("trouble", "why"), [("connection refused", "connection refused"), ("", HELD_UP)]
)
def test_a_loss_is_the_stores_or_this_hosts(trouble: str, why: str) -> None:
    assert Fence(5, now()).loss("etcd", trouble) == f"etcd has not answered for 3.5 s: {why}"


def test_it_is_lost_before_workers_are_killed_and_both_before_the_lease_ends() -> None:
    sent = now()
    fence = Fence(10, sent)
    assert fence.is_good
    assert sent < fence.good_until < fence.kill_at_ns / 1e9 < sent + fence.ttl
    fence.sent = sent - fence.patience
    assert not fence.is_good
