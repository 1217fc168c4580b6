"""Snapshot files: ``raft/snapshots/<term>-<index>-<ms>/`` with ``meta.json`` and ``state``.

A snapshot is written under a temporary name and gets its real one once both files and the folder are
durable. So what has a real name is whole, unless the disk has changed it: both files have a checksum.
One that is dropped gets a temporary name first, for the same reason.

What is in ``state`` is up to who writes it; see ``pyconsul.state.image``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zlib import crc32

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pyconsul.errors import StorageDamaged
from pyconsul.interfaces import Disk, DiskFile
from pyconsul.raft.configuration import Configuration, Server
from pyconsul.raft.snapshot import SnapshotInfo

FOLDER = "snapshots"
META, STATE = "meta.json", "state"
TEMPORARY_SUFFIX = ".tmp"
VERSION = 2
VERSIONS_READ = (1, 2)
"""The first had the rows of the key/value store one by one."""

KEPT = 2
READ_BYTES = 256 * 1024
SYNC_BYTES = 4 * 1024 * 1024
"""The sync thread is not to be held up by more than that at once: the log waits for it, too."""

META_BYTES_MAX = 1024 * 1024


class SnapshotName(Struct, frozen=True, order=True):
    """What the name of a snapshot's folder says, the most important first."""

    index: int
    term: int
    ms: int

    def __str__(self) -> str:
        return f"{self.term}-{self.index}-{self.ms}"


class _Meta(Struct):
    version: int
    index: int
    term: int
    servers: Sequence[Server]
    configuration_index: int
    size: int
    checksum: int
    by_hand: bool = False


_encode_meta = msgspec.json.Encoder().encode
_decode_meta = msgspec.json.Decoder(_Meta).decode


class SnapshotFiles:
    """The snapshots in ``folder``, which is in an existing one. All methods block for the disk."""

    def __init__(self, disk: Disk, folder: str) -> None:
        self._disk = disk
        self.folder = folder
        self._temporaries = 0

    def recover(self) -> list[SnapshotName]:
        """Make the folder, remove what is left of unfinished work; what there is, the newest first."""
        disk, folder = self._disk, self.folder
        disk.make_folder(folder)
        disk.sync_folder(folder.rpartition("/")[0])
        for name in disk.list(folder):
            if name.endswith(TEMPORARY_SUFFIX):
                self._remove(name)
        disk.sync_folder(folder)  # a name that counts may not be durable yet
        return self.names()

    def names(self) -> list[SnapshotName]:
        """The snapshots there are, the newest first."""
        found = (_parsed(name) for name in self._disk.list(self.folder))
        return sorted((name for name in found if name is not None), reverse=True)

    def info(self, name: SnapshotName) -> SnapshotInfo:
        """What ``meta.json`` says. Raises ``StorageDamaged``."""
        path = f"{self.folder}/{name}/{META}"
        try:
            file = self._disk.open(path)
            try:
                data = file.read(META_BYTES_MAX, 0)
            finally:
                file.close()
        except OSError as error:
            raise StorageDamaged(f"{path}: cannot be read: {error}") from error
        body, _, checksum = data.partition(b"\n")
        try:
            if int(checksum, 16) != crc32(body):
                raise StorageDamaged(f"{path}: damaged: the checksum is wrong")
            meta = _decode_meta(body)
        except ValueError as error:  # msgspec's errors are such, too
            raise StorageDamaged(f"{path}: damaged: {error}") from None
        if meta.version not in VERSIONS_READ or (meta.index, meta.term) != (name.index, name.term):
            raise StorageDamaged(f"{path}: is not the description of snapshot {name} in format {VERSION}")
        configuration = Configuration(meta.servers)
        return SnapshotInfo(
            meta.index,
            meta.term,
            configuration,
            meta.configuration_index,
            meta.size,
            meta.checksum,
            meta.by_hand,
        )

    def find(self, info: SnapshotInfo) -> SnapshotName:
        """The snapshot that is ``info``. Raises ``StorageDamaged`` if it is not there any more."""
        for name in self.names():
            if (name.index, name.term) == (info.index, info.term) and self.info(name) == info:
                return name
        raise StorageDamaged(f"{self.folder}: there is no snapshot {info.term}-{info.index} any more")

    def open(self, name: SnapshotName) -> DiskFile:
        """The file with the state."""
        return self._disk.open(f"{self.folder}/{name}/{STATE}")

    def pieces(self, name: SnapshotName, info: SnapshotInfo) -> Iterator[bytes]:
        """The state, piece by piece; none of it may be used before this has come to its end.

        :raises StorageDamaged: if that is not what was written.
        """
        path = f"{self.folder}/{name}/{STATE}"
        try:
            file = self.open(name)
            try:
                yield from checked(file, info, path)
            finally:
                file.close()
        except OSError as error:
            raise StorageDamaged(f"{path}: cannot be read: {error}") from error

    # ------------------------------------------------------------ changing

    def draft(self) -> Draft:
        """Begin a new snapshot."""
        return Draft(self._disk, self.folder, self._temporary())

    def prune(self) -> None:
        """Drop all but the newest."""
        for name in self.names()[KEPT:]:
            self.drop(name)

    def drop(self, name: SnapshotName) -> None:
        """Remove a snapshot."""
        temporary = self._temporary()
        self._disk.rename(f"{self.folder}/{name}", f"{self.folder}/{temporary}")
        self._disk.sync_folder(self.folder)
        self._remove(temporary)

    def _temporary(self) -> str:
        self._temporaries += 1
        return f"{self._temporaries}{TEMPORARY_SUFFIX}"

    def _remove(self, name: str) -> None:
        for file in self._disk.list(f"{self.folder}/{name}"):
            self._disk.remove(f"{self.folder}/{name}/{file}")
        self._disk.remove(f"{self.folder}/{name}")


class Draft:
    """A snapshot that is not whole yet. All methods block for the disk, and raise ``OSError``.

    :ivar size: how much was written. :ivar checksum: of that.
    """

    def __init__(self, disk: Disk, folder: str, temporary: str) -> None:
        self._disk = disk
        self._folder = folder
        self._path = f"{folder}/{temporary}"
        self._file: DiskFile | None = None
        self._unsynced = 0
        self.size = 0
        self.checksum = 0

    def write(self, data: bytes) -> None:
        """Add to the state."""
        if self._file is None:
            self._disk.make_folder(self._path)
            self._file = self._disk.open(f"{self._path}/{STATE}", create=True)
            self._file.truncate(0)
        self._file.write((data,), self.size)
        self.size += len(data)
        self.checksum = crc32(data, self.checksum)
        self._unsynced += len(data)
        if self._unsynced >= SYNC_BYTES:
            self._unsynced = 0
            self._file.sync()

    def publish(self, info: SnapshotInfo, ms: int) -> tuple[SnapshotName, SnapshotInfo]:
        """Make all of it durable under its real name.

        :param info: size and checksum are filled in, if they are 0.
        :raises StorageDamaged: if they are others than those of what was written.
        """
        if not info.size:
            info = replace(info, size=self.size, checksum=self.checksum)
        if (info.size, info.checksum) != (self.size, self.checksum) or self._file is None:
            raise StorageDamaged(f"snapshot {info.term}-{info.index} did not come as it was sent")
        self._file.sync()
        self._file.close()
        meta = self._disk.open(f"{self._path}/{META}", create=True)
        body = _encode_meta(
            _Meta(
                VERSION,
                info.index,
                info.term,
                info.configuration.servers,
                info.configuration_index,
                info.size,
                info.checksum,
                info.by_hand,
            )
        )
        meta.write((body, b"\n%08x\n" % crc32(body)), 0)
        meta.sync()
        meta.close()
        self._disk.sync_folder(self._path)
        taken = self._disk.list(self._folder)
        name = SnapshotName(info.index, info.term, ms)
        while str(name) in taken:
            name = replace(name, ms=name.ms + 1)
        self._disk.rename(self._path, f"{self._folder}/{name}")
        self._disk.sync_folder(self._folder)
        return name, info

    def discard(self) -> None:
        """Remove what was written."""
        if self._file is not None:
            self._file.close()
        if self._path.rpartition("/")[2] in self._disk.list(self._folder):
            for file in self._disk.list(self._path):
                self._disk.remove(f"{self._path}/{file}")
            self._disk.remove(self._path)


def checked(file: DiskFile, info: SnapshotInfo, path: str) -> Iterator[bytes]:
    """What is in ``file``; raises ``StorageDamaged`` at the end, or before, if that is not ``info``."""
    if file.size() != info.size:
        raise StorageDamaged(f"{path}: damaged: has {file.size()} bytes, not {info.size}")
    offset = checksum = 0
    while offset < info.size:
        data = file.read(READ_BYTES, offset)
        if not data:
            raise StorageDamaged(f"{path}: damaged at offset {offset}: cannot be read")
        offset += len(data)
        checksum = crc32(data, checksum)
        yield data
    if checksum != info.checksum:
        raise StorageDamaged(f"{path}: damaged: the checksum is {checksum:08x}, not {info.checksum:08x}")


def _parsed(name: str) -> SnapshotName | None:
    parts = name.split("-")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        return None
    term, index, ms = map(int, parts)
    return SnapshotName(index, term, ms)
