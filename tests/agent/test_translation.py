"""Addresses of other datacenters as they are reached from here."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.translation import Translated
from pyconsul.structs.catalog import (
    CheckServiceNode,
    IndexedCheckServiceNodes,
    IndexedHealthChecks,
    IndexedNodes,
    IndexedNodeServiceList,
    IndexedNodeServices,
    IndexedServiceNodes,
    Node,
    NodeService,
    NodeServiceList,
    NodeServices,
    ServiceAddress,
    ServiceNode,
)
from pyconsul.structs.changes import (
    HealthChangesReply,
    InstanceChangesReply,
    KVChangesReply,
    NodeChangesReply,
    ServiceChangesReply,
)
from pyconsul.structs.kv import DirEntry
from tests.http.fakes import Client, site
from tests.http.fakes import FakeAgent as HttpAgent

TAGGED = {"lan": "10.0.0.1", "wan": "192.0.2.1"}
OWN = {"wan": ServiceAddress("198.51.100.1", 8080)}


def node(datacenter: str = "dc2", tagged: dict[str, str] | None = TAGGED) -> Node:
    return Node(node="n", address="10.0.0.1", datacenter=datacenter, tagged_addresses=tagged)


PLAIN = NodeService(id="plain", service="s", port=80)
OTHER = NodeService(id="other", service="s", address="10.1.1.1", port=80, tagged_addresses=OWN)


class FakeAgent:
    """Gives a reply, later or at once."""

    def __init__(self, reply: Any, later: bool = True) -> None:
        self.reply, self.later = reply, later

    def ask(self, method: str, request: Any, watcher: Any = None, waiter: Any = None) -> Any:
        return succeed(self.reply) if self.later else self.reply

    def confirm(self, waiter: Any, leased: bool) -> Any:
        return None

    def relay(self, target: bytes) -> Any:
        return None

    def shared_time_s(self, request: Any) -> float:
        return 2.0

    def last_contact_ms(self) -> int:
        return 0

    def holds_lease(self) -> bool:
        return True

    def forget(self, watcher: Any) -> None:
        pass


class TranslationTests(SynchronousTestCase):
    def ask(self, reply: Any, for_names: bool = False) -> Any:
        agent = Translated(FakeAgent(reply), "dc1", for_names=for_names)
        self.assertTrue(agent.holds_lease())
        self.assertEqual(agent.shared_time_s(None), 2.0)
        return self.successResultOf(agent.ask("X", None))

    def test_nodes(self) -> None:
        """Those of other datacenters that tell an address for others; what they tell stays."""
        rows = [node(), node("dc1"), node(tagged=None), node("")]
        found = self.ask(IndexedNodes(nodes=rows)).nodes
        self.assertEqual([row.address for row in found], ["192.0.2.1", "10.0.0.1", "10.0.0.1", "10.0.0.1"])
        self.assertEqual(found[0].tagged_addresses, TAGGED)
        self.assertEqual(rows[0].address, "10.0.0.1")

    def test_instances(self) -> None:
        rows = [
            CheckServiceNode(node(dc), service, []) for dc in ("dc2", "dc1") for service in (PLAIN, OTHER)
        ]
        shown = [
            (row.node.address, row.service.address, row.service.port)
            for row in self.ask(IndexedCheckServiceNodes(nodes=list(rows))).nodes
        ]
        near = [("10.0.0.1", "", 80), ("10.0.0.1", "10.1.1.1", 80)]
        far = [("192.0.2.1", "", 80), ("192.0.2.1", "198.51.100.1", 8080)]
        self.assertEqual(shown, far + near)
        named = self.ask(IndexedCheckServiceNodes(nodes=list(rows)), for_names=True).nodes
        self.assertEqual(
            [row.service.address for row in named], ["192.0.2.1", "198.51.100.1", "", "10.1.1.1"]
        )

    def test_of_the_catalog(self) -> None:
        row = ServiceNode(
            node="n", address="10.0.0.1", datacenter="dc2", tagged_addresses=TAGGED,
            service_address="10.1.1.1", service_port=80, service_tagged_addresses=OWN,
        )  # fmt: skip
        (found,) = self.ask(IndexedServiceNodes(service_nodes=[row])).service_nodes
        self.assertEqual(
            (found.address, found.service_address, found.service_port), ("192.0.2.1", "198.51.100.1", 8080)
        )

    def test_of_a_node(self) -> None:
        """Its services come by id, as a list, or not at all."""
        reply = self.ask(IndexedNodeServices(node_services=NodeServices(node(), {"other": OTHER})))
        self.assertEqual(reply.node_services.node.address, "192.0.2.1")
        self.assertEqual(reply.node_services.services["other"].port, 8080)
        reply = self.ask(IndexedNodeServiceList(node_services=NodeServiceList(node(), [OTHER])))
        self.assertEqual(reply.node_services.services[0].address, "198.51.100.1")
        reply = self.ask(IndexedNodeServiceList(node_services=NodeServiceList(node(), None)))
        self.assertIsNone(reply.node_services.services)
        for empty in (IndexedNodeServices(), IndexedNodeServiceList(), IndexedHealthChecks()):
            self.assertIs(self.ask(empty), empty)

    def test_of_what_changed(self) -> None:
        """As in the plain reads; names of services and entries have nothing to translate."""
        own = ServiceNode(
            node="n", address="10.0.0.1", datacenter="dc2", tagged_addresses=TAGGED,
            service_address="10.1.1.1", service_port=80, service_tagged_addresses=OWN,
        )  # fmt: skip
        (found,) = self.ask(NodeChangesReply(changed=[node()])).changed
        self.assertEqual(found.address, "192.0.2.1")
        (found,) = self.ask(InstanceChangesReply(changed=[own])).changed
        self.assertEqual((found.address, found.service_address), ("192.0.2.1", "198.51.100.1"))
        (found,) = self.ask(HealthChangesReply(changed=[CheckServiceNode(node(), OTHER, [])])).changed
        self.assertEqual((found.node.address, found.service.port), ("192.0.2.1", 8080))
        self.assertEqual(self.ask(ServiceChangesReply(changed={"web": ["a"]})).changed, {"web": ["a"]})
        self.assertEqual(self.ask(KVChangesReply(changed=[DirEntry(key="k")])).changed[0].key, "k")

    def test_over_http(self) -> None:
        """With ``?changed``, and in a stream."""
        agent = HttpAgent()
        translated: Any = Translated(agent, "dc1")
        for path, beginning in (
            ("/v1/catalog/nodes?changed&index=1", b"HTTP/1.1 200 OK"),
            ("/v1/stream/catalog/nodes", b"HTTP/1.1 200 OK\r\nCache-Control"),
        ):
            replies = [succeed(NodeChangesReply(changed=[node()], as_of=7, index=7)), Deferred()]
            agent.replies["Changes.Nodes"] = lambda request, left=replies: left.pop(0)
            written = Client(site(translated)).get(path)
            self.assertTrue(written.startswith(beginning), written)
            self.assertIn(b'"Node":"n","Address":"192.0.2.1"', written)

    def test_at_once(self) -> None:
        """What the agent has in its own store is about its own datacenter."""
        reply = IndexedNodes(nodes=[node()])
        agent = Translated(FakeAgent(reply, later=False), "dc1")
        self.assertEqual(agent.ask("X", None).nodes[0].address, "10.0.0.1")
