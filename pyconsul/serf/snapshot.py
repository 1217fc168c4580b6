"""The file in which a member keeps whom it knew and what it heard, to find back after a restart.

Lines of text, the later ones count (specs of serf, section 10)::

    alive: NAME ADDR:PORT
    not-alive: NAME
    clock: N
    event-clock: N
    query-clock: N
    leave

Nothing in it is needed: what cannot be read, because the end was lost in a crash, is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from msgspec import Struct, field

from pyconsul.serf.members import MemberEvent

SIZE_MIN = 128 * 1024
_LINE_SIZE = 128
ALIVE_MAX = 1 << 17
_CLOCK_MAX = (1 << 64) - 2
_CLOCKS = ("clock", "event-clock", "query-clock")


class Previous(Struct):
    """What a member knew when it ended.

    :ivar alive: who was alive, by name, with ``address:port``.
    :ivar clock: the highest logical time of an intent; the others of user events and of queries.
    :ivar problems: lines that could not be understood, the first few of them.
    """

    alive: dict[str, str] = field(default_factory=dict)
    clock: int = 0
    event_clock: int = 0
    query_clock: int = 0
    problems: list[str] = field(default_factory=list)


class GossipSnapshot(Protocol):
    """What a pool needs of whoever keeps the file for it."""

    def open(self) -> Previous:
        """What was remembered. From now on the other methods may be called."""
        ...

    def member_event(self, event: MemberEvent) -> None:
        """Remember who is alive."""
        ...

    def clocks(self, member: int, event: int, query: int) -> None:
        """Remember the highest logical times that were seen."""
        ...

    def left(self) -> None:
        """This node leaves: remember that, and nothing after it."""
        ...

    def close(self) -> None:
        """Write what is not written yet."""
        ...


_PROBLEMS_MAX = 10


def replay(text: str, rejoin_after_leave: bool = False) -> Previous:
    """What the lines of a file come to.

    :param rejoin_after_leave: remember the others although this node left.
    """
    found = Previous()
    for line in text.split("\n"):
        if not line or line.startswith(("#", "coordinate: ")):
            continue
        if line == "leave":
            if not rejoin_after_leave:
                found = Previous(problems=found.problems)
        elif not _take(found, line) and len(found.problems) < _PROBLEMS_MAX:
            found.problems.append(line[:200])
    return found


def _take(found: Previous, line: str) -> bool:
    """Take in one line; tells whether it could be understood."""
    kind, _, rest = line.partition(": ")
    if kind == "alive":
        name, _, address = rest.rpartition(" ")
        known = name in found.alive or len(found.alive) < ALIVE_MAX
        if not name or ":" not in address or not known:
            return False
        found.alive[name] = address
    elif kind == "not-alive":
        found.alive.pop(rest, None)
    elif kind in _CLOCKS:
        if not (rest.isascii() and rest.isdecimal() and len(rest) <= 20 and int(rest) <= _CLOCK_MAX):
            return False
        setattr(found, kind.replace("-", "_"), int(rest))
    else:
        return False
    return True


def alive_line(name: str, address: str) -> str:
    """The line for a member that is alive; empty if its name cannot be written."""
    return "" if "\n" in name else f"alive: {name} {address}\n"


def gone_line(name: str) -> str:
    """The line for one that is not any more; empty if its name cannot be written."""
    return "" if "\n" in name else f"not-alive: {name}\n"


def clock_lines(before: tuple[int, int, int], now: tuple[int, int, int]) -> Iterable[str]:
    """The lines for those of the three clocks that have moved."""
    for name, old, new in zip(_CLOCKS, before, now, strict=True):
        if new != old:
            yield f"{name}: {new}\n"


def whole(alive: Mapping[str, str], clocks: tuple[int, int, int]) -> str:
    """The shortest file that says all this."""
    lines = [alive_line(name, address) for name, address in alive.items()]
    return "".join([*lines, *clock_lines((-1, -1, -1), clocks)])


def is_too_long(size: int, alive: int) -> bool:
    """Whether a file of ``size`` bytes should be written anew."""
    return size > max(SIZE_MIN, 2 * _LINE_SIZE * alive)
