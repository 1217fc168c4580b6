"""A filter expression made into a test of rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

from pyconsul.errors import Refused
from pyconsul.filters.grammar import Malformed, parse
from pyconsul.filters.kinds import Kind, Leaf, Mapping, Record, Records, record_of
from pyconsul.filters.literals import integer, quote, truth
from pyconsul.filters.tree import Comparison, Every, Not, Operator, Tree
from pyconsul.regexp.expressions import BadExpression, Expression

Test: TypeAlias = Callable[[Any], bool]

PREFIX = "Failed to create boolean expression evaluator: "
KEPT_MAX = 128
KEPT_TEXT_MAX = 4096
EXPRESSIONS_MAX = 32

_ABSENT = {
    operator: operator in (Operator.NOT_EQUAL, Operator.NOT_IN, Operator.MATCHES, Operator.NOT_MATCHES)
    for operator in Operator
}
"""What a comparison gives for a key that a mapping has not. That ``matches`` holds is Consul's word."""

_NEGATED = {
    Operator.NOT_EQUAL: Operator.EQUAL,
    Operator.NOT_IN: Operator.IN,
    Operator.NOT_EMPTY: Operator.EMPTY,
    Operator.NOT_MATCHES: Operator.MATCHES,
}

_EQUALS = frozenset((Operator.EQUAL, Operator.NOT_EQUAL))
_CONTAINS = frozenset((Operator.IN, Operator.NOT_IN))
_COUNTS = frozenset((Operator.EMPTY, Operator.NOT_EMPTY))
_MATCHES = frozenset((Operator.MATCHES, Operator.NOT_MATCHES))
_OPERATORS: dict[Any, frozenset[Operator]] = {
    Leaf.TEXT: _EQUALS | _CONTAINS | _MATCHES,
    Leaf.NUMBER: _EQUALS,
    Leaf.FLAG: _EQUALS,
    Leaf.TEXTS: _CONTAINS | _COUNTS,
    Mapping: _CONTAINS | _COUNTS,
    Records: _COUNTS,
    Record: frozenset(),
}


def make_test(text: str, row: type) -> Test:
    """The test that ``text`` stands for, of rows of a struct.

    :raises Refused: if it is no expression, or asks what cannot be asked of such rows.
    """
    return _kept(text, row) if len(text) <= KEPT_TEXT_MAX else _make(text, row)


def check_syntax(text: str) -> None:
    """Raise ``Refused`` if ``text`` is no expression, whatever it asks about."""
    try:
        parse(text)
    except Malformed as error:
        raise Refused(PREFIX + str(error)) from None


def _make(text: str, row: type) -> Test:
    try:
        return _Maker().test(parse(text), record_of(row))
    except Malformed as error:
        raise Refused(PREFIX + str(error)) from None


_kept = lru_cache(maxsize=KEPT_MAX)(_make)


class _Maker:
    """Makes one test."""

    def __init__(self) -> None:
        self._expressions = 0

    def test(self, tree: Tree, row: Record) -> Test:
        """The test that ``tree`` stands for."""
        if isinstance(tree, Comparison):
            return self._reach(row, tree, 0)
        if isinstance(tree, Not):
            inner = self.test(tree.of, row)
            return lambda value: not inner(value)
        parts = [self.test(part, row) for part in tree.parts]
        return _every(parts) if isinstance(tree, Every) else _some(parts)

    def _reach(self, kind: Kind, comparison: Comparison, at: int) -> Test:
        """The test of a value of ``kind``, of whose selector the first ``at`` parts led there."""
        path = comparison.selector
        if at == len(path):
            return self._compare(kind, comparison)
        if isinstance(kind, Records):
            inner = self._reach(kind.of, comparison, at)
            return lambda value: any(map(inner, value or ()))
        if isinstance(kind, Record) and (field := kind.fields.get(path[at])) is not None:
            get, test = field.get, self._reach(field.kind, comparison, at + 1)
            return lambda value: test(get(value))
        if isinstance(kind, Mapping):
            key, inner, absent = (
                path[at],
                self._reach(kind.of, comparison, at + 1),
                _ABSENT[comparison.operator],
            )
            return lambda value: inner(value[key]) if value and key in value else absent
        raise Malformed(f"Selector {quote('.'.join(path[: at + 1]))} is not valid")

    def _compare(self, kind: Kind, comparison: Comparison) -> Test:
        operator = comparison.operator
        if operator not in _OPERATORS[kind if isinstance(kind, Leaf) else type(kind)]:
            raise Malformed(f'Invalid match operator "{operator.value}" for selector {_shown(comparison)}')
        positive = _NEGATED.get(operator, operator)
        if positive is Operator.EQUAL:
            test = _equals(kind, comparison)
        elif positive is Operator.IN:
            test = _contains(comparison.value, "" if kind is Leaf.TEXT else ())
        elif positive is Operator.EMPTY:
            return (lambda value: not value) if positive is operator else bool
        else:
            test = self._matches(comparison.value)
        return test if positive is operator else lambda value: not test(value)

    def _matches(self, text: str) -> Test:
        self._expressions += 1
        if self._expressions > EXPRESSIONS_MAX:
            raise Malformed(f"the expression has more than {EXPRESSIONS_MAX} regular expressions")
        try:
            search = Expression(text).search
        except BadExpression as error:
            raise Malformed(f"Failed to compile regular expression {quote(text)}: {error}") from None
        return lambda value: search(value or "")


def _shown(comparison: Comparison) -> str:
    """The selector of a comparison, as error texts name it."""
    return quote(".".join(comparison.selector))


def _equals(kind: Kind, comparison: Comparison) -> Test:
    text = comparison.value
    try:
        if kind is Leaf.NUMBER:
            number = integer(text)
            return lambda value: (value or 0) == number
        if kind is Leaf.FLAG:
            return bool if truth(text) else lambda value: not value
    except ValueError as error:
        where = _shown(comparison)
        raise Malformed(f"Failed to coerce value {quote(text)} for selector {where}: {error}") from None
    return lambda value: (value or "") == text


def _contains(wanted: str, nothing: str | tuple[()]) -> Test:
    return lambda value: wanted in (value or nothing)


def _every(parts: list[Test]) -> Test:
    if len(parts) == 2:
        first, second = parts
        return lambda value: first(value) and second(value)
    return lambda value: all(part(value) for part in parts)


def _some(parts: list[Test]) -> Test:
    if len(parts) == 2:
        first, second = parts
        return lambda value: first(value) or second(value)
    return lambda value: any(part(value) for part in parts)
