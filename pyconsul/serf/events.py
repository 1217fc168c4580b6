"""What happens to a serf core besides gossip's own events, and what it asks to be done.

Effects are those of ``pyconsul.swim.events``, ``MemberEvent``, and the ones here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


class StartQuery(Struct, frozen=True, kw_only=True):
    """Ask all members that pass ``filters``. ``QueryAnswered`` follow, and one ``QueryEnded``.

    :ivar ack: have them say first that the query arrived.
    :ivar relay_factor: through how many other members each answer is sent as well.
    :ivar timeout_s: how long answers are taken; 0 means as long as a pool of this size needs.
    :ivar enough: end once so many answers are here; 0 means only when the time is over.
    :ivar spread: members pass the query on; without, only those hear it whom we tell ourselves.
    """

    token: int
    name: str
    payload: bytes = b""
    filters: Sequence[bytes] = ()
    ack: bool = False
    relay_factor: int = 0
    timeout_s: float = 0.0
    enough: int = 0
    spread: bool = True


class CloseQuery(Struct, frozen=True, gc=False):
    """Take no more answers to our query."""

    token: int


class AnswerQuery(Struct, frozen=True):
    """The answer to a query that was received. Only the first one is sent, and only in time."""

    query: Query
    payload: bytes


class KeyringSaved(Struct, frozen=True, gc=False):
    """The keyring of ``KeyringChanged(token)`` is on the disk, or ``error`` says why it is not."""

    token: int
    error: str = ""


# ---------------------------------------------------------------- effects


class UserEventReceived(Struct, frozen=True, gc=False):
    """A user event that was not seen before."""

    event: UserEvent


class QueryReceived(Struct, frozen=True):
    """A query that was not seen before and is for this node and for its applications."""

    query: Query


class QueryAnswered(Struct, frozen=True, gc=False):
    """An answer or an ack to our query; each member's first of either."""

    token: int
    response: QueryResponse


class QueryEnded(Struct, frozen=True, gc=False):
    """No more answers to our query come; it was not even asked if there is an ``error``."""

    token: int
    error: str = ""


class KeyringChanged(Struct, frozen=True, gc=False):
    """A query changed the keyring: save it, then tell by ``KeyringSaved(token)``."""

    token: int


class NameLost(Struct, frozen=True, gc=False):
    """Most members know another node by this node's name: this one has to go."""
