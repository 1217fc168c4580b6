"""The end of the log in memory."""

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.storage.recent import RecentEntries
from tests.storage.worlds import entries


class RecentTests(SynchronousTestCase):
    def test_reads(self) -> None:
        """Any range of what is kept can be read, older and newer half together."""
        recent = RecentEntries(120)
        self.assertIsNone(recent.read(1, 2))
        everything = entries(1, 12)
        for start in range(0, 12, 2):  # two of these to a half
            recent.append(everything[start : start + 2], 30)
        for first in range(1, 13):
            for end in range(first + 1, 14):
                expected = everything[first - 1 : end - 1] if first >= 5 else None
                self.assertEqual(recent.read(first, end), expected)

    def test_memory_is_bounded(self) -> None:
        """Old entries are let go."""
        recent = RecentEntries(100)
        for index in range(1, 50):
            recent.append(entries(index, index), 10)
        self.assertIsNone(recent.read(38, 50))
        self.assertEqual(recent.read(45, 50), entries(45, 49))

    def test_clear(self) -> None:
        """After the log was cut nothing is kept."""
        recent = RecentEntries(1000)
        recent.append(entries(1, 3), 30)
        recent.clear()
        self.assertIsNone(recent.read(1, 2))
        recent.append(entries(2, 2), 10)
        self.assertEqual(recent.read(2, 3), entries(2, 2))

    def test_larger_than_all(self) -> None:
        """What alone exceeds the limit is kept until the next."""
        recent = RecentEntries(100)
        recent.append(entries(1, 1), 1000)
        self.assertEqual(recent.read(1, 2), entries(1, 1))
        recent.append(entries(2, 2), 10)
        recent.append(entries(3, 3), 90)
        self.assertIsNone(recent.read(1, 2))
