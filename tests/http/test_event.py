"""``/v1/event/`` over the wire of HTTP."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import Refused
from pyconsul.http import event
from pyconsul.structs.event import UserEvent
from tests.http.fakes import Client, FakeAgent, site

ID = "4229f63e-4f2f-4d06-5ae8-b458529c8770"


class Log:
    """Events as an agent would have them."""

    def __init__(self) -> None:
        self.fired: list[tuple[UserEvent, str, str]] = []
        self.asked: list[tuple[str, int, float]] = []
        self.answer: Any = UserEvent(id=ID, name="deploy", payload=b"v1")
        self.found: Any = (7, [UserEvent(id=ID, name="deploy", payload=b"v1", ltime=3)])

    def fire(self, event: UserEvent, datacenter: str = "", token: str = "") -> Any:
        self.fired.append((event, datacenter, token))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def read(self, name: str, index: int, wait_s: float) -> Any:
        self.asked.append((name, index, wait_s))
        return self.found


class EventTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.log = Log()
        self.client = Client(site(FakeAgent(), more=[lambda app, _: event.add_routes(app, self.log)]))

    def test_fire(self) -> None:
        target = "/v1/event/fire/deploy?dc=dc2&node=n.*&service=web&tag=v1"
        answer = self.client.get(target, "PUT", b"v1", headers="X-Consul-Token: t\r\n")
        wanted = UserEvent(
            id="", name="deploy", payload=b"v1", node_filter="n.*", service_filter="web", tag_filter="v1"
        )
        self.assertEqual(self.log.fired, [(wanted, "dc2", "t")])
        head, _, body = answer.partition(b"\r\n\r\n")
        self.assertNotIn(b"X-Consul-Index", head)
        self.assertEqual(
            body,
            b'{"ID":"%b","Name":"deploy","Payload":"djE=","NodeFilter":"","ServiceFilter":"","TagFilter":"",'
            b'"Version":1,"LTime":0}' % ID.encode(),
        )

    def test_fire_without_payload(self) -> None:
        self.log.answer = Deferred()
        self.assertEqual(self.client.get("/v1/event/fire/a/b", "PUT"), b"")
        self.log.answer.callback(UserEvent(id=ID, name="a/b"))
        body = json.loads(self.client.received().partition(b"\r\n\r\n")[2])
        self.assertEqual((body["Name"], body["Payload"]), ("a/b", None))
        self.assertEqual(self.log.fired[0][0].payload, None)

    def test_fire_refused(self) -> None:
        answer = self.client.get("/v1/event/fire/", "PUT")
        self.assertIn(b"400 Bad Request", answer)
        self.assertTrue(answer.endswith(b"\r\n\r\nMissing name"))
        self.log.answer = Refused("Invalid node filter: why")
        answer = self.client.get("/v1/event/fire/x?node=(", "PUT")
        self.assertIn(b"500 Internal", answer)
        self.assertTrue(answer.endswith(b"Invalid node filter: why"))

    def test_list(self) -> None:
        answer = self.client.get("/v1/event/list")
        self.assertIn(b"X-Consul-Index: 7\r\n", answer)
        self.assertNotIn(b"X-Consul-Knownleader", answer)
        (shown,) = json.loads(answer.partition(b"\r\n\r\n")[2])
        self.assertEqual((shown["ID"], shown["LTime"]), (ID, 3))
        self.client.get("/v1/event/list?name=deploy&index=9&wait=90s")
        self.assertEqual(self.log.asked, [("", 0, 0.0), ("deploy", 9, 90.0)])

    def test_list_later(self) -> None:
        self.log.found = Deferred()
        self.assertEqual(self.client.get("/v1/event/list?index=7"), b"")
        self.log.found.callback((8, []))
        self.assertTrue(self.client.received().endswith(b"\r\n\r\n[]"))

    def test_whoever_waits_goes(self) -> None:
        gone: list[object] = []
        self.log.found = Deferred(gone.append)
        self.client.get("/v1/event/list?index=7")
        self.client.lose()
        self.assertEqual(len(gone), 1)

    def test_how_consistent(self) -> None:
        """No server is asked, so nothing about that is looked at."""
        for target in ("stale&consistent", "cached&consistent", "max_stale=zz"):
            self.assertIn(b" 200 OK\r\n", self.client.get(f"/v1/event/list?{target}"))

    def test_bad_parameters(self) -> None:
        for target, why in (("index=abc", b"Invalid index"), ("wait=zz", b"Invalid wait time")):
            answer = self.client.get(f"/v1/event/list?{target}")
            self.assertIn(b"400 Bad Request", answer)
            self.assertTrue(answer.endswith(why))
