"""What workers do with the things of multiprocessing that they are given, one function a kind."""

from __future__ import annotations

from typing import Any

PATIENCE = 30  # seconds for what takes milliseconds


def put(queue: Any) -> None:
    queue.put("from the worker")


def take(queue: Any) -> Any:
    return queue.get()


def take_and_finish(queue: Any) -> Any:
    item = queue.get(timeout=PATIENCE)
    queue.task_done()
    return item


def wait(event: Any) -> bool:
    return bool(event.wait(PATIENCE))


def try_to_acquire(lock: Any) -> bool:
    return bool(lock.acquire(False))


def notify(condition: Any) -> None:
    with condition:
        condition.notify()


def meet(barrier: Any) -> None:
    barrier.wait(PATIENCE)


def count(value: Any) -> int:
    with value.get_lock():
        value.value += 1
        return int(value.value)


def count_raw(value: Any) -> int:
    value.value += 1
    return int(value.value)


def set_second(array: Any) -> list[int]:
    array[1] = 7
    return list(array)


def send(end: Any) -> None:
    end.send("from the worker")


def receive(end: Any) -> Any:
    return end.recv()


def send_bytes(socket: Any) -> None:
    socket.sendall(b"from the worker")


def set_key(mapping: Any) -> None:
    mapping["key"] = "from the worker"


def append(sequence: Any) -> None:
    sequence.append("from the worker")


def use_held(held: dict[str, list[Any]]) -> bool:
    """Things deep inside an argument."""
    lock, queue = held["things"]
    queue.put("from the worker")
    return bool(lock.acquire(False))


class WaitsForWord:
    """An argument whose unpickling waits until somebody writes into a FIFO."""

    def __init__(self, fifo: str) -> None:
        self.fifo = fifo

    def __setstate__(self, state: Any) -> None:
        with open(state["fifo"]) as file:
            file.read()


def use_after(_: WaitsForWord, lock: Any) -> bool:
    return bool(lock.acquire(False))


def make_shared_memory(size: int) -> str:
    """Leaves it to whoever cleans up after this process."""
    from multiprocessing.shared_memory import SharedMemory

    memory = SharedMemory(create=True, size=size)
    name = memory.name
    memory.close()
    return name


def attach(name: str) -> bytes:
    """Look at shared memory that is the launcher's."""
    from multiprocessing.shared_memory import SharedMemory

    memory: Any = SharedMemory(name=name)
    found = bytes(memory.buf[:1])
    memory.close()
    return found


def listed(array: Any) -> list[Any]:
    return list(array)
