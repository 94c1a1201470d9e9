"""Says that binding is not there yet, in one place, so that no context is silent about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from procession.numa.binding import NumaOptions


def refuse_binding(numa_options: NumaOptions | None) -> None:
    """Raise where a binding is asked for.

    Args:
        numa_options: What the caller gave; None asks for nothing.

    Raises:
        NotImplementedError: A binding was asked for, which would have to be ignored.
    """
    if numa_options is None:
        return
    raise NotImplementedError(
        f"{numa_options!r}: procession does not bind workers to CPUs yet. "
        "Leave numa_options (--numa-binding) out, or let numactl bind them: "
        "procession run --no-python numactl --cpunodebind=0 --membind=0 python train.py"
    )
