"""Pools, with networks and clocks in memory."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import PyconsulError, Unreachable
from pyconsul.interfaces import Address
from pyconsul.net.gossip import GossipPool
from pyconsul.serf.members import Member, MemberEvent, Status
from pyconsul.serf.messages import UserEvent
from pyconsul.swim.keyring import Keyring
from pyconsul.swim.timing import LOCAL


class Network:
    """Where pools find each other."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.sockets: dict[Address, Socket] = {}
        self.silent: set[Address] = set()


class Socket:
    """A ``GossipTransport`` in memory."""

    def __init__(self, network: Network, address: Address) -> None:
        self._network = network
        self.address = address
        self.packet_received: Callable[[bytes, Address], None] = lambda packet, source: None
        self.stream_received: Callable[[bytes, Address], bytes | None] = lambda request, source: None
        self.speaks_tls: Callable[[Address], bool | None] = lambda to: False
        network.sockets[address] = self

    def send(self, packet: bytes, to: Address) -> None:
        target = self._network.sockets.get(to)
        if target is not None and not self._network.silent & {to, self.address}:
            self._network.clock.callLater(0.001, lambda: target.packet_received(packet, self.address))

    def exchange(self, request: bytes, to: Address, timeout_s: float, answer: bool) -> Deferred[bytes]:
        done: Deferred[bytes] = Deferred()

        def serve() -> None:
            target = self._network.sockets.get(to)
            found = None
            if target is not None and not self._network.silent & {to, self.address}:
                found = target.stream_received(request, ("127.0.0.1", 9))
            if done.called:
                return
            if found is None:
                done.errback(Unreachable("connection refused"))
            else:
                done.callback(found)

        self._network.clock.callLater(0.002, serve)
        return done


class PoolTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.network = Network(self.clock)
        self.events: dict[str, list[tuple[str, str]]] = {}

    def pool(self, number: int, **more: Any) -> GossipPool:
        """A pool that has started, at 10.0.0.NUMBER:8301."""
        name = f"n{number}"
        seen = self.events[name] = []

        def on_event(event: MemberEvent) -> None:
            seen.append((event.kind, event.member.name))

        fields: dict[str, Any] = {"on_event": on_event} | more
        socket = Socket(self.network, (f"10.0.0.{number}", 8301))
        pool = GossipPool(name, socket, self.clock, Random(number), LOCAL, {"n": str(number)}, **fields)
        pool.start()
        return pool

    def run_for(self, seconds: float) -> None:
        """Let time pass in small steps."""
        for _ in range(int(seconds / 0.01)):
            self.clock.advance(0.01)

    def joined(self, pool: GossipPool, *addresses: str) -> Any:
        """The result of a join."""
        done = pool.join(addresses)
        self.run_for(0.1)
        return self.successResultOf(done)

    def status(self, pool: GossipPool, name: str) -> Status | None:
        member = pool.member(name)
        return member.status if member is not None else None


class PoolTests(PoolTestCase):
    def test_alone(self) -> None:
        pool = self.pool(1)
        self.assertEqual([member.name for member in pool.members()], ["n1"])
        expected = Member("n1", "10.0.0.1", 8301, {"n": "1"}, Status.ALIVE, 1, 5, 2, 2, 5, 4)
        self.assertEqual(pool.local, expected)
        self.assertEqual(self.events["n1"], [("join", "n1")])
        self.assertIsNone(pool.member("x"))
        self.assertEqual(pool.stats()["members"], "1")

    def test_join_fail_leave(self) -> None:
        one, two, three = (self.pool(number) for number in (1, 2, 3))
        self.assertEqual(self.joined(two, "10.0.0.1"), 1)
        self.assertEqual(self.joined(three, "10.0.0.1:8301", "n2/10.0.0.2"), 2)
        self.run_for(2.0)
        for pool in (one, two, three):
            self.assertEqual({member.status for member in pool.members()}, {Status.ALIVE})
            self.assertEqual(len(pool.members()), 3)
        self.network.silent.add(("10.0.0.3", 8301))
        three.stop()
        self.run_for(8.0)
        self.assertIn(("failed", "n3"), self.events["n1"])
        self.assertIs(self.status(two, "n3"), Status.FAILED)
        one.force_leave("n3")
        self.run_for(1.0)
        self.assertIs(self.status(two, "n3"), Status.LEFT)
        one.force_leave("n3", prune=True)
        self.run_for(1.0)
        self.assertIsNone(self.status(two, "n3"))
        left, again = two.leave(), two.leave()
        self.assertNoResult(left)
        self.run_for(5.0)
        self.assertIsNone(self.successResultOf(left))
        self.successResultOf(again)
        self.successResultOf(two.leave())
        self.assertIs(self.status(one, "n2"), Status.LEFT)
        self.assertIs(self.status(two, "n2"), Status.LEFT)

    def test_tags(self) -> None:
        one, two = self.pool(1), self.pool(2)
        self.joined(two, "10.0.0.1")
        two.set_tags({"n": "new"})
        self.run_for(1.0)
        found = one.member("n2")
        assert found is not None
        self.assertEqual(found.tags, {"n": "new"})
        self.assertIn(("update", "n2"), self.events["n1"])
        self.assertRaisesRegex(PyconsulError, "limit of 512", two.set_tags, {"n": "x" * 600})
        self.assertEqual(two.tags, {"n": "new"})

    def test_members_may_be_refused(self) -> None:
        def accept(member: Member) -> str | None:
            return f"Member '{member.name}' is odd" if member.tags.get("n") == "2" else None

        one, two = self.pool(1, accept_member=accept), self.pool(2)
        self.assertEqual(self.joined(two, "10.0.0.1"), 1)
        self.run_for(2.0)
        self.assertIsNone(one.member("n2"))
        done = one.join(["10.0.0.2"])
        self.run_for(0.1)
        error = self.failureResultOf(done, PyconsulError)
        self.assertEqual(
            str(error.value), "1 error occurred:\n\t* Failed to join 10.0.0.2: Member 'n2' is odd\n\n"
        )

    def test_user_events(self) -> None:
        heard: list[UserEvent] = []
        one = self.pool(1, on_user_event=heard.append)
        two = self.pool(2)
        self.joined(two, "10.0.0.1")
        two.fire_event("deploy", b"x")
        self.run_for(1.0)
        self.assertEqual([(event.name, event.payload) for event in heard], [("deploy", b"x")])
        self.assertRaisesRegex(PyconsulError, "512 bytes before encoding", one.fire_event, "n", bytes(512))
        self.assertRaisesRegex(PyconsulError, "512 bytes after encoding", one.fire_event, "n", bytes(500))

    def test_encryption(self) -> None:
        one = self.pool(1, keyring=Keyring([b"k" * 16]))
        two = self.pool(2, keyring=Keyring([b"o" * 16, b"k" * 16]))
        three = self.pool(3)
        self.assertEqual(one.stats()["encrypted"], "true")
        done = three.join(["10.0.0.1"])
        self.run_for(0.1)
        self.assertIn("Remote state is encrypted", str(self.failureResultOf(done, PyconsulError).value))
        assert two.keyring is not None
        two.keyring.use(b"k" * 16)
        self.assertEqual(self.joined(two, "10.0.0.1"), 1)
        self.run_for(1.0)
        self.assertIs(self.status(one, "n2"), Status.ALIVE)

    def test_turned_on_while_it_runs(self) -> None:
        """Step by step from plain to encrypted: whoever is a step ahead still understands the others."""
        key = Keyring([b"k" * 16])
        steps: list[dict[str, Any]] = [
            {},
            {"keyring": key, "verify_incoming": False, "verify_outgoing": False},
            {"keyring": key, "verify_incoming": False},
            {"keyring": key},
        ]
        for number, (before, after) in enumerate(pairwise(steps)):
            one, two = self.pool(10 + number, **before), self.pool(20 + number, **after)
            self.assertEqual(self.joined(two, f"10.0.0.{10 + number}"), 1)
            self.run_for(3.0)
            for pool, other in ((one, two), (two, one)):
                self.assertIs(self.status(pool, other.name), Status.ALIVE, number)
                self.assertEqual(pool.stats()["not_authentic"], "0")
            one.stop()
            two.stop()

    def test_strangers_are_counted(self) -> None:
        """What no key opens is dropped before anything of it is looked at, and said at a bounded rate."""
        pool = self.pool(1, keyring=Keyring([b"k" * 16]))
        socket = self.network.sockets[("10.0.0.1", 8301)]
        stranger = ("10.0.0.9", 8301)
        wrong = Keyring([b"w" * 16]).seal(b"\x00\x80", bytes(12))
        for packet in (b"\x00\x80", b"", wrong, wrong[:20]):
            socket.packet_received(packet, stranger)
        answer = socket.stream_received(b"\x00\x81\xa5SeqNo\x01", stranger)
        self.assertTrue(answer)
        self.assertEqual(pool.stats()["not_authentic"], "5")

    def test_listeners_that_fail(self) -> None:
        def broken(event: object) -> None:
            raise ValueError("a bug of somebody else")

        one = self.pool(1, on_event=broken)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertIs(self.status(one, "n1"), Status.ALIVE)

    def test_bugs_do_not_silence_the_node(self) -> None:
        one, two = self.pool(1), self.pool(2)
        self.joined(two, "10.0.0.1")
        core = one._core
        assert core is not None
        self.patch(core, "user_message", lambda message: 1 / 0)
        self.patch(core.swim.context.delegate, "user_message", lambda message: 1 / 0)
        two.fire_event("deploy", b"x")
        self.run_for(3.0)
        self.assertGreater(len(self.flushLoggedErrors(ZeroDivisionError)), 0)
        self.assertIs(self.status(two, "n1"), Status.ALIVE)

    def test_idle_pools_use_few_timers(self) -> None:
        one, two = self.pool(1), self.pool(2)
        self.joined(two, "10.0.0.1")
        self.run_for(3.0)
        calls: list[float] = []
        real = self.clock.callLater

        def counted(delay: float, call: Any, *args: Any) -> Any:
            if getattr(call, "__name__", "") == "_fire":
                calls.append(delay)
            return real(delay, call, *args)

        self.patch(self.clock, "callLater", counted)
        self.run_for(10.0)
        self.assertLessEqual(len(calls), 2 * 10 * 2 + 4)
        self.assertEqual(len(one.members()), 2)


class LifeTests(PoolTestCase):
    def test_before_and_after(self) -> None:
        socket = Socket(self.network, ("10.0.0.1", 8301))
        pool = GossipPool("n1", socket, self.clock, Random(1), LOCAL, {})
        self.assertEqual((pool.members(), pool.member("n1")), ([], None))
        pool.stop()
        pool.set_tags({"a": "b"})
        self.assertRaisesRegex(PyconsulError, "not running", pool.stats)
        self.failureResultOf(pool.join(["10.0.0.2"]), PyconsulError)
        self.successResultOf(pool.leave())
        pool.start()
        self.assertEqual(pool.local.tags, {"a": "b"})

    def test_stop(self) -> None:
        """What is under way fails, and nothing is left on the clock but what others put there."""
        self.pool(2)
        pool = self.pool(1)
        joining = pool.join(["10.0.0.2"])
        self.run_for(0.1)
        self.successResultOf(joining)
        joining, leaving = pool.join(["10.0.0.9"]), pool.leave()
        pool.stop()
        self.assertIn("shutting down", str(self.failureResultOf(joining, PyconsulError).value))
        self.successResultOf(leaving)
        socket = self.network.sockets[("10.0.0.1", 8301)]
        socket.packet_received(b"\x00\x80", ("10.0.0.2", 8301))
        self.assertIsNone(socket.stream_received(b"\x00\x80", ("10.0.0.2", 8301)))
        self.assertEqual(pool.members(), [])

    def test_advertised(self) -> None:
        pool = self.pool(1, advertise=("10.9.9.9", 99))
        self.assertEqual((pool.local.addr, pool.local.port), ("10.9.9.9", 99))
        socket = Socket(self.network, ("0.0.0.0", 8301))
        everywhere = GossipPool("n1", socket, self.clock, Random(1), LOCAL, {})
        self.assertRaisesRegex(PyconsulError, "advertise", everywhere.start)

    def test_unexpected_errors_of_a_transport_are_logged(self) -> None:
        pool = self.pool(1)
        broken: Deferred[bytes] = Deferred()
        self.patch(self.network.sockets[("10.0.0.1", 8301)], "exchange", lambda *args: broken)
        joining = pool.join(["10.0.0.2"])
        broken.errback(ValueError("a bug"))
        self.assertIn("a bug", str(self.failureResultOf(joining, PyconsulError).value))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
