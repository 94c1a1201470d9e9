"""The parser of ``procession run``: torchrun's, but it never looks at what belongs to the script."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import TYPE_CHECKING, Any, NoReturn

from procession.cli.words import nearest

if TYPE_CHECKING:
    from argparse import Action
    from collections.abc import Sequence


class LaunchParser(ArgumentParser):
    """Reads options up to SCRIPT; all words after it are the script's and are not looked at.

    argparse alone would drop a ``--`` among the script's words, and would judge those that look
    like options. So the words are cut at SCRIPT before argparse sees them.
    """

    def __init__(self, **kw: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=HelpFormatter, **kw)

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Read the command line.

        Args:
            args: The words after the command's name; ``sys.argv[1:]`` where None.
            namespace: Where to keep the values; a new one where None.

        Returns:
            The namespace, with the script's own words in ``training_script_args``.

        Raises:
            SystemExit: The command line is wrong (status 2), or help was asked for (status 0).
        """
        words = sys.argv[1:] if args is None else list(args)
        _, unknown = self._scan(words)
        if unknown is not None:
            self.error(self._unknown_option(unknown))
        return super().parse_args(words, namespace)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As ``parse_args``, but hand back unknown words instead of refusing them."""
        words = sys.argv[1:] if args is None else list(args)
        script, unknown = self._scan(words)
        if unknown is not None or script > len(words) or {"-h", "--help"} & set(words[:script]):
            return super().parse_known_args(words, namespace)
        if script == len(words):
            self.error("no SCRIPT was given. For example: procession run -n 4 train.py")
        known, rest = super().parse_known_args(words[: script + 1], namespace)
        known.training_script_args = words[script + 1 :]
        return known, rest

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line and end with status 2."""
        self.exit(2, f"{self.prog}: {message}\nAll options: procession run --help\n")

    def _scan(self, words: list[str]) -> tuple[int, str | None]:
        """Find SCRIPT.

        Returns:
            Its index (``len(words)`` if there is none, more if the last option lacks its value),
            and the first unknown option, at which the search ends.
        """
        index = 0
        while index < len(words):
            word = words[index]
            if word == "--":
                return index + 1, None
            if not word.startswith("-") or word == "-":
                return index, None
            width = self._width(word)
            if width is None:
                return index, word
            index += width
        return index, None

    def _width(self, word: str) -> int | None:
        """How many words an option takes with its value: 1, 2, or None if it is not known."""
        name, equals, _ = word.partition("=")
        option = self._option_string_actions.get(name)
        if option is not None:
            return 1 if equals or option.nargs == 0 else 2
        short = None if word.startswith("--") else self._option_string_actions.get(word[:2])
        if short is None:
            return None
        return self._width(f"-{word[2:]}") if short.nargs == 0 else 1

    def _unknown_option(self, word: str) -> str:
        name = word.partition("=")[0]
        known = [o for o in self._option_string_actions if "_" in name or "_" not in o]
        near = nearest(name, known)
        hint = f"Did you mean {' or '.join(near)}?" if near else "It is none of procession's."
        return f"unknown option {name}. {hint} Options of the script go after SCRIPT."


class HelpFormatter(RawDescriptionHelpFormatter):
    """Shows the dashed spelling of each option alone; the other is the same with underscores."""

    def __init__(self, prog: str, **kw: Any) -> None:
        # argparse makes a formatter for every option it is given, and would load shutil for this.
        super().__init__(prog, max_help_position=30, width=_columns(), **kw)

    def _format_action_invocation(self, action: Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        names = ", ".join(name for name in action.option_strings if "_" not in name)
        if action.nargs == 0:
            return names
        return f"{names} {action.metavar or action.dest.upper()}"


def _columns() -> int:
    """The width of help: the terminal's, but never too narrow or too wide to read."""
    try:
        return min(max(os.get_terminal_size().columns - 2, 60), 100)
    except OSError:
        return 80
