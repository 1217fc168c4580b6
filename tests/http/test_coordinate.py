"""``/v1/coordinate/`` over the wire of HTTP."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import Refused
from pyconsul.structs.coordinate import (
    Coordinate,
    CoordinateUpdateRequest,
    IndexedCoordinates,
    NodeCoordinate,
)
from tests.http.fakes import Client, FakeAgent, meta, site

PLACE = b"""{"Node": "n1", "Segment": "", "Coord":
    {"Vec": [0, 0, 0, 0, 0, 0, 0, 0], "Error": 1.5, "Adjustment": 0, "Height": 0.00001}}"""


def body(answer: bytes) -> Any:
    return json.loads(answer.partition(b"\r\n\r\n")[2])


class CoordinateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.agent = FakeAgent()
        self.client = Client(site(self.agent))

    def test_nodes(self) -> None:
        """Numbers are written as Consul writes them; there is no word of consistency."""
        answer = self.client.get("/v1/coordinate/nodes")
        self.assertIn(b"X-Consul-Index: 7\r\nX-Consul-Knownleader: true\r\n", answer)
        self.assertNotIn(b"Effective-Consistency", answer)
        self.assertEqual(body(answer), [json.loads(PLACE)])
        self.assertIn(b'"Vec":[0,0,0,0,0,0,0,0],"Error":1.5,"Adjustment":0,', answer)
        self.client.get("/v1/coordinate/nodes?index=7&wait=5s&stale")
        request = self.agent.asked[-1][1]
        self.assertEqual((request.min_query_index, request.max_query_time), (7, 5_000_000_000))

    def test_segments(self) -> None:
        rows = [NodeCoordinate(node="a", segment=name, coord=Coordinate()) for name in ("", "x")]
        self.agent.replies["Coordinate.ListNodes"] = IndexedCoordinates(coordinates=rows, **meta())
        for query, segments in (
            ("", ["", "x"]),
            ("?segment=x", ["x"]),
            ("?segment=", [""]),
            ("?segment=y", []),
        ):
            found = body(self.client.get("/v1/coordinate/nodes" + query))
            self.assertEqual([row["Segment"] for row in found], segments)
        self.agent.replies["Coordinate.ListNodes"] = IndexedCoordinates(coordinates=None, **meta(index=8))
        self.assertTrue(self.client.get("/v1/coordinate/nodes?pretty").endswith(b"[]\n"))

    def test_one_node(self) -> None:
        self.assertEqual(body(self.client.get("/v1/coordinate/node/n1")), [json.loads(PLACE)])
        self.assertEqual(self.agent.asked[-1][1].node, "n1")
        for target in ("/v1/coordinate/node/nobody", "/v1/coordinate/node/"):
            answer = self.client.get(target)
            self.assertIn(b"404 Not Found", answer)
            self.assertIn(b"Content-Length: 0\r\n", answer)
            self.assertNotIn(b"X-Consul-Index", answer)

    def test_segments_of_one_node(self) -> None:
        """Those of one segment alone; nowhere is 404."""
        rows = [NodeCoordinate(node="a", segment=name, coord=Coordinate()) for name in ("", "x")]
        self.agent.replies["Coordinate.Node"] = IndexedCoordinates(coordinates=rows, **meta())
        for query, segments in (("", ["", "x"]), ("?segment=x", ["x"]), ("?segment=", [""])):
            found = body(self.client.get("/v1/coordinate/node/a" + query))
            self.assertEqual([row["Segment"] for row in found], segments)
        self.assertIn(b"404 Not Found", self.client.get("/v1/coordinate/node/a?segment=y"))

    def test_one_node_later(self) -> None:
        waiting: Deferred[Any] = Deferred()
        self.agent.replies["Coordinate.Node"] = waiting
        self.assertEqual(self.client.get("/v1/coordinate/node/n1?index=7"), b"")
        waiting.callback(IndexedCoordinates(coordinates=[], **meta()))
        self.assertIn(b"404 Not Found", self.client.received())

    def test_datacenters(self) -> None:
        answer = self.client.get("/v1/coordinate/datacenters?dc=nowhere")
        self.assertEqual(
            body(answer), [{"Datacenter": "dc1", "AreaID": "wan", "Coordinates": [json.loads(PLACE)]}]
        )
        self.assertNotIn(b"X-Consul-Index", answer)

    def test_failures_have_headers_of_a_read(self) -> None:
        answer = self.client.get("/v1/coordinate/nodes?dc=nowhere")
        self.assertIn(b"500 Internal", answer)
        self.assertIn(b"X-Consul-Index: 1\r\nX-Consul-Knownleader: false\r\n", answer)

    def test_update(self) -> None:
        place = {"Vec": [0.1, 1, 0, 0, 0, 0, 0, 0], "Error": 1.25, "Adjustment": 0.5, "Height": 0.00001}
        sent = json.dumps({"Node": "x1", "Segment": "s", "Coord": place}).encode()
        answer = self.client.get("/v1/coordinate/update?dc=dc1", "PUT", sent, headers="X-Consul-Token: t\r\n")
        self.assertIn(b"200 OK", answer)
        self.assertIn(b"Content-Length: 0", answer)
        request: CoordinateUpdateRequest = self.agent.asked[-1][1]
        self.assertEqual((request.node, request.segment, request.token), ("x1", "s", "t"))
        self.assertEqual(request.datacenter, "dc1")
        self.assertEqual(request.coord, Coordinate((0.1, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 1.25, 0.5, 1e-5))
        self.client.get("/v1/coordinate/update?dc=dc1", "PUT", b'{"Datacenter": "dc9"}')
        self.assertEqual(self.agent.asked[-1][1].datacenter, "dc9")

    def test_what_is_left_out(self) -> None:
        """It is nothing, and so no place; not where an agent begins."""
        for sent in (b'{"Node": "n1", "Coord": {}}', b'{"node": "n1", "coord": {"Vec": null}}'):
            self.client.get("/v1/coordinate/update", "PUT", sent)
            request = self.agent.asked[-1][1]
            self.assertEqual(request.coord, Coordinate((), 0.0, 0.0, 0.0))
        self.client.get("/v1/coordinate/update", "PUT", b'{"Coord": {"vec": [1], "Error": 2}}')
        self.assertEqual(self.agent.asked[-1][1].coord, Coordinate((1.0,), 2.0, 0.0, 0.0))

    def test_update_refused(self) -> None:
        for sent in (b"{", b'{"Coord": {"Vec": [1, "x"]}}', b'{"Coord": {"Vec": 1}}', b'{"Other": 1}'):
            answer = self.client.get("/v1/coordinate/update", "PUT", sent)
            self.assertIn(b"400 Bad Request", answer)
            self.assertIn(b"Request decode failed: ", answer)
        self.agent.replies["Coordinate.Update"] = Refused("incompatible coordinate")
        self.assertTrue(
            self.client.get("/v1/coordinate/update", "PUT", b"{}").endswith(b"incompatible coordinate")
        )
