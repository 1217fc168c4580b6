"""Gathering what an application hears for a while, so that bursts reach it as one (specs of serf, 6).

Of user events that allow it, the latest of each name are kept, of a member only what happened to it
last. Consul gathers nothing; serf's own agent both kinds, for 3 s or until 1 s is quiet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from pyconsul.serf.members import UPDATE, MemberEvent
from pyconsul.serf.messages import UserEvent

PERIOD_S = 3.0
QUIESCENT_S = 1.0
HELD_MAX = 4096
"""Subjects that are held back; beyond, everything is given out at once."""

E = TypeVar("E")


class Coalescer(Generic[E]):
    """Holds events back until ``deadline``.

    :param place: puts an event among those that are held, by subject; ``False`` if it may not be held.
    :param worth: whether a held event is still worth telling; asked when it is given out.
    """

    def __init__(
        self,
        place: Callable[[dict[str, list[E]], E], bool],
        worth: Callable[[E], bool],
        period_s: float = PERIOD_S,
        quiescent_s: float = QUIESCENT_S,
    ) -> None:
        self._place, self._worth = place, worth
        self._period_s, self._quiescent_s = period_s, quiescent_s
        self._held: dict[str, list[E]] = {}
        self._began = self._latest = 0.0

    def take(self, now: float, event: E) -> list[E]:
        """Take an event; returns those that are to be told at once."""
        first = not self._held
        if not self._place(self._held, event):
            return [event]
        if first:
            self._began = now
        self._latest = now
        return self.flush() if len(self._held) > HELD_MAX else []

    def deadline(self) -> float | None:
        """When ``flush`` is due; ``None`` while nothing is held."""
        if not self._held:
            return None
        return min(self._began + self._period_s, self._latest + self._quiescent_s)

    def flush(self) -> list[E]:
        """Everything that was held and is worth telling."""
        held, self._held = self._held, {}
        return [event for events in held.values() for event in events if self._worth(event)]


def user_events(period_s: float = PERIOD_S, quiescent_s: float = QUIESCENT_S) -> Coalescer[UserEvent]:
    """For user events: of each name those with the highest logical time."""

    def place(held: dict[str, list[UserEvent]], event: UserEvent) -> bool:
        if not event.coalesce:
            return False
        known = held.get(event.name)
        if known is None or known[0].ltime < event.ltime:
            held[event.name] = [event]
        elif known[0].ltime == event.ltime:
            known.append(event)
        return True

    return Coalescer(place, lambda event: True, period_s, quiescent_s)


def member_events(period_s: float = PERIOD_S, quiescent_s: float = QUIESCENT_S) -> Coalescer[MemberEvent]:
    """For members: what happened last, unless that is what was told last. Updates always count."""
    told: dict[str, str] = {}

    def place(held: dict[str, list[MemberEvent]], event: MemberEvent) -> bool:
        held[event.member.name] = [event]
        return True

    def worth(event: MemberEvent) -> bool:
        name = event.member.name
        if event.kind != UPDATE and told.get(name) == event.kind:
            return False
        told.pop(name, None)
        told[name] = event.kind
        if len(told) > 2 * HELD_MAX:
            del told[next(iter(told))]
        return True

    return Coalescer(place, worth, period_s, quiescent_s)
