"""Load a module only when something in it is used."""

from __future__ import annotations

import sys
from importlib.util import LazyLoader, find_spec, module_from_spec

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
