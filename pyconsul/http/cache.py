"""Answers kept until what they were read from changes.

An entry is itself the watcher that the state store wakes: the first change of anything the answer
was read from takes the entry out. So nothing has to be compared when an answer is served, and there
is no time to live. Only answers of the leader's own store are kept; those of the consistent mode are
served when a majority has confirmed that it still leads, those of the default mode also while its
lease makes sure of that.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from pyconsul.http.answer import Answer
from pyconsul.structs.metrics import Durations

ENTRIES_MAX = 8192
BYTES_MAX = 64 * 1024 * 1024
ENTRY_BYTES_MAX = 4 * 1024 * 1024
ENTRY_OVERHEAD_BYTES = 600
SEEN_MAX = 16384

Rendering = tuple[bytes, bytes]


class Kept:
    """One answer, or the place of one that is being read.

    :ivar armed: set by ``Agent.ask`` once the store will call ``wake``.
    :ivar confirm: the leader has to be confirmed each time before this is served.
    :ivar leased: the same, but while the leader's lease lasts.
    :ivar aging: it tells when the leader was last heard of.
    :ivar watch: for ``Agent.ask`` to leave what it registered on, so that ``Agent.forget`` can undo it.
    :ivar stale: what was read has changed.
    :ivar confirmation: those who wait for the leader to be confirmed; others may join them for a moment.
    :ivar timing: told when this is served without further ado.
    :ivar alike: what Consul's cache would take for the same question; empty where that is not asked for.
    :ivar renderings: by ``facts.IDENTITY`` and ``facts.GZIP``; ``None`` until first needed.
    """

    __slots__ = (
        "aging", "alike", "answer", "armed", "cache", "confirm", "confirmation", "leased", "renderings",
        "size_bytes", "stale", "target", "timing", "watch",
    )  # fmt: skip

    def __init__(self, cache: AnswerCache, target: bytes) -> None:
        self.cache = cache
        self.target = target
        self.armed: Any = False
        self.confirm = False
        self.confirmation: Any = None
        self.leased = False
        self.aging = False
        self.alike = ""
        self.watch: Any = None
        self.stale = False
        self.answer: Answer | None = None
        self.renderings: list[Rendering | None] = [None, None]
        self.size_bytes = 0
        self.timing = cache.untimed

    def wake(self) -> None:
        """What this was read from has changed."""
        self.stale = True
        self.cache.drop(self)


class AnswerCache:
    """Answers by request target, bounded by number and by bytes; the oldest go first.

    :param forget: takes back the registration of an entry that is dropped before it was woken
        (``Agent.forget``, where the agent has it).
    """

    def __init__(self, forget: Any = None) -> None:
        self.entries: dict[bytes, Kept] = {}
        self.size_bytes = 0
        self._forget = forget
        self._entries_max = ENTRIES_MAX
        self._bytes_max = BYTES_MAX
        self._seen: dict[bytes, None] = {}
        self._alike: Counter[str] = Counter()
        self.untimed = Durations()

    def limit(self, entries_max: int, bytes_max: int) -> None:
        """Set the bounds; 0 entries keeps nothing. They hold for what is kept from now on."""
        self._entries_max = entries_max
        self._bytes_max = bytes_max

    def place(self, target: bytes, at_once: bool = False) -> Kept | None:
        """A place for an answer to ``target``; ``None`` if it has not been worth it so far.

        Watching costs something and what is read once is often not read again, so a target gets a
        place when it is read for the second time, or ``at_once``.
        """
        if not self._entries_max or not (at_once or self.has_seen(target)):
            return None
        return Kept(self, target)

    def has_seen(self, target: bytes) -> bool:
        """Whether ``target`` gave an answer that could have been kept, not too long ago."""
        return target in self._seen

    def seen(self, target: bytes) -> None:
        """``target`` gave an answer that could have been kept."""
        if self._entries_max:
            if len(self._seen) >= SEEN_MAX:
                self._seen.clear()
            self._seen[target] = None

    def keep(self, kept: Kept, answer: Answer, body: bytes) -> bool:
        """Keep ``answer`` if it is watched and still true; ``body`` is its uncompressed body."""
        size = 2 * len(body) + len(kept.target) + ENTRY_OVERHEAD_BYTES
        if not kept.armed or kept.stale:
            return False
        if size > min(ENTRY_BYTES_MAX, self._bytes_max):
            self._release(kept)
            return False
        old = self.entries.pop(kept.target, None)
        if old is not None:
            self._remove(old)
        kept.answer = answer
        kept.size_bytes = size
        self.entries[kept.target] = kept
        self.size_bytes += size
        if kept.alike:
            self._alike[kept.alike] += 1
        while len(self.entries) > self._entries_max or self.size_bytes > self._bytes_max:
            self._remove(self.entries.pop(next(iter(self.entries))))
        return True

    def knows(self, alike: str) -> bool:
        """Whether there is an answer to the same question, for whatever target."""
        return alike in self._alike

    def discard(self, kept: Kept) -> None:
        """A place that is not used after all."""
        if kept.armed and not kept.stale:
            self._release(kept)

    def drop(self, kept: Kept) -> None:
        """Take an entry out that was woken."""
        if self.entries.get(kept.target) is kept:
            del self.entries[kept.target]
            self._taken_out(kept)

    def clear(self) -> None:
        """Forget every answer."""
        entries, self.entries = self.entries, {}
        for kept in entries.values():
            self._remove(kept)
        self._seen.clear()

    def _remove(self, kept: Kept) -> None:
        self._taken_out(kept)
        self._release(kept)

    def _taken_out(self, kept: Kept) -> None:
        self.size_bytes -= kept.size_bytes
        kept.answer = None
        kept.renderings = [None, None]
        if kept.alike:
            self._alike[kept.alike] -= 1
            if not self._alike[kept.alike]:
                del self._alike[kept.alike]

    def _release(self, kept: Kept) -> None:
        kept.stale = True
        if self._forget is not None:
            self._forget(kept)
