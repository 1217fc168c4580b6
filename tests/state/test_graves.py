"""What went from the catalog's views."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.state.graves import Graves


class GravesTests(SynchronousTestCase):
    def test_since(self) -> None:
        """By view, later than an index; who went twice went the second time."""
        graves = Graves()
        graves.bury(5, "a", "x")
        graves.bury(6, "a", "y")
        graves.bury(7, "b", "x")
        graves.bury(8, "a", "x")
        self.assertEqual(graves.since(4, "a"), ["x", "y"])
        self.assertEqual(graves.since(6, "a"), ["x"])
        self.assertEqual((graves.since(8, "a"), graves.since(0, "c")), ([], []))

    def test_bound(self) -> None:
        """The oldest are forgotten, and then it is not known what went before."""
        graves = Graves(2)
        for index in range(1, 5):
            graves.bury(index, "a" if index < 3 else "b", index)
        self.assertEqual(graves.floor, 2)
        self.assertEqual((graves.since(1, "a"), graves.since(1, "b")), (None, None))
        self.assertEqual((graves.since(2, "a"), graves.since(2, "b")), ([], [3, 4]))
