"""Selectors out of declarations."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.filters.kinds import Leaf, Mapping, Record, Records, record_of
from pyconsul.structs.catalog import CheckServiceNode, HealthCheck, Node, NodeService, ServiceNode


class DerivedTests(SynchronousTestCase):
    def test_nodes(self) -> None:
        """JSON names; indexes cannot be selected."""
        fields = record_of(Node).fields
        self.assertEqual(set(fields), {"ID", "Node", "Address", "Datacenter", "TaggedAddresses", "Meta"})
        self.assertIs(fields["Node"].kind, Leaf.TEXT)
        self.assertEqual(fields["Meta"].kind, Mapping(Leaf.TEXT))

    def test_checks(self) -> None:
        """Definitions cannot be selected."""
        fields = record_of(HealthCheck).fields
        self.assertNotIn("Definition", fields)
        self.assertIs(fields["ServiceTags"].kind, Leaf.TEXTS)

    def test_nested(self) -> None:
        """Structs, lists of them, and mappings that stand for one; open fields are left out."""
        fields = record_of(CheckServiceNode).fields
        self.assertIsInstance(fields["Checks"].kind, Records)
        self.assertEqual(fields["Service"].kind, record_of(NodeService))
        proxy = record_of(ServiceNode).fields["ServiceProxy"].kind
        assert isinstance(proxy, Record)
        self.assertNotIn("Config", proxy.fields)
        upstreams = proxy.fields["Upstreams"].kind
        assert isinstance(upstreams, Records)
        self.assertIs(upstreams.of.fields["LocalBindPort"].kind, Leaf.NUMBER)
        self.assertNotIn("Config", upstreams.of.fields)
        connect = record_of(NodeService).fields["Connect"].kind
        assert isinstance(connect, Record)
        self.assertEqual(set(connect.fields), {"Native"})
