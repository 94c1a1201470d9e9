"""Options whose default comes from a ``PET_*`` variable, as torchrun's do, in both spellings."""

from __future__ import annotations

import os
from argparse import Action, ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from procession.errors import UsageError

if TYPE_CHECKING:
    from argparse import _ArgumentGroup
    from collections.abc import Callable, Iterable


class Default(str):
    """A default that nobody asked for: equal to its text, but told from it by ``isinstance``.

    An option with such a default has no ``type``: argparse would make a plain ``str`` of it.
    """

    __slots__ = ()


class DefaultNumber(int):
    """Likewise a number: equal to it, but told from it by ``isinstance``."""

    __slots__ = ()


def variable(dest: str) -> str:
    """The environment variable that sets the option kept in ``dest``."""
    return f"PET_{dest.upper()}"


class EnvOption(Action):
    """An option with a value; ``PET_<DEST>`` is its default where that variable is set."""

    def __init__(self, dest: str, default: Any = None, required: bool = False, **kw: Any) -> None:
        text = os.environ.get(variable(dest))
        if text is not None:
            default = _converted(variable(dest), text, kw.get("type"), kw.get("choices"))
        super().__init__(dest=dest, default=default, required=required and not default, **kw)

    def __call__(
        self,
        parser: ArgumentParser,  # noqa: ARG002  (argparse's signature)
        namespace: Namespace,
        values: Any,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """Keep the value that was given on the command line."""
        setattr(namespace, self.dest, values)


class EnvSwitch(Action):
    """An option without a value; ``PET_<DEST>=1`` switches it on too."""

    def __init__(self, dest: str, default: bool = False, **kw: Any) -> None:
        text = os.environ.get(variable(dest))
        if text is not None:
            default = _switch(variable(dest), text)
        super().__init__(dest=dest, const=True, default=default, nargs=0, **kw)

    def __call__(
        self,
        parser: ArgumentParser,  # noqa: ARG002
        namespace: Namespace,
        values: Any,  # noqa: ARG002
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """Switch on."""
        setattr(namespace, self.dest, self.const)


def _switch(name: str, text: str) -> bool:
    try:
        return bool(int(text))
    except ValueError:
        raise UsageError(f"{name}={text!r} in the environment: give 1 or 0, or unset it.") from None


def _converted(
    name: str, text: str, convert: Callable[[str], Any] | None, choices: Iterable[Any] | None
) -> Any:
    try:
        value = text if convert is None else convert(text)
    except ValueError:
        kind = getattr(convert, "__name__", "such a value")
        raise UsageError(f"{name}={text!r} in the environment cannot be read as {kind}.") from None
    if choices is not None and value not in choices:
        allowed = ", ".join(map(str, choices))
        raise UsageError(f"{name}={text!r} in the environment: give one of {allowed}.")
    return value


def option(group: _ArgumentGroup, *names: str, **kw: Any) -> Action:
    """Add an option with a value, in both spellings, that ``PET_*`` may set too."""
    return group.add_argument(*spellings(names), action=EnvOption, **kw)


def switch(group: _ArgumentGroup, *names: str, **kw: Any) -> Action:
    """Add an option without a value, likewise."""
    return group.add_argument(*spellings(names), action=EnvSwitch, **kw)


def spellings(names: tuple[str, ...]) -> list[str]:
    """The dashed names, then those of them that read differently with underscores."""
    underscored = (f"--{name[2:].replace('-', '_')}" for name in names if name.startswith("--"))
    return list(dict.fromkeys((*names, *underscored)))
