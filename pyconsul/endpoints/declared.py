"""Every endpoint there is, by name, without a server behind it: what a client agent needs."""

from __future__ import annotations

from pyconsul.endpoints.base import Method, declarations
from pyconsul.endpoints.catalog import Catalog
from pyconsul.endpoints.health import Health
from pyconsul.endpoints.kvs import KVS
from pyconsul.endpoints.status import Status

FAMILIES: tuple[type, ...] = (KVS, Catalog, Health, Status)


def declared_methods() -> dict[str, Method]:
    """The declarations of all families. Their ``call`` is unbound: only a server can call it."""
    return {method.name: method for family in FAMILIES for method in declarations(family)}
