"""The options of ``procession logs``, read and checked."""

from __future__ import annotations

import re
import time
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from procession.cli.parser import HelpFormatter
from procession.cli.words import nearest
from procession.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_EPILOG = """\
examples:
  procession logs                          the latest run, rank after rank
  procession logs -f                       and what is written from now on, until the run ends
  procession logs job --rank 0,3-5 --stream err
  procession logs -t --merge --since 5m    all ranks by time, of the last five minutes
  procession logs --grep 'loss=nan' -n 1   the last such line of each stream

RUN is a directory, a run's name or id or its beginning, or latest. Times are those at which
procession saw the output; see docs/logs.md.
"""
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGO = re.compile(r"([0-9]{1,9}(?:\.[0-9]+)?) *([smhdw]?)")
_RANKS = re.compile(r"([0-9]{1,7})(?:-([0-9]{1,7}))?")
_STREAMS = {"out": "stdout.log", "err": "stderr.log"}


class Asked(NamedTuple):
    """What a command line of ``procession logs`` asks for; see its help."""

    run: str | None
    follow: bool
    ranks: tuple[range, ...]
    streams: tuple[str, ...]
    attempt: int | None
    since_ns: int | None
    until_ns: int | None
    last: int | None
    grep: re.Pattern[str] | None
    merge: bool
    timestamps: bool
    prefix: bool
    list: bool
    log_dir: str | None

    @property
    def wants_times(self) -> bool:
        """True if what is shown depends on when it was written."""
        return self.merge or self.timestamps or bool(self.since_ns or self.until_ns)

    def wants(self, rank: int) -> bool:
        """True if this local rank is asked for."""
        return not self.ranks or any(rank in part for part in self.ranks)


def read_words(words: Sequence[str]) -> Asked:
    """Read a command line.

    Raises:
        SystemExit: Help was asked for.
        UsageError: It cannot be.
    """
    parser = _parser()
    args, unknown = parser.parse_known_args(list(words))
    if unknown:
        raise UsageError(_unknown(unknown[0], parser))
    if args.follow and args.until:
        raise UsageError("--follow and --until exclude each other: what comes has no end yet.")
    now = time.time()
    return Asked(
        run=args.run,
        follow=args.follow,
        ranks=ranks(args.rank, "--rank"),
        streams=_streams(args.stream),
        attempt=args.attempt,
        since_ns=_moment(args.since, now, "--since"),
        until_ns=_moment(args.until, now, "--until"),
        last=args.last,
        grep=_pattern(args.grep, args.ignore_case),
        merge=args.merge,
        timestamps=args.timestamps,
        prefix=not args.no_prefix,
        list=args.list,
        log_dir=args.log_dir,
    )


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}. All options: procession logs --help")


def _parser() -> ArgumentParser:
    parser = _Parser(
        prog="procession logs",
        usage="procession logs [OPTIONS] [RUN]",
        description="Show what the workers of a run have written.",
        epilog=_EPILOG,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="which run (default: the latest)")
    _add_choice(parser.add_argument_group("which part"))
    _add_form(parser.add_argument_group("in which form"))
    return parser


def _add_choice(group: Any) -> None:
    group.add_argument("--rank", metavar="RANKS", help="local ranks, such as 0,3-5 (default: all)")
    group.add_argument("--stream", metavar="WHICH", help="out or err (default: both)")
    group.add_argument(
        "--attempt",
        type=int,
        metavar="N",
        help="one attempt, counted from 0 (default: all, one after another)",
    )
    group.add_argument(
        *("-n", "--tail"),
        dest="last",
        type=_count,
        metavar="N",
        help="the last N lines of each stream of the last attempt; with --merge, of all together",
    )
    group.add_argument(
        "--since",
        metavar="TIME",
        help="what was written since: 5m (s, m, h, d, w), or 2026-11-25T19:30 in local time",
    )
    group.add_argument("--until", metavar="TIME", help="what was written until then, likewise")
    group.add_argument("--grep", metavar="RE", help="lines in which this expression is found")
    group.add_argument("-i", "--ignore-case", action="store_true", help="in --grep, a is A")


def _add_form(group: Any) -> None:
    group.add_argument(
        *("-f", "--follow"),
        action="store_true",
        help="go on with what is written from now on, through restarts, until the run ends",
    )
    group.add_argument("--merge", action="store_true", help="all streams by time")
    group.add_argument("-t", "--timestamps", action="store_true", help="a time before each line")
    group.add_argument(
        "--no-prefix", action="store_true", help="nothing like [default0]: before it"
    )
    group.add_argument("--list", action="store_true", help="show which runs there are, and no more")
    group.add_argument(
        "--log-dir",
        metavar="DIR",
        help="where runs are looked for (default: PROCESSION_LOG_DIR, then ./procession-runs)",
    )


def _unknown(word: str, parser: ArgumentParser) -> str:
    known = [name for action in parser._actions for name in action.option_strings]
    near = nearest(word.partition("=")[0], known) if word.startswith("-") else []
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    what = "unknown option" if word.startswith("-") else "one RUN at a time, so what is"
    return f"{what} {word}?{hint} All options: procession logs --help"


def ranks(text: str | None, option: str) -> tuple[range, ...]:
    """Read ranks and ranges of them, both ends included; none for all.

    Raises:
        UsageError: It is none.
    """
    parts = []
    for word in (text or "").split(",") if text is not None else ():
        match = _RANKS.fullmatch(word.strip())
        first = int(match[1]) if match else 0
        last = int(match[2] or first) if match else -1
        if last < first:
            raise UsageError(f"{option} {text}: give ranks and ranges of them, such as 0,3-5.")
        parts.append(range(first, last + 1))
    return tuple(parts)


def _streams(text: str | None) -> tuple[str, ...]:
    if text is None:
        return tuple(_STREAMS.values())
    name = text.strip().lower().removeprefix("std")
    if name not in _STREAMS:
        raise UsageError(f"--stream {text}: give out or err, or leave it out for both.")
    return (_STREAMS[name],)


def _count(text: str) -> int:
    if (number := int(text)) < 0:
        raise ValueError(text)
    return number


_count.__name__ = "number of lines"  # what argparse calls it in an error


def _moment(text: str | None, now: float, option: str) -> int | None:
    """A time as wall-clock ns: so long before ``now``, or a date."""
    if text is None:
        return None
    if match := _AGO.fullmatch(text.strip().lower()):
        return int((now - float(match[1]) * _UNITS[match[2]]) * 1e9)
    from datetime import datetime

    try:
        return int(datetime.fromisoformat(text.strip().replace("Z", "+00:00")).timestamp() * 1e9)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} {text}: give how long ago, such as 90s, 5m, 2h or 1d, "
            "or a time such as 2026-11-25T19:30."
        ) from None


def _pattern(text: str | None, ignore_case: bool) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        return re.compile(text, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise UsageError(f"--grep {text}: no regular expression: {error}.") from None
