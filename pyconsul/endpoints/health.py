"""Health.*: checks, and services together with the checks that tell their health.

Lists in replies are shared with the store and with other replies: to filter or sort one, make
another.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from pyconsul.endpoints.base import Read, read
from pyconsul.endpoints.catalog import find_group, instances_wanted
from pyconsul.endpoints.coordinate import nearest_first
from pyconsul.errors import Refused
from pyconsul.state.shelves import meta_matches
from pyconsul.structs.catalog import (
    ChecksInStateRequest,
    HealthCheck,
    IndexedCheckServiceNodes,
    IndexedHealthChecks,
    NodeSpecificRequest,
    ServiceSpecificRequest,
)

if TYPE_CHECKING:
    from pyconsul.state.store import Store


class Health:
    """Reads of checks.

    :param datacenter: the name of this one.
    """

    def __init__(self, store: Store, datacenter: str) -> None:
        self._store = store
        self._catalog = store.catalog
        self._datacenter = datacenter

    @read(
        "Health.ChecksInState",
        ChecksInStateRequest,
        IndexedHealthChecks,
        "node:read",
        rows="health_checks",
    )
    def checks_in_state(self, request: ChecksInStateRequest) -> Read:
        """All checks in a state; none for a state that nobody knows.

        :raises Refused: if no state is named.
        """
        if not request.state:
            raise Refused("Must provide check state")
        index, checks = self._catalog.checks_in_state(request.state)
        return self._checks(index, checks, ("state", request.state), request)

    @read("Health.NodeChecks", NodeSpecificRequest, IndexedHealthChecks, "node:read", rows="health_checks")
    def node_checks(self, request: NodeSpecificRequest) -> Read:
        """All checks on a node.

        :raises Refused: if no node is named.
        """
        if not request.node:
            raise Refused("Must provide node")
        index, checks = self._catalog.node_checks(request.node)
        return Read(
            index, IndexedHealthChecks(health_checks=checks), (("node-checks", request.node.lower()),)
        )

    @read(
        "Health.ServiceChecks",
        ServiceSpecificRequest,
        IndexedHealthChecks,
        "service:read",
        rows="health_checks",
    )
    def service_checks(self, request: ServiceSpecificRequest) -> Read:
        """All checks of the instances of a service; those of their nodes are not among them.

        :raises Refused: if no service is named.
        """
        if not request.service_name:
            raise Refused("Must provide service name")
        index, checks = self._catalog.service_checks(request.service_name)
        return self._checks(index, checks, ("checks", request.service_name.lower()), request)

    @read(
        "Health.ServiceNodes",
        ServiceSpecificRequest,
        IndexedCheckServiceNodes,
        "service:read",
        rows="nodes",
    )
    def service_nodes(self, request: ServiceSpecificRequest) -> Read:
        """The instances of a service with their nodes and checks, whatever their health.

        :raises Refused: if no service is named.
        """
        if request.ingress:  # no gateway is bound to a service yet
            return Read(1, IndexedCheckServiceNodes(), ())
        index, watch, group = find_group(self._catalog, request, health=True)
        if group is None:
            return Read(index, IndexedCheckServiceNodes(), (watch,))
        rows = group.health()
        keep = instances_wanted(request, group)
        if keep is not None:
            rows = [rows[place] for place in keep]
        if request.source.node:
            rows = nearest_first(
                self._store, self._datacenter, request.source, rows, lambda row: row.node.node
            )
        return Read(index, IndexedCheckServiceNodes(nodes=rows), (watch,))

    def _checks(
        self,
        index: int,
        checks: list[HealthCheck],
        watch: Hashable,
        request: ChecksInStateRequest | ServiceSpecificRequest,
    ) -> Read:
        """Checks, or those whose nodes have the metadata, which then may change the answer too."""
        if request.source.node:
            checks = nearest_first(
                self._store, self._datacenter, request.source, checks, lambda check: check.node
            )
        node_meta = request.node_meta_filters
        if not node_meta:
            return Read(index, IndexedHealthChecks(health_checks=checks), (watch,))
        catalog = self._catalog
        fitting = {row.node.lower() for row in catalog.nodes() if meta_matches(row, node_meta)}
        kept = [check for check in checks if check.node.lower() in fitting]
        index = max(index, catalog.nodes_index)
        return Read(index, IndexedHealthChecks(health_checks=kept), (watch, ("nodes",)))
