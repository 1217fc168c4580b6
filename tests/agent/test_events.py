"""User events: the wrapper inside gossip's, whom they are for, the ring and waiting for news."""

from __future__ import annotations

import uuid
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent import events as module
from pyconsul.agent.events import Events, decode, encode, index_of
from pyconsul.agent.local import LocalState
from pyconsul.errors import PyconsulError, Refused
from pyconsul.serf.messages import UserEvent as GossipEvent
from pyconsul.structs.catalog import NodeService
from pyconsul.structs.event import EventFireRequest, EventFireResponse, UserEvent
from pyconsul.swim.wire import DecodeError
from tests.agent.world import World
from tests.swim.captured import captured

ID = "4229f63e-4f2f-4d06-5ae8-b458529c8770"


def event(number: int = 0, **more: Any) -> UserEvent:
    """An event whose id tells its number."""
    fields: dict[str, Any] = {"id": str(uuid.UUID(int=number)), "name": "deploy", "ltime": 5} | more
    return UserEvent(**fields)


class WrapperTests(SynchronousTestCase):
    def test_captured(self) -> None:
        (record,) = [r for r in captured("serf-messages") if r["name"] == "userEvent:consul:event:restart"]
        carrier = GossipEvent.decode(bytes.fromhex(record["message_hex"])[1:])
        found = decode(carrier)
        self.assertEqual((found.name, found.payload, found.version), ("restart", b"payload1", 1))
        self.assertEqual(found.ltime, carrier.ltime)
        self.assertEqual(encode(found), carrier.payload)

    def test_both_ways(self) -> None:
        """Everything but the time, which is gossip's; what is empty is left out."""
        for one in (
            event(payload=b"x" * 300, node_filter="n.*", service_filter="web", tag_filter="v1"),
            event(name="empty"),
        ):
            self.assertEqual(decode(GossipEvent(5, "consul:event:deploy", encode(one))), one)
        self.assertNotIn(b"\xa2nf", encode(event()))

    def test_odd_ones(self) -> None:
        for payload in (b"", b"\xc1", b"\xa1x", b"\x81\xa1n\x05", b"\x81\xa1v\xa1x"):
            self.assertRaises(DecodeError, decode, GossipEvent(1, "consul:event:x", payload))

    def test_index(self) -> None:
        """As a real agent gave it for this id."""
        self.assertEqual(index_of(ID), 1783779933767846518)
        for odd in ("", "short", "z" * 32, "4229f63e-4f2f"):
            self.assertTrue(1 <= index_of(odd) < 1 << 64)
        self.assertEqual(index_of("0" * 32), 1)


class EventsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.local = LocalState("n1")
        self.asked: list[tuple[str, EventFireRequest]] = []
        self.reply: Any = EventFireResponse()
        self.events = Events("n1", self.local, self._ask, self.clock, Random(1))

    def _ask(self, method: str, request: Any) -> Any:
        self.asked.append((method, request))
        return self.reply

    def receive(self, one: UserEvent) -> None:
        """Have an event come by gossip."""
        self.events.received(GossipEvent(one.ltime, "consul:event:" + one.name, encode(one)))

    def names(self, name: str = "") -> list[str]:
        return [one.name for one in self.events.list(name)[1]]


class FireTests(EventsTestCase):
    def test_by_way_of_a_server(self) -> None:
        fired = self.events.fire(event(name="deploy", payload=b"v1", ltime=0), "dc2", "token")
        ((method, request),) = self.asked
        self.assertEqual((method, request.datacenter, request.token), ("Internal.EventFire", "dc2", "token"))
        self.assertEqual((request.name, request.allow_stale), ("deploy", True))
        self.assertEqual(str(uuid.UUID(fired.id)), fired.id)
        self.assertEqual(decode(GossipEvent(0, "", request.payload or b"")), fired)
        self.assertEqual((fired.name, fired.payload, fired.ltime), ("deploy", b"v1", 0))
        self.assertEqual(self.names(), [])  # it comes by gossip, to this node as to others

    def test_later(self) -> None:
        self.reply = Deferred()
        fired = self.events.fire(event())
        self.assertNoResult(fired)
        self.reply.callback(EventFireResponse())
        self.assertEqual(self.successResultOf(fired).name, "deploy")

    def test_refused(self) -> None:
        cases: list[tuple[dict[str, Any], str]] = [
            ({"node_filter": "("}, "Invalid node filter: error parsing regexp: missing closing ): `(`"),
            ({"service_filter": "("}, "Invalid service filter: error parsing regexp"),
            ({"service_filter": "a", "tag_filter": "["}, "Invalid tag filter: error parsing regexp"),
            ({"tag_filter": "v1"}, "Cannot provide tag filter without service filter"),
        ]
        for filters, why in cases:
            error = self.assertRaises(Refused, self.events.fire, event(**filters))
            self.assertTrue(str(error).startswith(why), str(error))
        self.assertEqual(self.asked, [])


class ReceiveTests(EventsTestCase):
    def test_ring(self) -> None:
        for number in range(260):
            self.receive(event(number, name=f"e{number}"))
        self.assertEqual(self.names()[0], "e4")
        self.assertEqual((len(self.names()), self.names()[-1]), (256, "e259"))
        self.assertEqual(self.names("e7"), ["e7"])
        self.assertEqual(self.events.list("none"), (1, []))

    def test_filters(self) -> None:
        self.local.add_service(NodeService(id="w", service="web", tags=["v1", "eu"]))
        self.local.add_service(NodeService(id="d", service="db"))
        cases: list[tuple[dict[str, Any], bool]] = [
            ({}, True),
            ({"node_filter": "^n[12]$"}, True),
            ({"node_filter": "n2"}, False),
            ({"service_filter": "we"}, True),
            ({"service_filter": "^api"}, False),
            ({"service_filter": "web", "tag_filter": "^eu$"}, True),
            ({"service_filter": "db", "tag_filter": "eu"}, False),
            ({"node_filter": "n2", "service_filter": "web"}, False),
            ({"node_filter": "("}, False),
            ({"service_filter": "web", "tag_filter": "("}, False),
        ]
        for filters, meant in cases:
            before = len(self.names())
            self.receive(event(**filters))
            self.assertEqual(len(self.names()) - before, int(meant), filters)

    def test_other_events(self) -> None:
        """Some are the servers' own, some are nobody's, some cannot be understood."""
        leaders: list[str] = []
        jobs: list[UserEvent] = []
        self.receive(event(name="_rexec"))
        self.events.received(GossipEvent(1, "consul:new-leader", b"n3"))
        self.events.new_leader, self.events.remote_exec = leaders.append, jobs.append
        self.events.received(GossipEvent(1, "consul:new-leader", b"n3"))
        self.events.received(GossipEvent(2, "consul:dance", b""))
        self.events.received(GossipEvent(3, "deploy", b""))
        self.events.received(GossipEvent(4, "consul:event:x", b"\xc1"))
        self.receive(event(name="_rexec", payload=b"job"))
        self.receive(event(version=7))
        self.assertEqual(leaders, ["n3"])
        self.assertEqual([job.payload for job in jobs], [b"job"])
        self.assertEqual(self.names(), ["deploy"])


class WaitTests(EventsTestCase):
    def test_at_once(self) -> None:
        self.assertEqual(self.events.read("", 0, 0.0), (1, []))
        self.receive(event(7))
        index, found = self.events.read("", 1, 10.0)
        self.assertEqual((index, len(found)), (7, 1))

    def test_news(self) -> None:
        """Another name's events do not count; an index may well fall."""
        self.receive(event(7))
        waiting = self.events.read("deploy", 7, 10.0)
        self.receive(event(9, name="other"))
        self.assertNoResult(waiting)
        self.receive(event(3))
        index, found = self.successResultOf(waiting)
        self.assertEqual((index, [one.id for one in found]), (3, [event(7).id, event(3).id]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_time_is_over(self) -> None:
        for wait_s, limit_s in ((2.0, 2.0), (0.0, 600.0), (5000.0, 600.0)):
            waiting = self.events.read("", 1, wait_s)
            self.clock.advance(limit_s - 0.1)
            self.assertNoResult(waiting)
            self.clock.advance(0.2)
            self.assertEqual(self.successResultOf(waiting), (1, []))

    def test_gone(self) -> None:
        waiting = self.events.read("", 1, 10.0)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.receive(event())

    def test_stopped(self) -> None:
        waiting = self.events.read("", 1, 10.0)
        self.events.stop()
        self.assertEqual(self.successResultOf(waiting), (1, []))

    def test_bound(self) -> None:
        self.patch(module, "WAITING_MAX", 1)
        self.events.read("", 1, 10.0)
        self.assertRaises(PyconsulError, self.events.read, "", 1, 10.0)


class WholeTests(SynchronousTestCase):
    """Agents in one process."""

    def setUp(self) -> None:
        self.world = World()
        self.addCleanup(self.world.stop)
        self.server = self.world.cluster(1)[0]
        self.client = self.world.client(9, retry_join=("10.0.0.1",))
        self.client.startService()
        self.world.until(lambda: self.client._choice.current())

    def test_to_everybody(self) -> None:
        fired = self.client.events.fire(event(name="deploy", payload=b"v1", node_filter="n9"))
        waiting = self.client.events.read("", 1, 60.0)
        self.world.run_for(2.0)
        _, found = self.successResultOf(waiting)
        self.assertEqual([(one.id, one.payload) for one in found], [(self.successResultOf(fired).id, b"v1")])
        self.assertGreater(found[0].ltime, 0)
        self.assertEqual(self.server.events.list()[1], [])

    def test_too_large(self) -> None:
        fired = self.client.events.fire(event(payload=bytes(600)))
        self.world.run_for(1.0)
        error = self.failureResultOf(fired, PyconsulError).value
        limit = "user event exceeds configured limit of 512 bytes before encoding"
        problem = f'error broadcasting event to segment "": {limit}'
        self.assertEqual(str(error), f"rpc error making call: 1 error occurred:\n\t* {problem}\n\n")

    def test_new_leader(self) -> None:
        """Whoever begins to lead says so to all, clients as well."""
        heard: list[str] = []
        self.client.events.new_leader = heard.append
        self.server._became_ready()
        self.world.run_for(2.0)
        self.assertEqual(heard, ["n1"])
