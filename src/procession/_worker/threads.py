"""Thread counts that a library has read from the environment at its import, and that have changed."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

# Each library's setter under the names that builds of it give it: numpy and scipy wheels prefix and
# suffix OpenBLAS's (openblas_config.h, SYMBOLPREFIX and SYMBOLSUFFIX).
_SETTERS = {
    "OPENBLAS_NUM_THREADS": (
        r"/[^/]*openblas[^/]*\.so[^/]*$",
        [
            f"{prefix}openblas_set_num_threads{suffix}"
            for prefix in ("", "scipy_")
            for suffix in ("", "64_", "_64", "64")
        ],
    ),
    "MKL_NUM_THREADS": (r"/libmkl_rt\.so[^/]*$", ["MKL_Set_Num_Threads"]),
    "OMP_NUM_THREADS": (
        r"/(libgomp|libiomp5|libomp)[^/]*\.so[^/]*$",
        ["omp_set_num_threads"],
    ),
}


def follow_environment(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Set the number of threads of libraries that are loaded to what the environment says now.

    Args:
        before: The environment at their import.
        now: The worker's. Where it names no number, or the same, nothing is done.
    """
    for variable, (library, setters) in _SETTERS.items():
        count = _count(variable, now)
        if count is not None and count != _count(variable, before):
            for path in _loaded(library):
                _call_first(path, setters, count)
    torch = sys.modules.get("torch")
    count = _count("OMP_NUM_THREADS", now)
    if hasattr(torch, "set_num_threads") and count not in {None, _count("OMP_NUM_THREADS", before)}:
        torch.set_num_threads(count)  # type: ignore[union-attr]


def _count(variable: str, environment: Mapping[str, str]) -> int | None:
    """The library's own variable first, then OpenMP's, of whose list of levels the first counts."""
    for name in (variable, "OMP_NUM_THREADS"):
        text = environment.get(name, "").partition(",")[0].strip()
        if text.isdigit() and int(text) > 0:
            return int(text)
    return None


def _loaded(library: str) -> Iterator[str]:
    """The paths of this process's libraries of that name, a regular expression."""
    import re

    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
            paths = {line.rstrip("\n").partition("/")[2] for line in file}
    except OSError:
        return
    yield from sorted(f"/{path}" for path in paths if re.search(library, f"/{path}"))


def _call_first(path: str, names: list[str], count: int) -> None:
    import ctypes

    try:
        handle: Any = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:  # replaced on disk since, for instance
        return
    for name in names:
        if hasattr(handle, name):
            getattr(handle, name)(ctypes.c_int(count))
            return
