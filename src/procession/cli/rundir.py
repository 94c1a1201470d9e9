"""The directory of a run: where it is made, who holds it, and how nothing half-made is left.

A run holds a shared flock on its directory as long as its launcher lives, whatever ends it. The lock
is taken before ``report.json`` is first written; so a directory that has a report and can be locked
is one of ours, and finished.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from procession.cli.mounts import network_file_system
from procession.cli.record import running_document
from procession.cli.report_file import ReportFile
from procession.cli.say import say
from procession.errors import UsageError
from procession.multiprocessing.logs_specs import LogsSpecs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from procession.multiprocessing.logs_dest import LogsDest

RUNS = "procession-runs"
REPORT = "report.json"
LATEST = "latest"


def default_base() -> str:
    """The directory in which runs make theirs if nothing else is asked for."""
    try:
        return os.path.abspath(RUNS)
    except FileNotFoundError:  # the current directory has been removed
        return RUNS


def usual_private() -> str:
    """The directory among temporary files that serves where the current one cannot be written to."""
    return os.path.join(os.environ.get("TMPDIR") or "/tmp", f"{RUNS}-{os.getuid()}")


class RunDirectory:
    """The directory of one run, from before it is made."""

    def __init__(
        self, asked: str | None, mark: str = "", about: Mapping[str, Any] | None = None
    ) -> None:
        """Make the directory in which runs make theirs.

        Args:
            asked: That directory, ``os.devnull`` for none; None for ``procession-runs`` here, or
                among temporary files where this directory cannot be written to.
            mark: PROCESSION_RUN_ID of the run, for who looks for its processes.
            about: What every state of ``report.json`` says beside its own.

        Raises:
            UsageError: It cannot be made or written to.
        """
        self.path: str | None = None
        self._mark = mark
        self._lock: int | None = None
        self._report: ReportFile | None = None
        self._made: list[str] = []
        self._about = dict(about or {})
        self.base = self._default() if asked is None else self._asked(asked)
        kind = network_file_system(self.base) if self.base != os.devnull else None
        if kind is not None:
            say(
                f"logs are on a network file system ({kind}), {self.base}, which may be slow. "
                "For a local one: --log-dir or PROCESSION_LOG_DIR."
            )

    def require_holes(self) -> None:
        """See whether the file system can release the beginning of a file, for ``--log-limit``.

        Raises:
            UsageError: It cannot.
        """
        from procession._os.holes import cannot_punch

        reason = "" if self.base == os.devnull else cannot_punch(self.base)
        if reason:
            self.discard()
            raise UsageError(
                f"--log-limit: the file system of {self.base} cannot release the beginning of a "
                f"file ({reason}). Leave --log-limit out, or choose another with --log-dir: ext4, "
                "xfs, btrfs and tmpfs can."
            )

    def watch(self, specs: LogsSpecs) -> LogsSpecs:
        """Have the places that ``specs`` makes tell this object where the run's directory is."""
        return _Watched(specs, self)

    def claim(self, destination: LogsDest) -> None:
        """Take note of the run's directory, and hold it, at the first attempt's places."""
        if self.path is None and (path := run_directory(destination)) is not None:
            self.path = path
            self._lock = _hold(path)
            self.write_report(running_document(os.getpid(), self._mark, time.time_ns()))

    def beside(self, name: str) -> str:
        """The path of a file of this run's; among temporary files where the run has no directory."""
        if self.path is not None:
            return os.path.join(self.path, name)
        return os.path.join(os.environ.get("TMPDIR") or "/tmp", f"procession-{self._mark}-{name}")

    def link_latest(self) -> None:
        """Let ``latest`` beside the run's directory lead to it."""
        if self.path is None:
            return
        base, name = os.path.split(self.path)
        link, fresh = os.path.join(base, LATEST), os.path.join(base, f".{LATEST}.{os.getpid()}")
        if os.path.lexists(link) and not os.path.islink(link):
            return
        try:
            with suppress(
                FileNotFoundError
            ):  # of one that was killed here, with our pid in its container
                os.unlink(fresh)
            os.symlink(name, fresh)
            os.replace(fresh, link)
        except OSError as error:
            say(f"{link} could not be set: {error.strerror}")

    def write_report(self, document: dict[str, Any]) -> None:
        """Put ``report.json`` into the run's directory, whole or not at all."""
        if self.path is None:
            return
        if self._report is None:
            self._report = ReportFile(os.path.join(self.path, REPORT))
        self._report.write({**document, **self._about})

    def discard(self) -> None:
        """Remove all that was made, after a start that failed."""
        from shutil import rmtree

        if self.path is not None:
            rmtree(self.path, ignore_errors=True)
        for path in reversed(self._made):
            _remove(path)
        self.path, self._made = None, []

    def close(self) -> None:
        """Let go of the run's directory."""
        if self._report is not None:
            self._report.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _asked(self, path: str) -> str:
        if path == os.devnull:
            return path
        path = os.path.abspath(path)
        reason = self._make(path)
        if reason is not None:
            raise unusable(path, reason)
        return path

    def _default(self) -> str:
        here = default_base()
        reason = self._make(here)
        if reason is not None:
            there = self._private()
            say(f"{here}: {reason}; logs go to {there}")
            return there
        self._have_git_ignore(os.path.join(here, ".gitignore"))
        return here

    def _private(self) -> str:
        """A directory among temporary files that nobody else can write to.

        Its usual name is known to everybody, and whoever makes it first could swap what is in it
        under us: one that is not ours alone is passed over for one of a new name.
        """
        usual = usual_private()
        base = os.path.dirname(usual)
        reason = ""
        for path in (usual, f"{usual}-{os.urandom(4).hex()}"):
            try:
                os.makedirs(base, exist_ok=True)
                with suppress(FileExistsError):
                    os.mkdir(path, 0o700)
                    self._made.append(path)
            except OSError as error:
                reason = f"{error.strerror} ({error.filename})"
            if _is_ours_alone(path):
                return path
        raise UsageError(
            f"no directory for logs: neither the current one nor {base} can be written to. {reason}. "
            "Name one: --log-dir or PROCESSION_LOG_DIR."
        )

    def _have_git_ignore(self, path: str) -> None:
        # If it cannot be made it is there, or it is no great loss.
        with suppress(OSError), open(path, "x", encoding="utf-8") as file:
            self._made.append(path)  # also where the disk has no room for what is to be in it
            file.write("*\n")

    def _make(self, path: str) -> str | None:
        """Make a directory and those above it; say why if it cannot be, or not be written to."""
        try:
            for directory in _missing(path):
                with suppress(FileExistsError):  # another run was quicker
                    os.mkdir(directory)
                    self._made.append(directory)
        except OSError as error:
            self.discard()
            return f"{error.strerror} ({error.filename})"
        if not os.path.isdir(path):
            return "is a file"
        return None if os.access(path, os.W_OK | os.X_OK) else "cannot be written to"


class _Watched(LogsSpecs):
    """Specs that tell a ``RunDirectory`` what they made."""

    def __init__(self, specs: LogsSpecs, directory: RunDirectory) -> None:
        super().__init__()
        self._specs = specs
        self._directory = directory

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        try:
            destination = self._specs.reify(envs)
        except OSError as error:
            raise unusable(self._directory.base, f"{error.strerror} ({error.filename})") from error
        self._directory.claim(destination)
        return destination

    @property
    def root_log_dir(self) -> str:
        return self._specs.root_log_dir


def unusable(path: str, reason: str) -> UsageError:
    """The exception for a log directory that does not serve."""
    return UsageError(f"--log-dir {path}: {reason}. Give a directory that can be written to.")


def run_directory(destination: LogsDest) -> str | None:
    """The directory of the run that files lie in, if they lie as in torch's tree. Pure."""
    for path in destination.error_files.values():
        attempt = os.path.dirname(os.path.dirname(path))
        if os.path.basename(attempt).startswith("attempt_"):
            return os.path.dirname(attempt)
    return None


def prune(base: str, keep: int) -> None:
    """Remove the oldest finished runs, so that ``keep`` runs are left with the one that asks.

    Args:
        base: The directory in which runs make theirs.
        keep: From 1 up.
    """
    from shutil import rmtree

    for path in surplus(_finished_runs(base), keep - 1):
        if not _has_processes(path):
            rmtree(path, ignore_errors=True)


def _finished_runs(base: str) -> list[tuple[float, str]]:
    """The runs that are over, each with the time of its end."""
    finished: list[tuple[float, str]] = []
    for name in names_in(base):
        path = os.path.join(base, name)
        if not os.path.islink(path) and is_over(path):
            with suppress(FileNotFoundError):  # no run, or another launcher is removing it
                finished.append((os.stat(os.path.join(path, REPORT)).st_mtime, path))
    return finished


def names_in(directory: str) -> list[str]:
    """What is in a directory; nothing where it cannot be read."""
    try:
        return os.listdir(directory)
    except OSError:
        return []


def surplus(finished: list[tuple[float, str]], keep: int) -> list[str]:
    """The runs to remove: all but the ``keep`` that ended last. Pure."""
    return [path for _, path in sorted(finished)[: max(len(finished) - keep, 0)]]


def is_over(path: str) -> bool:
    """Whether it is a directory that nobody holds; False where that cannot be told."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _has_processes(path: str) -> bool:
    """Whether a run whose launcher has been killed goes on without it, and writes its logs here."""
    try:
        with open(os.path.join(path, REPORT), encoding="utf-8") as file:
            report = json.load(file)
    except (OSError, ValueError):
        return False
    if not isinstance(report, dict) or report.get("state") != "running":
        return False
    from procession._os.members import members

    return bool(members(str(report.get("procession_run_id"))).pids)


def _hold(path: str) -> int | None:
    """Lock a directory for as long as the returned fd is open; None where it cannot be locked."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)  # whoever looks whether it is over has it for a moment
    except OSError:  # a file system without locks; `is_over` cannot lock there either
        os.close(fd)
        return None
    return fd


def _missing(path: str) -> list[str]:
    """The directories of a path that are not there, outermost first."""
    missing: list[str] = []
    while path and not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    return missing[::-1]


def _is_ours_alone(path: str) -> bool:
    try:
        facts = os.lstat(path)
    except OSError:
        return False
    mine = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid()
    return mine and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _remove(path: str) -> None:
    """Remove an empty directory, or the only file in one; by now another run may have its own there."""
    with suppress(OSError):
        if os.path.isdir(path):
            os.rmdir(path)
        elif len(os.listdir(os.path.dirname(path))) == 1:
            os.remove(path)
