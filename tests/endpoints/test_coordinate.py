"""Coordinate.*, and reads that are sorted by distance."""

from __future__ import annotations

from math import nan
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.endpoints.base import Answered
from pyconsul.endpoints.catalog import Catalog
from pyconsul.endpoints.coordinate import Coordinates
from pyconsul.endpoints.health import Health
from pyconsul.errors import Refused
from pyconsul.state import commands
from pyconsul.structs.catalog import ChecksInStateRequest, NodeSpecificRequest, ServiceSpecificRequest
from pyconsul.structs.coordinate import Coordinate, CoordinateUpdateRequest, DatacenterMap, NodeCoordinate
from pyconsul.structs.query import DCSpecificRequest, Empty, QuerySource
from tests.state.replica import Replica
from tests.swim.captured import captured


class CoordinateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.replica = Replica()
        self.gathered: list[NodeCoordinate] = []
        self.maps = [DatacenterMap(datacenter="dc1", coordinates=[])]
        self.endpoint = Coordinates(self.replica.store, self.gathered.append, lambda: self.maps)

    def update(self, coord: Coordinate | None, node: str = "a") -> Answered:
        return self.endpoint.update(CoordinateUpdateRequest(node=node, segment="x", coord=coord))

    def test_update(self) -> None:
        place = Coordinate((0.5,) * 8)
        self.assertEqual(self.update(place), Answered(Empty()))
        row = NodeCoordinate(node="a", segment="x", coord=place)
        self.assertEqual(self.gathered, [row])
        self.replica.register("a")
        self.replica.apply(commands.encode_coordinates([row]))
        self.update(place)  # nothing new
        self.assertEqual(self.gathered, [row])
        self.update(Coordinate((0.6,) * 8))
        self.assertEqual(len(self.gathered), 2)

    def test_no_places(self) -> None:
        for coord, why in (
            (None, "invalid coordinate"),
            (Coordinate((nan,) * 8), "invalid coordinate"),
            (Coordinate(height=float("inf")), "invalid coordinate"),
            (Coordinate((0.0,) * 7), "incompatible coordinate"),
            (Coordinate(()), "incompatible coordinate"),
        ):
            error = self.assertRaises(Refused, self.update, coord)
            self.assertEqual(str(error), why)
        self.assertEqual(self.gathered, [])

    def test_reads(self) -> None:
        for name in ("b", "A"):
            self.replica.register(name)
        rows = [NodeCoordinate(node=name, coord=Coordinate()) for name in ("A", "b")]
        self.replica.apply(commands.encode_coordinates(rows))
        read = self.endpoint.list_nodes(DCSpecificRequest())
        self.assertEqual((read.index, read.reply.coordinates, read.watch), (3, rows, (("coordinates",),)))
        read = self.endpoint.node(NodeSpecificRequest(node="a"))
        self.assertEqual((read.index, read.reply.coordinates), (3, rows[:1]))
        self.assertEqual(read.watch, (("coordinate", "a"),))
        read = self.endpoint.node(NodeSpecificRequest(node="nobody"))
        self.assertEqual((read.index, read.reply.coordinates), (0, []))
        self.assertIs(self.endpoint.list_datacenters(DCSpecificRequest()), self.maps)


class NearTests(SynchronousTestCase):
    """The orders that a real server gave for captured coordinates."""

    def setUp(self) -> None:
        self.replica = Replica()
        data: Any = captured("coordinate-distance")
        self.data: dict[str, Any] = data
        names = [*self.data["coordinates"], self.data["node_without_coordinate"]]
        for name in names:
            service = {"id": "web", "service": "web"}
            checks = [{"check_id": "c", "name": "c", "status": "passing", "service_id": "web"}]
            self.replica.register(name, service=service, checks=checks)
        rows = [
            NodeCoordinate(
                node=name,
                coord=Coordinate(tuple(where["Vec"]), where["Error"], where["Adjustment"], where["Height"]),
            )
            for name, where in self.data["coordinates"].items()
        ]
        self.replica.apply(commands.encode_coordinates(rows))
        self.catalog = Catalog(self.replica.store, "dc1")
        self.health = Health(self.replica.store, "dc1")

    def orders(self, **source: str) -> list[list[str]]:
        """The nodes in each answer that can be sorted."""
        where = QuerySource(**source)
        service = ServiceSpecificRequest(service_name="web", source=where)
        nodes = self.catalog.list_nodes(DCSpecificRequest(source=where)).reply.nodes
        instances = self.catalog.service_nodes(service).reply.service_nodes
        healthy = self.health.service_nodes(service).reply.nodes
        named = self.health.service_checks(service).reply.health_checks
        states = self.health.checks_in_state(ChecksInStateRequest(state="any", source=where))
        return [
            [row.node for row in nodes],
            [row.node for row in instances],
            [row.node.node for row in healthy],
            [check.node for check in named],
            [check.node for check in states.reply.health_checks],
        ]

    def test_captured(self) -> None:
        """One node of its was called otherwise and is not here."""
        orders = self.data["near_order_from_real_consul"]
        self.assertEqual(list(orders), ["n0", "n4", "n5", ""])
        for origin, expected in orders.items():
            wanted = [name for name in expected["catalog_nodes"] if name != "c1"]
            for found in self.orders(node=origin):
                self.assertEqual(found, wanted)

    def test_unsorted(self) -> None:
        """Without a source, from one that has told no place, or from another datacenter."""
        plain = self.orders()
        self.assertEqual(plain[0], sorted(plain[0]))
        for source in ({"node": "n5"}, {"node": "nobody"}, {"node": "n3", "datacenter": "dc2"}):
            self.assertEqual(self.orders(**source), plain)
        self.assertNotEqual(self.orders(node="N3", datacenter="dc1"), plain)

    def test_shared_lists_stay(self) -> None:
        """Sorting for one does not change the order for others."""
        before = self.orders()
        self.orders(node="n3")
        self.assertEqual(self.orders(), before)
