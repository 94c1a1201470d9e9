"""An exception packed and rebuilt: the object itself, what hangs together with it, and words for the rest."""

from __future__ import annotations

import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from procession._worker.exceptions import MOST_EXCEPTIONS, MOST_FRAMES, pack
from procession.errors import RemoteError
from procession.multiprocessing.errors import ChildFailedError, ProcessFailure
from procession.multiprocessing.errors.remote import unpack

needs_groups = pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are of 3.11")


class WithStateError(Exception):
    def __init__(self, code: int, *, hint: str) -> None:
        super().__init__(code)
        self.hint = hint

    def __reduce__(self) -> Any:
        return _with_state, (self.args[0], self.hint)


def _with_state(code: int, hint: str) -> WithStateError:
    return WithStateError(code, hint=hint)


class NeedsTwoError(Exception):
    """Pickles, and cannot be rebuilt: the commonest of them."""

    def __init__(self, first: object, second: object) -> None:
        super().__init__(f"{first} and {second}")


class NotToBePickledError(Exception):
    def __reduce__(self) -> Any:
        raise ValueError("not me")


class EndsTheProcessError(Exception):
    def __reduce__(self) -> Any:
        return sys.exit, (0,)


class NotAnExceptionError(Exception):
    def __reduce__(self) -> Any:
        return str, ("a text",)


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


class FrozenError(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError("frozen")


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def there_and_back(error: BaseException) -> BaseException:
    found = unpack(pack(error))
    assert found is not None
    assert found is not error
    return found


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x", 3), OSError(2, "No such file", "/nowhere"), KeyError(("a", 1)), KeyboardInterrupt(),
        SystemExit(3), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), StopIteration(5), MemoryError(),
    ],
)  # fmt: skip
def test_the_object_comes_back(error: BaseException) -> None:
    found = there_and_back(raised(error))
    assert type(found) is type(error)
    assert (found.args, str(found)) == (error.args, str(error))


def test_state_of_its_own() -> None:
    found = there_and_back(WithStateError(3, hint="try 4"))
    assert isinstance(found, WithStateError)
    assert (found.args, found.hint) == ((3,), "try 4")


def test_frozen_ones_are_bound_to_their_cause() -> None:
    found = there_and_back(raised(FrozenError(3), ValueError("why")))
    assert isinstance(found, FrozenError)
    assert (found.args, repr(found.__cause__)) == ((3,), "ValueError('why')")


def test_causes_and_contexts() -> None:
    def chain() -> None:
        try:
            try:
                int("x")
            except ValueError as error:
                raise KeyError("middle") from error
        except KeyError:
            raise TypeError("last")  # noqa: B904 - a context is what is wanted

    with pytest.raises(TypeError) as caught:
        chain()
    found = there_and_back(caught.value)
    assert text(found) == text(caught.value)
    assert isinstance(found.__context__, KeyError)
    assert isinstance(found.__context__.__cause__, ValueError)


def test_from_none_hides_the_context() -> None:
    try:
        try:
            int("x")
        except ValueError:
            raise KeyError("k") from None
    except KeyError as error:
        found = there_and_back(error)
    assert found.__suppress_context__
    assert isinstance(found.__context__, ValueError)
    assert "ValueError" not in text(found)


@needs_groups
def test_groups_and_notes() -> None:
    group = raised(
        ExceptionGroup(  # type: ignore[name-defined]  # noqa: F821
            "several", [raised(ValueError(1), KeyError("why")), NeedsTwoError(1, 2), OSError("o")]
        )
    )
    group.add_note("while training")  # type: ignore[attr-defined]
    found: Any = there_and_back(group)
    assert (found.message, found.__notes__) == ("several", ["while training"])
    assert [type(error) for error in found.exceptions] == [ValueError, RemoteError, OSError]
    assert isinstance(found.exceptions[0].__cause__, KeyError)
    assert text(found).replace("procession.errors.RemoteError: NeedsTwoError", "NeedsTwo") == text(
        group
    ).replace(f"{__name__}.NeedsTwoError", "NeedsTwo")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: NeedsTwoError(1, 2), "NeedsTwoError: 1 and 2"),
        (lambda: NotToBePickledError("x"), "NotToBePickledError: x"),
        (lambda: ValueError("x", threading.Lock()), r"ValueError: ('x', <unlocked"),
        (lambda: EndsTheProcessError("x"), "EndsTheProcessError: x"),
        (lambda: NotAnExceptionError("x"), "NotAnExceptionError: x"),
        (lambda: RemoteError("ValueError: x"), "ValueError: x"),
    ],
)
def test_words_for_what_cannot_be_rebuilt(make: Callable[[], Exception], words: str) -> None:
    error = raised(make(), KeyError("why"))
    vars(error)["__notes__"] = ["a note"]
    found = there_and_back(error)
    assert type(found) is RemoteError
    assert str(found).startswith(words)
    assert repr(found.__cause__) == "KeyError('why')"
    assert vars(found)["__notes__"] == ["a note"]
    assert places(found) == places(error)


def test_one_that_has_no_words() -> None:
    assert type(there_and_back(MuteError("x"))) is MuteError
    vars(error := MuteError("x"))["lock"] = threading.Lock()
    assert str(there_and_back(error)) == "MuteError: <exception str() failed>"


def test_classes_that_the_launcher_has_not_got_come_by_value() -> None:
    class LocalError(Exception):
        code = 3

    found: Any = there_and_back(LocalError("x"))
    assert (type(found).__name__, found.code, found.args) == ("LocalError", 3, ("x",))


def test_circles() -> None:
    first, second = ValueError("first"), KeyError("second")
    first.__context__, second.__context__ = second, first
    vars(first)["myself"] = first
    vars(first)["other"], vars(second)["other"] = second, first
    found: Any = there_and_back(first)
    assert found.__context__.__context__ is found
    assert found.myself is found
    assert type(found.other) is KeyError


def test_long_chains_and_deep_recursion_are_cut() -> None:
    error = ValueError(0)
    for number in range(MOST_EXCEPTIONS + 100):
        last, error = error, ValueError(number)
        error.__cause__ = last
    found = there_and_back(error)
    length = 0
    link: BaseException | None = found
    while link is not None:
        length, link = length + 1, link.__cause__
    assert length == MOST_EXCEPTIONS

    def deep(left: int) -> None:
        if left == 0:
            raise ValueError("bottom")
        deep(left - 1)

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(3 * MOST_FRAMES)
    try:
        deep(2 * MOST_FRAMES)
    except ValueError as error:
        found = there_and_back(error)
    finally:
        sys.setrecursionlimit(limit)
    assert len(places(found)) == MOST_FRAMES
    assert places(found)[0][1] == "test_long_chains_and_deep_recursion_are_cut"


def test_the_traceback_is_printed_as_the_workers_was() -> None:
    def divide(values: list[int]) -> list[float]:
        return [value / 0 for value in values]

    with pytest.raises(ZeroDivisionError) as caught:
        divide([1])
    assert text(there_and_back(caught.value)) == text(caught.value)


@pytest.mark.parametrize(
    "filename", ["<string>", "nowhere/a b.py", "", "a\0b", "<ipython-input-1-0123>"]
)
def test_places_in_files_that_are_none(filename: str) -> None:
    code = compile("1 / 0", "here", "exec").replace(co_filename=filename)
    try:
        exec(code, {})
    except ZeroDivisionError as error:
        found = there_and_back(error)
    assert type(found) is ZeroDivisionError
    assert places(found)[-1] == (filename, "<module>", 1) or "\0" in filename


@pytest.mark.parametrize("cut", [0, 1, 50, -1])
def test_what_is_torn_is_nothing(cut: int) -> None:
    assert unpack(pack(ValueError("x"))[:cut]) is None


def test_a_failure_rebuilds_it_on_demand_and_takes_it_along() -> None:
    failure = ProcessFailure(0, 7, 1, "", packed_exception=pack(raised(ValueError("x"))))
    assert repr(failure.exception) == "ValueError('x')"
    assert failure.exception is failure.exception
    copy = pickle.loads(pickle.dumps(ChildFailedError("train", {0: failure})))
    assert repr(copy.__cause__) == "ValueError('x')"
    assert copy.__cause__ is copy.failures[0].exception


def test_the_report_is_chained_to_the_first_failures_exception() -> None:
    late, early = (
        ProcessFailure(0, 7, 1, "", timestamp_ns=at, packed_exception=pack(ValueError(at)))
        for at in (2, 1)
    )
    assert repr(ChildFailedError("x", {0: late, 1: early}).__cause__) == "ValueError(1)"
    assert ChildFailedError("x", {0: ProcessFailure(0, 7, 1, "")}).__cause__ is None


def text(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def places(error: BaseException) -> list[tuple[str, str, int | None]]:
    frames = traceback.walk_tb(error.__traceback__)
    return [(frame.f_code.co_filename, frame.f_code.co_name, line) for frame, line in frames]
