"""A plan in words, for ``--explain``. Pure."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from procession._report.words import ranks_text
from procession.cli.plan.environment import OF_ALL_HOSTS
from procession.multiprocessing.std import Std, to_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from procession.cli.options.hub import HubWish
    from procession.cli.options.nodes import Nodes
    from procession.cli.plan.plan import Plan

_STREAMS = {
    Std.NONE: "nothing",
    Std.OUT: "stdout",
    Std.ERR: "stderr",
    Std.ALL: "stdout and stderr",
}

_PIPED = {
    "block": "the worker waits where the disk takes nothing",
    "drop": "the oldest lines are dropped where the disk takes nothing",
}


def explain(plan: Plan, directory: str) -> str:
    """Say what would be started and how it would end.

    Args:
        plan: The run.
        directory: Where runs make their directories.

    Returns:
        Lines for a person, with a newline at the end.
    """
    workers = len(plan.environments)
    sections = {
        "workers": [f"{workers} as {plan.name!r}, {_local(range(workers))}"],
        **({"hosts": _hosts(plan.nodes)} if plan.nodes else {}),
        "argv": _commands(plan),
        **_ahead(plan),
        "environment added": _environment(plan),
        "output": _output(plan, directory),
        "signals": _signals(plan),
        "at a failure": _failure(plan),
    }
    blocks = [
        "\n".join([f"{title}:", *(f"  {line}" for line in lines)])
        for title, lines in sections.items()
    ]
    return "Nothing is started. A run would be:\n\n" + "\n".join(blocks) + "\n"


def _hosts(nodes: Nodes) -> list[str]:
    wish = "by host name" if nodes.node_rank is None else f"this is number {nodes.node_rank}"
    place = f"etcd ({nodes.endpoint})" if nodes.hub is None else str(nodes.hub.place)
    return [
        f"{nodes.number}, which meet at {place}; ranks in order, {wish}",
        *filter(None, [nodes.found]),
        *(_hub(nodes.hub) if nodes.hub is not None else ()),
        *(
            ["where nothing answers there, the host with that address starts etcd"]
            if nodes.serves
            else []
        ),
        f"address of this one: {nodes.address or 'that by which it reaches this place'}",
        f"a host of which nothing is heard for {nodes.lease} s is lost; at most {nodes.join:g} s "
        "are waited for a gang",
    ]


_SERVES = {
    True: "there this host's agent listens",
    False: "there the agent of the first host listens",
    None: "there the agent of the host listens whose address that is",
}


def _hub(wish: HubWish) -> Iterator[str]:
    yield f"{_SERVES[wish.serves]}, procession's own hub: no etcd and no torch's store"
    if wish.lends:
        yield "it is MASTER_ADDR:MASTER_PORT too: while workers run, the port is theirs"


def _local(ranks: Iterable[int]) -> str:
    return f"local {ranks_text(ranks)}"


def _commands(plan: Plan) -> list[str]:
    lines = {rank: _call(plan, words) for rank, words in plan.arguments().items()}
    if len(set(lines.values())) == 1:
        return [lines[0]]
    return [f"local rank {rank}: {line}" for rank, line in lines.items()]


def _ahead(plan: Plan) -> dict[str, list[str]]:
    names = ", ".join(plan.preload)
    if plan.spares:
        return {
            "spares": [
                f"{plan.spares} interpreters import {names}, and wait for a worker to become",
                "others take their places while the workers run; workers beyond them start as usual",
            ]
        }
    return {"fork server": _server(names)} if names else {}


def _server(names: str) -> list[str]:
    return [
        f"imports {names} once, in the environment that all workers share",
        "workers are forked from it, at every attempt; where a fork would break what a module has",
        "started (threads, CUDA, sockets), a warning names the module and workers start by themselves",
    ]


def _call(plan: Plan, words: tuple[str, ...]) -> str:
    from shlex import join

    entrypoint = plan.command.entrypoint
    if isinstance(entrypoint, str):
        return join([entrypoint, *words])
    return f"{entrypoint.__qualname__}({', '.join(map(repr, words))})"


def _environment(plan: Plan) -> list[str]:
    run_id = plan.run_id or "<random>"
    port = plan.master_port or "<free port, another at each attempt>"
    envs = plan.attempt_environments(0, run_id, port)
    if plan.nodes:
        later = dict.fromkeys(OF_ALL_HOSTS, "<known when the hosts have met>")
        envs = {rank: {**env, **later} for rank, env in envs.items()}
    names = list(envs[0])
    width = max(map(len, names))
    lines = [f"{name:<{width}}  {_values([env[name] for env in envs.values()])}" for name in names]
    own = "TORCHELASTIC_ERROR_FILE, PROCESSION_RUN_ID and PROCESSION_STOP_FILE"
    return [*lines, f"{own}, which differ from run to run"]


def _values(values: list[str]) -> str:
    if len(set(values)) == 1:
        return values[0]
    shown = values if len(values) <= 8 else [*values[:3], "...", values[-1]]
    return f"{', '.join(shown)}  (by local rank)"


def _output(plan: Plan, directory: str) -> list[str]:
    logs, workers = plan.logs, len(plan.environments)
    if directory == os.devnull:
        return ["console only: the log directory is /dev/null"]
    redirects, tee = to_map(logs.redirects, workers), to_map(logs.tee, workers)
    kept = {rank: redirects[rank] | tee[rank] for rank in redirects}
    shown = {
        rank: _on_console(redirects[rank], tee[rank])
        for rank in redirects
        if not logs.shown or rank in logs.shown
    }
    tree = f"{plan.run_id or '<random>'}_<random>/attempt_<n>/<local rank>"
    return [
        f"files    {os.path.join(directory, tree)}/",
        *(f"         {line}" for line in (*_by_streams(kept), *_care(plan))),
        *(f"console  {line}" for line in _by_streams(shown)),
        f"events   events.jsonl in the run's directory{_also(plan.events)}",
    ]


def _also(handler: str) -> str:
    return "" if handler in {"null", "dynamic_rendezvous"} else f", and {handler}"


def _care(plan: Plan) -> Iterator[str]:
    """What is done with the files beyond writing them."""
    limit = plan.logs.limit
    if limit is not None:
        yield f"of each stream the newest {limit} bytes stay on the disk"
    if plan.logs.tty_rank is not None:
        yield f"local rank {plan.logs.tty_rank} has your terminal, and stdout.log what it writes to it"
    for policy, text in _PIPED.items():
        ranks = [rank for rank, wished in plan.logs.pipes.items() if wished == policy]
        if ranks:
            yield f"through a pipe for {_local(ranks)}: {text}"


def _on_console(redirects: Std, tee: Std) -> Std:
    return (Std.ALL & ~redirects) | tee


def _by_streams(chosen: Mapping[int, Std]) -> Iterator[str]:
    """One line for each set of streams that some local rank has."""
    for streams, text in _STREAMS.items():
        ranks = [rank for rank, value in chosen.items() if value == streams]
        if ranks:
            yield f"{text} of {_local(ranks)}"


def _signals(plan: Plan) -> list[str]:
    lines = []
    if plan.signals:
        lines.append(f"{', '.join(plan.signals)}: stop the workers, exit status 128 + number")
    if plan.forwarded:
        lines.append(f"{', '.join(plan.forwarded)}: passed on to workers that catch them")
    if plan.asking:
        lines.append(f"{', '.join(plan.asking)}: the workers' PROCESSION_STOP_FILE is made")
    lines.append(f"stopping is SIGTERM and SIGCONT, then {_grace(plan.grace)}")
    if plan.isolate == "cgroup":
        lines.append("the workers' cgroup is killed at one stroke")
    if plan.isolate == "pidns":
        lines.append("the workers' PID namespace ends with their guardian, at the kernel's hand")
    return lines


def _grace(seconds: float) -> str:
    if seconds == math.inf:
        return "no end of patience: never SIGKILL"
    return f"after {seconds:g} s SIGKILL, to all processes of the run"


def _failure(plan: Plan) -> list[str]:
    again = list(_again(plan))
    then = "then " if again else ""
    return [
        "the first worker that fails stops the others",
        *again,
        f"{then}a report, and the failed worker's exit status (128 + n if signal n ended it)",
    ]


def _again(plan: Plan) -> Iterator[str]:
    from procession._restarts.policy import RestartPolicy
    from procession._restarts.words import policy_lines

    if plan.max_restarts or plan.restarts:
        yield from policy_lines(plan.restarts or RestartPolicy(), plan.max_restarts)
