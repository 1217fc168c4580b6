"""What the tests of the storage share."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from twisted.internet.task import Clock

from pyconsul.raft.messages import Entry
from pyconsul.storage.mending import said
from pyconsul.storage.raft_storage import RecoveredLog, SegmentedStorage
from pyconsul.testing.disk import SimDisk


def entry(index: int, term: int = 1, data: bytes | None = None, kind: int = 0) -> Entry:
    """An entry whose data tells its index."""
    return Entry(term, index, kind, b"entry %d" % index if data is None else data)


def entries(first: int, last: int, term: int = 1) -> list[Entry]:
    """Entries ``first`` to ``last``."""
    return [entry(index, term) for index in range(first, last + 1)]


class World:
    """A storage on a simulated disk whose jobs take a second."""

    def __init__(self, segment_bytes: int = 4096, seed: int = 1) -> None:
        self.clock = Clock()
        self.disk = SimDisk(self.clock, Random(seed), lambda rng: 1.0)

        self.segment_bytes = segment_bytes
        self.persisted: list[int] = []
        self.failures: list[tuple[int, BaseException]] = []
        self.start()

    def start(self) -> RecoveredLog:
        """A process starts on what the disk holds."""
        self.disk.attach(self.clock)
        self.persisted.clear()
        self.storage = SegmentedStorage(self.disk, Random(2), segment_bytes=self.segment_bytes)
        self.storage.persisted = self.persisted.append
        self.storage.failed = lambda seq, error: self.failures.append((seq, error))
        self.recovered = self.storage.recover()
        return self.recovered

    def said(self) -> list[tuple[int, str]]:
        """What failed, as people are told."""
        return [(seq, said(error)) for seq, error in self.failures]

    def settle(self) -> None:
        """Let all jobs end."""
        for _ in range(10):
            self.clock.advance(1)

    def append(self, seq: int, new: Sequence[Entry]) -> None:
        """Append and wait until it is durable."""
        self.storage.append(seq, new)
        self.settle()

    def restart(self) -> RecoveredLog:
        """The process dies, the machine lives."""
        self.disk.crash(power_cut=False)
        return self.start()

    def all(self) -> list[Entry]:
        """What the log holds."""
        first, last = self.recovered.first_index, self.recovered.last_index
        return self.storage.read(first, last + 1, 1 << 30) if last >= first else []

    def segments(self) -> list[str]:
        """The files of the log."""
        return [name for name in self.disk.list("raft") if name.endswith(".segment")]
