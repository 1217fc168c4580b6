"""The catalog follows this node, against real tables that stand for the servers."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.antientropy import (
    FULL_SYNC_S,
    GATHER_S,
    IN_FLIGHT_MAX,
    RECONNECT_S,
    RETRY_MAX_S,
    RETRY_S,
    AntiEntropy,
    scale,
)
from pyconsul.agent.local import LocalState
from pyconsul.endpoints.base import Registry
from pyconsul.endpoints.catalog import Catalog
from pyconsul.endpoints.health import Health
from pyconsul.errors import NoServers, PyconsulError, Refused
from pyconsul.state import commands
from pyconsul.state.fsm import FSM
from pyconsul.state.store import Store
from pyconsul.structs.catalog import (
    CONNECT_PROXY,
    CRITICAL,
    PASSING,
    DeregisterRequest,
    HealthCheck,
    Node,
    NodeService,
    Proxy,
    RegisterRequest,
)

NODE = Node(
    id="0e243a1c-1e48-7a28-0dfb-191c86364e28",
    node="n1",
    address="192.0.2.1",
    datacenter="dc1",
    tagged_addresses={"lan": "192.0.2.1"},
    meta={"rack": "7"},
)
WEB = NodeService(id="web1", service="web", tags=["v1"], port=80)
DB = NodeService(id="db1", service="db", port=90)


def check(check_id: str = "c", service_id: str = "", **more: str) -> HealthCheck:
    facts: dict[str, Any] = {"status": CRITICAL, "type": "ttl"} | more
    return HealthCheck(check_id=check_id, name=check_id, service_id=service_id, **facts)


class Servers:
    """What answers: real endpoints over one store, at once or when told, over the wire's encoding."""

    def __init__(self) -> None:
        self.store = Store()
        self.fsm = FSM(self.store)
        self.registry = Registry([Catalog(self.store, "dc1"), Health(self.store, "dc1")])
        self.index = 1
        self.asked: list[str] = []
        self.writes: list[Any] = []
        self.trouble: dict[str, Exception] = {}
        self.slow = False
        self.waiting: list[tuple[Deferred[Any], str, Any]] = []

    def ask(self, method: str, request: Any) -> Any:
        self.asked.append(method)
        if self.slow:
            done: Deferred[Any] = Deferred()
            self.waiting.append((done, method, request))
            return done
        return self.answer(method, request)

    def answer_next(self) -> str:
        """Answer the oldest question; gives the method."""
        done, method, request = self.waiting.pop(0)
        try:
            done.callback(self.answer(method, request))
        except PyconsulError as error:
            done.errback(error)
        return method

    def answer(self, method: str, request: Any) -> Any:
        service_id = getattr(request, "service_id", "") or getattr(
            getattr(request, "service", None), "id", ""
        )
        for what in ("", method, service_id):
            if what in self.trouble:
                raise self.trouble[what]
        declared = self.registry.get(method)
        assert declared is not None
        request = msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=declared.request)
        if declared.kind == "read":
            reply = declared.call(request).reply
            return msgspec.msgpack.decode(msgspec.msgpack.encode(reply), type=declared.reply)
        self.writes.append(request)
        return self.apply(declared.call(request))

    def apply(self, command: bytes) -> Any:
        self.index += 1
        result = self.fsm.apply(self.index, command)
        if isinstance(result, PyconsulError):
            raise result
        return result

    def register(self, **more: Any) -> None:
        """Somebody else registers something on the node."""
        request = RegisterRequest(node="n1", address="192.0.2.1", skip_node_update=True, **more)
        self.apply(commands.encode_register(request))

    def deregister(self, **more: str) -> None:
        """Somebody else removes something of the node."""
        self.apply(commands.encode_deregister(DeregisterRequest(node="n1", **more)))

    def services(self) -> list[str]:
        return [row.id for row in self.store.catalog.node_services("n1")[2]]

    def checks(self) -> dict[str, str]:
        return {row.check_id: row.status for row in self.store.catalog.node_checks("n1")[1]}


class Base(SynchronousTestCase):
    output_interval_s = 0.0

    def setUp(self) -> None:
        self.clock = Clock()
        self.servers = Servers()
        self.local = LocalState("n1")
        self.sync = AntiEntropy(self.servers, NODE, self.local, self.clock, Random(1), self.output_interval_s)

    def start(self) -> None:
        self.sync.start()
        self.clock.advance(0)

    def soon(self) -> None:
        """Let what changed be sent."""
        self.clock.advance(GATHER_S)

    def full(self) -> None:
        """Let a full sync come due."""
        self.clock.advance(2 * FULL_SYNC_S)

    def assert_quiet(self) -> None:
        """A full sync finds nothing to do."""
        writes = len(self.servers.writes)
        self.full()
        self.assertEqual(self.servers.writes[writes:], [])


class SyncTests(Base):
    def test_start(self) -> None:
        """At start the node and all that it runs is registered, at once."""
        self.local.add_service(WEB)
        self.local.add_check(check(service_id="web1"), None)
        self.local.add_check(check("node", status=PASSING), None)
        self.assertEqual(self.servers.asked, [])
        self.start()
        row = self.servers.store.catalog.node("n1")
        assert row is not None
        self.assertEqual(replace(row, create_index=0, modify_index=0), NODE)
        self.assertEqual(self.servers.services(), ["web1"])
        self.assertEqual(self.servers.checks(), {"c": CRITICAL, "node": PASSING})
        self.assertEqual(len(self.servers.writes), 3)  # the node, the service with its check, a check
        self.assert_quiet()

    def test_changes_are_sent(self) -> None:
        """Each change goes out, those of one moment together, and nothing but the change."""
        self.start()
        self.servers.asked.clear()
        self.local.add_service(WEB)
        self.local.add_service(DB)
        self.local.add_check(check(service_id="web1"), None)
        self.assertEqual(self.servers.asked, [])
        self.soon()
        self.assertEqual(self.servers.asked, ["Catalog.Register"] * 2)
        self.local.update_check("c", PASSING, "fine")
        self.soon()
        self.assertEqual(self.servers.checks(), {"c": PASSING})
        self.local.remove_service("web1")
        self.soon()
        self.assertEqual((self.servers.services(), self.servers.checks()), (["db1"], {}))
        self.assertEqual((self.local.gone_services, self.local.gone_checks), ({}, {}))
        self.assert_quiet()

    def test_same_again(self) -> None:
        """To register the same again and again costs the servers nothing."""
        self.start()
        for _ in range(3):
            self.local.add_service(WEB)
            self.local.add_check(check(service_id="web1"), None)
            self.soon()
        self.assertEqual(len(self.servers.writes), 2)

    def test_full_sync(self) -> None:
        """About once a minute both sides are compared."""
        self.start()
        count = self.servers.asked.count("Catalog.NodeServices")
        self.clock.advance(FULL_SYNC_S - 1)
        self.assertEqual(self.servers.asked.count("Catalog.NodeServices"), count)
        self.clock.advance(FULL_SYNC_S + 1)
        self.assertEqual(self.servers.asked.count("Catalog.NodeServices"), count + 1)

    def test_what_others_changed(self) -> None:
        """What the servers lost or got wrong is put right."""
        self.local.add_service(WEB)
        self.local.add_service(DB)
        self.local.add_check(check(service_id="web1"), None)
        self.local.add_check(check("node"), None)
        self.start()
        self.servers.register(service=replace(WEB, port=81))
        self.servers.deregister(service_id="db1")
        self.servers.register(check=check("node", status=PASSING))
        self.servers.deregister(check_id="c")
        self.full()
        self.assertEqual(self.servers.services(), ["db1", "web1"])
        row = self.servers.store.catalog.service_of("n1", "web1")
        assert row is not None
        self.assertEqual(row.port, 80)
        self.assertEqual(self.servers.checks(), {"c": CRITICAL, "node": CRITICAL})
        self.assert_quiet()

    def test_the_node_is_lost(self) -> None:
        """If the whole node is gone all of it comes back; so does its metadata."""
        self.local.add_service(WEB)
        self.start()
        self.servers.deregister()
        self.full()
        self.assertEqual(self.servers.services(), ["web1"])
        self.servers.apply(
            commands.encode_register(RegisterRequest(id=NODE.id, node="n1", address="192.0.2.1"))
        )
        self.full()
        row = self.servers.store.catalog.node("n1")
        assert row is not None
        self.assertEqual(row.meta, {"rack": "7"})

    def test_strays(self) -> None:
        """What this node does not run is removed, but not what the leader keeps there."""
        self.start()
        self.servers.register(service=NodeService(id="consul", service="consul", port=8300))
        self.servers.register(check=check("serfHealth", status=PASSING))
        self.servers.register(service=DB, check=check("of-db", "db1"))
        self.servers.register(check=check("stray"))
        self.servers.asked.clear()
        self.full()
        self.assertEqual(self.servers.services(), ["consul"])
        self.assertEqual(self.servers.checks(), {"serfHealth": PASSING})
        # The check of a service goes with it.
        self.assertEqual(self.servers.asked.count("Catalog.Deregister"), 2)
        self.assert_quiet()

    def test_odd_but_equal(self) -> None:
        """Empty and missing are the same, so that nothing is sent for ever."""
        self.local.add_service(
            replace(WEB, tags=None, meta={}, connect=None, proxy=Proxy(upstreams=msgspec.UNSET))
        )
        self.local.add_check(check(service_id="web1"), None)
        self.start()
        self.assert_quiet()

    def test_tag_override(self) -> None:
        """Where others may set the tags, theirs become ours; elsewhere ours win."""
        self.local.add_service(replace(WEB, enable_tag_override=True))
        self.local.add_service(DB)
        self.local.add_check(check(service_id="web1"), None)
        self.start()
        for service in (replace(WEB, tags=["theirs"], enable_tag_override=True), replace(DB, tags=["x"])):
            self.servers.register(service=service)
        self.full()
        self.assertEqual(self.local.services["web1"].service.tags, ["theirs"])
        for name, tags in (("web1", ["theirs"]), ("db1", [])):
            row = self.servers.store.catalog.service_of("n1", name)
            assert row is not None
            self.assertEqual(row.tags or [], tags)
        self.assert_quiet()


class TroubleTests(Base):
    def test_retry(self) -> None:
        """What fails is tried again, later each time, and nothing is forgotten."""
        self.local.add_service(WEB)
        self.servers.trouble[""] = NoServers()
        self.start()
        for factor in (1, 2, 4, 8, 12, 12):
            wait_s = factor * RETRY_S
            asked = len(self.servers.asked)
            self.clock.advance(wait_s / 2 - 0.01)
            self.assertEqual(len(self.servers.asked), asked)
            self.clock.advance(wait_s + 0.02)
            self.assertEqual(len(self.servers.asked), asked + 1)
        self.assertEqual(wait_s, RETRY_MAX_S)
        del self.servers.trouble[""]
        self.clock.advance(1.5 * RETRY_MAX_S)
        self.assertEqual(self.servers.services(), ["web1"])

    def test_servers_back(self) -> None:
        """However long there was none, a server that is back is asked at once, and patience begins anew."""
        self.servers.trouble[""] = NoServers()
        self.local.add_service(WEB)
        self.start()
        for _ in range(6):
            self.clock.advance(2 * RETRY_MAX_S)
        del self.servers.trouble[""]
        self.sync.servers_changed()
        self.clock.advance(0.1)
        self.assertEqual(self.servers.services(), ["web1"])

    def test_a_change_need_not_wait_for_the_retry(self) -> None:
        """Something new is tried at once."""
        self.servers.trouble[""] = NoServers()
        self.start()
        del self.servers.trouble[""]
        self.local.add_service(WEB)
        self.soon()
        self.assertEqual(self.servers.services(), ["web1"])

    def test_failed_deregistration(self) -> None:
        """What the servers still have to forget stays noted."""
        self.local.add_service(WEB)
        self.local.add_check(check("node"), None)
        self.start()
        self.servers.trouble["Catalog.Deregister"] = NoServers()
        self.local.remove_service("web1")
        self.local.remove_check("node")
        self.soon()
        self.assertEqual(self.servers.services(), ["web1"])
        del self.servers.trouble["Catalog.Deregister"]
        self.clock.advance(1.5 * RETRY_S)
        self.assertEqual((self.servers.services(), self.servers.checks()), ([], {}))

    def test_back_before_it_was_forgotten(self) -> None:
        """What is registered again is not deregistered any more."""
        self.local.add_service(WEB)
        self.local.add_check(check("node"), None)
        self.start()
        self.local.remove_service("web1")
        self.local.remove_check("node")
        self.local.add_service(replace(WEB, port=81))
        self.local.add_check(check("node"), None)
        self.soon()
        self.assertNotIn("Catalog.Deregister", self.servers.asked)
        self.assert_quiet()

    def test_one_that_is_refused(self) -> None:
        """What the servers do not want keeps nothing else from them, and is tried again."""
        self.local.add_service(NodeService(id="bad", kind=CONNECT_PROXY, service="bad"))
        self.local.add_check(check("of-bad", "bad"), None)
        self.local.add_service(WEB)
        self.local.add_check(check("node"), None)
        self.start()
        self.assertEqual((self.servers.services(), self.servers.checks()), (["web1"], {"node": CRITICAL}))
        asked = len(self.servers.asked)
        self.clock.advance(1.5 * RETRY_S)
        self.assertEqual(len(self.servers.asked), asked + 2)  # the service and its check
        self.local.add_service(
            NodeService(
                id="bad",
                kind=CONNECT_PROXY,
                service="bad",
                port=1,
                proxy=Proxy(destination_service_name="web"),
            )
        )
        self.soon()
        self.assertEqual(self.servers.services(), ["bad", "web1"])
        self.assert_quiet()

    def test_refused_deregistration(self) -> None:
        """The same for what is to go."""
        self.local.add_service(WEB)
        self.local.add_service(DB)
        self.start()
        self.local.remove_service("web1")
        self.local.remove_service("db1")
        self.servers.trouble["web1"] = Refused("no")
        self.soon()
        self.assertEqual(self.servers.services(), ["web1"])

    def test_a_refused_node(self) -> None:
        """Without the node nothing else can be registered."""
        self.local.add_service(WEB)
        self.servers.trouble["Catalog.Register"] = Refused("name taken")
        self.start()
        self.assertEqual(self.servers.asked.count("Catalog.Register"), 1)

    def test_a_bug(self) -> None:
        """It is logged, and later tried again."""
        self.servers.trouble[""] = ZeroDivisionError("a bug")
        self.start()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        del self.servers.trouble[""]
        self.clock.advance(1.5 * RETRY_S)
        self.assertIsNotNone(self.servers.store.catalog.node("n1"))


class SlowTests(Base):
    """Things that happen while the servers think."""

    def setUp(self) -> None:
        super().setUp()
        self.local.add_service(WEB)
        self.local.add_check(check("node"), None)
        self.servers.slow = True

    def answer_all(self) -> list[str]:
        """Answer until nothing is asked any more, with time for what comes after."""
        methods: list[str] = []
        for _ in range(50):
            if not self.servers.waiting:
                self.soon()
                if not self.servers.waiting:
                    return methods
            methods.append(self.servers.answer_next())
        raise AssertionError("it never ends")

    def test_change_while_comparing(self) -> None:
        """It is in the same push."""
        self.start()
        self.local.add_service(DB)
        self.local.update_check("node", PASSING, "")
        self.answer_all()
        self.assertEqual(self.servers.services(), ["db1", "web1"])
        self.assertEqual(self.servers.checks(), {"node": PASSING})

    def test_change_while_pushing(self) -> None:
        """What changes while its old form is on its way is sent again."""
        self.start()
        for method in ("Catalog.NodeServices", "Health.NodeChecks", "Catalog.Register"):
            self.assertEqual(self.servers.answer_next(), method)
        self.local.add_service(replace(WEB, port=81))  # web1 is on its way
        self.assertEqual(self.servers.answer_next(), "Catalog.Register")
        self.local.update_check("node", PASSING, "")  # so is this check
        self.answer_all()
        row = self.servers.store.catalog.service_of("n1", "web1")
        assert row is not None
        self.assertEqual((row.port, self.servers.checks()), (81, {"node": PASSING}))
        self.servers.slow = False
        self.assert_quiet()

    def test_gone_while_pushing(self) -> None:
        """A service that is removed while it is on its way is removed there too."""
        self.start()
        for _ in range(3):
            self.servers.answer_next()
        self.local.remove_service("web1")
        self.local.remove_check("node")
        self.answer_all()
        self.assertEqual((self.servers.services(), self.servers.checks()), ([], {}))

    def test_back_while_removing(self) -> None:
        """And one that comes back while it is being removed is registered again."""
        self.start()
        self.answer_all()
        self.local.remove_service("web1")
        self.local.remove_check("node")
        self.soon()
        self.local.add_service(WEB)
        self.local.add_check(check("node"), None)
        self.answer_all()
        self.assertEqual((self.servers.services(), self.servers.checks()), (["web1"], {"node": CRITICAL}))

    def test_gone_before_its_turn(self) -> None:
        """What is removed before it was sent is not sent."""
        ids = self.pushing_many()
        check_ids = [f"c{number:02}" for number in range(2 * IN_FLIGHT_MAX)]
        for check_id in check_ids:
            self.local.add_check(check(check_id), None)
        del self.local.services[ids[-1]]
        while not self.servers.checks():
            self.servers.answer_next()
        del self.local.checks[check_ids[-1]]
        self.answer_all()
        self.assertEqual(self.servers.services(), [*ids[:-1], "web1"])
        self.assertEqual(sorted(self.servers.checks()), [*check_ids[:-1], "node"])

    def test_one_at_a_time(self) -> None:
        """However much changes, one sync runs at a time."""
        self.start()
        for number in range(5):
            self.local.add_service(replace(DB, id=f"db{number}"))
            self.clock.advance(RETRY_S)
            self.assertEqual(len(self.servers.waiting), 1)
        self.answer_all()
        self.assertEqual(len(self.servers.services()), 6)

    def pushing_many(self) -> list[str]:
        """Twice as many services as may be on their way at a time, when the first ones are."""
        ids = [f"db{number:02}" for number in range(2 * IN_FLIGHT_MAX)]
        for service_id in ids:
            self.local.add_service(replace(DB, id=service_id))
        self.start()
        for method in ("Catalog.NodeServices", "Health.NodeChecks", "Catalog.Register"):
            self.assertEqual(self.servers.answer_next(), method)
        self.assertEqual(len(self.servers.waiting), IN_FLIGHT_MAX)
        return ids

    def test_some_at_a_time(self) -> None:
        """Several registrations are on their way at once, and not more than may be."""
        ids = self.pushing_many()
        while self.servers.waiting:
            self.servers.answer_next()
            self.assertLessEqual(len(self.servers.waiting), IN_FLIGHT_MAX)
        self.assertEqual(self.servers.services(), [*ids, "web1"])

    def test_no_more_after_a_failure(self) -> None:
        """What is on its way is waited for, the rest is left for the next attempt."""
        ids = self.pushing_many()
        self.servers.trouble[""] = NoServers()
        self.servers.answer_next()
        self.servers.trouble.clear()
        begun = len(self.servers.asked)
        while self.servers.waiting:
            self.servers.answer_next()
        self.assertEqual(len(self.servers.asked), begun)
        self.assertEqual(len(self.servers.services()), IN_FLIGHT_MAX - 1)
        self.clock.advance(1.5 * RETRY_S)
        self.answer_all()
        self.assertEqual(self.servers.services(), [*ids, "web1"])

    def test_stop_while_pushing(self) -> None:
        """All that is on its way is given up."""
        self.pushing_many()
        self.sync.stop()
        self.assertTrue(all(done.called for done, _, _ in self.servers.waiting))
        self.assertEqual((self.clock.getDelayedCalls(), self.flushLoggedErrors()), ([], []))

    def test_servers_change_while_comparing(self) -> None:
        """The new servers may know nothing of this, so both sides are compared again."""
        self.start()
        self.sync.servers_changed()
        methods = self.answer_all()
        self.clock.advance(RECONNECT_S)
        methods += self.answer_all()
        self.assertEqual(methods.count("Catalog.NodeServices"), 2)

    def test_servers_change(self) -> None:
        """A client that finds servers again compares soon."""
        self.start()
        self.answer_all()
        self.sync.servers_changed()
        self.clock.advance(RECONNECT_S)
        self.assertIn("Catalog.NodeServices", self.answer_all())

    def test_failed_comparison(self) -> None:
        """A comparison that failed is still due."""
        self.start()
        self.servers.trouble["Health.NodeChecks"] = NoServers()
        self.servers.answer_next()
        self.servers.answer_next()
        self.servers.trouble.clear()
        self.clock.advance(1.5 * RETRY_S)
        self.assertEqual(self.servers.waiting[0][1], "Catalog.NodeServices")

    def test_stop(self) -> None:
        """What is on its way is given up, and nothing is logged as wrong or started again."""
        cancelled: list[object] = []
        self.start()
        done, _, _ = self.servers.waiting[0]
        done._canceller = cancelled.append
        self.sync.stop()
        self.assertEqual(len(cancelled), 1)
        self.sync.stop()
        self.local.add_service(DB)
        self.sync.servers_changed()
        self.full()
        self.assertEqual((len(self.servers.asked), self.clock.getDelayedCalls()), (1, []))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_stop_between(self) -> None:
        """Nor is anything left of the timer."""
        self.start()
        self.answer_all()
        self.sync.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_start_again(self) -> None:
        """A new start compares anew."""
        self.start()
        self.sync.stop()
        self.start()
        self.servers.waiting.pop(0)
        self.answer_all()
        self.assertEqual(self.servers.services(), ["web1"])


class OutputTests(Base):
    """``check_update_interval``: a new output alone is no reason to write."""

    output_interval_s = 40.0

    def setUp(self) -> None:
        super().setUp()
        self.local.add_check(check("node", status=PASSING), None)
        self.start()
        self.soon()
        self.writes = len(self.servers.writes)

    def output(self) -> str:
        row = self.servers.store.catalog.node_check("n1", "node")
        assert row is not None
        return row.output

    def new_writes(self) -> int:
        count = len(self.servers.writes) - self.writes
        self.writes += count
        return count

    def test_later(self) -> None:
        """Many outputs make one write, after half the interval to the whole of it."""
        for number in range(10):
            self.local.update_check("node", PASSING, f"output {number}")
            self.clock.advance(1.0)
        self.assertEqual((self.new_writes(), self.output()), (0, ""))
        self.clock.advance(9.0)
        self.assertEqual(self.new_writes(), 0)
        self.clock.advance(22.0)
        self.assertEqual((self.new_writes(), self.output()), (1, "output 9"))
        self.clock.advance(60.0)
        self.assertEqual(self.new_writes(), 0)

    def test_a_new_state(self) -> None:
        """A new state goes out at once, with the output; nothing more is due then."""
        self.local.update_check("node", PASSING, "a")
        self.local.update_check("node", CRITICAL, "b")
        self.soon()
        self.assertEqual((self.new_writes(), self.output()), (1, "b"))
        self.clock.advance(60.0)
        self.assertEqual(self.new_writes(), 0)

    def test_comparison(self) -> None:
        """A comparison does not take it for a difference."""
        self.clock.advance(FULL_SYNC_S - 15.0)
        self.local.update_check("node", PASSING, "a")
        self.sync.servers_changed()
        self.soon()
        self.assertEqual((self.new_writes(), self.output()), (0, ""))

    def test_while_pushing(self) -> None:
        """An output that comes while the state is on its way waits for its time, too."""
        self.servers.slow = True
        self.local.update_check("node", CRITICAL, "a")
        self.soon()
        self.local.update_check("node", CRITICAL, "b")
        self.servers.answer_next()
        self.servers.slow = False
        self.assertEqual((self.new_writes(), self.output()), (1, "a"))
        self.clock.advance(45.0)
        self.assertEqual((self.new_writes(), self.output()), (1, "b"))

    def test_gone(self) -> None:
        """A check that is gone by then is of no interest."""
        self.local.update_check("node", PASSING, "a")
        self.local.remove_check("node")
        self.soon()
        self.new_writes()
        self.clock.advance(60.0)
        self.assertEqual((self.new_writes(), self.servers.checks()), (0, {}))


class RestartTests(Base):
    """What an agent knows again after a restart is not sent to servers that know it."""

    def registered(self) -> None:
        """The servers know a service with a check that was found passing."""
        self.servers.register(service=WEB)
        self.servers.register(
            check=check(service_id="web1", status=PASSING, output="fine", service_name="web")
        )

    def restored(self, unproven: bool) -> None:
        """The agent has it back, not knowing how it is."""
        self.registered()
        self.local.add_service(WEB)
        self.local.add_check(check(service_id="web1"), None, unproven=unproven)
        self.start()

    def test_state_of_a_check(self) -> None:
        """What has not run yet goes on with the state that the servers know."""
        self.restored(unproven=True)
        found = self.local.checks["c"].check
        self.assertEqual((found.status, found.output), (PASSING, "fine"))
        self.assertEqual([type(write) for write in self.servers.writes], [RegisterRequest])
        self.assertIsNone(self.servers.writes[0].service)  # the node alone
        self.assert_quiet()

    def test_new_result(self) -> None:
        """Once it has run its own result counts, also if it is the one that it began with."""
        self.restored(unproven=True)
        self.local.update_check("c", CRITICAL, "down")
        self.soon()
        self.assertEqual(self.servers.checks(), {"c": CRITICAL})
        self.full()
        self.assertEqual(self.servers.checks(), {"c": CRITICAL})

    def test_which_servers(self) -> None:
        """At first the leader is asked, since another server may be behind; later any will do."""
        questions: list[Any] = []
        answer = self.servers.answer

        def noting(method: str, request: Any) -> Any:
            if method == "Catalog.NodeServices":
                questions.append((request.allow_stale, request.max_stale_duration > 0))
            return answer(method, request)

        self.patch(self.servers, "answer", noting)
        self.start()
        self.full()
        self.sync.servers_changed()
        self.clock.advance(RECONNECT_S)
        self.servers.trouble[""] = NoServers()
        self.full()
        self.servers.trouble.clear()
        self.full()
        self.assertEqual(questions[:4], [(False, False), (True, True), (False, False), (True, True)])
        self.assertIn((False, False), questions[4:])

    def test_leader_found(self) -> None:
        """Whoever tried in vain tries again as soon as there is a leader."""
        self.start()
        asked = len(self.servers.asked)
        self.sync.leader_found()
        self.clock.advance(RECONNECT_S)
        self.assertEqual(len(self.servers.asked), asked)
        self.servers.trouble[""] = NoServers()
        self.local.add_service(WEB)
        for _ in range(5):
            self.clock.advance(RETRY_MAX_S)
        self.servers.trouble.clear()
        self.sync.leader_found()
        self.clock.advance(RECONNECT_S)
        self.assertEqual(self.servers.services(), ["web1"])

    def test_registered_now(self) -> None:
        """One that is registered anew is as it was registered."""
        self.restored(unproven=False)
        self.assertEqual(self.servers.checks(), {"c": CRITICAL})


class ScaleTests(Base):
    members = 0

    def test_scale(self) -> None:
        """Up to 128 nodes nothing changes; each doubling adds one."""
        self.assertEqual([scale(n) for n in (0, 1, 128, 129, 256, 257, 512, 8192)], [1, 1, 1, 2, 2, 3, 3, 7])

    def many(self) -> None:
        self.sync = AntiEntropy(
            self.servers, NODE, self.local, self.clock, Random(1), members=lambda: self.members
        )

    def test_large_cluster(self) -> None:
        """Full syncs are rarer there."""
        self.members = 1000
        self.many()
        self.start()
        count = self.servers.asked.count("Catalog.NodeServices")
        self.clock.advance(4 * FULL_SYNC_S - 1)
        self.assertEqual(self.servers.asked.count("Catalog.NodeServices"), count)
        self.clock.advance(4 * FULL_SYNC_S + 1)
        self.assertEqual(self.servers.asked.count("Catalog.NodeServices"), count + 1)
        self.assertEqual(self.sync.asked, len(self.servers.asked))

    def test_reconnecting(self) -> None:
        """Many agents do not all come in the same moment; few need not wait."""
        for self.members, least, most in ((1, 0.0, 0.1), (1000, 0.1, 4 * RECONNECT_S + 0.1)):
            self.many()
            self.start()
            before = self.clock.seconds()
            self.servers.asked.clear()
            self.sync.servers_changed()
            while not self.servers.asked:
                self.clock.advance(0.01)
            self.assertTrue(least <= self.clock.seconds() - before <= most)
            self.sync.stop()

    def test_tokens(self) -> None:
        """Each registration carries the token that it was made with."""
        self.local.add_service(WEB, token="a")
        self.local.add_check(check(service_id="web1"), None, token="a")
        self.local.add_check(check("other", service_id="web1"), None, token="b")
        self.start()
        sent = [
            (write.token, [one.check_id for one in write.checks or ()])
            for write in self.servers.writes
            if write.service is not None
        ]
        self.assertEqual(sent, [("a", ["c"]), ("b", ["other"])])

    def test_node_changed(self) -> None:
        """New metadata of the node goes out at once."""
        self.start()
        self.sync.node_changed(replace(NODE, meta={"rack": "8"}))
        self.soon()
        row = self.servers.store.catalog.node("n1")
        assert row is not None
        self.assertEqual(row.meta, {"rack": "8"})
