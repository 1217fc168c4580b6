"""What can be asked of a row, read off the declaration of its struct.

A struct's fields are its selectors, by their JSON names. Left out are fields annotated with
``NOT_SELECTABLE`` and those that could hold anything. A field that is kept as a bare mapping says what
is in it by an annotation: ``Annotated[dict[str, Any], SomeTypedDict]``.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from operator import attrgetter
from types import NoneType, UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin, get_type_hints, is_typeddict

import msgspec
from msgspec import Struct

from pyconsul.structs.catalog import NOT_SELECTABLE

Get: TypeAlias = Callable[[Any], Any]


class Leaf(Enum):
    """What holds no more selectors."""

    TEXT = str
    NUMBER = int
    FLAG = bool
    TEXTS = list


class Field(Struct, frozen=True):
    """A selector and how to get from the row to its value, which may be ``None`` or ``UNSET``."""

    kind: Kind
    get: Get


class Record(Struct, frozen=True):
    """A struct, or a mapping that stands for one."""

    fields: dict[str, Field]


class Records(Struct, frozen=True):
    """A list of records; a selector goes on into all of them."""

    of: Record


class Mapping(Struct, frozen=True):
    """A mapping by keys of the user's."""

    of: Kind


Kind: TypeAlias = Leaf | Record | Records | Mapping

_LEAVES: dict[Any, Leaf] = {str: Leaf.TEXT, int: Leaf.NUMBER, bool: Leaf.FLAG}


@lru_cache(maxsize=64)
def record_of(row: type) -> Record:
    """The selectors of a struct or a ``TypedDict``."""
    hints = get_type_hints(row, include_extras=True)
    if is_typeddict(row):
        kinds = ((name, name, _kind(hint)) for name, hint in hints.items())
        return Record({shown: Field(kind, _item(name, kind)) for name, shown, kind in kinds if kind})
    kinds = (
        (field.name, field.encode_name, _kind(hints[field.name])) for field in msgspec.structs.fields(row)
    )
    return Record({shown: Field(kind, _attribute(name)) for name, shown, kind in kinds if kind})


def _kind(hint: Any) -> Kind | None:
    """The kind of a field with that annotation; ``None`` if nothing can be asked of it."""
    origin = get_origin(hint)
    if origin is Annotated:
        extras = hint.__metadata__
        return None if NOT_SELECTABLE in extras else _kind(extras[0])
    if origin in (Union, UnionType):
        kinds = [arg for arg in get_args(hint) if arg not in (NoneType, msgspec.UnsetType)]
        return _kind(kinds[0]) if len(kinds) == 1 else None
    if origin is list:
        inner = _kind(get_args(hint)[0])
        if inner is Leaf.TEXT:
            return Leaf.TEXTS
        return Records(inner) if isinstance(inner, Record) else None
    if origin is dict:
        inner = _kind(get_args(hint)[1])
        return Mapping(inner) if inner else None
    if isinstance(hint, type) and (issubclass(hint, msgspec.Struct) or is_typeddict(hint)):
        return record_of(hint)
    return _LEAVES.get(hint)


def _attribute(name: str) -> Get:
    get = attrgetter(name)
    return lambda value: get(value) if value else None


def _item(name: str, kind: Kind) -> Get:
    """How to get out of a mapping that a user wrote: what is of another type counts as missing."""
    wanted = kind.value if isinstance(kind, Leaf) else list if isinstance(kind, Records) else dict

    def get(value: Any) -> Any:
        found = value.get(name) if isinstance(value, dict) else None
        return found if type(found) is wanted else None

    return get
