"""Every stroke at every moment against every entry, and some that are drawn by lot."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.stress.conftest import SEED
from tests.stress.matrix import Case, drawn, expected, isolated, planned
from tests.stress.stage import can_isolate, play

LOTS = 120

pytestmark = pytest.mark.stress


@pytest.mark.parametrize("case", [*planned(), *isolated(), *drawn(LOTS, SEED)], ids=str)
def test_nothing_is_left(case: Case, tmp_path: Path) -> None:
    can_isolate(case.isolate)
    play(case, expected(case), tmp_path)
