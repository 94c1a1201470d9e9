"""A module whose import dies in the way that DIES_BY says."""

from __future__ import annotations

import os

import dying

if "DIES_BY" in os.environ:
    dying.die(os.environ["DIES_BY"])


def work() -> str:
    return "returned"
