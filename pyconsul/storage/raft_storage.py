"""``RaftStorage`` over a ``Disk``: the segmented log, term and vote, and group commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Self

from msgspec import Struct

from pyconsul.errors import StorageDamaged
from pyconsul.interfaces import Disk
from pyconsul.raft.messages import Entry
from pyconsul.storage.patience import Patience
from pyconsul.storage.recovery import REJOIN, TEMPORARY_SUFFIX
from pyconsul.storage.segment import SUFFIX, naming
from pyconsul.storage.segments import SEGMENT_BYTES, SegmentedLog
from pyconsul.storage.spares import allocated
from pyconsul.storage.stable import StableState

FOLDER = "raft"
PROBE = "probe" + TEMPORARY_SUFFIX
PROBE_BYTES = 4096
PATIENCE_TURNS = 3
"""What a turn of the reactor reads is in the log only two turns later: writes are gathered in between."""


class RecoveredLog(Struct, frozen=True):
    """What was found on the disk (see ``interfaces.Recovered``)."""

    term: int
    voted_for: str
    first_index: int
    last_index: int
    snapshot_index: int
    snapshot_term: int
    terms: Sequence[int]


class StorageStatistics(Struct):
    """Counters since the start, for telemetry.

    :ivar syncs: jobs of the sync thread; ``entries / syncs`` is what group commit gathers.
    :ivar bytes: written to the log, frames included.
    """

    syncs: int = 0
    entries: int = 0
    bytes: int = 0
    appends: int = 0
    state_saves: int = 0
    truncations: int = 0
    segments: int = 0


class SegmentedStorage:
    """Durable term, vote and log in one folder of a ``Disk``.

    Entries go to the page cache at once, so they can be read at once. While the sync thread has a
    job, all calls are gathered; together they are the next job, with one fdatasync for all entries.
    It begins after whatever the last one made durable was reported, and may wait a little (``Patience``).

    :ivar notes: what ``recover`` wants people to know, one text each.
    :ivar persisted: see ``interfaces.RaftStorage``, as for ``failed``. After a failure nothing is
        written any more: what a failed fdatasync left in the page cache cannot be known. What is
        on the disk is for ``reopened`` to find.
    """

    def __init__(
        self, disk: Disk, rng: Random, folder: str = FOLDER, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self._disk = disk
        self._rng = rng
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._promised = 0
        self._log = SegmentedLog(disk, folder, rng, segment_bytes)
        self._state = StableState(disk, folder)
        self.persisted: Callable[[int], None] = lambda seq: None
        self.failed: Callable[[int, BaseException], None] = lambda seq, error: None
        self.notes: list[str] = []
        self.statistics = StorageStatistics()
        self._seq = self._seq_in_job = self._seq_persisted = 0
        self._running = False
        self._patience = Patience(PATIENCE_TURNS)
        self._accepting = self._closed = False
        self._broken: BaseException | None = None

    def recover(self) -> RecoveredLog:
        """Open or create what is there. Blocks for the disk.

        :raises StorageDamaged: naming file and offset, and what to do.
        """
        try:
            return self._recover()
        except StorageDamaged as error:
            raise StorageDamaged(f"{error}; {REJOIN}") from error

    def _recover(self) -> RecoveredLog:
        disk, folder, log = self._disk, self._folder, self._log
        disk.make_folder(folder)
        disk.sync_folder("")
        state = self._state.load()
        log_is_there = any(name.endswith(SUFFIX) for name in disk.list(folder))
        if state is None:  # it is written before the first segment, and long before it has a term
            if log_is_there:
                raise StorageDamaged(f"{self._state.path}: is missing, though there is a log")
            self._state.save(0, "")
            state = (0, "")
        elif state[0] and not log_is_there:
            raise StorageDamaged(f"{folder}: the log is missing, though there is a term")
        term, voted_for = state
        found = log.recover()
        if log.last_index < self._promised:
            raise StorageDamaged(
                f"{folder}: the log ends with entry {log.last_index}, "
                f"though entry {self._promised} was durable"
            )
        self._promised = 0
        self.notes = found.notes
        last_term = found.terms[-1] if found.terms else log.base_term
        if last_term > term:  # the entries outran the term, and nobody was told of either
            term, voted_for = last_term, ""
            self._state.save(term, voted_for)
        self._accepting = True
        return RecoveredLog(
            term, voted_for, log.first_index, log.last_index, log.first_index - 1, log.base_term, found.terms
        )

    # ------------------------------------------------------------ after a failure

    def probe(self) -> None:
        """Find out whether a file can be written and synced. Blocks; raises ``OSError``, naming it."""
        disk, folder = self._disk, self._folder
        for name in disk.list(folder):
            if name.endswith(TEMPORARY_SUFFIX):  # space that the log had reserved
                disk.remove(f"{folder}/{name}")
        path = f"{folder}/{PROBE}"
        file = allocated(disk, path, self._segment_bytes)
        with naming(path):
            try:
                file.write((bytes(PROBE_BYTES),), 0)
                file.sync()
                disk.sync_folder(folder)
            finally:
                file.close()
                disk.remove(path)

    def reopened(self) -> Self:
        """Another storage over the same folder, to recover what is there once this one is closed.

        It will not recover less than this one knows to be durable.
        """
        fresh = type(self)(self._disk, self._rng, self._folder, self._segment_bytes)
        fresh._promised = max(self._promised, self._log.durable_index)
        return fresh

    # ------------------------------------------------------------ changing

    def save_state(self, seq: int, term: int, voted_for: str) -> None:
        """Make term and vote durable; ``voted_for`` empty: no vote in this term."""
        if not self._accepting:
            return
        self.statistics.state_saves += 1
        self._log.steps.append(partial(self._state.save, term, voted_for))
        self._gathered(seq)

    def append(self, seq: int, entries: Sequence[Entry]) -> None:
        """Append ``entries``, whose indexes follow the last one."""
        if not self._accepting:
            return
        if entries:
            try:
                size = self._log.append(entries)
            except OSError as error:
                self._fail(seq, error)
                return
            statistics = self.statistics
            statistics.appends += 1
            statistics.entries += len(entries)
            statistics.bytes += size
        if self._patience.waits and self._patience.lasts(self.statistics.entries):
            self._seq = seq
        else:
            self._gathered(seq)

    def truncate(self, seq: int, first_dropped: int) -> None:
        """Drop all entries from ``first_dropped`` to the end."""
        if not self._accepting:
            return
        self.statistics.truncations += 1
        try:
            self._log.truncate(first_dropped)
        except (OSError, StorageDamaged) as error:
            self._fail(seq, error)
        else:
            self._gathered(seq)

    def reset(self, seq: int, snapshot_index: int, snapshot_term: int) -> None:
        """Drop the whole log; it continues after that entry, which a durable snapshot covers."""
        if not self._accepting:
            return
        try:
            self._log.reset(snapshot_index, snapshot_term)
        except OSError as error:
            self._fail(seq, error)
        else:
            self._gathered(seq)

    def compact(self, first_kept: int) -> int:
        """Drop whole segments that lie before ``first_kept``; returns the first index that is kept."""
        if self._accepting:
            self._log.compact(first_kept)
            if self._log.steps:
                self._gathered(self._seq)
        return self._log.first_index

    def read(self, first: int, end: int, bytes_max: int) -> list[Entry]:
        """Entries ``first`` to ``end - 1``: at least one, then as many as fit ``bytes_max``."""
        return self._log.read(first, end, bytes_max)

    def bytes_after(self, index: int) -> int:
        """How many bytes the entries behind ``index`` take, as far as they are held."""
        return self._log.bytes_after(index)

    def close(self) -> None:
        """Make durable what is not yet, seal the log, report nothing more."""
        if self._closed:
            return
        self._closed = True
        if self._accepting:
            self._accepting = False
            self._log.close()
            self._disk.submit(partial(self._run, self._log.take_steps()), _ignore)
        else:
            self._log.abandon()
        self._disk.submit(self._log.close_files, _ignore)

    def abandon(self) -> None:
        """Give the files back at once, of a storage that was recovered and never used."""
        self._accepting = False
        self._closed = True
        self._log.abandon()
        self._log.close_files()

    # ------------------------------------------------------------ group commit

    def _gathered(self, seq: int) -> None:
        self._seq = seq
        if not self._running:
            self._start()

    def _start(self) -> None:
        """Make one job of what was gathered."""
        self._running = True
        self._patience.end()
        self._seq_in_job = self._seq
        self._disk.submit(partial(self._run, self._log.take_steps()), self._ran)

    def _run(self, steps: list[Callable[[], None]]) -> None:
        """The job, in the sync thread. After a failure no step may be taken: each relies on the earlier."""
        if self._broken is not None:
            raise self._broken
        try:
            for step in steps:
                step()
        except BaseException as error:
            self._broken = error
            raise

    def _ran(self, error: BaseException | None) -> None:
        self._running = False
        if not self._accepting:
            return
        seq = self._seq_in_job
        if error is not None:
            self._fail(seq, error)
            return
        self.statistics.syncs += 1
        self.statistics.segments = self._log.created
        durable = self._log.synced()
        if self._patience.begin(self.statistics.entries, durable):
            self._disk.soon(self._look)
        try:
            if seq > self._seq_persisted:
                self._seq_persisted = seq
                self.persisted(seq)
        finally:
            if not self._patience.waits:
                self._go_on()

    def _look(self) -> None:
        """The reactor has looked for news: maybe this was all that the next job is to wait for."""
        if not self._patience.waits or not self._accepting:
            return
        if self._patience.turn(self.statistics.entries):
            self._disk.soon(self._look)
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Begin the next job if there is anything to do."""
        if self._accepting and not self._running and (self._log.steps or self._seq > self._seq_persisted):
            self._start()

    def _fail(self, seq: int, error: BaseException) -> None:
        self._accepting = False
        self._broken = error
        self.failed(seq, error)


def _ignore(error: BaseException | None) -> None:
    """The log is closed; nobody is left to be told."""
