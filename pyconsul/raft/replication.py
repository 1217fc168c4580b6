"""The leader's side of log replication: what each follower is sent, and what is committed by it.

Source: Raft paper, 5.3 and 5.4.2; dissertation 10.2 (pipelining, and writing to the leader's own
disk at the same time); tables.py has a follower's states.
"""

from __future__ import annotations

from typing import TypeVar

from pyconsul.raft.configuration import ServerId
from pyconsul.raft.events import SendPiece
from pyconsul.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    HeartbeatResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
)
from pyconsul.raft.progress import Progress
from pyconsul.raft.state import RaftState
from pyconsul.raft.tables import Pace, Step

Number = TypeVar("Number", int, float)

ANY_CONTEXT = 2**63
"""Above the number of any heartbeat: this server does not doubt itself."""
BURST_MAX = 16
"""Messages to one follower in one call: one that is far behind must not hold up the others."""


class Replication:
    """The followers of one leader.

    :ivar followers: by id; those that leave stay until they know, or are given up.
    """

    __slots__ = ("_s", "followers")

    def __init__(self, s: RaftState) -> None:
        self._s = s
        self.followers: dict[ServerId, Progress] = {}
        self.reconfigure()

    def reconfigure(self) -> None:
        """Follow the latest configuration: who came, who moved, who leaves.

        Who is removed still gets the entry that says so, or it would campaign for ever. That it
        may take an election timeout.
        """
        s = self._s
        followers = self.followers
        remaining = {server.id: server for server in s.membership.latest.servers}
        for server_id, server in remaining.items():
            if server_id == s.server_id:
                continue
            progress = followers.get(server_id)
            if progress is None:
                next_index = s.log.last_index + 1
                followers[server_id] = Progress(server_id, server.address, next_index, s.now)
            else:
                progress.address = server.address
                progress.leaving_index = 0
        for progress in followers.values():
            if progress.id not in remaining and not progress.leaving_index:
                progress.leaving_index = s.membership.index
                progress.leaving_until = s.now + s.timing.election_timeout_s

    def drop_leavers(self) -> None:
        """Forget those that know they were removed, and those that take too long."""
        s = self._s
        for progress in list(self.followers.values()):
            gone = progress.leaving_index
            if gone and (progress.told_commit >= gone or progress.leaving_until <= s.now):
                del self.followers[progress.id]

    # ------------------------------------------------------------ sending

    def replicate(self) -> None:
        """Send every follower what it lacks, as far as its window allows."""
        for progress in self.followers.values():
            self.send(progress)

    def send(self, progress: Progress) -> None:
        """Send ``progress`` what it lacks, as far as its window allows."""
        s = self._s
        log = s.log
        timing = s.timing
        last = log.last_index
        for _ in range(BURST_MAX):
            first = progress.next_index
            if progress.pace is Pace.SNAPSHOT:
                self._send_pieces(progress)
                return
            if progress.pace is Pace.REPLICATE:
                if first > last or len(progress.inflight) >= timing.inflight_appends_max:
                    return
            elif progress.waiting or (first > last and progress.match_index == last):
                return
            prev_term = log.term_at(first - 1)
            if prev_term is None:
                if not self._begin_snapshot(progress):
                    return
                continue
            entries = (
                log.slice(first, last, timing.entries_per_append_max, timing.bytes_per_append_max)
                if first <= last
                else []
            )
            message = AppendEntries(s.term, first - 1, prev_term, s.commit_index, entries, s.address)
            s.send(progress.id, progress.address, message)
            sent = first - 1 + len(entries)
            progress.sent(sent)
            told = min(s.commit_index, sent)
            if progress.pace is Pace.REPLICATE and told > progress.told_commit:
                progress.told_commit = told

    def _begin_snapshot(self, progress: Progress) -> bool:
        """Entries are gone that ``progress`` needs: whether there is a snapshot that has them."""
        snapshot = self._s.snapshot
        if snapshot is None or self._s.log.term_at(snapshot.index) is None:
            progress.needs_snapshot = True
            return False
        progress.needs_snapshot = False
        progress.begin_snapshot(snapshot)
        return True

    def _send_pieces(self, progress: Progress) -> None:
        """Send as much of the snapshot as the window allows."""
        info = progress.snapshot
        assert info is not None
        timing = self._s.timing
        while (
            not progress.waiting
            and progress.pieces_sent < info.size
            and progress.pieces_sent - progress.pieces_stored < timing.snapshot_window_bytes
        ):
            size = min(timing.snapshot_piece_bytes, info.size - progress.pieces_sent)
            self._send_piece(progress, progress.pieces_sent, size)
            progress.pieces_sent += size

    def _send_piece(self, progress: Progress, offset: int, size: int) -> None:
        s = self._s
        if progress.snapshot is None or not progress.address:
            return
        message = InstallSnapshot(s.term, progress.snapshot, offset, b"", s.address)
        if size:
            s.effects.append(SendPiece(progress.id, progress.address, message, size))
        else:
            s.send(progress.id, progress.address, message)

    # ------------------------------------------------------------ answers

    def answered(self, progress: Progress, message: AppendEntriesResponse) -> None:
        """Take an answer, and send what it made room for."""
        progress.last_contact = self._s.now
        if message.success:
            progress.acknowledged(min(message.match_index, self._s.log.last_index))
        else:
            if progress.verifying and message.prev_log_index == progress.match_index:
                progress.forget()
            if not progress.ignores_reject(message.prev_log_index):
                log = self._s.log
                meet = log.last_of_terms_to(message.hint_term, message.hint_index)
                progress.probe(Step.REJECTED, min(meet + 1, message.prev_log_index))
        self.send(progress)

    def heartbeat_answered(self, progress: Progress, message: HeartbeatResponse) -> None:
        """Learn from a heartbeat which entries, or which answers, were lost; send them again."""
        progress.last_contact = self._s.now
        news = progress.heartbeat_answered(message.context, self._s.now)
        match = min(message.match_index, self._s.log.last_index)
        if match > progress.match_index:
            progress.acknowledged(match)
        if progress.lost(message.context, message.received_index):
            received = min(message.received_index, self._s.log.last_index)
            searching = progress.next_index if progress.pace is Pace.PROBE else 0
            progress.probe(Step.LOST, max(received + 1, searching))
        if news and progress.pace is Pace.SNAPSHOT:
            progress.waiting = False
            if progress.pieces_stalled():
                self._send_piece(progress, progress.pieces_sent, 0)
        elif news:
            progress.verifying = message.received_index < progress.match_index
            if progress.verifying:
                self._verify(progress)
        self.send(progress)

    def piece_answered(self, progress: Progress, message: InstallSnapshotResponse) -> None:
        """Learn how much of the snapshot the follower has, and send more."""
        progress.last_contact = self._s.now
        info = progress.snapshot
        if info is not None and message.index == info.index and 0 <= message.offset <= info.size:
            progress.pieces_answered(message.offset, message.again)
            self._send_pieces(progress)

    def _verify(self, progress: Progress) -> None:
        """The follower was restarted: let it see that our logs agree, or say that they do not."""
        s = self._s
        match = progress.match_index
        prev_term = s.log.term_at(match)
        if prev_term is not None:
            message = AppendEntries(s.term, match, prev_term, s.commit_index, [], s.address)
            s.send(progress.id, progress.address, message)

    # ------------------------------------------------------------ majorities

    def _quorum_of(self, values: list[Number]) -> Number:
        """The highest value that a majority of the voters has reached."""
        values.sort()
        return values[len(values) - self._s.membership.quorum]

    def voters(self) -> list[Progress]:
        """Those that have a vote."""
        s = self._s
        return [self.followers[voter] for voter in s.membership.voters if voter != s.server_id]

    def quickest(self) -> list[Progress]:
        """As many voters as are enough for a majority, those that answered heartbeats soonest; or all."""
        s = self._s
        followers = self.voters()
        needed = s.membership.quorum - (s.server_id in s.membership.voters)
        if len(followers) > needed:
            for progress in followers:
                progress.late(s.now)
            followers.sort(key=lambda progress: progress.round_trip_s)
        return followers[:needed]

    def committed_index(self) -> int:
        """Up to where a majority of the voters holds our log on disk, this server included."""
        s = self._s
        followers = self.followers
        return self._quorum_of(
            [
                s.durable_index if voter == s.server_id else followers[voter].match_index
                for voter in s.membership.voters
            ]
        )

    def contacted_at(self) -> float:
        """Since when at most we have not heard from a majority of the voters."""
        s = self._s
        followers = self.followers
        return self._quorum_of(
            [
                s.now if voter == s.server_id else followers[voter].last_contact
                for voter in s.membership.voters
            ]
        )

    def acked_context(self) -> int:
        """The highest heartbeat such that a majority of the voters has answered it or a later one."""
        s = self._s
        followers = self.followers
        return self._quorum_of(
            [
                ANY_CONTEXT if voter == s.server_id else followers[voter].acked_context
                for voter in s.membership.voters
            ]
        )
