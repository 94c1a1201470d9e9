"""A pickle in a file, its large buffers beside it: how arguments go out and results come back.

    size of the pickle, number of buffers | the pickle | size, buffer | size, buffer | …

Numbers have 8 bytes, little-endian; each buffer begins at a multiple of 64 bytes, as vector units
like it. The pickle goes to the file as it is made. A buffer (protocol 5: the memory of an array) is
written from where it lies, and read by mapping the file, so that neither side holds a second copy.
"""

from __future__ import annotations

from _pickle import Pickler, Unpickler  # without the 3 ms of pickle's pure Python half

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pickle import PickleBuffer
    from typing import Any, BinaryIO

    MakePickler = Callable[[BinaryIO, Callable[[PickleBuffer], bool]], Any]

PROTOCOL = 5
LARGE = 1 << 20  # bytes from which a buffer is worth a mapping

_NUMBER = 8
_HEAD = 2 * _NUMBER
_ALIGNMENT = 64
_TORN = "the file ends within a value"


def plain(file: BinaryIO, buffers: Callable[[PickleBuffer], bool]) -> Pickler:
    """The standard pickler."""
    return Pickler(file, PROTOCOL, buffer_callback=buffers)


def write(file: BinaryIO, value: Any, make_pickler: MakePickler = plain) -> int:
    """Write ``value`` at the file's position, and leave the position behind it.

    Args:
        file: A buffered file that can seek.
        value: What to write.
        make_pickler: Makes the pickler, given the file and what is to be asked about each buffer.

    Returns:
        Where in the file the pickle ends and the buffers begin.

    Raises:
        Exception: Whatever the value's own code raises; what has been written so far is worthless.
    """
    start = file.tell()
    buffers: list[memoryview] = []
    file.write(bytes(_HEAD))
    make_pickler(file, lambda buffer: _stays_inside(buffer, buffers)).dump(value)
    pickled = file.tell()
    for buffer in buffers:
        file.write(_number(buffer.nbytes))
        file.write(bytes(_aligned(file.tell()) - file.tell()))
        file.write(buffer)
    end = file.tell()
    file.seek(start)
    file.write(_number(pickled - start - _HEAD) + _number(len(buffers)))
    file.seek(end)
    return pickled


def read(file: BinaryIO) -> Any:
    """Return the value at the file's position, and leave the position behind it.

    Raises:
        Exception: Whatever the value's own code raises; EOFError and others for a torn file.
    """
    size, count = _read_number(file), _read_number(file)
    start = file.tell()
    buffers, end = _buffers(file, start + size, count)
    file.seek(start)
    value = Unpickler(file, buffers=buffers).load()
    file.seek(end)
    return value


def skip(file: BinaryIO) -> None:
    """Go behind the value at the file's position."""
    size, count = _read_number(file), _read_number(file)
    file.seek(size, 1)
    for _ in range(count):
        length = _read_number(file)
        file.seek(_aligned(file.tell()) + length)


def _stays_inside(buffer: PickleBuffer, outside: list[memoryview]) -> bool:
    raw = buffer.raw()
    if raw.nbytes < LARGE:
        return True
    outside.append(raw)
    return False


def _buffers(file: BinaryIO, at: int, count: int) -> tuple[list[memoryview], int]:
    """The buffers, copied when they are written to (MAP_PRIVATE), and where they end."""
    found: list[memoryview] = []
    if not count:
        return found, at
    whole = _mapping(file)
    for _ in range(count):
        length = int.from_bytes(whole[at : at + _NUMBER], "little")
        at = _aligned(at + _NUMBER)
        if at + length > len(whole):
            raise EOFError(_TORN)
        found.append(whole[at : at + length])
        at += length
    return found, at


def _mapping(file: BinaryIO) -> memoryview:
    import mmap
    import sys

    # Before 3.13 a mapping keeps a descriptor of the file for as long as it lives.
    without_fd = {"trackfd": False} if sys.version_info >= (3, 13) else {}
    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY, **without_fd))


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


def _number(value: int) -> bytes:
    return value.to_bytes(_NUMBER, "little")


def _read_number(file: BinaryIO) -> int:
    data = file.read(_NUMBER)
    if len(data) < _NUMBER:
        raise EOFError(_TORN)
    return int.from_bytes(data, "little")
