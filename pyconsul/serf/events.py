"""What happens to a serf core besides gossip's own events, and what it asks to be done.

Effects are those of ``pyconsul.swim.events``, ``MemberEvent``, and the ones here.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from pyconsul.serf.messages import Query, QueryResponse, UserEvent

# ---------------------------------------------------------------- events


class AnnounceJoin(Struct, frozen=True, gc=False):
    """A pool has been joined: say so, against old news that this node leaves."""


class StartLeave(Struct, frozen=True, gc=False):
    """Leave the pool. Answered by ``LeaveEnded`` when everybody should know."""


class ForceLeave(Struct, frozen=True, gc=False):
    """Have everybody count the failed member ``name`` as gone, or with ``prune`` forget it."""

    name: str
    prune: bool = False


class SetTags(Struct, frozen=True):
    """This node's tags are now these."""

    tags: Mapping[str, str]


class FireEvent(Struct, frozen=True, gc=False):
    """Send a user event to everybody, this node included. Sizes were checked by the caller."""

    name: str
    payload: bytes
    coalesce: bool = False


# ---------------------------------------------------------------- effects


class UserEventReceived(Struct, frozen=True, gc=False):
    """A user event that was not seen before."""

    event: UserEvent


class QueryReceived(Struct, frozen=True):
    """A query that was not seen before; its filters are for the receiver to apply."""

    query: Query


class QueryResponseReceived(Struct, frozen=True, gc=False):
    """An answer to a query; whether it was asked by us is for the receiver to know."""

    response: QueryResponse
