"""Joining pools: what users write, what they are told."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, succeed

from pyconsul.errors import PyconsulError, Unreachable
from pyconsul.interfaces import Address
from pyconsul.net.gossip import GossipPool
from tests.net.test_gossip import PoolTestCase


class JoinTests(PoolTestCase):
    def _error(self, pool: GossipPool, *addresses: str) -> str:
        done = pool.join(addresses)
        self.run_for(0.2)
        return str(self.failureResultOf(done, PyconsulError).value)

    def test_texts(self) -> None:
        pool = self.pool(1)
        self.assertEqual(
            self._error(pool, "10.0.0.9"),
            "1 error occurred:\n\t* Failed to join 10.0.0.9: connection refused\n\n",
        )
        self.assertEqual(
            self._error(pool, "nowhere", "10.0.0.9:99"),
            "2 errors occurred:\n\t* Failed to resolve nowhere: lookup nowhere: no such host"
            "\n\t* Failed to join 10.0.0.9: connection refused\n\n",
        )
        self.assertIn("invalid port 99999", self._error(pool, "10.0.0.9:99999"))
        self.assertIn("invalid port x", self._error(pool, "[::1]:x"))

    def test_one_success_is_enough(self) -> None:
        pool = self.pool(1)
        self.pool(2)
        self.assertEqual(self.joined(pool, "nowhere", "10.0.0.9", "10.0.0.2"), 1)

    def test_nothing_to_join(self) -> None:
        self.assertEqual(self.joined(self.pool(1)), 0)

    def test_names_and_ports(self) -> None:
        """A name may stand for several addresses; the port is ours unless it is given."""
        asked: list[Address] = []
        pool = self.pool(1, resolver=lambda host: succeed(["10.0.0.8", "::1"] if host == "all" else [host]))

        def ask(to: Address, ignore_old: bool) -> Deferred[None]:
            asked.append(to)
            return succeed(None)

        self.patch(pool._joins, "_push_pull", ask)
        for address in ("all", "x/all:99", "[::1]:7", "[::1]", "::1", "10.0.0.9"):
            self.successResultOf(pool.join([address]))
        self.assertEqual(
            asked,
            [
                ("10.0.0.8", 8301), ("::1", 8301), ("10.0.0.8", 99), ("::1", 99), ("::1", 7), ("::1", 8301),
                ("::1", 8301), ("10.0.0.9", 8301),
            ],
        )  # fmt: skip

    def test_many_at_a_time_but_not_all(self) -> None:
        pool = self.pool(1)
        started: list[Deferred[None]] = []

        def start(to: Address, ignore_old: bool) -> Deferred[None]:
            started.append(Deferred())
            return started[-1]

        self.patch(pool._joins, "_push_pull", start)
        done = pool.join([f"10.0.0.{number}" for number in range(10, 30)])
        self.assertEqual(len(started), 8)
        for number in range(8):
            started[number].callback(None)
        self.assertEqual(len(started), 16)
        for number in range(8, 16):
            started[number].errback(Unreachable("no"))
        self.assertEqual(len(started), 20)
        for number in range(16, 20):
            started[number].callback(None)
        self.assertEqual(self.successResultOf(done), 12)

    def test_stop_between_joins(self) -> None:
        resolved: Deferred[Sequence[str]] = Deferred()
        pool = self.pool(1, resolver=lambda host: resolved)
        joining = pool.join(["somewhere"])
        pool.stop()
        resolved.callback(["10.0.0.2"])
        self.failureResultOf(joining, PyconsulError)
