"""What a server makes of the Raft configuration, and whom it asks when no leader speaks to it."""

from __future__ import annotations

from random import Random
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.standing import LOOK_S, QUIET_TIMEOUTS, REMOVAL_S, Standing
from pyconsul.errors import NoLeader, Refused
from pyconsul.raft.configuration import NONVOTER, Configuration, Server
from pyconsul.raft.events import ConfigurationChanged
from pyconsul.raft.timing import Timing
from tests.agent.fixture import noted

A, B = Server("a", "10.0.0.1:8300"), Server("b", "10.0.0.2:8300")


class Core:
    def __init__(self) -> None:
        self.configuration = Configuration([A, B])
        self.last_contact: float | None = None


class Raft:
    """As much of a replica as is needed."""

    def __init__(self) -> None:
        self.core = Core()
        self.is_leader = False
        self.transfers: list[Deferred[None]] = []
        self.configuration_changed: Any = None

    def transfer(self) -> Deferred[None]:
        self.transfers.append(Deferred())
        return self.transfers[-1]


class StandingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100.0)
        self.raft: Any = Raft()
        self.asked: list[tuple[str, Deferred[str]]] = []
        self.standing = Standing(cast(Any, self.raft), A, Timing(), self.ask, self.clock, Random(1))

    def ask(self, address: str) -> Deferred[str]:
        self.asked.append((address, Deferred()))
        return self.asked[-1][1]

    def use(self, *servers: Server) -> None:
        self.raft.core.configuration = Configuration(servers)
        self.raft.configuration_changed(ConfigurationChanged(self.raft.core.configuration, 7))

    def test_vote(self) -> None:
        self.assertEqual((self.standing.has_vote, self.standing.others), (True, [B]))
        self.use(Server("a", A.address, NONVOTER), B)
        self.assertFalse(self.standing.has_vote)
        self.use(B)
        self.assertEqual((self.standing.has_vote, self.standing.others), (False, [B]))

    def test_when_to_ask(self) -> None:
        """Not a leader, nor alone, nor in an election; but when removed, or long without a leader."""
        self.raft.core.last_contact = 99.0
        self.assertFalse(self.standing.relies_on_hearsay)
        self.clock.advance(QUIET_TIMEOUTS * Timing().heartbeat_timeout_s)
        self.assertTrue(self.standing.relies_on_hearsay)
        self.raft.is_leader = True
        self.assertFalse(self.standing.relies_on_hearsay)
        self.raft.is_leader = False
        self.raft.core.last_contact = self.clock.seconds()
        self.use(B)
        self.assertTrue(self.standing.relies_on_hearsay)
        self.use(A)
        self.assertFalse(self.standing.relies_on_hearsay)

    def test_one_question(self) -> None:
        """All who want to know share it; who gave up is left out."""
        first, second, third = self.standing.hearsay(), self.standing.hearsay(), self.standing.hearsay()
        second.addErrback(lambda _: None)
        second.cancel()
        [(address, answer)] = self.asked
        self.assertEqual(address, B.address)
        answer.callback("10.0.0.3:8300")
        self.assertEqual([self.successResultOf(d) for d in (first, third)], ["10.0.0.3:8300"] * 2)
        self.standing.hearsay()
        self.assertEqual(len(self.asked), 2)

    def test_no_answer(self) -> None:
        """Nobody is known, or it is this server, or the other one cannot be asked."""
        for answer in ("", A.address, Refused("no"), ValueError("a bug")):
            heard = self.standing.hearsay()
            if isinstance(answer, str):
                self.asked[-1][1].callback(answer)
            else:
                self.asked[-1][1].errback(answer)
            self.failureResultOf(heard, NoLeader)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def hand_over(self, attempts: int) -> list[Any]:
        return noted(Deferred.fromCoroutine(self.standing.hand_over(attempts)))

    def test_hand_over(self) -> None:
        """As often as is allowed, until this server leads no more."""
        self.assertEqual(self.hand_over(3), [None])
        self.raft.is_leader = True
        done = self.hand_over(2)
        self.raft.transfers[0].errback(Refused("leadership transfer timeout"))
        self.raft.is_leader = False
        self.raft.transfers[1].callback(None)
        self.assertEqual(done, [None])
        self.raft.is_leader = True
        done = self.hand_over(1)
        self.raft.transfers[2].errback(Refused("leadership transfer timeout"))
        self.assertEqual((done, len(self.raft.transfers)), ([None], 3))

    def drain(self) -> list[Any]:
        self.removals: list[Deferred[object]] = []

        def remove() -> Deferred[object]:
            self.removals.append(Deferred())
            return self.removals[-1]

        return noted(Deferred.fromCoroutine(self.standing.drained(5.0, remove)))

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([LOOK_S] * round(seconds / LOOK_S))

    def test_drained(self) -> None:
        """Removed or not, it stays as long as it was told to."""
        done = self.drain()
        self.use(B)
        self.pass_time(4.9)
        self.assertEqual(done, [])
        self.pass_time(0.2)
        self.assertEqual((done, self.removals), ([None], []))

    def test_drained_and_not_removed(self) -> None:
        """It asks the leader once, and ends when it was removed, or when that takes too long."""
        done = self.drain()
        self.pass_time(5.5)
        self.assertEqual((done, len(self.removals)), ([], 1))
        self.use(B)
        self.pass_time(0.2)
        self.assertEqual((done, len(self.removals)), ([None], 1))
        self.use(A, B)
        done = self.drain()
        self.pass_time(6.0)
        self.removals[0].errback(NoLeader())
        self.pass_time(REMOVAL_S - 1.2)
        self.assertEqual(done, [])
        self.pass_time(0.5)
        self.assertEqual((done, len(self.removals)), ([None], 1))

    def test_drained_after_an_election(self) -> None:
        """If it leads again meanwhile it hands over again."""
        done = self.drain()
        self.pass_time(1.0)
        self.raft.is_leader = True
        self.pass_time(0.2)
        self.assertEqual(len(self.raft.transfers), 1)
        self.raft.is_leader = False
        self.raft.transfers[0].callback(None)
        self.use(B)
        self.pass_time(5.0)
        self.assertEqual((done, self.removals), ([None], []))

    def test_drained_alone(self) -> None:
        """When all others have gone meanwhile, nobody needs to remove it."""
        done = self.drain()
        self.use(A)
        self.pass_time(5.2)
        self.assertEqual(done, [None])
