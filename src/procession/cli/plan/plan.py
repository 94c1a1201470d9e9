"""What a run will be, in full, before anything is done about it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from procession.cli.options import console, settings
from procession.cli.options.actions import Default
from procession.cli.options.captures import pipes
from procession.cli.options.nodes import read_nodes
from procession.cli.plan.command import LOCAL_RANK
from procession.cli.plan.environment import Gang, rank_environment
from procession.cli.plan.preload import preloaded, spares, start_method

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping

    from procession._logs.look import Look
    from procession._restarts.policy import RestartPolicy
    from procession.cli.options.nodes import Nodes
    from procession.cli.options.placement import Placement
    from procession.cli.options.settings import Streams
    from procession.cli.plan.command import Command

_SIGNS = ("SLURM_STEP_ID", "JOB_COMPLETION_INDEX", "OMPI_COMM_WORLD_SIZE")  # of a scheduler


class Logs(NamedTuple):
    """Where the workers' output goes.

    Attributes:
        directory: Where each run makes its own directory; None where the default is to be found.
        redirects: Streams that go to files.
        tee: Streams that go to files and to the console.
        shown: Local ranks whose output reaches the console, None for all.
        specs: Entry point of the class that makes the places; None for the default.
        keep_runs: How many finished runs are left at the end, None for all.
        limit: Bytes of each stream that may stay on the disk, None for all.
        pipes: Local ranks whose output goes through a pipe, with ``block`` or ``drop``.
        tty_rank: The local rank that has a terminal of its own, None for none.
        stdout_filters: Words whose lines are copied to ``filtered_stdout.log``.
        stderr_filters: The same of stderr.
        look: How lines look on the console.
    """

    directory: str | None
    redirects: Streams
    tee: Streams
    shown: set[int] | None
    specs: str | None
    keep_runs: int | None
    limit: int | None
    pipes: dict[int, str]
    tty_rank: int | None
    stdout_filters: list[str]
    stderr_filters: list[str]
    look: Look


class Plan(NamedTuple):
    """A run, up to what each attempt is given afresh.

    Attributes:
        title: SCRIPT, which the report names.
        name: The role, which stands before each line of output.
        command: What each worker executes.
        start_method: How a function worker starts.
        preload: Modules that are imported once, in a server from which workers are forked.
        spares: In place of that server, so many interpreters that have imported them.
        environments: What each local rank's environment has added, but for MASTER_PORT,
            TORCHELASTIC_RUN_ID and TORCHELASTIC_RESTART_COUNT.
        prefixes: What stands before each line of a local rank's output, None for the usual.
        logs: Where output goes.
        grace: Seconds between SIGTERM and SIGKILL, ``math.inf`` allowed.
        signals: Signals to the launcher that end the run.
        forwarded: Signals to the launcher that are passed on to workers.
        isolate: ``pidns`` or ``cgroup`` for such a one of the workers' own, else empty.
        asking: Signals to the launcher that make the stop file.
        master_port: MASTER_PORT, None for a free one at each attempt.
        run_id: TORCHELASTIC_RUN_ID, None for a random one.
        max_restarts: How often the gang may be started again.
        events: ``--event-log-handler``, for whom events are beside ``events.jsonl``.
        restarts: After which failures, and when; None for torchrun's way, all and at once.
        nodes: The hosts, None for this one alone.
    """

    title: str
    name: str
    command: Command
    start_method: str
    preload: tuple[str, ...]
    spares: int
    environments: tuple[Mapping[str, str], ...]
    prefixes: dict[int, str] | None
    logs: Logs
    grace: float
    signals: tuple[str, ...]
    forwarded: tuple[str, ...]
    isolate: str
    asking: tuple[str, ...]
    master_port: int | None
    run_id: str | None
    max_restarts: int
    events: str = "null"
    restarts: RestartPolicy | None = None
    nodes: Nodes | None = None

    def prefixes_from(self, first: int) -> dict[int, str] | None:
        """The prefixes of workers whose ranks begin with ``first``."""
        if self.prefixes is None:
            return None
        from string import Template

        return {
            local: Template(text).safe_substitute(rank=first + local)
            for local, text in self.prefixes.items()
        }

    def arguments(self) -> dict[int, tuple[str, ...]]:
        """What the entry point gets, by local rank."""
        return {
            rank: tuple(word.replace(LOCAL_RANK, str(rank)) for word in self.command.words)
            for rank in range(len(self.environments))
        }

    def about(self) -> dict[str, Any]:
        """What ``procession logs`` has to know of the run, for ``report.json``."""
        workers = len(self.environments)
        about = {"name": self.title, "role": self.name, "workers": workers}
        return about if self.prefixes is None else {**about, "prefixes": self.prefixes}

    def attempt_environments(
        self, attempt: int, run_id: str, master_port: int | str
    ) -> dict[int, dict[str, str]]:
        """What is added to the environment of each local rank at an attempt."""
        fresh = {
            "MASTER_PORT": str(master_port),
            "TORCHELASTIC_RESTART_COUNT": str(attempt),
            "TORCHELASTIC_RUN_ID": run_id,
        }
        return {rank: {**env, **fresh} for rank, env in enumerate(self.environments)}


def make_plan(args: Namespace, environ: Mapping[str, str], workers: int, command: Command) -> Plan:
    """Make the plan of a command line.

    Args:
        args: The parsed command line.
        environ: The launcher's own environment.
        workers: How many workers the host is to have.
        command: What each executes.

    Returns:
        The plan.

    Raises:
        UsageError: An option's value, or what two options say together, cannot be.
    """
    nodes = read_nodes(args, _placement(environ))
    settings.check_handlers(args)
    signals = settings.signal_names(args.signals_to_handle, "--signals-to-handle")
    forwarded = settings.signal_names(args.forward_signals, "--forward-signals")
    forwarded = tuple(name for name in forwarded if name not in signals)
    asking = settings.signal_names(args.stop_file_on, "--stop-file-on", forwarded)
    host, port = _address(args)
    gang = Gang(
        workers=settings.at_least(1, workers, "--nproc-per-node"),
        role=args.role,
        master_addr=host,
        max_restarts=settings.at_least(0, args.max_restarts, "--max-restarts"),
        signals_to_handle=args.signals_to_handle,
        virtual_local_rank=args.virtual_local_rank,
    )
    return Plan(
        title=args.training_script,
        name=args.role,
        command=command,
        start_method=start_method(args),
        preload=preloaded(args, command),
        spares=spares(args),
        environments=tuple(rank_environment(gang, rank, environ) for rank in range(workers)),
        prefixes=console.prefixes(args, environ, workers, alone=nodes is None),
        logs=_logs(args, environ, workers),
        grace=settings.grace(args.shutdown_timeout, environ),
        signals=signals,
        forwarded=forwarded,
        asking=asking,
        isolate="" if args.isolate == "none" else args.isolate,
        master_port=port if nodes is None else nodes.master_port,
        run_id=_run_id(args) if nodes is None else str(args.rdzv_id or "none"),
        max_restarts=args.max_restarts,
        events=args.event_log_handler,
        restarts=_restarts(args),
        nodes=nodes,
    )


def _restarts(args: Namespace) -> RestartPolicy | None:
    asked = (args.restart_on, args.no_restart_on, args.restart_backoff, args.restart_refill)
    if not any(asked):
        return None
    from procession.cli.options.restarts import policy_of

    return policy_of(args)


def _placement(environ: Mapping[str, str]) -> Placement | None:
    """What a scheduler tells of this host and others; hardly ever is there one."""
    if not any(sign in environ for sign in _SIGNS):
        return None
    from procession._os.reach import full_name
    from procession.cli.options.placement import find_placement

    return find_placement(environ, full_name)


def _address(args: Namespace) -> tuple[str, int | None]:
    """MASTER_ADDR, and MASTER_PORT unless a free one is to be picked."""
    if args.rdzv_backend == "static" and args.rdzv_endpoint and not args.standalone:
        return settings.endpoint(args.rdzv_endpoint, "--rdzv-endpoint")
    asked = not isinstance(args.master_addr, Default)
    host = args.master_addr if asked else args.local_addr or args.master_addr
    port = args.master_port
    return str(host), None if port is None else settings.valid_port(port, "--master-port")


def _run_id(args: Namespace) -> str | None:
    """The run's id; None where torchrun makes one up, unless it was asked for."""
    if args.standalone or not args.rdzv_id:
        return None
    made_up = args.rdzv_backend == "static" and not args.rdzv_endpoint and args.master_port is None
    return None if made_up and args.rdzv_id == "none" else str(args.rdzv_id)


def _logs(args: Namespace, environ: Mapping[str, str], workers: int) -> Logs:
    tty_rank = settings.tty_rank(args, workers)
    redirects, tee = settings.on_terminal(settings.streams(args), tty_rank, workers)
    if args.keep_runs is not None:
        settings.at_least(1, args.keep_runs, "--keep-runs")
    directory = args.log_dir or environ.get("PROCESSION_LOG_DIR") or None
    settings.have_files_for_filters(args, directory)
    return Logs(
        directory=directory,
        redirects=redirects,
        tee=tee,
        shown=settings.ranks_shown(args.local_ranks_filter),
        specs=args.logs_specs,
        keep_runs=args.keep_runs,
        limit=settings.log_limit(args.log_limit),
        pipes=pipes(args.capture, workers),
        tty_rank=tty_rank,
        stdout_filters=args.duplicate_stdout_filters,
        stderr_filters=args.duplicate_stderr_filters,
        look=console.look(args, environ),
    )
