"""Which of a worker's two output streams an option speaks of, and for which local ranks."""

from __future__ import annotations

from enum import IntFlag

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

    from procession.errors import UsageError

__all__ = ["Std", "to_map"]

_ENTRY = r"([0-9]{1,7})(?:-([0-9]{1,7}))?:([0-3])"
# Linux numbers at most 2**22 processes (PID_MAX_LIMIT); a rank past it is a slip of the keyboard.
_LAST_LOCAL_RANK = 2**22
_GRAMMAR = (
    "give one value for every local rank (0 none, 1 stdout, 2 stderr, 3 both), "
    "or RANKS:VALUE[,RANKS:VALUE...] where RANKS is a local rank or a range of them, "
    "such as 3 or 0:1,10:3 or 0-3:3,4-7:2"
)


class Std(IntFlag):
    """A set of standard streams: none, stdout, stderr or both."""

    NONE = 0
    OUT = 1
    ERR = 2
    ALL = OUT | ERR

    @classmethod
    def from_str(cls, vm: str) -> Std | dict[int, Std]:
        """Read what the options ``-r`` and ``-t`` take.

        Args:
            vm: A value for every local rank (``"3"``), or a map of local ranks and ranges of them,
                both ends included (``"0:1,10:3"``, ``"0-3:3,8:1"``). Where a local rank is named
                twice the last entry holds.

        Returns:
            The value, or the map from local rank to value.

        Raises:
            UsageError: A ``ValueError`` that tells what was given and what can be.
        """
        if len(vm) == 1 and vm in "0123":
            return cls(int(vm))
        return {rank: value for entry in vm.split(",") for rank, value in _entry(entry, vm)}


def _entry(entry: str, given: str) -> Iterator[tuple[int, Std]]:
    match = _parse(entry)
    if match is None:
        raise _refusal(given, entry, "is neither a value nor RANKS:VALUE")
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    if last < first:
        raise _refusal(given, entry, "is a range that ends before it begins")
    if last > _LAST_LOCAL_RANK:
        raise _refusal(given, entry, f"names a local rank above {_LAST_LOCAL_RANK}")
    value = Std(int(match[3]))
    return ((rank, value) for rank in range(first, last + 1))


def _parse(entry: str) -> re.Match[str] | None:
    import re  # most who import `Std` parse nothing

    return re.fullmatch(_ENTRY, entry)


def _refusal(given: str, entry: str, why: str) -> UsageError:
    from procession.errors import UsageError

    where = "" if entry == given else f" (in {given!r})"
    return UsageError(f"{entry!r}{where} {why}: {_GRAMMAR}")


def to_map(val_or_map: Std | dict[int, Std], local_world_size: int) -> dict[int, Std]:
    """Say for each local rank which streams are meant.

    Args:
        val_or_map: One value for all, or a map in which a missing local rank means ``Std.NONE``.
        local_world_size: The number of local ranks; entries of others are left out.

    Returns:
        A value for every local rank from 0 to ``local_world_size - 1``, in this order.

    Example:
        >>> to_map(Std.OUT, 2)
        {0: <Std.OUT: 1>, 1: <Std.OUT: 1>}
        >>> to_map({1: Std.OUT}, 2)
        {0: <Std.NONE: 0>, 1: <Std.OUT: 1>}
    """
    ranks = range(local_world_size)
    if isinstance(val_or_map, Std):
        return dict.fromkeys(ranks, val_or_map)
    return {rank: val_or_map.get(rank, Std.NONE) for rank in ranks}
