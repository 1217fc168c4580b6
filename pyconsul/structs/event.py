"""User events, as agents send them to each other inside gossip's and as the HTTP API shows them."""

from __future__ import annotations

from msgspec import Struct, field

from pyconsul.structs.query import QueryMeta, QueryOptions


class UserEvent(Struct, rename="pascal", frozen=True, kw_only=True):
    """A user event, with the fields and names of ``/v1/event``.

    :ivar node_filter: regular expression for names of nodes; the other two for services and, on
        those, tags. Empty: everybody.
    :ivar ltime: gossip's logical time; 0 before the event has gone through gossip.
    """

    id: str = field(name="ID")
    name: str
    payload: bytes | None = None
    node_filter: str = ""
    service_filter: str = ""
    tag_filter: str = ""
    version: int = 1
    ltime: int = field(default=0, name="LTime")


class EventFireRequest(QueryOptions, rename="pascal", kw_only=True):
    """Internal.EventFire; ``payload`` is what ``pyconsul.serf`` carries and does not look at."""

    datacenter: str = ""
    name: str = ""
    payload: bytes | None = None


class EventFireResponse(QueryMeta, rename="pascal", kw_only=True):
    """The reply has nothing to say."""
