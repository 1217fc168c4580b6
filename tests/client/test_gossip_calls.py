"""Calls about events, coordinates and keys that no command makes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.client import coordinate, event
from pyconsul.client.call import Response, UnexpectedResponse


class CallTests(SynchronousTestCase):
    def test_events(self) -> None:
        call = event.events(name="deploy", index=7, wait_s=30.0)
        self.assertEqual(call.target(), "/v1/event/list?name=deploy&index=7&wait=30s")
        self.assertGreater(call.timeout_s, 30.0)
        self.assertEqual(event.events().target(), "/v1/event/list")

    def test_one_node(self) -> None:
        call = coordinate.node("n1", index=3, stale=True)
        self.assertEqual(call.target(), "/v1/coordinate/node/n1?stale&index=3")
        self.assertEqual(call.decode(Response(404, "", {}, b"")), [])
        self.assertEqual(call.decode(Response(200, "", {}, b'[{"Node":"n1"}]')), [{"Node": "n1"}])
        self.assertRaises(UnexpectedResponse, call.decode, Response(500, "", {}, b"why"))

    def test_update(self) -> None:
        call = coordinate.update("n1", {"Vec": [0.0] * 8}, datacenter="dc2")
        self.assertEqual((call.method, call.target()), ("PUT", "/v1/coordinate/update?dc=dc2"))
        self.assertEqual(call.body, b'{"Node":"n1","Coord":{"Vec":[0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0]}}')
        self.assertEqual(coordinate.datacenters().target(), "/v1/coordinate/datacenters")
