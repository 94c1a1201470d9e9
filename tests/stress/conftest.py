"""The seed of what is drawn by lot: the same for all processes of a test run."""

from __future__ import annotations

import os

SEED = int(os.environ.get("SEED", "1"))


def pytest_report_header() -> str:
    return f"seed of what is drawn by lot: {SEED} (again: make stress SEED={SEED})"
