"""What a filter expression says, before anybody knows of which rows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


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


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison.

    :ivar value: as written; empty for the operators that take none.
    """

    selector: tuple[str, ...]
    operator: Operator
    value: str = ""


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of something."""

    of: Tree


@dataclass(frozen=True, slots=True)
class Every:
    """All of two or more (``and``)."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one of two or more (``or``)."""

    parts: tuple[Tree, ...]


Tree: TypeAlias = Comparison | Not | Every | Some
