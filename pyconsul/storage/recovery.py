"""Find the log again after a start, a crash or a power cut.

Only the end of the last segment may be torn: a file gets its real name once everything before it
is durable. There, a bad frame is the end of the log unless a good frame behind it says that the bad
one had been durable; then, and anywhere else, it is damage, and the server must not go on as if
the entry had never been.
"""

from __future__ import annotations

from array import array

from msgspec import Struct, field

from pyconsul.errors import StorageDamaged
from pyconsul.interfaces import Disk
from pyconsul.storage import frames
from pyconsul.storage.frames import HEADER_BYTES
from pyconsul.storage.segment import SUFFIX, Segment, naming, segment_name

TEMPORARY_SUFFIX = ".new"
_INDEX_MAX = 1 << 63

REJOIN = (
    "this server must not go on without what is missing. If others of its datacenter run, let it join "
    "them anew: stop it, empty its data folder (node-id included, so that it comes as a new server), "
    "start it, and if the dead one stays in `operator raft list-peers`, "
    "`operator raft remove-peer -id=<its id>`. If it was the only server, start it with an empty data "
    "folder and `snapshot restore` the newest snapshot that was saved"
)
"""What mends a damaged log: nothing but the copies of others."""


class Found(Struct):
    """What lies in the folder.

    :ivar segments: those that make up the log, in order; none in a new folder.
    :ivar terms: of all entries.
    :ivar notes: what people should know of, one text each.
    """

    segments: list[Segment] = field(default_factory=list)
    terms: array[int] = field(default_factory=lambda: array("Q"))
    next_sequence: int = 1
    notes: list[str] = field(default_factory=list)


def find_log(disk: Disk, folder: str) -> Found:
    """Read and check all segments, tidy up, and make durable what is reported. Blocks.

    :raises StorageDamaged: naming file and offset.
    """
    found = Found()
    everything = []
    for name in disk.list(folder):
        if name.endswith(TEMPORARY_SUFFIX):
            disk.remove(f"{folder}/{name}")
        elif name.endswith(SUFFIX):
            everything.append(_open(disk, folder, name))
    everything.sort(key=lambda segment: segment.header.sequence)
    found.segments, void = _chain(everything)
    if everything:
        found.next_sequence = everything[-1].header.sequence + 1
    for place, segment in enumerate(found.segments[:-1]):
        _read_finished(segment, found.segments[place + 1], found)
    if found.segments:
        _read_last(found.segments[-1], found)
    disk.sync_folder(folder)  # a name that counts may not be durable yet
    remove(disk, folder, void)
    return found


def remove(disk: Disk, folder: str, segments: list[Segment]) -> None:
    """Remove files, oldest first, each when all changes of the folder before it are durable. Blocks."""
    for segment in segments:
        disk.sync_folder(folder)
        segment.file.close()
        disk.remove(segment.path)


def _open(disk: Disk, folder: str, name: str) -> Segment:
    path = f"{folder}/{name}"
    with naming(path):
        file = disk.open(path)
        data = file.read(HEADER_BYTES, 0)
    header = frames.decode_header(data, path)
    if segment_name(header) != name:
        raise StorageDamaged(f"{path}: damaged at offset 0: the header is that of {segment_name(header)}")
    return Segment(folder, file, header)


def _chain(everything: list[Segment]) -> tuple[list[Segment], list[Segment]]:
    """Tell the segments that count from those that newer ones have made void; the oldest first."""
    chain: list[Segment] = []
    void: list[Segment] = []
    limit = _INDEX_MAX
    for segment in reversed(everything):
        if segment.first >= limit:
            void.append(segment)
        else:
            chain.append(segment)
            limit = segment.first
        if segment.header.restart:  # even if it is void itself
            limit = 0
    chain.reverse()
    void.reverse()
    return chain, void


def _read_finished(segment: Segment, following: Segment, found: Found) -> None:
    """Read a segment that must reach up to the one that follows."""
    with naming(segment.path):
        data = segment.file.read(segment.file.size(), 0)
    scan = frames.scan(data, segment.header, following.first, segment.path)
    segment.offsets, segment.end = scan.offsets, scan.end
    found.terms += scan.terms
    if segment.last + 1 != following.first:
        raise StorageDamaged(
            f"{segment.path}: damaged at offset {scan.end}: entry {segment.last + 1} cannot be read"
        )
    last_term = scan.terms[-1] if scan.terms else segment.header.prev_term
    if last_term != following.header.prev_term:
        raise StorageDamaged(
            f"{following.path}: damaged at offset 0: follows an entry of term {following.header.prev_term}, "
            f"but entry {segment.last} has term {last_term}"
        )


def _read_last(segment: Segment, found: Found) -> None:
    """Read the segment that may end in what a crash left, and clear that away."""
    file = segment.file
    with naming(segment.path):
        data = file.read(file.size(), 0)
    scan = frames.scan(data, segment.header, _INDEX_MAX, segment.path)
    segment.offsets, segment.end = scan.offsets, scan.end
    found.terms += scan.terms
    junk_end = frames.end_of_content(data, scan.end)
    if junk_end > scan.end:
        if frames.durable_after(data, segment.header.marker, scan.end) > segment.last:
            raise StorageDamaged(
                f"{segment.path}: damaged at offset {scan.end}: entry {segment.last + 1} cannot be read, "
                "though it was once durable"
            )
        if not scan.sealed:
            found.notes.append(
                f"{segment.path}: cut at offset {scan.end}, after entry {segment.last}: "
                f"{junk_end - scan.end} bytes were not completely written"
            )
    with naming(segment.path):
        file.write((bytes(junk_end - scan.end),), scan.end)
        _write_again(segment, data, scan.durable)
        file.sync()  # after a crash of the process alone, what was read may not be durable yet


def _write_again(segment: Segment, data: bytes, durable: int) -> None:
    """Write the entries behind ``durable`` once more, as they were read.

    A sync that failed may have left them in the page cache alone, and called clean: a later sync
    would say that all is well, and a power cut would show that it is not.
    """
    known = max(0, durable + 1 - segment.first)
    if known < len(segment.offsets):
        start = segment.offsets[known]
        segment.file.write((data[start : segment.end],), start)
