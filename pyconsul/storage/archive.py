"""The snapshot archive in Consul's format: what ``/v1/snapshot`` sends and takes.

A gzip stream of a tar file with ``meta.json`` (what Raft says of the snapshot), ``state.bin`` (the
records of ``pyconsul.state.records``) and ``SHA256SUMS``, which comes last. Consul 1.8.7 refuses an
archive with anything after the two empty blocks that end a tar file, and one of several gzip members.
Its error texts are kept.

Both directions take memory for a piece, never for the whole, and proceed in steps, each of which is
short enough for the reactor's thread. Who has no reactor to share uses ``verify``.
"""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Callable, Generator, Iterator
from typing import Annotated, BinaryIO, NoReturn, TypeVar

import msgspec
from msgpack import packb
from msgspec import Struct, field
from msgspec.structs import replace

from pyconsul.errors import Refused
from pyconsul.raft.configuration import Configuration

META, STATE, SUMS = "meta.json", "state.bin", "SHA256SUMS"
VERSION = 1
VERSIONS_READ = (0, 1)

LEVEL = 1
ARCHIVE_BYTES_MAX = 512 * 1024 * 1024
"""Of an archive that somebody sends to be restored."""
PIECE_BYTES = 128 * 1024
META_BYTES_MAX = 1024 * 1024
SUMS_BYTES_MAX = 64 * 1024
STATE_BYTES_MAX = 4 * 1024 * 1024 * 1024
PADDING_BYTES_MAX = 1024 * 1024
"""Other programs fill a tar file up with zeros; Consul's does not."""

BLOCK = 512
_GZIP = 16 + zlib.MAX_WBITS
_READING = "failed to read snapshot file: "
_NEXT = _READING + "failed reading snapshot: "
_INVALID_HEADER = "archive/tar: invalid tar header"
_CONTEXTS = {
    META: _READING + "failed to read snapshot metadata: ",
    STATE: _READING + "failed to read or write snapshot data: ",
    SUMS: _READING + "failed to read snapshot hashes: ",
}
_LIMITS = {META: META_BYTES_MAX, STATE: STATE_BYTES_MAX, SUMS: SUMS_BYTES_MAX}

T = TypeVar("T")

_Index = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]


class ArchiveServer(Struct, rename="pascal"):
    """A server of the configuration in ``meta.json``."""

    suffrage: int = 0
    id: str = field(default="", name="ID")
    address: str = ""


class ArchiveConfiguration(Struct, rename="pascal"):
    """The Raft configuration in ``meta.json``."""

    servers: list[ArchiveServer] | None = None


class Meta(Struct, rename="pascal", kw_only=True):
    """``meta.json``. :ivar size: bytes of ``state.bin``. :ivar peers: addresses, as Raft once had them."""

    version: int = 0
    id: str = field(default="", name="ID")
    index: _Index = 0
    term: _Index = 0
    peers: str | None = None
    configuration: ArchiveConfiguration = field(default_factory=ArchiveConfiguration)
    configuration_index: _Index = 0
    size: _Index = 0

    def problem(self) -> str:
        """Why a snapshot with such metadata cannot be restored; empty if it can."""
        if self.version not in VERSIONS_READ:
            return f"unsupported snapshot version {self.version}"
        return ""


def make_meta(
    index: int, term: int, configuration: Configuration, configuration_index: int, now_s: float
) -> Meta:
    """The metadata of a snapshot at ``index``, but for its size.

    :param now_s: seconds since 1970; part of the id.
    """
    servers = configuration.servers
    peers = packb([server.address for server in servers], use_bin_type=False)
    return Meta(
        version=VERSION,
        id=f"{term}-{index}-{int(now_s * 1000)}",
        index=index,
        term=term,
        peers=b64encode(peers).decode(),
        configuration=ArchiveConfiguration([ArchiveServer(s.suffrage, s.id, s.address) for s in servers]),
        configuration_index=configuration_index,
    )


# ---------------------------------------------------------------- writing


def write(meta: Meta, state: Callable[[], Iterator[bytes]], now_s: float) -> Iterator[bytes]:
    """The archive, piece by piece; empty pieces are only a place to pause.

    The size of the state comes before the state, so it is produced twice rather than held.

    :param state: begins the records anew at each call, with the same outcome.
    """
    size = 0
    for piece in state():
        size += len(piece)
        yield b""
    metadata = msgspec.json.encode(replace(meta, size=size)) + b"\n"
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
    mtime = int(now_s)
    yield packer.compress(_filled(META, metadata, mtime) + _header(STATE, size, mtime))
    from hashlib import sha256  # brings OpenSSL's library, which most agents do without

    digest = sha256()
    written = 0
    for piece in state():
        digest.update(piece)
        written += len(piece)
        yield packer.compress(piece)
    assert written == size, "the state was not the same again"
    sums = f"{digest.hexdigest()}  {STATE}\n{sha256(metadata).hexdigest()}  {META}\n".encode()
    end = bytes(-size % BLOCK) + _filled(SUMS, sums, mtime) + bytes(2 * BLOCK)
    yield packer.compress(end) + packer.flush()


def _filled(name: str, data: bytes, mtime: int) -> bytes:
    return _header(name, len(data), mtime) + data + bytes(-len(data) % BLOCK)


def _header(name: str, size: int, mtime: int) -> bytes:
    """One block in the format ustar; the file belongs to root and is for nobody else."""
    head = b"%-100b%07o\0%07o\0%07o\0%b%011o\0" % (name.encode(), 0o600, 0, 0, _number(size), mtime)
    head = head.replace(b" ", b"\0")
    rest = b"0".ljust(101, b"\0") + b"ustar\0" + b"00" + bytes(64) + b"%07o\0%07o\0" % (0, 0) + bytes(167)
    checksum = sum(head) + sum(rest) + 8 * ord(" ")
    return head + b"%06o\0 " % checksum + rest


def _number(size: int) -> bytes:
    if size < 1 << 33:
        return b"%011o\0" % size
    return b"\x80" + size.to_bytes(11, "big")


# ---------------------------------------------------------------- reading


class _Damaged(Exception):
    """The stream cannot be unpacked further; the text is Go's."""


class _Gunzip:
    """What a gzip file holds, unpacked no further than asked for."""

    def __init__(self, file: BinaryIO) -> None:
        file.seek(0)
        self._file = file
        self._input = file.read(PIECE_BYTES)
        if len(self._input) < 10:
            raise _Damaged("unexpected EOF" if self._input else "EOF")
        if self._input[:3] != b"\x1f\x8b\x08":
            raise _Damaged("gzip: invalid header")
        self._member = zlib.decompressobj(_GZIP)

    def read(self, size_max: int) -> bytes:
        """Some bytes, at most so many; none at the end."""
        while True:
            if not self._input:
                self._input = self._file.read(PIECE_BYTES)
                if not self._input:
                    if self._member.eof:
                        return b""
                    raise _Damaged("unexpected EOF")
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP)
            try:
                data = self._member.decompress(self._input, size_max)
            except zlib.error as error:
                raise _Damaged(_go_text(str(error))) from None
            self._input = self._member.unconsumed_tail or self._member.unused_data
            if data:
                return data

    def exactly(self, size: int) -> bytes:
        """So many bytes, or none at the end."""
        parts: list[bytes] = []
        left = size
        while left:
            data = self.read(left)
            if not data:
                if not parts:
                    return b""
                raise _Damaged("unexpected EOF")
            parts.append(data)
            left -= len(data)
        return b"".join(parts)


def _go_text(text: str) -> str:
    if "check" in text and "header" not in text:
        return "gzip: invalid checksum"
    if "header" in text or "compression method" in text:
        return "gzip: invalid header"
    return "flate: corrupt input"


def _opened(file: BinaryIO) -> _Gunzip:
    try:
        return _Gunzip(file)
    except _Damaged as error:
        raise Refused(f"failed to decompress snapshot: {error}") from None


def _pieces(unpacked: _Gunzip) -> Iterator[tuple[str, bytes]]:
    """The files' contents piece by piece, each with the file's name, up to the end of the tar file."""
    while True:
        try:
            block = unpacked.exactly(BLOCK)
        except _Damaged as error:
            raise Refused(f"{_NEXT}{error}") from None
        if not block.strip(b"\0"):
            return
        name, size = _entry(block)
        left = size
        while left:
            try:
                data = unpacked.read(min(left, PIECE_BYTES))
                if not data:
                    raise _Damaged("unexpected EOF")
            except _Damaged as error:
                raise Refused(f"{_CONTEXTS[name]}{error}") from None
            left -= len(data)
            yield name, data
        padding = -size % BLOCK
        try:
            if len(unpacked.exactly(padding)) < padding:
                raise _Damaged("unexpected EOF")
        except _Damaged as error:
            raise Refused(f"{_NEXT}{error}") from None


def _entry(block: bytes) -> tuple[str, int]:
    """Name and size of a file, from its header."""
    try:
        checksum = _parsed(block[148:156])
        size = _parsed(block[124:136])
    except ValueError:
        raise Refused(_NEXT + _INVALID_HEADER) from None
    if checksum != sum(block[:148]) + sum(block[156:]) + 8 * ord(" ") or size < 0:
        raise Refused(_NEXT + _INVALID_HEADER)
    name = block[:100].partition(b"\0")[0].decode("utf-8", "replace")
    if name not in _LIMITS or block[156:157] not in (b"0", b"\0"):
        raise Refused(f'{_READING}unexpected file "{name}" in snapshot')
    if size > _LIMITS[name]:
        raise Refused(f'{_READING}file "{name}" is too large: {size} bytes, at most {_LIMITS[name]}')
    return name, size


def _parsed(text: bytes) -> int:
    if text[0] & 0x80:
        return int.from_bytes(text[1:], "big") if text[0] == 0x80 else -1
    return int(text.strip(b" \0") or b"0", 8)


def check(file: BinaryIO) -> Generator[None, None, Meta]:
    """Read a whole archive and check it, in steps; returns its metadata.

    Nothing of an archive may be used before this has come to its end.

    :raises Refused: if it is not an archive, is damaged, or holds other files than it should.
    """
    from hashlib import sha256

    unpacked = _opened(file)
    digests = {META: sha256(), STATE: sha256()}
    small: dict[str, list[bytes]] = {META: [], SUMS: []}
    for name, data in _pieces(unpacked):
        if name in digests:
            digests[name].update(data)
        if name in small:
            small[name].append(data)
            if sum(map(len, small[name])) > _LIMITS[name]:  # a file may come several times
                raise Refused(f'{_READING}unexpected file "{name}" in snapshot')
        yield
    _compare(b"".join(small[SUMS]), {name: digest.digest() for name, digest in digests.items()})
    meta = _metadata(b"".join(small[META]))
    _conclude(unpacked)
    return meta


def _compare(sums: bytes, digests: dict[str, bytes]) -> None:
    missing = dict.fromkeys(digests)
    for line in sums.splitlines():
        digest, _, name = line.decode("utf-8", "replace").partition(" ")
        name = name.strip()
        try:
            expected = bytes.fromhex(digest)
        except ValueError:
            _not_whole("not a line of hex and a name")
        if not name:
            _not_whole("not a line of hex and a name")
        if name not in digests:
            _not_whole(f'list missing hash for "{name}"')
        if expected != digests[name]:
            _not_whole(f'hash check failed for "{name}"')
        missing.pop(name, None)
    for name in missing:
        _not_whole(f'file missing for "{name}"')


def _not_whole(what: str) -> NoReturn:
    raise Refused(f"{_READING}failed checking integrity of snapshot: {what}")


_decode_meta = msgspec.json.Decoder(Meta).decode


def _metadata(data: bytes) -> Meta:
    try:
        return _decode_meta(data)
    except msgspec.MsgspecError as error:
        text = "unexpected end of JSON input" if "truncated" in str(error) else str(error)
        raise Refused(f"{_READING}failed to decode snapshot metadata: {text}") from None
    except (UnicodeDecodeError, RecursionError):
        raise Refused(f"{_READING}failed to decode snapshot metadata: not text") from None


def _conclude(unpacked: _Gunzip) -> None:
    """The rest is padding at most, and the checksums of gzip are right."""
    left = PADDING_BYTES_MAX
    try:
        while data := unpacked.read(BLOCK * 16):
            left -= len(data)
            if left < 0 or data.strip(b"\0"):
                raise _Damaged("unread uncompressed bytes remain")
    except _Damaged as error:
        raise Refused(str(error)) from None


def verify(file: BinaryIO) -> Meta:
    """``check`` in one go."""
    return run(check(file))


def run(steps: Generator[None, None, T]) -> T:
    """Everything that is to be done in steps, at once; what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: T = done.value
            return result


def state(file: BinaryIO) -> Iterator[bytes]:
    """The bytes of ``state.bin``, piece by piece, of an archive that was checked."""
    for name, data in _pieces(_opened(file)):
        if name == STATE:
            yield data
