"""Term, vote and log in memory, for ``-dev``: nothing survives the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

from msgspec import Struct

from pyconsul.raft.messages import Entry


class Nothing(Struct, frozen=True):
    """What a server finds that has never run."""

    term: int = 0
    voted_for: str = ""
    first_index: int = 1
    last_index: int = 0
    snapshot_index: int = 0
    snapshot_term: int = 0
    terms: Sequence[int] = ()


class MemoryStorage:
    """A ``RaftStorage`` that calls everything durable at once."""

    notes: Sequence[str] = ()

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._first = 1
        self.persisted: Callable[[int], None] = lambda seq: None
        self.failed: Callable[[int, BaseException], None] = lambda seq, error: None

    def recover(self) -> Nothing:
        """There is never anything."""
        return Nothing()

    def save_state(self, seq: int, term: int, voted_for: str) -> None:
        """Keep nothing: the core knows its term."""
        self.persisted(seq)

    def append(self, seq: int, entries: Sequence[Entry]) -> None:
        """Keep ``entries``."""
        self._entries.extend(entries)
        self.persisted(seq)

    def truncate(self, seq: int, first_dropped: int) -> None:
        """Drop the end of the log."""
        del self._entries[first_dropped - self._first :]
        self.persisted(seq)

    def reset(self, seq: int, snapshot_index: int, snapshot_term: int) -> None:
        """Drop everything; the log goes on after the entry that a snapshot covers."""
        self._entries.clear()
        self._first = snapshot_index + 1
        self.persisted(seq)

    def compact(self, first_kept: int) -> int:
        """Drop what lies before ``first_kept``."""
        del self._entries[: max(0, first_kept - self._first)]
        self._first = max(self._first, first_kept)
        return self._first

    def read(self, first: int, end: int, bytes_max: int) -> list[Entry]:
        """See ``RaftStorage``."""
        found: list[Entry] = []
        size = 0
        for entry in self._entries[first - self._first : end - self._first]:
            size += len(entry.data)
            if found and size > bytes_max:
                break
            found.append(entry)
        return found

    def bytes_after(self, index: int) -> int:
        """See ``RaftStorage``."""
        return sum(len(entry.data) for entry in self._entries[max(0, index + 1 - self._first) :])

    def close(self) -> None:
        """Nothing to do."""

    def probe(self) -> None:
        """There is no disk that could fail."""

    def reopened(self) -> Self:
        """One that has forgotten everything."""
        return type(self)()

    def abandon(self) -> None:
        """Nothing to do."""
