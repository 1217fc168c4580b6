"""Queries and keys by way of pools."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from pyconsul.errors import PyconsulError, Unreachable
from pyconsul.net.gossip import GossipPool
from pyconsul.serf import keys
from pyconsul.serf.messages import Query
from pyconsul.swim.keyring import Keyring
from tests.net.test_gossip import PoolTestCase

A, B = b"a" * 16, b"b" * 16
A64, B64 = b64encode(A).decode(), b64encode(B).decode()


class QueryTests(PoolTestCase):
    def pair(self, hook: Any) -> tuple[GossipPool, GossipPool]:
        """Two pools that know each other; the second answers queries."""
        one, two = self.pool(1), self.pool(2, on_query=hook)
        self.joined(two, "10.0.0.1")
        return one, two

    def test_answers_and_acks(self) -> None:
        asked: list[Query] = []

        def hook(query: Query) -> bytes:
            asked.append(query)
            return b"up " + query.payload

        one, _ = self.pair(hook)
        done = one.query("uptime", b"?", ack=True, timeout_s=1.0)
        self.run_for(0.9)
        self.assertNoResult(done)
        self.run_for(0.2)
        found = [
            (response.sender, response.is_ack, response.payload) for response in self.successResultOf(done)
        ]
        self.assertEqual(found, [("n1", True, None), ("n2", True, None), ("n2", False, b"up ?")])
        self.assertEqual([(query.name, query.source_node) for query in asked], [("uptime", "n1")])

    def test_filters_and_enough(self) -> None:
        one, _ = self.pair(lambda query: succeed(b"later"))
        for options, senders in (
            ({"nodes": ["n2"]}, ["n2"]),
            ({"tags": {"n": "^2$"}, "relay_factor": 1}, ["n2"]),
            ({"nodes": ["n1"]}, []),
        ):
            done = one.query("q", enough=1, timeout_s=1.0, **options)
            self.run_for(0.5)
            if not senders:
                self.run_for(0.6)
            self.assertEqual([response.sender for response in self.successResultOf(done)], senders)

    def test_hooks_that_fail(self) -> None:
        answers = iter((ValueError("a bug"), PyconsulError("not now"), None, b"fine"))

        def hook(query: Query) -> Any:
            answer = next(answers)
            if isinstance(answer, PyconsulError):
                return fail(answer)
            if isinstance(answer, ValueError):
                raise answer
            return answer

        one, _ = self.pair(hook)
        for payload in ([], [], [], [b"fine"]):
            done = one.query("q", timeout_s=0.5)
            self.run_for(0.6)
            self.assertEqual([response.payload for response in self.successResultOf(done)], payload)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_bug_in_what_answers_later(self) -> None:
        waiting: Deferred[bytes | None] = Deferred()
        one, _ = self.pair(lambda query: waiting)
        one.query("q", timeout_s=0.5)
        self.run_for(0.1)
        waiting.errback(ValueError("a bug"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.run_for(1.0)

    def test_refused(self) -> None:
        one = self.pool(1)
        self.assertRaisesRegex(
            PyconsulError, "cannot contain the '_serf_' prefix|Queries", one.query, "_serf_ping"
        )
        self.assertIn(
            "1024 bytes", str(self.failureResultOf(one.query("q", bytes(1024)), PyconsulError).value)
        )

    def test_ended_early(self) -> None:
        one, _ = self.pair(lambda query: b"x")
        done = one.query("q")
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.run_for(5.0)
        waiting = one.query("q")
        one.stop()
        self.failureResultOf(waiting, Unreachable)
        self.assertRaises(PyconsulError, one.query, "q")


class KeyTests(PoolTestCase):
    def pools(self, count: int, **more: Any) -> list[GossipPool]:
        """Encrypted pools that know each other."""
        pools = [self.pool(number, keyring=Keyring([A]), **more) for number in range(1, count + 1)]
        for pool in pools[1:]:
            self.joined(pool, "10.0.0.1")
        self.run_for(1.0)
        return pools

    def change(self, pool: GossipPool, operation: str, key: bytes = b"") -> Any:
        """The outcome of a change, as soon as everybody has answered."""
        done = pool.change_keys(operation, key, relay_factor=1)
        self.run_for(0.5)
        return self.successResultOf(done)

    def test_rotation(self) -> None:
        pools = self.pools(3)
        for operation, key in ((keys.INSTALL, B), (keys.USE, B), (keys.REMOVE, A)):
            outcome = self.change(pools[0], operation, key)
            self.assertEqual((outcome.error, outcome.nodes, outcome.responses), ("", 3, 3))
        outcome = self.change(pools[1], keys.LIST)
        self.assertEqual((outcome.keys, outcome.primaries), ({B64: 3}, {B64: 3}))
        refused = self.change(pools[2], keys.REMOVE, B)
        self.assertEqual(refused.error, "3/3 nodes reported failure")
        text = "Removing the primary key is not allowed"
        self.assertEqual(refused.messages, {"n1": text, "n2": text, "n3": text})
        self.assertEqual([pool.keyring.keys for pool in pools if pool.keyring], [[B]] * 3)

    def test_somebody_is_silent(self) -> None:
        pools = self.pools(3)
        self.network.silent.add(("10.0.0.3", 8301))
        done = pools[0].change_keys(keys.INSTALL, B)
        self.run_for(3.0)
        outcome = self.successResultOf(done)
        self.assertEqual(outcome.error, "2/3 nodes reported success")

    def test_saved_first(self) -> None:
        saved: list[Sequence[str]] = []
        waiting: list[Deferred[None]] = []

        def save(found: Sequence[str]) -> Deferred[None]:
            saved.append(list(found))
            waiting.append(Deferred())
            return waiting[-1]

        (pool,) = self.pools(1, save_keyring=save)
        done = pool.change_keys(keys.INSTALL, B)
        self.assertNoResult(done)
        self.assertEqual(saved, [[A64, B64]])
        waiting[0].callback(None)
        self.assertEqual(self.successResultOf(done).error, "")
        done = pool.change_keys(keys.USE, B)
        waiting[1].errback(OSError("disk full"))
        self.assertEqual(self.successResultOf(done).messages, {"n1": "disk full"})

    def test_not_encrypted(self) -> None:
        pool = self.pool(1)
        outcome = self.successResultOf(pool.change_keys(keys.LIST))
        self.assertEqual(outcome.messages, {"n1": "Keyring is empty (encryption not enabled)"})


class ConflictTests(PoolTestCase):
    def test_the_name_is_lost(self) -> None:
        """The older one of two keeps the name, for the others know it."""
        lost: list[str] = []
        one = self.pool(1, on_name_lost=lambda: lost.append("one"))
        for number in (2, 3):
            self.joined(self.pool(number), "10.0.0.1")
        self.run_for(1.0)
        one.stop()
        del self.network.sockets[("10.0.0.1", 8301)]
        self.pool_named("n2", 9, lost)
        self.run_for(6.0)
        self.assertEqual(lost, ["second"])

    def pool_named(self, name: str, number: int, lost: list[str]) -> None:
        """Another pool of that name joins; it lets the others vote."""
        from random import Random

        from pyconsul.swim.timing import LOCAL
        from tests.net.test_gossip import Socket

        socket = Socket(self.network, (f"10.0.0.{number}", 8301))
        pool = GossipPool(
            name, socket, self.clock, Random(number), LOCAL, {}, resolve_conflicts=True,
            on_name_lost=lambda: lost.append("second"),
        )  # fmt: skip
        pool.start()
        self.joined(pool, "10.0.0.3")
