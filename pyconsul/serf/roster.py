"""The members, and what intents to join or leave mean for them.

What gossip says decides between alive and gone; what intents say decides between failed and left.

========== ================ =============== ================= =================
status     node joined      node gone       leave intent      join intent
========== ================ =============== ================= =================
unknown    alive, join      -               remembered        remembered
alive      alive, join      failed, failed  leaving           -
leaving    alive, join      left, leave     - (prune: erase)  alive, update
left       alive, join      -               - (prune: erase)  -
failed     alive, join      -               left, leave       -
========== ================ =============== ================= =================

An intent counts only if its logical time is above that of the latest one (specs of serf, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import structs

from pyconsul.serf.members import (
    FAILED,
    JOIN,
    LEAVE,
    REAP,
    UPDATE,
    MemberEvent,
    Record,
    Status,
    member_of,
)
from pyconsul.serf.messages import JoinIntent, LeaveIntent
from pyconsul.swim.context import Context
from pyconsul.swim.nodes import Node

_INTENTS_MAX = 4096
"""Intents remembered for members that are not known yet."""
GONE_MAX = 1 << 14
"""Members that failed or left; of more, those are forgotten that have been gone for longest."""


class Roster:
    """All members by name, this one included.

    :ivar records: do not change these.
    :ivar gone: members that failed or left, oldest first.
    """

    def __init__(self, context: Context, forget: Callable[[str], None]) -> None:
        self._ctx = context
        self._forget = forget
        self.records: dict[str, Record] = {}
        self.gone: dict[str, Record] = {}
        self._intents: dict[str, tuple[Status, int, float]] = {}

    def with_status(self, status: Status) -> Iterator[Record]:
        """Members that failed, or that left."""
        return (record for record in self.gone.values() if record.member.status == status)

    def _emit(self, kind: str, record: Record) -> None:
        self._ctx.emit(MemberEvent(kind, record.member))

    def _set_status(self, record: Record, status: Status) -> None:
        record.member = structs.replace(record.member, status=status)

    # ------------------------------------------------------------ what gossip says

    def joined(self, node: Node) -> None:
        """A node is alive."""
        record = self.records.get(node.name)
        if record is None:
            record = self.records[node.name] = Record(member_of(node, Status.ALIVE))
            self._apply_remembered(record)
        else:
            record.member = member_of(node, Status.ALIVE)
            record.left_at = 0.0
            self.gone.pop(node.name, None)
        self._emit(JOIN, record)

    def _apply_remembered(self, record: Record) -> None:
        intent = self._intents.pop(record.member.name, None)
        if intent is None or self._ctx.now - intent[2] > self._ctx.timing.recent_intent_timeout_s:
            return
        record.status_ltime = intent[1]
        self._set_status(record, intent[0])

    def updated(self, node: Node) -> None:
        """A node's tags changed."""
        record = self.records.get(node.name)
        if record is not None:
            record.member = member_of(node, record.member.status)
            self._emit(UPDATE, record)

    def left(self, node: Node) -> None:
        """A node is dead or gone; which of the two, its intent tells."""
        record = self.records.get(node.name)
        if record is None or record.member.status not in (Status.ALIVE, Status.LEAVING):
            return
        leaving = record.member.status == Status.LEAVING
        self._set_status(record, Status.LEFT if leaving else Status.FAILED)
        record.left_at = self._ctx.now
        self.gone[node.name] = record
        self._emit(LEAVE if leaving else FAILED, record)
        while len(self.gone) > GONE_MAX:
            self.erase(next(iter(self.gone.values())))

    # ------------------------------------------------------------ what intents say

    def leave_intent(self, intent: LeaveIntent) -> bool:
        """Apply an intent about another member, or our own; tells whether it was news."""
        record = self.records.get(intent.node)
        if record is None:
            return self._remember(intent.node, Status.LEAVING, intent.ltime)
        if intent.ltime <= record.status_ltime:
            return False
        record.status_ltime = intent.ltime
        status = record.member.status
        if status == Status.ALIVE:
            self._set_status(record, Status.LEAVING)
        elif status == Status.FAILED:
            self._set_status(record, Status.LEFT)
            self._emit(LEAVE, record)
        if intent.prune:
            self._prune(record)
        return True

    def _prune(self, record: Record) -> None:
        """Forget a member now, or if it is leaving, once others had time to hear of that."""
        if record.member.status != Status.LEAVING:
            self.erase(record)
            return
        timing = self._ctx.timing
        delay_s = timing.broadcast_timeout_s + timing.leave_propagate_delay_s
        self._ctx.timers.at(self._ctx.now + delay_s, lambda: self._erase_unless_alive(record))

    def _erase_unless_alive(self, record: Record) -> None:
        known = self.records.get(record.member.name) is record
        if known and record.member.status != Status.ALIVE:
            self.erase(record)

    def join_intent(self, intent: JoinIntent) -> bool:
        """Apply an intent; tells whether it was news."""
        record = self.records.get(intent.node)
        if record is None:
            return self._remember(intent.node, Status.ALIVE, intent.ltime)
        if intent.ltime <= record.status_ltime:
            return False
        record.status_ltime = intent.ltime
        if record.member.status == Status.LEAVING:
            self._set_status(record, Status.ALIVE)
            self._emit(UPDATE, record)  # whoever looked meanwhile took it for one that is on its way out
        return True

    def _remember(self, name: str, status: Status, ltime: int) -> bool:
        """Keep an intent for a member that may still come."""
        now = self._ctx.now
        known = self._intents.get(name)
        if known is not None and known[1] >= ltime:
            return False
        timeout_s = self._ctx.timing.recent_intent_timeout_s
        while self._intents:
            oldest = next(iter(self._intents))
            if len(self._intents) < _INTENTS_MAX and now - self._intents[oldest][2] <= timeout_s:
                break
            del self._intents[oldest]
        self._intents.pop(name, None)  # it moves to the end, as the newest
        self._intents[name] = (status, ltime, now)
        return True

    # ------------------------------------------------------------ forgetting

    def erase(self, record: Record) -> None:
        """Forget a member."""
        name = record.member.name
        del self.records[name]
        self.gone.pop(name, None)
        self._forget(name)
        self._emit(REAP, record)

    def _forget_at(self, record: Record) -> float:
        timing = self._ctx.timing
        failed = record.member.status == Status.FAILED
        return record.left_at + (timing.reconnect_timeout_s if failed else timing.tombstone_timeout_s)

    def next_reap(self) -> float:
        """When the first of the gone members is to be forgotten; there must be one."""
        return min(self._forget_at(record) for record in self.gone.values())

    def reap(self) -> None:
        """Forget members that have been gone for too long."""
        for record in list(self.gone.values()):
            if self._forget_at(record) <= self._ctx.now:
                self.erase(record)
