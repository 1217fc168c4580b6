"""Tests of single characters, as regular expressions write them.

What cannot be read raises ``ValueError(reason, where)``, with RE2's words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias
from unicodedata import category

Test: TypeAlias = Callable[[str], bool]
"""Whether a character fits."""

_ESCAPES = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_HEX = "0123456789abcdefABCDEF"
_LARGEST = 0x10FFFF


def is_word(character: str) -> bool:
    """``\\w``."""
    return character.isascii() and (character.isalnum() or character == "_")


def _is_digit(character: str) -> bool:
    return "0" <= character <= "9"


def _is_space(character: str) -> bool:
    return character in "\t\n\f\r "


def _not(test: Test) -> Test:
    return lambda character: not test(character)


_SHORT: dict[str, Test] = {
    "d": _is_digit, "D": _not(_is_digit), "w": is_word, "W": _not(is_word),
    "s": _is_space, "S": _not(_is_space),
}  # fmt: skip

_NAMED: dict[str, Test] = {
    "alnum": lambda c: c.isascii() and c.isalnum(),
    "alpha": lambda c: c.isascii() and c.isalpha(),
    "ascii": str.isascii,
    "blank": lambda c: c in "\t ",
    "cntrl": lambda c: c < " " or c == "\x7f",
    "digit": _is_digit,
    "graph": lambda c: "!" <= c <= "~",
    "lower": lambda c: "a" <= c <= "z",
    "print": lambda c: " " <= c <= "~",
    "punct": lambda c: "!" <= c <= "~" and not c.isalnum(),
    "space": lambda c: c in "\t\n\v\f\r ",
    "upper": lambda c: "A" <= c <= "Z",
    "word": is_word,
    "xdigit": lambda c: c in _HEX,
}


def literal(wanted: str, fold: bool) -> Test:
    """This character, with ``fold`` in either case."""
    if not fold:
        return wanted.__eq__
    lower = wanted.lower()
    return lambda character: character.lower() == lower


def any_character(newline: bool) -> Test:
    """Any but perhaps a newline."""
    return lambda character: newline or character != "\n"


def escaped(text: str, place: int) -> tuple[str | Test, int]:
    """What the escape at ``place``, after its backslash, means, and where the rest begins."""
    letter = text[place : place + 1]
    if not letter:
        raise ValueError("trailing backslash at end of expression", "")
    if letter in _SHORT:
        return _SHORT[letter], place + 1
    if letter in "pP":
        return _property(text, place)
    if letter in _ESCAPES:
        return _ESCAPES[letter], place + 1
    if letter == "x":
        return _hexadecimal(text, place)
    if letter in "01234567":
        digits = letter
        while len(digits) < 3 and text[place + len(digits) : place + len(digits) + 1] in tuple("01234567"):
            digits += text[place + len(digits)]
        if letter == "0" or len(digits) > 1:
            return chr(int(digits, 8)), place + len(digits)
    if letter.isascii() and not letter.isalnum():
        return letter, place + 1
    raise ValueError("invalid escape sequence", f"\\{letter}")


def _hexadecimal(text: str, place: int) -> tuple[str, int]:
    braced = text[place + 1 : place + 2] == "{"
    if braced:
        digits, closed, _ = text[place + 2 :].partition("}")
        end = place + 3 + len(digits)
    else:
        digits, closed, end = text[place + 1 : place + 3], "}", place + 3
    complete = bool(closed and digits) and (braced or len(digits) == 2)
    if not complete or not all(digit in _HEX for digit in digits) or int(digits[:9], 16) > _LARGEST:
        raise ValueError("invalid escape sequence", text[place - 1 : end])
    return chr(int(digits, 16)), end


def _property(text: str, place: int) -> tuple[Test, int]:
    """``\\pL``, ``\\p{Lu}``, ``\\P{L}``: a general category. Scripts are not known here."""
    if text[place + 1 : place + 2] == "{":
        name, closed, _ = text[place + 2 :].partition("}")
        end = place + 3 + len(name)
    else:
        name, closed, end = text[place + 1 : place + 2], "}", place + 2
    negated = (text[place] == "P") != name.startswith("^")
    name = name.removeprefix("^")
    if not closed or not 1 <= len(name) <= 2 or name[0] not in "CLMNPSZ":
        raise ValueError("invalid character class range", text[place - 1 : end])

    def test(character: str) -> bool:
        return category(character).startswith(name)

    return (_not(test) if negated else test), end


def bracket(text: str, place: int, fold: bool) -> tuple[Test, int]:
    """The class at ``place``, after its bracket, and where the rest begins."""
    began = place - 1
    negated = text[place : place + 1] == "^"
    place += negated
    tests: list[Test] = []
    first = True
    while first or text[place : place + 1] != "]":
        if place >= len(text):
            raise ValueError("missing closing ]", text[began:])
        first = False
        test, place = _member(text, place, fold)
        tests.append(test)

    def fits(character: str) -> bool:
        return any(test(character) for test in tests) != negated

    return fits, place + 1


def _member(text: str, place: int, fold: bool) -> tuple[Test, int]:
    """One member of a class: a named class, an escape, a character or a range."""
    if text.startswith("[:", place) and (end := text.find(":]", place)) > 0:
        name = text[place + 2 : end]
        known = _NAMED.get(name.removeprefix("^"))
        if known is None:
            raise ValueError("invalid character class range", text[place : end + 2])
        return (_not(known) if name.startswith("^") else known), end + 2
    began = place
    low, place = _single(text, place)
    if not isinstance(low, str):
        return low, place
    if text[place : place + 1] != "-" or text[place + 1 : place + 2] in ("]", ""):
        return literal(low, fold), place
    high, place = _single(text, place + 1)
    if not isinstance(high, str) or high < low:
        raise ValueError("invalid character class range", text[began:place])
    return _between(low, high, fold), place


def _between(low: str, high: str, fold: bool) -> Test:
    if not fold:
        return lambda character: low <= character <= high
    return lambda character: low <= character.lower() <= high or low <= character.upper() <= high


def _single(text: str, place: int) -> tuple[str | Test, int]:
    if text[place] == "\\":
        return escaped(text, place + 1)
    return text[place], place + 1
