"""What the comparisons with torch need: torch itself, at the version that is the measure."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version

import pytest

TORCH_VERSION = "2.13.0"


def torch_is_missing() -> str | None:
    """Why nothing can be compared here; None if it can."""
    try:
        found = version("torch").partition("+")[0]
    except PackageNotFoundError:
        return f"torch {TORCH_VERSION} is not installed"
    return None if found == TORCH_VERSION else f"torch {found} is installed, not {TORCH_VERSION}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs torch where it is missing, unless PROCESSION_REQUIRE_TORCH forbids that."""
    missing = torch_is_missing()
    if missing is None:
        return
    if os.environ.get("PROCESSION_REQUIRE_TORCH"):
        raise pytest.UsageError(f"PROCESSION_REQUIRE_TORCH is set, but {missing}")
    for item in items:
        if item.get_closest_marker("torch"):
            item.add_marker(pytest.mark.skip(reason=missing))
