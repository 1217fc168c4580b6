"""``translate_wan_addrs``: answers about other datacenters name the addresses that are reached from here.

Source: specs of several datacenters, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred

from pyconsul.interfaces import Agent, AnswerWatcher, Waiter
from pyconsul.structs.catalog import CheckServiceNode, Node, NodeService, ServiceNode

WAN = "wan"


class Translated:
    """An agent as its HTTP and DNS servers see it.

    :param datacenter: its own, about which nothing is translated.
    :param for_names: an instance without an address of its own gets its node's, if that was translated,
        since the node's name would stand for the other one.
    """

    def __init__(self, agent: Agent, datacenter: str, *, for_names: bool = False) -> None:
        self._agent = agent
        self._datacenter = datacenter
        self._for_names = for_names
        self.confirm, self.holds_lease, self.forget = agent.confirm, agent.holds_lease, agent.forget
        self.last_contact_ms = agent.last_contact_ms
        self.shared_time_s = agent.shared_time_s

    def ask(
        self,
        method: str,
        request: Any,
        watcher: AnswerWatcher | None = None,
        waiter: Waiter | None = None,
    ) -> Any:
        """See ``pyconsul.interfaces.Agent``."""
        reply = self._agent.ask(method, request, watcher, waiter)
        # What this agent answers at once, or tells the waiter, is about its own datacenter.
        return reply.addCallback(self._translated) if isinstance(reply, Deferred) else reply

    def relay(self, target: bytes) -> None:
        """See ``pyconsul.interfaces.Agent``; nothing could be translated in what comes."""

    def _translated(self, reply: Any) -> Any:
        """The reply, whose rows are exchanged for others; rows themselves may be in use elsewhere."""
        for field in ("nodes", "service_nodes", "changed"):
            rows = getattr(reply, field, None)
            if isinstance(rows, list):
                setattr(reply, field, [self._row(row) for row in rows])
        found = getattr(reply, "node_services", None)
        if found is not None and found.node is not None and self._is_far(found.node.datacenter):
            reply.node_services = replace(
                found, node=self._row(found.node), services=_each_service(found.services)
            )
        return reply

    def _is_far(self, datacenter: str) -> bool:
        return datacenter not in ("", self._datacenter)

    def _row(self, row: Any) -> Any:
        if isinstance(row, CheckServiceNode):
            return self._instance(row) if self._is_far(row.node.datacenter) else row
        if not isinstance(row, Node | ServiceNode) or not self._is_far(row.datacenter):
            return row
        wan = (row.tagged_addresses or {}).get(WAN)
        if wan:
            row = replace(row, address=wan)
        own = _wan(row.service_tagged_addresses) if isinstance(row, ServiceNode) else None
        return row if own is None else replace(row, service_address=own.address, service_port=own.port)

    def _instance(self, row: CheckServiceNode) -> CheckServiceNode:
        node, service = self._row(row.node), _service(row.service)
        if self._for_names and not service.address and node.address != row.node.address:
            service = replace(service, address=node.address)
        return replace(row, node=node, service=service)


def _wan(addresses: Any) -> Any:
    """The address of a service for others, if it has one."""
    found = addresses.get(WAN) if isinstance(addresses, dict) else None
    return found if found is not None and found.address else None


def _service(service: NodeService) -> NodeService:
    own = _wan(service.tagged_addresses)
    return service if own is None else replace(service, address=own.address, port=own.port)


def _each_service(services: dict[str, NodeService] | Iterable[NodeService] | None) -> Any:
    if services is None:
        return None
    if isinstance(services, dict):
        return {service_id: _service(service) for service_id, service in services.items()}
    return [_service(service) for service in services]
