"""Literals as Go reads and shows them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.filters.literals import integer, quote, truth, unquote


class LiteralTests(SynchronousTestCase):
    def test_texts(self) -> None:
        """Both kinds of quotes, and every escape."""
        self.assertEqual(unquote("`a\\n\r\n`"), "a\\n\n")
        self.assertEqual(
            unquote(r'"\a\b\f\n\r\t\v\\\x41\101\u00e9\U0001f600"'), "\a\b\f\n\r\t\v\\AA\xe9\U0001f600"
        )
        self.assertEqual(unquote(r'"\xc3\xa9"'), "\xe9")
        self.assertEqual(unquote(r'"\ud800"'), "\ufffd")
        for broken in (r'"\q"', r'"\x1"', r'"\400"', r'"\u12"', r'"\U00110000"', '"a\nb"', '"\\"', r'"\\\"'):
            self.assertRaises(ValueError, unquote, broken)

    def test_shown(self) -> None:
        """What is not printable is escaped."""
        self.assertEqual(
            quote('a"\\\n\x01\xa0\u2028\U000e0001\xe9'), '"a\\"\\\\\\n\\x01\\u00a0\\u2028\\U000e0001\xe9"'
        )
        self.assertEqual(quote(b"\xff".decode("utf-8", "surrogateescape")), '"\\xff"')

    def test_numbers(self) -> None:
        """All notations; what is too large is said to be."""
        for text, number in (
            ("80", 80), ("+80", 80), ("-0", 0), ("0x5_0", 80), ("0b1010000", 80), ("0o120", 80), ("0120", 80),
            ("-0120", -80), ("0_1", 1), ("8_0", 80), ("-9223372036854775808", -(1 << 63)),
        ):  # fmt: skip
            self.assertEqual(integer(text), number, text)
        for text in ("", "a", "1.0", "080", "8__0", "_1", "1_", "0x", " 1"):
            error = self.assertRaises(ValueError, integer, text)
            self.assertEqual(str(error), f'strconv.ParseInt: parsing "{text}": invalid syntax')
        for text in ("9223372036854775808", "9" * 5000):
            self.assertIn("value out of range", str(self.assertRaises(ValueError, integer, text)))

    def test_truth(self) -> None:
        """Six spellings of each."""
        self.assertTrue(truth("T"))
        self.assertFalse(truth("False"))
        error = self.assertRaises(ValueError, truth, "tRUE")
        self.assertEqual(str(error), 'strconv.ParseBool: parsing "tRUE": invalid syntax')
