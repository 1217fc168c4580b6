"""Health.*: shapes and what each read watches. Shapes are those of Consul 1.8.7."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.endpoints.base import Registry
from pyconsul.endpoints.health import Health
from pyconsul.errors import Refused
from pyconsul.structs.catalog import ChecksInStateRequest, NodeSpecificRequest, ServiceSpecificRequest
from tests.state.replica import Replica, ids


class HealthTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.replica = Replica()
        self.health = Health(self.replica.store, "dc1")
        for number, status, tag in ((1, "passing", "a"), (2, "warning", "b"), (3, "critical", "a")):
            self.replica.register(
                f"h{number}",
                node_meta={"n": str(number)},
                service={"id": f"w{number}", "service": "web", "tags": [tag], "port": 79 + number},
                checks=[
                    {"check_id": f"service:w{number}", "name": "web check", "status": status,
                     "service_id": f"w{number}"}
                ],
            )  # fmt: skip
        self.replica.register("h1", node_meta={"n": "1"}, checks=[
            {"check_id": "mem", "name": "memory", "status": "passing"}
        ])  # fmt: skip

    def service(self, **more: Any) -> Any:
        return self.health.service_nodes(ServiceSpecificRequest(service_name="WEB", **more))

    def test_declarations(self) -> None:
        """All are reads."""
        registry = Registry([self.health])
        for name in ("ChecksInState", "NodeChecks", "ServiceChecks", "ServiceNodes"):
            method = registry.get(f"Health.{name}")
            assert method is not None
            self.assertEqual(method.kind, "read")

    def test_service(self) -> None:
        """Each instance with its node, its node's checks and its own, whatever their state."""
        read = self.service()
        self.assertEqual((read.index, read.watch), (4, (("health", "web"),)))
        rows = msgspec.json.decode(msgspec.json.encode(read.reply.nodes))
        self.assertEqual([row["Node"]["Node"] for row in rows], ["h1", "h2", "h3"])
        check = {
            "CreateIndex": 4, "Definition": {}, "ModifyIndex": 4, "Node": "h1", "Notes": "", "Output": "",
            "CheckID": "mem", "Name": "memory", "ServiceID": "", "ServiceName": "", "ServiceTags": [],
            "Status": "passing", "Type": "",
        }  # fmt: skip
        own = {
            **check, "CheckID": "service:w1", "Name": "web check", "ServiceID": "w1", "ServiceName": "web",
            "ServiceTags": ["a"], "CreateIndex": 1, "ModifyIndex": 1,
        }  # fmt: skip
        self.assertEqual(
            rows[0],
            {
                "Checks": [check, own],
                "Node": {
                    "Address": "192.0.2.1", "CreateIndex": 1, "Datacenter": "dc1", "ID": "",
                    "Meta": {"n": "1"}, "ModifyIndex": 1, "Node": "h1", "TaggedAddresses": None,
                },
                "Service": {
                    "Address": "", "Connect": {}, "CreateIndex": 1, "EnableTagOverride": False, "ID": "w1",
                    "Meta": None, "ModifyIndex": 1, "Port": 80, "Proxy": {"Expose": {}, "MeshGateway": {}},
                    "Service": "web", "Tags": ["a"], "Weights": {"Passing": 1, "Warning": 1},
                },
            },
        )  # fmt: skip

    def test_narrowed(self) -> None:
        """By tags and by metadata of the node."""
        found = self.service(tag_filter=True, service_tags=["A"]).reply.nodes
        self.assertEqual([row.node.node for row in found], ["h1", "h3"])
        found = self.service(node_meta_filters={"n": "2"}).reply.nodes
        self.assertEqual([row.node.node for row in found], ["h2"])

    def test_unknown_service(self) -> None:
        """Nothing, waiting for the name to appear."""
        read = self.health.service_nodes(ServiceSpecificRequest(service_name="none"))
        self.assertEqual((read.index, read.reply.nodes, read.watch), (0, [], (("health", "none"),)))
        waiter = self.replica.wait(*read.watch)
        self.replica.register("h1", node_meta={"n": "1"}, service={"service": "other"})
        self.assertEqual(waiter.woken, 0)
        self.replica.register("h1", node_meta={"n": "1"}, service={"service": "none"})
        self.assertEqual(waiter.woken, 1)
        self.assertEqual(self.health.service_nodes(ServiceSpecificRequest(service_name="none")).index, 6)

    def test_connect(self) -> None:
        """Nothing reaches it in the mesh."""
        read = self.service(connect=True)
        self.assertEqual((read.reply.nodes, read.watch), ([], (("connect-health", "web"),)))

    def test_service_checks(self) -> None:
        """The instances' checks, without those of their nodes."""
        request = ServiceSpecificRequest(service_name="Web")
        read = self.health.service_checks(request)
        self.assertEqual(
            ids(read.reply.health_checks, "check_id"), ["service:w1", "service:w2", "service:w3"]
        )
        self.assertEqual((read.index, read.watch), (3, (("checks", "web"),)))
        request.node_meta_filters = {"n": "3"}
        read = self.health.service_checks(request)
        self.assertEqual(ids(read.reply.health_checks, "check_id"), ["service:w3"])
        self.assertEqual(read.watch, (("checks", "web"), ("nodes",)))

    def test_node_checks(self) -> None:
        """A node's checks of both kinds."""
        read = self.health.node_checks(NodeSpecificRequest(node="H1"))
        self.assertEqual(ids(read.reply.health_checks, "check_id"), ["mem", "service:w1"])
        self.assertEqual((read.index, read.watch), (4, (("node-checks", "h1"),)))
        self.assertEqual(self.health.node_checks(NodeSpecificRequest(node="none")).reply.health_checks, [])

    def test_states(self) -> None:
        """One state, any, or one that nobody knows."""
        for state, nodes in (
            ("critical", ["h3"]),
            ("passing", ["h1", "h1"]),
            ("any", ["h1", "h1", "h2", "h3"]),
            ("bogus", []),
        ):
            read = self.health.checks_in_state(ChecksInStateRequest(state=state))
            self.assertEqual(
                (ids(read.reply.health_checks, "node"), read.watch), (nodes, (("state", state),))
            )
        narrowed = ChecksInStateRequest(state="any", node_meta_filters={"n": "2"})
        read = self.health.checks_in_state(narrowed)
        self.assertEqual((ids(read.reply.health_checks, "node"), read.index), (["h2"], 4))
        self.replica.register("new")
        self.assertEqual(self.health.checks_in_state(narrowed).index, 5)

    def test_nothing_named(self) -> None:
        """Names are needed."""
        for call, request, text in (
            (self.health.service_nodes, ServiceSpecificRequest(), "Must provide service name"),
            (self.health.service_checks, ServiceSpecificRequest(), "Must provide service name"),
            (self.health.node_checks, NodeSpecificRequest(), "Must provide node"),
            (self.health.checks_in_state, ChecksInStateRequest(), "Must provide check state"),
        ):
            self.assertEqual(str(self.assertRaises(Refused, call, request)), text)
