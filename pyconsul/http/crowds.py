"""Clients that wait for one change with one and the same request: asked once, rendered once.

When something changes that thousands wait for, what they have in common decides how long the last one
waits for its answer. So a blocking read that is parked already takes others along whose request is the
same, byte for byte. Their waits end together. An agent makes each wait somewhat longer than asked, and
the time in which others may join is shorter than that, so nobody waits less than he asked for. A read
that is about to be passed on to another agent takes others along just so. And those who want the same answer
that is kept, but for which the leader has to be confirmed, share that (``Confirmation``).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pyconsul.errors import PyconsulError
from pyconsul.http.answer import Answer
from pyconsul.http.query import Query

if TYPE_CHECKING:
    from pyconsul.http.cache import Kept
    from pyconsul.http.channel import Channel
    from pyconsul.http.facts import Facts
    from pyconsul.http.lane import Lane
    from pyconsul.http.surface import Rendered, Surface
    from pyconsul.interfaces import Joining

ANSWERED_PER_TURN_MAX = 128
BYTES_PER_TURN_MAX = 1024 * 1024
"""Others have their turn in between: to send to all at once takes long."""


class Members:
    """Channels that wait for one answer, and are given it together.

    There are no more than there are connections, and they leave when they are lost.
    """

    __slots__ = ("_clock", "_members")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._members: dict[Channel, Facts] = {}

    def join(self, channel: Channel, facts: Facts) -> None:
        """Have ``channel`` answered, too; its answer has a variant that can be kept."""
        self._members[channel] = facts

    def leave(self, channel: Channel) -> None:
        """``channel`` is lost."""
        self._members.pop(channel, None)

    def _answer(self, render: Callable[[Facts], Rendered], close: bool) -> None:
        """Give all of them what ``render`` makes, once for each variant."""
        one_each = {facts.variant: facts for facts in self._members.values()}
        try:
            rendered = {variant: render(facts) for variant, facts in one_each.items()}
        except Exception:
            failure = Failure()
            for channel in list(self._members):
                channel.broke(failure)
            return
        self._deliver(rendered, close)

    def _deliver(self, rendered: dict[int, Rendered], close: bool) -> None:
        """Answer the next of those that are still there."""
        members = self._members
        largest = max((len(each) for each in rendered.values() if isinstance(each, bytes)), default=0)
        count = min(ANSWERED_PER_TURN_MAX, BYTES_PER_TURN_MAX // (largest + 1) + 1)
        for channel in list(islice(members, count)):
            facts = members.pop(channel, None)
            if facts is not None:  # else lost just now
                channel.settle(rendered[facts.variant], close)
        if members:
            self._clock.callLater(0, self._deliver, rendered, close)


class Crowd(Members):
    """Those who wait for one answer that is being made."""

    __slots__ = ("_asked", "_crowds", "_joining", "_query", "_since")

    def __init__(self, crowds: Crowds, query: Query, joining: Joining, asked: Deferred[Answer]) -> None:
        super().__init__(crowds.clock)
        self._crowds = crowds
        self._query = query
        self._joining = joining
        self._since = crowds.clock.seconds()
        self._asked: Deferred[Answer] | None = asked
        asked.addCallbacks(self._answered, self._failed)

    def takes(self, now: float) -> bool:
        """Whether who asks only now can be answered together with the others."""
        return self._joining.takes(now - self._since)

    def leave(self, channel: Channel) -> None:
        """``channel`` is lost; nobody goes on waiting if it was the last."""
        super().leave(channel)
        if not self._members and self._asked is not None:
            self._crowds.forget(self._query.target, self)
            self._asked.cancel()

    def _failed(self, failure: Failure) -> None:
        self._answered(self._crowds.surface.failed_answer(failure, self._query))

    def _answered(self, answer: Answer) -> None:
        self._asked = None
        self._crowds.forget(self._query.target, self)
        surface, query = self._crowds.surface, self._query
        self._answer(lambda facts: surface.render(query, answer, facts), answer.close)


class Confirmation(Members):
    """Those who wait for one kept answer, which they may have once the leader is confirmed."""

    __slots__ = ("_begun", "_entry", "_lane", "takes")

    def __init__(self, lane: Lane, entry: Kept) -> None:
        super().__init__(lane.clock)
        self._lane = lane
        self._entry = entry
        self._begun = lane.clock.seconds()
        self.takes: Callable[[float], bool]

    def ask(self) -> bool:
        """Have the leader confirmed; false if there is none."""
        entry = self._entry
        try:
            self.takes = self._lane.surface.agent.confirm(self, entry.leased).takes
        except PyconsulError:
            return False
        entry.confirmation = self
        return True

    def callback(self, result: object) -> None:
        """The leader is confirmed."""
        entry = self._entry
        if entry.answer is None:
            self.errback(None)
            return
        entry.timing.add((self._clock.seconds() - self._begun) * 1e3, len(self._members))
        surface = self._lane.surface
        self._answer(lambda facts: surface.serve(entry, facts), False)

    def errback(self, error: object) -> None:
        """It is not, or what was read has changed: each asks for an answer of his own."""
        members = self._members
        for channel in list(members):
            facts = members.pop(channel, None)
            if facts is not None:  # else lost just now
                channel.ask_anew(self._lane, self._entry.target, facts)


class Crowds:
    """The crowds of one site that may still grow, by what they ask."""

    def __init__(self, surface: Surface, clock: IReactorTime) -> None:
        self.surface = surface
        self.clock = clock
        self._open: dict[bytes, Crowd] = {}

    def find(self, target: bytes) -> Crowd | None:
        """One that takes who asks for ``target`` now."""
        crowd = self._open.get(target)
        return crowd if crowd is not None and crowd.takes(self.clock.seconds()) else None

    def gather(self, query: Query, joining: Joining, asked: Deferred[Answer]) -> Crowd:
        """Begin one around a read that is not answered yet."""
        crowd = Crowd(self, query, joining, asked)
        self._open[query.target] = crowd
        return crowd

    def forget(self, target: bytes, crowd: Crowd) -> None:
        """Nobody may join ``crowd`` any more."""
        if self._open.get(target) is crowd:
            del self._open[target]
