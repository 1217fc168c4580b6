"""Reading the decoded tree of a file against what keys there are and what they hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

from msgspec import Struct, field

from pyconsul.config import legacy
from pyconsul.config.kinds import Kind, as_map, type_name
from pyconsul.config.places import Places
from pyconsul.errors import ConfigurationError


class ListOf(Struct, frozen=True):
    """A list of objects, each of one shape; in HCL also one block or several."""

    spec: Spec


class MapOf(Struct, frozen=True):
    """An object whose keys are free and whose values are objects of one shape."""

    spec: Spec


Spec: TypeAlias = "Mapping[str, Kind | ListOf | MapOf | Spec]"
"""The keys of an object and what each holds; a nested mapping is an object in turn."""

Holder: TypeAlias = "tuple[dict[str, Any], str]"
"""An object of a file, and one of its keys."""

HINT_LENGTH_MAX = 64
"""Longer keys are compared with nothing."""


HINTS_MAX = 10
"""So many unknown keys of a file are compared with all known ones."""


class Problems(Struct):
    """What is wrong in one file, gathered so that the user sees it all at once.

    :ivar places: to say in which line; ``None`` says nothing of that, nor of what may be meant.
    :ivar known: whole keys, of which one may be meant.
    """

    places: Places | None = None
    known: Collection[str] = ()
    unknown: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add_unknown(self, given: dict[str, Any], key: str, path: str, spec: Spec) -> None:
        """``given`` has a key that is none of ``spec``."""
        facts = []
        if self.places and (line := self.places.line(given, key)):
            facts.append(f"line {line}")
        if self.places and len(self.unknown) < HINTS_MAX and (meant := nearest(key, path, spec, self.known)):
            facts.append(meant)
        self.unknown.append(f"invalid config key {path}" + (f" ({'; '.join(facts)})" if facts else ""))

    def add_wrong(self, text: str, given: dict[str, Any], key: str) -> None:
        """What ``given`` has under a key is of the wrong type."""
        line = self.places.line(given, key) if self.places else 0
        self.wrong.append(f"{text} (line {line})" if line else text)

    def check(self, name: str) -> None:
        """Raise ``ConfigurationError`` about the file ``name`` if there is any problem."""
        if self.unknown:
            raise ConfigurationError(f"failed to parse {name}: {errors_text(self.unknown)}")
        if self.wrong:
            lines = "".join(f"* {text}\n" for text in self.wrong)
            raise ConfigurationError(
                f"failed to parse {name}: {len(self.wrong)} error(s) decoding:\n\n{lines}".rstrip("\n")
            )


def errors_text(problems: list[str]) -> str:
    """Several problems as one text, in the form that all of Consul's lists of errors have."""
    count = f"{len(problems)} error{'s' if len(problems) > 1 else ''} occurred:\n"
    return count + "".join(f"\t* {text}\n" for text in problems) + "\n"


def nearest(key: str, path: str, spec: Spec, known: Collection[str]) -> str:
    """What may be meant by an unknown key, in words: a name like it, or the same name elsewhere."""
    if advice := legacy.ADVICE.get(path.lower()):
        return advice
    if len(key) > HINT_LENGTH_MAX:
        return ""
    from difflib import get_close_matches

    if close := get_close_matches(key.lower(), list(spec), 1, 0.7):
        return f"did you mean {close[0]}?"
    elsewhere = [other for other in known if other.rpartition(".")[2] == key.lower()]
    return f"did you mean {elsewhere[0]}?" if elsewhere else ""


def read_object(
    value: object, spec: Spec, where: str, problems: Problems, holder: Holder = ({}, "")
) -> dict[str, Any]:
    """The object ``value`` with its keys in their declared spelling (case does not matter in files).

    Keys whose value is null are as good as absent.

    :param holder: the object that has ``value``, and under which key.
    """
    try:
        given = as_map(value, where)
    except ConfigurationError as error:
        problems.add_wrong(str(error), *holder)
        return {}
    found: dict[str, Any] = {}
    for key, item in given.items():
        path = f"{where}.{key}" if where else key
        wanted = spec.get(key.lower())
        if wanted is None or (key != key.lower() and key.lower() in given):
            problems.add_unknown(given, key, path, spec)
        elif item is not None:
            found[key.lower()] = _read(item, wanted, path, problems, (given, key))
            if problems.places:
                problems.places.copied(given, key, found, key.lower())
    return found


def _read(
    value: object, wanted: Kind | ListOf | MapOf | Spec, where: str, problems: Problems, holder: Holder
) -> Any:
    if isinstance(wanted, Kind):
        try:
            return wanted.shape(value, where)
        except ConfigurationError as error:
            problems.add_wrong(str(error), *holder)
            return None
    if isinstance(wanted, ListOf):
        items = [value] if isinstance(value, dict) else value
        if not isinstance(items, list):
            got = type_name(value)
            problems.add_wrong(f"'{where}': source data must be an array or slice, got {got}", *holder)
            return []
        return [
            read_object(item, wanted.spec, f"{where}[{at}]", problems, holder)
            for at, item in enumerate(items)
        ]
    if isinstance(wanted, MapOf):
        if not isinstance(value, dict):
            problems.add_wrong(f"'{where}' expected a map, got '{type_name(value)}'", *holder)
            return {}
        return {
            key: read_object(item, wanted.spec, f"{where}[{key}]", problems, holder)
            for key, item in value.items()
        }
    return read_object(value, wanted, where, problems, holder)
