"""Durations as Go writes them (``1h30m``, ``250ms``), which is how files and requests give them."""

from __future__ import annotations

import re

from pyconsul.errors import ConfigurationError

_UNITS_NS = {
    "ns": 1, "us": 10**3, "\u00b5s": 10**3, "\u03bcs": 10**3, "ms": 10**6,
    "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
_PART = re.compile(r"(\d+\.?\d*|\.\d+)([a-zµμ]*)", re.ASCII)
_MAX_NS = 2**63 - 1


def parse_ns(text: str) -> int:
    """A duration in nanoseconds; raises ``ConfigurationError`` with the reason in Go's words."""
    rest = text[1:] if text[:1] in ("-", "+") else text
    total, at = 0.0, 0
    if rest == "0":
        return 0
    while at < len(rest):
        found = _PART.match(rest, at)
        if not found:
            raise ConfigurationError(f'time: invalid duration "{text}"')
        number, unit = found.groups()
        if not unit:
            raise ConfigurationError(f'time: missing unit in duration "{text}"')
        if unit not in _UNITS_NS:
            raise ConfigurationError(f'time: unknown unit "{unit}" in duration "{text}"')
        total += float(number) * _UNITS_NS[unit]
        at = found.end()
    if not rest or total > _MAX_NS:
        raise ConfigurationError(f'time: invalid duration "{text}"')
    return -round(total) if text[0] == "-" else round(total)


def parse(text: str) -> float:
    """A duration in seconds."""
    return parse_ns(text) / 1e9


def render(seconds: float) -> str:
    """Seconds as Go prints a duration: ``5m0s``, ``1.5s``, ``200ms``, ``0s``."""
    sign = "-" if seconds < 0 else ""
    ns = round(abs(seconds) * 1e9)
    if ns == 0:
        return "0s"
    for unit, size in (("ns", 10**3), ("\u00b5s", 10**6), ("ms", 10**9)):
        if ns < size:
            return f"{sign}{_decimal(ns, size // 1000)}{unit}"
    minutes, rest = divmod(ns, _UNITS_NS["m"])
    text = f"{_decimal(rest, 10**9)}s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        text = (f"{hours}h" if hours else "") + f"{minutes}m{text}"
    return sign + text


def _decimal(value: int, one: int) -> str:
    """``value / one`` without trailing zeros."""
    whole, rest = divmod(value, one)
    if not rest:
        return str(whole)
    return f"{whole}.{rest:0{len(str(one)) - 1}d}".rstrip("0")
