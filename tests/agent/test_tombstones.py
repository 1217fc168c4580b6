"""When deletions of keys are forgotten."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.tombstones import INTERVAL_S, TTL_S, Tombstones
from pyconsul.errors import LeadershipLost
from tests.state.replica import Replica

OLD = int(TTL_S / INTERVAL_S)


class TombstoneTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.replica = Replica()
        self.failure: Exception | None = None
        self.proposed = 0
        self.tombstones = Tombstones(self.replica.store, self.propose, self.clock)
        self.addCleanup(self.tombstones.stop)

    def propose(self, command: bytes) -> Deferred[Any]:
        self.proposed += 1
        if self.failure is not None:
            return fail(self.failure)
        return succeed(self.replica.apply(command))

    def delete(self, key: str) -> None:
        self.replica.kv("set", key)
        self.replica.kv("delete", key)

    def oldest(self) -> int | None:
        return self.replica.store.kv.oldest_grave()

    def looks(self, count: int) -> None:
        """Time for so many looks at the log; ``OLD`` of them make what is noted now old enough."""
        for _ in range(count):
            self.clock.advance(INTERVAL_S)

    def test_nothing_to_forget(self) -> None:
        """Nothing gets into the log then."""
        self.replica.kv("set", "a")
        self.tombstones.start()
        self.looks(4 * OLD)
        self.assertEqual(self.proposed, 0)

    def test_after_a_while(self) -> None:
        """Old deletions go, young ones stay; each is forgotten once."""
        self.delete("a")
        self.tombstones.start()
        self.tombstones.start()
        self.looks(7)
        self.replica.kv("set", "t/1")
        self.replica.kv("delete-tree", "t/")
        self.looks(OLD - 8)
        self.assertEqual((self.proposed, self.oldest()), (0, 2))
        self.looks(1)
        self.assertEqual((self.proposed, self.oldest()), (1, 4))
        self.assertEqual(self.replica.store.kv.get("a")[0], 2)
        self.looks(8)
        self.assertEqual((self.proposed, self.oldest()), (2, None))
        self.looks(4 * OLD)
        self.assertEqual(self.proposed, 2)

    def test_failures(self) -> None:
        """What was not forgotten is with the next note; a bug is told."""
        self.delete("a")
        self.tombstones.start()
        self.failure = LeadershipLost()
        self.looks(OLD)
        self.assertEqual((self.proposed, self.oldest()), (1, 2))
        self.failure = ValueError("bug")
        self.looks(1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.failure = None
        self.looks(1)
        self.assertIsNone(self.oldest())

    def test_only_while_leading(self) -> None:
        """A new leader waits from its beginning."""
        self.delete("a")
        self.tombstones.start()
        self.looks(OLD - 1)
        self.tombstones.stop()
        self.tombstones.stop()
        self.looks(OLD)
        self.assertEqual(self.proposed, 0)
        self.tombstones.start()
        self.looks(OLD - 1)
        self.assertEqual(self.proposed, 0)
        self.looks(1)
        self.assertEqual(self.proposed, 1)

    def test_another_state(self) -> None:
        """Notes about the state before do not count."""
        self.delete("a")
        self.tombstones.start()
        self.looks(OLD - 1)
        self.tombstones.restart()
        self.looks(OLD)
        self.assertEqual(self.proposed, 0)
        self.looks(1)
        self.assertEqual(self.proposed, 1)
