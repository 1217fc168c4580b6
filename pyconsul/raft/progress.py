"""What a leader knows of one follower's log.

``pyconsul.raft.tables.PACES`` has the states, and what moves it from one to another.
"""

from __future__ import annotations

from collections import deque

from pyconsul.raft.configuration import ServerId
from pyconsul.raft.snapshot import SnapshotInfo
from pyconsul.raft.tables import PACES, Pace, Step


class Progress:
    """One follower, voter or not.

    :ivar match_index: its log is durable and equals ours up to here.
    :ivar next_index: the next entry to send.
    :ivar waiting: nothing is sent until a message, or a heartbeat, is answered.
    :ivar sent_index: the last entry that may be on its way.
    :ivar inflight: the last entry of each message on its way (REPLICATE).
    :ivar last_contact: when it last answered.
    :ivar acked_context: the highest heartbeat that it answered.
    :ivar round_trip_s: how long its latest answer took, or has not come.
    :ivar doubted: a reject was believed since the last heartbeat.
    :ivar verifying: it was asked whether it still has everything up to ``match_index``.
    :ivar told_commit: the commit index that it was told.
    :ivar snapshot: what is sent instead of entries that are gone from our log (SNAPSHOT).
    :ivar pieces_stored: the follower has it up to here. :ivar pieces_sent: it was sent up to here.
    :ivar needs_snapshot: entries that it needs are gone, and there is no snapshot to be sent.
    :ivar leaving_index: entry that removed it from the configuration, 0 if it is in it.
    :ivar leaving_until: when it is given up, if it is leaving.
    """

    __slots__ = (
        "acked_context",
        "address",
        "asked_at",
        "asked_context",
        "doubted",
        "heartbeat_due",
        "id",
        "inflight",
        "last_contact",
        "leaving_index",
        "leaving_until",
        "mark_context",
        "mark_index",
        "match_index",
        "needs_snapshot",
        "next_index",
        "pace",
        "pieces_again",
        "pieces_mark",
        "pieces_sent",
        "pieces_stored",
        "round_trip_s",
        "sent_index",
        "snapshot",
        "told_commit",
        "verifying",
        "waiting",
    )

    def __init__(self, server_id: ServerId, address: str, next_index: int, now: float) -> None:
        self.id = server_id
        self.address = address
        self.pace = Pace.PROBE
        self.match_index = 0
        self.next_index = next_index
        self.waiting = False
        self.sent_index = 0
        self.inflight: deque[int] = deque()
        self.last_contact = now
        self.heartbeat_due = now
        self.acked_context = 0
        self.asked_context = 0
        self.asked_at = now
        self.round_trip_s = 0.0
        self.doubted = False
        self.verifying = False
        self.told_commit = 0
        self.mark_context = 0
        self.mark_index = 0
        self.needs_snapshot = False
        self.snapshot: SnapshotInfo | None = None
        self.pieces_stored = 0
        self.pieces_sent = 0
        self.pieces_mark = -1
        self.pieces_again = -1
        self.leaving_index = 0
        self.leaving_until = 0.0

    # ------------------------------------------------------------ pace

    def _go(self, step: Step) -> None:
        self.pace = PACES[step][self.pace].state

    def sent(self, last_index: int) -> None:
        """Entries up to ``last_index`` (or none, as a probe) were sent."""
        self.sent_index = last_index
        if self.pace is Pace.PROBE:
            self.waiting = True
        else:
            self.next_index = last_index + 1
            self.inflight.append(last_index)

    def acknowledged(self, match_index: int) -> None:
        """The follower's log equals ours up to ``match_index``."""
        if self.snapshot is not None:
            if match_index < self.snapshot.index:
                return
            self.snapshot = None
            self._go(Step.RESTORED)
        if match_index > self.match_index:
            self.match_index = match_index
            if self.pace is Pace.PROBE:
                self._go(Step.ACKNOWLEDGED)
                self.waiting = False
                self.next_index = match_index + 1
                return
        inflight = self.inflight
        while inflight and inflight[0] <= match_index:
            inflight.popleft()
        if self.next_index <= self.match_index:
            self.next_index = self.match_index + 1

    def ignores_reject(self, prev_log_index: int) -> bool:
        """Whether a reject is to be ignored, because we know better than when it was asked for.

        In a pipeline one is believed between two heartbeats: where messages overtake each other,
        every reject would have all of them sent again, and that bring more rejects.
        """
        if self.pace is Pace.SNAPSHOT:
            return True
        if self.pace is Pace.PROBE:
            return not self.waiting or prev_log_index != self.next_index - 1
        if not self.match_index < prev_log_index < self.next_index or self.doubted:
            return True
        self.doubted = True
        return False

    def probe(self, step: Step, next_index: int) -> None:
        """Send from ``next_index`` again, one message at a time."""
        self._go(step)
        self.inflight.clear()
        self.next_index = max(next_index, self.match_index + 1)
        self.sent_index = self.match_index
        self.waiting = False

    def forget(self) -> None:
        """It does not have what it had acknowledged: its disk was replaced. Nothing is known."""
        self.match_index = 0
        self.told_commit = 0
        self._go(Step.FORGOTTEN)
        if self.pace is Pace.SNAPSHOT:
            return
        self.doubted = False
        self.verifying = False

    def unreachable(self) -> None:
        """What was on its way may be lost, and what is sent now would be lost too.

        The next heartbeat that is answered finds that something was lost: ``next_index``.
        """
        if self.pace is Pace.SNAPSHOT:
            self.pieces_sent = self.pieces_stored
        elif self.pace is Pace.REPLICATE:
            self.probe(Step.UNREACHABLE, self.match_index + 1)
        self.waiting = True
        self.mark_context = 0
        self.sent_index = max(self.sent_index, self.next_index)

    # ------------------------------------------------------------ snapshot

    def begin_snapshot(self, info: SnapshotInfo) -> None:
        """Send ``info`` from its beginning."""
        self._go(Step.COMPACTED)
        self.snapshot = info
        self.inflight.clear()
        self.waiting = False
        self.pieces_stored = self.pieces_sent = 0
        self.pieces_mark = self.pieces_again = -1

    def pieces_answered(self, offset: int, again: bool) -> None:
        """The follower has the snapshot up to ``offset``; with ``again`` not what was sent after that."""
        if again:
            if offset == self.pieces_again:
                return  # each of several pieces behind the one that was lost brings this answer
            self.pieces_again = offset
            self.pieces_sent = self.pieces_stored = offset
        elif offset > self.pieces_stored:
            self.pieces_stored = offset
            self.pieces_sent = max(self.pieces_sent, offset)

    def pieces_stalled(self) -> bool:
        """At a heartbeat's answer: whether no piece was stored since the one before."""
        stalled = self.pieces_mark == self.pieces_stored
        self.pieces_mark = self.pieces_stored
        self.pieces_again = -1
        return stalled

    # ------------------------------------------------------------ heartbeats

    def heartbeat_sent(self, context: int, now: float) -> None:
        """Remember how far entries were sent, unless an earlier heartbeat still has to tell."""
        self.late(now)
        if self.asked_context <= self.acked_context:
            self.asked_context, self.asked_at = context, now
        if not self.mark_context:
            self.mark_context = context
            self.mark_index = self.sent_index

    def heartbeat_answered(self, context: int, now: float) -> bool:
        """Whether ``context`` is news."""
        if context <= self.acked_context:
            return False
        self.acked_context = context
        if context >= self.asked_context:
            self.round_trip_s = now - self.asked_at
        return True

    def late(self, now: float) -> None:
        """An answer that is awaited takes at least as long as it has not come."""
        if self.asked_context > self.acked_context:
            self.round_trip_s = max(self.round_trip_s, now - self.asked_at)

    def lost(self, context: int, received_index: int) -> bool:
        """Whether entries sent before the heartbeat ``context`` did not reach the follower."""
        if not self.mark_context or context < self.mark_context:
            return False
        self.mark_context = 0
        self.doubted = False
        return self.snapshot is None and self.mark_index > max(received_index, self.match_index)
