"""Answers that are kept until what they were read from changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.net import dns_memo
from pyconsul.net.dns_memo import Kept, Memo


class MemoTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.forgotten: list[Kept] = []
        self.memo = Memo(self.forgotten.append, entries_max=3)
        self.made = 0

    def make(self) -> bytes:
        self.made += 1
        return b"id%d" % self.made

    def placed(self, key: bytes = b"q", armed: bool = True) -> Kept:
        self.memo.place(key)
        kept = self.memo.place(key)
        assert kept is not None
        kept.armed = armed
        return kept

    def kept(self, key: bytes = b"q") -> Kept:
        kept = self.placed(key)
        self.memo.keep(kept, b"id" + key, self.make)
        return kept

    def test_a_place_comes_with_the_second_question(self) -> None:
        self.assertIsNone(self.memo.place(b"q"))
        self.assertIsNotNone(self.memo.place(b"q"))

    def test_what_was_asked_once_is_not_remembered_without_end(self) -> None:
        for at in range(dns_memo.SEEN_MAX + 1):
            self.memo.place(b"%d" % at)
        self.assertIsNone(self.memo.place(b"0"))

    def test_kept(self) -> None:
        kept = self.kept()
        self.assertIs(self.memo.entries[b"q"], kept)
        self.assertEqual(self.memo.armed, 1)

    def test_not_watched_over(self) -> None:
        """An answer of another server is not kept, nor one that has changed meanwhile."""
        self.memo.keep(self.placed(armed=False), b"idq", self.make)
        stale = self.placed()
        stale.wake()
        self.memo.keep(stale, b"idq", self.make)
        self.assertEqual((self.memo.entries, self.memo.armed, self.forgotten), ({}, 0, []))

    def test_not_worth_keeping(self) -> None:
        """What cannot be made again and what is too long; the store need not watch any more."""
        for data, make in ((b"idq", None), (b"x" * 5000, self.make)):
            kept = self.placed()
            self.memo.keep(kept, data, make)
            self.assertEqual(self.forgotten.pop(), kept)
        self.assertEqual((self.memo.entries, self.memo.armed), ({}, 0))

    def test_woken(self) -> None:
        kept = self.kept()
        kept.wake()
        self.assertEqual((self.memo.entries, self.memo.armed, kept.make), ({}, 0, None))
        kept.wake()
        self.assertEqual(self.memo.armed, 0)

    def test_the_oldest_goes_first(self) -> None:
        first = self.kept(b"1")
        for key in (b"2", b"3", b"4"):
            self.kept(key)
        self.assertEqual(list(self.memo.entries), [b"2", b"3", b"4"])
        self.assertEqual((self.forgotten, self.memo.armed), ([first], 3))

    def test_replaced(self) -> None:
        first = self.kept()
        second = self.kept()
        self.assertEqual((self.memo.entries, self.forgotten), ({b"q": second}, [first]))
        first.wake()
        self.assertIs(self.memo.entries[b"q"], second)

    def test_clear_and_limit(self) -> None:
        kept = self.kept()
        self.memo.limit(0)
        self.assertEqual((self.memo.entries, self.forgotten, self.memo.armed), ({}, [kept], 0))
        self.assertIsNone(self.memo.place(b"q"))
        self.assertIsNone(self.memo.place(b"q"))

    def test_registrations_that_cannot_be_taken_back(self) -> None:
        """They count until they are woken, and there may not be too many of them."""
        self.memo = Memo(None, entries_max=1)
        self.patch(dns_memo, "ARMED_MAX", 3)
        all_kept = [self.kept(b"%d" % at) for at in range(3)]
        self.assertEqual((len(self.memo.entries), self.memo.armed), (1, 3))
        self.memo.place(b"x")
        self.assertIsNone(self.memo.place(b"x"))
        all_kept[0].wake()
        self.assertEqual((len(self.memo.entries), self.memo.armed), (1, 2))
        self.assertIsNotNone(self.memo.place(b"x"))


class VariantTests(SynchronousTestCase):
    def kept(self, make: Callable[[], bytes]) -> Kept:
        memo = Memo()
        memo.place(b"q")
        kept = memo.place(b"q")
        assert kept is not None
        kept.armed = True
        memo.keep(kept, make(), make)
        return kept

    def test_several_variants_take_turns(self) -> None:
        """And all of them are replaced in time."""
        made = iter(range(10000))
        kept = self.kept(lambda: b"id%d" % next(made))
        given = Counter(kept.next() for _ in range(3000))
        self.assertEqual(len(kept.variants), dns_memo.VARIANTS)
        self.assertTrue(80 < len(given) < 110, len(given))
        self.assertLess(max(given.values()), 60)
