"""Do without modules of which Twisted and msgspec use one or two names, if any.

They are a third of what an agent would load: 10 MiB of memory, and 30 ms of a start. A stand-in has the
names that are used while modules load, or all the time; asked for another, it loads the real module.

Only the command ``agent`` does this, whose process is its own. An embedding program never meets them.
"""

from __future__ import annotations

import os
import sys
import typing
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from types import CoroutineType, FunctionType, GeneratorType, ModuleType
from typing import Any


class StandIn(ModuleType):
    """A module with some names; whatever else is asked of it, it takes from the real one."""

    def __init__(self, name: str, names: dict[str, Any]) -> None:
        super().__init__(name)
        self.__dict__.update(names)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        found = getattr(_real(self.__name__), attribute)
        setattr(self, attribute, found)  # whoever holds on to a stand-in asks again and again
        return found


def _real(name: str) -> ModuleType:
    """The module itself, which is loaded now if it has not been."""
    if isinstance(sys.modules.get(name), StandIn):
        del sys.modules[name]
    return import_module(name)


@contextmanager
def stand_ins() -> Iterator[None]:
    """Within this, modules that are imported find ``STAND_INS``, but for what has been loaded already.

    Afterwards ``import`` finds the real ones.
    """
    made = [name for name in STAND_INS if name not in sys.modules]
    for name in made:
        sys.modules[name] = StandIn(name, STAND_INS[name])
    try:
        yield
    finally:
        for name in made:
            if isinstance(sys.modules.get(name), StandIn):
                del sys.modules[name]


def _call(module: str, name: str, *arguments: Any, **more: Any) -> Any:
    return getattr(_real(module), name)(*arguments, **more)


def _later(module: str, *names: str) -> dict[str, Callable[..., Any]]:
    """Functions that load their module when called."""
    return {name: partial(_call, module, name) for name in names}


class _Unused:
    """A class that is only named in annotations."""


# ------------------------------------------------------------ inspect and asyncio


def _is_coroutine(thing: object) -> bool:
    """As ``asyncio.iscoroutine`` of Python 3.11."""
    return isinstance(thing, CoroutineType | GeneratorType | Coroutine)


def _is_a(*kinds: type) -> Callable[[object], bool]:
    return lambda thing: isinstance(thing, kinds)


def _signature(function: Any, **more: Any) -> Any:
    """Attrs asks for those of converters, to annotate what it makes; that of ``_optional`` tells nothing."""
    if getattr(function, "__module__", "") == __name__:
        raise ValueError("no signature found")
    return _call("inspect", "signature", function, **more)


# ------------------------------------------------------------ attrs


def _in(options: Any) -> Callable[[Any, Any, Any], None]:
    """As ``attr.validators.in_``."""

    def check(instance: Any, attribute: Any, value: Any) -> None:
        if value not in options:
            raise ValueError(f"{attribute.name!r} must be in {options!r} (got {value!r})")

    return check


def _optional(converter: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """As ``attr.converters.optional``."""
    return lambda value: None if value is None else converter(value)


def _dataclass(kind: Any = None, /, **options: Any) -> Any:
    """As ``dataclasses.dataclass``; that of ``incremental`` stays as it is, since only builds use it."""
    if kind is None:
        return partial(_dataclass, **options)
    if kind.__module__ == "incremental":
        return kind
    return _call("dataclasses", "dataclass", kind, **options)


# ------------------------------------------------------------ typing_extensions


def _type_variable(name: str, *bounds: Any, default: Any = None, **more: Any) -> Any:
    """As ``typing.TypeVar`` of Python 3.13; what is there to run knows no defaults."""
    return typing.TypeVar(name, *bounds, **more)


def _typing_extensions() -> dict[str, Any]:
    same = ("Concatenate", "NotRequired", "ParamSpec", "Required", "Self", "TypeAlias", "TypedDict")
    names = {name: getattr(typing, name) for name in (*same, "get_type_hints")}
    return {**names, "TypeVar": _type_variable, "override": lambda method: method}


# ------------------------------------------------------------ logging, platform and processes

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}


def _level_name(level: int) -> str:
    return next(name for name, value in LEVELS.items() if value == level)


def _system() -> str:
    """As ``platform.system``."""
    return os.uname().sysname


def _implementation() -> str:
    """As ``platform.python_implementation``, for those who look for PyPy."""
    return "PyPy" if sys.implementation.name == "pypy" else "CPython"


def _reap() -> None:
    """As ``twisted.internet.process.reapAllProcesses``; before that is loaded, nothing has been spawned."""
    loaded = sys.modules.get("twisted.internet.process")
    if loaded is not None:
        loaded.reapAllProcesses()


STAND_INS: dict[str, dict[str, Any]] = {
    "asyncio": {
        "AbstractEventLoop": _Unused,
        "Future": _Unused,
        "iscoroutine": _is_coroutine,
        "iscoroutinefunction": partial(_call, "inspect", "iscoroutinefunction"),
    },
    "attr.converters": {"optional": _optional},
    "attr.filters": {},
    "attr.validators": {"in_": _in},
    "attrs.converters": {},
    "attrs.filters": {},
    "attrs.validators": {},
    "array": {},
    "dataclasses": {"dataclass": _dataclass, **_later("dataclasses", "field")},
    "decimal": {"Decimal": _Unused},
    "dis": _later("dis", "findlinestarts"),
    "html": _later("html", "escape"),
    "http": {"cookiejar": StandIn("http.cookiejar", {})},
    "ipaddress": {},
    "inspect": {
        "currentframe": sys._getframe,
        "getmro": lambda kind: kind.__mro__,
        "isclass": _is_a(type),
        "isfunction": _is_a(FunctionType),
        "isgenerator": _is_a(GeneratorType),
        "signature": _signature,
    },
    "linecache": {"cache": {}},
    "logging": {**LEVELS, "getLevelName": _level_name},
    "msgspec._json_schema": _later("msgspec._json_schema", "schema", "schema_components"),
    "msgspec.inspect": {},
    "msgspec.toml": {},
    "msgspec.yaml": {},
    "pathlib": {},
    "pickle": {},
    "platform": {"python_implementation": _implementation, "system": _system},
    "selectors": {},
    "shlex": {},
    "textwrap": {"dedent": str},
    "traceback": _later("traceback", "format_stack"),
    "twisted.internet.process": {"reapAllProcesses": _reap},
    "twisted.internet.threads": _later("twisted.internet.threads", "deferToThreadPool"),
    "twisted.internet.unix": {},
    "twisted.persisted.sob": {},
    "twisted.python.filepath": _later(
        "twisted.python.filepath", "_asFilesystemBytes", "_coerceToFilesystemEncoding"
    ),
    "twisted.python.modules": _later("twisted.python.modules", "getModule"),
    "twisted.python.threadpool": _later("twisted.python.threadpool", "ThreadPool"),
    "typing_extensions": _typing_extensions(),
    "urllib.parse": _later(
        "urllib.parse", "quote", "unquote", "unquote_plus", "unquote_to_bytes", "urlencode"
    ),
}
"""What stands in for which module.

``textwrap`` only dedents docstrings, and ``linecache`` is told the code that attrs makes, for tracebacks.
"""
