"""Load a module only when something in it is used.

Twisted imports much for the sake of one or two names that an agent hardly ever uses, if at all. That is a
fifth of the time that a start takes, and 12 MiB of memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import LazyLoader, find_spec, module_from_spec
from inspect import iscoroutinefunction
from types import CoroutineType, GeneratorType, ModuleType
from typing import Any

COOKIES = "http.cookiejar"
"""An HTTP client, its TLS and the parser of mail."""
TABLES = ("pyconsul.state.commands", "pyconsul.state.records_kinds")
"""What comes with all tables and what changes them; a client agent only reads what servers answer."""


def postpone(name: str) -> None:
    """Put a module in place that loads itself when first looked into, unless it has been loaded already.

    :param name: a module in a package; it is loaded when ``import`` names it, but not by ``from package``.
    """
    if name in sys.modules:
        return
    spec = find_spec(name)
    assert spec is not None and spec.loader is not None
    spec.loader = LazyLoader(spec.loader)
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    package, _, own_name = name.rpartition(".")
    setattr(sys.modules[package], own_name, module)


class _Unused:
    """A class that Twisted names in annotations."""


def _is_coroutine(thing: object) -> bool:
    """As ``asyncio.iscoroutine`` of Python 3.11."""
    return isinstance(thing, CoroutineType | GeneratorType | Coroutine)


def _call(module: str, name: str, *arguments: Any, **more: Any) -> Any:
    return getattr(import_module(module), name)(*arguments, **more)


def _stand_in(name: str, names: dict[str, Any]) -> ModuleType:
    """A module with some names; whatever else is asked of it, it takes from the real one."""

    def ask_real(attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        if sys.modules.get(name) is made:
            del sys.modules[name]
        return getattr(import_module(name), attribute)

    made = ModuleType(name)
    made.__dict__.update(names, __getattr__=ask_real)
    return made


def _later(module: str, name: str) -> dict[str, Callable[..., Any]]:
    return {name: partial(_call, module, name)}


STAND_INS: dict[str, dict[str, Any]] = {
    "asyncio": {
        "AbstractEventLoop": _Unused,
        "Future": _Unused,
        "iscoroutine": _is_coroutine,
        "iscoroutinefunction": iscoroutinefunction,
    },
    "html": _later("html", "escape"),
    "twisted.python.modules": _later("twisted.python.modules", "getModule"),
}
"""The names that Twisted and txaio import from modules which they hardly use, and what does for them."""


@contextmanager
def stand_ins() -> Iterator[None]:
    """Within this, modules that are imported find ``STAND_INS``, but for what has been loaded already.

    Afterwards ``import`` finds the real ones.
    """
    made = [name for name in STAND_INS if name not in sys.modules]
    for name in made:
        sys.modules[name] = _stand_in(name, STAND_INS[name])
    try:
        yield
    finally:
        for name in made:
            if sys.modules[name].__spec__ is None:
                del sys.modules[name]
