"""A client agent: finds servers by gossip alone and passes every request on to one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from pyconsul.agent.antientropy import RECONNECT_S
from pyconsul.agent.base import BaseAgent
from pyconsul.agent.batching import Batches
from pyconsul.agent.doubts import Doubts
from pyconsul.agent.environment import Environment
from pyconsul.agent.rate import RequestRate
from pyconsul.agent.relaying import Relaying
from pyconsul.agent.reloading import Settings
from pyconsul.agent.servers import ServerChoice, parse, servers_of
from pyconsul.config.schema import AgentConfig
from pyconsul.endpoints.base import Method
from pyconsul.endpoints.declared import DeclaredMethods
from pyconsul.errors import NoLeader, NoServers, Refused, Unreachable
from pyconsul.interfaces import LATER, AnswerWatcher, Joining, Waiter
from pyconsul.net.gossip import MemberEvent, Resolver, literals_only
from pyconsul.serf.members import FAILED, UPDATE
from pyconsul.swim.keyring import Keyring

if TYPE_CHECKING:
    from pyconsul.agent.remote_snapshots import ClientSnapshots


class ClientAgent(BaseAgent):
    """A client agent.

    It syncs when it has found a server; of many that start together, one after the other does.
    """

    sync_after_s = RECONNECT_S

    def __init__(
        self,
        config: AgentConfig,
        environment: Environment,
        node_id: str,
        keyring: Keyring | None = None,
        resolver: Resolver = literals_only,
    ) -> None:
        super().__init__(config, environment, node_id, keyring, resolver)
        self._choice = ServerChoice(environment.rng)
        self._rate = RequestRate(config.limits, environment.clock)
        self.reloading.parts.append(
            Settings(
                ["limits.rpc_rate", "limits.rpc_max_burst"], lambda new: self._rate.configure(new.limits)
            )
        )
        self._methods = DeclaredMethods()
        self._forwarder = self._make_forwarder()
        self._relaying, self._relaying_stale = (
            Relaying(self._forwarder, lambda: self._choice.current() or "", self._choice.failed)
            for _ in range(2)
        )
        self._doubts = Doubts(self._forwarder.ping, self._forwarder.abandon)
        self._batches = Batches(
            self._forwarder, lambda: self._choice.current() or "", self._persist, self._choice.failed
        )

    def stopService(self) -> Deferred[None]:
        """End at once; requests that wait for a server fail."""
        self._forwarder.stop()
        return super().stopService()

    def _member_event(self, event: MemberEvent) -> None:
        server = parse(event.member)
        if event.kind != UPDATE and server is None:
            return  # a pool may have very many clients
        if event.kind == FAILED and server is not None:
            self._doubts.doubt(server.address)
        had_none = self._choice.current() is None
        servers = servers_of(self.members(), self.datacenter)
        self._choice.update(server.address for server in servers if server.alive)
        if had_none and self._choice.current() is not None:
            self._forwarder.hurry()
            self.sync.servers_changed()

    def ask(
        self,
        method: str,
        request: Any,
        watcher: AnswerWatcher | None = None,
        waiter: Waiter | None = None,
    ) -> Any:
        """See ``pyconsul.interfaces.Agent``; nothing is ever answered from here.

        :raises RateLimited: if this agent has made as many requests as it may.
        """
        self.asked += 1
        try:
            declared = self._methods[method]
        except KeyError:
            raise Refused(f"rpc: can't find service {method}") from None
        self._rate.take()
        if waiter is not None and request.datacenter in ("", self.datacenter) and self._choice.current():
            self._batches.submit(declared, request, waiter)
            return LATER
        return self._persist(declared, request)

    def _persist(self, declared: Method, request: Any) -> Deferred[Any]:
        """Ask a server, and another if that cannot be reached, until one answers or too long has passed."""
        called = [""]

        def attempt(request: Any) -> Any:
            address = self._choice.current()
            if address is None:
                raise NoServers()
            called[0] = address
            return self._forwarder.call(address, declared, request)

        def failed(error: Exception) -> None:
            if isinstance(error, Unreachable):
                self._choice.failed(called[0])

        return self._forwarder.persist_with(request, attempt, is_read=declared.kind != "write", failed=failed)

    def confirm(self, waiter: Waiter, leased: bool) -> Joining:
        """See ``pyconsul.interfaces.Agent``; nothing is kept here that would ask for it."""
        raise NoLeader()

    def forget(self, watcher: AnswerWatcher) -> None:
        """See ``pyconsul.interfaces.Agent``; nobody is ever registered here."""

    def relay(self, target: bytes) -> Any:
        """See ``pyconsul.interfaces.Agent``. Stale reads must not wait for those that need a leader."""
        if self._rate.is_limited():  # each is to count
            return None
        return (self._relaying_stale if b"stale" in target else self._relaying).relay(target)

    def refused_requests(self) -> int:
        """See ``BaseAgent``."""
        return self._rate.refused

    def _snapshots(self) -> ClientSnapshots:
        from pyconsul.agent.remote_snapshots import ClientSnapshots  # few ask

        return ClientSnapshots(self.environment.rpc_transport, self._forwarder, self._choice)

    def consul_stats(self) -> dict[str, str]:
        """The ``consul`` section."""
        known = {server.address for server in servers_of(self.members(), self.datacenter)}
        return {"acl": "disabled", "known_servers": str(len(known)), "server": "false"}
