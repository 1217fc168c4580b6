"""Durations as Go writes them: ``1h30m``, ``250ms``, ``-5s``. Nanoseconds inside.

Source: documentation of Go's ``time.ParseDuration`` and ``Duration.String``.
"""

from __future__ import annotations

import re
from fractions import Fraction

NANOSECOND = 1
MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
MAX = (1 << 63) - 1

UNITS = {
    "ns": NANOSECOND,
    "us": MICROSECOND,
    "µs": MICROSECOND,
    "μs": MICROSECOND,
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
}

_PART = re.compile(r"(\d*)(?:\.(\d*))?([^\d.]*)", re.ASCII)


def parse_duration(text: str) -> int:
    """Nanoseconds.

    :raises ValueError: with Go's wording, for instance ``time: missing unit in duration "5"``.
    """
    rest = text
    sign = 1
    if rest[:1] in ("-", "+"):
        sign = -1 if rest[0] == "-" else 1
        rest = rest[1:]
    if rest == "0":
        return 0
    if not rest:
        raise _invalid(text)
    total = Fraction(0)
    while rest:
        part = _PART.match(rest)
        assert part is not None
        whole, decimals, unit = part.groups()
        if not whole and not decimals:
            raise _invalid(text)
        if not unit:
            raise ValueError(f'time: missing unit in duration "{text}"')
        scale = UNITS.get(unit)
        if scale is None:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
        if len(whole) > 19:
            raise _invalid(text)
        total += int(whole or 0) * scale
        if decimals:
            total += Fraction(int(decimals[:18]), 10 ** len(decimals[:18])) * scale
        if total > MAX:
            raise _invalid(text)
        rest = rest[part.end() :]
    return sign * int(total)


def format_duration(ns: int) -> str:
    """As Go prints it: ``1m30s``, ``1.5s``, ``10µs``, ``0s``."""
    sign = "-" if ns < 0 else ""
    ns = abs(ns)
    if ns == 0:
        return "0s"
    if ns < MICROSECOND:
        return f"{sign}{ns}ns"
    if ns < MILLISECOND:
        return f"{sign}{_decimal(ns, MICROSECOND)}µs"
    if ns < SECOND:
        return f"{sign}{_decimal(ns, MILLISECOND)}ms"
    hours, ns = divmod(ns, HOUR)
    minutes, ns = divmod(ns, MINUTE)
    seconds = _decimal(ns, SECOND)
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}s"
    if minutes:
        return f"{sign}{minutes}m{seconds}s"
    return f"{sign}{seconds}s"


def _decimal(value: int, unit: int) -> str:
    whole, fraction = divmod(value, unit)
    if not fraction:
        return str(whole)
    digits = str(fraction).rjust(len(str(unit)) - 1, "0").rstrip("0")
    return f"{whole}.{digits}"


def _invalid(text: str) -> ValueError:
    return ValueError(f'time: invalid duration "{text}"')
