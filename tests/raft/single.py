"""One core whose clock, disk and peers are played by a test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, TypeVar

from pyconsul.raft import events
from pyconsul.raft.configuration import NONVOTER, VOTER, Configuration, Server
from pyconsul.raft.core import RaftCore
from pyconsul.raft.events import Role
from pyconsul.raft.messages import (
    COMMAND,
    CONFIGURATION,
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    Heartbeat,
    HeartbeatResponse,
    Message,
    RequestVoteResponse,
)
from pyconsul.raft.snapshot import SnapshotInfo
from pyconsul.raft.timing import Timing
from tests.raft.harness import PERSISTS, Disk

M = TypeVar("M")


def configuration(voters: str, nonvoters: str = "") -> Configuration:
    """Servers named by single letters, at ``x:8300``."""
    return Configuration(
        [Server(letter, f"{letter}:8300", VOTER) for letter in voters]
        + [Server(letter, f"{letter}:8300", NONVOTER) for letter in nonvoters]
    )


def snapshot(index: int, term: int = 1, size: int = 10, voters: str = "abc", at: int = 1) -> SnapshotInfo:
    """A snapshot up to ``index``; its configuration is of the entry ``at``."""
    return SnapshotInfo(index, term, configuration(voters), at, size, 77)


def command(term: int, index: int, data: bytes = b"") -> Entry:
    """A command entry."""
    return Entry(term, index, COMMAND, data or b"%d.%d" % (term, index))


class Single:
    """The server ``a``; its log starts with a configuration at index 1 of term 1.

    :param terms: the terms of the entries after that.
    :ivar auto_sync: the disk is done as soon as it is asked.
    """

    def __init__(
        self,
        voters: str = "abc",
        nonvoters: str = "",
        terms: Sequence[int] = (),
        term: int = 1,
        voted_for: str = "",
        timing: Timing | None = None,
        empty: bool = False,
        auto_sync: bool = True,
    ) -> None:
        self.disk = Disk()
        self.disk.term, self.disk.voted_for = term, voted_for
        if not empty:
            entries = [Entry(1, 1, CONFIGURATION, configuration(voters, nonvoters).encode())]
            entries += [command(term, index) for index, term in enumerate(terms, 2)]
            self.disk.entries, self.disk.durable = entries, entries.copy()
        self.now = 100.0
        self.auto_sync = auto_sync
        self.core = RaftCore(timing or Timing(), Random(7), "a", self.disk, self.disk.read)
        self.first = self.feed(events.Tick())
        self.now += self.core._s.timing.heartbeat_timeout_s  # a server that has just started does not vote

    # ------------------------------------------------------------ events

    def feed(self, event: events.Event, after: float = 0.0) -> list[Any]:
        """Handle ``event`` and, with ``auto_sync``, what the disk then reports; all effects."""
        self.now += after
        effects: list[Any] = list(self.core.handle(self.now, event))
        self.core.invariants()
        for effect in effects:
            if isinstance(effect, PERSISTS):
                self.disk.write(effect)
        if self.auto_sync and self.disk.pending:
            effects += self.sync()
        return effects

    def sync(self, seq: int | None = None) -> list[Any]:
        """The disk has done everything, or everything up to ``seq``."""
        seq = self.disk.pending[-1].seq if seq is None else seq
        self.disk.sync(seq)
        return self.feed(events.Persisted(seq))

    def receive(self, sender: str, message: Message, after: float = 0.0) -> list[Any]:
        """A message comes in."""
        return self.feed(events.MessageReceived(sender, message), after)

    @property
    def due(self) -> float:
        """The next deadline."""
        due = self.core.next_deadline()
        assert due is not None
        return due

    def tick(self) -> list[Any]:
        """Wait for the next deadline."""
        self.now = max(self.now, self.due)
        return self.feed(events.Tick())

    def ticks(self, within_s: float = 30.0) -> Iterator[list[Any]]:
        """The effects of every deadline; the test has to find what it waits for in time."""
        end = self.now + within_s
        while self.now <= end:
            yield self.tick()
        raise AssertionError(f"nothing happened within {within_s} s")

    # ------------------------------------------------------------ shortcuts

    def time_out(self) -> list[Any]:
        """Hear nothing until the election timeout has passed."""
        return self.feed(events.Tick(), 2 * self.core._s.timing.election_timeout_s)

    def campaign(self) -> list[Any]:
        """Time out, and get every pre-vote; the effects of what follows."""
        effects = self.time_out()
        while self.core._election is not None and self.core._election.pre_vote:
            for voter in self.core._s.membership.voters:
                if voter != "a":
                    effects += self.receive(voter, RequestVoteResponse(self.core.term + 1, True, True))
        return effects

    def lead(self) -> list[Any]:
        """Be elected by everybody."""
        effects = self.campaign()
        for voter in self.core._s.membership.voters:
            if voter != "a" and self.core.role is not Role.LEADER:
                effects += self.receive(voter, RequestVoteResponse(self.core.term, True))
        assert self.core.role is Role.LEADER
        return effects

    def lead_and_commit(self) -> None:
        """Be elected, and have everything acknowledged by all."""
        self.lead()
        for follower in self.core.progress:
            self.ack(follower)

    def ack(self, follower: str, index: int | None = None) -> list[Any]:
        """``follower`` acknowledges our log up to ``index``, or all of it."""
        index = self.core.last_log_index if index is None else index
        return self.receive(follower, AppendEntriesResponse(self.core.term, True, index, 0))

    def reject(self, follower: str, prev: int, hint: int, hint_term: int) -> list[Any]:
        """``follower`` rejects what followed ``prev``."""
        response = AppendEntriesResponse(self.core.term, False, 0, prev, hint, hint_term)
        return self.receive(follower, response)

    def beat(self, follower: str, context: int, match: int = 0, received: int = 0) -> list[Any]:
        """``follower`` answers a heartbeat."""
        return self.receive(follower, HeartbeatResponse(self.core.term, context, match, received))

    def append(self, leader: str, term: int, prev: int, prev_term: int, *terms: int, commit: int = 0) -> Any:
        """A leader sends entries of these terms."""
        entries = [command(t, index) for index, t in enumerate(terms, prev + 1)]
        return self.receive(leader, AppendEntries(term, prev, prev_term, commit, entries, f"{leader}:8300"))

    def compact(self, up_to: int) -> None:
        """Take a snapshot at ``up_to``, and drop the log up to there."""
        term = self.core.log.term_at(up_to)
        assert term is not None
        self.feed(events.SnapshotTaken(snapshot(up_to, term)))
        self.core.compact(up_to)

    def heartbeat(self, leader: str = "b", term: int = 1, commit: int = 0, context: int = 1) -> list[Any]:
        """A leader's heartbeat."""
        return self.receive(leader, Heartbeat(term, commit, context, f"{leader}:8300"))

    @property
    def terms(self) -> list[int]:
        """The terms in the log."""
        return [self.core.log.term_at(index) or 0 for index in range(1, self.core.last_log_index + 1)]


def sent(effects: list[Any], kind: type[M]) -> list[tuple[str, M]]:
    """Receivers and messages of one kind."""
    return [
        (effect.to, effect.message)
        for effect in effects
        if isinstance(effect, events.Send) and isinstance(effect.message, kind)
    ]


def only(effects: list[Any], kind: type[M]) -> M:
    """The one message or effect of a kind."""
    found = [message for _, message in sent(effects, kind)]
    found += [effect for effect in effects if isinstance(effect, kind)]
    assert len(found) == 1, f"{len(found)} of {kind.__name__} in {effects}"
    return found[0]


def of(effects: list[Any], kind: type[M]) -> list[M]:
    """All effects of a kind."""
    return [effect for effect in effects if isinstance(effect, kind)]
