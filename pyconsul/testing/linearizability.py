"""Is a history of concurrent operations one that a single, sequential store could have given?

Each key is checked on its own (linearizability is local: Herlihy & Wing, 1990). Within a key the
history is walked from its start to its end, and all states in which the store may be are carried
along (just-in-time linearization: Lowe, "Testing for linearizability", 2017): an operation is put
into effect only when a return demands it, in every order in which those that are under way could
have been, and configurations reached before are not looked at again. The work grows with the
length of the history and with the concurrency on one key, not with both multiplied.

Operations of unknown outcome would stay under way for ever and double the configurations each.
So

- one whose value somebody saw has to be in effect by then: it returns there;
- the others are alike as far as anybody can tell (write a value never seen, or delete), so they
  are counted by kind, and of two configurations that differ only in such counts the one that used
  fewer covers the other.

Stale reads need not be linearizable, but what one saw was in effect by the time it was seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from operator import le

from msgspec import Struct

from pyconsul.testing.history import (
    CAS,
    DELETE,
    DELETE_CAS,
    GET,
    NEVER,
    PUT,
    STALE,
    History,
    Operation,
    show,
)  # fmt: skip

Value = bytes | None
Effect = tuple[bool, Value, Value]
"""Of an operation without outcome: whether it needs ``expected``; ``expected``; the new value."""

UNSEEN = b"\xff\x00 some value that nobody ever saw"
CONFIGURATIONS_MAX = 200_000
AROUND_MAX = 30


class TooHard(Exception):
    """More configurations than can be looked at; use more keys or fewer clients."""


class Violation(Struct):
    """No order of the operations on ``key`` explains what clients were told.

    :ivar at: the operation whose return cannot be explained.
    :ivar around: the operations on this key that end not long before it, and those under way.
    """

    key: str
    at: Operation
    around: list[Operation]

    def __str__(self) -> str:
        return f"not linearizable: key {self.key}, at {self.at}\n{show(self.around)}"


def check(history: History) -> Violation | None:
    """The first violation found, or ``None`` if the history is linearizable. Raises ``TooHard``."""
    for key, operations in history.by_key().items():
        violation = check_key(key, operations)
        if violation is not None:
            return violation
    return None


def check_key(key: str, operations: Iterable[Operation]) -> Violation | None:
    """The same for the operations on one key, in the order of invocation."""
    operations = [o for o in operations if not (o.kind == GET and o.returned == NEVER)]
    bounded, unbounded = _bound(operations)
    failed = _Walk(bounded, {}).run()
    if failed is not None and unbounded:  # leaving them out is always allowed, and mostly enough
        failed = _Walk(bounded, unbounded).run()
    if failed is None:
        return None
    around = [o for o in operations if o.invoked <= failed.returned]
    around.sort(key=lambda o: min(o.returned, failed.returned))
    return Violation(key, failed.operation, around[-AROUND_MAX:])


class _Step(Struct, eq=False):
    """An operation as the walk needs it."""

    operation: Operation
    kind: str
    value: Value
    expected: Value
    result: bytes | bool | None
    returned: int


def _bound(operations: list[Operation]) -> tuple[list[_Step], dict[int, Effect]]:
    """Divide into what has to be in effect at a known time, and the rest by time of invocation."""
    seen_at: dict[bytes, int] = {}
    referenced: set[bytes] = set()
    for o in operations:
        seen: Value = None
        if o.returned != NEVER:
            if o.kind == GET and isinstance(o.result, bytes):
                seen = o.result
            elif o.kind == CAS and o.result:
                seen = o.expected
        if o.expected is not None:
            referenced.add(o.expected)
        if seen is not None:
            referenced.add(seen)
            seen_at[seen] = min(seen_at.get(seen, NEVER), o.returned)
    bounded: list[_Step] = []
    unbounded: dict[int, Effect] = {}
    for o in operations:
        if o.mode == STALE:
            continue
        value = o.value if o.value is None or o.value in referenced else UNSEEN
        returned, result = o.returned, o.result
        if o.value is not None and o.invoked < seen_at.get(o.value, 0) < returned:
            if returned == NEVER:
                result = True
            returned = seen_at[o.value]
        if returned == NEVER:
            unbounded[o.invoked] = (o.kind in (CAS, DELETE_CAS), o.expected, value)
        else:
            bounded.append(_Step(o, o.kind, value, o.expected, result, returned))
    return bounded, unbounded


_Used = tuple[int, ...]
_Configuration = tuple[Value, int, _Used]
"""The value, a bit for each slot whose operation is in effect already, and how often each
unbounded effect was used."""


class _Walk:
    """One pass over the invocations and returns of a key."""

    def __init__(self, steps: list[_Step], unbounded: dict[int, Effect]) -> None:
        events = [(s.operation.invoked, 0, s) for s in steps]
        # An operation bounded by somebody's return is in effect before that return: first of the two.
        events += [(s.returned, 1 if s.returned != s.operation.returned else 2, s) for s in steps]
        events.sort(key=lambda event: event[:2])
        self._events = events
        self._late = sorted(unbounded.items())
        self._effects: list[Effect] = list(dict.fromkeys(effect for _, effect in self._late))
        self._available = [0] * len(self._effects)
        self._pending: dict[int, _Step] = {}
        self._slot_of: dict[int, int] = {}
        self._configurations: set[_Configuration] = {(None, 0, (0,) * len(self._effects))}

    def run(self) -> _Step | None:
        """The step whose return no configuration explains, or ``None``."""
        free: list[int] = []
        late = 0
        for position, what, step in self._events:
            while late < len(self._late) and self._late[late][0] < position:
                self._available[self._effects.index(self._late[late][1])] += 1
                late += 1
            if what == 0:
                slot = free.pop() if free else len(self._pending)
                self._pending[slot] = step
                self._slot_of[id(step)] = slot
            else:
                slot = self._slot_of.pop(id(step))
                if not self._return(1 << slot):
                    return step
                del self._pending[slot]
                free.append(slot)
        return None

    def _return(self, bit: int) -> bool:
        """Keep the configurations in which the operation that has ``bit`` can be in effect."""
        reached = _Frontier()
        waiting: deque[_Configuration] = deque()
        for configuration in sorted(self._configurations, key=lambda c: sum(c[2])):
            if reached.add(configuration):
                waiting.append(configuration)
        done = _Frontier()
        while waiting:  # those that used fewer unbounded effects first
            configuration = waiting.popleft()
            if configuration[1] & bit:
                value, bits, used = configuration
                done.add((value, bits & ~bit, used))
                continue
            for following in self._following(*configuration):
                if reached.add(following):
                    if following[2] == configuration[2]:
                        waiting.appendleft(following)
                    else:
                        waiting.append(following)
            if reached.count > CONFIGURATIONS_MAX:
                raise TooHard(f"more than {CONFIGURATIONS_MAX} configurations")
        self._configurations = done.configurations()
        return bool(self._configurations)

    def _following(self, value: Value, bits: int, used: _Used) -> list[_Configuration]:
        """Configurations after one more operation."""
        following: list[_Configuration] = []
        for slot, step in self._pending.items():
            bit = 1 << slot
            if bits & bit:
                continue
            kind = step.kind
            if kind == PUT:
                following.append((step.value, bits | bit, used))
            elif kind == GET:
                if step.result == value:  # changes nothing: no need to look at any other order
                    return [(value, bits | bit, used)]
            elif kind == DELETE:
                following.append((None, bits | bit, used))
            elif kind == DELETE_CAS and value is None:
                if step.result:
                    return [(value, bits | bit, used)]
            elif step.result:
                if step.expected == value:
                    following.append((step.value, bits | bit, used))
            elif step.expected != value:
                return [(value, bits | bit, used)]
        for number, (conditional, expected, new) in enumerate(self._effects):
            if used[number] >= self._available[number] or new == value:
                continue
            if not conditional:
                following.append((new, bits, _one_more(used, number)))
            elif expected == value:
                # A value never comes back, so what expects it needs no counting; no value does.
                following.append((new, bits, used if value is not None else _one_more(used, number)))
        return following


def _one_more(used: _Used, number: int) -> _Used:
    return (*used[:number], used[number] + 1, *used[number + 1 :])


class _Frontier:
    """Configurations of which none covers another: the same, but fewer unbounded effects used."""

    def __init__(self) -> None:
        self.count = 0
        self._useds: dict[tuple[Value, int], list[_Used]] = {}

    def add(self, configuration: _Configuration) -> bool:
        """Whether it was added; if not, it is covered."""
        value, bits, used = configuration
        useds = self._useds.setdefault((value, bits), [])
        if used in useds or any(all(map(le, fewer, used)) for fewer in useds):
            return False
        useds.append(used)
        self.count += 1
        return True

    def configurations(self) -> set[_Configuration]:
        """All that were added."""
        return {(value, bits, used) for (value, bits), useds in self._useds.items() for used in useds}
