"""The end of the log in memory, so that what was just appended need not be read back."""

from __future__ import annotations

from collections.abc import Sequence

from pyconsul.raft.messages import Entry


class RecentEntries:
    """The newest entries: never more than fit ``bytes_max``, but for one append that is larger.

    They are kept in two halves, and the older half is let go as a whole.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._older: list[Entry] = []
        self._newer: list[Entry] = []
        self._newer_bytes = 0

    def append(self, entries: Sequence[Entry], size_bytes: int) -> None:
        """Keep ``entries``, which follow the last one kept and take ``size_bytes``."""
        if self._newer_bytes + size_bytes > self._bytes_max // 2:
            self._older, self._newer, self._newer_bytes = self._newer, [], 0
        self._newer += entries
        self._newer_bytes += size_bytes

    def clear(self) -> None:
        """Keep nothing: the log was cut."""
        self._older, self._newer, self._newer_bytes = [], [], 0

    def read(self, first: int, end: int) -> list[Entry] | None:
        """Entries ``first`` to ``end - 1``; ``None`` unless all are kept.

        ``end`` must not lie behind the last entry of the log.
        """
        for entries in (self._newer, self._older):
            if entries:
                start = entries[0].index
                if first >= start:
                    found = entries[first - start : end - start]
                    if len(found) < end - first and entries is self._older:
                        found += self._newer[: end - first - len(found)]
                    return found
        return None
