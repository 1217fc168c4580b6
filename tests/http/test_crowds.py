"""Clients that wait for the same: asked once, answered all, nobody later or staler than alone."""

from __future__ import annotations

import gzip
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import NoLeader
from pyconsul.http import crowds as module
from pyconsul.structs.kv import IndexedDirEntries
from tests.http.fakes import Client, FakeAgent, entry, meta, request, site

TARGET = "/v1/kv/a?index=5&wait=600s"


class CrowdTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.agent = FakeAgent()
        self.waiting: list[Deferred[Any]] = []
        self.agent.replies["KVS.Get"] = self.park
        self.site = site(self.agent, self.clock)

    def park(self, request: Any) -> Deferred[Any]:
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def clients(self, number: int, target: str = TARGET, headers: str = "") -> list[Client]:
        made = [Client(self.site) for _ in range(number)]
        for client in made:
            self.assertEqual(client.get(target, headers=headers), b"")
        return made

    def answer(self, number: int = 0) -> None:
        self.waiting[number].callback(IndexedDirEntries(entries=[entry()], **meta()))

    def test_asked_once(self) -> None:
        """All get the same answer, and go on with their connections."""
        clients = self.clients(3)
        self.assertEqual(len(self.waiting), 1)
        self.answer()
        first, *others = [client.received() for client in clients]
        self.assertIn(b"X-Consul-Index: 7\r\n", first)
        self.assertIn(b'"Key":"a"', first)
        self.assertEqual(others, [first, first])
        again = [client.get("/v1/status/leader") for client in clients]
        self.assertEqual(again, [b'"192.0.2.1:8300"' in one and one for one in again])

    def test_pipelined(self) -> None:
        """What a client has sent meanwhile is answered after it."""
        client, _ = self.clients(2)
        self.assertEqual(client.get("/v1/status/leader"), b"")
        self.answer()
        self.assertRegex(client.received(), b'(?s)"Key":"a".*192.0.2.1:8300')

    def test_each_as_he_takes_it(self) -> None:
        """Those who take gzip get that."""
        (plain,) = self.clients(1)
        packed = self.clients(2, headers="Accept-Encoding: gzip\r\n")
        self.assertEqual(len(self.waiting), 1)
        self.answer()
        body = plain.received().partition(b"\r\n\r\n")[2]
        for client in packed:
            head, _, small = client.received().partition(b"\r\n\r\n")
            self.assertIn(b"Content-Encoding: gzip\r\n", head)
            self.assertEqual(gzip.decompress(small), body)

    def test_failure(self) -> None:
        """All hear of it."""
        clients = self.clients(2)
        self.waiting[0].errback(NoLeader())
        for client in clients:
            self.assertIn(b"No cluster leader", client.received())

    def test_different_requests(self) -> None:
        """Only what is the same byte for byte is asked once."""
        self.clients(1)
        self.clients(1, TARGET + "&pretty")
        self.clients(1, "/v1/kv/b?index=5&wait=600s")
        self.assertEqual(len(self.waiting), 3)

    def test_alone(self) -> None:
        """Whose answer may be another, or must be confirmed for him, waits alone."""
        for target, headers in (
            ("/v1/kv/a?index=5&consistent", ""),
            ("/v1/kv/a?index=5&stale&max_stale=1s", ""),
            ("/v1/kv/a?index=5&token=t", ""),
            ("/v1/kv/a?index=5&dc=dc1", ""),
            ("/v1/kv/a?index=5", "X-Consul-Token: t\r\n"),
            ("/v1/kv/a?index=5", "Connection: close\r\n"),
            ("/v1/kv/a", ""),
        ):
            self.waiting.clear()
            self.clients(2, target, headers)
            self.assertEqual(len(self.waiting), 2, target)

    def test_without_the_lease(self) -> None:
        """Who asks has to be told what was true then; nobody else vouches for that."""
        self.agent.leased = False
        self.clients(2)
        self.assertEqual(len(self.waiting), 2)
        self.agent.leased = True
        self.clients(2)
        self.assertEqual(len(self.waiting), 3)
        self.agent.leased = False
        self.clients(1)
        self.assertEqual(len(self.waiting), 4)

    def test_stale(self) -> None:
        """A stale read asks for no such thing."""
        self.agent.leased = False
        self.clients(2, "/v1/kv/a?stale&index=5")
        self.assertEqual(len(self.waiting), 1)

    def test_too_late(self) -> None:
        """Nobody joins who would wait for less than he asked for."""
        self.clients(1)
        self.clock.advance(9.9)
        self.clients(1)
        self.clock.advance(0.2)
        self.clients(2)
        self.assertEqual(len(self.waiting), 2)
        self.answer(0)
        self.clients(1)
        self.assertEqual(len(self.waiting), 2)

    def test_answered(self) -> None:
        """Who comes after the answer asks anew."""
        self.clients(1)
        self.answer()
        self.clients(1)
        self.assertEqual(len(self.waiting), 2)

    def test_answered_at_once(self) -> None:
        """No crowd gathers around what does not wait."""
        done: Deferred[Any] = Deferred()
        done.callback(IndexedDirEntries(entries=[entry()], **meta()))
        self.agent.replies["KVS.Get"] = done
        self.assertIn(b'"Key":"a"', Client(self.site).get(TARGET))

    def test_gone(self) -> None:
        """The read is cancelled when the last has gone."""
        first, second = self.clients(2)
        first.lose()
        self.assertFalse(self.waiting[0].called)
        second.lose()
        self.assertTrue(self.waiting[0].called)
        self.clients(1)
        self.assertEqual(len(self.waiting), 2)

    def test_turns(self) -> None:
        """Very many are answered a part at a time, each once; some go meanwhile."""
        self.patch(module, "ANSWERED_PER_TURN_MAX", 2)
        clients = self.clients(5)
        self.answer()
        self.assertEqual([bool(client.received()) for client in clients], [True] * 2 + [False] * 3)
        clients[3].lose()
        self.clock.advance(0)
        self.assertEqual([bool(client.received()) for client in clients], [False] * 2 + [True, False, True])
        self.assertEqual(self.clock.getDelayedCalls()[1:], [])

    def test_one_lost_by_anothers_answer(self) -> None:
        """A write to one may end another."""
        first, second = self.clients(2)
        write = first.transport.write

        def written(data: bytes) -> None:
            write(data)
            second.lose()

        first.transport.write = written  # type: ignore[method-assign]
        self.answer()
        self.assertIn(b'"Key":"a"', first.received())
        self.assertEqual(second.received(), b"")

    def test_bug(self) -> None:
        """An answer that cannot be rendered ends the connections rather than leave them waiting."""
        clients = self.clients(2)
        self.patch(self.site.surface, "render", lambda *arguments: 1 / 0)
        self.answer()
        self.assertEqual([client.transport.disconnected for client in clients], [True, True])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)


class ConfirmationTests(SynchronousTestCase):
    """Those who are given a kept answer once the leader is confirmed."""

    TARGET = "/v1/kv/a?consistent"

    def setUp(self) -> None:
        self.clock = Clock()
        self.agent = FakeAgent()
        self.site = site(self.agent, self.clock)
        for _ in range(2):  # then it is kept
            Client(self.site).get(self.TARGET)

    def clients(self, number: int, headers: str = "") -> list[Client]:
        """They ask in one turn."""
        made = [Client(self.site) for _ in range(number)]
        for client in made:
            client.channel.dataReceived(request(self.TARGET, headers=headers))
            self.assertEqual(client.received(), b"")
        return made

    def test_one_question(self) -> None:
        """All of a turn share one, and their connections go on; who comes later has another."""
        clients = self.clients(3)
        confirmed = self.agent.confirmed = Deferred()
        others = self.clients(1)
        self.assertEqual(self.agent.confirming, 1)
        self.agent.turn()
        first, *rest = [client.received() for client in clients + others]
        self.assertIn(b'"Key":"a"', first)
        self.assertEqual(rest, [first] * 3)
        for client in self.clients(2) + [clients[0]]:
            client.channel.dataReceived(request(self.TARGET))
        self.assertEqual(self.agent.confirming, 2)
        self.agent.turn()
        late = self.clients(1)
        self.assertEqual((self.agent.confirming, clients[0].received()), (3, b""))
        confirmed.callback(None)
        self.assertEqual(clients[0].received(), first)
        self.agent.turn()
        self.assertEqual(late[0].received(), first)
        self.assertEqual(len(self.agent.asked), 2)

    def test_each_as_he_takes_it(self) -> None:
        (plain,) = self.clients(1)
        (packed,) = self.clients(1, "Accept-Encoding: gzip\r\n")
        self.agent.turn()
        body = plain.received().partition(b"\r\n\r\n")[2]
        head, _, small = packed.received().partition(b"\r\n\r\n")
        self.assertIn(b"Content-Encoding: gzip\r\n", head)
        self.assertEqual(gzip.decompress(small), body)

    def test_changed_meanwhile(self) -> None:
        """Each is given what is there now, which takes no kept answer."""
        clients = self.clients(2)
        self.agent.wake()
        self.agent.turn()
        for client in clients:
            self.assertIn(b'"Key":"a"', client.received())
        self.assertEqual((len(self.agent.asked), self.agent.confirming), (4, 1))

    def test_changed_meanwhile_and_that_takes_long(self) -> None:
        waiting: Deferred[Any] = Deferred()
        self.agent.replies["KVS.Get"] = waiting
        (client,) = self.clients(1)
        self.agent.wake()
        self.agent.turn()
        self.assertEqual(client.received(), b"")
        waiting.callback(IndexedDirEntries(entries=[entry()], **meta()))
        self.assertIn(b'"Key":"a"', client.received())

    def test_no_leader(self) -> None:
        """Found now or later: it is for the usual way to find another, or to say so."""
        self.agent.replies["KVS.Get"] = NoLeader()
        self.agent.confirmed = fail(NoLeader())
        (client,) = self.clients(1)
        self.agent.turn()
        self.assertIn(b"No cluster leader", client.received())

        def refuse(waiter: Any, leased: bool) -> Any:
            raise NoLeader()

        self.patch(self.agent, "confirm", refuse)
        self.assertIn(b"No cluster leader", client.get(self.TARGET))

    def test_gone(self) -> None:
        """Who is lost gets nothing, be it by the answer to another."""
        first, second, third = self.clients(3)
        third.lose()
        write = first.transport.write

        def written(data: bytes) -> None:
            write(data)
            second.lose()

        first.transport.write = written  # type: ignore[method-assign]
        self.agent.turn()
        self.assertIn(b'"Key":"a"', first.received())
        self.assertEqual((second.received(), third.received()), (b"", b""))
