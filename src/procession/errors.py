"""Every exception of procession, each with the exit status the command ends with.

    ProcessionError            70  a fault of procession itself
    ├── UsageError              2  what was asked for cannot be done as it was asked
    │   ├── ProgramNotExecutableError  126  as of a shell: a file that cannot be executed
    │   ├── ProgramNotFoundError       127  as of a shell: no file of that name
    │   └── PreloadError                 2  a module that was to be imported ahead cannot be
    ├── StartError             71  the operating system would not start a worker
    ├── NotPicklableError       2  a function, argument or result that cannot go to another process
    ├── GuardianLostError      71  the process that starts and reaps the workers is gone
    ├── RunFailedError          -  a run over hosts has failed; the status is its root cause's
    └── RendezvousError        69  the hosts of a run could not come together
        ├── RendezvousClosedError          69  the run is over: nobody can join it any more
        ├── RendezvousConnectionError      69  the store at which hosts meet cannot be reached
        ├── RendezvousStateError           69  what the store holds makes no sense
        ├── RendezvousTimeoutError         75  not enough hosts came in time
        │   └── StoreTimeoutError          75  a key was not there in time
        ├── RoundOverError                 69  a host was lost while its gang formed; another one forms
        └── RendezvousGracefulExitError     0  this host is not needed; not a failure

A worker's failure is not one of these: it is ``procession.multiprocessing.errors.ChildFailedError``,
and the command ends with the worker's own status. Nor is ``RemoteError``, which is never raised: it
stands for a worker's exception that this process cannot rebuild.
"""

from __future__ import annotations

from _pickle import PicklingError  # pickle's own, without the 3 ms of its pure Python half

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

__all__ = [
    "GuardianLostError",
    "NotPicklableError",
    "PreloadError",
    "ProcessionError",
    "ProgramNotExecutableError",
    "ProgramNotFoundError",
    "RemoteError",
    "RendezvousClosedError",
    "RendezvousConnectionError",
    "RendezvousError",
    "RendezvousGracefulExitError",
    "RendezvousStateError",
    "RendezvousTimeoutError",
    "RoundOverError",
    "RunFailedError",
    "StartError",
    "StoreTimeoutError",
    "UsageError",
]


class ProcessionError(Exception):
    """The base of every exception that procession raises for a reason of its own."""

    exit_code: ClassVar[int] = 70


class UsageError(ProcessionError, ValueError):
    """What was given, what is allowed and what to type next, in one message for a person."""

    exit_code: ClassVar[int] = 2


class ProgramNotExecutableError(UsageError):
    """The program is there, but it cannot be executed."""

    exit_code: ClassVar[int] = 126


class ProgramNotFoundError(UsageError):
    """There is no program of that name."""

    exit_code: ClassVar[int] = 127


class PreloadError(UsageError):
    """A module that workers were to find imported cannot be; no worker was started."""

    exit_code: ClassVar[int] = 2


class StartError(ProcessionError):
    """The operating system would not start a worker; those started before it have been ended."""

    exit_code: ClassVar[int] = 71


class NotPicklableError(ProcessionError, PicklingError, TypeError):
    """An object that has to go to another process cannot be pickled; the message names it."""

    exit_code: ClassVar[int] = 2


class GuardianLostError(ProcessionError):
    """The guardian ended while workers ran; they have been killed and reaped by the launcher."""

    exit_code: ClassVar[int] = 71


class RendezvousError(ProcessionError):
    """The hosts of a run could not come together; the base of torch's errors of that kind."""

    exit_code: ClassVar[int] = 69


class RendezvousClosedError(RendezvousError):
    """The run is over: nobody can join it any more."""


class RendezvousConnectionError(RendezvousError):
    """The store at which hosts meet cannot be reached."""


class RendezvousStateError(RendezvousError):
    """What the store holds makes no sense."""


class RendezvousTimeoutError(RendezvousError):
    """Not enough hosts came in time; trying again may help."""

    exit_code: ClassVar[int] = 75


class RoundOverError(RendezvousError):
    """A host of a gang was lost before all had told what they have; caught by who looks for another gang."""


class StoreTimeoutError(RendezvousTimeoutError, LookupError):
    """A key of the store at which agents exchange facts was not there in time."""


class RendezvousGracefulExitError(RendezvousError):
    """This host is not needed and leaves; not a failure, only a way out of the stack."""

    exit_code: ClassVar[int] = 0


class RemoteError(Exception):
    """Stands for an exception of a worker that cannot be rebuilt here; its text is ``Name: text``."""


class RunFailedError(ProcessionError):
    """A run over several hosts has failed, here or elsewhere.

    Attributes:
        status: The exit status of its root cause, the same on every host.
        whole: What all hosts have told, as JSON (``_report/hosts.py``).
    """

    def __init__(self, message: str, status: int, whole: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.whole = whole
