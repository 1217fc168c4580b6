"""Filters on what reads find."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.endpoints.base import Read
from pyconsul.endpoints.catalog import Catalog
from pyconsul.endpoints.filtering import filtered, row_type
from pyconsul.endpoints.health import Health
from pyconsul.errors import Refused
from pyconsul.structs.catalog import (
    CheckServiceNode,
    HealthCheck,
    IndexedNodeServiceList,
    IndexedNodeServices,
    Node,
    NodeService,
    NodeServiceList,
    NodeServices,
    NodeSpecificRequest,
    ServiceNode,
)

NODE = Node(node="n", address="a")
ROWS = [NodeService(id="a", service="web"), NodeService(id="b", service="db")]


class FilteringTests(SynchronousTestCase):
    def ask(self, reply: IndexedNodeServices | IndexedNodeServiceList, text: str) -> Read:
        """What a read that finds ``reply`` gives for ``?filter=text``."""
        call = filtered(lambda request: Read(7, reply, (("w",),)), type(reply), ("node_services", "services"))
        found: Read = call(NodeSpecificRequest(node="n", filter=text))
        return found

    def test_mappings_and_lists(self) -> None:
        """Index and watch stay, and the store's own rows are left as they are."""
        by_id = NodeServices(NODE, {row.id: row for row in ROWS})
        found = self.ask(IndexedNodeServices(node_services=by_id), "Service == db")
        self.assertEqual(found.reply.node_services.services, {"b": ROWS[1]})
        self.assertEqual((found.index, found.watch), (7, (("w",),)))
        self.assertEqual(len(by_id.services), 2)
        listed = IndexedNodeServiceList(node_services=NodeServiceList(NODE, ROWS))
        self.assertEqual(self.ask(listed, "ID == a").reply.node_services.services, ROWS[:1])
        self.assertEqual(self.ask(listed, "ID == x").reply.node_services.services, [])

    def test_nothing_there(self) -> None:
        """What is not there stays so, but a wrong filter is an error all the same."""
        self.assertIsNone(self.ask(IndexedNodeServices(), "ID == a").reply.node_services)
        self.assertIsNone(self.ask(IndexedNodeServiceList(), "ID == a").reply.node_services.services)
        self.assertRaises(Refused, self.ask, IndexedNodeServices(), "Foo == a")

    def test_no_filter(self) -> None:
        """Nothing is copied."""
        reply = IndexedNodeServices(node_services=NodeServices(NODE, {}))
        self.assertIs(self.ask(reply, "").reply, reply)

    def test_declared(self) -> None:
        """Which endpoints filter, and which rows, as their replies declare them."""
        facts = [
            member.__endpoint__
            for family in (Catalog, Health)
            for member in vars(family).values()
            if hasattr(member, "__endpoint__")
        ]
        rows = {name: row_type(reply, where.split(".")) for _, name, _, reply, _, where in facts if where}
        self.assertEqual(
            rows,
            {
                "Catalog.ListNodes": Node,
                "Catalog.ServiceNodes": ServiceNode,
                "Catalog.NodeServices": NodeService,
                "Catalog.NodeServiceList": NodeService,
                "Health.ChecksInState": HealthCheck,
                "Health.NodeChecks": HealthCheck,
                "Health.ServiceChecks": HealthCheck,
                "Health.ServiceNodes": CheckServiceNode,
            },
        )
