"""Alias checks that follow other nodes."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.remote_checks import RemoteChecks
from pyconsul.errors import NoLeader
from pyconsul.structs.catalog import (
    HealthCheck,
    IndexedHealthChecks,
    IndexedNodeServices,
    NodeService,
    NodeServices,
)

CHECKS = [
    HealthCheck(node="n2", check_id="serfHealth", status="passing"),
    HealthCheck(node="n2", check_id="web", service_id="web", status="warning"),
]
KNOWN = NodeServices(node=None, services={"quiet": NodeService(id="quiet")})  # type: ignore[arg-type]


class RemoteTests(SynchronousTestCase):
    def read(self, node: str, service: str, checks: list[HealthCheck], known: NodeServices | None) -> Any:
        answers: dict[str, Any] = {
            "Health.NodeChecks": IndexedHealthChecks(health_checks=checks),
            "Catalog.NodeServices": succeed(IndexedNodeServices(node_services=known)),
        }

        def ask(method: str, request: Any) -> Any:
            self.assertEqual((request.node, request.datacenter, request.allow_stale), (node, "dc1", True))
            return answers[method]

        return self.successResultOf(RemoteChecks("dc1", ask)(node, service))

    def test_a_node(self) -> None:
        """Its own checks, not those of its services."""
        self.assertEqual(self.read("n2", "", CHECKS, None), CHECKS[:1])

    def test_a_service(self) -> None:
        """Its checks and those of the node."""
        self.assertEqual(self.read("n2", "web", CHECKS, None), CHECKS)

    def test_without_checks(self) -> None:
        """What is there and has none is well; what is not there is not."""
        self.assertEqual(self.read("n2", "quiet", CHECKS, KNOWN), CHECKS[:1])
        self.assertEqual(self.read("n2", "quiet", CHECKS[1:], KNOWN), [])
        self.assertEqual(self.read("n2", "", [], KNOWN), [])
        self.assertIsNone(self.read("n2", "none", CHECKS, KNOWN))
        self.assertIsNone(self.read("n9", "", [], None))

    def test_no_servers(self) -> None:
        """The failure is the check's."""
        reading = RemoteChecks("dc1", lambda *_: fail(NoLeader()))("n2", "")
        self.failureResultOf(reading, NoLeader)
