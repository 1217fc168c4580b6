"""An agent as a part of another program: a Twisted service like any other."""

from __future__ import annotations

import json
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from pyconsul.agent.maker import AgentService, make_agent
from pyconsul.client.endpoint import Endpoint
from pyconsul.config.schema import AgentConfig
from pyconsul.config.sources import Sources, load
from pyconsul.endpoints.status import StatusRequest
from pyconsul.errors import ConfigurationError, NoLeader, PyconsulError
from pyconsul.structs.agent import ServiceDefinition
from pyconsul.structs.bodies import convert
from pyconsul.structs.catalog import CheckServiceNode, ServiceSpecificRequest

LOOK_EVERY_S = 0.01
READY_WITHIN_S = 30.0


def configuration(settings: dict[str, Any]) -> AgentConfig:
    """Settings with the keys that a configuration file has, and ``dev``; groups are dicts.

    :raises ConfigurationError: as for files.
    """
    values = dict(settings)
    dev = values.pop("dev", False)
    return load(Sources(dev=bool(dev), fragments=(json.dumps(values),)))


class Agent(MultiService):
    """An agent to set into an application: ``Agent(node_name="web1", retry_join=["10.0.0.1"], ...)``.

    It starts and stops with the service that it belongs to. Stopping it does not leave the cluster; wait for
    ``leave`` before that where the others should not take it for a failure.

    :param config: what ``pyconsul.config.sources.load`` gives; or else settings are named one by one.
    :param reactor: by default the global one.
    :raises ConfigurationError: if the settings make no sense.
    """

    def __init__(self, config: AgentConfig | None = None, reactor: Any = None, **settings: Any) -> None:
        super().__init__()
        if config is not None and settings:
            raise ConfigurationError("either a configuration or settings, not both")
        if reactor is None:
            from twisted.internet import reactor as the_reactor

            reactor = the_reactor
        self.config = config or configuration(settings)
        self._reactor = reactor
        self._service: AgentService = make_agent(self.config, reactor)
        self._service.setServiceParent(self)
        self.role = self._service.agent
        """The agent itself; ``ask`` takes what Consul's RPC takes."""

    @property
    def endpoint(self) -> Endpoint:
        """Where its HTTP API is, for the clients in ``pyconsul.client``."""
        address = (self.config.addresses.http or self.config.client_addr)[0]
        if address.startswith("unix://"):
            return Endpoint(address)
        return Endpoint(f"{address}:{self.config.ports.http}")

    def ready(self, within_s: float = READY_WITHIN_S) -> Deferred[str]:
        """Fires with the leader's address once there is one, so that reads and writes are answered.

        Fails with ``NoLeader`` if there is none in time.
        """
        waiting: Deferred[str] = Deferred.fromCoroutine(self._ready())
        return waiting.addTimeout(within_s, self._reactor, _no_leader)

    async def _ready(self) -> str:
        while True:
            try:
                leader: str = await self.ask("Status.Leader", StatusRequest())
            except PyconsulError:
                leader = ""
            if leader:
                return leader
            await deferLater(self._reactor, LOOK_EVERY_S)

    async def ask(self, method: str, request: Any) -> Any:
        """The answer to a request of ``pyconsul.endpoints``, by its name on the wire."""
        answer = self.role.ask(method, request)
        return await answer if isinstance(answer, Deferred) else answer

    def register(self, **definition: Any) -> None:
        """Register a service of this node, with the keys that a ``service`` block has.

        :raises BadRequest: if it makes no sense.
        """
        self.role.register_service(convert(definition, ServiceDefinition, snake_case=True), True)

    def deregister(self, service_id: str) -> None:
        """Take a service of this node away."""
        self.role.deregister_service(service_id)

    async def healthy(self, service: str, tag: str = "") -> list[CheckServiceNode]:
        """The instances of a service, on any node, of which no check is other than passing."""
        request = ServiceSpecificRequest(
            datacenter=self.config.datacenter,
            service_name=service,
            service_tags=[tag] if tag else [],
            tag_filter=bool(tag),
            allow_stale=True,
        )
        answer = await self.ask("Health.ServiceNodes", request)
        return [row for row in answer.nodes or [] if all(c.status == "passing" for c in row.checks or [])]

    def leave(self) -> Deferred[None]:
        """Leave the cluster gracefully; fires when that is done."""
        return self.role.leave()


def _no_leader(result: object, within_s: float) -> str:
    raise NoLeader
