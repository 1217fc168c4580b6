"""Filter expressions from text to tree, with Consul's error texts.

The language, as the answers of Consul 1.8.7 show it (``_`` is white space, ``?`` makes it optional)::

    either     = both (_ "or" _ both)*
    both       = one (_ "and" _ one)*
    one        = "not" _ one | "(" _? either _? ")" | comparison
    comparison = selector _? ("==" | "!=") _? value
               | selector _ ("not" _)? ("contains" | "matches") _ value
               | selector _ "is" _ ("not" _)? "empty"
               | value _ ("not" _)? "in" _ selector
    selector   = name ("." name | "[" _? string _? "]")*
    value      = selector | number | string

The first alternative that fits wins, and an ``and`` or ``or`` without a right side is left to whoever
comes next, so ``not in Tags`` looks for the tag "not". When nothing fits, the answer names the
furthest place that was reached and all that could have stood there. What is wrong inside a literal,
an index or a grouping is said in words instead, wherever it is.

A table-driven parser would have to be taught to report exactly this; by hand it is as short, costs
no import, and reads each place once, where Consul's takes twice as long for every parenthesis.
"""

from __future__ import annotations

import re

from pyconsul.filters.literals import unquote
from pyconsul.filters.tree import Comparison, Every, Not, Operator, Some, Tree

TEXT_MAX = 64 * 1024
DEPTH_MAX = 64
COMPARISONS_MAX = 1000

_SPACE, _LETTER, _LETTERS = r"[ \t\r\n]", "[a-zA-Z]", "[a-zA-Z0-9_]"
_DIGIT_1, _DIGIT = "[1-9]", "[0-9]"
_END = "EOF"
_BLANKS = re.compile(r"[ \t\r\n]*")
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")
_DIGITS = re.compile(r"[0-9]*")
_STRING = re.compile(r'"[^"]*"|`[^`]*`')


class Malformed(Exception):
    """No filter expression; the text is what Consul says of it."""


class _Failed(Exception):
    """This alternative does not fit."""


def parse(text: str) -> Tree:
    """The tree of an expression.

    :raises Malformed: if it is none, or beyond the bounds of this module.
    """
    if len(text) > TEXT_MAX:
        raise Malformed(f"the expression is longer than {TEXT_MAX} characters")
    return _Parser(text).parse()


class _Parser:
    """Reads one expression from left to right, remembering what it could not find where."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._comparisons = 0
        self._furthest = 0
        self._wanted: set[str] = set()
        self._faults: dict[str, None] = {}

    def parse(self) -> Tree:
        """The whole text."""
        try:
            self._blanks()
            tree = self._either()
            self._blanks()
            if self._at < len(self._text):
                raise self._missing(_END)
        except _Failed:
            if self._faults:
                raise Malformed("\n".join(self._faults)) from None
            raise Malformed(f"{self._where(self._furthest)}: {self._nothing_found()}") from None
        if self._faults:
            raise Malformed("\n".join(self._faults))
        return tree

    # ------------------------------------------------------------ what goes wrong

    def _missing(self, wanted: str) -> _Failed:
        """Note that ``wanted`` does not stand here."""
        if self._at > self._furthest:
            self._furthest = self._at
            self._wanted.clear()
        if self._at == self._furthest:
            self._wanted.add(wanted)
        return _Failed()

    def _fault(self, rule: str, reason: str, at: int | None = None) -> None:
        """Note what is wrong here, whatever comes of it."""
        where = self._where(self._at if at is None else at)
        self._faults[f'{where}: rule "{rule}": {reason}'] = None

    def _nothing_found(self) -> str:
        wanted = sorted(self._wanted - {_END})
        wanted += self._wanted & {_END}
        *most, last = wanted
        return "no match found, expected: " + (f"{', '.join(most)} or {last}" if most else last)

    def _where(self, at: int) -> str:
        """A place as line and column from 1, and the bytes before it. A line's end belongs to the next."""
        read = self._text[: at + 1]
        line = read.count("\n") + 1
        column = at - read.rfind("\n") if line > 1 else at + 1
        return f"{line}:{column} ({len(self._text[:at].encode('utf-8', 'surrogatepass'))})"

    # ------------------------------------------------------------ small pieces

    def _blanks(self) -> None:
        """White space, if there is any."""
        found = _BLANKS.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        self._missing(_SPACE)

    def _space(self) -> None:
        """White space, which has to be there."""
        before = self._at
        self._blanks()
        if self._at == before:
            raise _Failed

    def _takes(self, token: str) -> bool:
        if self._text.startswith(token, self._at):
            self._at += len(token)
            return True
        self._missing('"\\""' if token == '"' else f'"{token}"')
        return False

    def _word(self, word: str) -> None:
        """A word between white space."""
        self._space()
        if not self._takes(word):
            raise _Failed
        self._space()

    # ------------------------------------------------------------ the grammar

    def _either(self) -> Tree:
        parts = self._joined("or")
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _both(self) -> Tree:
        parts = self._joined("and")
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _joined(self, word: str) -> list[Tree]:
        part = self._both if word == "or" else self._one
        parts = [part()]
        while True:
            before = self._at
            try:
                self._word(word)
                parts.append(part())
            except _Failed:
                self._at = before
                return parts

    def _one(self) -> Tree:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise Malformed(f"the expression is nested more than {DEPTH_MAX} levels deep")
        try:
            return self._negated() or self._grouping() or self._comparison()
        finally:
            self._depth -= 1

    def _negated(self) -> Tree | None:
        before = self._at
        try:
            if not self._takes("not"):
                return None
            self._space()
            return Not(self._one())
        except _Failed:
            self._at = before
            return None

    def _grouping(self) -> Tree | None:
        before = self._at
        if not self._takes("("):
            return None
        try:
            self._blanks()
            tree = self._either()
            self._blanks()
        except _Failed:
            self._at = before
            return None
        if not self._text.startswith(")", self._at):
            self._fault("grouping", "Unmatched parentheses")
            self._at = before
            return None
        self._at += 1
        return tree

    def _comparison(self) -> Tree:
        self._comparisons += 1
        if self._comparisons > COMPARISONS_MAX:
            raise Malformed(f"the expression has more than {COMPARISONS_MAX} comparisons")
        before = self._at
        selector = self._selector()
        if selector is not None:
            after = self._at
            for attempt in (self._equality, self._is_empty, self._contains):
                try:
                    return attempt(selector)
                except _Failed:
                    self._at = after
        self._at = before
        return self._value_in()

    def _equality(self, selector: tuple[str, ...]) -> Comparison:
        self._blanks()
        if self._takes("=="):
            operator = Operator.EQUAL
        elif self._takes("!="):
            operator = Operator.NOT_EQUAL
        else:
            raise _Failed
        self._blanks()
        return Comparison(selector, operator, self._value())

    def _is_empty(self, selector: tuple[str, ...]) -> Comparison:
        self._word("is")
        operator = Operator.EMPTY
        if self._takes("not"):
            operator = Operator.NOT_EMPTY
            self._space()
        if not self._takes("empty"):
            raise _Failed
        return Comparison(selector, operator)

    def _contains(self, selector: tuple[str, ...]) -> Comparison:
        self._space()
        negated = self._takes("not")
        if negated:
            self._space()
        if self._takes("contains"):
            operator = Operator.NOT_IN if negated else Operator.IN
        elif self._takes("matches"):
            operator = Operator.NOT_MATCHES if negated else Operator.MATCHES
        else:
            raise _Failed
        self._space()
        return Comparison(selector, operator, self._value())

    def _value_in(self) -> Comparison:
        value = self._value()
        self._space()
        operator = Operator.IN
        if self._takes("not"):
            operator = Operator.NOT_IN
            self._space()
        if not self._takes("in"):
            raise _Failed
        self._space()
        selector = self._selector()
        if selector is None:
            self._fault("match", "Invalid selector")
            raise _Failed
        return Comparison(selector, operator, value)

    # ------------------------------------------------------------ selectors and values

    def _selector(self) -> tuple[str, ...] | None:
        name = self._name()
        if name is None:
            return None
        path = [name]
        while (part := self._part()) is not None:
            path.append(part)
        return tuple(path)

    def _name(self) -> str | None:
        found = _NAME.match(self._text, self._at)
        if found is None:
            self._missing(_LETTER)
            return None
        self._at = found.end()
        self._missing(_LETTERS)
        return found[0]

    def _part(self) -> str | None:
        """``.name`` or ``["name"]``."""
        before = self._at
        if self._takes("."):
            part = self._name()
        elif self._takes("["):
            part = self._index()
        else:
            return None
        if part is None:
            self._at = before
        return part

    def _index(self) -> str | None:
        self._blanks()
        part = self._string()
        if part is None:
            self._fault("index", "Invalid index")
            return None
        self._blanks()
        if not self._text.startswith("]", self._at):
            self._fault("index", "Unclosed index expression")
            return None
        self._at += 1
        return part

    def _value(self) -> str:
        selector = self._selector()
        if selector is not None:
            return ".".join(selector)
        value = self._number()
        if value is None:
            value = self._string()
        if value is None:
            raise _Failed
        return value

    def _number(self) -> str | None:
        before = self._at
        self._takes("-")
        if not self._takes("0"):
            if not "1" <= self._text[self._at : self._at + 1] <= "9":
                self._missing(_DIGIT_1)
                self._at = before
                return None
            self._digits()
        whole = self._at
        if self._takes("."):
            first = self._at
            self._digits()
            if self._at == first:
                self._at = whole
        following = self._text[self._at : self._at + 1]
        if following == ")":
            self._missing(_END)
        elif following and following not in " \t\r\n":
            self._fault("number", "Invalid number literal")
            self._at = before
            return None
        return self._text[before : self._at]

    def _digits(self) -> None:
        found = _DIGITS.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        self._missing(_DIGIT)

    def _string(self) -> str | None:
        before = self._at
        if self._text[before : before + 1] not in ('"', "`") or before == len(self._text):
            self._missing('"\\""')
            self._missing('"`"')
            return None
        found = _STRING.match(self._text, before)
        if found is None:
            self._at = len(self._text)
            self._fault("string", "Unterminated string literal")
            self._at = before
            return None
        self._at = found.end()
        try:
            return unquote(found[0])
        except ValueError as error:
            self._fault("string", str(error), before)
            return ""
