"""``${...}`` in the texts of templates: names, functions of one number, and literals.

This is what prepared queries use of HashiCorp's interpolation language; sums and the like, which it
knows too, are refused. ``$$`` stands for ``$``. Errors have its words and its places, which on all
lines but the first are one too high.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

PARSE_ERROR = "parse error: syntax error"
INTEGER_MAX = (1 << 63) - 1

_TOKEN = re.compile(
    r"""\s*(?:(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)|(?P<number>-?\s*[0-9]+)|"(?P<text>[^"\\$]*)"|(?P<mark>[(),}]))"""
)

Names: TypeAlias = Mapping[str, str]
Functions: TypeAlias = Mapping[str, Callable[[int], str]]
_Part: TypeAlias = "str | _Name | _Call"


class BadFormat(ValueError):
    """A text that is none of this language."""


class BadEvaluation(ValueError):
    """A text that asks for what there is not."""


class _Name:
    __slots__ = ("name", "place")

    def __init__(self, name: str, place: str) -> None:
        self.name = name
        self.place = place


class _Call(_Name):
    __slots__ = ("arguments",)

    def __init__(self, name: str, place: str, arguments: list[_Part]) -> None:
        super().__init__(name, place)
        self.arguments = arguments


class Interpolated:
    """A text with its interpolations taken apart.

    :raises BadFormat: if it cannot be.
    """

    def __init__(self, text: str) -> None:
        self._parts = [*_parts(text)]

    def fill(self, names: Names, functions: Functions) -> str:
        """The text.

        :raises BadEvaluation: if a name or a function is unknown, or its arguments are wrong.
        """
        return "".join(_value(part, names, functions) for part in self._parts)


def _parts(text: str) -> Iterator[_Part]:
    literal: list[str] = []
    at = 0
    while True:
        found = text.find("$", at)
        if found < 0:
            break
        following = text[found + 1 : found + 2]
        if following != "{":
            literal.append(text[at : found + 1])
            at = found + (2 if following == "$" else 1)
            continue
        literal.append(text[at:found])
        yield "".join(literal)
        literal.clear()
        part, at = _expression(text, found + 2)
        yield part
        mark = _TOKEN.match(text, at)
        if mark is None or mark["mark"] != "}":
            raise BadFormat(PARSE_ERROR)
        at = mark.end()
    yield "".join((*literal, text[at:]))


def _expression(text: str, at: int) -> tuple[_Part, int]:
    """The expression at ``at``, and where it ends."""
    token = _TOKEN.match(text, at)
    if token is None or token["mark"]:
        raise BadFormat(PARSE_ERROR)
    if token["text"] is not None:
        return token["text"], token.end()
    if token["number"]:
        number = int("".join(token["number"].split())[:40])
        if abs(number) > INTEGER_MAX:
            raise BadFormat(PARSE_ERROR)
        return str(number), token.end()
    name, place, at = token["name"], _place(text, token.start("name")), token.end()
    mark = _TOKEN.match(text, at)
    if mark is None or mark["mark"] != "(":
        return _Name(name, place), at
    arguments: list[_Part] = []
    at = mark.end()
    mark = _TOKEN.match(text, at)
    if mark is not None and mark["mark"] == ")":
        return _Call(name, place, arguments), mark.end()
    while True:
        argument, at = _argument(text, at)
        arguments.append(argument)
        mark = _TOKEN.match(text, at)
        if mark is None or mark["mark"] not in (")", ","):
            raise BadFormat(PARSE_ERROR)
        at = mark.end()
        if mark["mark"] == ")":
            return _Call(name, place, arguments), at


def _argument(text: str, at: int) -> tuple[_Part, int]:
    part, end = _expression(text, at)
    if isinstance(part, _Call):
        raise BadFormat("a function's argument cannot be a function's value")
    return part, end


def _place(text: str, at: int) -> str:
    line = text.count("\n", 0, at) + 1
    begin = text.rfind("\n", 0, at)
    return f"{line}:{at - begin + (line > 1)}"


def _value(part: _Part, names: Names, functions: Functions) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, _Call):
        if part.name not in names:
            raise BadEvaluation(f"{part.place}: unknown variable accessed: {part.name}")
        return names[part.name]
    arguments = [_value(argument, names, functions) for argument in part.arguments]
    function = functions.get(part.name)
    if function is None:
        raise BadEvaluation(f"{part.place}: unknown function called: {part.name}")
    if len(arguments) != 1:
        raise BadEvaluation(f"{part.place}: {part.name}: expected 1 arguments, got {len(arguments)}")
    try:
        number = int(arguments[0][:40])
    except ValueError:
        raise BadEvaluation(
            f'__builtin_StringToInt: strconv.ParseInt: parsing "{arguments[0]}": invalid syntax'
        ) from None
    return function(number)
