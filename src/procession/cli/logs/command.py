"""``procession logs``: what the workers of a run have written, also while they write it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from procession._logs.history import Part, Wish, hand_on, show
from procession._logs.look import TIME, coloured, short, wanted_colour
from procession._logs.sinks import columns_of, open_sink
from procession._os.standard import fill_standard
from procession.cli.logs.flags import Asked, read_words
from procession.cli.runs import Run, bases, find_run
from procession.cli.say import let_go_of_lost_streams, say, whisper
from procession.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


_INTERRUPTED = 130  # 128 + SIGINT, as of a shell
_UNKNOWN_TIME = b"-" * 23 + b" "


class Source(NamedTuple):
    """A file of a run and what stands before its lines."""

    path: str
    prefix: bytes


def launch(words: Sequence[str]) -> int:
    """Run ``procession logs WORDS``.

    Args:
        words: The command line after ``logs``.

    Returns:
        The exit status: 0, 2 where it cannot be done as it was asked for, 130 after Ctrl-C.
    """
    try:
        asked = read_words(words)
        places = bases(asked.log_dir, os.environ)
        _have_output()
        if asked.list:
            return _list(places)
        _allow_many_files()
        return 0 if _show(find_run(asked.run, places), asked) else UsageError.exit_code
    except UsageError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    finally:
        let_go_of_lost_streams()


def _list(places: Sequence[str]) -> int:
    from procession.cli.logs.table import table

    try:
        sys.stdout.write(table(places))
        sys.stdout.flush()
    except BrokenPipeError:
        return 0
    except OSError as error:
        raise UsageError(f"standard output takes no more: {error.strerror}.") from error
    return 0


def _show(run: Run, asked: Asked) -> bool:
    """Show it; False where standard output did not take all of it, as on a full disk."""
    check(run, asked)
    if asked.follow:
        from procession.cli.logs.follow import follow

        return follow(run, asked)
    sink = open_sink(sys.stdout)
    untold: list[Part] = []
    for attempt in attempts(run, asked):
        announce(run, attempt)
        files = sources(run, attempt, asked)
        what = wish(asked, files)
        show(_parts(files, what, untold), what, sink)
    sink.finish()
    hand_on(sink)
    run.check_it_is_there()
    if untold and asked.wants_times:
        say_untold(run)
    return sink.failure is None


def announce(run: Run, attempt: int) -> None:
    """Say whose lines follow, where there are several attempts."""
    if len(run.attempts()) > 1:
        whisper(f"attempt {attempt}")


def check(run: Run, asked: Asked) -> None:
    """See whether the run has what is asked for.

    Raises:
        UsageError: It has not.
    """
    numbers = run.attempts()
    if asked.attempt is not None and asked.attempt not in numbers and not asked.follow:
        there = ", ".join(map(str, numbers)) or "none"
        raise UsageError(f"--attempt {asked.attempt}: {run.name} has {there}, counted from 0.")
    ranks = sorted({rank for number in numbers for rank in run.ranks(number)})
    if ranks and not any(map(asked.wants, ranks)):
        raise UsageError(f"--rank: {run.name} has the local ranks 0 to {ranks[-1]} alone.")


def attempts(run: Run, asked: Asked) -> list[int]:
    """The attempts that are meant: of last lines, the last one's."""
    if asked.attempt is not None:
        return [asked.attempt]
    numbers = run.attempts()
    return numbers[-1:] if asked.last is not None else numbers


def sources(run: Run, attempt: int, asked: Asked) -> list[Source]:
    """The files of an attempt that are meant, there or not, by rank."""
    directory = run.attempt_directory(attempt)
    return [
        Source(
            os.path.join(directory, str(rank), name), _prefix(run, rank) if asked.prefix else b""
        )
        for rank in run.ranks(attempt)
        if asked.wants(rank)
        for name in asked.streams
    ]


def _prefix(run: Run, rank: int) -> bytes:
    """What the console showed before the lines of a rank, in its colour where colours are wished."""
    given, role = run.report.get("prefixes"), run.report.get("role")
    text = given.get(str(rank)) if isinstance(given, dict) else None
    if not isinstance(text, str):
        text = short(role if isinstance(role, str) else "default", rank, columns_of(sys.stdout))
    prefix = text.encode(errors="surrogateescape")
    wished = wanted_colour(os.environ)
    paints = sys.stdout.isatty() if wished is None else wished
    return coloured(prefix, rank) if paints else prefix


def wish(asked: Asked, files: list[Source], *, whole: bool = False) -> Wish:
    """What is asked for of each stream."""
    return Wish(
        since_ns=asked.since_ns,
        until_ns=asked.until_ns,
        last=asked.last,
        keep=keeper(asked),
        head=header(asked, files),
        merge=asked.merge,
        whole=whole,
        screen=sys.stdout.isatty(),
    )


def keeper(asked: Asked) -> Callable[[str], bool] | None:
    """Which lines are wanted; None for all."""
    if asked.grep is None:
        return None
    search = asked.grep.search
    return lambda line: search(line) is not None


def header(asked: Asked, files: list[Source]) -> Callable[[int | None, bytes], bytes] | None:
    """What makes of a time and a prefix what stands before a line; None where that is the prefix."""
    if not asked.timestamps and not any(TIME in source.prefix for source in files):
        return None

    def head(ns: int | None, prefix: bytes) -> bytes:
        text = stamp(ns)
        return text * asked.timestamps + prefix.replace(TIME, text[11:23])  # the time of day alone

    return head


def stamp(ns: int | None) -> bytes:
    """A time as it stands before a line: local, to the millisecond."""
    import time

    if ns is None:
        return _UNKNOWN_TIME
    seconds, ms = divmod(ns // 1_000_000, 1000)
    return b"%s.%03d " % (
        time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)).encode(),
        ms,
    )


def _parts(files: list[Source], what: Wish, untold: list[Part]) -> Iterator[Part]:
    """Open files as they are asked for; ``untold`` gets those whose times are not known."""
    for source in files:
        part = open_part(source, what)
        if part is not None:
            untold += [] if part.is_told else [part]
            yield part


def open_part(source: Source, what: Wish) -> Part | None:
    """Open what is wanted of a file; None where there is none.

    Raises:
        UsageError: It is there and cannot be read.
    """
    try:
        return Part(source.path, source.prefix, what)
    except FileNotFoundError:  # a stream that was not captured
        return None
    except OSError as error:
        raise UsageError(f"{source.path} cannot be read: {error.strerror}.") from None


def say_untold(run: Run) -> None:
    """Say that times are not known."""
    say(
        f"times of {run.name} are not known, for it has no index: "
        "each file counts as written when it was last written to"
    )


def _have_output() -> None:
    """What whoever started us has closed is /dev/null."""
    if 1 in fill_standard():
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - it was None


def _allow_many_files() -> None:
    """A run of a thousand ranks has more files than a shell allows a process by default."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
