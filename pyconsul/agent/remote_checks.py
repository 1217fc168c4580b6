"""The checks of other nodes, for alias checks that follow them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from pyconsul.structs.catalog import (
    HealthCheck,
    IndexedHealthChecks,
    IndexedNodeServices,
    NodeSpecificRequest,
)


class RemoteChecks:
    """Asks the servers; any of them will do.

    :param ask: see ``pyconsul.interfaces.Agent``.
    """

    def __init__(self, datacenter: str, ask: Callable[[str, Any], Any]) -> None:
        self._datacenter = datacenter
        self._ask = ask

    def __call__(self, node: str, service_id: str) -> Deferred[list[HealthCheck] | None]:
        """The checks of ``node``, and of a service there if one is named.

        Fires with ``None`` if there is no such thing.
        """
        return Deferred.fromCoroutine(self._read(node, service_id))

    async def _read(self, node: str, service_id: str) -> list[HealthCheck] | None:
        request = NodeSpecificRequest(datacenter=self._datacenter, node=node, allow_stale=True)
        answer: IndexedHealthChecks = await self._answer("Health.NodeChecks", request)
        found = [check for check in answer.health_checks or () if check.service_id in ("", service_id)]
        if any(check.service_id == service_id for check in found):
            return found
        known: IndexedNodeServices = await self._answer("Catalog.NodeServices", request)
        services = known.node_services
        if services is None or (service_id and service_id not in (services.services or {})):
            return None
        return found

    async def _answer(self, method: str, request: NodeSpecificRequest) -> Any:
        answer = self._ask(method, request)
        return await answer if isinstance(answer, Deferred) else answer
