"""What the comparisons with torch need: torch itself, at the version that is the measure."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version

import pytest

TORCH_VERSION = "2.13.0"
REQUIRED = bool(os.environ.get("PROCESSION_REQUIRE_TORCH"))


def torch_is_missing() -> str | None:
    """Why nothing can be compared here; None if it can."""
    try:
        found = version("torch").partition("+")[0]
    except PackageNotFoundError:
        return f"torch {TORCH_VERSION} is not installed"
    return None if found == TORCH_VERSION else f"torch {found} is installed, not {TORCH_VERSION}"


def pytest_configure() -> None:
    """End at once where PROCESSION_REQUIRE_TORCH forbids to skip and there is no torch."""
    if REQUIRED and torch_is_missing():
        raise pytest.UsageError(f"PROCESSION_REQUIRE_TORCH is set, but {torch_is_missing()}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs torch where it is missing and may be."""
    missing = torch_is_missing()
    if missing is None or REQUIRED:
        return
    for item in items:
        if item.get_closest_marker("torch"):
            item.add_marker(pytest.mark.skip(reason=missing))
