"""Where the output of each worker is to go; the places that come of it are in ``logs_dest``."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod

from procession._log import Logger
from procession.multiprocessing.std import Std, to_map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from procession.multiprocessing.logs_dest import LogsDest

__all__ = ["DefaultLogsSpecs", "LogsSpecs"]

logger = Logger(__name__)

_CONSOLE = ""  # in LogsDest: the stream is left as the launcher has it
_TEMPORARY_PREFIX = "procession_"


class LogsSpecs(ABC):
    """What is wished of the workers' output; ``reify`` makes places of it, once an attempt.

    Args:
        log_dir: Directory under which log files are made.
        redirects: Streams that go to a file, for all local ranks or by local rank.
        tee: Streams that go to a file and are shown on the console, likewise.
        local_ranks_filter: Local ranks whose output reaches the console; all where None or empty.
    """

    def __init__(
        self,
        log_dir: str | None = None,
        redirects: Std | dict[int, Std] = Std.NONE,
        tee: Std | dict[int, Std] = Std.NONE,
        local_ranks_filter: set[int] | None = None,
    ) -> None:
        self._root_log_dir = log_dir
        self._redirects = redirects
        self._tee = tee
        self._local_ranks_filter = local_ranks_filter

    @abstractmethod
    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        """Make what an attempt's log files need and say where they are.

        Args:
            envs: The environment that each local rank is to get. An implementation adds
                ``TORCHELASTIC_ERROR_FILE`` to each, and may read ``TORCHELASTIC_RUN_ID`` and
                ``TORCHELASTIC_RESTART_COUNT``.

        Returns:
            The places, with an entry for every local rank in ``stdouts``, ``stderrs`` and
            ``error_files``.
        """

    @property
    @abstractmethod
    def root_log_dir(self) -> str:
        """The directory under which all log files are made."""


class DefaultLogsSpecs(LogsSpecs):
    """A directory for each run, in it one for each attempt, in it one for each local rank.

    ::

        <log_dir>/<run id>_<random>/attempt_<n>/<local rank>/{stdout.log,stderr.log,error.json}
        <log_dir>/<run id>_<random>/attempt_<n>/{filtered_stdout.log,filtered_stderr.log}

    Args:
        log_dir: Made where it is missing; None or an empty string makes a temporary directory;
            ``os.devnull`` keeps no files.
        redirects: As in ``LogsSpecs``.
        tee: As in ``LogsSpecs``.
        local_ranks_filter: As in ``LogsSpecs``.

    Raises:
        NotADirectoryError: ``log_dir`` is a file.
        OSError: ``log_dir`` cannot be made.
    """

    def __init__(
        self,
        log_dir: str | None = None,
        redirects: Std | dict[int, Std] = Std.NONE,
        tee: Std | dict[int, Std] = Std.NONE,
        local_ranks_filter: set[int] | None = None,
    ) -> None:
        super().__init__(_root(log_dir), redirects, tee, local_ranks_filter)
        self._run_log_dir: str | None = None

    @property
    def root_log_dir(self) -> str:
        """The directory under which all runs of this object have theirs."""
        return str(self._root_log_dir)

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        """Make the directories of the attempt that ``envs`` speaks of.

        Args:
            envs: The environment of each local rank. ``TORCHELASTIC_ERROR_FILE`` is set in each;
                run id and attempt are read from that of local rank 0.

        Returns:
            The places of the attempt's files, none of which exists yet.

        Raises:
            OSError: A directory cannot be made.
        """
        if not envs:
            logger.warning("no worker is to be started: envs is empty")
        if self._root_log_dir == os.devnull:
            dest = _nowhere(len(envs))
        else:
            dest = self._attempt_dest(self._attempt_dir(envs.get(0, {})), len(envs))
            _make_directories(dest)
        _announce_error_files(dest, envs)
        return dest

    def _attempt_dir(self, env: dict[str, str]) -> str:
        if not self._run_log_dir:
            run_id = env.get("TORCHELASTIC_RUN_ID", "test_run_id")
            self._run_log_dir = self._make_log_dir(self._root_log_dir, run_id)
        attempt = env.get("TORCHELASTIC_RESTART_COUNT", "0")
        return os.path.join(self._run_log_dir, f"attempt_{attempt}")

    def _attempt_dest(self, attempt_dir: str, nprocs: int) -> LogsDest:
        return _attempt_dest(
            attempt_dir,
            to_map(self._redirects, nprocs),
            to_map(self._tee, nprocs),
            self._local_ranks_filter or range(nprocs),
        )

    def _make_log_dir(self, log_dir: str | None, rdzv_run_id: str) -> str:
        """Make this run's own directory; called once, at the first attempt."""
        base = _root(log_dir)
        _make_directory(base)
        name = rdzv_run_id.replace(os.sep, "_")
        # 32 random bits; tempfile would do the same and take 8 ms to import.
        run_dir = os.path.join(base, f"{name}_{os.urandom(4).hex()}")
        os.mkdir(run_dir, 0o700)
        logger.info("log directory: %s", run_dir)
        return run_dir

    def __repr__(self) -> str:
        return (
            f"DefaultLogsSpecs(root_log_dir={self._root_log_dir}, redirects={self._redirects}, "
            f"tee={self._tee}, local_ranks_filter={self._local_ranks_filter})"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DefaultLogsSpecs) and self._wish() == other._wish()

    __hash__ = None  # type: ignore[assignment]  # equal by fields that subclasses may change

    def _wish(self) -> tuple[object, ...]:
        return (self._root_log_dir, self._redirects, self._tee, self._local_ranks_filter)


def _root(log_dir: str | None) -> str:
    if not log_dir:
        from tempfile import mkdtemp

        return mkdtemp(prefix=_TEMPORARY_PREFIX)
    if log_dir != os.devnull:
        _make_directory(log_dir)
    return log_dir


def _make_directory(path: str) -> None:
    if os.path.exists(path) and not os.path.isdir(path):
        raise NotADirectoryError(
            f"log_dir: {path} is a file; give a directory (it is made where it is missing)"
        )
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        hint = f"{error.strerror}; log_dir has to be a directory that can be written to"
        raise OSError(error.errno, hint, error.filename) from error


def _attempt_dest(
    attempt_dir: str,
    redirects: dict[int, Std],
    tees: dict[int, Std],
    shown: Container[int],
) -> LogsDest:
    """The places of an attempt's files; what is teed is also redirected."""
    from procession.multiprocessing.logs_dest import LogsDest

    kept = {rank: redirects[rank] | tees[rank] for rank in redirects}
    teed = {rank: tees[rank] if rank in shown else Std.NONE for rank in tees}
    directories = {rank: os.path.join(attempt_dir, str(rank)) for rank in kept}
    consoles = {rank: _CONSOLE if rank in shown else os.devnull for rank in kept}
    stdouts = consoles | _files(directories, "stdout.log", kept, Std.OUT)
    stderrs = consoles | _files(directories, "stderr.log", kept, Std.ERR)
    return LogsDest(
        stdouts=stdouts,
        stderrs=stderrs,
        tee_stdouts=_files(directories, "stdout.log", teed, Std.OUT),
        tee_stderrs=_files(directories, "stderr.log", teed, Std.ERR),
        error_files={rank: os.path.join(path, "error.json") for rank, path in directories.items()},
        filtered_stdout=os.path.join(attempt_dir, "filtered_stdout.log"),
        filtered_stderr=os.path.join(attempt_dir, "filtered_stderr.log"),
    )


def _files(
    directories: dict[int, str], name: str, chosen: dict[int, Std], stream: Std
) -> dict[int, str]:
    """The file of ``stream`` of every rank that has chosen it."""
    return {r: os.path.join(directories[r], name) for r in directories if chosen[r] & stream}


def _nowhere(nprocs: int) -> LogsDest:
    """``log_dir=os.devnull``: the workers write to the console, and nothing is kept."""
    from procession.multiprocessing.logs_dest import LogsDest

    ranks = range(nprocs)
    return LogsDest(
        stdouts=dict.fromkeys(ranks, _CONSOLE),
        stderrs=dict.fromkeys(ranks, _CONSOLE),
        tee_stdouts=dict.fromkeys(ranks, os.devnull),
        tee_stderrs=dict.fromkeys(ranks, os.devnull),
        error_files=dict.fromkeys(ranks, os.devnull),
        filtered_stdout=os.path.join(os.devnull, "filtered_stdout.log"),
        filtered_stderr=os.path.join(os.devnull, "filtered_stderr.log"),
    )


def _make_directories(dest: LogsDest) -> None:
    """Make the attempt's directory, emptied of what an earlier one of its number left."""
    attempt_dir = os.path.dirname(dest.filtered_stdout)
    if os.path.lexists(attempt_dir):
        from shutil import rmtree

        rmtree(attempt_dir, ignore_errors=True)
    os.makedirs(attempt_dir)
    for path in dest.error_files.values():
        os.mkdir(os.path.dirname(path))


def _announce_error_files(dest: LogsDest, envs: dict[int, dict[str, str]]) -> None:
    for rank, path in dest.error_files.items():
        envs[rank]["TORCHELASTIC_ERROR_FILE"] = "" if path == os.devnull else path
