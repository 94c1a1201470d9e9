"""The options of ``procession run`` that say where output goes, and in which form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procession.cli.options.actions import Default, option, spellings, switch

if TYPE_CHECKING:
    from argparse import ArgumentParser, _ArgumentGroup


def comma_separated(text: str) -> list[str]:
    """Cut at single commas; a doubled comma stands for one."""
    return [part.replace("\0", ",") for part in text.replace(",,", "\0").split(",")]


def add_output(parser: ArgumentParser) -> None:
    """Add them to a parser."""
    group = parser.add_argument_group("output")
    _log_directory(group)
    _keeping(group)
    _streams(group)
    _console(group)
    _filters(group)
    group.add_argument(
        *spellings(("--logs-specs",)),
        type=str,
        default=None,
        metavar="NAME",
        help="entry point of the group torchrun.logs_specs that says where output goes",
    )
    option(
        group,
        "--event-log-handler",
        type=str,
        default="null",
        metavar="NAME",
        help="where events go beside the run's events.jsonl: null (nowhere), console, jsonl:PATH "
        "(default: null)",
    )


def _log_directory(group: _ArgumentGroup) -> None:
    option(
        group,
        "--log-dir",
        type=str,
        default=None,
        metavar="DIR",
        help="directory in which each run makes its own (default: PROCESSION_LOG_DIR, "
        "then ./procession-runs)",
    )
    option(
        group,
        "--keep-runs",
        type=int,
        default=None,
        metavar="N",
        help="at the end remove the oldest finished runs, so that N are left (procession's own; "
        "default: keep all)",
    )


def _keeping(group: _ArgumentGroup) -> None:
    option(
        group,
        "--log-limit",
        type=str,
        default=None,
        metavar="SIZE",
        help="bytes of each stream that may stay on the disk, such as 500M or 2G: the oldest are "
        "released (procession's own; default: all stay)",
    )
    option(
        group,
        "--capture",
        type=str,
        default="file",
        metavar="HOW",
        help="how captured output gets to its file: file (the worker writes it), pipe (a process of "
        "ours does, and the worker waits for it), pipe-drop (the oldest lines are dropped instead), "
        "or by local rank as in 0-3:pipe (procession's own; default: file)",
    )
    option(
        group,
        "--tty-rank",
        type=int,
        default=None,
        metavar="RANK",
        help="local rank that has your terminal: for pdb, prompts, progress bars; what it writes goes "
        "to its stdout.log too (procession's own)",
    )


def _streams(group: _ArgumentGroup) -> None:
    option(
        group,
        "-r",
        "--redirects",
        default=Default("0"),
        metavar="WHICH",
        help="streams that go to a file instead of the console: 0 none, 1 stdout, 2 stderr, "
        "3 both, or by local rank as in 0:3,4-7:2 (default: see --tee)",
    )
    option(
        group,
        "-t",
        "--tee",
        default=Default("0"),
        metavar="WHICH",
        help="streams that go to a file and to the console, written likewise (default: 3 where "
        "--redirects is not given either, else 0)",
    )


def _console(group: _ArgumentGroup) -> None:
    for name, metavar, text in (
        (
            "console",
            "RANKS",
            "global ranks that are shown on the console, such as 0,4-7 (default: all)",
        ),
        (
            "prefix",
            "TEXT",
            "head of each line, with ${rank}, ${local_rank}, ${role_name}, ${host}, ${time} "
            "(default: TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE, then [${role_name}${local_rank}]:)",
        ),
        ("line-limit", "SIZE", "show at most so many bytes of a line, such as 64K (default: 128M)"),
    ):
        own = f"{text} (procession's own)"
        option(group, f"--{name}", type=str, default=None, metavar=metavar, help=own)
    switch(
        group,
        "--fold",
        help="show a line that several ranks print once, as [0-7] (8x): (procession's own)",
    )


def _filters(group: _ArgumentGroup) -> None:
    option(
        group,
        "--local-ranks-filter",
        type=str,
        default="",
        metavar="RANKS",
        help="local ranks whose output reaches the console, such as 0,2 (default: all)",
    )
    for stream in ("stdout", "stderr"):
        option(
            group,
            f"--duplicate-{stream}-filters",
            type=comma_separated,
            default=[],
            metavar="WORDS",
            help=f"copy teed {stream} lines that contain one of these words to "
            f"filtered_{stream}.log; a comma within a word is written twice",
        )
