"""Every endpoint there is, by name, without a server behind it: what a client agent needs."""

from __future__ import annotations

from pyconsul.endpoints.base import Method, declarations
from pyconsul.endpoints.catalog import Catalog
from pyconsul.endpoints.changes import Changes
from pyconsul.endpoints.coordinate import Coordinates
from pyconsul.endpoints.health import Health
from pyconsul.endpoints.internal import Internal
from pyconsul.endpoints.kvs import KVS
from pyconsul.endpoints.operator import Operator
from pyconsul.endpoints.prepared_query import PreparedQueries
from pyconsul.endpoints.relay import Relay
from pyconsul.endpoints.session import Sessions
from pyconsul.endpoints.status import Status
from pyconsul.endpoints.txn import Txn

FAMILIES: tuple[type, ...] = (
    KVS, Txn, Sessions, Catalog, Health, Changes, PreparedQueries, Coordinates, Internal, Status, Operator,
    Relay,
)  # fmt: skip


def declared_methods() -> dict[str, Method]:
    """The declarations of all families. Their ``call`` is unbound: only a server can call it."""
    return {method.name: method for family in FAMILIES for method in declarations(family)}
