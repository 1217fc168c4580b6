from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent import sweeping
from pyconsul.agent.sweeping import Sweeping
from pyconsul.state import entries
from pyconsul.state.entries import Entries
from pyconsul.structs.kv import DirEntry


def some(count: int) -> Entries:
    return Entries(DirEntry(key=f"k{number:03d}") for number in range(count))


class SweepingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(entries, "ROWS_MAX", 4)
        self.patch(sweeping, "ROWS_PER_TURN", 10)
        self.clock = Clock()
        self.sweeping = Sweeping(self.clock)

    def blocks_by_turn(self, *gone: Entries) -> list[int]:
        """How many blocks there are after each turn, until nothing more is to be done."""
        found = [sum(len(each._blocks) for each in gone)]
        while calls := self.clock.getDelayedCalls():
            [call] = calls
            call.cancel()  # a turn of this clock would go on with what is begun in it
            self.sweeping._turn()
            found.append(sum(len(each._blocks) for each in gone))
        return found

    def test_some_each_turn(self) -> None:
        """Whole blocks, at least so many rows as there are for a turn; what comes later waits."""
        one, two = some(24), some(12)
        self.sweeping.take(one)
        self.sweeping.take(two)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.assertEqual(self.blocks_by_turn(one, two), [9, 6, 3, 0, 0])

    def test_few(self) -> None:
        """They are nothing to wait with."""
        self.sweeping.take(some(10))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_shared(self) -> None:
        """What somebody else has, too, stays for them."""
        one = some(24)
        two = one.share()
        self.sweeping.take(one)
        self.blocks_by_turn(one)
        self.assertEqual(two, some(24))

    def test_stop(self) -> None:
        self.sweeping.take(some(24))
        self.sweeping.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.sweeping.stop()
        self.sweeping.take(some(24))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
