"""CPU tensors by value: a storage's memory as a buffer of the pickle, where torch would copy it thrice.

torch's own way between processes shares the memory by a descriptor that the sender keeps open; a
worker's result has to outlive the worker. torch's other way, that of ``pickle.dumps``, is by value, and
saves each storage into a byte string that it then copies.

torch is never imported here: who has a tensor has torch, and a pickle that holds one imports it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def reducers() -> dict[type, Callable[[Any], Any]]:
    """What to add to a pickler's dispatch table in a process that has imported torch."""
    storage = getattr(getattr(sys.modules["torch"], "storage", None), "TypedStorage", None)
    return {} if storage is None else {storage: _reduce}


def rebuild(memory: Any, dtype: Any) -> Any:
    """The storage whose memory is that of ``memory``, a writable buffer."""
    torch = sys.modules["torch"]
    untyped = (
        torch.frombuffer(memory, dtype=torch.uint8).untyped_storage()
        if len(memory)
        else torch.UntypedStorage(0)
    )
    return torch.storage.TypedStorage(wrap_storage=untyped, dtype=dtype, _internal=True)


def _reduce(storage: Any) -> Any:
    untyped = storage._untyped_storage
    memory = _memory(untyped) if untyped.device.type == "cpu" else None
    if memory is None:
        return storage.__reduce__()  # torch's own way: on its device again
    from pickle import PickleBuffer

    return rebuild, (PickleBuffer(memory), storage.dtype)


def _memory(untyped: Any) -> Any:
    """The storage's bytes as an array, None without numpy."""
    torch = sys.modules["torch"]
    try:
        return torch.empty(0, dtype=torch.uint8).set_(untyped).numpy()
    except RuntimeError:  # "Numpy is not available"
        return None
