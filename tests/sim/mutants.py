"""Bugs made by hand, one at a time, that the simulation has to find; and the seed with which it does.

Each is something that somebody could have written. When the simulation has changed so much that a seed
means something else, the tests go on with others, which takes longer; ``python -m tests.sim.mutants`` looks
for new ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import process_time
from typing import Any
from unittest.mock import patch

from twisted.python.failure import Failure

from pyconsul.agent import sessions
from pyconsul.agent.batching import Batches
from pyconsul.agent.replica import Replica
from pyconsul.agent.sessions import SessionTimers
from pyconsul.errors import NotSent, StorageDamaged
from pyconsul.raft.events import LeadershipConfirmed
from pyconsul.raft.leader import Leader
from pyconsul.raft.membership import Membership
from pyconsul.raft.progress import Progress
from pyconsul.raft.state import RaftState
from pyconsul.state.fsm import FSM
from pyconsul.state.kv import KVTable
from pyconsul.state.watches import Watches
from pyconsul.testing.faults import FaultPlan
from pyconsul.testing.kernel import SimulationFailed
from pyconsul.testing.network import CALM
from pyconsul.testing.raft_world import RaftWorld
from pyconsul.testing.safety import SafetyViolation
from pyconsul.testing.workload import Load
from pyconsul.testing.world import PLAN_WITH_OPERATORS, World
from tests.sim import broken
from tests.sim.test_raft_world import FAR, HARSH

Change = Callable[[Any], Any]
"""Makes the wrong function, or property, of the right one."""

FOUND = (SafetyViolation, SimulationFailed, StorageDamaged)
SECONDS = 60.0
SEEDS_MAX = 100

BUSY = Load(clients=8, keys=4, think_s=0.1)
READING = Load(
    think_s=0.02, keys=3, weights=(3.0, 5.0, 0.0, 0.0, 0.0), modes=(1.0, 0.0, 0.0), timeouts_s=(1.0,)
)
OFTEN = FaultPlan(gap_s=2.0, length_s=2.0, weights=PLAN_WITH_OPERATORS.weights)
STALLS = FaultPlan(gap_s=4.0, length_s=6.0, weights=(("pause_leader", 1.0),))


def raft(seed: int, **bug: Any) -> RaftWorld:
    """Raft alone, among faults that never end."""
    return RaftWorld(seed, plan=HARSH, conditions=FAR if seed % 2 else CALM, **bug)


def servers(seed: int, **bug: Any) -> World:
    """Whole servers."""
    return World(seed, 3, plan=OFTEN, load=BUSY, **bug)


def stalling(seed: int, **bug: Any) -> World:
    """Whole servers whose leaders stand still, and clients that read."""
    return World(seed, 3, plan=STALLS, load=READING, watchers=0, lockers=0, **bug)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug.

    :ivar area: what it is a bug of. :ivar seed: with which it is found.
    :ivar finds: what the check that finds it says; any of these.
    :ivar world: where it is found.
    :ivar replaces: a class, the name of something in it, and what makes the wrong one of that.
    :ivar bug: arguments of the world, where the bug is a class of its own (``tests.sim.broken``).
    """

    name: str
    area: str
    seed: int
    finds: tuple[str, ...]
    world: Callable[..., World | RaftWorld] = raft
    replaces: tuple[Any, str, Change] | None = None
    bug: dict[str, Any] | None = None

    def run(self, seed: int) -> BaseException | None:
        """What is found with ``seed``."""
        if self.replaces is None:
            return self._run(seed)
        where, name, change = self.replaces
        with patch.object(where, name, change(getattr(where, name))):
            return self._run(seed)

    def _run(self, seed: int) -> BaseException | None:
        try:
            self.world(seed, **self.bug or {}).trouble(SECONDS)
        except FOUND as error:
            return error
        return None

    def find(self) -> tuple[int, BaseException] | None:
        """The first seed with which it is found, beginning with its own, and what is found."""
        for seed in (self.seed, *range(SEEDS_MAX)):
            error = self.run(seed)
            if error is not None and self.is_found_by(error):
                return seed, error
        return None

    def is_found_by(self, error: BaseException | None) -> bool:
        """Whether ``error`` is what its check says."""
        return error is not None and any(words in str(error) for words in self.finds)


# ---------------------------------------------------------------- what replaces what


def instead(function: Callable[..., Any]) -> Change:
    """Call ``function`` with the right one in front of its arguments."""
    return lambda right: lambda *arguments, **named: function(right, *arguments, **named)


def value(wrong: Any) -> Change:
    """Have this in its place."""
    return lambda right: wrong


def _reads_before_noop(right: Any, leader: Leader) -> None:
    barrier, leader.barrier = leader.barrier, 0
    right(leader)
    leader.barrier = barrier


def _reads_too_early(right: Any, replica: Replica, effect: LeadershipConfirmed) -> None:
    right(replica, LeadershipConfirmed(effect.token, 0))


def _all_count(right: Any, membership: Membership) -> None:
    right(membership)
    membership.voters = tuple(server.id for server in membership.latest.servers)
    membership.quorum = len(membership.voters) // 2 + 1


def _long_lease(right: Any) -> Any:
    return lambda leader: right(leader) + 3.0


def _repeats(right: Any, batches: Batches, failure: Any, passed: Any, address: str) -> Any:
    return right(batches, Failure(NotSent("it may have been")), passed, address)


def _forgets_some(right: Any, watches: Watches, keys: Any, watcher: Any) -> None:
    if getattr(watcher, "read", None) is None or watcher.read.index % 3:
        right(watches, keys, watcher)


def _differing(right: Any) -> Any:
    machines: list[FSM] = []

    def apply(fsm: FSM, index: int, data: bytes) -> Any:
        if fsm not in machines:
            machines.append(fsm)
        result = right(fsm, index, data)
        if machines.index(fsm) % 2 and index > 50:
            fsm.store.kv.delete(index, "k1")
        return result

    return apply


def _sets(right: Any, kv: KVTable, index: int, key: str, new: bytes | None, flags: int, seen: int) -> bool:
    return kv.set(index, key, new, flags)


def _deletes(right: Any, kv: KVTable, index: int, key: str, seen: int) -> bool:
    return kv.delete(index, key)


def _takes_lock(right: Any, kv: KVTable, index: int, key: str, *arguments: Any) -> Any:
    row = kv.get(key)[1]
    if row is not None and row.session:
        kv.unlock(index, key, row.value, row.flags, row.session)
    return right(kv, index, key, *arguments)


MUTANTS = (
    # ---- Raft
    Mutant("commits entries of earlier terms by count", "raft", 1, ("5.4.2", "have on disk"),
           bug={"make_core": broken.CommitsByCount}),
    Mutant("votes for anybody, however old its log", "raft", 0, ("leader completeness", "dropped entries"),
           bug={"make_core": broken.VotesForAnybody}),
    Mutant("votes for whoever asks", "raft", 1, ("voted in term", "election safety"),
           bug={"make_core": broken.VotesTwice}),
    Mutant("takes entries without what is before them", "raft", 28, ("log matching", "state machine safety"),
           bug={"make_core": broken.IgnoresPreviousTerm}),
    Mutant("speaks before its term is durable", "raft", 0, ("forgot its term", "voted in term"),
           bug={"make_core": broken.SpeaksBeforeSync}),
    Mutant("a leader counts its log before its disk has it", "raft", 0, ("have on disk",),
           bug={"make_core": broken.CommitsBeforeItsOwnDisk}),
    Mutant("a candidate gives its vote away, too", "raft", 1, ("voted in term", "election safety"),
           bug={"make_core": broken.ForgetsToVoteForItself}),
    Mutant("a batch is handed out twice", "raft", 0, ("applied entry",),
           bug={"make_core": broken.AppliesTwice}),
    Mutant("a reject is never believed", "raft", 0, ("equal replicas", "five writes", "a leader knows"),
           replaces=(Progress, "ignores_reject", value(lambda progress, index: True))),
    Mutant("all wait ten times as long", "raft", 0, ("no write in", "a first leader"), servers,
           replaces=(RaftState, "random_wait",
                     value(lambda state, timeout_s: state.now + 10.0 * timeout_s))),
    # ---- storage
    Mutant("the vote is not written down", "storage", 1, ("voted in term", "election safety"),
           bug={"make_storage": broken.storage(broken.VoteNotPersisted)}),
    Mutant("the term is not written down", "storage", 1, ("forgot its term", "voted in term"),
           bug={"make_storage": broken.storage(broken.TermNotPersisted)}),
    Mutant("entries are durable once written", "storage", 6,
           ("forgot its term", "have on disk", "leader completeness", "committed"),
           bug={"make_storage": broken.storage(broken.AnsweredBeforeSync)}),
    Mutant("a truncation is lost", "storage", 10, ("log matching", "state machine safety", "wrote"),
           bug={"make_storage": broken.storage(broken.TruncationLost)}),
    Mutant("the old log stays when a snapshot replaces it", "storage", 0,
           ("was expected", "log matching", "cannot be read", "wrote"),
           bug={"make_storage": broken.storage(broken.ResetLost)}),
    # ---- reads
    Mutant("a leader reads without asking whether it still leads", "reads", 3, ("not linearizable",),
           bug={"process": broken.ReadsWithoutAsking}),
    Mutant("a new leader reads before its first entry is committed", "reads", 1, ("not linearizable",),
           replaces=(Leader, "_serve_reads", instead(_reads_before_noop))),
    Mutant("the lease is too long", "reads", 0, ("not linearizable",), stalling,
           replaces=(Leader, "_reads_until", _long_lease)),
    Mutant("the lease is not looked at", "reads", 0, ("not linearizable",), stalling,
           replaces=(Replica, "holds_lease", value(True))),
    Mutant("a follower reads before it has applied what the leader has", "reads", 0, ("not linearizable",),
           servers, replaces=(Replica, "_confirmed", instead(_reads_too_early))),
    Mutant("a stale read goes back in time", "reads", 0, ("stale read",),
           bug={"process": broken.StaleFromACopy}),
    Mutant("some who wait are forgotten", "reads", 0, ("watchers that saw the end",), servers,
           replaces=(Watches, "register", instead(_forgets_some))),
    Mutant("a write whose outcome is unknown is tried again", "writes", 2, ("not linearizable",), servers,
           replaces=(Batches, "_not_answered", instead(_repeats))),
    # ---- snapshots
    Mutant("a snapshot is of another index than it says", "snapshots", 0, ("another state",),
           bug={"process": broken.SnapshotOfAnotherIndex}),
    Mutant("a snapshot has its name before it is durable", "snapshots", 0, ("damaged",),
           bug={"process": broken.SnapshotNotSynced}),
    Mutant("what was deleted survives a restored snapshot", "snapshots", 0, ("another state",),
           bug={"process": broken.RestoreMerges}),
    # ---- membership
    Mutant("two changes at once", "membership", 0, ("changes the configuration",),
           bug={"make_core": broken.TwoChangesAtOnce}),
    Mutant("those without a vote count", "membership", 0, ("have on disk", "election safety"),
           replaces=(Membership, "_use_latest", instead(_all_count))),
    # ---- the state machine
    Mutant("a write is applied twice after a restart", "fsm", 0, ("another state",),
           bug={"process": broken.AppliesAgainAfterRestart}),
    Mutant("the same log makes different states", "fsm", 0,
           ("another state", "different stores", "not linearizable", "another store"), servers,
           replaces=(FSM, "apply", _differing)),
    Mutant("cas does not compare", "fsm", 0, ("not linearizable",), servers,
           replaces=(KVTable, "cas", instead(_sets))),
    Mutant("delete-cas does not compare", "fsm", 0, ("not linearizable",), servers,
           replaces=(KVTable, "delete_cas", instead(_deletes))),
    # ---- sessions
    Mutant("a lock is given to who asks last", "sessions", 0, ("two have the lock",), servers,
           replaces=(KVTable, "lock", instead(_takes_lock))),
    Mutant("a session ends after a fifth of its TTL", "sessions", 0, ("two have the lock",), servers,
           replaces=(sessions, "TTLS_TO_WAIT", value(0.2))),
    Mutant("a new leader does not begin the timers anew", "sessions", 0, ("takes the lock",), servers,
           replaces=(SessionTimers, "start", value(lambda timers: setattr(timers, "_running", True)))),
)  # fmt: skip


def look_for_seeds() -> None:
    """Print the first seed with which each is found."""
    for mutant in MUTANTS:
        if sys.argv[1:] and not any(word in mutant.name for word in sys.argv[1:]):
            continue
        for seed in range(SEEDS_MAX):
            begun = process_time()
            error = mutant.run(seed)
            if mutant.is_found_by(error):
                print(f"{mutant.name}: {seed} ({process_time() - begun:.1f} s)", flush=True)
                break
            if error is not None:
                print(f"{mutant.name}: {seed} finds something else: {str(error)[:150]}", flush=True)
        else:
            print(f"{mutant.name}: not found", flush=True)


if __name__ == "__main__":
    look_for_seeds()
