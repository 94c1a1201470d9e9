"""Start, watch, log, explain and stop a gang of worker processes.

A gang is ``n`` copies of a function or of a binary, one a local rank::

    from procession.multiprocessing import DefaultLogsSpecs, Std, start_processes


    def train(shard: int) -> float: ...


    if __name__ == "__main__":
        context = start_processes(
            name="trainer",
            entrypoint=train,
            args={0: (0,), 1: (1,)},
            envs={0: {"RANK": "0"}, 1: {"RANK": "1"}},
            logs_specs=DefaultLogsSpecs(log_dir="logs", tee=Std.ALL),
        )
        result = context.wait()
        print(result.return_values if not result.is_failed() else result.failures)

The names are those of ``torch.distributed.elastic.multiprocessing``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from procession.multiprocessing.context import PContext
    from procession.multiprocessing.errors import ProcessFailure
    from procession.multiprocessing.fork_server import ForkServer
    from procession.multiprocessing.logs_dest import LogsDest
    from procession.multiprocessing.logs_specs import DefaultLogsSpecs, LogsSpecs
    from procession.multiprocessing.multiprocess_context import MultiprocessContext
    from procession.multiprocessing.results import RunProcsResult
    from procession.multiprocessing.start import start_processes
    from procession.multiprocessing.std import Std, to_map
    from procession.multiprocessing.subprocess_context import SubprocessContext
    from procession.multiprocessing.supervision import SignalException, Supervision

__all__ = [
    "DefaultLogsSpecs",
    "ForkServer",
    "LogsDest",
    "LogsSpecs",
    "MultiprocessContext",
    "PContext",
    "ProcessFailure",
    "RunProcsResult",
    "SignalException",
    "Std",
    "SubprocessContext",
    "Supervision",
    "start_processes",
    "to_map",
]

# Each name is imported with its first use: every spawned worker imports the main module again, which
# imports from here, and has no use for what starts and watches a gang.
_HOMES = {
    "DefaultLogsSpecs": "logs_specs",
    "ForkServer": "fork_server",
    "LogsDest": "logs_dest",
    "LogsSpecs": "logs_specs",
    "MultiprocessContext": "multiprocess_context",
    "PContext": "context",
    "ProcessFailure": "errors",
    "RunProcsResult": "results",
    "SignalException": "supervision",
    "Std": "std",
    "SubprocessContext": "subprocess_context",
    "Supervision": "supervision",
    "start_processes": "start",
    "to_map": "std",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = __import__(f"{__name__}.{_HOMES[name]}", fromlist=[name])
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
