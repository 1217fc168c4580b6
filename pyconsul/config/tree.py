"""Reading the decoded tree of a file against what keys there are and what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pyconsul.config.kinds import Kind, as_map, type_name
from pyconsul.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of objects, each of one shape; in HCL also one block or several."""

    spec: Spec


@dataclass(frozen=True, slots=True)
class MapOf:
    """An object whose keys are free and whose values are objects of one shape."""

    spec: Spec


Spec: TypeAlias = "Mapping[str, Kind | ListOf | MapOf | Spec]"
"""The keys of an object and what each holds; a nested mapping is an object in turn."""


@dataclass(slots=True)
class Problems:
    """What is wrong in one file, gathered so that the user sees it all at once."""

    unknown: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

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


def read_object(value: object, spec: Spec, where: str, problems: Problems) -> dict[str, Any]:
    """The object ``value`` with its keys in their declared spelling (case does not matter in files).

    Keys whose value is null are as good as absent.
    """
    try:
        given = as_map(value, where)
    except ConfigurationError as error:
        problems.wrong.append(str(error))
        return {}
    found: dict[str, Any] = {}
    for key, item in given.items():
        path = f"{where}.{key}" if where else key
        wanted = spec.get(key.lower())
        if wanted is None:
            problems.unknown.append(f"invalid config key {path}")
        elif item is not None:
            found[key.lower()] = _read(item, wanted, path, problems)
    return found


def _read(value: object, wanted: Kind | ListOf | MapOf | Spec, where: str, problems: Problems) -> Any:
    if isinstance(wanted, Kind):
        try:
            return wanted.shape(value, where)
        except ConfigurationError as error:
            problems.wrong.append(str(error))
            return None
    if isinstance(wanted, ListOf):
        items = [value] if isinstance(value, dict) else value
        if not isinstance(items, list):
            got = type_name(value)
            problems.wrong.append(f"'{where}': source data must be an array or slice, got {got}")
            return []
        return [read_object(item, wanted.spec, f"{where}[{at}]", problems) for at, item in enumerate(items)]
    if isinstance(wanted, MapOf):
        if not isinstance(value, dict):
            problems.wrong.append(f"'{where}' expected a map, got '{type_name(value)}'")
            return {}
        return {
            key: read_object(item, wanted.spec, f"{where}[{key}]", problems) for key, item in value.items()
        }
    return read_object(value, wanted, where, problems)
