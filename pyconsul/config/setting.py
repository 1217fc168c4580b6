"""How a setting is declared: once, in the body of the class that has it as a field.

The name of the field is the key in files; the fields of a group have their group's key before them
(``ports.http``). Parser, flags, ``-help``, validation, reload and the reference page derive from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, TypeVar

from msgspec import Struct, StructMeta, field
from msgspec.structs import replace

from pyconsul.config.kinds import Kind
from pyconsul.config.tree import ListOf, Spec

T = TypeVar("T", bound="SettingGroup")


class Setting(Struct, frozen=True):
    """One key.

    :ivar kind: how its values are read.
    :ivar doc: what it means, for the reference page and, if it has a flag, for ``-help``.
    :ivar flag: the flag's name without dash; empty: none.
    :ivar reload: whether SIGHUP makes a new value take effect.
    :ivar secret: never shown, not even in ``repr``.
    :ivar idle: accepted, but without effect until what it is about is built.
    :ivar holds: for a list of definitions, the keys of one.
    """

    kind: Kind
    doc: str
    flag: str = ""
    reload: bool = False
    secret: bool = False
    idle: bool = False
    holds: ListOf | None = None


class Declared(Struct, frozen=True):
    """A setting in its place: its whole key and its default."""

    path: str
    setting: Setting
    default: Any


class _Declaration(Struct):
    """What ``setting`` and ``group`` leave in the body of a class for its metaclass."""

    field: Any
    setting: Setting | None = None


class _Reading(StructMeta):
    """Takes the declarations out of a class's body: fields become msgspec's, facts are kept apart."""

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any], **options: Any) -> Any:
        facts: dict[str, Setting] = {}
        for key, value in body.items():
            if isinstance(value, _Declaration):
                body[key] = value.field
                if value.setting is not None:
                    facts[key] = value.setting
        made: Any = super().__new__(mcs, name, bases, body, **options)
        made.__settings__ = facts
        return made


class SettingGroup(Struct, metaclass=_Reading, frozen=True, kw_only=True):
    """An object of settings; a struct rather than a dataclass, which takes 0.5 ms more of a start each."""

    __settings__: ClassVar[Mapping[str, Setting]] = {}
    """What was declared, by field."""

    def __repr__(self) -> str:
        shown = (
            f"{name}={getattr(self, name)!r}"
            for name in self.__struct_fields__
            if not (name in self.__settings__ and self.__settings__[name].secret)
        )
        return f"{type(self).__name__}({', '.join(shown)})"


def setting(
    default: Any,
    kind: Kind,
    doc: str,
    *,
    flag: str = "",
    reload: bool = False,
    secret: bool = False,
    idle: bool = False,
    holds: Spec | None = None,
) -> Any:
    """Declare a field; a ``default`` that is a dict is copied for each instance."""
    own = Setting(kind, doc, flag, reload, secret, idle, ListOf(holds) if holds is not None else None)
    if isinstance(default, dict):
        return _Declaration(field(default_factory=default.copy), own)
    return _Declaration(field(default=default), own)


def group(kind: type[T], **defaults: Any) -> T:
    """Declare a field that holds a group of settings, with some defaults other than the group's."""
    made: Any = _Declaration(field(default_factory=partial(kind, **defaults)))
    return made  # type: ignore[no-any-return]


def declared(config: SettingGroup, prefix: str = "") -> Iterator[Declared]:
    """Every setting of a configuration object, groups included, with the values it has there."""
    settings = config.__settings__
    for name in config.__struct_fields__:
        value = getattr(config, name)
        if name in settings:
            yield Declared(prefix + name, settings[name], value)
        elif isinstance(value, SettingGroup):
            yield from declared(value, f"{prefix}{name}.")


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
    return replace(config, **own)
