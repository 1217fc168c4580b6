"""Flags as Go programs take them: ``-flag value``, ``-flag=value``, ``--flag``, ``-flag=false``.

The first argument that is no flag ends them, so that ``kv put n -5`` writes ``-5``. argparse would
take flags anywhere and cost as much at start-up as the whole rest of a command.
"""

from __future__ import annotations

from pyconsul.errors import PyconsulError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

HELP = frozenset(("-h", "-help", "--help"))
_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))
TRUTH = _TRUE | _FALSE
"""All spellings of a truth value."""
UINT_MAX = 2**64 - 1


class UsageError(PyconsulError):
    """The flags cannot be understood; the text is Go's own."""


class BadValue(ValueError):
    """Why a flag's value is none, in words to show; of other ``ValueError`` only that it is none is said."""


class HelpWanted(Exception):
    """``-h`` was among the flags."""


class Flag:
    """One flag.

    :ivar read: text -> value, raising ``ValueError``; ``None`` for a flag that may stand alone.
    :ivar many: may be repeated; the value is the list of all.
    :ivar shown: what help writes for the value.
    :ivar into: the name its value is found under; two flags may share a list, which keeps their order.
    """

    __slots__ = ("default", "doc", "into", "many", "name", "read", "shown")

    def __init__(
        self,
        name: str,
        doc: str,
        *,
        default: Any = "",
        read: Callable[[str], Any] | None = str,
        many: bool = False,
        shown: str = "value",
        into: str = "",
    ) -> None:
        self.name, self.doc, self.default = name, doc, default
        self.read, self.many, self.shown, self.into = read, many, shown, into or name


def boolean(name: str, doc: str, default: bool = False) -> Flag:
    """A flag that is given or not."""
    return Flag(name, doc, default=default, read=None)


def unsigned(name: str, doc: str) -> Flag:
    """A flag whose value is a number from 0 to 2**64 - 1; 0 if it is not given."""
    return Flag(name, doc, default=0, read=_unsigned, shown="uint")


def _unsigned(text: str) -> int:
    value = int(text, 0) if text[:2].lower() in ("0x", "0o", "0b") else int(text)
    if value < 0 or "_" in text:
        raise ValueError("parse error")
    if value > UINT_MAX:
        raise BadValue("value out of range")
    return value


def duration(name: str, doc: str, default: str = "") -> Flag:
    """A flag whose value is a duration such as ``1m30s``; it stays text."""
    return Flag(name, doc, default=default, read=_duration, shown="duration")


def _duration(text: str) -> str:
    from pyconsul.structs.durations import parse_ns

    parse_ns(text)
    return text


def repeated(name: str, doc: str, shown: str = "value") -> Flag:
    """A flag that may be given several times."""
    return Flag(name, doc, default=(), many=True, shown=shown)


def defaults(flags: Iterable[Flag]) -> dict[str, Any]:
    """What the values are if no flag is given."""
    return {flag.into: flag.default for flag in flags}


def parse(flags: Iterable[Flag], arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The values of the flags that were given, and what comes after the flags.

    Raises ``UsageError``, or ``HelpWanted``.
    """
    known = {flag.name: flag for flag in flags}
    given: dict[str, Any] = {}
    at = 0
    while at < len(arguments):
        argument = arguments[at]
        if len(argument) < 2 or argument[0] != "-":
            break
        at += 1
        if argument == "--":
            break
        if argument in HELP:
            raise HelpWanted
        name, mark, text = argument[2 if argument[1] == "-" else 1 :].partition("=")
        if not name or name[0] == "-":
            raise UsageError(f"bad flag syntax: {argument}")
        flag = known.get(name)
        if flag is None:
            raise UsageError(f"flag provided but not defined: -{name}")
        if flag.read is None:
            given[flag.into] = _truth(name, text) if mark else True
            continue
        if not mark:
            if at == len(arguments):
                raise UsageError(f"flag needs an argument: -{name}")
            text = arguments[at]
            at += 1
        value = _read(flag, flag.read, text)
        given[flag.into] = [*given.get(flag.into, ()), value] if flag.many else value
    return given, list(arguments[at:])


def _truth(name: str, text: str) -> bool:
    if text in TRUTH:
        return text in _TRUE
    raise UsageError(f'invalid boolean value "{text}" for -{name}: parse error')


def _read(flag: Flag, read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except ValueError as error:
        reason = str(error) if isinstance(error, BadValue) else "parse error"
        raise UsageError(f'invalid value "{text}" for flag -{flag.name}: {reason}') from None


def help_text(title: str, flags: Iterable[Flag]) -> str:
    """The flags with their meaning, by name; empty without any."""
    import textwrap

    lines = []
    for flag in sorted(flags, key=lambda flag: flag.name):
        lines.append(f"  -{flag.name}" if flag.read is None else f"  -{flag.name}=<{flag.shown}>")
        lines.append(textwrap.fill(flag.doc, 72, initial_indent="     ", subsequent_indent="     "))
        lines.append("")
    return "\n".join([f"{title}\n", *lines]) if lines else ""
