"""A server's log as the core sees it: every term, recent entries, the older ones through a reader.

Terms are kept as runs, ``(first index, term)``: a log of a million entries has as many runs as it
saw leaders. Entries are kept up to a number of bytes; what a slow follower or a restart needs
beyond that is read from the disk.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TypeAlias

from pyconsul.raft.messages import Entry

ENTRY_OVERHEAD_BYTES = 32
"""What an entry counts for besides its data, on the wire and in memory alike."""

CACHE_BYTES_MAX = 8 * 1024 * 1024

Reader: TypeAlias = Callable[[int, int, int], Sequence[Entry]]
"""``RaftStorage.read``: first, end and bytes_max to at least one entry from ``first`` on."""


class RaftLog:
    """Entries ``base_index + 1`` to ``last_index``.

    :param base_index: the entry before the first one kept, 0 if none was ever dropped.
    :param base_term: the term of that entry; ``None`` if it is not known any more.
    :param terms: the terms of the entries that the disk holds.
    :param read: reads from the disk what earlier calls of ``handle`` asked to be written.
    :ivar base_index: prefix that was dropped: a follower that needs it needs a snapshot.
    """

    __slots__ = (
        "_batch",
        "_batch_bytes",
        "_batch_first",
        "_cache",
        "_cache_bytes",
        "_cache_bytes_max",
        "_cache_first",
        "_read",
        "_run_starts",
        "_run_terms",
        "base_index",
        "base_term",
        "last_index",
        "last_term",
    )

    def __init__(
        self,
        read: Reader,
        base_index: int = 0,
        base_term: int | None = 0,
        terms: Sequence[int] = (),
        cache_bytes_max: int = CACHE_BYTES_MAX,
    ) -> None:
        self._read = read
        self.base_index = base_index
        self.base_term = base_term
        self._run_starts: list[int] = []
        self._run_terms: list[int] = []
        self.last_index = base_index
        self.last_term = base_term or 0
        for index, term in enumerate(terms, base_index + 1):
            if term != self.last_term or not self._run_starts:
                self._start_run(index, term)
        self.last_index = base_index + len(terms)
        self._cache: list[Entry] = []
        self._cache_first = self.last_index + 1
        self._cache_bytes = 0
        self._cache_bytes_max = cache_bytes_max
        self._batch: Sequence[Entry] = ()
        self._batch_first = 0
        self._batch_bytes = 0

    def _start_run(self, index: int, term: int) -> None:
        self._run_starts.append(index)
        self._run_terms.append(term)
        self.last_term = term

    # ------------------------------------------------------------ terms

    def term_at(self, index: int) -> int | None:
        """The term of the entry ``index``, or of the one before the first; else ``None``."""
        if index == self.last_index:
            return self.last_term
        if self.base_index < index < self.last_index:
            return self._run_terms[bisect_right(self._run_starts, index) - 1]
        return self.base_term if index == self.base_index else None

    def last_of_terms_to(self, term: int, index: int) -> int:
        """The last entry up to ``index`` whose term is at most ``term``; ``base_index`` if none.

        Both sides of a reject skip whole terms with it (paper, end of 5.3).
        """
        index = min(index, self.last_index)
        run = bisect_right(self._run_terms, term)
        if run < len(self._run_starts):
            index = min(index, self._run_starts[run] - 1)
        return max(index, self.base_index)

    # ------------------------------------------------------------ entries

    def slice(self, first: int, last: int, entries_max: int, bytes_max: int) -> Sequence[Entry]:
        """Entries from ``first`` up to ``last``: at least one, then as many as the limits allow.

        The caller must not change the list: what was appended in one call is handed out as it is
        to the disk, to every follower and to the state machine.
        """
        batch = self._batch
        if (
            first == self._batch_first
            and last == self.last_index
            and self._batch_bytes <= bytes_max
            and len(batch) <= entries_max
        ):
            return batch
        end = min(last + 1, first + entries_max)
        offset = first - self._cache_first
        if offset >= 0:
            found: Sequence[Entry] = self._cache[offset : end - self._cache_first]
        else:
            found = self._read(first, min(end, self._cache_first), bytes_max)
            if end > self._cache_first == found[-1].index + 1:
                found = [*found, *self._cache[: end - self._cache_first]]
        size = 0
        for count, entry in enumerate(found):
            size += len(entry.data) + ENTRY_OVERHEAD_BYTES
            if size > bytes_max and count:
                return found[:count]
        return found

    def append(self, entries: Sequence[Entry]) -> None:
        """Add ``entries``, which follow the last one; their terms never fall."""
        first = entries[0].index
        size = ENTRY_OVERHEAD_BYTES * len(entries) + sum([len(entry.data) for entry in entries])
        if self._cache_bytes > self._cache_bytes_max:
            self._evict()
        if entries[-1].term != self.last_term or not self._run_starts:
            for entry in entries:
                if entry.term != self.last_term or not self._run_starts:
                    self._start_run(entry.index, entry.term)
        self._cache += entries
        self._cache_bytes += size
        self._batch = entries
        self._batch_first = first
        self._batch_bytes = size
        self.last_index = first + len(entries) - 1

    def _evict(self) -> None:
        """Drop the oldest entries, an eighth more than is needed, so that it happens seldom.

        All of them came in earlier calls of ``handle``, so the disk has them.
        """
        goal = self._cache_bytes_max * 7 // 8
        size = self._cache_bytes
        count = 0
        for entry in self._cache:
            if size <= goal:
                break
            size -= len(entry.data) + ENTRY_OVERHEAD_BYTES
            count += 1
        del self._cache[:count]
        self._cache_first += count
        self._cache_bytes = size

    def truncate(self, first_dropped: int) -> None:
        """Drop all entries from ``first_dropped`` to the end."""
        assert first_dropped > self.base_index
        offset = max(0, first_dropped - self._cache_first)
        for entry in self._cache[offset:]:
            self._cache_bytes -= len(entry.data) + ENTRY_OVERHEAD_BYTES
        del self._cache[offset:]
        self._cache_first = min(self._cache_first, first_dropped)
        self._forget_batch()
        while self._run_starts and self._run_starts[-1] >= first_dropped:
            self._run_starts.pop()
            self._run_terms.pop()
        self.last_index = first_dropped - 1
        self.last_term = self._run_terms[-1] if self._run_terms else self.base_term or 0

    def compact(self, up_to: int) -> None:
        """Forget the entries up to ``up_to``, which a snapshot holds; does nothing if it has."""
        if up_to <= self.base_index:
            return
        assert up_to <= self.last_index
        term = self.term_at(up_to)
        count = min(len(self._cache), max(0, up_to + 1 - self._cache_first))
        for entry in self._cache[:count]:
            self._cache_bytes -= len(entry.data) + ENTRY_OVERHEAD_BYTES
        del self._cache[:count]
        self._cache_first = max(self._cache_first, up_to + 1)
        self._forget_batch()
        gone = bisect_right(self._run_starts, up_to + 1) - 1
        if up_to == self.last_index:
            self._run_starts.clear()
            self._run_terms.clear()
        else:
            del self._run_starts[:gone]
            del self._run_terms[:gone]
            self._run_starts[0] = up_to + 1
        self.base_index = up_to
        self.base_term = term

    def reset(self, index: int, term: int) -> None:
        """Forget everything: the log goes on after the entry ``index`` of ``term``."""
        self._run_starts.clear()
        self._run_terms.clear()
        self._cache.clear()
        self._cache_bytes = 0
        self._cache_first = index + 1
        self._forget_batch()
        self.base_index = self.last_index = index
        self.base_term = self.last_term = term

    def _forget_batch(self) -> None:
        self._batch = ()
        self._batch_first = 0
        self._batch_bytes = 0

    @property
    def cached_first(self) -> int:
        """The first entry that is in memory."""
        return self._cache_first
