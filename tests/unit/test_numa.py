"""Options of a binding, and the refusal while there is none."""

from __future__ import annotations

import dataclasses

import pytest

from procession.multiprocessing.subprocess_handler import get_subprocess_handler
from procession.numa._unbuilt import refuse_binding
from procession.numa.binding import AffinityMode, NumaOptions


def test_modes_are_named_as_the_command_line_names_them() -> None:
    assert [mode.value for mode in AffinityMode] == ["node", "socket", "exclusive", "core-complex"]
    assert AffinityMode("core-complex") is AffinityMode.CORE_COMPLEX


def test_options_do_not_fall_back_unless_asked_and_do_not_change() -> None:
    options = NumaOptions(AffinityMode.NODE)
    assert options.should_fall_back_if_binding_fails is False
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.affinity_mode = AffinityMode.SOCKET  # type: ignore[misc]


def test_no_options_are_accepted() -> None:
    refuse_binding(None)


def test_options_are_refused_by_name_with_the_way_out() -> None:
    with pytest.raises(NotImplementedError) as caught:
        refuse_binding(NumaOptions(AffinityMode.NODE))
    text = str(caught.value)
    assert text.startswith("NumaOptions(affinity_mode=<AffinityMode.NODE: 'node'>")
    assert "--numa-binding" in text
    assert "--no-python numactl" in text


def test_a_handler_refuses_before_it_starts_or_opens_anything(tmp_path: object) -> None:
    log = f"{tmp_path}/missing/stdout.log"
    with pytest.raises(NotImplementedError):
        get_subprocess_handler("true", (), {}, log, "", 0, NumaOptions(AffinityMode.NODE))
