"""The options of ``procession run`` by topic: torchrun 2.13's, and ours where the help says so."""

from __future__ import annotations

from argparse import REMAINDER
from typing import TYPE_CHECKING, Any

from procession.cli.actions import Default, DefaultNumber, EnvOption, EnvSwitch
from procession.cli.parser import LaunchParser
from procession.cli.settings import seconds

if TYPE_CHECKING:
    from argparse import Action, ArgumentParser, _ArgumentGroup

_DESCRIPTION = "Start copies of SCRIPT, one per local rank, as one gang on this host or on several."
_EPILOG = """\
examples:
  procession run -n 4 train.py --lr 0.1        4 copies of a script
  procession run -n gpu -m package.train       a module, one copy per visible GPU
  procession run -n 2 --no-python ./solver     any program
  procession run --explain -n 4 train.py       only show what would be started

Every option of torchrun is here, with dashes or underscores. The value of --some-option may stand
in the environment as PET_SOME_OPTION; what is typed wins. Words after SCRIPT are the script's.
"""


def build_parser() -> ArgumentParser:
    """The parser of ``procession run`` with all its options."""
    parser = LaunchParser(
        prog="procession run",
        usage="procession run [OPTIONS] SCRIPT [ARGS...]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    for add_topic in (_workers, _script, _logs, _stop, _address, _nodes, _positional):
        add_topic(parser)
    return parser


def comma_separated(text: str) -> list[str]:
    """Cut at single commas; a doubled comma stands for one."""
    return [part.replace("\0", ",") for part in text.replace(",,", "\0").split(",")]


def _option(group: _ArgumentGroup, *names: str, **kw: Any) -> Action:
    """Add an option with a value, in both spellings, that ``PET_*`` may set too."""
    return group.add_argument(*_spellings(names), action=EnvOption, **kw)


def _switch(group: _ArgumentGroup, *names: str, **kw: Any) -> Action:
    """Add an option without a value, likewise."""
    return group.add_argument(*_spellings(names), action=EnvSwitch, **kw)


def _spellings(names: tuple[str, ...]) -> list[str]:
    """The dashed names, then those of them that read differently with underscores."""
    underscored = (f"--{name[2:].replace('-', '_')}" for name in names if name.startswith("--"))
    return list(dict.fromkeys((*names, *underscored)))


def _workers(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("workers")
    _option(
        group,
        "-n",
        "--nproc-per-node",
        type=str,
        default="1",
        metavar="N",
        help="number of workers, or cpu, gpu, xpu, auto: one per such device (default: 1)",
    )
    _option(
        group,
        "--max-restarts",
        type=int,
        default=0,
        metavar="N",
        help="start all workers again after a failure, at most N times (default: 0)",
    )
    _option(
        group,
        "--role",
        type=str,
        default="default",
        help="name of the workers, before each line they print (default: default)",
    )
    _switch(
        group,
        "--virtual-local-rank",
        help="LOCAL_RANK is 0 everywhere, and each worker sees its own GPU alone, as device 0",
    )
    group.add_argument(
        *_spellings(("--numa-binding",)),
        type=str,
        choices=["node", "socket", "exclusive", "core-complex"],
        default=None,
        help="keep workers on the CPUs near their GPU: node, socket, exclusive, core-complex "
        "(comes later)",
    )


def _script(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("what is started")
    _switch(group, "-m", "--module", help="SCRIPT is a module, as in python -m")
    _switch(group, "--no-python", help="SCRIPT is a program: start it without Python")
    _switch(
        group,
        "--run-path",
        help="run SCRIPT by runpy.run_path in a function worker; goes before --no-python",
    )
    _option(
        group,
        "--start-method",
        default=Default("spawn"),
        choices=["spawn", "fork", "forkserver"],
        metavar="METHOD",
        help="how function workers (--run-path) start: spawn, fork or forkserver (default: spawn; "
        "with --preload: forkserver)",
    )
    _option(
        group,
        "--preload",
        type=str,
        default="",
        metavar="MODULES",
        help="import these modules once, as in torch,transformers, and fork the workers from there, at "
        "every attempt (procession's own)",
    )
    _option(
        group,
        "--spares",
        type=int,
        default=0,
        metavar="N",
        help="with --preload: fork nothing, keep N interpreters that have imported the modules and "
        "become workers, for modules that cannot be forked (procession's own; default: 0)",
    )
    group.add_argument(
        "--explain",
        action="store_true",
        help="show what would be started, and how it would end, and do nothing (procession's own)",
    )


def _logs(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    _log_directory(group)
    _keeping(group)
    _streams(group)
    _console(group)
    _filters(group)
    group.add_argument(
        *_spellings(("--logs-specs",)),
        type=str,
        default=None,
        metavar="NAME",
        help="entry point of the group torchrun.logs_specs that says where output goes",
    )
    _option(
        group,
        "--event-log-handler",
        type=str,
        default="null",
        metavar="NAME",
        help="null or console; nothing is recorded yet (default: null)",
    )


def _log_directory(group: _ArgumentGroup) -> None:
    _option(
        group,
        "--log-dir",
        type=str,
        default=None,
        metavar="DIR",
        help="directory in which each run makes its own (default: PROCESSION_LOG_DIR, "
        "then ./procession-runs)",
    )
    _option(
        group,
        "--keep-runs",
        type=int,
        default=None,
        metavar="N",
        help="at the end remove the oldest finished runs, so that N are left (procession's own; "
        "default: keep all)",
    )


def _keeping(group: _ArgumentGroup) -> None:
    _option(
        group,
        "--log-limit",
        type=str,
        default=None,
        metavar="SIZE",
        help="bytes of each stream that may stay on the disk, such as 500M or 2G: the oldest are "
        "released (procession's own; default: all stay)",
    )
    _option(
        group,
        "--capture",
        type=str,
        default="file",
        metavar="HOW",
        help="how captured output gets to its file: file (the worker writes it), pipe (a process of "
        "ours does, and the worker waits for it), pipe-drop (the oldest lines are dropped instead), "
        "or by local rank as in 0-3:pipe (procession's own; default: file)",
    )
    _option(
        group,
        "--tty-rank",
        type=int,
        default=None,
        metavar="RANK",
        help="local rank that has your terminal: for pdb, prompts, progress bars; what it writes goes "
        "to its stdout.log too (procession's own)",
    )


def _streams(group: _ArgumentGroup) -> None:
    _option(
        group,
        "-r",
        "--redirects",
        default=Default("0"),
        metavar="WHICH",
        help="streams that go to a file instead of the console: 0 none, 1 stdout, 2 stderr, "
        "3 both, or by local rank as in 0:3,4-7:2 (default: see --tee)",
    )
    _option(
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
        _option(group, f"--{name}", type=str, default=None, metavar=metavar, help=own)
    _switch(
        group,
        "--fold",
        help="show a line that several ranks print once, as [0-7] (8x): (procession's own)",
    )


def _filters(group: _ArgumentGroup) -> None:
    _option(
        group,
        "--local-ranks-filter",
        type=str,
        default="",
        metavar="RANKS",
        help="local ranks whose output reaches the console, such as 0,2 (default: all)",
    )
    for stream in ("stdout", "stderr"):
        _option(
            group,
            f"--duplicate-{stream}-filters",
            type=comma_separated,
            default=[],
            metavar="WORDS",
            help=f"copy teed {stream} lines that contain one of these words to "
            f"filtered_{stream}.log; a comma within a word is written twice",
        )


def _stop(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("end of a run")
    _option(
        group,
        "--shutdown-timeout",
        type=seconds,
        default=None,
        metavar="SECONDS",
        help="time between SIGTERM and SIGKILL, whole seconds or inf "
        "(default: TORCH_ELASTIC_SHUTDOWN_TIMEOUT, then 30)",
    )
    _option(
        group,
        "--signals-to-handle",
        type=str,
        default="SIGTERM,SIGINT,SIGHUP,SIGQUIT",
        metavar="SIGNALS",
        help="signals to the launcher that end the run (default: SIGTERM,SIGINT,SIGHUP,SIGQUIT)",
    )
    _option(
        group,
        "--forward-signals",
        type=str,
        default="SIGUSR1,SIGUSR2",
        metavar="SIGNALS",
        help="signals to the launcher that are passed on to workers that catch them, and end "
        "nothing (procession's own; default: SIGUSR1,SIGUSR2)",
    )
    _option(
        group,
        "--isolate",
        type=str,
        choices=["none", "pidns", "cgroup"],
        default="none",
        metavar="HOW",
        help="none; pidns: a PID namespace for the workers, which the kernel ends with their "
        "guardian, needs root or user namespaces; cgroup: one for the workers, which are killed at one "
        "stroke, needs a writable cgroup2 (procession's own; default: none)",
    )
    _option(
        group,
        "--stop-file-on",
        type=str,
        default=None,
        metavar="SIGNALS",
        help="signals to the launcher that make the file $PROCESSION_STOP_FILE of the workers, and "
        "are passed on to those that catch them; one that ends the run does so only when it comes "
        "again (procession's own; default: those of --forward-signals)",
    )
    _option(
        group,
        "--monitor-interval",
        type=float,
        default=0.1,
        metavar="SECONDS",
        help="accepted for torchrun's sake: procession sees a death at once and polls nothing",
    )


def _address(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("where workers meet")
    _option(
        group,
        "--master-addr",
        default=Default("127.0.0.1"),
        metavar="HOST",
        help="MASTER_ADDR of the workers (default: 127.0.0.1)",
    )
    _option(
        group,
        "--master-port",
        type=int,
        default=None,
        metavar="PORT",
        help="MASTER_PORT of the workers (default: a free one, another at each attempt)",
    )
    _option(
        group,
        "--local-addr",
        type=str,
        default=None,
        metavar="HOST",
        help="address of this host, MASTER_ADDR where --master-addr is not given",
    )


def _nodes(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("several hosts: the same command on each")
    _option(
        group,
        "--nnodes",
        type=str,
        default="1:1",
        metavar="N",
        help="number of hosts, or MIN:MAX: hosts may come and go (default: 1)",
    )
    _option(
        group,
        "--node-rank",
        type=int,
        default=DefaultNumber(0),
        metavar="N",
        help="this host's number; ranks follow it (default: ranks follow host names)",
    )
    _switch(group, "--standalone", help="one host; --rdzv-* are not looked at")
    for name, default, text in (
        ("backend", "static", "where hosts meet: etcd (v3); static and c10d come later"),
        ("endpoint", "", "etcd's HOST:PORT, several between semicolons"),
        ("id", "none", "name of the run, by which its hosts find each other"),
        (
            "conf",
            "",
            "KEY=VALUE,...: lease, join_timeout, last_call_timeout (seconds); cacert, cert, key, "
            "user, password_file",
        ),
    ):
        _option(group, f"--rdzv-{name}", type=str, default=default, metavar=name.upper(), help=text)


def _positional(parser: ArgumentParser) -> None:
    parser.add_argument("training_script", type=str, metavar="SCRIPT", help="what to run")
    parser.add_argument(
        "training_script_args", nargs=REMAINDER, metavar="ARGS", help="words handed to SCRIPT as is"
    )
