from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.testing.history import GET, PUT, STALE, History
from pyconsul.testing.stale import check


class StaleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.history = History()

    def put(self, key: str, value: bytes) -> None:
        self.history.returned(self.history.invoke(1, PUT, key, value), True)

    def read(self, key: str, value: bytes | None, version: int, server: str = "s1#1") -> None:
        read = self.history.invoke(2, GET, key, mode=STALE, server=server)
        self.history.returned(read, value, version)

    def fault(self) -> str:
        return str(check(self.history) or "")

    def test_old(self) -> None:
        """Old data may be read, and different servers need not agree; nor need one before a restart."""
        self.put("a", b"1")
        self.put("a", b"2")
        self.read("a", b"2", 6)
        self.read("a", b"1", 5, "s2#1")
        self.read("a", None, 0, "s1#2")
        self.read("a", b"2", 6, "s2#1")
        self.assertEqual(self.fault(), "")

    def test_back(self) -> None:
        """What one server shows gets no older."""
        self.put("a", b"1")
        self.put("a", b"2")
        self.read("a", b"2", 6)
        self.read("a", b"1", 5)
        self.assertIn("stale read of version 5, where this server had applied 6", self.fault())

    def test_back_in_another_key(self) -> None:
        """The log is one for all keys."""
        for key, value in (("a", b"1"), ("a", b"2"), ("b", b"3")):
            self.put(key, value)
        self.read("a", b"2", 6, "s2#1")
        self.read("b", b"3", 7)
        self.read("a", b"1", 5)
        self.assertIn("had applied 6", self.fault())

    def test_gone(self) -> None:
        """An entry that is gone does not come back, but a new one may."""
        self.put("a", b"1")
        self.put("a", b"2")
        self.read("a", b"1", 5)
        self.read("a", None, 0)
        self.read("a", b"2", 9)
        self.assertEqual(self.fault(), "")
        self.read("a", b"1", 5)
        self.assertIn("which this server had shown to be gone", self.fault())

    def test_future(self) -> None:
        """Nobody sees what is written only later, by nobody, or was certainly not done."""
        self.read("a", b"1", 5)
        self.assertIn("of what nobody has written", self.fault())
        self.put("a", b"1")
        self.assertIn("of what nobody has written", self.fault())
        self.setUp()
        self.history.not_done(self.history.invoke(1, PUT, "a", b"1"))
        self.read("a", b"1", 5)
        self.assertIn("of what nobody has written", self.fault())

    def test_at_the_same_time(self) -> None:
        """Of two reads that overlap either may have been first."""
        self.put("a", b"1")
        self.put("a", b"2")
        first = self.history.invoke(2, GET, "a", mode=STALE, server="s1#1")
        second = self.history.invoke(3, GET, "a", mode=STALE, server="s1#1")
        self.history.returned(first, b"2", 6)
        self.history.returned(second, b"1", 5)
        self.assertEqual(self.fault(), "")
