"""Term and vote on the disk: one small file, replaced as a whole."""

from __future__ import annotations

from struct import Struct
from zlib import crc32

from pyconsul.errors import StorageDamaged
from pyconsul.interfaces import Disk
from pyconsul.storage.segment import naming

NAME = "state"
TEMPORARY = NAME + ".new"
MAGIC = b"pyconvot"
VERSION = 1
VOTE_BYTES_MAX = 0xFFFF

_head = Struct("<8sHHQ")
_crc = Struct("<I")


class StableState:
    """The file ``state`` in ``folder``."""

    def __init__(self, disk: Disk, folder: str) -> None:
        self._disk = disk
        self._folder = folder
        self.path = f"{folder}/{NAME}"

    def load(self) -> tuple[int, str] | None:
        """Term and vote (empty: none); ``None`` if they have never been saved.

        :raises StorageDamaged: the file is there and cannot be read.
        """
        if NAME not in self._disk.list(self._folder):
            return None
        with naming(self.path):
            file = self._disk.open(self.path)
            try:
                data = file.read(_head.size + VOTE_BYTES_MAX + _crc.size + 1, 0)
            finally:
                file.close()
        if len(data) >= _head.size + _crc.size:
            magic, version, size, term = _head.unpack_from(data)
            end = _head.size + size
            if (
                (magic, version, len(data)) == (MAGIC, VERSION, end + _crc.size)
                and _crc.unpack_from(data, end)[0] == crc32(data[:end])
            ):  # fmt: skip
                return term, data[_head.size : end].decode()
        raise StorageDamaged(f"{self.path}: damaged at offset 0: term and vote cannot be read")

    def save(self, term: int, voted_for: str) -> None:
        """Replace both. Blocks until they are durable; a crash leaves the old ones or the new ones."""
        vote = voted_for.encode()
        body = _head.pack(MAGIC, VERSION, len(vote), term) + vote
        temporary = f"{self._folder}/{TEMPORARY}"
        with naming(self.path):
            file = self._disk.open(temporary, create=True)
            try:
                file.truncate(0)
                file.write([body, _crc.pack(crc32(body))], 0)
                file.sync()
            finally:
                file.close()
        self._disk.rename(temporary, self.path)
        self._disk.sync_folder(self._folder)
