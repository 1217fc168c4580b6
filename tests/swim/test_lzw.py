"""The LZW dialect."""

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.swim.lzw import compress, decompress
from pyconsul.swim.wire import DecodeError
from tests.swim.captured import captured


class LzwTests(SynchronousTestCase):
    def test_captured_streams_both_ways(self) -> None:
        """Both generations of encoders are read, and reproduced byte by byte."""
        generations = set()
        for record in captured("lzw"):
            plain, packed = bytes.fromhex(record["plain_hex"]), bytes.fromhex(record["lzw_hex"])
            self.assertEqual(decompress(packed, 1 << 20), plain)
            self.assertEqual(compress(plain, record["leading_clear_code"]), packed)
            generations.add(record["leading_clear_code"])
        self.assertEqual(generations, {True, False})

    def test_round_trips_across_table_resets(self) -> None:
        rng = Random(3)
        for size in (0, 1, 2, 3, 255, 4000, 40_000):
            for letters in (1, 3, 256):
                plain = bytes(rng.randrange(letters) for _ in range(size))
                for leading in (True, False):
                    self.assertEqual(decompress(compress(plain, leading), size), plain)

    def test_ends_at_every_width(self) -> None:
        """The end code's width follows from the last code, also right before the table starts over."""
        rng = Random(4)
        plain = rng.randbytes(4200)
        for around in (254, 765, 1785, 3830):
            for size in range(around - 40, around + 40):
                self.assertEqual(decompress(compress(plain[:size]), size), plain[:size])

    def test_what_follows_the_end_is_ignored(self) -> None:
        self.assertEqual(decompress(compress(b"abc") + b"rest", 10), b"abc")

    def test_bombs_are_stopped(self) -> None:
        """The limit counts what comes out, not what goes in."""
        bomb = compress(bytes(1_000_000))
        self.assertLess(len(bomb), 10_000)
        self.assertRaisesRegex(DecodeError, "more than 1000 bytes", decompress, bomb, 1000)

    def test_garbage(self) -> None:
        self.assertRaisesRegex(DecodeError, "no end code", decompress, b"", 10)
        self.assertRaisesRegex(DecodeError, "no end code", decompress, compress(b"abcdef")[:-2], 10)
        self.assertRaisesRegex(DecodeError, "invalid code", decompress, b"\xff\xff\xff", 10)
