"""Answers kept by the bytes of their question, until what they were read from changes.

An entry is itself the watcher that the state store wakes. It holds several answers that differ in
the order of their records, and makes one of them anew every now and then, so that a question that is
asked very often still spreads clients over all instances.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ENTRIES_MAX = 8192
SEEN_MAX = 16384
ARMED_MAX = 4 * ENTRIES_MAX
ANSWER_BYTES_MAX = 4096
VARIANTS = 8
HITS_PER_VARIANT = 32
"""After so many answers from the memo one variant is made anew."""


class Kept:
    """What is kept for one question.

    :ivar armed: set by ``Agent.ask`` once the store will call ``wake``.
    :ivar counted: whether that registration is outstanding.
    :ivar watch: for ``Agent.ask`` to leave what it registered on, so that ``Agent.forget`` can undo it.
    :ivar variants: answers without their first two bytes, the id.
    :ivar make: makes another variant.
    :ivar hits: how many answers may be given until another variant is due.
    """

    __slots__ = ("armed", "counted", "hits", "key", "make", "memo", "stale", "turn", "variants", "watch")

    def __init__(self, memo: Memo, key: bytes) -> None:
        self.memo = memo
        self.key = key
        self.armed: Any = False
        self.watch: Any = None
        self.counted = False
        self.stale = False
        self.variants: list[bytes] = []
        self.make: Callable[[], bytes] | None = None
        self.turn = 0
        self.hits = 0

    def wake(self) -> None:
        """What this was read from has changed."""
        self.stale = True
        self.memo.woken(self)

    def next(self) -> bytes:
        """An answer without its id."""
        if not self.hits:
            return self._renew()
        self.hits -= 1
        self.turn = turn = (self.turn + 1) % VARIANTS
        return self.variants[turn]

    def _renew(self) -> bytes:
        assert self.make is not None
        data = self.make()[2:]
        variants = self.variants
        if len(variants) < VARIANTS:
            variants.append(data)
            if len(variants) == VARIANTS:
                self.hits = HITS_PER_VARIANT
            return data
        self.turn = turn = (self.turn + 1) % VARIANTS
        variants[turn] = data
        self.hits = HITS_PER_VARIANT
        return data


class Memo:
    """Bounded in entries, in bytes per answer and in registrations left with the store.

    :ivar entries: by the bytes of the question without its id; the same dict all the time.
    :param forget: takes back the registration of an entry that goes before it was woken
        (``Agent.forget``). Without it a question gets no place while too many registrations are
        outstanding.
    """

    def __init__(self, forget: Callable[[Any], object] | None = None, entries_max: int = ENTRIES_MAX) -> None:
        self.entries: dict[bytes, Kept] = {}
        self.armed = 0
        self._entries_max = entries_max
        self._forget = forget
        self._seen: dict[bytes, None] = {}

    def place(self, key: bytes) -> Kept | None:
        """A place for the answer to a question; ``None`` the first time that it is asked.

        Watching costs something, and names made up at random are never asked for again.
        """
        if not self._entries_max:
            return None
        if key in self._seen:
            return Kept(self, key) if self.armed < ARMED_MAX else None
        if len(self._seen) >= SEEN_MAX:
            self._seen.clear()
        self._seen[key] = None
        return None

    def limit(self, entries_max: int) -> None:
        """Keep at most so many answers from now on, and none of those that are kept."""
        self.clear()
        self._entries_max = entries_max

    def keep(self, kept: Kept, data: bytes, make: Callable[[], bytes] | None) -> None:
        """Keep an answer, if the store watches over it and it is still true.

        :param make: makes it anew; ``None`` if that is not possible, and nothing is kept.
        """
        if not kept.armed or kept.stale:
            return
        kept.counted = True
        self.armed += 1
        if make is None or len(data) > ANSWER_BYTES_MAX:
            self._release(kept)
            return
        old = self.entries.pop(kept.key, None)
        if old is not None:
            self._release(old)
        kept.variants.append(data[2:])
        kept.make = make
        self.entries[kept.key] = kept
        if len(self.entries) > self._entries_max:
            self._release(self.entries.pop(next(iter(self.entries))))

    def woken(self, kept: Kept) -> None:
        """Take an entry out whose answer is no longer true."""
        if self.entries.get(kept.key) is kept:
            del self.entries[kept.key]
        self._uncount(kept)
        kept.make = None

    def clear(self) -> None:
        """Forget every answer."""
        gone = list(self.entries.values())
        self.entries.clear()
        for kept in gone:
            self._release(kept)
        self._seen.clear()

    def _release(self, kept: Kept) -> None:
        kept.variants.clear()
        kept.make = None
        if self._forget is not None:
            kept.stale = True
            self._uncount(kept)
            self._forget(kept)

    def _uncount(self, kept: Kept) -> None:
        if kept.counted:
            kept.counted = False
            self.armed -= 1
