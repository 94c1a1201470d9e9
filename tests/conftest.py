"""Tests that start programs of the system: skipped where one is missing, unless that is forbidden."""

from __future__ import annotations

import os
import shutil

import pytest

REQUIRED = bool(os.environ.get("PROCESSION_REQUIRE_SYSTEM"))
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for the programs that ``@pytest.mark.program(name, package)`` names."""
    for marker in item.iter_markers("program"):
        name, package = marker.args
        if shutil.which(name, path=PATH) is None:
            missing = f"{name} is missing: sudo apt-get install -y {package}"
            if REQUIRED:
                pytest.fail(missing, pytrace=False)
            pytest.skip(missing)
