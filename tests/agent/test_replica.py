"""Proposals, confirmed reads, and what becomes of those who wait when things end."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent import confirming
from pyconsul.agent import replica as module
from pyconsul.agent.environment import Environment
from pyconsul.agent.raft_stats import stats
from pyconsul.agent.replica import COMMANDS_PER_PROPOSAL_MAX, Replica
from pyconsul.errors import BadRequest, LeadershipLost, NoLeader, PyconsulError, Refused, StorageDamaged
from pyconsul.raft.configuration import Configuration, Server
from pyconsul.raft.events import ChangeConfiguration, ChangeKind, Role, RoleChanged
from pyconsul.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    Heartbeat,
    HeartbeatResponse,
    ReadIndex,
    ReadIndexResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from pyconsul.raft.timing import Timing
from pyconsul.state import commands
from pyconsul.state.fsm import FSM
from pyconsul.state.store import Store
from tests.agent.fixture import NoGossip, NotingRaft, NotingRpc, SlowDisk, noted, put


class Machine(FSM):
    """The real one; notes what it was given, and may have a bug."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.applied: list[int] = []
        self.bug: Exception | None = None

    def apply(self, index: int, data: bytes) -> Any:
        self.applied.append(index)
        if self.bug is not None:
            raise self.bug
        return super().apply(index, data)


class Base(SynchronousTestCase):
    servers = 1

    def setUp(self) -> None:
        self.clock = Clock()
        self.transport = NotingRaft()
        self.disk = SlowDisk()
        self.machine = Machine(Store())
        self.roles: list[Role] = []
        self.ready: list[int] = []
        self.awake: list[float] = []
        environment = Environment(
            clock=self.clock,
            rng=Random(1),
            wall_time=lambda: 0.0,
            rpc_transport=NotingRpc(),
            gossip_transport=NoGossip(),
            raft_transport=self.transport,
            stay_awake=self.awake.append,
        )
        self.replica = Replica(environment, "a", Timing(), self.disk, self.machine)
        self.replica.role_changed = lambda change: self.roles.append(change.role)
        self.replica.became_ready = lambda: self.ready.append(self.replica.applied_index)

    def start(self) -> None:
        self.replica.start()
        servers = [Server(name, f"10.0.0.{n}:8300") for n, name in enumerate("abc"[: self.servers])]
        self.replica.bootstrap(Configuration(servers))
        self.turn()

    def turn(self) -> None:
        """One turn of the reactor."""
        self.clock.advance(0)

    def lead(self) -> None:
        """Become the leader, and ready."""
        self.start()
        self.clock.pump([0.1] * 25)
        self.assertTrue(self.replica.ready)

    def depose(self) -> None:
        """Another server leads in a later term."""
        self.transport.received("b", Heartbeat(self.replica.core.term + 1, 0, 1, "10.0.0.1:8300"))

    def propose(self, key: str = "k") -> Deferred[Any]:
        return self.replica.propose(commands.encode_kv(put(key)))

    def confirm(self, leased: bool = False) -> Deferred[None]:
        """Fires when all is applied here that was acknowledged before."""
        confirmed: Deferred[None] = Deferred()
        try:
            self.replica.confirm(confirmed, leased)
        except PyconsulError as error:
            confirmed.errback(error)
        return confirmed

    def applied(self, index: int) -> Deferred[None]:
        """Fires when ``index`` is applied, as it does for who was confirmed."""
        waiting: Deferred[None] = Deferred()
        self.replica._until_applied.wait(index, [waiting])
        return waiting

    def propose_entries(self, count: int) -> list[list[Any]]:
        return [noted(self.propose(f"k{n}")) for n in range(count)]

    def appended(self) -> list[int]:
        """How many entries each write to the disk had."""
        sizes: list[int] = []
        append = self.disk.append

        def count(seq: int, entries: Any) -> None:
            sizes.append(len(entries))
            append(seq, entries)

        self.disk.append = count  # type: ignore[method-assign]
        return sizes


class ProposeTests(Base):
    def test_not_leading(self) -> None:
        """Only a leader takes proposals; nothing was appended then."""
        self.failureResultOf(self.propose(), NoLeader)
        self.failureResultOf(self.confirm(), NoLeader)
        self.failureResultOf(self.replica.transfer(), Refused)
        change = ChangeConfiguration(ChangeKind.ADD_VOTER, "b", "10.0.0.1:8300")
        self.failureResultOf(self.replica.change(change), NoLeader)

    def test_ready(self) -> None:
        """A leader is ready once it has applied its no-op; only then it says so."""
        self.lead()
        self.assertEqual(self.roles, [Role.CANDIDATE, Role.LEADER])
        self.assertEqual(self.ready, [2])  # configuration, no-op
        self.assertTrue(self.replica.is_leader)
        self.assertEqual(self.replica.leader_id, "a")
        self.assertEqual(self.replica.leader_address, "10.0.0.0:8300")

    def test_one_batch_a_turn(self) -> None:
        """What is proposed in one turn makes one write; answers come in order, each its own."""
        self.lead()
        sizes = self.appended()
        order: list[int] = []
        for number in range(3):
            answers = self.propose(f"k{number}")
            answers.addCallback(lambda _, number: order.append(number), number)
        self.assertEqual(sizes, [])
        self.turn()
        self.assertEqual((sizes, order), ([3], [0, 1, 2]))
        self.assertEqual(self.machine.applied, [3, 4, 5])

    def test_answered_together(self) -> None:
        """Who was answered together goes on together, or as many as come while somebody comes every turn."""
        self.lead()
        sizes = self.appended()

        def again(turns: int) -> None:
            if turns:
                self.clock.callLater(0, again, turns - 1)
            else:
                self.propose("again")

        for come in ((0, 1, 2), (0, 1, 4)):
            for turns in come:
                self.propose(f"k{turns}").addCallback(lambda _, turns: again(turns), turns)
            self.turn()
        self.assertEqual(sizes, [3, 3, 3, 2, 1])

        """A batch has a bound."""
        self.lead()
        sizes = self.appended()
        answers = self.propose_entries(COMMANDS_PER_PROPOSAL_MAX + 2)
        self.turn()
        self.assertEqual(sizes, [COMMANDS_PER_PROPOSAL_MAX, 2])
        self.assertEqual(answers, [[True]] * (COMMANDS_PER_PROPOSAL_MAX + 2))

    def test_results_that_are_errors(self) -> None:
        """A refusal by the tables is a failure for whoever proposed, and no other."""
        self.lead()
        refused = self.replica.propose(b"\xff")
        done = self.propose()
        self.turn()
        self.failureResultOf(refused, Refused)
        self.assertEqual(self.successResultOf(done), True)

    def test_bound(self) -> None:
        """Only so many may wait for the disk."""
        self.patch(module, "PROPOSALS_WAITING_MAX", 3)
        self.lead()
        self.disk.slow = True
        waiting = [self.propose() for _ in range(2)]
        self.turn()
        waiting.append(self.propose())
        self.failureResultOf(self.propose(), Refused)
        self.turn()
        self.disk.sync()
        for done in waiting:
            self.assertTrue(self.successResultOf(done))
        self.turn()
        self.assertNoResult(self.propose())

    def test_cancelled(self) -> None:
        """Who does not wait any more changes nothing for the others."""
        self.lead()
        gone, done = self.propose("gone"), self.propose("done")
        gone.addErrback(lambda failure: None)
        gone.cancel()
        self.turn()
        self.assertTrue(self.successResultOf(done))
        self.assertEqual(self.machine.applied, [3, 4])

    def test_deposed_before_the_batch_is_made(self) -> None:
        """Then nothing was appended, and somebody else can be asked; who only reads, that is done for."""
        self.lead()
        write, read = self.propose(), self.confirm()
        self.depose()
        self.turn()
        self.failureResultOf(write, NoLeader)
        self.assertNoResult(read)
        to, asked = self.transport.sent[-1]
        assert isinstance(asked, ReadIndex)
        self.assertEqual(to, "b")
        self.transport.received("b", ReadIndexResponse(asked.term, asked.context, self.replica.applied_index))
        self.successResultOf(read)

    def test_deposed_while_waiting(self) -> None:
        """What was appended may yet be committed: the outcome is unknown."""
        self.lead()
        self.disk.slow = True
        write = self.propose()
        self.turn()
        self.depose()
        self.failureResultOf(write, LeadershipLost)
        self.assertFalse(self.replica.ready)
        self.assertEqual(self.replica.leader_id, "b")
        self.failureResultOf(self.propose(), NoLeader)
        self.assertEqual(self.roles[-1], Role.FOLLOWER)

    def test_the_disk_is_slow(self) -> None:
        """Nothing is answered before it is durable."""
        self.lead()
        self.disk.slow = True
        write = self.propose()
        self.turn()
        self.assertNoResult(write)
        self.disk.sync()
        self.assertTrue(self.successResultOf(write))


class ReadTests(Base):
    servers = 3

    def lead(self) -> None:
        self.start()
        core = self.replica.core
        for _ in range(40):
            self.clock.advance(0.1)
            self.answer()
            if self.replica.ready:
                break
        self.assertIs(core.role, Role.LEADER)
        self.assertTrue(self.replica.ready)
        self.transport.sent.clear()

    def answer(self) -> list[Any]:
        """Have the server ``b`` answer what it was sent; gives that."""
        sent, self.transport.sent = self.transport.sent, []
        mine = [message for to, message in sent if to == "b"]
        for message in mine:
            if isinstance(message, RequestVote):
                self.receive(RequestVoteResponse(message.term, True, message.pre_vote))
            elif isinstance(message, AppendEntries):
                match = message.prev_log_index + len(message.entries)
                self.receive(AppendEntriesResponse(message.term, True, match, message.prev_log_index))
            elif isinstance(message, Heartbeat):
                last = self.replica.core.last_log_index
                self.receive(HeartbeatResponse(message.term, message.context, last, last))
        return mine

    def one_turn(self) -> None:
        """One turn, as a reactor has it: what is asked for in it waits for the next."""
        calls = [call for call in self.clock.calls if call.getTime() <= self.clock.seconds()]
        for call in calls:
            self.clock.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)

    def receive(self, message: Any) -> None:
        self.transport.received("b", message)

    def test_confirm(self) -> None:
        """All reads of one turn share one round of heartbeats."""
        self.lead()
        reads = [self.confirm() for _ in range(3)]
        self.assertEqual(self.transport.sent, [])
        self.turn()
        self.assertEqual([type(m) for _, m in self.transport.sent], [Heartbeat])
        for read in reads:
            self.assertNoResult(read)
        self.answer()
        self.assertEqual([self.successResultOf(read) for read in reads], [None] * 3)

    def test_one_question_at_a_time(self) -> None:
        """A leader's next question takes along all who come until the first is answered, and a turn more."""
        self.lead()
        first = self.confirm()
        self.one_turn()
        meanwhile = self.confirm()
        self.one_turn()
        self.answer()
        self.successResultOf(first)
        self.one_turn()
        again = self.confirm()
        self.assertEqual(self.transport.sent, [])
        self.one_turn()
        late = self.confirm()
        self.assertEqual([type(m) for m in self.answer()], [Heartbeat])
        self.successResultOf(meanwhile)
        self.successResultOf(again)
        self.assertNoResult(late)
        self.turn()
        self.answer()
        self.successResultOf(late)
        self.assertEqual(self.replica.confirmations, 3)

    def ask(self, took_s: float) -> list[float]:
        """How long to stay awake, when, and from when on no longer, for a question and its answer."""
        self.awake.clear()
        read = self.confirm()
        self.turn()
        self.clock.advance(took_s)
        (to, question), self.transport.sent = self.transport.sent[-1], []
        assert isinstance(question, Heartbeat)
        last = self.replica.core.last_log_index
        self.transport.received(to, HeartbeatResponse(question.term, question.context, last, last))
        self.successResultOf(read)
        return list(self.awake)

    def test_staying_awake(self) -> None:
        """Only for an answer that comes at once, as the last one did, while question follows question."""
        near_s = confirming.NEAR_S
        self.lead()
        self.assertEqual(self.ask(near_s / 2), [0.0])
        self.assertEqual(self.ask(near_s / 2), [near_s, 0.0])
        self.assertEqual(self.ask(near_s * 2), [near_s, 0.0])
        self.assertEqual(self.ask(near_s / 2), [0.0])
        self.assertEqual(self.ask(near_s / 2), [near_s, 0.0])
        self.clock.advance(confirming.BUSY_S * 2)
        self.assertEqual(self.ask(near_s / 2), [0.0])

    def test_confirm_bound(self) -> None:
        """Only so many reads may wait; those that were answered do not count."""
        self.patch(confirming, "WAITING_MAX", 2)
        self.lead()
        reads = [self.confirm() for _ in range(3)]
        self.failureResultOf(reads.pop(), Refused)
        self.turn()
        self.answer()
        for read in reads:
            self.successResultOf(read)
        self.assertNoResult(self.confirm())

    def test_confirm_refused(self) -> None:
        """A server that is deposed meanwhile cannot say what a majority has."""
        self.lead()
        read = self.confirm()
        self.turn()
        self.depose()
        self.failureResultOf(read, NoLeader)
        self.assertEqual(self.roles[-1], Role.FOLLOWER)

    def test_lease(self) -> None:
        """A leader that hears from nobody steps down by itself; whoever waits is told."""
        self.lead()
        write = self.propose()
        self.clock.pump([0.1] * 8)
        self.failureResultOf(write, LeadershipLost)
        self.assertFalse(self.replica.is_leader)

    def test_applied(self) -> None:
        """Whoever was confirmed is told when the entry is applied."""
        self.lead()
        write = self.propose()
        waiting, never = self.applied(3), self.applied(4)
        self.turn()
        self.assertNoResult(waiting)
        self.answer()
        self.assertTrue(self.successResultOf(write))
        self.successResultOf(waiting)
        self.assertNoResult(never)
        self.replica.stop()
        self.failureResultOf(never, NoLeader)

    def test_applied_too_late(self) -> None:
        """A server that is behind does not let reads wait for long."""
        self.lead()
        early = self.applied(99)
        for _ in range(6):
            self.clock.advance(0.05)
            self.answer()
        late = self.applied(99)
        for _ in range(16):
            self.clock.advance(0.05)
            self.answer()
        self.failureResultOf(early, NoLeader)
        self.assertNoResult(late)
        for _ in range(6):
            self.clock.advance(0.05)
            self.answer()
        self.failureResultOf(late, NoLeader)

    def follow(self) -> None:
        """Follow ``b``, having what it has."""
        self.lead()
        self.depose()
        term = self.replica.core.term
        self.receive(AppendEntries(term, 2, term - 1, 2, (), "10.0.0.1:8300"))
        self.transport.sent.clear()

    def asked(self) -> ReadIndex:
        """The one question to the leader."""
        asked = [(to, message) for to, message in self.transport.sent if isinstance(message, ReadIndex)]
        self.assertEqual([to for to, _ in asked], ["b"])
        self.transport.sent.clear()
        return asked[0][1]

    def test_follower(self) -> None:
        """One question a turn; the answer may be given once what the leader says is applied here."""
        self.follow()
        reads = [self.confirm(leased=True) for _ in range(3)]
        self.turn()
        asked = self.asked()
        self.assertTrue(asked.leased)
        self.receive(ReadIndexResponse(asked.term, asked.context, 3))
        for read in reads:
            self.assertNoResult(read)
        entry = Entry(asked.term, 3, 0, commands.encode_kv(put("k")))
        self.receive(AppendEntries(asked.term, 2, asked.term - 1, 3, (entry,), "10.0.0.1:8300"))
        for read in reads:
            self.successResultOf(read)

    def test_follower_with_one_that_wants_more(self) -> None:
        """Then the lease is not enough for any of this turn; it is for those of the next."""
        self.follow()
        for leases, expected in (((True, False, True), False), ((True, True), True)):
            reads = [self.confirm(leased) for leased in leases]
            self.turn()
            asked = self.asked()
            self.assertIs(asked.leased, expected)
            self.receive(ReadIndexResponse(asked.term, asked.context, 2))
            for read in reads:
                self.successResultOf(read)

    def test_follower_does_not_wait_for_answers(self) -> None:
        """The leader may be far away."""
        self.follow()
        reads = []
        for _ in range(2):
            reads.append(self.confirm())
            self.turn()
            self.asked()
        for read in reads:
            self.assertNoResult(read)

    def test_follower_loses_its_leader(self) -> None:
        """Before it answered, and after, when nobody sends what is to be applied."""
        self.follow()
        confirmed = self.confirm()
        self.turn()
        asked = self.asked()
        self.receive(ReadIndexResponse(asked.term, asked.context, 3))
        waiting = self.confirm()
        self.turn()
        self.assertNoResult(confirmed)
        self.transport.received("c", Heartbeat(asked.term + 1, 0, 1, "10.0.0.2:8300"))
        self.failureResultOf(confirmed, NoLeader)
        self.failureResultOf(waiting, NoLeader)

    def test_change(self) -> None:
        """A change fires when it is committed; a second one has to wait for that."""
        self.lead()
        one = self.replica.change(ChangeConfiguration(ChangeKind.ADD_VOTER, "d", "10.0.0.9:8300"))
        two = self.replica.change(ChangeConfiguration(ChangeKind.ADD_VOTER, "e", "10.0.0.8:8300"))
        self.assertNoResult(one)
        failure = self.failureResultOf(two, Refused)
        self.assertEqual(failure.getErrorMessage(), "the latest configuration is not committed yet")
        self.answer()
        self.assertNoResult(one)  # three of four are needed
        self.transport.received("c", AppendEntriesResponse(self.replica.core.term, True, 3, 2))
        self.assertIsNone(self.successResultOf(one))
        self.assertEqual([s.id for s in self.replica.core.configuration.servers], ["a", "b", "c", "d"])

    def test_transfer(self) -> None:
        """While leadership is handed over nothing is appended; who asks may go on with the next leader."""
        self.lead()
        self.answer()
        moved = self.replica.transfer("b")
        again = self.replica.transfer("c")
        self.assertEqual(
            self.failureResultOf(again, Refused).getErrorMessage(), "leadership transfer in progress"
        )
        self.assertIn(TimeoutNow, [type(message) for _, message in self.transport.sent])
        write = self.propose()
        self.turn()
        self.failureResultOf(write, NoLeader)
        self.assertNoResult(moved)
        term = self.replica.core.term
        self.receive(RequestVote(term + 1, 9, term, transfer=True, address="10.0.0.1:8300"))
        self.assertIsNone(self.successResultOf(moved))

    def test_transfer_that_fails(self) -> None:
        """The target does not answer: the leader goes on."""
        self.lead()
        moved = self.replica.transfer("zz")
        self.failureResultOf(moved, Refused)
        moved = self.replica.transfer("c")
        for _ in range(15):
            self.clock.advance(0.1)
            self.answer()
        self.assertEqual(
            self.failureResultOf(moved, Refused).getErrorMessage(), "leadership transfer timeout"
        )
        self.assertTrue(self.replica.ready)


class EndTests(Base):
    def all_kinds(self) -> list[Deferred[Any]]:
        """One of each sort of wait."""
        self.disk.slow = True
        proposed = self.propose("proposed")
        self.turn()
        change = self.replica.change(ChangeConfiguration(ChangeKind.ADD_VOTER, "b", "10.0.0.1:8300"))
        read = self.confirm()
        self.turn()
        moving = self.replica.transfer()
        return [
            proposed,
            change,
            self.applied(99),
            read,
            moving,
            self.propose("gathering"),
            self.confirm(),
        ]

    def assert_nobody_waits(self, waiting: list[Deferred[Any]]) -> None:
        kinds = [LeadershipLost, LeadershipLost, NoLeader, NoLeader, LeadershipLost, NoLeader, NoLeader]
        for deferred, kind in zip(waiting, kinds, strict=True):
            self.failureResultOf(deferred, kind)
        for deferred in (self.propose(), self.confirm(), self.replica.transfer()):
            self.failureResultOf(deferred, NoLeader)
        change = ChangeConfiguration(ChangeKind.ADD_VOTER, "c", "10.0.0.2:8300")
        self.failureResultOf(self.replica.change(change), NoLeader)
        self.assertFalse(self.replica.ready)
        self.assertFalse(self.replica.is_leader)
        self.assertTrue(self.replica.is_stopped)
        self.assertEqual((self.replica.leader_id, self.replica.leader_address), ("", ""))

    def assert_deaf(self) -> None:
        """Nothing that happens now reaches the core, or is kept for it."""
        applied = list(self.machine.applied)
        term = self.replica.core.term
        self.depose()
        self.transport.unreachable("b")
        self.disk.sync()
        self.clock.pump([1.0] * 5)
        self.assertEqual((self.replica.core.term, self.machine.applied), (term, applied))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.replica.driver._inbox), 0)

    def test_stop(self) -> None:
        """Whoever waits is told at once; afterwards nothing is taken or done."""
        self.lead()
        waiting = self.all_kinds()
        roles = list(self.roles)
        self.replica.stop()
        self.assert_nobody_waits(waiting)
        self.assertTrue(self.disk.closed)
        self.assert_deaf()
        self.assertEqual(self.roles, roles)

    def test_the_disk_fails(self) -> None:
        """A server without a disk leads no longer, whatever its core believes, and says so."""
        self.lead()
        waiting = self.all_kinds()
        self.disk.failed(7, OSError("broken"))
        self.assert_nobody_waits(waiting)
        self.assert_deaf()
        self.assertEqual(self.roles[-1], Role.FOLLOWER)
        self.assertEqual(stats(self.replica, 0.0)["state"], "Shutdown")
        roles = list(self.roles)
        self.disk.failed(8, OSError("broken"))
        self.assertEqual(self.roles, roles)
        self.replica.stop()
        self.assertTrue(self.disk.closed)

    def test_the_disk_fails_at_once(self) -> None:
        """The failure may come out of the very step that answers the proposal."""
        self.lead()
        write = self.propose()
        self.disk.broken = OSError("no space left")
        self.turn()
        self.failureResultOf(write, LeadershipLost)
        self.assertFalse(self.replica.is_leader)
        self.assertEqual(self.roles[-1], Role.FOLLOWER)

    def test_a_bug_in_the_tables(self) -> None:
        """To skip an entry would be to differ from the others: this server stops instead."""
        self.lead()
        self.machine.bug = ZeroDivisionError("a bug")
        write = self.propose()
        self.assertRaises(ZeroDivisionError, self.turn)
        self.failureResultOf(write, LeadershipLost)
        self.assertTrue(self.replica.is_stopped)
        self.assertEqual(self.roles[-1], Role.FOLLOWER)
        self.assert_deaf()

    def test_a_damaged_log(self) -> None:
        """An entry that cannot be read back is no bug, but the end as well."""
        self.lead()
        self.machine.bug = StorageDamaged("segment 7, offset 3")
        write = self.propose()
        self.turn()
        self.failureResultOf(write, LeadershipLost)
        self.assertTrue(self.replica.is_stopped)

    def test_a_bug_in_a_listener(self) -> None:
        """Raft's effects are carried out, whatever others make of the news."""

        def fail(*news: object) -> None:
            raise ZeroDivisionError("a bug")

        self.replica.became_ready = fail
        self.replica.role_changed = fail
        self.replica.configuration_changed = fail
        self.lead()
        self.assertTrue(self.successResultOf(self.written()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 4)

    def written(self) -> Deferred[Any]:
        write = self.propose()
        self.turn()
        return write

    def test_effects_after_the_end(self) -> None:
        """A listener may end all of this in the middle of a step."""
        self.replica.became_ready = self.replica.stop
        self.start()
        waiting = self.applied(2)
        self.clock.pump([0.1] * 25)
        self.failureResultOf(waiting, NoLeader)
        self.assertFalse(self.replica.ready)

    def test_late_news(self) -> None:
        """What a stopped replica is still told changes nothing."""
        self.lead()
        self.replica.stop()
        roles = list(self.roles)
        self.replica._role_changed(RoleChanged(Role.LEADER, 9, "a", "10.0.0.0:8300", 7))
        self.assertEqual((self.roles, self.replica.ready), (roles, False))


class StatsTests(Base):
    def test_follower_and_leader(self) -> None:
        """The raft section of ``info``, with the texts of the specs."""
        before = stats(self.replica, 0.0)
        self.assertEqual((before["state"], before["last_contact"]), ("Follower", "never"))
        self.assertEqual((before["num_peers"], before["latest_configuration"]), ("0", "[]"))
        self.lead()
        leading = stats(self.replica, self.clock.seconds())
        self.assertEqual((leading["state"], leading["last_contact"]), ("Leader", "0"))
        self.assertEqual(leading["latest_configuration"], "[{Suffrage:Voter ID:a Address:10.0.0.0:8300}]")
        self.assertEqual((leading["applied_index"], leading["commit_index"]), ("2", "2"))
        self.depose()
        following = stats(self.replica, self.clock.seconds() + 0.0125)
        self.assertEqual((following["state"], following["last_contact"]), ("Follower", "12.500ms"))

    def test_not_a_refusal(self) -> None:
        """An error that the tables return keeps its kind."""
        self.lead()
        self.machine._kinds[2] = (lambda data: data, lambda index, data: BadRequest("x"))
        write = self.propose()
        self.turn()
        self.failureResultOf(write, BadRequest)
