"""The modules of the prefixes that ask servers, which few agents need at once."""

from __future__ import annotations

from collections.abc import Callable

from pyconsul.http import (
    catalog,
    coordinate,
    health,
    internal,
    kv,
    operator,
    prepared,
    session,
    txn,
)
from pyconsul.http.routes import App
from pyconsul.interfaces import Agent

MODULES: tuple[Callable[[App, Agent], None], ...] = (
    kv.add_routes,
    txn.add_routes,
    session.add_routes,
    catalog.add_routes,
    health.add_routes,
    prepared.add_routes,
    coordinate.add_routes,
    operator.add_routes,
    internal.add_routes,
)
