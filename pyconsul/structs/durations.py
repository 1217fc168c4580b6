"""Durations as Go writes and reads them, exact to the nanosecond."""

import re

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]*)")
_NS_MAX = 2**63 - 1


def parse_ns(text: str) -> int:
    """The nanoseconds of a text such as ``1h30m``, ``1.5s`` or ``-5ms``.

    :raises ValueError: with the wording of Go.
    """
    invalid = ValueError(f'time: invalid duration "{text}"')
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    if not rest:
        raise invalid
    total = 0
    at = 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None or not (part[1] or part[2]):
            raise invalid
        unit = _UNITS_NS.get(part[3])
        if unit is None:
            problem = f'unknown unit "{part[3]}"' if part[3] else "missing unit"
            raise ValueError(f'time: {problem} in duration "{text}"')
        fraction = part[2] or ""
        total += int(part[1] or "0") * unit + int(fraction or "0") * unit // 10 ** len(fraction)
        at = part.end()
    if total > _NS_MAX:
        raise invalid
    return -total if text[0] == "-" else total


def format_ns(duration_ns: int) -> str:
    """Nanoseconds in Go's form: ``1h0m5.5s``, ``1.5ms``, ``0s``."""
    if duration_ns == 0:
        return "0s"
    sign = "-" if duration_ns < 0 else ""
    left = abs(duration_ns)
    if left < 1_000_000_000:
        unit = "ns" if left < 1_000 else "\u00b5s" if left < 1_000_000 else "ms"
        return f"{sign}{_decimal(left, _UNITS_NS[unit])}{unit}"
    minutes, left = divmod(left, _UNITS_NS["m"])
    hours, minutes = divmod(minutes, 60)
    front = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{front}{_decimal(left, _UNITS_NS['s'])}s"


def _decimal(value: int, unit: int) -> str:
    whole, part = divmod(value, unit)
    if not part:
        return str(whole)
    return f"{whole}." + str(part).zfill(len(str(unit)) - 1).rstrip("0")
