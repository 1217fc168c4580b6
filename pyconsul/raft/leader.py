"""What a server does from the moment it is elected until it leads no longer.

Source: Raft paper, 5.3, 5.4.2, 8; dissertation 3.10 (transfer), 4 (membership), 6.2 (a leader
steps down when it hears no majority), 6.4 (reads); specs of Consul's Raft, sections 1, 2, 6.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from msgspec import Struct

from pyconsul.raft.configuration import ServerId
from pyconsul.raft.events import ChangeConfiguration, ProposalRefused, Proposed, TransferEnded
from pyconsul.raft.membership import changed
from pyconsul.raft.messages import (
    COMMAND,
    CONFIGURATION,
    NOOP,
    AppendEntriesResponse,
    Entry,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshotResponse,
    ReadIndex,
    ReadIndexResponse,
    TimeoutNow,
)
from pyconsul.raft.progress import Progress
from pyconsul.raft.reads import Question, Reads
from pyconsul.raft.replication import Replication
from pyconsul.raft.state import RaftState

HEARTBEATS_PER_TIMEOUT = 10
LEASE_CHECK_MIN_S = 0.01
NEVER = float("inf")

TRANSFER_IN_PROGRESS = "leadership transfer in progress"
TRANSFER_TIMEOUT = "leadership transfer timeout"
TRANSFER_FAILED = "leadership lost while transferring it"


class Transfer(Struct):
    """Leadership is being handed over.

    :ivar due: when it is given up.
    :ivar sent: the target was told to campaign.
    """

    target: ServerId
    due: float
    sent: bool = False


class Leader:
    """One term of leadership.

    :ivar barrier: the index of the first entry of this term, a no-op.
    :ivar due: when ``tick`` has something to do; may be too early, never too late.
    :ivar reads_until: until when nobody else can lead, so that reads need no question.
    """

    __slots__ = (
        "_ask_others_due",
        "_commit_due",
        "_context",
        "_lease_due",
        "_may_lease",
        "_read_lease_until",
        "_rounds",
        "_s",
        "barrier",
        "due",
        "reads",
        "reads_until",
        "replication",
        "transfer",
    )

    def __init__(self, s: RaftState) -> None:
        self._s = s
        self.barrier = s.log.last_index + 1
        self.replication = Replication(s)
        self.reads = Reads(s)
        self.transfer: Transfer | None = None
        self._read_lease_until = -NEVER
        self._may_lease = True
        """Nobody was told to take over: that may arrive at any time, and needs no timeout."""
        self.reads_until = self._reads_until()
        self._context = 0
        self._rounds: deque[tuple[int, float]] = deque()
        """Heartbeats that no majority has answered, and when they were sent; one for each time."""
        self._ask_others_due = NEVER
        self._commit_due = NEVER
        self._lease_due = s.now + s.timing.leader_lease_timeout_s
        self.due = s.now
        for progress in self.replication.followers.values():
            progress.heartbeat_due = self._next_heartbeat()
        self._set_due()

    def start(self) -> None:
        """Append the no-op: with it everything of earlier terms is committed, not before (5.4.2)."""
        self._s.append([Entry(self._s.term, self.barrier, NOOP, b"")])
        self.replication.replicate()

    # ------------------------------------------------------------ asked by this server

    def propose(self, commands: Sequence[bytes], kind: int = COMMAND) -> None:
        """Append ``commands`` and send them on, to our own disk and to the followers at once."""
        s = self._s
        if self.transfer is not None:
            s.effects.append(ProposalRefused(TRANSFER_IN_PROGRESS))
            return
        term = s.term
        first = s.log.last_index + 1
        entries = [Entry(term, index, kind, data) for index, data in enumerate(commands, first)]
        if entries:
            s.append(entries)
        s.effects.append(Proposed(first, len(entries), term))
        self.replication.replicate()

    def change_configuration(self, change: ChangeConfiguration) -> None:
        """Append a configuration that differs in one server from the latest (dissertation, 4.1)."""
        s = self._s
        membership = s.membership
        configuration = changed(membership.latest, change)
        reason = ""
        if self.transfer is not None:
            reason = TRANSFER_IN_PROGRESS
        elif s.commit_index < self.barrier:
            reason = "the leader has not committed an entry of its term yet"
        elif membership.index > s.commit_index:
            reason = "the latest configuration is not committed yet"
        elif change.prev_index and change.prev_index != membership.index:
            reason = f"Configuration changed since {change.prev_index} (latest is {membership.index})"
        else:
            reason = configuration.problem()
        if reason:
            s.effects.append(ProposalRefused(reason))
            return
        index = s.log.last_index + 1
        s.append([Entry(s.term, index, CONFIGURATION, configuration.encode())])
        s.use_configuration(index, configuration)
        s.effects.append(Proposed(index, 1, s.term))
        self.replication.reconfigure()
        self.replication.replicate()
        self._confirmed()
        self._serve_reads()
        self._set_due()

    def confirm(self, token: int) -> None:
        """Answer ``token`` once a majority has answered a heartbeat sent after now."""
        self.reads.add(token)
        self._serve_reads()

    def asked_for_index(self, sender: ServerId, message: ReadIndex) -> None:
        """A follower has reads to answer: as ``confirm``, unless the lease will do and is held.

        Nor is a majority to be asked where this server and the follower are one: that was in our term
        still when it asked, which was after its reads came.
        """
        s = self._s
        address = message.address or s.membership.address_of(sender)
        is_sure = message.leased and s.now < self.reads_until or self._is_majority_with(sender)
        if is_sure and s.commit_index >= self.barrier:
            s.send(sender, address, ReadIndexResponse(s.term, message.context, s.commit_index))
        else:
            self.reads.add(Question(sender, address, message.context))
            self._serve_reads()

    def _is_majority_with(self, sender: ServerId) -> bool:
        membership = self._s.membership
        voters = membership.voters
        return membership.quorum == 2 and sender in voters and self._s.server_id in voters

    def hand_over(self, target: ServerId) -> None:
        """Begin to hand leadership over to ``target`` or to whoever is most up to date."""
        s = self._s
        voters = self.replication.voters()
        error = ""
        if self.transfer is not None:
            error = TRANSFER_IN_PROGRESS
        elif target == s.server_id:
            error = "cannot transfer leadership to itself"
        elif target and target not in s.membership.voters:
            error = f"cannot find a voter with id {target}"
        elif not voters:
            error = "cannot find a voter to transfer leadership to"
        if error:
            s.effects.append(TransferEnded(error))
            return
        best = max(voters, key=lambda progress: (progress.match_index, progress.last_contact))
        self.transfer = Transfer(target or best.id, s.now + s.timing.election_timeout_s)
        self._push_transfer(self.replication.followers[self.transfer.target])
        self._set_due()

    # ------------------------------------------------------------ answers of followers

    def append_answered(self, sender: ServerId, message: AppendEntriesResponse) -> None:
        """A follower has taken entries, or could not."""
        progress = self.replication.followers.get(sender)
        if progress is None:
            return
        self.replication.answered(progress, message)
        self._tell(progress)
        if self.transfer is not None and not self.transfer.sent:
            self._push_transfer(progress)

    def heartbeat_answered(self, sender: ServerId, message: HeartbeatResponse) -> None:
        """A follower lives, and says how far it is."""
        progress = self.replication.followers.get(sender)
        if progress is None:
            return
        self.replication.heartbeat_answered(progress, message)
        self._tell(progress)
        if self.transfer is not None:
            self._push_transfer(progress)
        self._confirmed()
        self._serve_reads()

    def piece_answered(self, sender: ServerId, message: InstallSnapshotResponse) -> None:
        """A follower says how much it has of the snapshot that it is sent."""
        progress = self.replication.followers.get(sender)
        if progress is not None:
            self.replication.piece_answered(progress, message)

    def unreachable(self, peer: ServerId) -> None:
        """The connection to ``peer`` broke: wait for its next sign of life."""
        progress = self.replication.followers.get(peer)
        if progress is not None:
            progress.unreachable()

    def _tell(self, progress: Progress) -> None:
        """``progress`` may have acknowledged more: tell it soon that this is committed."""
        if progress.told_commit < min(progress.match_index, self._s.commit_index):
            self._commit_soon()

    def _push_transfer(self, progress: Progress) -> None:
        """Let the target campaign once it has everything, and with each heartbeat, lest that be lost.

        And not before everything is committed, so that whoever proposed it gets his answer from us.
        """
        assert self.transfer is not None
        s = self._s
        last = s.log.last_index
        if progress.id == self.transfer.target and progress.match_index == s.commit_index == last:
            self.transfer.sent = True
            self._may_lease = False
            self.reads_until = self._reads_until()
            s.send(progress.id, progress.address, TimeoutNow(s.term))

    # ------------------------------------------------------------ commit

    def advance_commit(self) -> None:
        """Commit what a majority holds, but by count only entries of this term (5.4.2)."""
        s = self._s
        index = self.replication.committed_index()
        if index <= s.commit_index or index < self.barrier:
            return
        s.commit(index)
        if self.replication.followers:
            self._commit_soon()
        if self.transfer is not None and not self.transfer.sent:
            self._push_transfer(self.replication.followers[self.transfer.target])
        if self.reads.waiting:
            self._serve_reads()

    def _commit_soon(self) -> None:
        """Have the followers told what is committed, unless entries that are sent soon do it."""
        if self._commit_due == NEVER:
            wait_s = self._s.timing.commit_timeout_s * (1.0 + self._s.rng.random()) / 2.0
            self._commit_due = self._s.now + wait_s
            self.due = min(self.due, self._commit_due)

    @property
    def is_removed(self) -> bool:
        """Whether a committed configuration gives this leader no vote, so that it has to go."""
        s = self._s
        return s.membership.index <= s.commit_index and s.server_id not in s.membership.voters

    # ------------------------------------------------------------ heartbeats and reads

    def _serve_reads(self) -> None:
        """Begin a round for the reads that wait, unless one is on its way.

        Before an entry of this term is committed, the commit index may be behind what an earlier
        leader acknowledged, so reads have to wait for that (6.4, step 1).
        """
        s = self._s
        if not self.reads.wants_round or s.commit_index < self.barrier:
            return
        if s.membership.voters == (s.server_id,):
            self.reads.confirm_all()
            return
        self.reads.round_sent(self._context + 1)
        for progress in self.replication.quickest():
            self._send_heartbeat(progress)
        self._ask_others_due = s.now + s.timing.commit_timeout_s
        self.due = min(self.due, self._ask_others_due)

    def _ask_others(self) -> None:
        """Those that were asked for the reads that wait take their time."""
        self._ask_others_due = NEVER
        if self.reads.has_round:
            for progress in self.replication.voters():
                self._send_heartbeat(progress)

    def _confirmed(self) -> None:
        """A majority may have answered more heartbeats: they confirm reads and renew the lease."""
        context = self.replication.acked_context()
        self.reads.confirmed(context)
        rounds = self._rounds
        while rounds and rounds[0][0] <= context:
            _, sent_at = rounds.popleft()
            self._read_lease_until = sent_at + self._s.timing.leader_lease_timeout_s
        self.reads_until = self._reads_until()

    def _send_heartbeat(self, progress: Progress) -> None:
        s = self._s
        self._context += 1
        if not self._rounds or self._rounds[-1][1] < s.now:
            self._rounds.append((self._context, s.now))
        commit = min(s.commit_index, progress.match_index)
        s.send(progress.id, progress.address, Heartbeat(s.term, commit, self._context, s.address))
        progress.heartbeat_sent(self._context, s.now)
        progress.heartbeat_due = self._next_heartbeat()
        progress.told_commit = max(progress.told_commit, commit)

    def _next_heartbeat(self) -> float:
        return self._s.random_wait(self._s.timing.heartbeat_timeout_s / HEARTBEATS_PER_TIMEOUT)

    # ------------------------------------------------------------ time

    def tick(self) -> bool:
        """Do what is due; false if this server may lead no longer (6.2)."""
        s = self._s
        now = s.now
        if now < self.due:
            return True
        if now >= self._lease_due and not self._renew_lease():
            return False
        if self.transfer is not None and now >= self.transfer.due:
            self.transfer = None
            s.effects.append(TransferEnded(TRANSFER_TIMEOUT))
        if now >= self._ask_others_due:
            self._ask_others()
        commit_due = now >= self._commit_due
        if commit_due:
            self._commit_due = NEVER
        for progress in self.replication.followers.values():
            if now >= progress.heartbeat_due or (
                commit_due and progress.told_commit < min(s.commit_index, progress.match_index)
            ):
                self._send_heartbeat(progress)
        self.replication.drop_leavers()
        self._set_due()
        return True

    def _renew_lease(self) -> bool:
        """Whether a majority of the voters has answered within the lease; when to look again."""
        s = self._s
        lease_until = self.lease_until
        if lease_until <= s.now:
            return False
        self._lease_due = max(lease_until, s.now + LEASE_CHECK_MIN_S)
        return True

    @property
    def lease_until(self) -> float:
        """When this leader steps down unless it hears from a majority of the voters."""
        return self.replication.contacted_at() + self._s.timing.leader_lease_timeout_s

    def _reads_until(self) -> float:
        """What ``reads_until`` is, to be told with everything that changes it: it is looked at very often.

        A majority has answered heartbeats that were sent no more than the lease before that, and each
        has promised with its answer that it votes for nobody else during the heartbeat timeout, which is
        longer, on its own clock.
        """
        if self._s.membership.voters == (self._s.server_id,):
            return NEVER
        return self._read_lease_until if self._may_lease else -NEVER

    def _set_due(self) -> None:
        due = min(self._lease_due, self._commit_due, self._ask_others_due)
        if self.transfer is not None:
            due = min(due, self.transfer.due)
        for progress in self.replication.followers.values():
            due = min(due, progress.heartbeat_due)
        self.due = due

    # ------------------------------------------------------------ the end

    def stop(self, succeeded: bool) -> None:
        """Leadership ends; ``succeeded``: a higher term was seen."""
        self.reads.refuse_all()
        if self.transfer is not None:
            error = "" if succeeded and self.transfer.sent else TRANSFER_FAILED
            self._s.effects.append(TransferEnded(error))

    def resign(self) -> None:
        """Having been removed, tell all what is committed, and the best of them to take over."""
        s = self._s
        for progress in self.replication.followers.values():
            self._send_heartbeat(progress)
        heirs = [self.replication.followers[voter] for voter in s.membership.voters]
        best = max(heirs, key=lambda progress: progress.match_index)
        s.send(best.id, best.address, TimeoutNow(s.term))
