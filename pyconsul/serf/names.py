"""Whose name it is when two nodes use one: the other members say whom they know.

=============================  =====================================================================
the others know                what becomes of this node
=============================  =====================================================================
nobody alive by the name       nothing: the other one may be gone, or there is nobody to ask
mostly this node               nothing
mostly the other, a while      they are asked again: a node that moved is known at its old address
                               until that has been found dead
mostly the other, ever since   the name is lost
=============================  =====================================================================

Source: specs of serf, section 9. Serf gives up at the first vote, which patience of 0 does too.
"""

from __future__ import annotations

from collections.abc import Callable

from pyconsul.interfaces import Address
from pyconsul.serf import messages
from pyconsul.serf.events import NameLost, StartQuery
from pyconsul.serf.members import Member, Status, decode_owner, encode_member
from pyconsul.serf.messages import QueryResponse
from pyconsul.serf.queries import INTERNAL
from pyconsul.swim.context import Context
from pyconsul.swim.wire import DecodeError

MINORITY = "minority in name conflict resolution"
CONFLICT = INTERNAL + "conflict"

_RESPONSE = bytes((messages.CONFLICT_RESPONSE,))
_NOBODY = _RESPONSE + b"\xc0"
_ASK_AGAIN_S = 30.0

Ask = Callable[[StartQuery, Callable[[QueryResponse], None], Callable[[str], None]], None]
"""Starts a query; takes what is called with each answer, and at the end with what went wrong."""


def answer_about(member: Member | None) -> bytes:
    """What a member says that is asked who owns a name."""
    return _NOBODY if member is None else _RESPONSE + encode_member(member)


class NameContest:
    """Lets the others vote about this node's name."""

    def __init__(self, context: Context, ask: Ask) -> None:
        self._ctx = context
        self._ask = ask
        self._asking = False
        self._losing_since: float | None = None

    def conflict(self, ours: Address, theirs: str) -> None:
        """Another node, at ``theirs``, uses this one's name; this one is at ``ours``."""
        if self._asking:
            return
        self._asking = True
        votes: list[bool] = []

        def answered(response: QueryResponse) -> None:
            vote = _vote(response, ours)
            if vote is not None:
                votes.append(vote)

        def ended(error: str) -> None:
            self._asking = False
            count = f"[{sum(votes)} / {len(votes)}]"
            if error or not votes or sum(votes) > len(votes) // 2:
                self._losing_since = None
                self._ctx.problem(f"majority in name conflict resolution {count}", notable=True)
            else:
                self._losing(count, ours, theirs)

        self._ask(StartQuery(token=0, name=CONFLICT, payload=self._ctx.name.encode()), answered, ended)

    def _losing(self, count: str, ours: Address, theirs: str) -> None:
        now, patience_s = self._ctx.now, self._ctx.timing.name_patience_s
        if self._losing_since is None:
            self._losing_since = now
        left_s = self._losing_since + patience_s - now
        owner = f"most members know the node at {theirs} as '{self._ctx.name}'"
        if left_s <= 0:
            self._ctx.problem(f"{MINORITY}, quitting {count}: {owner}", notable=True)
            self._ctx.emit(NameLost())
            return
        self._ctx.problem(
            f"{MINORITY} {count}: {owner}; this one ends in {left_s:.0f} s",
            notable=True,
        )
        again = min(_ASK_AGAIN_S, left_s)
        self._ctx.timers.at(now + again, lambda: self.conflict(ours, theirs))


def _vote(response: QueryResponse, place: Address) -> bool | None:
    """Whether who answers knows us by our name; ``None`` if it knows nobody alive."""
    payload = response.payload or b""
    if response.is_ack or payload[:1] != _RESPONSE:
        return None
    try:
        owner, status = decode_owner(payload[1:])
    except DecodeError:
        return None
    return None if status in (Status.LEFT, Status.FAILED) else owner == place
