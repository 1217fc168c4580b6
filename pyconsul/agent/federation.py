"""What a server has to do with other datacenters: it meets their servers in the WAN pool and asks them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail, succeed

from pyconsul.agent.discovery import Discovery
from pyconsul.agent.environment import Environment
from pyconsul.agent.forwarding import Forwarder
from pyconsul.agent.joining import RetryJoin
from pyconsul.agent.router import Router
from pyconsul.agent.wan import WanPool
from pyconsul.config.schema import AgentConfig
from pyconsul.endpoints.base import Method
from pyconsul.endpoints.declared import DeclaredMethods
from pyconsul.errors import Refused
from pyconsul.net.gossip import GossipPool, Resolver
from pyconsul.serf.members import JOIN, Member, MemberEvent
from pyconsul.structs.coordinate import DatacenterMap
from pyconsul.structs.keyring import KeyringRequest, KeyringResponses
from pyconsul.structs.prepared import PreparedQueryExecuteRemoteRequest, PreparedQueryExecuteResponse
from pyconsul.swim.keyring import Keyring

EXECUTE_TIMEOUT_S = 3.0
"""How long a query waits for a server of another datacenter before it goes on to the next."""


class Federation:
    """A server's place among all datacenters.

    :ivar wan: its place in the pool, ``None`` if that is switched off; no other datacenter is known then.
    :ivar router: which servers there are asked.
    :param lan: the pool of its own datacenter.
    """

    def __init__(
        self,
        config: AgentConfig,
        environment: Environment,
        lan: GossipPool,
        forwarder: Forwarder,
        on_name_lost: Callable[[], None],
        keyring: Keyring | None,
        resolver: Resolver,
    ) -> None:
        self._config = config
        self._clock = environment.clock
        self._datacenter: str = config.datacenter
        self._lan = lan
        self._forwarder = forwarder
        methods = DeclaredMethods()
        self._keyring_method = methods["Internal.KeyringOperation"]
        self._execute_method = methods["PreparedQuery.ExecuteRemote"]
        self.router = Router(self._datacenter, forwarder, forwarder.ping, environment.clock, environment.rng)
        self.wan: WanPool | None = None
        if environment.wan_transport is not None:
            self.wan = WanPool(
                config, environment, environment.wan_transport, lan.tags, lan.members, self.router.heard,
                on_name_lost, keyring, resolver,
            )  # fmt: skip

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Take part."""
        if self.wan is not None:
            self.wan.start()
        self.router.start()

    def stop(self) -> None:
        """End at once, without leaving."""
        self.router.stop()
        if self.wan is not None:
            self.wan.stop()

    def leave(self) -> Deferred[None]:
        """Leave the pool; fires when the others should know."""
        return succeed(None) if self.wan is None else self.wan.leave()

    def retry_join(self) -> list[RetryJoin]:
        """What the configuration wants to be joined, not yet started."""
        config = self._config
        if self.wan is None:
            return []
        join = Discovery(self.join, config.retry_join_wan, self._clock, "WAN")
        retry = config.retry_join_wan, config.retry_interval_wan, config.retry_max_wan
        return [RetryJoin(join, *retry, self._clock, "WAN")]

    # ------------------------------------------------------------ the pool

    def heard(self, event: MemberEvent) -> None:
        """The pool of the own datacenter reports a change of a member."""
        if self.wan is not None and event.kind == JOIN:
            self.wan.flood()

    def members(self) -> list[Member] | None:
        """See ``pyconsul.interfaces.LocalAgent.wan_members``."""
        return None if self.wan is None else self.wan.pool.members()

    def join(self, addresses: Sequence[str]) -> Deferred[int]:
        """See ``pyconsul.interfaces.LocalAgent.join_wan``."""
        if self.wan is None:
            return fail(Refused("WAN Federation is disabled"))
        return self.wan.pool.join(addresses)

    def force_leave(self, name: str, prune: bool) -> bool:
        """Make a failed member one that left; tells whether there is one of that name."""
        if self.wan is None or self.wan.pool.member(name) is None:
            return False
        self.wan.pool.force_leave(name, prune)
        return True

    def force_leave_node(self, node: str, prune: bool) -> None:
        """The same for a node of the own datacenter, if it is there."""
        if self.wan is not None:
            self.force_leave(self.wan.name_of(node), prune)

    def pools(self) -> list[tuple[bool, GossipPool]]:
        """The pools that this server is in, each with whether it is the WAN pool."""
        lan = [(False, self._lan)]
        return lan if self.wan is None else [(True, self.wan.pool), *lan]

    def stats(self) -> dict[str, dict[str, str]]:
        """The section of the pool in ``consul info``."""
        return {} if self.wan is None else {"serf_wan": self.wan.pool.stats()}

    # ------------------------------------------------------------ datacenters

    def datacenters(self) -> list[str]:
        """All that are known, the nearest first."""
        return [self._datacenter] if self.wan is None else self.wan.datacenters()

    def maps(self) -> list[DatacenterMap]:
        """Where the servers of each are."""
        return [] if self.wan is None else self.wan.maps()

    def ask(self, method: Method, request: Any) -> Deferred[Any]:
        """Have a server of ``request.datacenter`` answer; raises ``PyconsulError`` if there is none."""
        return self.router.ask(method, request)

    def execute(self, request: PreparedQueryExecuteRemoteRequest) -> Deferred[PreparedQueryExecuteResponse]:
        """Have a query executed in ``request.datacenter``; raises ``PyconsulError`` if it cannot be asked."""
        return self.router.ask(self._execute_method, request, EXECUTE_TIMEOUT_S)

    def route(self, datacenter: str) -> str:
        """The address of a server of another one; raises ``PyconsulError`` if there is none."""
        return self.router.route(datacenter).address

    def keyrings_elsewhere(self, request: KeyringRequest) -> list[Deferred[KeyringResponses]]:
        """Have each other datacenter do the same in its LAN pool."""
        return [
            self.router.ask(self._keyring_method, replace(request, datacenter=name, forwarded=True))
            for name in self.router.others()
        ]
