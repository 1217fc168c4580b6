"""The bytes of a segment."""

from array import array

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import StorageDamaged
from pyconsul.storage import frames
from pyconsul.storage.frames import FRAME_BYTES, HEADER_BYTES, SegmentHeader
from tests.storage.worlds import entries, entry

HEADER = SegmentHeader(3, 5, 2, 0xABCDEF01)
ANY = 1 << 40


def segment(durable: int = 0, first: int = 5, count: int = 3) -> bytes:
    """A header and some frames."""
    new = entries(first, first + count - 1, term=2)
    return HEADER.encode() + frames.encode(new, HEADER.marker, durable, HEADER_BYTES, array("Q"))


class HeaderTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        """A header is read as it was written."""
        for header in (HEADER, HEADER._replace(restart=True)):
            self.assertEqual(len(header.encode()), HEADER_BYTES)
            self.assertEqual(frames.decode_header(header.encode(), "x"), header)

    def test_damage(self) -> None:
        """Any changed byte of it is noticed, as is a missing one."""
        good = HEADER.encode()
        for place in range(HEADER_BYTES):
            bad = bytearray(good)
            bad[place] ^= 1
            with self.assertRaisesRegex(StorageDamaged, "^a/b: damaged at offset 0"):
                frames.decode_header(bytes(bad), "a/b")
        with self.assertRaises(StorageDamaged):
            frames.decode_header(good[:-1], "a/b")

    def test_other_format(self) -> None:
        """A segment of a later format is refused, not taken for damage."""
        self.patch(frames, "VERSION", 2)
        later = HEADER.encode()
        self.patch(frames, "VERSION", 1)
        with self.assertRaisesRegex(StorageDamaged, "not a log segment of format 1"):
            frames.decode_header(later, "a/b")


class DecodeTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        """Entries of all kinds and sizes are read as they were written."""
        new = [entry(5, 2, b""), entry(6, 3, bytes(300), kind=1), entry(7, 1 << 60, b"x", kind=2)]
        offsets = array("Q")
        data = frames.encode(new, 77, 4, 1000, offsets)
        self.assertEqual(list(offsets), [1000, 1000 + FRAME_BYTES, 1000 + 2 * FRAME_BYTES + 300])
        self.assertEqual(frames.decode(data, 77, 5, 3), new)

    def test_refused(self) -> None:
        """A wrong marker, index, length or byte is noticed."""
        data = frames.encode([entry(5), entry(6)], 77, 4, 0, array("Q"))
        self.assertIsNone(frames.decode(data, 78, 5, 2))
        self.assertIsNone(frames.decode(data, 77, 4, 2))
        self.assertIsNone(frames.decode(data, 77, 5, 3))
        self.assertIsNone(frames.decode(data[:-1], 77, 5, 2))
        for place in range(len(data)):
            bad = bytearray(data)
            bad[place] ^= 0x10
            self.assertIsNone(frames.decode(bytes(bad), 77, 5, 2))


class ScanTests(SynchronousTestCase):
    def test_up_to_zeros(self) -> None:
        """The reserved zeros end the log."""
        data = segment()
        scan = frames.scan(data + bytes(500), HEADER, ANY, "x")
        self.assertEqual((list(scan.terms), scan.end, scan.sealed), ([2, 2, 2], len(data), False))
        self.assertEqual(scan.offsets[0], HEADER_BYTES)

    def test_up_to_an_index(self) -> None:
        """What a newer segment has made void is not read."""
        scan = frames.scan(segment(), HEADER, 6, "x")
        self.assertEqual((len(scan.offsets), scan.end), (1, HEADER_BYTES + FRAME_BYTES + len(b"entry 5")))

    def test_seal(self) -> None:
        """A seal ends the log and says so."""
        data = segment()
        scan = frames.scan(data + frames.encode_seal(HEADER.marker, 7, 2), HEADER, ANY, "x")
        self.assertEqual((scan.end, scan.sealed), (len(data), True))

    def test_good_frames_in_the_wrong_place(self) -> None:
        """No crash swaps entries, lets terms go back or seals another log."""
        odd = {
            "index": frames.encode([entry(9, 2)], HEADER.marker, 0, 0, array("Q")),
            "term": frames.encode([entry(8, 1)], HEADER.marker, 0, 0, array("Q")),
            "seal": frames.encode_seal(HEADER.marker, 8, 2),
        }
        data = segment()
        for what, frame in odd.items():
            with self.assertRaisesRegex(StorageDamaged, f"^x: damaged at offset {len(data)}: ", msg=what):
                frames.scan(data + frame, HEADER, ANY, "x")


class BehindTests(SynchronousTestCase):
    def test_durable_after(self) -> None:
        """The highest claim of the good frames behind a place counts, wherever they lie."""
        data = segment()
        more = frames.encode(entries(8, 9, 2), HEADER.marker, 6, 0, array("Q"))
        self.assertEqual(frames.durable_after(data, HEADER.marker, 0), 0)
        self.assertEqual(frames.durable_after(data + b"junk" + more, HEADER.marker, 100), 6)
        self.assertEqual(frames.durable_after(data + more[:-1], HEADER.marker, len(data) + 1), 0)

    def test_a_value_is_no_frame(self) -> None:
        """Frames that somebody stored as a value do not count without the marker."""
        forged = frames.encode([entry(1000)], 1, 999, 0, array("Q"))
        self.assertEqual(frames.durable_after(forged * 3, HEADER.marker, 0), 0)

    def test_end_of_content(self) -> None:
        """The last byte that is not zero, in whichever block."""
        for size in (0, 1, 100, 70_000, 200_000):
            data = b"x" * size
            for tail in (0, 10, 65_536, 150_000):
                self.assertEqual(frames.end_of_content(data + bytes(tail), 0), size)
        self.assertEqual(frames.end_of_content(b"xx" + bytes(80_000), 2), 2)
        self.assertEqual(frames.end_of_content(b"xx" + bytes(80_000) + b"y" + bytes(9), 2), 80_003)
