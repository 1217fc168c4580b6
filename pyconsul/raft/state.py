"""What a server has whatever its role (Raft paper, figure 2), and the order of its writes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pyconsul.raft.configuration import Configuration, ServerId, decode
from pyconsul.raft.events import (
    Apply,
    ConfigurationChanged,
    Effect,
    PersistEntries,
    PersistState,
    PersistTruncation,
    RestoreSnapshot,
    Role,
    Send,
)
from pyconsul.raft.log import RaftLog, Reader
from pyconsul.raft.membership import Membership
from pyconsul.raft.messages import CONFIGURATION, Entry, Message
from pyconsul.raft.snapshot import SnapshotInfo
from pyconsul.raft.timing import Timing

if TYPE_CHECKING:
    from random import Random

    from pyconsul.interfaces import Recovered

APPLY_ENTRIES_MAX = 1_024
APPLY_BYTES_MAX = 128 * 1024
"""At once: of transactions so much takes 5 ms."""
RECOVERY_READ_BYTES = 1024 * 1024
HELD_MAX = 1_024
"""Answers that may wait for the disk at once; more are dropped, as a network may do."""


class RaftState:
    """Term, vote, log, configuration, commit index; and which of it the disk already holds.

    Its methods add to ``effects``, which is what the current call of ``handle`` returns.

    :ivar address: where others answer this server, as its last configuration said.
    :ivar now: the core's clock; never goes back.
    :ivar applied_index: the last entry handed out to be applied.
    :ivar last_contact: when a leader was last heard; ``None`` if never.
    :ivar promised_until: until then nobody gets our vote unless the leader hands over.
    :ivar election_due: when to campaign unless a leader is heard (not the leader's own).
    :ivar durable_index: the log is on the disk up to here.
    :ivar snapshot: the newest snapshot on the disk, if there is one.
    """

    __slots__ = (
        "_durable_seq",
        "_held",
        "_log_writes",
        "_seq",
        "_state_seq",
        "address",
        "applied_index",
        "commit_index",
        "durable_index",
        "effects",
        "election_due",
        "last_contact",
        "leader_address",
        "leader_id",
        "log",
        "membership",
        "now",
        "promised_until",
        "rng",
        "role",
        "server_id",
        "snapshot",
        "term",
        "timing",
        "voted_for",
    )

    def __init__(
        self,
        timing: Timing,
        rng: Random,
        server_id: ServerId,
        recovered: Recovered,
        read: Reader,
        snapshot: SnapshotInfo | None,
    ) -> None:
        self.timing = timing
        self.rng = rng
        self.server_id = server_id
        self.effects: list[Effect] = []
        self.now = float("-inf")
        self.role = Role.FOLLOWER
        self.leader_id: ServerId = ""
        self.leader_address = ""
        self.last_contact: float | None = None
        self.promised_until = float("-inf")
        self.election_due: float | None = None
        self.term = recovered.term
        self.voted_for = recovered.voted_for
        self.snapshot = snapshot
        self.log = RaftLog(read, recovered.first_index - 1, recovered.snapshot_term, recovered.terms)
        history: list[tuple[int, Configuration]] = []
        known = recovered.first_index - 1
        if snapshot is not None:
            assert recovered.first_index - 1 <= snapshot.index <= recovered.last_index
            assert self.log.term_at(snapshot.index) == snapshot.term
            history.append((snapshot.configuration_index, snapshot.configuration))
            known = snapshot.index
        history += _configurations(read, known + 1, recovered.last_index)
        self.membership = Membership(history)
        self.address = ""
        for _, configuration in history:  # the latest may have removed us, and yet need our vote
            for server in configuration.servers:
                if server.id == server_id:
                    self.address = server.address
        self.commit_index = known
        self.applied_index = known
        self.membership.commit(self.commit_index)
        self.durable_index = self.log.last_index
        self._seq = 0
        self._durable_seq = 0
        self._state_seq = 0
        self._log_writes: deque[tuple[int, int]] = deque()
        self._held: deque[tuple[int, Send]] = deque()

    # ------------------------------------------------------------ messages

    def send(self, to: ServerId, address: str, message: Message) -> None:
        """Send now; nothing in ``message`` depends on a write. Nowhere, if nobody knows where."""
        if address:
            self.effects.append(Send(to, address, message))

    def answer(self, to: ServerId, address: str, message: Message) -> None:
        """Send once the term and the vote are durable (paper, 5.1: before responding)."""
        address = address or self.membership.address_of(to)
        if self.state_is_durable:
            self.send(to, address, message)
        elif address and len(self._held) < HELD_MAX:
            self._held.append((self._state_seq, Send(to, address, message)))

    # ------------------------------------------------------------ writes

    @property
    def state_is_durable(self) -> bool:
        """Whether the disk holds the current term and vote."""
        return self._durable_seq >= self._state_seq

    def set_term(self, term: int, voted_for: ServerId = "") -> None:
        """Adopt ``term``, or vote in it."""
        assert term > self.term or (term == self.term and self.voted_for in ("", voted_for))
        self.term = term
        self.voted_for = voted_for
        self._seq += 1
        self._state_seq = self._seq
        self.effects.append(PersistState(self._seq, term, voted_for))

    def append(self, entries: Sequence[Entry]) -> None:
        """Add ``entries`` to the log, in memory and on the disk.

        If one is a configuration, ``use_configuration`` has to follow.
        """
        self.log.append(entries)
        self._seq += 1
        self._log_writes.append((self._seq, self.log.last_index))
        self.effects.append(PersistEntries(self._seq, entries))

    def use_configuration(self, index: int, configuration: Configuration) -> None:
        """The entry ``index``, just appended, is a configuration: it is in force."""
        self.membership.append(index, configuration)
        self.address = self.membership.address_of(self.server_id) or self.address
        self.effects.append(ConfigurationChanged(configuration, index))

    def truncate(self, first_dropped: int) -> None:
        """Drop entries that were never committed."""
        assert first_dropped > self.commit_index
        self.log.truncate(first_dropped)
        last_kept = first_dropped - 1
        self.durable_index = min(self.durable_index, last_kept)
        self._log_writes = deque((seq, min(last, last_kept)) for seq, last in self._log_writes)
        self._seq += 1
        self.effects.append(PersistTruncation(self._seq, first_dropped))
        if self.membership.truncate(first_dropped):
            self.effects.append(ConfigurationChanged(self.membership.latest, self.membership.index))

    def persisted(self, seq: int) -> None:
        """The disk reports that everything up to ``seq`` is durable."""
        self._durable_seq = max(self._durable_seq, min(seq, self._seq))
        writes = self._log_writes
        while writes and writes[0][0] <= self._durable_seq:
            last = writes.popleft()[1]
            if last > self.durable_index:
                self.durable_index = last
        held = self._held
        while held and held[0][0] <= self._durable_seq:
            self.effects.append(held.popleft()[1])

    def snapshot_taken(self, info: SnapshotInfo) -> None:
        """There is a durable snapshot of what we have ourselves."""
        if self.snapshot is None or info.index > self.snapshot.index:
            self.snapshot = info

    def restore(self, info: SnapshotInfo) -> None:
        """Make a snapshot, which is durable, our state; the log is empty and goes on after it."""
        assert info.index > self.commit_index
        self.log.reset(info.index, info.term)
        self.commit_index = self.applied_index = self.durable_index = info.index
        self._log_writes.clear()
        self.snapshot = info
        self.membership.reset(info.configuration_index, info.configuration)
        self.address = self.membership.address_of(self.server_id) or self.address
        self._seq += 1
        self.effects.append(RestoreSnapshot(self._seq, info))
        self.effects.append(ConfigurationChanged(info.configuration, info.configuration_index))

    @property
    def is_unverified(self) -> bool:
        """Whether all that this server has is a state made by hand, which no leader has gone on from yet."""
        snapshot = self.snapshot
        return (
            snapshot is not None
            and snapshot.by_hand
            and snapshot.index == self.commit_index == self.log.last_index
        )

    # ------------------------------------------------------------ commit and apply

    def commit(self, index: int) -> None:
        """Everything up to ``index`` is committed."""
        if index > self.commit_index:
            assert index <= self.log.last_index
            self.commit_index = index
            self.membership.commit(index)

    def hand_out(self) -> None:
        """Have some of what is committed applied; a long backlog takes several calls."""
        entries = self.log.slice(
            self.applied_index + 1, self.commit_index, APPLY_ENTRIES_MAX, APPLY_BYTES_MAX
        )
        self.applied_index = entries[-1].index
        self.effects.append(Apply(entries))

    # ------------------------------------------------------------ time

    def started(self) -> None:
        """The clock is known from here on. What we promised before the start we have forgotten."""
        alone = self.membership.is_alone(self.server_id)  # then there is no leader to wait for
        self.election_due = self.now if alone else self.random_wait(self.timing.heartbeat_timeout_s)
        if self.term:
            self.promised_until = self.now + self.timing.heartbeat_timeout_s

    def heard_leader(self) -> None:
        """A sign of life of the current leader: do not campaign, and do not help others to."""
        self.last_contact = self.now
        self.promised_until = self.now + self.timing.heartbeat_timeout_s
        self.election_due = self.random_wait(self.timing.heartbeat_timeout_s)

    def random_wait(self, timeout_s: float) -> float:
        """random(T) of the specs: when a wait within [T, 2T) from now ends."""
        return self.now + timeout_s * (1.0 + self.rng.random())


def _configurations(read: Reader, first: int, last: int) -> Iterable[tuple[int, Configuration]]:
    """Index and configuration of the configuration entries in the log on the disk."""
    while first <= last:
        entries = read(first, last + 1, RECOVERY_READ_BYTES)
        for entry in entries:
            if entry.kind == CONFIGURATION:
                yield entry.index, decode(entry.data)
        first = entries[-1].index + 1
