"""A silent guardian: asked and continued, then killed; never while nothing is due."""

from __future__ import annotations

from procession._loop.pulse import Pulse, Remedy


def test_silence_is_first_asked_then_ended() -> None:
    pulse = Pulse()
    assert pulse.due(100.0) == 101.0
    assert pulse.remedy(100.9) is None
    assert pulse.remedy(101.0) is Remedy.ROUSE
    assert pulse.due(101.0) == 105.0
    assert pulse.remedy(104.9) is None
    assert pulse.remedy(105.0) is Remedy.KILL


def test_a_word_begins_it_anew() -> None:
    pulse = Pulse()
    pulse.due(100.0)
    assert pulse.remedy(101.0) is Remedy.ROUSE
    pulse.heard()
    assert pulse.remedy(200.0) is None
    assert pulse.due(200.0) == 201.0
    assert pulse.remedy(201.0) is Remedy.ROUSE
