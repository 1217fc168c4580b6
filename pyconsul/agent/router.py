"""The servers of other datacenters: which of them is asked, and asking it.

Source: specs of several datacenters, sections 2 and 3.

=========== ==========================================================================
in the WAN  the datacenter's list of servers
=========== ==========================================================================
join        it is added at the end, or takes its old place; the list is online again
update      the same
failed      if it is the first, it moves to the end
leave, reap it goes; a datacenter without servers is unknown
=========== ==========================================================================
"""

from __future__ import annotations

from random import Random
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from pyconsul.agent.doubts import Doubts, Ping
from pyconsul.agent.forwarding import CALL_TIMEOUT_S, FROM_AFAR, Forwarder
from pyconsul.agent.servers import ServerRecord, parse
from pyconsul.endpoints.base import Method
from pyconsul.errors import NoPath, NotSent, PyconsulError, Refused, Unreachable
from pyconsul.log import make_logger
from pyconsul.serf.members import FAILED, LEAVE, REAP, MemberEvent

REBALANCE_S = 120.0
"""The servers of a datacenter take turns at being first, every so often to half as long again."""

GETTING_CLIENT = "rpc error getting client: "
OFFLINE = "Remote DC has no server currently reachable"


class _Datacenter:
    """Servers in the order in which they are asked. :ivar online: one of them may answer."""

    __slots__ = ("online", "servers")

    def __init__(self) -> None:
        self.servers: list[ServerRecord] = []
        self.online = True

    def add(self, server: ServerRecord) -> None:
        self.online = True
        for at, known in enumerate(self.servers):
            if known.name == server.name:
                self.servers[at] = server
                return
        self.servers.append(server)

    def failed(self, name: str) -> None:
        if self.servers and self.servers[0].name == name:
            self.servers.append(self.servers.pop(0))


class Router:
    """Knows the way to other datacenters.

    :param datacenter: this server's own, which is listed like the others but never asked.
    :param ping: how it is found out which servers answer.
    """

    def __init__(
        self, datacenter: str, forwarder: Forwarder, ping: Ping, clock: IReactorTime, rng: Random
    ) -> None:
        self._log = make_logger("agent.router")
        self._datacenter = datacenter
        self._forwarder = forwarder
        self._ping = ping
        self._doubts = Doubts(ping, forwarder.abandon)
        self._clock = clock
        self._rng = rng
        self._known: dict[str, _Datacenter] = {}
        self._call: IDelayedCall | None = None

    # ------------------------------------------------------------ the lists

    def heard(self, event: MemberEvent) -> None:
        """The WAN pool reports a change of a member."""
        server = parse(event.member)
        if server is None:
            return
        found = self._known.get(server.datacenter)
        if event.kind in (LEAVE, REAP):
            self._remove(server)
        elif event.kind == FAILED:
            if found is not None:
                found.failed(server.name)
            if server.datacenter != self._datacenter:  # the other pool knows better of our own
                self._doubts.doubt(server.address)
        else:
            self._known.setdefault(server.datacenter, _Datacenter()).add(server)

    def _remove(self, server: ServerRecord) -> None:
        found = self._known.get(server.datacenter)
        if found is not None:
            found.servers = [known for known in found.servers if known.name != server.name]
            if not found.servers:
                del self._known[server.datacenter]

    def datacenter_of(self, address: str) -> str:
        """Of which datacenter the server at ``address`` is; this one if it is unknown."""
        for name, found in self._known.items():
            if any(server.address == address for server in found.servers):
                return name
        return self._datacenter

    def others(self) -> list[str]:
        """The other datacenters, in the order of their names."""
        return sorted(name for name in self._known if name != self._datacenter)

    def route(self, datacenter: str) -> ServerRecord:
        """The server of another datacenter to ask now.

        :raises NoPath: if the datacenter is unknown.
        :raises Refused: if none of its servers answers.
        """
        found = self._known.get(datacenter)
        if found is None or datacenter == self._datacenter:
            raise NoPath()
        if not found.online:
            raise Refused(OFFLINE)
        return found.servers[0]

    # ------------------------------------------------------------ asking

    def ask(self, method: Method, request: Any, timeout_s: float = CALL_TIMEOUT_S) -> Deferred[Any]:
        """Have a server of ``request.datacenter`` answer.

        A second one is asked if the first was not reached, or broke off while it answered a read.

        :param timeout_s: how long each of them may take; what waits for a change may take longer.
        :raises PyconsulError: if there is none.
        """
        source = getattr(request, "source", None)
        if source is not None and source.node and not source.datacenter:
            # A name means a node of the datacenter in which it was said.
            request = replace(request, source=replace(source, datacenter=self._datacenter))
        server = self.route(request.datacenter)
        answer = self._attempt(server, method, request, timeout_s)
        answer.addErrback(self._again, server, method, request, timeout_s)
        return answer.addErrback(_out_of_reach)

    def _attempt(self, server: ServerRecord, method: Method, request: Any, timeout_s: float) -> Deferred[Any]:
        answer = self._forwarder.call(server.address, method, request, timeout_s)
        return answer.addErrback(self._failed, server)

    def _failed(self, failure: Failure, server: ServerRecord) -> Failure:
        error = failure.value
        if not isinstance(error, Unreachable):
            return failure
        found = self._known.get(server.datacenter)
        if found is not None:
            found.failed(server.name)
        where = GETTING_CLIENT if isinstance(error, NotSent) else FROM_AFAR
        return Failure(type(error)(f"{where}{server.name}: {error}"))

    def _again(
        self, failure: Failure, tried: ServerRecord, method: Method, request: Any, timeout_s: float
    ) -> Any:
        harmless = failure.check(NotSent) is not None or (
            failure.check(Unreachable) is not None and method.kind == "read"
        )
        if not harmless:
            return failure
        try:
            server = self.route(request.datacenter)
        except PyconsulError:
            return failure
        return failure if server.name == tried.name else self._attempt(server, method, request, timeout_s)

    # ------------------------------------------------------------ taking turns

    def start(self) -> None:
        """Begin to look now and then which servers answer."""
        wait_s = REBALANCE_S * (1.0 + 0.5 * self._rng.random())
        self._call = self._clock.callLater(wait_s, self._rebalance)

    def stop(self) -> None:
        """Look no more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _rebalance(self) -> None:
        self.start()
        for name in self.others():
            looking = Deferred.fromCoroutine(self._rebalance_one(name, self._known[name]))
            looking.addErrback(
                lambda failure: self._log.failure("looking for servers failed", failure=failure)
            )

    async def _rebalance_one(self, name: str, found: _Datacenter) -> None:
        order = list(found.servers)
        self._rng.shuffle(order)
        for at, server in enumerate(order):
            try:
                await self._ping(server.address)
            except PyconsulError as error:
                self._log.debug("pinging server failed: {server}: {error}", server=server.name, error=error)
                continue
            places = {known.name: place for place, known in enumerate(order[at:] + order[:at])}
            found.servers.sort(key=lambda known: places.get(known.name, len(places)))
            found.online = True
            return
        if self._call is not None and found.servers:
            found.online = False
            self._log.warn("no server of datacenter {name} answers", name=name)


def _out_of_reach(failure: Failure) -> Failure:
    """Nothing is amiss between whoever asked and this server, so there is no use in asking another one."""
    return failure if failure.check(Unreachable) is None else Failure(Refused(str(failure.value)))
