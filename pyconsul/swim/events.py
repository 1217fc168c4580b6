"""What happens to a gossip core, and what it asks to be done.

``SwimCore.handle(now, event)`` takes one event and returns effects, to be carried out in order.
"""

from __future__ import annotations

from msgspec import Struct

from pyconsul.interfaces import Address

# ---------------------------------------------------------------- events


class Tick(Struct, frozen=True, gc=False):
    """A deadline of ``next_deadline()`` has come."""


class PacketReceived(Struct, frozen=True, gc=False):
    """A datagram came."""

    packet: bytes
    source: Address


class StreamReceived(Struct, frozen=True, gc=False):
    """A whole stream request came. If it has an answer, one ``Answer`` is among the effects."""

    request: bytes
    source: Address


class ExchangeEnded(Struct, frozen=True, gc=False):
    """The answer to an ``Exchange``; ``None`` with the reason in ``error`` if there is none."""

    token: int
    answer: bytes | None
    error: str = ""


class PushPull(Struct, frozen=True, gc=False):
    """Exchange everything with the node at ``to``. Answered by ``PushPullEnded(token)``.

    :ivar join: this is how the pool is joined, not the periodic exchange.
    :ivar ignore_old: do not replay user events from before this exchange.
    """

    token: int
    to: Address
    join: bool = True
    ignore_old: bool = False


class UpdateMeta(Struct, frozen=True, gc=False):
    """This node's meta bytes are now these."""

    meta: bytes


class Leave(Struct, frozen=True, gc=False):
    """Tell everybody that this node leaves. Answered by ``LeaveEnded``."""


# ---------------------------------------------------------------- effects


class Send(Struct, frozen=True, gc=False):
    """Send a datagram."""

    packet: bytes
    to: Address


class Exchange(Struct, frozen=True, gc=False):
    """Send a stream request. If ``token`` is not 0, ``ExchangeEnded(token)`` must follow."""

    token: int
    request: bytes
    to: Address
    timeout_s: float
    answer: bool = True


class Answer(Struct, frozen=True, gc=False):
    """The answer to the ``StreamReceived`` at hand."""

    data: bytes


class PushPullEnded(Struct, frozen=True, gc=False):
    """``error`` is empty if the other side's state was merged, else the text for the user."""

    token: int
    error: str


class LeaveEnded(Struct, frozen=True, gc=False):
    """Everybody who could be told has been told."""


class Problem(Struct, frozen=True, gc=False):
    """Something odd came in, or something was refused; for the log.

    :ivar notable: an operator should see it, not only who looks for it.
    """

    text: str
    notable: bool = False
