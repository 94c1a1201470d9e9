"""Finding a run among those that there are, and telling how it stands."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from procession.cli.rundir import LATEST, REPORT, RUNS, is_over, names_in, usual_private
from procession.cli.words import suggestion
from procession.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_ATTEMPT = "attempt_"
_MOST_REPORT = 64 * 2**20  # bytes; a report that is larger is none of ours


class Run(NamedTuple):
    """A run's directory, ours or torchrun's.

    Attributes:
        path: The directory.
        report: What its report.json says; empty where it has none that can be read.
        attempt: The only attempt that is meant, None for all.
    """

    path: str
    report: dict[str, Any]
    attempt: int | None = None

    @property
    def name(self) -> str:
        """The directory's name, ``<run id>_<random>``."""
        return os.path.basename(self.path)

    @property
    def is_ours(self) -> bool:
        """True if its end can be told."""
        return bool(self.report)

    def is_over(self) -> bool:
        """True if it is known to have ended."""
        report = read_report(self.path)
        return bool(report) and (report.get("state") == "ended" or is_over(self.path))

    @property
    def is_there(self) -> bool:
        """False once somebody has removed it."""
        return os.path.isdir(self.path)

    def check_it_is_there(self) -> None:
        """See whether somebody has removed it meanwhile.

        Raises:
            UsageError: Somebody has.
        """
        if not self.is_there:
            raise UsageError(
                f"{self.path} has been removed meanwhile; what was shown is all there is."
            )

    def attempts(self) -> list[int]:
        """The numbers of its attempts so far."""
        if self.attempt is not None:
            return [self.attempt]
        return _numbers(self.path, _ATTEMPT)

    def attempt_directory(self, attempt: int) -> str:
        """Where the files of an attempt are."""
        return os.path.join(self.path, f"{_ATTEMPT}{attempt}")

    def ranks(self, attempt: int) -> list[int]:
        """The local ranks of an attempt, also those whose directories are still to be made."""
        workers = self.report.get("workers")
        planned = range(workers) if isinstance(workers, int) and workers < 2**22 else ()
        return sorted({*planned, *_numbers(self.attempt_directory(attempt), "")})

    def state(self) -> str:
        """How it stands, in a word or two."""
        if not self.is_ours:
            return "unknown"
        if self.report.get("state") == "ended":
            return f"exit {self.report.get('exit_code')}"
        return "killed" if self.is_over() else "running"


def run_at(path: str) -> Run:
    """The run in a directory that holds attempts, or that is one attempt of a run."""
    path = os.path.realpath(path)
    name = os.path.basename(path)
    if name.startswith(_ATTEMPT) and name[len(_ATTEMPT) :].isdigit():
        parent = os.path.dirname(path)
        return Run(parent, read_report(parent), int(name[len(_ATTEMPT) :]))
    return Run(path, read_report(path))


def read_report(path: str) -> dict[str, Any]:
    """What the report.json of a run's directory says; empty where that cannot be read."""
    try:
        with open(os.path.join(path, REPORT), "rb") as file:
            data = json.loads(file.read(_MOST_REPORT))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def bases(asked: str | None, environ: Mapping[str, str]) -> list[str]:
    """The directories in which runs are looked for, the likeliest first."""
    named = asked or environ.get("PET_LOG_DIR") or environ.get("PROCESSION_LOG_DIR")
    return [named] if named else [RUNS, usual_private()]


def find_run(text: str | None, places: Sequence[str]) -> Run:
    """The run that a person means.

    Args:
        text: A directory; ``latest``; the name or run id of a run, or the beginning of one. None
            for the latest.
        places: Where runs are looked for.

    Raises:
        UsageError: There is none, or there are several.
    """
    if text is not None and text != LATEST:
        if os.path.isdir(text) and (text not in all_names(places) or os.sep in text):
            return _in_directory(text)
        return _by_name(text, places)
    for base in places:
        if (run := latest(base)) is not None:
            return run
    _check_access(*places, *(os.path.join(base, LATEST) for base in places))
    raise UsageError(
        f"no run in {' or '.join(map(os.path.abspath, places))}. Name one: procession logs PATH; "
        "or the directory that runs are in: --log-dir DIR."
    )


def latest(base: str) -> Run | None:
    """The run in ``base`` that started last."""
    link = os.path.join(base, LATEST)
    if _numbers(link, _ATTEMPT):
        return run_at(link)
    names = run_names(base)
    if not names:
        return None
    return run_at(max((os.path.join(base, name) for name in names), key=started))


def run_names(base: str) -> list[str]:
    """The names of the runs in a directory."""
    paths = {name: os.path.join(base, name) for name in names_in(base)}
    return sorted(
        name
        for name, path in paths.items()
        if not os.path.islink(path) and (_numbers(path, _ATTEMPT) or read_report(path))
    )


def all_names(places: Iterable[str]) -> dict[str, str]:
    """The name and path of every run, the first place winning."""
    found: dict[str, str] = {}
    for base in places:
        for name in run_names(base):
            found.setdefault(name, os.path.join(base, name))
    return found


def matching(text: str, names: Iterable[str]) -> list[str]:
    """The names that are meant: that very name, else that run id, else that beginning. Pure."""
    names = list(names)
    for means in (str.__eq__, _has_id, str.startswith):
        if found := [name for name in names if means(name, text)]:
            return found
    return []


def _has_id(name: str, text: str) -> bool:
    return name.rpartition("_")[0] == text


def _by_name(text: str, places: Sequence[str]) -> Run:
    names = all_names(places)
    found = matching(text, names)
    if not found:
        _check_access(*(os.path.join(base, text) for base in places))
        ids = {name.rpartition("_")[0] for name in names}
        hint = suggestion(text, {*names, *ids}) or _some(names, places)
        raise UsageError(f"no run {text}.{hint}")
    if len(found) > 1 and not all(_has_id(name, text) for name in found):
        shown = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
        raise UsageError(f"{text} is the beginning of {len(found)} runs: {shown}. Give more of it.")
    return run_at(max((names[name] for name in found), key=started))  # one id, several runs


def _some(names: Mapping[str, str], places: Sequence[str]) -> str:
    if names:
        return " All runs: procession logs --list"
    return f" There are none in {' or '.join(map(os.path.abspath, places))}: --log-dir DIR."


def _check_access(*paths: str) -> None:
    """See whether one of these directories is there and only closed to us."""
    for path in filter(os.path.isdir, paths):
        if not os.access(path, os.R_OK | os.X_OK):
            owner = os.stat(path).st_uid
            raise UsageError(
                f"{os.path.realpath(path)} cannot be read: it is that of user {_user(owner)}. "
                "Become that user, or have it opened to you (chmod go+rX)."
            )


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _in_directory(path: str) -> Run:
    _check_access(path)
    run = run_at(path)
    if run.attempts() and os.path.isdir(run.attempt_directory(run.attempts()[0])):
        return run
    if (inner := latest(path)) is not None:
        return inner
    raise UsageError(
        f"{path} is no run: it has no directory attempt_0. Give a run's directory, "
        "or one that runs are in."
    )


def _numbers(directory: str, prefix: str) -> list[int]:
    """The numbers of the directory's entries that are the prefix and a number."""
    tails = [name[len(prefix) :] for name in names_in(directory) if name.startswith(prefix)]
    return sorted(int(tail) for tail in tails if tail.isascii() and tail.isdigit())


def started(path: str) -> float:
    """When the run in a directory was started, in seconds since the epoch, as far as can be told."""
    started = read_report(path).get("started_ns")
    if isinstance(started, int) and 0 <= started < 2**63:
        return started / 1e9
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
