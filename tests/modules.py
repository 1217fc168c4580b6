"""Exchanging loaded modules for the time of one test."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase


def exchange(test: SynchronousTestCase, name: str, module: ModuleType | None) -> None:
    """Let ``import name`` give ``module`` until the test ends; ``None``: as if it was never loaded."""
    missing = object()
    before: Any = sys.modules.get(name, missing)

    def restore() -> None:
        sys.modules.pop(name, None)
        if before is not missing:
            sys.modules[name] = before

    test.addCleanup(restore)
    sys.modules.pop(name, None)
    if module is not None:
        sys.modules[name] = module


def stand_in(test: SynchronousTestCase, package: str, name: str, module: ModuleType) -> None:
    """Let ``from package import name`` give ``module`` until the test ends, without loading the real one."""
    parent: Any = importlib.import_module(package)
    if not hasattr(parent, name):
        setattr(parent, name, None)
        test.addCleanup(delattr, parent, name)
    test.patch(parent, name, module)
    exchange(test, f"{package}.{name}", module)
