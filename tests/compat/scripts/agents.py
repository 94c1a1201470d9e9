"""Agents: what torch's documentation has people subclass, register, launch, listen to and measure."""

import io
import logging
import os
import signal
import sys
from contextlib import redirect_stdout

import dump
import parts
from dump import case, raised
from torch.distributed import HashStore
from torch.distributed.elastic import events, metrics
from torch.distributed.elastic.agent.server import (
    RunResult,
    SimpleElasticAgent,
    Worker,
    WorkerGroup,
    WorkerSpec,
    WorkerState,
)
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import (
    RendezvousClosedError,
    RendezvousGracefulExitError,
    RendezvousHandler,
    RendezvousHandlerRegistry,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler
from torch.distributed.launcher.api import LaunchConfig, elastic_launch, launch_agent


class OneHost(RendezvousHandler):
    """A handler as a third party writes one: its own store, its own idea of who is there."""

    def __init__(self, waiting=(), fails=None):
        self.said, self.waiting, self.fails = [], list(waiting), fails

    def get_backend(self):
        return "one_host"

    def next_rendezvous(self):
        self.said.append("next_rendezvous")
        if self.fails is not None:
            raise self.fails
        return RendezvousInfo(HashStore(), 0, 1, RendezvousStoreInfo("127.0.0.1", 29511))

    def is_closed(self):
        return False

    def set_closed(self):
        self.said.append("set_closed")

    def num_nodes_waiting(self):
        return self.waiting.pop(0) if self.waiting else 0

    def get_run_id(self):
        return "the run"

    def shutdown(self):
        self.said.append("shutdown")
        return True


HOOKS = (
    "_initialize_workers",
    "_restart_workers",
    "_rendezvous",
    "_assign_worker_ranks",
    "_exit_barrier",
    "_invoke_run",
)


class Scripted(SimpleElasticAgent):
    """An agent whose workers are as a list says; keeps in which order it was asked for what."""

    def __init__(self, spec, states):
        super().__init__(spec, exit_barrier_timeout=5)
        self.states, self.asked = list(states), []
        for name in HOOKS:
            setattr(self, name, self.noted(name, getattr(self, name)))

    def noted(self, name, method):
        def call(*args, **kwargs):
            self.asked.append(name)
            return method(*args, **kwargs)

        return call

    def _start_workers(self, worker_group):
        self.asked.append(f"_start_workers {worker_group.state.name}")
        return {worker.local_rank: f"id {worker.global_rank}" for worker in worker_group.workers}

    def _stop_workers(self, worker_group):
        self.asked.append(f"_stop_workers {worker_group.state.name}")

    def _monitor_workers(self, worker_group):
        self.asked.append(f"_monitor_workers {worker_group.state.name}")
        state = self.states.pop(0)
        if isinstance(state, BaseException):
            raise state
        values = {w.global_rank: w.id for w in worker_group.workers}
        return RunResult(state, return_values=values if state is WorkerState.SUCCEEDED else {})

    def _shutdown(self, death_sig=signal.SIGTERM, timeout=30):
        self.asked.append(f"_shutdown {int(death_sig)} {timeout}")


def scripted(states, restarts=1, **handler):
    """What becomes of a scripted agent, and what it was asked for."""
    spec = WorkerSpec(
        "trainer",
        2,
        OneHost(**handler),
        entrypoint="true",
        max_restarts=restarts,
        monitor_interval=0.01,
    )
    agent = Scripted(spec, states)
    try:
        result = agent.run()
        told = result and {"state": result.state.name, "values": result.return_values}
    except BaseException as error:
        told = raised(error)
    group = agent.get_worker_group()
    return {
        "told": told,
        "asked": agent.asked,
        "said": spec.rdzv_handler.said,
        "left": agent._remaining_restarts,
        "group": [group.state.name, group.group_rank, group.group_world_size, group.master_port],
        "workers": [repr(worker) for worker in group.workers],
        "ids": [worker.id for worker in group.workers],
    }


OK, BAD, FINE, SICK = (
    WorkerState.SUCCEEDED,
    WorkerState.FAILED,
    WorkerState.HEALTHY,
    WorkerState.UNHEALTHY,
)


@case
def an_agent_that_succeeds(_):
    return scripted([FINE, FINE, OK])


@case
def an_agent_that_fails_and_is_started_again(_):
    return scripted([FINE, BAD, FINE, OK])


@case
def an_agent_that_fails_for_good(_):
    return scripted([BAD, SICK], restarts=1)


@case
def an_agent_without_restarts(_):
    return scripted([BAD], restarts=0)


@case
def an_agent_that_takes_hosts_in(_):
    return scripted([FINE, FINE, OK], waiting=[2, 0], restarts=0)


@case
def an_agent_that_gets_a_signal(_):
    return scripted([FINE, SignalException("x", signal.SIGINT)])


@case
def an_agent_that_raises(_):
    return scripted([FINE, KeyError("monitor")])


@case
def an_agent_whose_hosts_do_not_meet(_):
    return scripted([], fails=RendezvousClosedError("over"))


@case
def states_that_run(_):
    return {state.name: WorkerState.is_running(state) for state in WorkerState}


@case
def ranks_of_hosts_with_roles(_):
    """Ranks are assigned over the store, by whoever has rank 0."""
    store, found = HashStore(), {}
    hosts = [("a", 2), ("b", 1), ("a", 3)]
    for group_rank in (1, 2, 0):  # the host of rank 0 waits for all
        store.set(f"torchelastic/role_info/{group_rank}", role_info(group_rank, *hosts[group_rank]))
    for group_rank in (0, 1, 2):
        role, size = hosts[group_rank]
        spec = WorkerSpec(role, size, OneHost(), entrypoint="true")
        agent = Scripted(spec, [])
        workers = agent._assign_worker_ranks(store, group_rank, 3, spec)
        found[group_rank] = [repr(worker) for worker in workers]
    return found


def role_info(rank, role, size):
    import json

    return json.dumps({"role": role, "rank": rank, "local_world_size": size})


@case
def ranks_of_identical_hosts(_):
    os.environ["TORCH_ELASTIC_WORKER_IDENTICAL"] = "1"
    spec = WorkerSpec("r", 2, OneHost(), entrypoint="true")
    try:
        workers = Scripted(spec, [])._assign_worker_ranks(None, 2, 3, spec)
    finally:
        del os.environ["TORCH_ELASTIC_WORKER_IDENTICAL"]
    return [repr(worker) for worker in workers]


@case
def a_worker_and_a_group(_):
    worker = Worker(1, 5, 3, 8, 4)
    spec = WorkerSpec("r", 3, OneHost(), entrypoint=parts.add)
    group = WorkerGroup(spec)
    return {
        "worker": [worker.local_rank, worker.global_rank, worker.role_rank, worker.id, str(worker)],
        "group": [group.state.name, len(group.workers), group.store, group.master_addr],
        "names": [spec.get_entrypoint_name(), spec.max_restarts, spec.monitor_interval],
        "path": WorkerSpec("r", 1, OneHost(), entrypoint="/bin/x").get_entrypoint_name(),
    }


# ---- agents whose workers are processes


class Careful(LocalElasticAgent):
    """An agent that looks at its workers before and after they are started, as people do."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []

    def _start_workers(self, worker_group):
        self.seen.append(["start", worker_group.state.name])
        ids = super()._start_workers(worker_group)
        self.seen.append(sorted(ids))
        return ids

    def _stop_workers(self, worker_group):
        self.seen.append(["stop", worker_group.state.name])
        super()._stop_workers(worker_group)

    def _shutdown(self, death_sig=signal.SIGTERM, timeout=30):
        self.seen.append("shutdown")
        super()._shutdown(death_sig, timeout)


class Kept(logging.Handler):
    """Keeps events."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def emit(self, record):
        event = events.Event.deserialize(record.getMessage())
        fields = ("state", "global_rank", "group_rank", "role", "run_id", "agent_restarts")
        self.kept.append(
            [event.name, event.source.name, [event.metadata[field] for field in fields]]
        )


def local(directory, entrypoint, args=(), restarts=0, **kw):
    spec = WorkerSpec(
        "trainer",
        2,
        OneHost(),
        entrypoint=entrypoint,
        args=args,
        max_restarts=restarts,
        monitor_interval=0.05,
        event_log_handler="dynamic_rendezvous",
    )
    listener = Kept()
    logger = logging.getLogger("torchelastic-events-dynamic_rendezvous")
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    specs = DefaultLogsSpecs(log_dir=os.path.join(directory, "logs"), redirects=Std.ALL)
    agent = Careful(spec, specs, **{"start_method": "fork", **kw})
    try:
        result = agent.run()
    finally:
        logger.removeHandler(listener)
    return {
        "state": result.state.name,
        "values": result.return_values,
        "failures": {rank: failure.exitcode for rank, failure in result.failures.items()},
        "seen": agent.seen,
        "events": listener.kept,
    }


def peer(directory):
    return os.path.join(directory, "peer")


@case
def functions_of_an_agent(directory):
    return local(directory, parts.add, (3,))


@case
def a_program_of_an_agent(directory):
    return local(directory, sys.executable, ("-c", "import sys; print(sys.argv)", "${local_rank}"))


@case
def functions_that_are_started_again(directory):
    return local(directory, parts.fail_at_first, (peer(directory),), restarts=2)


@case
def the_environment_of_an_agents_workers(directory):
    return local(directory, parts.environment, ())


# ---- the registry


def made(params):
    return OneHost()


@case
def a_registry(_):
    registry = RendezvousHandlerRegistry()
    registry.register("one_host", made)
    registry.register("one_host", made)  # the same again is fine
    params = RendezvousParameters("one_host", "e", "id", 1, 2, x="5", yes="True", no="0", bad="?")
    tries = {
        "made": lambda: type(registry.create_handler(params)).__name__,
        "other": lambda: registry.register("one_host", lambda params: OneHost()),
        "empty": lambda: registry.register("", made),
        "unknown": lambda: registry.create_handler(RendezvousParameters("no", "e", "i", 1, 1)),
        "int": lambda: [
            params.get_as_int("x"),
            params.get_as_int("none"),
            params.get_as_int("z", 3),
        ],
        "bool": lambda: [params.get_as_bool(name) for name in ("yes", "no", "none")],
        "no int": lambda: params.get_as_int("bad"),
        "no bool": lambda: params.get_as_bool("bad"),
        "no nodes": lambda: RendezvousParameters("b", "e", "i", 0, 1),
        "fewer": lambda: RendezvousParameters("b", "e", "i", 2, 1),
        "no name": lambda: RendezvousParameters("", "e", "i", 1, 1),
    }
    return {name: kind_of(attempt) for name, attempt in tries.items()}


def kind_of(attempt):
    """What a call returns, or which of Python's own kinds its exception is of."""
    try:
        return attempt()
    except ValueError:
        return "ValueError"
    except Exception as error:
        return type(error).__name__


@case
def a_name_that_is_registered_is_found(_):
    handler = get_rendezvous_handler(RendezvousParameters("mine", "e", "my id", 1, 1))
    return [handler.get_backend(), handler.get_run_id(), handler.use_agent_store]


class Mine(OneHost):
    """Another kind, which knows its parameters."""

    def __init__(self, params):
        super().__init__()
        self.params = params

    def get_backend(self):
        return "mine"

    def get_run_id(self):
        return self.params.run_id


rendezvous_handler_registry.register("mine", Mine)


# ---- the launcher


def config(directory, **kw):
    given = {
        "min_nodes": 1,
        "max_nodes": 1,
        "nproc_per_node": 2,
        "run_id": "launched",
        "rdzv_backend": "mine",
        "max_restarts": 0,
        "start_method": "fork",
        "monitor_interval": 0.05,
        "logs_specs": DefaultLogsSpecs(os.path.join(directory, "logs"), redirects=Std.ALL),
    }
    return LaunchConfig(**{**given, **kw})


@case
def a_function_is_launched(directory):
    return elastic_launch(config(directory), parts.add)(4)


@case
def a_function_is_launched_by_an_agent(directory):
    return launch_agent(config(directory), parts.add, [5])


@case
def a_program_is_launched(directory):
    return elastic_launch(config(directory), sys.executable)("-c", "print('hello')")


@case
def a_function_that_fails_is_launched(directory):
    try:
        elastic_launch(config(directory), parts.fail)(peer(directory))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        return [error.name, rank, failure.exitcode, failure.message["message"]]


@case
def a_function_is_launched_with_roles_and_restarts(directory):
    return elastic_launch(config(directory, role="x", max_restarts=2), parts.fail_at_first)(
        peer(directory)
    )


# ---- events and metrics


@case
def events_there_and_back(_):
    event = events.Event("name", events.EventSource.AGENT, 5, {"a": 1, "b": None, "c": "x"})
    node = events.RdzvEvent("n", "r", "m", "h", 3, events.NodeState.FAILED, "e", 1, 2, "trace")
    return {
        "event": [str(event), str(events.Event.deserialize(str(event)))],
        "node": [str(node), str(events.RdzvEvent.deserialize(str(node)))],
        "as it is": events.Event.deserialize(event) is event,
    }


class Values(metrics.MetricHandler):
    """Keeps values."""

    def __init__(self):
        self.kept = []

    def emit(self, metric_data):
        self.kept.append([metric_data.group_name, metric_data.name, metric_data.value])


@metrics.prof
def measured(fails):
    """Is counted and timed."""
    if fails:
        raise KeyError("x")
    return "done"


@metrics.prof(group="mine")
def measured_elsewhere():
    return 1


@case
def metrics_of_functions(_):
    values = Values()
    metrics.configure(values)
    metrics.put_metric("steps", 3, "mine")
    metrics.put_metric("steps", 4)
    found = [measured(False), measured_elsewhere()]
    try:
        measured(True)
    except KeyError:
        found.append("raised")
    metrics.configure(metrics.NullMetricHandler())
    timed = [[g, n, "time" if n.endswith("duration.ms") else v] for g, n, v in values.kept]
    return {"found": found, "values": timed}


@case
def metrics_on_the_console(_):
    said = io.StringIO()
    with redirect_stdout(said):
        metrics.ConsoleMetricHandler().emit(metrics.MetricData(1.5, "group", "name", 7))
    return said.getvalue()


@case
def a_metric_of_an_agent(directory):
    values = Values()
    metrics.configure(values, "torchelastic")
    local(directory, parts.fail_at_first, (peer(directory),), restarts=2)
    metrics.configure(metrics.NullMetricHandler(), "torchelastic")
    ends = ("flakiness", "run_total", "_retries")
    return [[name, value] for _, name, value in values.kept if name.endswith(ends)]


@case
def a_host_that_is_not_needed(_):
    """torch returns None, procession a result."""
    found = scripted([], fails=RendezvousGracefulExitError("not needed"))
    return {name: found[name] for name in ("asked", "said", "left")}


if __name__ == "__main__":
    dump.main()
