"""One file of the log, and how it is read."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager

from pyconsul.errors import StorageDamaged
from pyconsul.interfaces import DiskFile
from pyconsul.raft.messages import Entry
from pyconsul.storage import frames
from pyconsul.storage.frames import HEADER_BYTES, SegmentHeader

SUFFIX = ".segment"


class Segment:
    """One file of the log.

    :ivar path: its name once it is finished, within the disk.
    :ivar first: index of its first entry.
    :ivar offsets: where each entry's frame begins.
    :ivar end: where the frames that count end; in the last segment the next one goes there.
    :ivar full_at: from this size on the next entries go to another file.
    :ivar has_zeros: there are zeros on the disk where frames will go (see ``spares``).
    """

    __slots__ = ("end", "file", "first", "full_at", "has_zeros", "header", "offsets", "path")

    def __init__(self, folder: str, file: DiskFile, header: SegmentHeader, has_zeros: bool = False) -> None:
        self.path = f"{folder}/{segment_name(header)}"
        self.file = file
        self.header = header
        self.has_zeros = has_zeros
        self.first = header.first
        self.offsets = array("Q")
        self.end = HEADER_BYTES
        size = file.size()
        self.full_at = size - min(size // 8, 1 << 20)

    @property
    def last(self) -> int:
        """Index of the last entry; one less than ``first`` if there is none."""
        return self.first + len(self.offsets) - 1

    def sync(self) -> None:
        """As ``DiskFile.sync``; an error names the file."""
        with naming(self.path):
            self.file.sync()

    def drop_from(self, index: int) -> None:
        """Forget the entries from ``index`` on."""
        kept = max(0, index - self.first)
        if kept < len(self.offsets):
            self.end = self.offsets[kept]
            del self.offsets[kept:]

    def fitting(self, first: int, end: int, bytes_max: int) -> tuple[int, int]:
        """Up to where the entries ``first`` to ``end - 1`` lie here and fit, and their bytes."""
        offsets = self.offsets
        low, high = first - self.first, min(end - self.first, len(offsets))
        start = offsets[low]
        stop = offsets[high] if high < len(offsets) else self.end
        if stop - start > bytes_max:
            high = bisect_right(offsets, start + max(bytes_max, 0), low, high) - 1
            stop = offsets[high]
        return self.first + high, stop - start

    def read(self, first: int, end: int) -> list[Entry]:
        """Entries ``first`` to ``end - 1`` from the file.

        :raises StorageDamaged: the disk gives back something else than was written.
        """
        offsets = self.offsets
        start, high = offsets[first - self.first], end - self.first
        stop = offsets[high] if high < len(offsets) else self.end
        with naming(self.path):
            data = self.file.read(stop - start, start)
        entries = frames.decode(data, self.header.marker, first, end - first)
        if entries is None:
            raise StorageDamaged(
                f"{self.path}: damaged at offset {start} or behind: cannot read entries {first} to {end - 1}"
            )
        return entries


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Errors of the file in there get its name, which a descriptor does not know."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def segment_name(header: SegmentHeader) -> str:
    """The file name of a finished segment."""
    return f"{header.first:020d}-{header.sequence:010d}{SUFFIX}"
