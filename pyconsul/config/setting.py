"""How a setting is declared: once, in the metadata of a dataclass field.

The name of the field is the key in files; the fields of a group have their group's key before them
(``ports.http``). Parser, flags, ``-help``, validation, reload and the reference page derive from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from pyconsul.config.kinds import Kind
from pyconsul.config.tree import ListOf, Spec

T = TypeVar("T")
_KEY = "setting"


@dataclass(frozen=True, slots=True)
class Setting:
    """One key.

    :ivar kind: how its values are read.
    :ivar doc: what it means, for the reference page and, if it has a flag, for ``-help``.
    :ivar flag: the flag's name without dash; empty: none.
    :ivar reload: whether SIGHUP makes a new value take effect.
    :ivar secret: never shown, not even in ``repr``.
    :ivar holds: for a list of definitions, the keys of one.
    """

    kind: Kind
    doc: str
    flag: str = ""
    reload: bool = False
    secret: bool = False
    holds: ListOf | None = None


@dataclass(frozen=True, slots=True)
class Declared:
    """A setting in its place: its whole key and its default."""

    path: str
    setting: Setting
    default: Any


def setting(
    default: Any,
    kind: Kind,
    doc: str,
    *,
    flag: str = "",
    reload: bool = False,
    secret: bool = False,
    holds: Spec | None = None,
) -> Any:
    """Declare a field; a ``default`` that is a dict is copied for each instance."""
    facts = {_KEY: Setting(kind, doc, flag, reload, secret, ListOf(holds) if holds is not None else None)}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=facts)
    return field(default=default, repr=not secret, metadata=facts)


def group(kind: type[T], **defaults: Any) -> T:
    """Declare a field that holds a group of settings, with some defaults other than the group's."""
    made: T = field(default_factory=lambda: kind(**defaults))
    return made


def declared(config: Any, prefix: str = "") -> Iterator[Declared]:
    """Every setting of a configuration object, groups included, with the values it has there."""
    for item in fields(config):
        value = getattr(config, item.name)
        if _KEY in item.metadata:
            yield Declared(prefix + item.name, item.metadata[_KEY], value)
        elif hasattr(value, "__dataclass_fields__"):
            yield from declared(value, f"{prefix}{item.name}.")


def replaced(config: T, values: dict[str, Any]) -> T:
    """``config`` with the values given by their whole keys."""
    own: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        head, _, rest = path.partition(".")
        if rest:
            inner.setdefault(head, {})[rest] = value
        else:
            own[head] = value
    for head, part in inner.items():
        own[head] = replaced(getattr(config, head), part)
    return replace(config, **own)  # type: ignore[type-var]
