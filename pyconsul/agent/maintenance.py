"""Maintenance: a critical check that takes a service, or all of this node, out of use.

Ids, names and texts are Consul's (specs of the HTTP API, section 7). It is kept in the data folder, so
it lasts until somebody ends it.
"""

from __future__ import annotations

from pyconsul.agent.local import LocalState
from pyconsul.agent.persistence import Persistence
from pyconsul.errors import NotFound
from pyconsul.log import make_logger
from pyconsul.structs.agent import NODE_MAINTENANCE, SERVICE_MAINTENANCE
from pyconsul.structs.catalog import CRITICAL, HealthCheck

NO_REASON = (
    "Maintenance mode is enabled for this {what}, but no reason was provided. This is a default message."
)
TYPE = "maintenance"


class Maintenance:
    """Begins and ends maintenance on this node."""

    def __init__(self, local: LocalState, persistence: Persistence | None = None) -> None:
        self._log = make_logger("agent")
        self._local = local
        self._persistence = persistence

    def node(self, enable: bool, reason: str, token: str) -> None:
        """Begin or end it for the node; nothing happens if it is so already."""
        if self._set(NODE_MAINTENANCE, "Node Maintenance Mode", "", enable, reason, token):
            self._log.info("Node entered maintenance mode" if enable else "Node left maintenance mode")

    def service(self, service_id: str, enable: bool, reason: str, token: str) -> None:
        """The same for a service.

        :raises NotFound: if there is none with this id.
        """
        if service_id not in self._local.services:
            raise NotFound(f'No service registered with ID "{service_id}"')
        check_id = SERVICE_MAINTENANCE + service_id
        if self._set(check_id, "Service Maintenance Mode", service_id, enable, reason, token):
            text = "Service entered maintenance mode" if enable else "Service left maintenance mode"
            self._log.info("{text}", text=text, service=service_id)

    def _set(self, check_id: str, name: str, service_id: str, enable: bool, reason: str, token: str) -> bool:
        """Whether that was a change."""
        if enable == (check_id in self._local.checks):
            return False
        if not enable:
            self._local.remove_check(check_id)
            if self._persistence is not None:
                self._persistence.remove_check(check_id)
            return True
        what = "service" if service_id else "node"
        check = HealthCheck(
            check_id=check_id,
            name=name,
            status=CRITICAL,
            notes=reason or NO_REASON.format(what=what),
            service_id=service_id,
            type=TYPE,
        )
        self._local.add_check(check, None, token)
        if self._persistence is not None:
            self._persistence.save_check(self._local.checks[check_id].check, None, token)
        return True
