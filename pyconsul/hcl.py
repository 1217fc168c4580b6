"""HCL version 1, as configuration files, ACL rules and config entries are written in it.

``loads`` gives plain dicts, lists, strings, numbers and booleans. What HCL can say and JSON cannot
is mapped so that nothing is lost:

- ``service { ... }`` is a dict; a second block of the same name makes it a list of dicts;
- ``key "a" { ... }`` is ``{"key": {"a": {...}}}``; repeated, again a list of dicts;
- a list that is assigned twice is joined, any other value that is assigned twice is replaced.

``objects`` reads all these forms alike. Interpolations (``${...}``) are kept as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from pyconsul.errors import ConfigurationError
from pyconsul.late_patterns import compile_late

DEPTH_MAX = 64
"""How deeply objects and lists may nest."""

_SKIP = compile_late(r"(?:[ \t\r\n\ufeff]+|\#[^\n]*|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_IDENT = compile_late(r"[^\W\d][\w.\-]*")
_NUMBER = compile_late(r"-?(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)")
_HEREDOC = compile_late(r"<<(-?)([^\W\d]\w*)[ \t\r]*\n")
_PLAIN = compile_late(r'[^"\\\n$]+')
_ESCAPE = compile_late(r"\\(?:([abfnrtv\\\"])|([0-7]{3})|x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8}))")
_SIMPLE_ESCAPES = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))

_NAMES = {
    "=": "ASSIGN", "{": "LBRACE", "}": "RBRACE", "[": "LBRACK", "]": "RBRACK", ",": "COMMA",
    '"': "STRING", "": "EOF",
}  # fmt: skip


Note: TypeAlias = "Callable[[dict[str, Any], str, int], None]"
"""Told of every key that is read: the object that holds it, its name, an offset in the text."""


class HclError(ConfigurationError):
    """The text is not HCL; the message starts with ``At LINE:COLUMN:``."""


def loads(text: str, note: Note = lambda body, key, at: None) -> dict[str, Any]:
    """The value of an HCL or JSON text; raises ``HclError``.

    As in Consul, a text whose first character is ``{`` is taken as JSON.

    :param note: hears of the keys of HCL, not of those of JSON.
    """
    if is_json(text):
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise HclError(f"At {error.lineno}:{error.colno}: {error.msg}") from error
        except RecursionError as error:
            raise HclError("nested too deeply") from error
        except ValueError as error:  # a number of thousands of digits
            raise HclError(str(error)) from error
        return value if isinstance(value, dict) else {}
    return _Parser(text, note).document()


def is_json(text: str) -> bool:
    """Whether ``loads`` takes ``text`` as JSON."""
    return text.lstrip().startswith("{")


def objects(value: Any) -> list[dict[str, Any]]:
    """All objects of a key, whether it was written once, several times, as a list or not at all."""
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list):
        return [item for item in value if isinstance(item, dict)]
    return []


class _Parser:
    """One pass over the text, with the position in ``_at``."""

    def __init__(self, text: str, note: Note) -> None:
        self._text = text
        self._note = note
        self._at = 0
        self._depth = 0

    def document(self) -> dict[str, Any]:
        """The whole text as the body of an object."""
        body: dict[str, Any] = {}
        while self._peek() != "":
            self._item(body)
        return body

    # ------------------------------------------------------------ grammar

    def _item(self, body: dict[str, Any]) -> None:
        """``key = value``, ``key { ... }`` or ``key "label" ... { ... }``, and a comma if there is one."""
        start = self._at
        keys: list[str] = []
        while True:
            char = self._peek()
            if char == "=" and len(keys) == 1:
                self._at += 1
                value = self._value()
                break
            if char == "=":
                problem = "nested object expected: LBRACE got: ASSIGN" if keys else "no object keys found!"
                raise self._error(problem)
            if char == "{" and keys:
                value = self._object()
                break
            if char == '"':
                keys.append(self._string())
            elif (found := _IDENT.match(self._text, self._at)) and found[0] not in ("true", "false"):
                keys.append(found[0])
                self._at = found.end()
            elif char == "" and keys:
                written = self._text[start : self._at].strip()
                raise self._error(f"key '{written}' expected start of object ('{{') or assignment ('=')")
            else:
                raise self._error(f"expected: IDENT | STRING | ASSIGN | LBRACE got: {self._name()}")
        for label in reversed(keys[1:]):
            value = {label: value}
            self._note(value, label, start)
        _add(body, keys[0], value)
        self._note(body, keys[0], start)
        if self._peek() == ",":
            self._at += 1

    def _value(self) -> Any:
        char = self._peek()
        if char == '"':
            return self._string()
        if char == "{":
            return self._object()
        if char == "[":
            return self._list()
        if char == "<":
            return self._heredoc()
        if found := _NUMBER.match(self._text, self._at):
            try:
                value = _number(found[0])
            except ValueError:  # thousands of digits
                raise self._error("cannot parse number: value out of range") from None
            self._at = found.end()
            return value
        if found := _IDENT.match(self._text, self._at):
            if found[0] in ("true", "false"):
                self._at = found.end()
                return found[0] == "true"
            line, column = self._position(self._at)
            raise self._error(f"Unknown token: {line}:{column} IDENT {found[0]}")
        if char in _NAMES:
            line, column = self._position(self._at)
            raise self._error(f"Unknown token: {line}:{column} {_NAMES[char]} {char}".rstrip())
        raise self._error("illegal char")

    def _object(self) -> dict[str, Any]:
        self._enter()
        body: dict[str, Any] = {}
        while (char := self._peek()) != "}":
            if char == "":
                raise self._error("object expected closing RBRACE got: EOF")
            self._item(body)
        self._leave()
        return body

    def _list(self) -> list[Any]:
        self._enter()
        items: list[Any] = []
        separated = True
        while (char := self._peek()) != "]":
            if char == ",":
                self._at += 1
                separated = True
            elif not separated or char == "":
                raise self._error(f"error parsing list, expected comma or list end, got: {self._name()}")
            else:
                items.append(self._value())
                separated = False
        self._leave()
        return items

    def _enter(self) -> None:
        self._at += 1
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise self._error("nested too deeply")

    def _leave(self) -> None:
        self._at += 1
        self._depth -= 1

    # ------------------------------------------------------------ tokens

    def _peek(self) -> str:
        """Skip blanks and comments; the next character, empty at the end."""
        found = _SKIP.match(self._text, self._at)
        assert found is not None  # the pattern matches the empty string
        self._at = found.end()
        char = self._text[self._at : self._at + 1]
        if char == "/":
            whole = self._text.startswith("/*", self._at)
            raise self._error("comment not terminated" if whole else "expected '/' for comment")
        return char

    def _name(self) -> str:
        """What Consul's parser calls the next token."""
        char = self._text[self._at : self._at + 1]
        if char in _NAMES:
            return _NAMES[char]
        if found := _NUMBER.match(self._text, self._at):
            return "NUMBER" if found[0].lstrip("-").isdigit() else "FLOAT"
        if found := _IDENT.match(self._text, self._at):
            return "BOOL" if found[0] in ("true", "false") else "IDENT"
        raise self._error("illegal char")

    def _string(self) -> str:
        self._at += 1
        parts: list[str] = []
        while True:
            if found := _PLAIN.match(self._text, self._at):
                parts.append(found[0])
                self._at = found.end()
            char = self._text[self._at : self._at + 1]
            if char == '"':
                self._at += 1
                return "".join(parts)
            if char == "\\":
                parts.append(self._escape())
            elif char == "$":
                parts.append(self._interpolation())
            else:
                raise self._error("literal not terminated")

    def _escape(self) -> str:
        found = _ESCAPE.match(self._text, self._at)
        if not found:
            raise self._error("illegal char escape")
        simple, octal, *hexadecimal = found.groups()
        code = int(octal, 8) if octal else int(next(filter(None, hexadecimal), "0"), 16)
        if code > 0x10FFFF:
            raise self._error("illegal char escape")
        self._at = found.end()
        if 0xD800 <= code < 0xE000:  # half of a pair is no character
            return "\ufffd"
        return _SIMPLE_ESCAPES.get(simple, simple) if simple else chr(code)

    def _interpolation(self) -> str:
        """``${...}`` with everything in it, quotes too; a ``$`` alone is just that."""
        start = self._at
        self._at += 1
        if not self._text.startswith("{", self._at):
            return "$"
        depth = 0
        while self._at < len(self._text):
            char = self._text[self._at]
            self._at += 1
            depth += (char == "{") - (char == "}")
            if depth == 0:
                return self._text[start : self._at]
        raise self._error("literal not terminated")

    def _heredoc(self) -> str:
        """``<<END`` to a line with ``END``; ``<<-END`` also takes the common indentation away."""
        found = _HEREDOC.match(self._text, self._at)
        if not found:
            raise self._error("heredoc is invalid")
        indented, marker = found.groups()
        last_line = re.compile(rf"^[ \t]*{re.escape(marker)}[ \t\r]*$", re.MULTILINE)
        closing = last_line.search(self._text, found.end())
        if not closing:
            self._at = len(self._text)
            raise self._error("heredoc not terminated")
        body = self._text[found.end() : closing.start()]
        self._at = closing.end()
        if not indented:
            return body
        lines = body.split("\n")
        cut = min((len(line) - len(line.lstrip(" \t")) for line in lines if line.strip()), default=0)
        return "\n".join(line[cut:] for line in lines)

    # ------------------------------------------------------------ errors

    def _position(self, at: int) -> tuple[int, int]:
        """Line and column of an offset, both from 1."""
        return self._text.count("\n", 0, at) + 1, at - self._text.rfind("\n", 0, at)

    def _error(self, problem: str) -> HclError:
        line, column = self._position(self._at)
        return HclError(f"At {line}:{column}: {problem}")


def _add(body: dict[str, Any], key: str, value: Any) -> None:
    """Put a value into an object, with what the same key held before (see the module)."""
    old = body.get(key)
    if isinstance(old, list) and isinstance(value, list | dict):
        body[key] = [*old, *value] if isinstance(value, list) else [*old, value]
    elif isinstance(old, dict) and isinstance(value, list | dict):
        body[key] = [old, *value] if isinstance(value, list) else [old, value]
    else:
        body[key] = value


def _number(text: str) -> int | float:
    digits = text.lstrip("-")
    if digits[:2] in ("0x", "0X"):
        return int(text, 16)
    if not digits.isdigit():
        return float(text)
    octal = len(digits) > 1 and digits[0] == "0" and not set(digits) & set("89")
    return int(text, 8 if octal else 10)
