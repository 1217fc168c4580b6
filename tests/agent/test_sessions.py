"""TTLs of sessions and lock delays, alone and on whole servers."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.server import ServerAgent
from pyconsul.agent.sessions import ENDING_MAX, RETRY_S, SPARE, LockDelays, SessionTimers
from pyconsul.errors import LeadershipLost
from pyconsul.structs.kv import DirEntry, KeyRequest, KVSRequest
from pyconsul.structs.session import Session, SessionRequest, SessionSpecificRequest
from pyconsul.structs.txn import TxnKVOp, TxnOp, TxnReadRequest, TxnRequest
from tests.agent.world import World
from tests.state.replica import Replica


def number(digits: int) -> str:
    """A session's id."""
    return f"11111111-2222-3333-4444-{digits:012x}"


class TimerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.replica = Replica()
        self.replica.register("n1")
        self.proposed: list[tuple[bytes, Deferred[Any]]] = []
        self.sessions = self.replica.store.sessions
        self.timers = SessionTimers(self.sessions, self.propose, self.clock)
        self.sessions.created = self.timers.created
        self.sessions.ended = lambda session, keys: self.timers.ended(session)
        self.timers.start()
        self.addCleanup(self.timers.stop)

    def propose(self, command: bytes) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.proposed.append((command, done))
        return done

    def commit(self) -> None:
        """Apply what was proposed."""
        proposed, self.proposed = self.proposed, []
        for command, done in proposed:
            done.callback(self.replica.apply(command))

    def row(self, session_id: str) -> Session:
        row = self.sessions.row(session_id)
        assert row is not None
        return row

    def test_two_ttls(self) -> None:
        """A session lives twice its TTL, then its end goes through the log."""
        self.replica.create(number(1), ttl="10s")
        self.replica.create(number(2))
        self.replica.create(number(3), ttl="0s")
        self.assertEqual(len(self.timers), 1)
        self.clock.advance(19.9)
        self.assertEqual(self.proposed, [])
        self.clock.advance(0.1)
        self.assertEqual((len(self.proposed), len(self.sessions)), (1, 3))
        self.commit()
        self.assertFalse(self.sessions.exists(number(1)))
        self.clock.advance(1e6)
        self.assertEqual((self.proposed, len(self.sessions)), ([], 2))

    def test_order(self) -> None:
        """The one whose time is over first ends first, whenever it came."""
        for digits, ttl in ((1, "30s"), (2, "10s"), (3, "20s")):
            self.replica.create(number(digits), ttl=ttl)
        for left in ([number(1), number(3)], [number(1)], []):
            self.clock.advance(20.0)
            self.commit()
            self.assertEqual([row.id for row in self.sessions.all()], left)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_renewal(self) -> None:
        """Each begins the whole time anew."""
        self.replica.create(number(1), ttl="10s")
        for _ in range(5):
            self.clock.advance(15.0)
            self.assertTrue(self.timers.renew(self.row(number(1))))
        self.clock.advance(19.9)
        self.assertEqual(self.proposed, [])
        self.clock.advance(0.2)
        self.assertEqual(len(self.proposed), 1)

    def test_renewal_of_what_has_no_ttl(self) -> None:
        """Is fine, and nothing begins."""
        self.replica.create(number(1))
        self.assertTrue(self.timers.renew(self.row(number(1))))
        self.assertEqual((len(self.timers), self.clock.getDelayedCalls()), (0, []))

    def test_renewal_comes_too_late(self) -> None:
        """Once its end is proposed, nobody is told that the session lives on."""
        self.replica.create(number(1), ttl="10s")
        self.clock.advance(20.0)
        self.assertFalse(self.timers.renew(self.row(number(1))))
        self.commit()
        self.replica.create(number(1), ttl="10s")
        self.assertTrue(self.timers.renew(self.row(number(1))))

    def test_destroyed(self) -> None:
        """Nothing happens for a session that ended in another way."""
        self.replica.create(number(1), ttl="10s")
        self.replica.destroy(number(1))
        self.assertEqual(len(self.timers), 0)
        self.clock.advance(30.0)
        self.assertEqual(self.proposed, [])

    def test_end_fails(self) -> None:
        """It is tried again; a bug is told."""
        self.replica.create(number(1), ttl="10s")
        self.clock.advance(20.0)
        self.proposed.pop()[1].errback(LeadershipLost())
        self.clock.advance(RETRY_S / 2)
        self.assertEqual(self.proposed, [])
        self.assertFalse(self.timers.renew(self.row(number(1))))
        self.clock.advance(RETRY_S / 2)
        self.proposed.pop()[1].errback(ValueError("bug"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.clock.advance(RETRY_S)
        self.commit()
        self.assertEqual(len(self.sessions), 0)

    def test_end_fails_but_happened(self) -> None:
        """An outcome that was unknown may have been an end: then there is nothing more to do."""
        self.replica.create(number(1), ttl="10s")
        self.clock.advance(20.0)
        command, done = self.proposed.pop()
        self.replica.apply(command)
        done.errback(LeadershipLost())
        self.clock.advance(10 * RETRY_S)
        self.assertEqual((self.proposed, len(self.timers)), ([], 0))

    def test_not_all_at_once(self) -> None:
        """No more than so many ends are under way; those that ended by themselves are left out."""
        for digits in range(ENDING_MAX + 20):
            self.replica.create(number(digits), ttl="10s")
        self.clock.advance(20.0)
        self.assertEqual(len(self.proposed), ENDING_MAX)
        self.replica.destroy(number(ENDING_MAX + 3))
        self.commit()
        self.assertEqual(len(self.proposed), 19)
        self.commit()
        self.assertEqual(len(self.sessions), 0)

    def test_leadership(self) -> None:
        """Only a leader's timers run; each leader gives the whole time."""
        self.replica.create(number(1), ttl="10s")
        self.clock.advance(15.0)
        self.timers.stop()
        self.assertEqual((len(self.timers), self.clock.getDelayedCalls()), (0, []))
        self.replica.create(number(2), ttl="10s")
        self.replica.destroy(number(2))
        self.clock.advance(100.0)
        self.timers.start()
        self.timers.start()
        self.clock.advance(19.0)
        self.assertEqual(self.proposed, [])
        self.clock.advance(1.0)
        self.assertEqual(len(self.proposed), 1)

    def test_other_sessions(self) -> None:
        """A snapshot that replaces the state brings its sessions, each with its whole time."""
        self.sessions.replaced = self.timers.restart
        self.replica.create(number(1), ttl="10s")
        snapshot = self.replica.store.snapshot()
        self.replica.destroy(number(1))
        self.replica.create(number(2), ttl="10s")
        self.clock.advance(15.0)
        self.replica.store.restore(snapshot)
        self.assertEqual(len(self.timers), 1)
        self.clock.advance(19.0)
        self.assertEqual(self.proposed, [])
        self.clock.advance(1.0)
        self.commit()
        self.assertEqual(len(self.sessions), 0)
        self.timers.stop()
        self.replica.store.restore(snapshot)
        self.assertEqual(len(self.timers), 0)

    def test_answers_of_an_earlier_reign(self) -> None:
        """What was proposed by the leader that this server was does not count any more."""
        self.replica.create(number(1), ttl="10s")
        self.replica.create(number(2), ttl="10s")
        self.clock.advance(20.0)
        self.timers.stop()
        self.timers.start()
        (_, first), (_, second) = self.proposed
        self.proposed.clear()
        first.errback(LeadershipLost())
        second.callback("")
        self.clock.advance(20.0)
        self.assertEqual(len(self.proposed), 2)
        self.commit()
        self.assertEqual(len(self.sessions), 0)

    def test_heap_stays_small(self) -> None:
        """Sessions that come and go leave nothing behind for long."""
        self.replica.create(number(0), ttl="24h")
        for digits in range(1, 3 * SPARE):
            self.replica.create(number(digits), ttl="24h")
            self.replica.destroy(number(digits))
        self.assertLess(len(self.timers._heap), SPARE + 10)
        self.clock.advance(2 * 86_400.0)
        self.assertEqual(len(self.proposed), 1)


class LockDelayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.delays = LockDelays(self.clock)

    def ended(self, seconds: float, *keys: str) -> None:
        self.delays.ended(Session(lock_delay=int(seconds * 1e9)), keys)

    def test_delay(self) -> None:
        """Each key for as long as its session said."""
        self.ended(3.0, "a", "b")
        self.ended(0.0, "c")
        self.ended(5.0)
        self.assertEqual([self.delays.holds(key) for key in "abc"], [True, True, False])
        self.clock.advance(2.9)
        self.assertTrue(self.delays.holds("a"))
        self.clock.advance(0.1)
        self.assertFalse(self.delays.holds("a"))
        self.assertEqual(len(self.delays), 1)

    def test_longer_of_two(self) -> None:
        """A short delay does not cut a long one."""
        self.ended(9.0, "a")
        self.ended(1.0, "a")
        self.clock.advance(8.0)
        self.assertTrue(self.delays.holds("a"))

    def test_limit(self) -> None:
        """None is longer than a minute, as with Consul 1.8.7."""
        self.ended(3600.0, "a")
        self.clock.advance(60.0)
        self.assertFalse(self.delays.holds("a"))

    def test_swept(self) -> None:
        """Keys that nobody asks for do not stay."""
        for _ in range(10):
            self.ended(1.0, *(f"{self.clock.seconds()}/{number}" for number in range(SPARE)))
            self.clock.advance(1.0)
        self.assertLess(len(self.delays), 4 * SPARE)


class WorldTests(SynchronousTestCase):
    """Three servers and a client agent."""

    def setUp(self) -> None:
        self.world = World()
        self.addCleanup(self.world.stop)
        self.leader, *self.others = self.world.cluster()
        self.client = self.world.client(9, retry_join=("10.0.0.1",))
        self.client.startService()
        self.world.until(lambda: self.leader.store.catalog.node("n9"))
        self.client_check()

    def client_check(self) -> None:
        """The client's node has its gossip check."""
        self.world.until(lambda: self.leader.store.catalog.node_check("n9", "serfHealth"))

    def ask(self, agent: Any, method: str, request: Any) -> Any:
        """What an agent answers."""
        found: list[Any] = []
        answer = agent.ask(method, request)
        if not isinstance(answer, Deferred):
            return answer
        answer.addBoth(found.append)
        self.world.until(lambda: found)
        return found[0]

    def create(self, agent: Any, **fields: Any) -> str:
        fields = {"node": "n9", "node_checks": ["serfHealth"], **fields}
        session = self.ask(agent, "Session.Apply", SessionRequest(op="create", session=Session(**fields)))
        assert isinstance(session, str), session
        return session

    def lock(self, agent: Any, key: str, session: str) -> Any:
        entry = DirEntry(key=key, value=b"1", session=session)
        return self.ask(agent, "KVS.Apply", KVSRequest(op="lock", dir_ent=entry))

    def lives(self, session: str) -> bool:
        request = SessionSpecificRequest(session_id=session)
        return bool(self.ask(self.client, "Session.Get", request).sessions)

    def new_leader(self) -> ServerAgent:
        """The leader dies; the one that comes after it."""
        self.world.kill(self.leader)
        self.world.until(lambda: any(server.raft.ready for server in self.others))
        return next(server for server in self.others if server.raft.ready)

    def test_every_agent(self) -> None:
        """Transactions and sessions work on the leader, on followers and on client agents."""
        for place, agent in enumerate((self.leader, *self.others, self.client)):
            ops = [
                TxnOp(kv=TxnKVOp(verb="set", dir_ent=DirEntry(key=f"{place}/{n}", value=b"1")))
                for n in range(64)
            ]
            response = self.ask(agent, "Txn.Apply", TxnRequest(ops=ops))
            self.assertEqual((len(response.results), response.errors), (64, None))
            ops = [TxnOp(kv=TxnKVOp(verb="get", dir_ent=DirEntry(key=f"{place}/0")))]
            read = self.ask(agent, "Txn.Read", TxnReadRequest(ops=ops))
            self.assertEqual((read.results[0].kv.value, read.known_leader), (b"1", True))
            session = self.create(agent, ttl="10s")
            renewed = self.ask(agent, "Session.Renew", SessionSpecificRequest(session_id=session))
            self.assertEqual([row.id for row in renewed.sessions], [session])
            self.assertIs(self.lock(agent, f"{place}/lock", session), True)

    def test_expiry(self) -> None:
        """Between one and two TTLs after the last renewal, everywhere, with its locks."""
        session = self.create(self.client, ttl="10s")
        self.lock(self.client, "k", session)
        for _ in range(3):
            self.world.run_for(15.0)
            self.assertTrue(
                self.ask(self.client, "Session.Renew", SessionSpecificRequest(session_id=session))
            )
        self.world.run_for(15.0)
        self.assertTrue(self.lives(session))
        self.world.run_for(6.0)
        self.assertFalse(self.lives(session))
        entry = self.ask(self.client, "KVS.Get", KeyRequest(key="k")).entries[0]
        self.assertFalse(entry.session)
        self.world.run_for(1.0)
        digests = {server.store.digest() for server in (self.leader, *self.others)}
        self.assertEqual(len(digests), 1)

    def test_leader_dies(self) -> None:
        """The next leader gives the whole TTL again, then ends the session."""
        session = self.create(self.client, ttl="30s", node_checks=[])
        self.world.run_for(50.0)
        leader = self.new_leader()
        self.world.run_for(55.0)
        self.assertTrue(self.lives(session))
        self.world.until(lambda: not leader.store.sessions.exists(session), within_s=10.0)

    def test_node_dies(self) -> None:
        """Gossip's check fails, and takes the session and its lock along; the delay holds at any leader."""
        session = self.create(self.client, lock_delay=50_000_000_000)
        other = self.create(self.leader, node=self.others[0].node_name, node_checks=[])
        self.lock(self.client, "k", session)
        self.world.kill(self.client)
        self.world.until(lambda: not self.leader.store.sessions.exists(session))
        self.assertIs(self.lock(self.leader, "k", other), False)
        leader = self.new_leader()
        self.assertIs(self.lock(leader, "k", other), False)
        self.world.run_for(50.0)
        self.assertIs(self.lock(leader, "k", other), True)
