"""A small deterministic cluster: virtual clock, lossy network, disks that lose what is not synced.

Everything random comes from one seed, so that a failing run can be repeated. After every event
``Safety`` asserts the five properties of the Raft paper's figure 3, and a few that follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from pyconsul.raft import events
from pyconsul.raft.configuration import NONVOTER, VOTER, Configuration, Server
from pyconsul.raft.core import RaftCore
from pyconsul.raft.events import Event, Role
from pyconsul.raft.messages import COMMAND, CONFIGURATION, Entry, RequestVote, RequestVoteResponse
from pyconsul.raft.timing import Timing

FAST_DISK_S = 0.002
PERSISTS = (events.PersistState, events.PersistEntries, events.PersistTruncation, events.RestoreSnapshot)


class Disk:
    """Term, vote and log of one server; also what ``RaftStorage.recover`` found (``Recovered``).

    ``written`` operations are seen by ``read`` at once; they are durable only once synced.
    """

    def __init__(self) -> None:
        self.term = 0
        self.voted_for = ""
        self.durable: list[Entry] = []
        self.entries: list[Entry] = []
        self.pending: list[Any] = []
        self.first_index = self._durable_first = 1
        self.snapshot_term = 0

    @property
    def snapshot_index(self) -> int:
        return self.first_index - 1

    @property
    def last_index(self) -> int:
        return self.first_index - 1 + len(self.entries)

    @property
    def terms(self) -> list[int]:
        return [entry.term for entry in self.entries]

    def read(self, first: int, end: int, bytes_max: int) -> list[Entry]:
        assert first >= self.first_index
        entries = self.entries[first - self.first_index : end - self.first_index]
        size = 0
        for number, entry in enumerate(entries):
            size += len(entry.data)
            if number and size > bytes_max:
                return entries[:number]
        return entries

    def write(self, effect: Any) -> None:
        self.pending.append(effect)
        if isinstance(effect, events.RestoreSnapshot):  # no crash in the midst of it is played here
            self.first_index, self.snapshot_term = effect.info.index + 1, effect.info.term
        _perform(self.entries, effect, self.first_index)

    def sync(self, seq: int) -> None:
        while self.pending and self.pending[0].seq <= seq:
            effect = self.pending.pop(0)
            if isinstance(effect, events.RestoreSnapshot):
                self._durable_first = effect.info.index + 1
            _perform(self.durable, effect, self._durable_first)
            if isinstance(effect, events.PersistState):
                self.term, self.voted_for = effect.term, effect.voted_for

    def crash(self, kept: int) -> None:
        """Lose what is not synced, except for the first ``kept`` operations that got through."""
        if kept:
            self.sync(self.pending[kept - 1].seq)
        self.pending.clear()
        self.entries = self.durable.copy()


def _perform(entries: list[Entry], effect: Any, first: int) -> None:
    if isinstance(effect, events.PersistEntries):
        assert effect.entries[0].index == len(entries) + first, "entries do not follow the log"
        entries.extend(effect.entries)
    elif isinstance(effect, events.PersistTruncation):
        assert 0 <= effect.first_dropped - first < len(entries), "truncation of what is not there"
        del entries[effect.first_dropped - first :]
    elif isinstance(effect, events.RestoreSnapshot):
        entries.clear()


class Safety:
    """What no server may ever do, seen from outside.

    :ivar committed: the entries that some leader committed, from index 1.
    """

    def __init__(self) -> None:
        self.leaders: dict[int, str] = {}
        self.committed: list[Entry] = []
        self.applied: list[Entry] = []
        self.votes: dict[tuple[int, str], str] = {}
        self._committed_in: list[int] = []
        self._seen: dict[tuple[int, int], tuple[Entry, int]] = {}

    def check(self, node: Node, event: Event, effects: Sequence[Any], was_leader: bool) -> None:
        core = node.core
        core.invariants()
        for effect in effects:
            kind = type(effect)
            if kind is events.Send:
                self._sent(node, effect)
            elif kind is events.PersistEntries:
                self._wrote(node, effect.entries)
            elif kind is events.PersistTruncation:
                assert not (was_leader and core.role is Role.LEADER), "leader append-only"
                assert effect.first_dropped > node.commit_index, "a committed entry is dropped"
            elif kind is events.Apply:
                self._applied(node, effect.entries)
        if core.role is Role.LEADER:
            holder = self.leaders.setdefault(core.term, node.id)
            assert holder == node.id, f"election safety: {holder} and {node.id} lead in {core.term}"
            if not was_leader:
                self._is_complete(node)
        assert core.commit_index >= node.commit_index, "commit index went back"
        if core.commit_index > node.commit_index:
            self._committed(node, was_leader)
        assert node.applied <= core.commit_index

    def _sent(self, node: Node, effect: events.Send) -> None:
        message = effect.message
        assert effect.address == f"{effect.to}:8300", f"{node.id} does not know where {effect.to} is"
        if isinstance(message, RequestVote | RequestVoteResponse) and message.pre_vote:
            return
        assert node.disk.term >= message.term, "said something in a term that is not durable"
        if isinstance(message, RequestVoteResponse) and not message.granted:
            return
        if isinstance(message, RequestVote | RequestVoteResponse):
            choice = node.id if isinstance(message, RequestVote) else effect.to
            before = self.votes.setdefault((message.term, node.id), choice)
            assert before == choice, f"{node.id} voted for {before} and {choice} in {message.term}"

    def _wrote(self, node: Node, entries: Sequence[Entry]) -> None:
        """Log matching, by induction: equal index and term, then equal entry and predecessor."""
        first = entries[0].index
        previous = node.core.log.term_at(first - 1) or 0
        for entry in entries:
            seen = self._seen.setdefault((entry.index, entry.term), (entry, previous))
            assert seen == (entry, previous), f"log matching: {seen} and {entry}"
            previous = entry.term

    def _is_complete(self, node: Node) -> None:
        log, term = node.core.log, node.core.term
        for entry, committed_in in zip(self.committed, self._committed_in):
            if committed_in < term:  # a server that was paused may win an election of long ago
                assert log.term_at(entry.index) == entry.term, f"leader completeness: {entry} missing"

    def _committed(self, node: Node, was_leader: bool) -> None:
        core = node.core
        for index in range(node.commit_index + 1, min(core.commit_index, len(self.committed)) + 1):
            assert core.log.term_at(index) == self.committed[index - 1].term, "state machine safety"
        fresh = node.entries(len(self.committed) + 1, core.commit_index)
        if fresh:
            assert was_leader or core.role is Role.LEADER, "committed what no leader has"
            assert fresh[-1].term == core.term, "figure 8: an older term's entry committed by count"
            voters = [server.id for server in core.configuration.servers if server.suffrage == VOTER]
            holders = [voter for voter in voters if fresh[-1] in node.cluster.durable_tail(voter, fresh[-1])]
            assert 2 * len(holders) > len(voters), f"committed {fresh[-1]} on {holders} of {voters} only"
            self.committed += fresh
            self._committed_in += [core.term] * len(fresh)

    def _applied(self, node: Node, entries: Sequence[Entry]) -> None:
        for entry in entries:
            assert entry.index == node.applied + 1, "applied out of order"
            if entry.index > len(self.applied):
                self.applied.append(entry)
            assert self.applied[entry.index - 1] == entry, "state machine safety"
            node.applied = entry.index


class Node:
    """One server, its disk and what its users were told."""

    def __init__(self, cluster: Cluster, server_id: str) -> None:
        self.cluster = cluster
        self.id = server_id
        self.disk = Disk()
        self.disk_s = FAST_DISK_S
        self.incarnation = 0
        self.alive = False
        self.paused = False
        self.start()

    def start(self) -> None:
        self.alive = True
        self.paused = False
        self.incarnation += 1
        self.applied = 0
        self.commit_index = 0
        self.answers: list[Any] = []
        self.log_writes: list[Any] = []
        self.sync_due = 0.0
        self.missed: list[Event] = []
        self.core = RaftCore(
            self.cluster.timing, Random(self.cluster.rng.random()), self.id, self.disk, self.disk.read
        )
        self.tick_at: float | None = None
        self._rearm()

    def crash(self, keep: int = 0) -> None:
        """Stop, and lose what is not synced but for its first ``keep`` operations."""
        self.alive = False
        self.disk.crash(min(keep, len(self.disk.pending)))

    def pause(self, seconds: float) -> None:
        """Stop the process for a while, as SIGSTOP does: what comes meanwhile waits."""
        if self.alive and not self.paused:
            self.paused = True
            self.cluster.later(self.cluster.now + seconds, self._resume, self.incarnation)

    def _resume(self, incarnation: int) -> None:
        if self.alive and incarnation == self.incarnation:
            self.paused = False
            missed, self.missed = self.missed, []
            for event in missed:
                self.feed(event)

    def happens(self, event: Event) -> None:
        """Something comes from the disk or the network."""
        if self.paused:
            self.missed.append(event)
        else:
            self.feed(event)

    @property
    def leads(self) -> bool:
        return self.alive and self.core.role is Role.LEADER

    def entries(self, first: int, last: int) -> list[Entry]:
        """Entries ``first`` to ``last`` of the log, wherever they are."""
        entries: list[Entry] = []
        while first + len(entries) <= last:
            entries += self.core.log.slice(first + len(entries), last, last, 1 << 30)
        return entries

    # ------------------------------------------------------------ events

    def feed(self, event: Event) -> list[Any]:
        """Handle ``event`` and perform its effects; returns them."""
        cluster = self.cluster
        was_leader = self.core.role is Role.LEADER
        effects: list[Any] = self.core.handle(cluster.now, event)
        cluster.safety.check(self, event, effects, was_leader)
        self.commit_index = self.core.commit_index
        for effect in effects:
            kind = type(effect)
            if kind is events.Send:
                cluster.transmit(self.id, effect)
            elif kind in (events.PersistState, events.PersistEntries, events.PersistTruncation):
                self.disk.write(effect)
                self._sync_later(effect.seq)
            elif kind is not events.Apply:
                self.answers.append(effect)
                cluster.answered(self, effect)
        self._rearm()
        return effects

    def _sync_later(self, seq: int) -> None:
        delay = self.disk_s * (0.5 + self.cluster.rng.random())
        self.sync_due = max(self.sync_due, self.cluster.now + delay)
        self.cluster.later(self.sync_due, self._synced, self.incarnation, seq)

    def _synced(self, incarnation: int, seq: int) -> None:
        if self.alive and incarnation == self.incarnation:
            self.disk.sync(seq)
            self.happens(events.Persisted(seq))

    def _rearm(self) -> None:
        due = self.core.next_deadline()
        assert due is not None
        due = max(due, self.cluster.now)
        if self.tick_at is None or due < self.tick_at:
            self.tick_at = due
            self.cluster.later(due, self._tick, self.incarnation, due)

    def _tick(self, incarnation: int, at: float) -> None:
        if not self.alive or incarnation != self.incarnation or self.tick_at != at:
            return
        self.tick_at = None
        due = self.core.next_deadline()
        if due is not None and due <= self.cluster.now:
            self.happens(events.Tick())
        else:
            self._rearm()

    # ------------------------------------------------------------ users

    def propose(self, *commands: bytes) -> events.Proposed | events.ProposalRefused:
        """Propose, and return the answer."""
        return next(
            effect
            for effect in self.feed(events.Propose(commands))
            if isinstance(effect, events.Proposed | events.ProposalRefused)
        )

    def change(self, kind: events.ChangeKind, server: str, prev_index: int = 0) -> Any:
        """Change the configuration, and return the answer."""
        change = events.ChangeConfiguration(kind, server, f"{server}:8300", prev_index)
        return next(
            effect
            for effect in self.feed(change)
            if isinstance(effect, events.Proposed | events.ProposalRefused)
        )

    def told(self, kind: type[Any]) -> list[Any]:
        """The effects of ``kind`` since the start."""
        return [answer for answer in self.answers if type(answer) is kind]

    @property
    def commands(self) -> list[bytes]:
        """The commands in the log, committed or not."""
        return [entry.data for entry in self.disk.entries if entry.kind == COMMAND]


class Cluster:
    """Servers ``a``, ``b``, ``c``, ... at ``a:8300`` and so on; the first ``size`` are voters.

    :ivar loss: the share of messages that get lost.
    :ivar doubled: the share of messages that come twice.
    :ivar delay_s: the least and the most time on the way.
    :ivar reorders: messages overtake each other, as over several connections.
    :ivar cut: pairs (from, to) between which nothing gets through.
    """

    def __init__(
        self, size: int, seed: int = 0, nonvoters: int = 0, timing: Timing | None = None, boot: bool = True
    ) -> None:
        self.rng = Random(seed)
        self.timing = timing or Timing()
        self.now = 0.0
        self.events = 0
        self.loss = 0.0
        self.doubled = 0.0
        self.delay_s = (0.001, 0.003)
        self.reorders = False
        self.cut: set[tuple[str, str]] = set()
        self._arrived: dict[tuple[str, str], float] = {}
        self.safety = Safety()
        self.reads: dict[int, int] = {}
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._tickets = count()
        self._tokens = count(1)
        ids = [chr(ord("a") + number) for number in range(size + nonvoters)]
        self.nodes = {server_id: Node(self, server_id) for server_id in ids}
        self.first_configuration = Configuration(
            [
                Server(server_id, f"{server_id}:8300", VOTER if number < size else NONVOTER)
                for number, server_id in enumerate(ids)
            ]
        )
        if boot:
            for node in self.nodes.values():
                node.feed(events.Bootstrap(self.first_configuration))

    def __getitem__(self, server_id: str) -> Node:
        return self.nodes[server_id]

    def add(self, server_id: str) -> Node:
        """Start a server that no configuration knows."""
        node = self.nodes[server_id] = Node(self, server_id)
        return node

    # ------------------------------------------------------------ time

    def later(self, at: float, function: Callable[..., None], *args: Any) -> None:
        heappush(self._queue, (at, next(self._tickets), function, args))

    def step(self) -> None:
        """Let the next thing happen."""
        at, _, function, args = heappop(self._queue)
        self.now = max(self.now, at)
        self.events += 1
        function(*args)

    def run(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        until = self.now + seconds
        while self._queue and self._queue[0][0] <= until:
            self.step()
        self.now = until

    def run_until(self, reached: Callable[[], Any], within_s: float = 30.0) -> Any:
        """Let things happen until ``reached`` returns something true, and return that."""
        until = self.now + within_s
        while not (result := reached()):
            assert self._queue and self._queue[0][0] <= until, f"not reached within {within_s} s"
            self.step()
        return result

    # ------------------------------------------------------------ network

    def transmit(self, sender: str, effect: events.Send) -> None:
        """Put a message on its way."""
        copies = 1 + (self.doubled > 0.0 and self.rng.random() < self.doubled)
        for _ in range(copies):
            if (sender, effect.to) in self.cut or (self.loss and self.rng.random() < self.loss):
                continue
            at = self.now + self.rng.uniform(*self.delay_s)
            if not self.reorders:
                at = self._arrived[sender, effect.to] = max(at, self._arrived.get((sender, effect.to), 0.0))
            self.later(at, self._deliver, sender, effect.to, effect.message)

    def _deliver(self, sender: str, to: str, message: Any) -> None:
        node = self.nodes.get(to)
        if node is not None and node.alive and (sender, to) not in self.cut:
            node.happens(events.MessageReceived(sender, message))

    def isolate(self, *group: str) -> None:
        """Cut ``group`` off from all the others, both ways."""
        for server_id in group:
            for other in self.nodes:
                if other not in group:
                    self.cut |= {(server_id, other), (other, server_id)}

    def heal(self) -> None:
        """Let everything through again."""
        self.cut.clear()

    # ------------------------------------------------------------ users

    @property
    def leader(self) -> Node | None:
        """The leader of the highest term, if there is one."""
        leaders = [node for node in self.nodes.values() if node.leads]
        return max(leaders, key=lambda node: node.core.term, default=None)

    def elect(self, within_s: float = 30.0) -> Node:
        """Wait for a leader that has committed an entry of its term."""

        def ready() -> Node | None:
            leader = self.leader
            if leader is None or leader.core.log.term_at(leader.core.commit_index) != leader.core.term:
                return None
            return leader

        node = self.run_until(ready, within_s)
        assert isinstance(node, Node)
        return node

    def elect_other(self, deposed: Node) -> Node:
        """Wait for a leader of a later term than that of ``deposed``."""
        term = deposed.core.term

        def found() -> Node | None:
            leader = self.leader
            return leader if leader is not None and leader.core.term > term else None

        node = self.run_until(found)
        assert isinstance(node, Node)
        return node

    def read(self, node: Node) -> int:
        """Ask ``node`` to confirm its leadership; ``answered`` checks what it says. The token."""
        token = next(self._tokens)
        self.reads[token] = len(self.safety.committed)
        node.feed(events.ConfirmLeadership(token))
        return token

    def answered(self, node: Node, effect: Any) -> None:
        """A read must cover everything that was committed before it was asked for (6.4)."""
        if isinstance(effect, events.LeadershipConfirmed):
            assert effect.index >= self.reads.pop(effect.token), "a read would be stale"
        elif isinstance(effect, events.LeadershipRefused):
            del self.reads[effect.token]
        elif isinstance(effect, events.ConfigurationChanged):
            uncommitted = [
                entry
                for entry in node.entries(len(self.safety.committed) + 1, node.core.last_log_index)
                if entry.kind == CONFIGURATION
            ]
            assert len(uncommitted) <= 1, "two uncommitted configurations"

    def durable_tail(self, server_id: str, entry: Entry) -> list[Entry]:
        """What the disk of ``server_id`` holds at the index of ``entry``."""
        return self.nodes[server_id].disk.durable[entry.index - 1 : entry.index]

    def agreed(self, *server_ids: str) -> bool:
        """Whether these servers (all that live, if none are named) applied the same, and all of it."""
        nodes = [self.nodes[i] for i in server_ids] or [n for n in self.nodes.values() if n.alive]
        last = max(node.core.last_log_index for node in nodes)
        return all(node.applied == last for node in nodes)
