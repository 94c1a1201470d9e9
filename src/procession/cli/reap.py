"""``procession reap``: end what a run left whose launcher and guardian were killed together."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any

from procession._guardian.sweep import describe
from procession._guardian.unguarded import end_run, remains, remove_deserted_cgroups
from procession._os.cgroup import leaves
from procession._os.members import all_members
from procession._os.runlock import plain_id
from procession.cli.parser import HelpFormatter
from procession.cli.rundir import REPORT, default_base
from procession.cli.say import let_go_of_lost_streams, say
from procession.errors import UsageError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Mapping, Sequence
    from typing import NoReturn

    from procession._guardian.sweep import Remains
    from procession._os.members import Members

_DESCRIPTION = "End what is left of runs whose launcher and guardian were both killed."
_EPILOG = """\
examples:
  procession reap              whatever such runs of yours have left on this host
  procession reap --dry-run    only show it
  procession reap latest       of the last run started from here

A run that somebody looks after, its launcher or its guardian, is never touched, unless it is named
and --force is given: then its guardian and all that it guards are killed, and its launcher is told so.

exit status: 0 nothing is left, 1 something would not die (it is named), 2 there is no such run, or it
is looked after
"""


def launch(words: Sequence[str]) -> int:
    """Run ``procession reap WORDS``.

    Args:
        words: The command line after ``reap``.

    Returns:
        The exit status, see docs/exit-status.md.
    """
    args = _parser().parse_args(words)
    try:
        return _reap(args)
    except UsageError as error:
        say(str(error))
        return error.exit_code
    finally:
        let_go_of_lost_streams()


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\nAll options: procession reap --help\n")


def _parser() -> ArgumentParser:
    parser = _Parser(
        prog="procession reap",
        usage="procession reap [--dry-run] [--all | RUN [--force]]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "run",
        nargs="?",
        metavar="RUN",
        help="a run's directory, its name in procession-runs, latest, or the id of a run "
        "(PROCESSION_RUN_ID of its processes)",
    )
    parser.add_argument("--all", action="store_true", help="all runs of yours, as without RUN")
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be ended, and end nothing"
    )
    parser.add_argument(
        "--force", action="store_true", help="end RUN even if somebody looks after it"
    )
    return parser


def _reap(args: Namespace) -> int:
    if args.run is not None and args.all:
        raise UsageError(f"RUN {args.run} and --all were both given. Give one of them.")
    if args.run is not None:
        return _reap_one(args)
    if args.force:
        raise UsageError("--force is for one run. Name it: procession reap RUN --force.")
    cgroups = leaves()
    runs = all_members(user=os.geteuid())
    lost = {run_id: run for run_id, run in runs.items() if not run.looked_after}
    statuses = [_end(run_id, run, args.dry_run) for run_id, run in sorted(lost.items())]
    if not args.dry_run:
        remove_deserted_cgroups(cgroups, runs.keys() - lost.keys())
    if kept := sorted(runs.keys() - lost.keys()):
        _tell(f"looked after, and not touched: {', '.join(kept)}")
    if not lost:
        _tell("nothing is left of any run that nobody looks after")
    return max(statuses, default=0)


def _reap_one(args: Namespace) -> int:
    runs = all_members()
    run_id = _named(args.run, runs)
    run = runs.get(run_id)
    if run is not None and run.looked_after and not args.force:
        raise UsageError(
            f"run {run_id} goes on: its launcher or its guardian lives "
            f"({_pids(run.keepers) or 'in a namespace that is hidden from here'}). "
            "To end it in an orderly way, send its launcher SIGTERM. "
            f"To kill all that it has started: procession reap {args.run} --force."
        )
    if run is None:
        _tell(f"run {run_id}: nothing is left on this host")
        return 0
    return _end(run_id, run, args.dry_run)


def _end(run_id: str, run: Members, dry: bool) -> int:
    """End a run, or only show what would be; return the exit status."""
    if dry:
        found = describe(remains(run), ()).values()
        _tell(f"run {run_id}: would end {_processes([*found])}")
        return 0
    killed, stuck = end_run(run_id)
    _tell(f"run {run_id}: ended {_processes(killed)}")
    if stuck:
        say(f"run {run_id}: {_processes(stuck)} would not die, though killed")
    return 1 if stuck else 0


def _named(text: str, runs: Mapping[str, Members]) -> str:
    """The id of the run that is meant.

    Raises:
        UsageError: There is no such run.
    """
    base = os.environ.get("PROCESSION_LOG_DIR") or default_base()
    for directory in (text, os.path.join(base, text)):
        report = _report(os.path.join(directory, REPORT))
        if report is not None:
            return _id_in(report, directory)
    if plain_id(text) in runs:
        return plain_id(text)
    known = f" There is: {', '.join(sorted(runs))}." if runs else ""
    raise UsageError(
        f"no run {text}: it is neither a directory with a {REPORT}, here or in {base}, nor the id of "
        f"a run with processes on this host.{known}"
    )


def _id_in(report: dict[str, Any], directory: str) -> str:
    run_id = report.get("procession_run_id")
    if not isinstance(run_id, str):
        raise UsageError(f"{os.path.join(directory, REPORT)} does not say which run it is of.")
    return plain_id(run_id)


def _report(path: str) -> dict[str, Any] | None:
    try:
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) else None


def _processes(found: Remains) -> str:
    """A count and the pids with their names. Pure."""
    if not found:
        return "nothing"
    word = "process" if len(found) == 1 else "processes"
    return f"{len(found)} {word}: {', '.join(f'{pid} {name}' for pid, name, *_ in sorted(found))}"


def _pids(pids: Iterable[int]) -> str:
    return ", ".join(f"pid {pid}" for pid in sorted(pids))


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
