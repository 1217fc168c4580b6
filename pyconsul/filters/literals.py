"""Texts, numbers and truth values, read as Go reads them.

Source: the Go specification (string literals) and the answers of Consul 1.8.7.
"""

from __future__ import annotations

import re

_ESCAPE = re.compile(
    r"""\\(?:(?P<plain>[abfnrtv\\"])|x(?P<byte>[0-9a-fA-F]{2})|(?P<octal>[0-3][0-7]{2})"""
    r"""|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8}))|(?P<bad>[\\\n"])"""
)
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}
_SHORT = {character: letter for letter, character in _PLAIN.items()}
_INTEGER = re.compile(
    r"[+-]?(?:0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0(?:_?[0-7])*|[1-9](?:_?[0-9])*)"
)
_OLD_OCTAL = re.compile(r"([+-]?0)([0-7_]+)")
_INTEGER_MIN, _INTEGER_MAX = -(1 << 63), (1 << 63) - 1
_TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))


def quote(text: str) -> str:
    """``text`` as a string literal, the way error texts show it."""
    return '"' + "".join(map(_shown, text)) + '"'


def _shown(character: str) -> str:
    code = ord(character)
    if character in _SHORT:
        return "\\" + _SHORT[character]
    if character.isprintable():
        return character
    if 0xDC80 <= code < 0xDD00:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def unquote(literal: str) -> str:
    """The text that a string literal, quotes or backquotes included, stands for.

    Bytes that are no UTF-8 become lone surrogates, which equal nothing that a row holds.

    :raises ValueError: if an escape is broken or a line ends within quotes.
    """
    inside = literal[1:-1]
    if literal[0] == "`":
        return inside.replace("\r", "")
    if "\\" not in inside and "\n" not in inside:
        return inside
    return (
        _ESCAPE.sub(_unescape, inside).encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    )


def _unescape(found: re.Match[str]) -> str:
    if found["bad"]:
        raise ValueError("invalid syntax")
    if found["plain"]:
        return _PLAIN[found["plain"]]
    if found["byte"] or found["octal"]:
        byte = int(found["byte"], 16) if found["byte"] else int(found["octal"], 8)
        return bytes((byte,)).decode("utf-8", "surrogateescape")
    code = int(found["short"] or found["long"], 16)
    if code > 0x10FFFF:
        raise ValueError("invalid syntax")
    return "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)


def integer(text: str) -> int:
    """A number of 64 bits with its sign, in the notation of Go's literals.

    :raises ValueError: with the text that Go has for it.
    """
    where = f"strconv.ParseInt: parsing {quote(text)}"
    if _INTEGER.fullmatch(text) is None:
        raise ValueError(f"{where}: invalid syntax")
    if len(text) > 100:
        raise ValueError(f"{where}: value out of range")
    number = int(_OLD_OCTAL.sub(r"\1o\2", text) if _OLD_OCTAL.fullmatch(text) else text, 0)
    if not _INTEGER_MIN <= number <= _INTEGER_MAX:
        raise ValueError(f"{where}: value out of range")
    return number


def truth(text: str) -> bool:
    """A truth value.

    :raises ValueError: with the text that Go has for it.
    """
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"strconv.ParseBool: parsing {quote(text)}: invalid syntax")
