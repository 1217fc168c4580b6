"""What stale reads must not do, though they may see old data.

A server applies the log in order. So what a process has shown once it has applied, and what it shows
later is no older, whatever the key; and nobody sees what was not written yet.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from msgspec import Struct, field

from pyconsul.testing.history import GET, NEVER, STALE, Operation


class StaleRead(Struct):
    """A stale read that no log explains."""

    reason: str
    read: Operation

    def __str__(self) -> str:
        return f"stale read {self.reason}: {self.read}"


_Writes = dict[tuple[str, bytes | bool | None], Operation]


class _Process(Struct):
    """What a process has shown.

    :ivar applied: it has applied the log at least up to here.
    :ivar newest: by key, the newest version that it has shown.
    :ivar gone: by key, a version that it has shown before it showed that there is no entry.
    """

    applied: int = 0
    newest: dict[str, int] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)


class _Floor(Struct):
    """What a process had shown when a read began."""

    applied: int
    gone: int


def check(operations: Iterable[Operation]) -> StaleRead | None:
    """The first stale read that goes back in time, or ahead of it; ``None`` if there is none."""
    operations = list(operations)
    reads = [o for o in operations if o.kind == GET and o.returned != NEVER]
    writes: _Writes = {(o.key, o.value): o for o in operations if o.value is not None}
    found: dict[str, set[int]] = {}
    for read in reads:
        found.setdefault(read.key, set()).add(read.version)
    versions = {key: sorted(numbers) for key, numbers in found.items()}
    stale = [read for read in reads if read.mode == STALE and read.server]
    events = [(read.invoked, read) for read in stale] + [(read.returned, read) for read in stale]
    processes: dict[str, _Process] = {}
    floors: dict[int, _Floor] = {}
    for position, read in sorted(events, key=lambda event: event[0]):
        process = processes.setdefault(read.server, _Process())
        if position == read.invoked:
            floors[position] = _Floor(process.applied, process.gone.get(read.key, 0))
            continue
        floor = floors.pop(read.invoked)
        reason = _fault(read, floor, versions[read.key], writes)
        if reason:
            return StaleRead(reason, read)
        _show(process, read)
    return None


def _fault(read: Operation, floor: _Floor, versions: list[int], writes: _Writes) -> str:
    """What is wrong with ``read``, where ``versions`` of its key are known; empty if nothing is."""
    if read.result is None:
        return ""
    write = writes.get((read.key, read.result))
    if write is None or write.void or write.invoked > read.returned:
        return "of what nobody has written"
    if read.version <= floor.gone:
        return f"of version {read.version}, which this server had shown to be gone"
    place = bisect_right(versions, floor.applied)
    if place and versions[place - 1] > read.version:
        newer = versions[place - 1]
        return f"of version {read.version}, where this server had applied {newer} and more"
    return ""


def _show(process: _Process, read: Operation) -> None:
    """The process has shown what ``read`` saw."""
    if read.version:
        process.applied = max(process.applied, read.version)
        process.newest[read.key] = max(process.newest.get(read.key, 0), read.version)
    elif read.key in process.newest:
        process.gone[read.key] = process.newest[read.key]
