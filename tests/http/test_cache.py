"""Keeping answers."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.http import cache as module
from pyconsul.http.answer import Answer
from pyconsul.http.cache import AnswerCache, Kept


class AnswerCacheTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.forgotten: list[Kept] = []
        self.cache = AnswerCache(self.forgotten.append)

    def keep(self, target: bytes, body: bytes = b"x") -> Kept:
        kept = self.cache.place(target, at_once=True)
        assert kept is not None
        kept.armed = True
        self.assertTrue(self.cache.keep(kept, Answer(body), body))
        return kept

    def test_second_read(self) -> None:
        """A target gets a place once it has been seen, or at once when asked for."""
        self.assertIsNone(self.cache.place(b"/a"))
        self.cache.seen(b"/a")
        self.assertIsNotNone(self.cache.place(b"/a"))
        self.assertIsNotNone(self.cache.place(b"/b", at_once=True))

    def test_wake(self) -> None:
        """A change takes the entry out."""
        kept = self.keep(b"/a")
        self.assertIs(self.cache.entries[b"/a"], kept)
        kept.wake()
        self.assertEqual((self.cache.entries, self.cache.size_bytes), ({}, 0))
        self.assertEqual(self.forgotten, [])

    def test_woken_before_it_was_kept(self) -> None:
        """An answer that was overtaken by a change is not kept."""
        kept = self.cache.place(b"/a", at_once=True)
        assert kept is not None
        kept.armed = True
        kept.wake()
        self.assertFalse(self.cache.keep(kept, Answer(), b""))
        self.cache.discard(kept)
        self.assertEqual((self.cache.entries, self.forgotten), ({}, []))

    def test_not_watched(self) -> None:
        kept = self.cache.place(b"/a", at_once=True)
        assert kept is not None
        self.assertFalse(self.cache.keep(kept, Answer(), b""))
        self.cache.discard(kept)
        self.assertEqual(self.forgotten, [])

    def test_discarded(self) -> None:
        """An armed place that is not used is taken back."""
        kept = self.cache.place(b"/a", at_once=True)
        assert kept is not None
        kept.armed = True
        self.cache.discard(kept)
        self.assertEqual(self.forgotten, [kept])

    def test_replaced(self) -> None:
        """Two reads at once: the later answer stays, the earlier watcher is taken back."""
        first = self.keep(b"/a")
        second = self.keep(b"/a", b"y")
        self.assertIs(self.cache.entries[b"/a"], second)
        self.assertEqual(self.forgotten, [first])
        first.wake()
        self.assertIs(self.cache.entries[b"/a"], second)

    def test_bounds(self) -> None:
        """The oldest go when there are too many or they are too large."""
        self.cache.limit(2, 1_000_000)
        first = self.keep(b"/1")
        self.keep(b"/2")
        self.keep(b"/3")
        self.assertEqual(list(self.cache.entries), [b"/2", b"/3"])
        self.assertEqual(self.forgotten, [first])
        self.keep(b"/4", b"x" * 499_500)
        self.assertEqual(list(self.cache.entries), [b"/4"])

    def test_too_large(self) -> None:
        kept = self.cache.place(b"/a", at_once=True)
        assert kept is not None
        kept.armed = True
        self.assertFalse(self.cache.keep(kept, Answer(), b"x" * module.ENTRY_BYTES_MAX))
        self.assertEqual(self.forgotten, [kept])

    def test_turned_off(self) -> None:
        self.cache.limit(0, 0)
        self.cache.seen(b"/a")
        self.assertIsNone(self.cache.place(b"/a", at_once=True))

    def test_clear(self) -> None:
        kept = self.keep(b"/a")
        self.cache.clear()
        self.assertEqual((self.cache.entries, self.cache.size_bytes), ({}, 0))
        self.assertEqual(self.forgotten, [kept])

    def test_seen_is_bounded(self) -> None:
        self.patch(module, "SEEN_MAX", 2)
        for target in (b"/1", b"/2", b"/3"):
            self.cache.seen(target)
        found: list[Any] = [target for target in (b"/1", b"/2", b"/3") if self.cache.place(target)]
        self.assertEqual(found, [b"/3"])

    def test_agent_without_forget(self) -> None:
        cache = AnswerCache()
        kept = cache.place(b"/a", at_once=True)
        assert kept is not None
        kept.armed = True
        cache.discard(kept)
        self.assertTrue(kept.stale)
