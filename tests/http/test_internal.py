"""``/v1/internal/ui/``: summaries as Consul 1.8.7 gives them to its web interface."""

from __future__ import annotations

import json
from typing import Any

from pyconsul.structs.catalog import (
    CheckServiceNode,
    HealthCheck,
    IndexedCheckServiceNodes,
    NodeService,
    Proxy,
)
from pyconsul.structs.dumps import IndexedNodeDump, NodeInfo
from tests.http.fakes import NODE, meta
from tests.http.test_kv import Base


def row(service: NodeService, *states: str) -> CheckServiceNode:
    return CheckServiceNode(NODE, service, [HealthCheck(status=state) for state in states])


class InternalTests(Base):
    def summaries(self, *rows: CheckServiceNode) -> Any:
        self.agent.replies["Internal.ServiceDump"] = IndexedCheckServiceNodes(nodes=list(rows), **meta())
        status, body = self.ask("/v1/internal/ui/services")
        self.assertEqual(status, 200)
        return json.loads(body)

    def test_nodes(self) -> None:
        """All, one, and one that is not there, which goes without the headers of a read."""
        info = NodeInfo(node="n1", address="192.0.2.1")
        shown = (
            b'{"ID":"","Node":"n1","Address":"192.0.2.1","TaggedAddresses":null,"Meta":null,'
            b'"Services":[],"Checks":[]}'
        )
        dump = self.agent.replies
        dump["Internal.NodeDump"] = dump["Internal.NodeInfo"] = IndexedNodeDump(dump=[info], **meta())
        self.assertEqual(self.ask("/v1/internal/ui/nodes"), (200, b"[" + shown + b"]"))
        self.assertNotIn(b"Effective-Consistency", self.head)
        self.assertIn(b"X-Consul-Index: 7\r\n", self.head)
        self.assertEqual(self.ask("/v1/internal/ui/node/n1?stale"), (200, shown))
        self.assertEqual((self.asked()[1].node, self.asked()[1].allow_stale), ("n1", True))
        dump["Internal.NodeDump"] = dump["Internal.NodeInfo"] = IndexedNodeDump(**meta())
        self.assertEqual(self.ask("/v1/internal/ui/nodes"), (200, b"[]"))
        self.assertEqual(self.ask("/v1/internal/ui/node/none"), (404, b""))
        self.assertNotIn(b"X-Consul", self.head)

    def test_services(self) -> None:
        """How many there are of each name, where, and how all their checks are, the nodes' included."""
        web = NodeService(id="w1", service="web", tags=["b", "a"], meta={"external-source": "nomad"})
        other = NodeService(id="w2", service="web", tags=["c", "a"], meta={"external-source": "k8s"})
        proxy = NodeService(
            id="p", service="proxy", kind="connect-proxy", proxy=Proxy(destination_service_name="web")
        )
        found = self.summaries(
            row(proxy), row(web, "passing", "critical"), row(other, "passing", "warning", "maintenance")
        )
        self.assertEqual(
            found,
            [
                {
                    "Kind": "connect-proxy", "Name": "proxy", "Tags": None, "Nodes": ["n1"],
                    "InstanceCount": 1, "ProxyFor": ["web"], "ChecksPassing": 0, "ChecksWarning": 0,
                    "ChecksCritical": 0, "ExternalSources": None, "GatewayConfig": {},
                },
                {
                    "Name": "web", "Tags": ["a", "b", "c"], "Nodes": ["n1", "n1"], "InstanceCount": 2,
                    "ChecksPassing": 2, "ChecksWarning": 1, "ChecksCritical": 1,
                    "ExternalSources": ["k8s", "nomad"], "GatewayConfig": {},
                },
            ],
        )  # fmt: skip
        self.assertEqual(self.summaries(), [])

    def test_gateways(self) -> None:
        """What reaches a service from outside, and what that serves."""
        for target, body in (
            ("internal/ui/gateway-services-nodes/gw", b"[]"),
            ("catalog/gateway-services/gw", b"null"),
        ):
            self.assertEqual(self.ask(f"/v1/{target}?stale"), (200, body))
            self.assertEqual((self.asked()[1].service_name, self.asked()[1].allow_stale), ("gw", True))
        self.assertIn(b"Effective-Consistency: stale", self.head)
        self.agent.replies["Health.ServiceNodes"] = IndexedCheckServiceNodes(**meta())
        self.assertEqual(self.ask("/v1/health/ingress/web?passing"), (200, b"[]"))
        self.assertEqual((self.asked()[1].ingress, self.asked()[1].connect), (True, False))

    def test_refused(self) -> None:
        for target, message in (
            ("internal/ui/node/", b"Missing node name"),
            ("internal/ui/gateway-services-nodes/", b"Missing gateway name"),
            ("catalog/gateway-services/", b"Missing gateway name"),
            ("health/ingress/", b"Missing service name"),
            ("health/ingress/web?passing=x", b"Invalid value for ?passing"),
            ("internal/ui/nodes?index=x", b"Invalid index"),
        ):
            self.assertEqual(self.ask(f"/v1/{target}"), (400, message))
            self.assertNotIn(b"X-Consul", self.head)
        for target in ("nodes", "node/n1", "services", "gateway-services-nodes/gw"):
            status, text = self.ask(f"/v1/internal/ui/{target}?ns=default")
            self.assertEqual((status, text[:42]), (400, b'Bad request: Invalid query parameter: "ns"'))
