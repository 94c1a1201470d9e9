"""The options of ``procession run`` by topic: torchrun 2.13's, and ours where the help says so."""

from __future__ import annotations

from argparse import REMAINDER
from typing import TYPE_CHECKING

from procession.cli.options.actions import Default, DefaultNumber, option, spellings, switch
from procession.cli.options.flags_output import add_output
from procession.cli.options.settings import seconds
from procession.cli.parser import LaunchParser

if TYPE_CHECKING:
    from argparse import ArgumentParser

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
    for add_topic in (
        _workers,
        _script,
        add_output,
        _restarts,
        _stop,
        _isolation,
        _address,
        _nodes,
        _positional,
    ):
        add_topic(parser)
    return parser


def _workers(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("workers")
    option(
        group,
        "-n",
        "--nproc-per-node",
        type=str,
        default="1",
        metavar="N",
        help="number of workers, or cpu, gpu, xpu, auto: one per such device (default: 1)",
    )
    option(
        group,
        "--role",
        type=str,
        default="default",
        help="name of the workers, before each line they print (default: default)",
    )
    switch(
        group,
        "--virtual-local-rank",
        help="LOCAL_RANK is 0 everywhere, and each worker sees its own GPU alone, as device 0",
    )
    group.add_argument(
        *spellings(("--numa-binding",)),
        type=str,
        choices=["node", "socket", "exclusive", "core-complex"],
        default=None,
        help="keep workers on the CPUs near their GPU: node, socket, exclusive, core-complex "
        "(comes later)",
    )


def _script(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("what is started")
    switch(group, "-m", "--module", help="SCRIPT is a module, as in python -m")
    switch(group, "--no-python", help="SCRIPT is a program: start it without Python")
    switch(
        group,
        "--run-path",
        help="run SCRIPT by runpy.run_path in a function worker; goes before --no-python",
    )
    option(
        group,
        "--start-method",
        default=Default("spawn"),
        choices=["spawn", "fork", "forkserver"],
        metavar="METHOD",
        help="how function workers (--run-path) start: spawn, fork or forkserver (default: spawn; "
        "with --preload: forkserver)",
    )
    option(
        group,
        "--preload",
        type=str,
        default="",
        metavar="MODULES",
        help="import these modules once, as in torch,transformers, and fork the workers from there, at "
        "every attempt (procession's own)",
    )
    option(
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


def _restarts(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("restarts")
    option(
        group,
        "--max-restarts",
        type=int,
        default=0,
        metavar="N",
        help="start all workers again after a failure, at most N times (default: 0)",
    )
    for name, metavar, text in (
        (
            "restart-on",
            "WHAT",
            "only after failures such as these: exit statuses (75, 64-78), signals (SIGKILL), signal, oom, "
            "exception, exception:TYPE, same-traceback, lost-host, start (default: all but start)",
        ),
        ("no-restart-on", "WHAT", "never after failures such as these, written likewise"),
        (
            "restart-backoff",
            "MIN:MAX",
            "pause before a restart, doubled from one to the next, such as 1s:60s (default: none)",
        ),
        (
            "restart-refill",
            "TIME",
            "once a gang has run for so long, such as 30m, restarts are counted anew (default: never)",
        ),
    ):
        own = f"{text} (procession's own)"
        option(group, f"--{name}", type=str, default="", metavar=metavar, help=own)


def _stop(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("end of a run")
    option(
        group,
        "--shutdown-timeout",
        type=seconds,
        default=None,
        metavar="SECONDS",
        help="time between SIGTERM and SIGKILL, whole seconds or inf "
        "(default: TORCH_ELASTIC_SHUTDOWN_TIMEOUT, then 30)",
    )
    option(
        group,
        "--signals-to-handle",
        type=str,
        default="SIGTERM,SIGINT,SIGHUP,SIGQUIT",
        metavar="SIGNALS",
        help="signals to the launcher that end the run (default: SIGTERM,SIGINT,SIGHUP,SIGQUIT)",
    )
    option(
        group,
        "--forward-signals",
        type=str,
        default="SIGUSR1,SIGUSR2",
        metavar="SIGNALS",
        help="signals to the launcher that are passed on to workers that catch them, and end "
        "nothing (procession's own; default: SIGUSR1,SIGUSR2)",
    )
    option(
        group,
        "--stop-file-on",
        type=str,
        default=None,
        metavar="SIGNALS",
        help="signals to the launcher that make the file $PROCESSION_STOP_FILE of the workers, and "
        "are passed on to those that catch them; one that ends the run does so only when it comes "
        "again (procession's own; default: those of --forward-signals)",
    )
    option(
        group,
        "--monitor-interval",
        type=float,
        default=0.1,
        metavar="SECONDS",
        help="accepted for torchrun's sake: procession sees a death at once and polls nothing",
    )


def _isolation(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("isolation")
    option(
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


def _address(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("where workers meet")
    option(
        group,
        "--master-addr",
        default=Default("127.0.0.1"),
        metavar="HOST",
        help="MASTER_ADDR of the workers (default: 127.0.0.1, of several hosts the first's address)",
    )
    option(
        group,
        "--master-port",
        type=int,
        default=None,
        metavar="PORT",
        help="MASTER_PORT of the workers (default: a free one, another at each attempt)",
    )
    option(
        group,
        "--local-addr",
        type=str,
        default=None,
        metavar="HOST",
        help="address of this host, MASTER_ADDR where --master-addr is not given",
    )


def _nodes(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("several hosts: the same command on each")
    option(
        group,
        "--nnodes",
        default=Default("1:1"),
        metavar="N",
        help="number of hosts, or MIN:MAX: hosts may come and go (default: those on which srun or mpirun "
        "has started one process each, else 1)",
    )
    option(
        group,
        "--node-rank",
        type=int,
        default=DefaultNumber(0),
        metavar="N",
        help="this host's number; ranks follow it (default: what Slurm, Open MPI or an indexed Job of "
        "Kubernetes tells, else ranks follow host names)",
    )
    switch(group, "--standalone", help="one host; --rdzv-* are not looked at")
    for name, default, text in (
        (
            "backend",
            "static",
            "where hosts meet: static, at --master-addr and --master-port; c10d, at the host whose "
            "address --rdzv-endpoint is; or etcd (v3) (default: static)",
        ),
        ("endpoint", "", "HOST:PORT of the place; etcd's may be several between semicolons"),
        ("id", "none", "name of the run, by which its hosts find each other"),
        (
            "conf",
            "",
            "KEY=VALUE,...: lease, join_timeout, last_call_timeout (seconds); is_host, listen, "
            "hub_port; of etcd serve, cacert, cert, key, user, password_file",
        ),
    ):
        option(group, f"--rdzv-{name}", type=str, default=default, metavar=name.upper(), help=text)


def _positional(parser: ArgumentParser) -> None:
    parser.add_argument("training_script", type=str, metavar="SCRIPT", help="what to run")
    parser.add_argument(
        "training_script_args", nargs=REMAINDER, metavar="ARGS", help="words handed to SCRIPT as is"
    )
