"""A silent guardian: asked and continued, then killed; never while nothing is due."""

from __future__ import annotations

from procession._guardian.pulse import Pulse, Remedy


def test_silence_is_first_asked_then_ended() -> None:
    pulse = Pulse()
    assert pulse.due(100.0) == 101.0
    assert pulse.remedy(100.9) is None
    assert pulse.remedy(101.0) is Remedy.ROUSE
    assert pulse.due(101.0) == 102.0
    assert pulse.remedy(102.0) is Remedy.KILL_IF_STOPPED
    assert pulse.due(102.0) == 105.0
    assert pulse.remedy(104.9) is None
    assert [pulse.remedy(now) for now in (105.0, 105.9, 106.0)] == [Remedy.KILL, None, Remedy.KILL]


def test_a_word_begins_it_anew() -> None:
    pulse = Pulse()
    pulse.due(100.0)
    assert pulse.remedy(101.0) is Remedy.ROUSE
    pulse.heard()
    assert pulse.remedy(200.0) is None
    assert pulse.due(200.0) == 201.0
    assert pulse.remedy(201.0) is Remedy.ROUSE
