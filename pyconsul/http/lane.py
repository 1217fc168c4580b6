"""The short way from a parsed request to the bytes of its answer, for hot routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from pyconsul.http import paths
from pyconsul.http.answer import Answer
from pyconsul.http.crowds import Confirmation, Crowds
from pyconsul.http.large import AT_ONCE_BYTES_MAX
from pyconsul.http.query import Query
from pyconsul.http.routes import Route
from pyconsul.interfaces import LATER

if TYPE_CHECKING:
    from pyconsul.http.channel import Channel
    from pyconsul.http.crowds import Members
    from pyconsul.http.facts import Facts
    from pyconsul.http.surface import Rendered, Surface
    from pyconsul.interfaces import Later

KNOWN_MAX = 2048
KNOWN_BYTES_MAX = 256
"""Of a target without a query that is remembered."""

Known = tuple[bytes, Route, Mapping[str, str]]
"""Where a target leads: the method, its route, and the parameters of the path."""

Result: TypeAlias = "Rendered | Deferred[Answer] | Members | Later | None"


class Lane:
    """Calls the endpoints of hot routes directly, and serves kept answers before that."""

    def __init__(self, surface: Surface, clock: IReactorTime) -> None:
        self.surface = surface
        self.clock = clock
        self._crowds = Crowds(surface, clock)
        self._known: dict[bytes, Known] = {}

    def serve(self, channel: Channel, method: bytes, target: bytes, facts: Facts, body: bytes) -> Result:
        """As ``ask``, or a kept answer, or who waits to have that."""
        if method == b"GET" and facts.variant >= 0:
            surface = self.surface
            kept = surface.kept.entries.get(target)
            if kept is not None:
                if surface.is_sure(kept):
                    if kept.aging:
                        surface.age(kept)
                    kept.timing.at_once += 1
                    rendering = kept.renderings[facts.variant]
                    if rendering is None or len(rendering[1]) > AT_ONCE_BYTES_MAX:
                        return surface.serve(kept, facts)
                    return b"%b%b%b" % (rendering[0], surface.dates.value(), rendering[1])
                confirmation: Confirmation | None = kept.confirmation
                if confirmation is not None and confirmation.takes(0.0):
                    return confirmation
                confirmation = Confirmation(self, kept)
                if confirmation.ask():
                    return confirmation
        return self.ask(channel, method, target, facts, body)

    def ask(
        self, channel: Channel, method: bytes, target: bytes, facts: Facts, body: bytes, anew: bool = False
    ) -> Result:
        """The rendered answer, or one that the channel has to wait for and render as ``channel.query``,
        or who waits for the same already.

        ``None`` if the request has to go to Klein.

        :param anew: see ``Surface.call``.
        """
        surface = self.surface
        if method == b"GET" and facts.variant >= 0:
            crowd = self._crowds.find(target)
            if crowd is not None:
                return crowd
        known = self._known.get(target)
        if known is None or known[0] != method:
            known = self._find(method, target)
            if known is None:
                return None
        _, route, parameters = known
        query = Query(method, target, facts, body, channel.peer, surface.settings.node_name, channel)
        answer = surface.call(route, query, parameters, anew=anew)
        if answer is LATER:
            channel.query = query
            return LATER
        if not isinstance(answer, Answer):
            joining = query.joining
            if joining and facts.variant >= 0 and isinstance(answer, Deferred) and not answer.called:
                return self._crowds.gather(query, joining, answer)
            channel.query = query
            return answer
        if answer.close:
            channel.last = True
        return surface.render(query, answer)

    def _find(self, method: bytes, target: bytes) -> Known | None:
        """The hot route that ``target`` leads to; remembered, since clients come back."""
        surface = self.surface
        path = target.partition(b"?")[0]
        if not paths.PLAIN_PATH.fullmatch(path):
            if not path.startswith(b"/") or paths.screen(target, method, surface.settings.allow_unprintable):
                return None
            decoded = paths.decode(path)
            assert decoded is not None
            path = decoded.encode()
        found = surface.table.find(method, path)
        if found is None or not found[0].hot:
            return None
        route, parameter, begin = found
        known = method, route, {parameter: path[begin:].decode()} if parameter else {}
        if len(target) <= KNOWN_BYTES_MAX and b"?" not in target:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[target] = known
        return known
