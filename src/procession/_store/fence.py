"""The clock of a lease: lost here before it is lost there."""

from __future__ import annotations

from procession._os.boottime import boottime_ns

# Of a lease's time: how often it is begun anew, how soon again after a failed try, how long one try
# takes, and when it counts as lost. The rest, up to 1, is for killing workers; the store counts from
# when it hears of us, which is later than when we have sent, so its lease never ends before ours
# (feasible drift of clocks: one percent).
INTERVAL = 0.2
AGAIN = 0.05
TRY = 0.2
_LOST = 0.7
_KILLED = 0.85  # the time by which workers are killed even where this process has been stopped


class Fence:
    """A lease, as the host that holds it has to see it.

    Args:
        ttl: Seconds that the lease lasts without a sign of life.
        sent: When the sign of life was sent (``now``) that the store has answered last.
    """

    def __init__(self, ttl: float, sent: float) -> None:
        self.ttl = ttl
        self.sent = sent

    @property
    def patience(self) -> float:
        """Seconds without an answer after which the lease counts as lost."""
        return _LOST * self.ttl

    @property
    def good_until(self) -> float:
        """When it counts as lost, unless the store answers."""
        return self.sent + self.patience

    @property
    def is_good(self) -> bool:
        """Whether the lease cannot have run out yet, nor soon will."""
        return now() < self.good_until

    @property
    def kill_at_ns(self) -> int:
        """When workers have to be gone, CLOCK_BOOTTIME ns; put off by each answer of the store."""
        return int((self.sent + _KILLED * self.ttl) * 1e9)

    def loss(self, store: object, trouble: str) -> str:
        """Say why it is lost.

        Args:
            store: What people call it.
            trouble: What came of the last try; empty where none has failed, and so none was made in time.
        """
        why = trouble or "this host did not ask in time (it was stopped, or had no processor)"
        return f"{store} has not answered for {self.patience:.1f} s: {why}"


def now() -> float:
    """Seconds that go on while the host sleeps."""
    return boottime_ns() / 1e9
