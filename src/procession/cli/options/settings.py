"""What the options say, made of their text and checked. Pure, but for what argparse kept."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

from procession.cli.options.actions import Default
from procession.cli.words import suggestion
from procession.errors import UsageError
from procession.multiprocessing.std import Std, to_map

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping

    Streams = Std | dict[int, Std]

_HANDLERS = ("null", "console", "dynamic_rendezvous")
_TO_FILE = "jsonl:"
_SIZE = r"(?ai)([0-9]{1,15})([KMGT]?)(?:i?B)?"
# The last lines in a report come from the last 16 KiB, which have to be there.
_LEAST_LOG = 64 * 1024
_DEFAULT_GRACE = 30.0  # torch's, seconds
_UNCATCHABLE = {"SIGKILL", "SIGSTOP"}
# The kernel's word on this process itself, or on its children; nobody sends them to end a run.
_NOT_SENT = {"SIGCHLD", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS"}


def endpoint(text: str, option: str) -> tuple[str, int]:
    """Read ``HOST:PORT``, where HOST may be an IPv6 address in brackets.

    Raises:
        UsageError: Naming the option.
    """
    host, _, port = text.strip().rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        raise UsageError(f"{option} {text}: give HOST:PORT, such as 127.0.0.1:29500.")
    return host, valid_port(int(port), option)


def valid_port(port: int, option: str) -> int:
    """The port, if there can be such a one.

    Raises:
        UsageError: Naming the option.
    """
    if not 0 < port < 65536:
        raise UsageError(f"{option} {port}: a port is a number from 1 to 65535.")
    return port


def at_least(least: int, number: int, option: str) -> int:
    """The number, if it is not below the least one allowed.

    Raises:
        UsageError: Naming the option.
    """
    if number < least:
        raise UsageError(f"{option} {number}: give a number from {least} up.")
    return number


def streams(args: Namespace) -> tuple[Streams, Streams]:
    """What goes to files instead of the console, and what goes to both.

    Where neither is asked for, both streams of all workers go to both.

    Raises:
        UsageError: Naming the option.
    """
    if isinstance(args.redirects, Default) and isinstance(args.tee, Default):
        return Std.NONE, Std.ALL
    return _streams(args.redirects, "--redirects"), _streams(args.tee, "--tee")


def tty_rank(args: Namespace, workers: int) -> int | None:
    """The local rank of ``--tty-rank``, None for none.

    Raises:
        UsageError: There is no such rank, or it cannot have a terminal.
    """
    rank = args.tty_rank
    if rank is None:
        return None
    option = f"--tty-rank {rank}"
    if not 0 <= rank < workers:
        raise UsageError(f"{option}: give a local rank from 0 to {workers - 1}.")
    for other, given in (("--run-path", args.run_path), ("--preload", args.preload)):
        if given:
            raise UsageError(f"{option}: not together with {other}. Leave one of them out.")
    return int(rank)


def on_terminal(
    chosen: tuple[Streams, Streams], rank: int | None, workers: int
) -> tuple[Streams, Streams]:
    """What goes to files and to both, where one rank's output reaches the console by its terminal."""
    if rank is None:
        return chosen
    redirects, tee = (to_map(streams, workers) for streams in chosen)
    return redirects | {rank: Std.ALL}, tee | {rank: Std.NONE}


def _streams(text: str, option: str) -> Streams:
    try:
        return Std.from_str(text)
    except UsageError as error:
        raise UsageError(f"{option} {text}: {error}.") from None


def log_limit(text: str | None) -> int | None:
    """The bytes of ``--log-limit``, None where it is not given.

    Raises:
        UsageError: It is no size, or too small for what a report shows of a log.
    """
    if text is None:
        return None
    match = re.fullmatch(_SIZE, text.strip())
    if match is None:
        raise UsageError(f"--log-limit {text}: give bytes, or a size such as 64K, 500M or 2G.")
    limit = int(match[1]) << 10 * " KMGT".index(match[2].upper() or " ")
    if limit < _LEAST_LOG:
        raise UsageError(f"--log-limit {text}: give at least 64K.")
    return limit


def ranks_shown(text: str) -> set[int] | None:
    """The local ranks of ``--local-ranks-filter``, None for all.

    Raises:
        UsageError: It is no list of local ranks.
    """
    if not text:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(f"--local-ranks-filter {text}: give local ranks, such as 0,1,2.")
    return {int(part) for part in parts}


def signal_names(text: str | None, option: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The signals of a comma-separated list, by their names.

    Args:
        text: The list; None for the default.
        option: For messages.
        default: The default.

    Raises:
        UsageError: One is unknown, or no process can handle it.
    """
    if text is None:
        return default
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        _check_signal(name, f"{option} {text}")
    return names


def _check_signal(name: str, given: str) -> None:
    known = {each.name for each in signal.Signals}
    if name not in known:
        raise UsageError(f"{given}: there is no signal {name}.{suggestion(name, known)}")
    if name in _UNCATCHABLE:
        raise UsageError(f"{given}: no process can handle {name}. Leave it out.")
    if name in _NOT_SENT:
        raise UsageError(f"{given}: {name} is not a signal that is sent to a run. Leave it out.")


def grace(given: float | None, environ: Mapping[str, str]) -> float:
    """Seconds between SIGTERM and SIGKILL.

    Raises:
        UsageError: TORCH_ELASTIC_SHUTDOWN_TIMEOUT is looked at and is not such a time.
    """
    if given is not None:
        return float(given)
    text = environ.get("TORCH_ELASTIC_SHUTDOWN_TIMEOUT")
    try:
        return _DEFAULT_GRACE if text is None else seconds(text)
    except ValueError:
        raise UsageError(
            f"TORCH_ELASTIC_SHUTDOWN_TIMEOUT={text!r} in the environment: "
            "give whole seconds from 0 up, or inf."
        ) from None


def seconds(text: str) -> float:
    """Whole seconds from 0 up, or ``inf``; argparse calls a wrong value by this name.

    Raises:
        ValueError: It is neither.
    """
    value = float("inf") if text.strip() == "inf" else int(text)
    if value < 0:
        raise ValueError(text)
    return value


def have_files_for_filters(args: Namespace, directory: str | None) -> None:
    """See whether there is a place for the lines that are copied.

    Raises:
        UsageError: There is none.
    """
    for stream in ("stdout", "stderr"):
        if directory == os.devnull and getattr(args, f"duplicate_{stream}_filters"):
            raise UsageError(
                f"--duplicate-{stream}-filters: with --log-dir {directory} no files are kept, so there is "
                "none to copy lines to. Leave one of the two out."
            )


def check_handlers(args: Namespace) -> None:
    """Refuse what is not built yet, rather than leave it undone in silence.

    Raises:
        UsageError: Naming the option.
    """
    name = args.event_log_handler
    if name not in _HANDLERS and not (name.startswith(_TO_FILE) and name != _TO_FILE):
        near = suggestion(name, _HANDLERS)
        raise UsageError(
            f"--event-log-handler {name}: give null, console or jsonl:PATH.{near} "
            "events.jsonl in the run's directory is there in any case."
        )
    if args.numa_binding is not None:
        raise UsageError(
            f"--numa-binding {args.numa_binding}: binding workers to CPUs comes later. Leave it "
            "out, or let numactl bind them: procession run --no-python numactl --cpunodebind=0 "
            "python SCRIPT"
        )
