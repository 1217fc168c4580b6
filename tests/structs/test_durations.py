"""Durations in Go's words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.structs.durations import format_ns, parse_ns

S = 1_000_000_000


class DurationTests(SynchronousTestCase):
    def test_parse(self) -> None:
        """Sequences of numbers with units, with sign and fractions."""
        for text, duration_ns in (
            ("0", 0),
            ("10s", 10 * S),
            ("1h30m", 5400 * S),
            ("-5s", -5 * S),
            ("+1.5ms", 1_500_000),
            ("-3h5.5s", -(10805 * S + S // 2)),
            ("1us", 1000),
            ("1\u00b5s1\u03bcs2ns", 2002),
            (".5s", S // 2),
            ("1.s", S),
        ):
            self.assertEqual(parse_ns(text), duration_ns, text)

    def test_refused(self) -> None:
        """The texts that Go gives."""
        for text in ("", "-", "abc", "s", ".s", "-.", "9999999999h", ":1s"):
            error = self.assertRaises(ValueError, parse_ns, text)
            self.assertEqual(str(error), f'time: invalid duration "{text}"')
        for text, unit in (("5x", "x"), ("1s ", "s "), ("1d2h", "d")):
            error = self.assertRaises(ValueError, parse_ns, text)
            self.assertEqual(str(error), f'time: unknown unit "{unit}" in duration "{text}"')
        for text in ("5", "1h30", "2.5", "127.0.0.1"):
            error = self.assertRaises(ValueError, parse_ns, text)
            self.assertEqual(str(error), f'time: missing unit in duration "{text}"')

    def test_format(self) -> None:
        """As Consul shows them."""
        for duration_ns, text in (
            (0, "0s"),
            (1, "1ns"),
            (1000, "1\u00b5s"),
            (1_500_000, "1.5ms"),
            (1_500_000_000, "1.5s"),
            (60 * S, "1m0s"),
            (4200 * S, "1h10m0s"),
            (-(10805 * S + S // 2), "-3h0m5.5s"),
            (S + 1, "1.000000001s"),
        ):
            self.assertEqual(format_ns(duration_ns), text)

    @given(st.integers(-(2**62), 2**62))
    def test_round_trip(self, duration_ns: int) -> None:
        """What is written can be read, exactly."""
        self.assertEqual(parse_ns(format_ns(duration_ns)), duration_ns)
