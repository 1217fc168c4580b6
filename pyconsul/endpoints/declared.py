"""Every endpoint there is, by name, without a server behind it: what a client agent needs."""

from __future__ import annotations

from importlib import import_module

from pyconsul.endpoints.base import Method, declarations

FAMILIES = {
    "KVS": "kvs.KVS",
    "Txn": "txn.Txn",
    "Session": "session.Sessions",
    "Catalog": "catalog.Catalog",
    "Health": "health.Health",
    "Changes": "changes.Changes",
    "PreparedQuery": "prepared_query.PreparedQueries",
    "Coordinate": "coordinate.Coordinates",
    "Internal": "internal.Internal",
    "Status": "status.Status",
    "Operator": "operator.Operator",
    "HTTP": "relay.Relay",
    "Batch": "batch.Batch",
}
"""Module and class of each family, by what the names of its methods begin with."""


class DeclaredMethods(dict[str, Method]):
    """Declarations by name; their ``call`` is unbound: only a server can call it.

    A family is loaded when one of its methods is first looked up by ``[]``: most clients never need most of
    them, and each brings tables along.
    """

    def __missing__(self, name: str) -> Method:
        module, _, family = FAMILIES[name.partition(".")[0]].partition(".")
        found = getattr(import_module(f"pyconsul.endpoints.{module}"), family)
        self.update((method.name, method) for method in declarations(found))
        if name not in self:
            raise KeyError(name)
        return self[name]
