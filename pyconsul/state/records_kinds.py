"""The kinds of records in Consul's snapshots, as far as seen on 1.8.7, and account of those left out."""

from __future__ import annotations

from pyconsul.state import commands

REGISTER, KVS, SESSION, TOMBSTONE = commands.REGISTER, commands.KVS, commands.SESSION, commands.TOMBSTONE
COORDINATE, QUERY, AUTOPILOT = commands.COORDINATE, commands.QUERY, commands.AUTOPILOT
INDEX = 16
CHUNKING = 29

NAMES = {
    commands.ACL: "legacy ACL token",
    12: "intention",
    13: "CA root certificate",
    14: "CA provider state",
    15: "CA configuration",
    17: "ACL token",
    19: "ACL policy",
    22: "config entry",
    23: "ACL role",
    25: "ACL binding rule",
    27: "ACL auth method",
    CHUNKING: "chunked Raft command",
    30: "federation state",
}
"""Kinds that we hold no table for."""

_NO_CHUNKS = b"\x81\xa8ChunkMap\x80"


class Skipped:
    """How many rows were not taken over, by what they are.

    :ivar counts: in the order in which they were met.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def record(self, kind: int, record: bytes) -> None:
        """A record of a kind that we do not hold; a list counts as its rows."""
        if kind != CHUNKING or record != _NO_CHUNKS:
            self.add(NAMES.get(kind, f"record of kind {kind}"), _rows_in(record))

    def add(self, what: str, count: int = 1) -> None:
        """Something else that was left out."""
        self.counts[what] = self.counts.get(what, 0) + count


def describe(counts: dict[str, int]) -> str:
    """``2 x ACL token, 1 x intention``; empty if nothing was left out."""
    return ", ".join(f"{count} x {what}" for what, count in counts.items())


def _rows_in(record: bytes) -> int:
    first = record[0]
    if 0x90 <= first <= 0x9F:
        return first - 0x90
    size = {0xDC: 2, 0xDD: 4}.get(first)
    return 1 if size is None else int.from_bytes(record[1 : 1 + size], "big")
