r"""Lines as a terminal that many streams share can show them. No I/O and no clock.

A terminal acts on what it is sent: a colour stays until it is taken back, a cursor that is moved gets
into the lines of others. So colours end with their line and begin again with the next one of the same
stream, and what moves the cursor is left out. A line that is drawn again and again (``\r``) is its newest
state, also if there are others below or above it (tqdm in tqdm). The file has every byte.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING

from procession._logs.lines import LONGEST_HELD, LineAssembler

if TYPE_CHECKING:
    from procession._logs.lines import Dress, Piece

_ESCAPE = b"\x1b"
_RESET = b"\x1b[0m"
_UP = b"\x1b[A"
_DOWN = re.compile(rb"\r*\n")
_MAYBE_BACK = re.compile(rb"(?:\x1b\[A)*(?:\r*|\x1b\[?)\Z")  # what a `_DOWN` may follow
_DEEPEST = 13  # bytes of that: five bars below each other
# Before and behind a place where blocks cut both.
_LAST, _NEXT = (b"\x1b", b"[", b"A", b"\r"), (b"\x1b", b"[", b"A", b"\r", b"\n")
_EMPTY_STATE = b"\0\r"
_WIDEST_BAR = 65536  # bytes of a state that are looked at for a row of a terminal
_LAST_WORDS = b"Traceback (most recent call last):"
_COLOUR = re.compile(rb"\x1b\[([\d;:]*)m")
# ECMA-48: control sequences but for SGR; strings such as titles, links and images; other escapes, as ECMA-35
# has them (`tput sgr0` chooses a character set by one); control characters but for tab, newline and the
# escape of an SGR.
_CONTROL = re.compile(
    rb"\x1b\[(?![\d;:]*m)[0-?]*[ -/]*[@-~]?"
    rb"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"
    rb"|\x1b(?!\[[\d;:]*m)[ -/]*[0-~]?"
    rb"|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f]"
)
# What an SGR parameter sets: parameters of one name replace each other, and 0 or the last takes it back.
_ATTRIBUTES = (
    ("weight", {1, 2}, 22),
    ("slant", {3}, 23),
    ("underline", {4, 21}, 24),
    ("blink", {5, 6}, 25),
    ("inverse", {7}, 27),
    ("hidden", {8}, 28),
    ("strike", {9}, 29),
    ("foreground", {*range(30, 39), *range(90, 98)}, 39),
    ("background", {*range(40, 49), *range(100, 108)}, 49),
)
_SETS = {code: name for name, codes, _ in _ATTRIBUTES for code in codes}
_TAKES_BACK = {code: name for name, _, code in _ATTRIBUTES}


class Colours:
    """What of colours and the like is switched on (SGR, ECMA-48 8.3.117)."""

    __slots__ = ("_on",)

    def __init__(self) -> None:
        self._on: dict[str, bytes] = {}

    def read(self, text: bytes) -> None:
        """Take note of what a text switches on and off."""
        for parameters in _COLOUR.findall(text):
            self._switch(deque(parameters.split(b";")))

    def again(self) -> bytes:
        """What switches the same on once more; empty if nothing is on."""
        return b"\x1b[%bm" % b";".join(self._on.values()) if self._on else b""

    def _switch(self, parameters: deque[bytes]) -> None:
        while parameters:
            first = parameters.popleft()
            code = int(first.partition(b":")[0] or 0)
            if code == 0:
                self._on.clear()
            elif code in _TAKES_BACK:
                self._on.pop(_TAKES_BACK[code], None)
            elif code not in {38, 48} or b":" in first:
                self._on[_SETS.get(code, "")] = first
            elif arguments := _arguments(parameters):
                self._on[_SETS[code]] = b";".join([first, *arguments])
        self._on.pop("", None)  # what we know nothing of


def _arguments(parameters: deque[bytes]) -> list[bytes]:
    """Take what belongs to ``38`` and ``48``: ``5;n`` or ``2;r;g;b``."""
    count = {b"5": 2, b"2": 4}.get(parameters[0], 0) if parameters else 0
    return [parameters.popleft() for _ in range(min(count, len(parameters)))]


def newest(text: bytes) -> bytes:
    r"""Return the last state of a line that ``\r`` has drawn again and again."""
    states = text.rstrip(b"\r")
    return states[states.rfind(b"\r") + 1 :]


def straight(text: bytes) -> bytes:
    r"""Return a text without the cursor's ways up and at once down again, as tqdm keeps bars below each other.

    Such a way ends at the beginning of the line that it began in: it is another state, an empty one.
    """
    first, *others = text.split(_UP)
    done, ups = [first], 0
    for part in others:
        ups, at = ups + 1, 0
        while ups and (down := _DOWN.match(part, at)):
            ups, at = ups - 1, down.end()
            done.append(_EMPTY_STATE)
        if part[at:]:
            done += [_UP * ups, part[at:]]
            ups = 0
    return b"".join([*done, _UP * ups])


class ScreenLines(LineAssembler):
    r"""Makes lines for a terminal; their bytes are not the stream's own.

    Args:
        prefix: As for `LineAssembler`.
        limit: As for `LineAssembler`.
        source: As for `LineAssembler`.
        rank: As for `LineAssembler`.
        redraws: Whether a line that ``\r`` draws again is to be shown as a bar meanwhile.
        wanted: What chooses among the lines; None shows all.
    """

    __slots__ = ("_colours", "_is_bar", "_redraws", "_wanted")

    def __init__(
        self,
        prefix: bytes = b"",
        limit: int = LONGEST_HELD,
        source: str = "its file",
        rank: int = 0,
        *,
        redraws: bool = False,
        wanted: Dress | None = None,
    ) -> None:
        super().__init__(prefix, self._for_screen, limit, source, rank)
        self.selective = wanted is not None
        self._wanted = wanted
        self._colours = Colours()
        self._is_bar = False
        self._redraws = redraws and wanted is None

    @property
    def is_bar(self) -> bool:
        """True while the unfinished line is one that is drawn again and again."""
        return self._is_bar and self._redraws and not self._open

    @property
    def bar(self) -> bytes:
        """The newest state of that line, with its prefix."""
        return self.prefix + self._in_colour(newest(bytes(self._held[:_WIDEST_BAR])), Colours())

    def feed(self, block: bytes) -> list[Piece]:
        """Take the stream's next bytes; a cursor that goes up and down again has not left its line."""
        if self._held.endswith(_LAST) and block.startswith(_NEXT) and not self._cut:
            back = _MAYBE_BACK.search(self._held[-_DEEPEST:])
            if back and _ESCAPE in back[0]:
                del self._held[-len(back[0]) :]
                block = bytes(back[0]) + block
        return super().feed(straight(block) if _UP in block else block)

    def _hold(self, block: bytes) -> None:
        done = self._held.endswith(b"\r")
        if not done and b"\r" not in block:
            super()._hold(block)
            return
        self._is_bar = True
        begun = block.rstrip(b"\r")
        if begun and (done or b"\r" in begun):  # another state
            self._held, self._cut = bytearray(newest(block)), 0
        elif begun:  # the rest of this one
            super()._hold(begun)
        elif done:
            return
        self._held += b"\r" * block.endswith(b"\r")

    def _for_screen(self, line: bytes) -> bytes | None:
        if self._wanted is not None and self._wanted(line) is None:
            self._is_bar = False
            return None
        ended = line.endswith(b"\n")
        text = line[:-1] if ended else line
        parts = _last_state(text) if self._is_bar or b"\r" in text else [text]
        self._is_bar = False
        shown = [self._in_colour(part, self._colours) for part in parts]
        return (b"\n" + self.prefix).join(shown) + b"\n" * ended

    def _in_colour(self, text: bytes, colours: Colours) -> bytes:
        if b"\x1b" not in text and not colours.again():
            return _CONTROL.sub(b"", text)
        text = colours.again() + _CONTROL.sub(b"", text)
        colours.read(text)
        return text + _RESET if colours.again() else text


def _last_state(text: bytes) -> list[bytes]:
    """The newest state, and Python's last words in a line of their own, which were written behind it."""
    state, words, rest = newest(text).partition(_LAST_WORDS)
    return [part for part in (state, words + rest) if part] or [b""]
