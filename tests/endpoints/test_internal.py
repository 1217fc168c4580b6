"""Internal.*: dumps of the catalog, and what each watches. Shapes are those of Consul 1.8.7."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.endpoints.catalog import Catalog
from pyconsul.endpoints.health import Health
from pyconsul.endpoints.internal import Internal
from pyconsul.errors import Refused
from pyconsul.structs.catalog import NodeSpecificRequest, ServiceSpecificRequest
from pyconsul.structs.dumps import ServiceDumpRequest
from pyconsul.structs.query import DCSpecificRequest
from tests.state.replica import Replica


class Woken:
    """A watcher that counts."""

    def __init__(self) -> None:
        self.times = 0

    def wake(self) -> None:
        self.times += 1


class DumpTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.replica = Replica()
        self.store = self.replica.store
        self.internal = Internal(self.store, lambda name, payload: None, lambda request: Deferred())
        self.replica.register(
            "b1",
            service={"id": "w1", "service": "web", "tags": ["v1"], "port": 80},
            checks=[{"check_id": "c", "name": "c", "status": "passing", "service_id": "w1"}],
        )
        self.replica.register("a1", service={"id": "p1", "service": "proxy", "kind": "connect-proxy"})
        self.replica.register("c1", checks=[{"check_id": "d", "status": "critical", "service_tags": []}])

    def node(self, name: str) -> Any:
        return self.internal.node_info(NodeSpecificRequest(node=name))

    def nodes(self, **more: Any) -> Any:
        return self.internal.node_dump(DCSpecificRequest(**more))

    def services(self, **more: Any) -> Any:
        return self.internal.service_dump(ServiceDumpRequest(**more))

    def test_node(self) -> None:
        """A node with all that is on it; no tags are told as none."""
        read = self.node("B1")
        self.assertEqual(read.index, 1)
        (info,) = read.reply.dump
        self.assertEqual((info.node, info.address), ("b1", "192.0.2.1"))
        self.assertEqual([(row.id, row.tags) for row in info.services], [("w1", ["v1"])])
        self.assertEqual([(row.check_id, row.service_tags) for row in info.checks], [("c", ["v1"])])
        (proxy,) = self.node("a1").reply.dump[0].services
        self.assertIsNone(proxy.tags)
        self.assertIsNone(self.node("c1").reply.dump[0].checks[0].service_tags)

    def test_unknown(self) -> None:
        self.assertEqual(self.node("none").reply.dump, [])
        self.assertRaises(Refused, self.node, "")

    def test_nodes(self) -> None:
        """All of them by name."""
        read = self.nodes()
        self.assertEqual(read.index, 3)
        self.assertEqual([info.node for info in read.reply.dump], ["a1", "b1", "c1"])

    def test_services(self) -> None:
        """By the names of services, then of nodes; those of a kind if one is wanted."""
        self.replica.register("a1", service={"id": "w2", "service": "web"})
        read = self.services()
        self.assertEqual(read.index, 4)
        found = [(row.service.service, row.node.node) for row in read.reply.nodes]
        self.assertEqual(found, [("proxy", "a1"), ("web", "a1"), ("web", "b1")])
        kinds = self.services(use_service_kind=True, service_kind="connect-proxy").reply.nodes
        self.assertEqual([row.service.id for row in kinds], ["p1"])
        plain = self.services(use_service_kind=True).reply.nodes
        self.assertEqual([row.service.id for row in plain], ["w2", "w1"])

    def test_what_wakes(self) -> None:
        """Whatever is told is watched: each change wakes and moves the index."""
        changes: list[tuple[bool, Any]] = [
            (True, lambda: self.replica.register("b1", service={"id": "w1", "service": "web", "port": 81})),
            (True, lambda: self.replica.register("b1", service={"id": "x1", "service": "new"})),
            (True, lambda: self.replica.register("b1", checks=[
                {"check_id": "c", "name": "c", "status": "warning", "service_id": "w1"}
            ])),
            (False, lambda: self.replica.register("d1")),
            (True, lambda: self.replica.register("b1", "192.0.2.9")),
            (True, lambda: self.replica.deregister("b1", service_id="x1")),
            (True, lambda: self.replica.deregister("b1")),
        ]  # fmt: skip
        for number, (concerns_services, change) in enumerate(changes):
            asked = (self.nodes, self.services) if concerns_services else (self.nodes,)
            before = [ask() for ask in asked]
            watchers = [Woken() for _ in asked]
            for read, watcher in zip(before, watchers, strict=True):
                self.store.watches.register(read.watch, watcher)
            change()
            self.assertEqual([watcher.times for watcher in watchers], [1] * len(asked), number)
            for read, ask in zip(before, asked, strict=True):
                self.assertGreater(ask().index, read.index, number)

    def test_gateways(self) -> None:
        """They serve nothing."""
        request = ServiceSpecificRequest(service_name="gw", ingress=True)
        for read, rows in (
            (self.internal.gateway_service_dump(request), "dump"),
            (Catalog(self.store, "dc1").gateway_services(request), "services"),
            (Health(self.store, "dc1").service_nodes(request), "nodes"),
        ):
            self.assertEqual((read.index, read.watch, getattr(read.reply, rows)), (1, (), []))
