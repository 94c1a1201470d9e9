"""Which failures are the same error. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from procession._report.clean import clean_lines, shape

if TYPE_CHECKING:
    from collections.abc import Iterable

    from procession._report.view import FailureView


class Group(NamedTuple):
    """Failures that differ at most in numbers: ranks, pids, addresses, sizes.

    Attributes:
        members: In order of time.
        identical: They do not even differ in numbers.
    """

    members: tuple[FailureView, ...]
    identical: bool

    @property
    def first(self) -> FailureView:
        """The one whose error stands for all."""
        return self.members[0]


def fold(failures: Iterable[FailureView]) -> list[Group]:
    """Failures that look alike, each kind at the place of its first.

    Args:
        failures: In order of time.

    Returns:
        The groups; every failure is in exactly one.
    """
    kinds: dict[tuple[object, ...], list[FailureView]] = {}
    for failure in failures:
        key = (failure.exitcode, failure.core_dumped, failure.problem, shape(_error(failure)))
        kinds.setdefault(key, []).append(failure)
    return [Group(tuple(alike), _identical(alike)) for alike in kinds.values()]


def _identical(alike: list[FailureView]) -> bool:
    return all(_error(failure) == _error(alike[0]) for failure in alike)


def _error(failure: FailureView) -> list[str]:
    """What tells one error from another."""
    if failure.traceback:
        return clean_lines(failure.traceback)
    return clean_lines("\n".join([*failure.last_lines, failure.message]))
