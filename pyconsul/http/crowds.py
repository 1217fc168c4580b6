"""Clients that wait for one change with one and the same request: asked once, rendered once.

When something changes that thousands wait for, what they have in common decides how long the last one
waits for its answer. So a blocking read that is parked already takes others along whose request is the
same, byte for byte. Their waits end together. An agent makes each wait somewhat longer than asked, and
the time in which others may join is shorter than that, so nobody waits less than he asked for. A read
that is about to be passed on to another agent takes others along just so.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pyconsul.http.answer import Answer
from pyconsul.http.query import Query

if TYPE_CHECKING:
    from pyconsul.http.channel import Channel
    from pyconsul.http.facts import Facts
    from pyconsul.http.surface import Rendered, Surface
    from pyconsul.interfaces import Joining

ANSWERED_PER_TURN_MAX = 128
BYTES_PER_TURN_MAX = 1024 * 1024
"""Others have their turn in between: to send to all at once takes long."""


class Crowd:
    """The channels that wait for one answer.

    It holds no more channels than there are connections, and they leave when they are lost.
    """

    __slots__ = ("_asked", "_crowds", "_joining", "_members", "_query", "_since")

    def __init__(self, crowds: Crowds, query: Query, joining: Joining, asked: Deferred[Answer]) -> None:
        self._crowds = crowds
        self._query = query
        self._joining = joining
        self._since = crowds.clock.seconds()
        self._members: dict[Channel, Facts] = {}
        self._asked: Deferred[Answer] | None = asked
        asked.addCallbacks(self._answered, self._failed)

    def takes(self, now: float) -> bool:
        """Whether who asks only now can be answered together with the others."""
        return self._joining.takes(now - self._since)

    def join(self, channel: Channel, facts: Facts) -> None:
        """Have ``channel`` answered, too; its answer has a variant that can be kept."""
        self._members[channel] = facts

    def leave(self, channel: Channel) -> None:
        """``channel`` is lost; nobody goes on waiting if it was the last."""
        self._members.pop(channel, None)
        if not self._members and self._asked is not None:
            self._crowds.forget(self._query.target, self)
            self._asked.cancel()

    def _failed(self, failure: Failure) -> None:
        self._answered(self._crowds.surface.failed_answer(failure, self._query))

    def _answered(self, answer: Answer) -> None:
        self._asked = None
        self._crowds.forget(self._query.target, self)
        one_each = {facts.variant: facts for facts in self._members.values()}
        try:
            rendered = {
                variant: self._crowds.surface.render(self._query, answer, facts)
                for variant, facts in one_each.items()
            }
        except Exception:
            failure = Failure()
            for channel in list(self._members):
                channel.broke(failure)
            return
        self._deliver(rendered, answer.close)

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
            self._crowds.clock.callLater(0, self._deliver, rendered, close)


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
