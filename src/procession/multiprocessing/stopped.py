"""The workers that procession ended, each of them described when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from procession.multiprocessing.errors import ProcessFailure

__all__ = ["Stopped"]


class Stopped(Mapping[int, "ProcessFailure"]):
    """Local rank to what is known of a worker that was stopped.

    One failure may end a thousand workers, who have nothing to say of its cause: what each of them wrote
    last is read from its files when it is first asked for, and not while the caller waits for the end.
    A pickle or a copy holds a plain dict.

    Args:
        ranks: The local ranks, in the order of their deaths.
        describe: Makes the description of one.
    """

    def __init__(self, ranks: Iterable[int], describe: Callable[[int], ProcessFailure]) -> None:
        self._known: dict[int, ProcessFailure | None] = dict.fromkeys(ranks)
        self._describe = describe

    def __getitem__(self, rank: int) -> ProcessFailure:
        known = self._known[rank]
        if known is None:
            known = self._known[rank] = self._describe(rank)
        return known

    def __iter__(self) -> Iterator[int]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, rank: object) -> bool:
        return rank in self._known

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)
