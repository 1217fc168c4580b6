"""What a filter expression says, before anybody knows of which rows."""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

from msgspec import Struct


class Operator(Enum):
    """What a comparison asks; the values are the names in Consul's error texts.

    ``value in selector`` and ``selector contains value`` are one operator.
    """

    EQUAL = "Equal"
    NOT_EQUAL = "Not Equal"
    IN = "In"
    NOT_IN = "Not In"
    EMPTY = "Is Empty"
    NOT_EMPTY = "Is Not Empty"
    MATCHES = "Matches"
    NOT_MATCHES = "Not Matches"


class Comparison(Struct, frozen=True):
    """One comparison.

    :ivar value: as written; empty for the operators that take none.
    """

    selector: tuple[str, ...]
    operator: Operator
    value: str = ""


class Not(Struct, frozen=True):
    """The opposite of something."""

    of: Tree


class Every(Struct, frozen=True):
    """All of two or more (``and``)."""

    parts: tuple[Tree, ...]


class Some(Struct, frozen=True):
    """At least one of two or more (``or``)."""

    parts: tuple[Tree, ...]


Tree: TypeAlias = Comparison | Not | Every | Some
