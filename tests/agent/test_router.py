"""The way to servers of other datacenters."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.forwarding import Forwarder, encode
from pyconsul.agent.router import OFFLINE, REBALANCE_S, Router
from pyconsul.endpoints.declared import DeclaredMethods
from pyconsul.errors import NoPath, NotSent, PyconsulError, Refused, Unreachable
from pyconsul.serf.members import FAILED, JOIN, LEAVE, REAP, UPDATE, MemberEvent
from pyconsul.structs.kv import IndexedDirEntries
from pyconsul.structs.query import DCSpecificRequest, QuerySource
from tests.agent.fixture import NotingRpc, get, member, noted, put


class RouterTestCase(SynchronousTestCase):
    """The router of a server of ``dc1``; pings are answered by ``self.dead``."""

    def setUp(self) -> None:
        self.clock, self.rpc = Clock(), NotingRpc()
        forwarder = Forwarder(self.rpc, self.clock, Random(1), 7.0)
        self.pings: list[tuple[str, Deferred[Any]]] = []
        self.router = Router("dc1", forwarder, self._ping, self.clock, Random(1))
        self.methods = DeclaredMethods()

    def _ping(self, address: str) -> Deferred[Any]:
        self.pings.append((address, Deferred()))
        return self.pings[-1][1]

    def heard(self, kind: str, *numbers: int, dc: str = "dc2") -> None:
        for number in numbers:
            self.router.heard(MemberEvent(kind, member(number, server=True, dc=dc, vsn="2")))

    def first(self, datacenter: str = "dc2") -> str:
        """The address that is asked now."""
        return self.router.route(datacenter).address

    def ask(self, method: str, request: Any) -> list[Any]:
        return noted(self.router.ask(self.methods[method], request))

    def answer(self, result: Any) -> str:
        """Answer the latest call; gives the address that was called."""
        address, _, done = self.rpc.calls.pop()
        if isinstance(result, Exception):
            done.errback(result)
        else:
            done.callback(encode(result))
        return address


class ListTests(RouterTestCase):
    def test_order(self) -> None:
        """The first is asked until it fails; one that is back or has news keeps its place."""
        self.heard(JOIN, 1, 2, 3)
        self.assertEqual(self.first(), "127.0.0.1:8300")
        self.heard(FAILED, 2)
        self.assertEqual(self.first(), "127.0.0.1:8300")
        self.heard(FAILED, 1)
        self.assertEqual(self.first(), "127.0.0.2:8300")
        self.heard(UPDATE, 2)
        self.assertEqual(self.first(), "127.0.0.2:8300")

    def test_whose_server(self) -> None:
        """An address tells the datacenter; one that nobody has told of counts as the own."""
        self.heard(JOIN, 1)
        self.heard(JOIN, 2, dc="dc1")
        found = [self.router.datacenter_of(f"127.0.0.{number}:8300") for number in (1, 2, 3)]
        self.assertEqual(found, ["dc2", "dc1", "dc1"])

    def test_failed(self) -> None:
        """Who failed and keeps silent is not waited for; of the own servers the other pool knows."""
        self.heard(JOIN, 1, 2)
        self.heard(FAILED, 1, 2)
        self.heard(FAILED, 4, dc="dc1")
        self.assertEqual([address for address, _ in self.pings], ["127.0.0.1:8300", "127.0.0.2:8300"])
        self.pings[0][1].callback(True)
        self.pings[1][1].errback(Unreachable("late"))
        self.assertEqual(self.rpc.abandoned, ["127.0.0.2:8300"])

    def test_unknown(self) -> None:
        """A datacenter is known as long as it has servers; our own is never asked this way."""
        self.assertRaisesRegex(NoPath, "^No path to datacenter$", self.first)
        self.heard(JOIN, 1, 2)
        self.heard(JOIN, 7, dc="dc1")
        self.heard(JOIN, 8, dc="aa")
        self.assertEqual(self.router.others(), ["aa", "dc2"])
        self.assertRaises(NoPath, self.first, "dc1")
        self.assertRaises(NoPath, self.first, "DC2")
        self.heard(LEAVE, 1)
        self.assertEqual(self.first(), "127.0.0.2:8300")
        self.heard(REAP, 2, 2)
        self.assertRaises(NoPath, self.first)
        self.heard(FAILED, 2)
        self.assertEqual(self.router.others(), ["aa"])

    def test_not_a_server(self) -> None:
        self.router.heard(MemberEvent(JOIN, member(1, dc="dc2")))
        self.assertEqual(self.router.others(), [])


class AskTests(RouterTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.heard(JOIN, 1, 2)

    def test_answered(self) -> None:
        answers = self.ask("KVS.Get", get("a", datacenter="dc2"))
        self.assertEqual(self.answer(IndexedDirEntries(index=7)), "127.0.0.1:8300")
        self.assertEqual(answers[0].index, 7)

    def test_errors_of_the_other_side(self) -> None:
        """They are said to be from afar, and are no reason to ask another server."""
        answers = self.ask("KVS.Get", get("a", datacenter="dc2"))
        self.answer(Refused("no"))
        self.assertEqual((type(answers[0]), str(answers[0])), (Refused, "rpc error making call: no"))
        self.assertEqual((self.rpc.calls, self.first()), ([], "127.0.0.1:8300"))

    def test_a_second_server(self) -> None:
        """A read is repeated; a write only if it cannot have been made."""
        for method, request, error in (
            ("KVS.Get", get("a", datacenter="dc2"), Unreachable("EOF")),
            ("KVS.Apply", put("a", datacenter="dc2"), NotSent("connection refused")),
        ):
            answers = self.ask(method, request)
            first = self.answer(error)
            self.assertNotEqual(self.answer(Refused("no")), first)
            self.assertEqual(str(answers[0]), "rpc error making call: no")

    def test_only_one_more(self) -> None:
        answers = self.ask("KVS.Get", get("a", datacenter="dc2"))
        self.answer(Unreachable("EOF"))
        self.answer(Unreachable("timeout"))
        text = "rpc error making call: n2: timeout"
        self.assertEqual((str(answers[0]), self.rpc.calls), (text, []))
        self.assertIsInstance(answers[0], Refused)  # a client agent need not go to another server with it

    def test_a_write_that_may_have_been_made(self) -> None:
        answers = self.ask("KVS.Apply", put("a", datacenter="dc2"))
        self.answer(Unreachable("EOF"))
        self.assertEqual((str(answers[0]), self.rpc.calls), ("rpc error making call: n1: EOF", []))
        self.assertEqual(self.first(), "127.0.0.2:8300")

    def test_nobody_else(self) -> None:
        self.heard(LEAVE, 2)
        answers = self.ask("KVS.Get", get("a", datacenter="dc2"))
        self.answer(NotSent("refused"))
        self.assertEqual(str(answers[0]), "rpc error getting client: n1: refused")
        answers = self.ask("KVS.Get", get("a", datacenter="dc2"))
        self.heard(LEAVE, 1)
        self.answer(NotSent("refused"))
        self.assertEqual(str(answers[0]), "rpc error getting client: n1: refused")

    def test_near(self) -> None:
        """A node's name means one of the datacenter where it was said; elsewhere nothing is sorted."""
        bodies: list[bytes] = []

        def call(address: str, method: str, body: bytes, timeout_s: float) -> Deferred[bytes]:
            bodies.append(body)
            return Deferred()

        self.patch(self.rpc, "call", call)
        for source in (QuerySource(node="n1"), QuerySource(node="n1", datacenter="dc2")):
            self.ask("Catalog.ListNodes", DCSpecificRequest(datacenter="dc2", source=source))
        self.assertEqual([body.count(b"dc1") for body in bodies], [1, 0])


class RebalanceTests(RouterTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.heard(JOIN, 1, 2, 3)
        self.router.start()
        self.addCleanup(self.router.stop)
        self.clock.advance(REBALANCE_S * 1.5)

    def test_those_that_answer_come_first(self) -> None:
        first, done = self.pings.pop()
        done.errback(Unreachable("dead"))
        second, done = self.pings.pop()
        done.callback(True)
        self.assertEqual((self.first(), self.pings), (second, []))
        self.assertNotEqual(first, second)
        self.assertEqual(len(self.router._known["dc2"].servers), 3)

    def test_nobody_answers(self) -> None:
        """The datacenter is offline until one of its servers is back."""
        for _ in range(3):
            self.assertTrue(self.first())
            self.pings.pop()[1].errback(NotSent("refused"))
        self.assertRaisesRegex(Refused, OFFLINE, self.first)
        self.assertRaises(PyconsulError, self.router.ask, self.methods["KVS.Get"], get("a", datacenter="dc2"))
        self.heard(JOIN, 2)
        self.assertTrue(self.first())

    def test_changes_meanwhile(self) -> None:
        """Who left while others were asked does not come back; who came stays."""
        self.heard(LEAVE, 1, 2, 3)
        self.heard(JOIN, 4)
        self.pings.pop()[1].callback(True)
        self.assertEqual(self.first(), "127.0.0.4:8300")

    def test_again_and_again(self) -> None:
        self.pings.pop()[1].callback(True)
        self.clock.advance(REBALANCE_S * 1.5)
        self.assertEqual(len(self.pings), 1)
        self.router.stop()
        for _ in range(3):
            self.pings.pop()[1].errback(Unreachable("shutting down"))
        self.assertTrue(self.first())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_bug(self) -> None:
        self.pings.pop()[1].errback(ValueError("a bug"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
