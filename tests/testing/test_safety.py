from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.raft import events
from pyconsul.raft.configuration import NONVOTER, Configuration, Server
from pyconsul.raft.events import Role
from pyconsul.raft.messages import CONFIGURATION as CONFIGURATION_ENTRY
from pyconsul.raft.messages import Entry, Heartbeat, RequestVote, RequestVoteResponse
from pyconsul.raft.snapshot import SnapshotInfo
from pyconsul.storage.memory import Nothing
from pyconsul.testing.safety import STATES_KEPT, SafetyChecker, SafetyViolation

CONFIGURATION = Configuration([Server(name, name) for name in "abc"] + [Server("n", "n", NONVOTER)])
TICK = events.Tick()


@dataclass
class FakeCore:
    """A core that does what a test says."""

    role: Role = Role.FOLLOWER
    term: int = 0
    commit_index: int = 0
    last_log_index: int = 0
    configuration: Configuration = field(default_factory=lambda: CONFIGURATION)


class Group:
    """Servers a, b, c and the nonvoter n, whose acts the checker sees."""

    def __init__(self) -> None:
        self.checker = SafetyChecker()
        self.cores = {name: FakeCore() for name in "abcn"}
        self.seq = 0
        for name, core in self.cores.items():
            self.checker.started(name, core, Nothing())

    def act(self, name: str, *effects: object, event: object = TICK) -> None:
        self.checker.observe(name, self.cores[name], event, effects)

    def elect(self, name: str, term: int) -> None:
        core = self.cores[name]
        core.role, core.term = Role.CANDIDATE, term
        self.act(name)
        core.role = Role.LEADER
        self.act(name)

    def follow(self, name: str, term: int) -> None:
        core = self.cores[name]
        core.role, core.term = Role.FOLLOWER, term
        self.act(name)

    def write(self, names: str, term: int, index: int, data: bytes = b"x", durable: bool = True) -> None:
        for name in names:
            self.seq += 1
            self.cores[name].last_log_index = index
            self.act(name, events.PersistEntries(self.seq, [Entry(term, index, 0, data)]))
            if durable:
                self.act(name, event=events.Persisted(self.seq))

    def truncate(self, name: str, first: int) -> None:
        self.seq += 1
        self.cores[name].last_log_index = first - 1
        self.act(name, events.PersistTruncation(self.seq, first))

    def commit(self, name: str, index: int) -> None:
        self.cores[name].commit_index = index
        self.act(name)

    def change(self, names: str, term: int, index: int) -> None:
        for name in names:
            self.seq += 1
            self.cores[name].last_log_index = index
            entry = Entry(term, index, CONFIGURATION_ENTRY, CONFIGURATION.encode())
            self.act(name, events.PersistEntries(self.seq, [entry]))
            self.act(name, event=events.Persisted(self.seq))

    def apply(self, name: str, term: int, index: int, data: bytes = b"x") -> None:
        self.act(name, events.Apply([Entry(term, index, 0, data)]))

    def send(self, name: str, to: str, message: object) -> None:
        self.act(name, events.Send(to, to, message))  # type: ignore[arg-type]

    def restart(self, name: str, term: int, terms: Sequence[int]) -> None:
        core = self.cores[name] = FakeCore(term=term, last_log_index=len(terms))
        self.checker.started(name, core, Nothing(term=term, last_index=len(terms), terms=terms))


class SafetyTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.group = Group()

    def violates(self, text: str, act: str, *arguments: object) -> None:
        error = self.assertRaises(SafetyViolation, getattr(self.group, act), *arguments)
        self.assertIn(text, str(error))

    def led(self, term: int = 1, entries: int = 2) -> None:
        """``a`` leads, and all have ``entries`` entries, committed on the leader."""
        self.group.elect("a", term)
        for name in "bcn":
            self.group.follow(name, term)
        for index in range(1, entries + 1):
            self.group.write("abcn", term, index)
        self.group.commit("a", entries)


class ElectionTests(SafetyTestCase):
    def test_one_leader_each_term(self) -> None:
        """Other terms may have other leaders; the same server may show up again in its own."""
        self.group.elect("a", 1)
        self.group.elect("b", 2)
        self.group.act("a")
        self.assertEqual(self.group.checker.elections, 2)

    def test_election_safety(self) -> None:
        """Two leaders in one term."""
        self.group.elect("a", 1)
        self.violates("election safety", "elect", "b", 1)

    def test_two_votes(self) -> None:
        """A vote for two candidates in a term, even with a restart between; a pre-vote is none."""
        self.group.cores["a"].term = 1
        for to in "bcb":
            self.group.send("a", to, RequestVoteResponse(1, True, pre_vote=True))
        self.group.send("a", "b", RequestVoteResponse(1, True))
        self.group.send("a", "b", RequestVoteResponse(1, True))
        self.group.send("a", "c", RequestVoteResponse(1, False))
        self.group.restart("a", 1, [])
        self.violates("voted in term 1 for b and for c", "send", "a", "c", RequestVoteResponse(1, True))

    def test_vote_for_oneself(self) -> None:
        """Asking for votes is a vote; asking whether there would be some is not."""
        self.group.cores["a"].term = 1
        self.group.send("a", "b", RequestVote(1, 0, 0, pre_vote=True))
        self.group.send("a", "c", RequestVote(1, 0, 0))
        self.violates("voted in term 1 for a and for b", "send", "a", "b", RequestVoteResponse(1, True))

    def test_term_goes_back(self) -> None:
        """Within a run."""
        self.group.follow("a", 2)
        self.violates("went back from term 2 to 1", "follow", "a", 1)

    def test_term_is_forgotten(self) -> None:
        """Over a restart, if it spoke in that term; a term it kept to itself may be lost."""
        self.group.follow("a", 2)
        self.group.restart("a", 1, [])
        self.group.follow("a", 2)
        self.group.send("a", "b", Heartbeat(2, 0, 0))
        self.group.restart("a", 2, [])
        self.violates("forgot its term: 1, but it spoke in term 2", "restart", "a", 1, [])


class LogTests(SafetyTestCase):
    def test_log_matching(self) -> None:
        """Entries of the same index and term are the same."""
        self.group.follow("a", 1)
        self.group.write("a", 1, 1, b"one")
        self.violates("log matching", "write", "b", 1, 1, b"two")

    def test_log_matching_of_what_is_before(self) -> None:
        """And so is everything before them."""
        self.group.write("a", 1, 1)
        self.group.write("a", 3, 2)
        self.group.write("b", 2, 1)
        self.violates("log matching", "write", "b", 3, 2)

    def test_gap(self) -> None:
        """Entries follow each other, in index and term."""
        self.violates("wrote entry 2 after entry 0", "write", "a", 1, 2)

    def test_terms_in_a_log(self) -> None:
        """Terms never fall within a log."""
        self.group.write("a", 2, 1)
        self.violates("wrote 2 of term 1 after one of term 2", "write", "a", 1, 2)

    def test_append_only(self) -> None:
        """A leader drops nothing; a follower may, as may a leader that becomes one over it."""
        self.group.elect("a", 1)
        self.group.write("a", 1, 1)
        self.violates("append-only", "truncate", "a", 1)

    def test_two_changes_at_once(self) -> None:
        """A leader waits until the last change of the configuration is committed, or was dropped."""
        self.group.elect("a", 1)
        self.group.change("abc", 1, 1)
        self.group.commit("a", 1)
        self.group.change("abc", 1, 2)
        self.violates("changes the configuration in 3, but that of 2 is not", "change", "a", 1, 3)
        self.setUp()
        self.group.change("a", 1, 1)
        self.group.truncate("a", 1)
        self.group.elect("a", 2)
        self.group.change("a", 2, 1)

    def test_follower_drops(self) -> None:
        """What was not committed may go."""
        self.group.elect("a", 1)
        self.group.write("ab", 1, 1)
        self.group.truncate("b", 1)
        self.group.write("b", 2, 1, b"other")
        self.group.cores["a"].role, self.group.cores["a"].term = Role.FOLLOWER, 2
        self.group.truncate("a", 1)

    def test_committed_is_dropped(self) -> None:
        """What was committed may not."""
        self.led()
        self.group.commit("b", 2)
        self.violates("of which 2 are committed", "truncate", "b", 2)

    def test_says_other_than_it_writes(self) -> None:
        """The core's log and what it has written go together."""
        self.group.cores["a"].last_log_index = 3
        self.violates("says its log ends at 3, but wrote up to 0", "act", "a")


class CommitTests(SafetyTestCase):
    def test_commit(self) -> None:
        """A majority is enough, and others learn of it."""
        self.group.elect("a", 1)
        self.group.write("ab", 1, 1)
        self.group.commit("a", 1)
        self.group.commit("b", 1)
        self.assertEqual(self.group.checker.committed.tolist(), [1])

    def test_minority(self) -> None:
        """Not on a majority's disks; a nonvoter does not count."""
        self.group.elect("a", 1)
        self.group.write("an", 1, 1)
        self.violates("which only ['a'] of ['a', 'b', 'c'] have on disk", "commit", "a", 1)

    def test_not_durable(self) -> None:
        """Received is not enough."""
        self.group.elect("a", 1)
        self.group.write("a", 1, 1)
        self.group.write("b", 1, 1, durable=False)
        self.violates("have on disk", "commit", "a", 1)

    def test_truncation_ends_durability(self) -> None:
        """What was dropped is not held."""
        self.group.write("ab", 1, 1)
        self.group.truncate("b", 1)
        self.group.elect("a", 1)
        self.violates("have on disk", "commit", "a", 1)

    def test_earlier_term_by_count(self) -> None:
        """Figure 8: an entry of an earlier term commits only with one of the leader's own."""
        self.group.write("abc", 1, 1)
        self.group.elect("a", 2)
        self.violates("5.4.2", "commit", "a", 1)

    def test_goes_back(self) -> None:
        """Commit indexes only grow within a run; a restart may begin lower."""
        self.led()
        self.group.commit("b", 2)
        self.group.restart("b", 1, [1, 1])
        self.group.commit("b", 1)
        self.violates("went back from commit index 2 to 1", "commit", "a", 1)

    def test_beyond_the_log(self) -> None:
        """Nothing is committed that is not there."""
        self.group.elect("a", 1)
        self.violates("but its log ends at 0", "commit", "a", 1)

    def test_wrong_entry(self) -> None:
        """A follower takes its own entry for the committed one."""
        self.group.write("c", 1, 1)
        self.group.elect("a", 2)
        self.group.write("ab", 2, 1)
        self.group.commit("a", 1)
        self.violates("took entry 1 of term 1 for committed, but that of term 2 was", "commit", "c", 1)

    def test_leader_completeness(self) -> None:
        """A new leader lacks what was committed; one of an older term may."""
        self.group.elect("a", 3)
        self.group.write("ab", 3, 1)
        self.group.commit("a", 1)
        self.group.elect("c", 2)
        self.violates("leader completeness", "elect", "c", 4)

    def test_leader_completeness_later(self) -> None:
        """A leader of an older term commits what a newer one lacks."""
        self.group.elect("a", 1)
        self.group.elect("c", 2)
        self.group.write("ab", 1, 1)
        self.violates("c was elected in term 2 with a log up to 0", "commit", "a", 1)


class ApplyTests(SafetyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.led()

    def test_apply(self) -> None:
        """In order, on all, and again after a restart."""
        for index in (1, 2):
            self.group.apply("a", 1, index)
        self.group.commit("b", 1)
        self.group.apply("b", 1, 1)
        self.group.restart("a", 1, [1, 1])
        self.group.commit("a", 2)
        self.group.apply("a", 1, 1)

    def test_state_machine_safety(self) -> None:
        """Another entry at the same index."""
        self.group.apply("a", 1, 1)
        self.group.commit("b", 1)
        self.violates("state machine safety", "apply", "b", 1, 1, b"other")

    def test_order(self) -> None:
        """No entry twice, none left out."""
        self.group.apply("a", 1, 1)
        self.violates("applied entry 1 after entry 1", "apply", "a", 1, 1)

    def test_nobody_before(self) -> None:
        """No server can apply what follows entries that nobody has applied."""
        core = self.group.cores["b"] = FakeCore(term=1, commit_index=1, last_log_index=2)
        found = Nothing(1, "", 2, 2, snapshot_index=1, snapshot_term=1, terms=[1])
        self.group.checker.started("b", core, found, snapshot(1))
        self.group.commit("b", 2)
        self.violates("nobody applied those before", "apply", "b", 1, 2)

    def test_beyond_commit(self) -> None:
        """Nothing that is not committed as far as the server knows."""
        self.violates("beyond its commit index 0", "apply", "b", 1, 1)


def snapshot(index: int, term: int = 1) -> SnapshotInfo:
    return SnapshotInfo(index, term, Configuration(), 1, 10, 1)


class SnapshotTests(SafetyTestCase):
    def start(self, index: int, commit: int = 2, taken: SnapshotInfo | None = None) -> None:
        """Start ``b`` with a log that begins after ``index`` and has one entry."""
        core = self.group.cores["b"] = FakeCore(term=1, commit_index=commit, last_log_index=index + 1)
        found = Nothing(1, "", index + 1, index + 1, snapshot_index=index, snapshot_term=1, terms=[1])
        self.group.checker.started("b", core, found, taken)

    def test_started_from_a_snapshot(self) -> None:
        """The log continues after it, or reaches it, and so does applying."""
        self.led(entries=3)
        for index in (1, 2, 3):
            self.group.apply("a", 1, index)
        for first in (1, 2):
            self.start(first, taken=snapshot(2))
        self.group.commit("b", 3)
        self.group.apply("b", 1, 3)
        self.group.write("b", 1, 4)

    def test_started_without_its_snapshot(self) -> None:
        """A gap, a snapshot that does not fit, or a core that does not know where its state is."""
        self.led(entries=3)
        for index, commit, taken in (
            (2, 0, None),
            (1, 2, snapshot(2, 9)),
            (2, 1, snapshot(1)),
            (1, 1, snapshot(2)),
        ):
            self.assertRaises(SafetyViolation, self.start, index, commit, taken)

    def restore(self, name: str, info: SnapshotInfo) -> None:
        core = self.group.cores[name]
        core.commit_index = core.last_log_index = info.index
        self.group.act(name, events.RestoreSnapshot(1, info))

    def test_restored(self) -> None:
        """A snapshot of committed entries replaces a log."""
        self.led(entries=3)
        self.restore("b", snapshot(3))
        self.group.write("b", 1, 4)
        self.group.commit("a", 3)

    def test_restored_from_nowhere(self) -> None:
        """A snapshot of what was not committed."""
        self.led()
        for info in (snapshot(3), snapshot(2, 2)):
            self.assertRaises(SafetyViolation, self.restore, "b", info)

    def test_restored_what_is_older(self) -> None:
        """Nothing that was applied is undone."""
        self.led(entries=3)
        self.group.commit("b", 3)
        self.assertRaises(SafetyViolation, self.restore, "b", snapshot(2))

    def test_states(self) -> None:
        """Servers that applied as much have the same state."""
        checker = self.group.checker
        for index in range(1, STATES_KEPT + 10):
            checker.state_is("a", index, index)
        checker.state_is("b", index, index)
        self.assertRaises(SafetyViolation, checker.state_is, "b", index, 0)
        self.assertEqual(len(checker._states), STATES_KEPT)


class LongRunTests(SafetyTestCase):
    def test_forgets(self) -> None:
        """What cannot matter any more is forgotten."""
        self.patch(__import__("pyconsul.testing.safety", fromlist=["x"]), "VARIANTS_KEPT", 10)
        self.group.elect("a", 1)
        for index in range(1, 101):
            self.group.write("ab", 1, index)
            self.group.commit("a", index)
        self.assertLess(len(self.group.checker._variants), 15)
