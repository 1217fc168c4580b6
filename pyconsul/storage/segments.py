"""The log as a row of append-only files in one folder.

Rules that make it safe at every moment of a crash:

- A file is written from front to back, once. Nothing but zeros is overwritten while the log lives, so a
  file holds no stale frames behind its good ones.
- Segments are named ``<first index>-<sequence>.segment``. One with a higher sequence makes void
  what older ones hold from its first index on. The end of the log is dropped by starting a segment
  there: that is one rename, so a crash leaves the old end or the new one, never a mixture.
- A segment is built under a temporary name and gets its real one only after the segments before it
  and itself have been synced. So behind a named segment nothing older can be missing, and only the
  last segment may end in frames that a crash tore.
- A file is removed only once all earlier removals are durable, oldest first: the names that are
  left always make a log without a gap.

What has to be done in the sync thread is gathered in ``steps``; ``SegmentedStorage`` runs them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from random import Random

from pyconsul.interfaces import Disk
from pyconsul.raft.messages import Entry
from pyconsul.storage import frames
from pyconsul.storage.frames import HEADER_BYTES, SegmentHeader
from pyconsul.storage.recent import RecentEntries
from pyconsul.storage.recovery import Found, find_log, remove
from pyconsul.storage.segment import Segment, naming
from pyconsul.storage.spares import Spares

SEGMENT_BYTES = 16 << 20
RECENT_BYTES_MAX = 8 << 20
WORTH_ZEROS_BYTES = 256 * 1024
"""When so much is written to a segment that has no zeros, one that has them is worth its making."""


class SegmentedLog:
    """Entries by index, over a ``Disk``. All calls are made on the reactor.

    :ivar first_index: index of the first entry held.
    :ivar last_index: index of the last entry; one less than ``first_index`` if there is none.
    :ivar steps: what to run in the sync thread, in order, so that all calls so far are durable.
    :ivar created: segments begun since the start.
    :param segment_bytes: size of a file; the batch that crosses it makes the file larger.
    """

    def __init__(
        self,
        disk: Disk,
        folder: str,
        rng: Random,
        segment_bytes: int = SEGMENT_BYTES,
        recent_bytes_max: int = RECENT_BYTES_MAX,
    ) -> None:
        self._disk = disk
        self._folder = folder
        self._rng = rng
        self._segment_bytes = segment_bytes
        self.first_index, self.last_index = 1, 0
        self._last_term = 0
        self._durable = self._syncing = 0
        self._segments: list[Segment] = []
        self._recent = RecentEntries(recent_bytes_max)
        self.steps: list[Callable[[], None]] = []
        self.created = 0
        self._sync_is_due = False
        self._next_sequence = 1
        self._spares = Spares(disk, folder, segment_bytes)
        self._prepared_for = self._prepare_at = 0

    def recover(self) -> Found:
        """Find the log in the folder, or begin one. Blocks; raises ``StorageDamaged``."""
        found = find_log(self._disk, self._folder)
        self._segments = list(found.segments)
        self._next_sequence = found.next_sequence
        if not self._segments:
            self.reset(0, 0)
            for step in self.take_steps():
                step()
        active = self._segments[-1]
        self._set_prepare_at(active)
        self.first_index, self.last_index = self._segments[0].first, active.last
        self._last_term = found.terms[-1] if found.terms else active.header.prev_term
        self._durable = self._syncing = self.last_index
        self.created = 0
        return found

    @property
    def durable_index(self) -> int:
        """The log is on the disk up to here, for certain."""
        return self._durable

    @property
    def base_term(self) -> int:
        """The term of the entry before the first one."""
        return self._segments[0].header.prev_term

    # ------------------------------------------------------------ changing

    def append(self, entries: Sequence[Entry]) -> int:
        """Write ``entries``, which follow the last one, to the page cache; how many bytes.

        :raises OSError: nothing was appended.
        """
        active = self._segments[-1]
        if active.end >= active.full_at or not active.has_zeros and self._is_given_up(active):
            active = self._begin(SegmentHeader(0, self.last_index + 1, self._last_term, 0))
        offsets = active.offsets
        count = len(offsets)
        data = frames.encode(entries, active.header.marker, self._durable, active.end, offsets)
        try:
            active.file.write((data,), active.end)
        except OSError as error:
            del offsets[count:]
            raise OSError(error.errno, error.strerror, active.path) from error
        size = len(data)
        active.end += size
        last = entries[-1]
        self.last_index = last.index
        self._last_term = last.term
        self._recent.append(entries, size)
        if not self._sync_is_due:
            self._sync_is_due = True
            self.steps.append(active.sync)
        if active.end >= self._prepare_at and self._prepared_for != self._next_sequence:
            self._prepared_for = self._next_sequence
            self._spares.prepare()
        return size

    def truncate(self, first_dropped: int) -> None:
        """Drop all entries from ``first_dropped`` to the end."""
        assert self.first_index <= first_dropped <= self.last_index + 1
        if first_dropped > self.last_index:
            return
        prev_term = self._segments[0].header.prev_term
        if first_dropped > self.first_index:
            prev_term = self.read(first_dropped - 1, first_dropped, 0)[0].term
        kept = [segment for segment in self._segments if segment.first < first_dropped]
        dropped = self._segments[len(kept) :]
        self._cut(kept, SegmentHeader(0, first_dropped, prev_term, 0), dropped)

    def reset(self, index: int, term: int) -> None:
        """Drop everything; the log goes on after entry ``index``, which had ``term``."""
        self._cut([], SegmentHeader(0, index + 1, term, 0, restart=True), self._segments)
        self.first_index = index + 1

    def compact(self, first_kept: int) -> None:
        """Drop whole segments in which every entry lies before ``first_kept``."""
        keep_from = 0
        segments = self._segments
        while keep_from + 1 < len(segments) and segments[keep_from + 1].first <= first_kept:
            keep_from += 1
        if keep_from:
            self._segments = segments[keep_from:]
            self.first_index = self._segments[0].first
            self.steps.append(partial(remove, self._disk, self._folder, segments[:keep_from]))

    def _cut(self, kept: list[Segment], header: SegmentHeader, dropped: list[Segment]) -> None:
        """Begin a segment that makes void what older ones hold from its first index on."""
        self._segments = kept
        old = kept[-1] if kept else None
        if old is not None:
            old.drop_from(header.first)
        self._begin(header)
        self._recent.clear()
        self.last_index = header.first - 1
        self._last_term = header.prev_term
        self._durable = min(self._durable, self.last_index)
        self._syncing = min(self._syncing, self.last_index)
        if dropped:
            self.steps.append(partial(remove, self._disk, self._folder, dropped))

    # ------------------------------------------------------------ reading

    def bytes_after(self, index: int) -> int:
        """How many bytes the entries behind ``index`` take, as far as they are held."""
        size = 0
        for segment in reversed(self._segments):
            if segment.last <= index:
                break
            if segment.offsets:  # else the end of the log was dropped, and nothing came since
                size += segment.end - segment.offsets[max(0, index + 1 - segment.first)]
        return size

    def read(self, first: int, end: int, bytes_max: int) -> list[Entry]:
        """Entries ``first`` to ``end - 1``: at least one, then as many as fit ``bytes_max``."""
        if not self.first_index <= first < end <= self.last_index + 1:
            raise LookupError(f"entries {first} to {end - 1} of {self.first_index} to {self.last_index}")
        entries: list[Entry] = []
        place = bisect_right(self._segments, first, key=_first_of) - 1
        while first < end:
            segment = self._segments[place]
            stop, size = segment.fitting(first, end, bytes_max)
            if stop == first:
                if entries:
                    break
                stop += 1  # one entry, however large, and no more
                bytes_max = 0
            recent = self._recent.read(first, stop)
            entries += segment.read(first, stop) if recent is None else recent
            if stop <= segment.last:
                break
            first = stop
            bytes_max -= size
            place += 1
        return entries

    # ------------------------------------------------------------ syncing

    def take_steps(self) -> list[Callable[[], None]]:
        """The steps of the next job; calls from now on belong to the one after it."""
        steps, self.steps = self.steps, []
        self._sync_is_due = False
        self._syncing = self.last_index
        return steps

    def synced(self) -> int:
        """The job whose steps were taken last is done; how many more entries are durable now."""
        before, self._durable = self._durable, self._syncing
        return self._durable - before

    def close(self) -> None:
        """Add the last step: seal the log, so that a later start knows that it is complete."""
        self._spares.close()
        active = self._segments[-1]
        seal = frames.encode_seal(active.header.marker, self.last_index, self._last_term)
        end = active.end

        def last_step() -> None:
            active.sync()  # what the seal vouches for
            active.file.write((seal,), end)
            active.sync()

        self.steps.append(last_step)

    def abandon(self) -> None:
        """There is nothing to be sealed: the disk failed, and what is on it has to be found again."""
        self._spares.close()

    def close_files(self) -> None:
        """Give the files back. Runs in the sync thread, which may be using them until then."""
        for segment in self._segments:
            segment.file.close()
        self._spares.close_files()

    # ------------------------------------------------------------ files

    def _begin(self, header: SegmentHeader) -> Segment:
        """Make a new segment the active one. Sequence and marker are set here."""
        path, file, has_zeros = self._spares.take()
        header = header._replace(sequence=self._next_sequence, marker=self._rng.getrandbits(32) or 1)
        with naming(path):
            file.write((header.encode(),), 0)
        segment = Segment(self._folder, file, header, has_zeros)
        self._set_prepare_at(segment)
        self._next_sequence += 1
        self.created += 1
        old = self._segments[-1] if self._segments else None
        self._segments.append(segment)
        self.steps.append(partial(self._publish, segment, path, old, old.end if old else 0))
        self._sync_is_due = True  # publishing syncs the file
        return segment

    def _set_prepare_at(self, active: Segment) -> None:
        """Say when the next segment is prepared; soon if it is to take the place of one that has no zeros."""
        half = active.full_at // 2
        self._prepare_at = half if active.has_zeros else min(half, active.end + WORTH_ZEROS_BYTES)

    def _is_given_up(self, active: Segment) -> bool:
        """Whether a segment without zeros, with entries and much room, is to end for one that has them."""
        room = active.full_at - active.end
        return self._spares.are_ready and room > WORTH_ZEROS_BYTES and active.end > HEADER_BYTES

    def _publish(self, segment: Segment, path: str, old: Segment | None, old_end: int) -> None:
        """Step: give a segment its name. All steps for older ones have been done before."""
        segment.sync()
        self._disk.rename(path, segment.path)
        self._disk.sync_folder(self._folder)
        if old is not None:
            old.file.truncate(old_end)  # give back what was reserved


_first_of = attrgetter("first")
