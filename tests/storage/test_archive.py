"""The snapshot archive: gzip, tar, sums."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import Refused
from pyconsul.raft.configuration import Configuration, Server
from pyconsul.storage import archive
from pyconsul.storage.archive import BLOCK, Meta, make_meta, state, verify, write

CAPTURED = Path(__file__).parent / "vectors" / "consul-1.8.7.tgz"
NOW = 1_795_552_021.608
CONFIGURATION = Configuration([Server("id1", "192.0.2.1:8300"), Server("id2", "192.0.2.2:8300", 1)])
STATE = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(20_000))

READING = "failed to read snapshot file: "
INTEGRITY = READING + "failed checking integrity of snapshot: "


def pieces(data: bytes = STATE, size: int = 10_000) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def made(data: bytes = STATE) -> bytes:
    meta = make_meta(53, 2, CONFIGURATION, 1, NOW)
    return b"".join(write(meta, lambda: pieces(data), NOW))


def tar(*files: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    """A tar file as Go's library ends it."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.type = len(data), kind
            archive.addfile(info, io.BytesIO(data))
    content = made.getvalue().rstrip(b"\0")
    return content + bytes(-len(content) % BLOCK) + bytes(2 * BLOCK)


def sums(*files: tuple[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files).encode()


META = json.dumps({"Version": 1, "ID": "2-53-9", "Index": 53, "Term": 2, "Size": 5}).encode()
M, S = ("meta.json", META), ("state.bin", b"state")
H = ("SHA256SUMS", sums(M, S))


def packed(*files: tuple[str, bytes], **options: Any) -> bytes:
    return gzip.compress(tar(*files, **options))


class WriteTests(SynchronousTestCase):
    def test_layout(self) -> None:
        """Files, order, modes and the end are those of Consul's."""
        data = made()
        content = gzip.decompress(data)
        with tarfile.open(fileobj=io.BytesIO(content)) as found:
            members = found.getmembers()
            self.assertEqual([m.name for m in members], ["meta.json", "state.bin", "SHA256SUMS"])
            for member in members:
                self.assertEqual((member.mode, member.uid, member.gid), (0o600, 0, 0))
                self.assertEqual((member.mtime, member.type), (1_795_552_021, tarfile.REGTYPE))
            texts = [file.read() for member in members if (file := found.extractfile(member))]
        meta, body, lines = texts
        self.assertEqual(body, STATE)
        self.assertEqual(lines, sums(("state.bin", STATE), ("meta.json", meta)))
        self.assertEqual(
            meta,
            b'{"Version":1,"ID":"2-53-1795552021608","Index":53,"Term":2,'
            b'"Peers":"kq4xOTIuMC4yLjE6ODMwMK4xOTIuMC4yLjI6ODMwMA==","Configuration":{"Servers":['
            b'{"Suffrage":0,"ID":"id1","Address":"192.0.2.1:8300"},'
            b'{"Suffrage":1,"ID":"id2","Address":"192.0.2.2:8300"}]},'
            b'"ConfigurationIndex":1,"Size":640000}\n',
        )
        self.assertEqual(len(content), 512 + 512 + 512 + 640_000 + 512 + 512 + 1024)
        self.assertTrue(content.endswith(lines + bytes(-len(lines) % BLOCK + 1024)))

    def test_same_metadata_as_consul(self) -> None:
        """The names in meta.json, in their order."""
        with tarfile.open(CAPTURED) as found:
            file = found.extractfile("meta.json")
            assert file is not None
            theirs = file.read()
        ours = io.BytesIO(gzip.decompress(made()))
        with tarfile.open(fileobj=ours) as found:
            file = found.extractfile("meta.json")
            assert file is not None
            self.assertEqual(list(json.loads(file.read())), list(json.loads(theirs)))

    def test_sizes(self) -> None:
        """Whatever the size of the state, whole blocks included."""
        for size in (0, 1, 511, 512, 513, 100_000):
            data = made(STATE[:size])
            self.assertEqual(verify(io.BytesIO(data)).size, size)
            self.assertEqual(b"".join(state(io.BytesIO(data))), STATE[:size])

    def test_large_numbers(self) -> None:
        """Sizes beyond 8 GiB have no room in octal digits."""
        for size in (0, 1 << 33, (1 << 33) - 1, 1 << 40):
            header = archive._header("state.bin", size, 1)
            self.assertEqual(len(header), BLOCK)
            self.assertEqual(tarfile.TarInfo.frombuf(header, "ascii", "strict").size, size)

    def test_pauses(self) -> None:
        """Every slice of the state is a step, when it is measured and when it is packed."""
        meta = make_meta(1, 1, CONFIGURATION, 1, NOW)
        self.assertEqual(len(list(write(meta, pieces, NOW))), 64 + 1 + 64 + 1)

    def test_state_must_not_change(self) -> None:
        """A bug that would make an archive that nobody can read is noticed."""
        states = iter([b"one", b"other"])
        broken = write(Meta(), lambda: iter([next(states)]), NOW)
        self.assertRaises(AssertionError, list, broken)


class ReadTests(SynchronousTestCase):
    def test_captured(self) -> None:
        """An archive that Consul 1.8.7 saved."""
        with CAPTURED.open("rb") as file:
            meta = verify(file)
            data = b"".join(state(file))
        self.assertEqual((meta.version, meta.term, meta.id[:2]), (1, 2, "2-"))
        self.assertEqual(meta.size, len(data))
        servers = meta.configuration.servers
        assert servers is not None
        self.assertEqual([server.address for server in servers], ["127.0.28.4:8300"])
        self.assertEqual(meta.problem(), "")

    def test_other_writers(self) -> None:
        """Order, padding and spaces of other programs, and several gzip members, are accepted."""
        plain = tar(M, S, H)
        for data in (
            packed(M, S, H),
            packed(H, S, M),
            packed(S, M, H),
            packed(M, S, ("SHA256SUMS", H[1].replace(b"  ", b" "))),
            gzip.compress(plain + bytes(10_000)),
            gzip.compress(plain[:-1024]),
            gzip.compress(plain[:700]) + gzip.compress(plain[700:]),
        ):
            self.assertEqual(verify(io.BytesIO(data)).index, 53)
            self.assertEqual(b"".join(state(io.BytesIO(data))), b"state")

    def test_versions(self) -> None:
        self.assertEqual(Meta(version=0).problem(), "")
        self.assertEqual(Meta(version=9).problem(), "unsupported snapshot version 9")

    def test_steps(self) -> None:
        """No step reads more than a piece."""
        steps = list(archive.check(io.BytesIO(made())))
        self.assertGreaterEqual(len(steps), 2 + len(STATE) // archive.PIECE_BYTES)


class DamageTests(SynchronousTestCase):
    def fails(self, data: bytes, text: str) -> None:
        error = self.assertRaises(Refused, verify, io.BytesIO(data))
        self.assertEqual(str(error), text)

    def test_gzip(self) -> None:
        good = packed(M, S, H)
        unpacking = "failed to decompress snapshot: "
        self.fails(b"", unpacking + "EOF")
        self.fails(b"junk", unpacking + "unexpected EOF")
        self.fails(b"this is no archive", unpacking + "gzip: invalid header")
        self.fails(good[:5], unpacking + "unexpected EOF")
        self.fails(good[:-1], "unexpected EOF")
        self.fails(good[:-8] + bytes(4) + good[-4:], "gzip: invalid checksum")
        self.fails(good[:-4] + b"\1\1\1\1", "gzip: invalid checksum")
        self.fails(good + bytes(600), "gzip: invalid header")
        self.fails(good + good, "unread uncompressed bytes remain")
        self.fails(good[:3] + b"\xff" + good[4:], READING + "failed reading snapshot: gzip: invalid header")
        self.fails(good[:10] + b"\xff" * 20, READING + "failed reading snapshot: flate: corrupt input")

    def test_cut(self) -> None:
        """The text tells what was being read."""
        plain = tar(M, ("state.bin", STATE), H)
        self.fails(
            gzip.compress(plain)[:-5000], READING + "failed to read or write snapshot data: unexpected EOF"
        )
        self.fails(gzip.compress(plain[:300]), READING + "failed reading snapshot: unexpected EOF")
        self.fails(gzip.compress(plain[:520]), READING + "failed to read snapshot metadata: unexpected EOF")
        self.fails(gzip.compress(plain[:700]), READING + "failed reading snapshot: unexpected EOF")
        cut = tar(M, S, H)[: 5 * BLOCK + 10]
        self.fails(gzip.compress(cut), READING + "failed to read snapshot hashes: unexpected EOF")

    def test_tar(self) -> None:
        invalid = READING + "failed reading snapshot: archive/tar: invalid tar header"
        plain = tar(M, S, H)
        self.fails(gzip.compress(b"x" * 2000), invalid)
        self.fails(gzip.compress(b"X" + plain[1:]), invalid)
        self.fails(gzip.compress(plain[:124] + b"zz" + plain[126:]), invalid)
        minus = bytearray(plain)
        minus[124:136] = b"\xff" * 12
        minus[148:156] = b"%06o\0 " % (sum(minus[:148]) + sum(minus[156:512]) + 256)
        self.fails(gzip.compress(bytes(minus)), invalid)

    def test_files(self) -> None:
        unexpected = READING + 'unexpected file "{}" in snapshot'
        self.fails(packed(M, ("x", b"1"), S, H), unexpected.format("x"))
        self.fails(packed(("./meta.json", META), S, H), unexpected.format("./meta.json"))
        self.fails(packed(("state.bin", b""), kind=tarfile.SYMTYPE), unexpected.format("state.bin"))
        self.fails(packed(M, S), INTEGRITY + 'file missing for "meta.json"')
        self.fails(packed(), INTEGRITY + 'file missing for "meta.json"')
        self.fails(packed(M, H), INTEGRITY + 'hash check failed for "state.bin"')
        self.fails(packed(S, H), INTEGRITY + 'hash check failed for "meta.json"')
        self.fails(packed(M, S, S, H), INTEGRITY + 'hash check failed for "state.bin"')

    def test_sums(self) -> None:
        def with_sums(lines: bytes) -> bytes:
            return packed(M, S, ("SHA256SUMS", lines))

        self.fails(packed(M, ("state.bin", b"statx"), H), INTEGRITY + 'hash check failed for "state.bin"')
        self.fails(with_sums(b"junk\n"), INTEGRITY + "not a line of hex and a name")
        self.fails(with_sums(b"00\n"), INTEGRITY + "not a line of hex and a name")
        self.fails(with_sums(b"\xff"), INTEGRITY + "not a line of hex and a name")
        self.fails(with_sums(sums(M)), INTEGRITY + 'file missing for "state.bin"')
        self.fails(with_sums(H[1] + sums(("zz", b""))), INTEGRITY + 'list missing hash for "zz"')

    def test_metadata(self) -> None:
        def with_meta(text: bytes) -> bytes:
            meta = ("meta.json", text)
            return packed(meta, S, ("SHA256SUMS", sums(meta, S)))

        decoding = READING + "failed to decode snapshot metadata: "
        self.fails(with_meta(b"{"), decoding + "unexpected end of JSON input")
        self.fails(with_meta(b""), decoding + "unexpected end of JSON input")
        self.fails(with_meta(b"[]"), decoding + "Expected `object`, got `array`")
        self.fails(with_meta(b'{"ID": "\xff"}'), decoding + "not text")
        self.fails(with_meta(b'{"a": ' + b"[" * 100_000), decoding + "not text")
        self.fails(with_meta(b'{"Index": -1}'), decoding + "Expected `int` >= 0 - at `$.Index`")

    def test_limits(self) -> None:
        """What does not belong into memory is refused for its length, or as soon as it is too much."""
        text = READING + 'file "{}" is too large: {} bytes, at most {}'
        big = bytes(archive.META_BYTES_MAX + 1)
        self.fails(packed(("meta.json", big)), text.format("meta.json", len(big), archive.META_BYTES_MAX))
        half = ("SHA256SUMS", b"x" * (archive.SUMS_BYTES_MAX // 2 + 1))
        self.fails(packed(M, S, half, half), READING + 'unexpected file "SHA256SUMS" in snapshot')
        self.patch(archive, "_LIMITS", {**archive._LIMITS, "state.bin": 4})
        self.fails(packed(M, S, H), text.format("state.bin", 5, 4))

    def test_too_much_padding(self) -> None:
        data = gzip.compress(tar(M, S, H) + bytes(archive.PADDING_BYTES_MAX * 2))
        self.fails(data, "unread uncompressed bytes remain")

    def test_bomb(self) -> None:
        """200 MB of zeros in 200 kB take no memory, whatever they claim to be."""
        zeros = gzip.compress(bytes(200_000_000), 1)
        head = archive._header("state.bin", 200_000_000, 0)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.fails(gzip.compress(head) + zeros, INTEGRITY + 'file missing for "meta.json"')
        self.fails(gzip.compress(tar(M, S, H)) + zeros, "unread uncompressed bytes remain")
        self.assertLess(tracemalloc.get_traced_memory()[1], 3_000_000)

    def test_memory_of_writing(self) -> None:
        """A large state is never there as a whole."""
        block = bytes(range(256)) * 400
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for _piece in write(Meta(), lambda: (block for _ in range(300)), NOW):
            pass
        self.assertLess(tracemalloc.get_traced_memory()[1], 2_000_000)

    def test_cut_anywhere(self) -> None:
        """No prefix of an archive is taken for one."""
        data = made(STATE[:3000])
        for end in range(len(data)):
            self.assertRaises(Refused, verify, io.BytesIO(data[:end]))

    def test_mutated_anywhere(self) -> None:
        """A changed byte is noticed, unless it is one that means nothing; then all is as it was."""
        rng = Random(3)
        data = made(STATE[:3000])
        good = 0
        for _ in range(3000):
            changed = bytearray(data)
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            file = io.BytesIO(bytes(changed))
            try:
                meta = verify(file)
            except Refused:
                continue
            good += 1
            self.assertEqual((meta.index, b"".join(state(file))), (53, STATE[:3000]))
        self.assertLess(good, 100)

    def test_tampered_inside(self) -> None:
        """Nor does it help to pack a changed tar file again."""
        rng = Random(4)
        plain = tar(M, S, H)
        for _ in range(2000):
            changed = bytearray(plain)
            changed[rng.randrange(len(changed))] = rng.randrange(256)
            file = io.BytesIO(gzip.compress(bytes(changed), 1))
            try:
                meta = verify(file)
            except Refused:
                continue
            self.assertEqual((meta.index, b"".join(state(file))), (53, b"state"))
