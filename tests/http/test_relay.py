"""Reads that another agent answers: which, for how many, and what if it does not."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.structs.relay import Relayed
from tests.http.fakes import DATE, Client, FakeAgent, site

TARGET = "/v1/kv/a"
HEAD = (
    b"HTTP/1.1 200 OK\r\n%bVary: Accept-Encoding\r\nX-Consul-Index: 9\r\nX-Consul-Knownleader: true\r\n"
    b"X-Consul-Lastcontact: 3\r\nDate: " + DATE + b"\r\nContent-Length: 2\r\n\r\n[]"
)


class Batch:
    """What says for how long others may join."""

    sent = False

    def takes(self, waited_s: float) -> bool:
        return not self.sent


class RelayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.agent = FakeAgent()
        self.agent.arms = False  # as where there is no store
        self.site = site(self.agent, Clock())
        self.client = Client(self.site)
        self.batch = Batch()
        self.relayed: list[bytes] = []
        self.waiting: list[Deferred[Any]] = []

    def relay(self, target: bytes) -> Any:
        self.relayed.append(target)
        self.waiting.append(Deferred())
        return self.batch, self.waiting[-1]

    def know(self, target: str = TARGET, headers: str = "") -> bytes:
        """Have the target asked for in the usual way, as it is when it is new."""
        self.agent.relaying = self.relay
        answer = self.client.get(target, headers=headers)
        self.assertEqual(self.relayed, [])
        return answer

    def answer(self, kind: bytes = b"application/json", headers: Any = ()) -> None:
        self.waiting.pop(0).callback(Relayed(b"[]", kind, 9, True, 3, "", headers))

    def test_answer(self) -> None:
        """As it came, with the headers of this agent."""
        self.know()
        self.assertEqual(self.client.get(TARGET), b"")
        self.assertEqual(self.relayed, [TARGET.encode()])
        self.answer()
        self.assertEqual(self.client.received(), HEAD % b"Content-Type: application/json\r\n")
        self.client.get(TARGET)
        self.answer(b"text/plain", ((b"A-Header", b"1"),))
        self.assertEqual(self.client.received(), HEAD % b"A-Header: 1\r\nContent-Type: text/plain\r\n")

    def test_many_for_one(self) -> None:
        """Others that ask before it is sent get the same answer, later ones their own."""
        self.know()
        clients = [Client(self.site) for _ in range(3)]
        for client in clients[:2]:
            client.get(TARGET)
        self.batch.sent = True
        clients[2].get(TARGET)
        self.assertEqual(len(self.relayed), 2)
        self.answer()
        self.assertEqual([b"[]" in client.received() for client in clients], [True, True, False])
        self.answer()
        self.assertIn(b"[]", clients[2].received())

    def test_in_the_usual_way(self) -> None:
        """If it was not answered there, the endpoint is asked here."""
        right = self.know()
        self.agent.asked.clear()
        self.client.get(TARGET)
        self.waiting.pop().callback(None)
        self.assertEqual(self.client.received(), right)
        self.assertEqual([method for method, _ in self.agent.asked], ["KVS.Get"])
        self.agent.relaying = lambda target: None
        self.assertEqual(self.client.get(TARGET), right)

    def test_not_passed_on(self) -> None:
        """What depends on more than the target and the store, waits, or may be old."""
        for target, headers in (
            (TARGET + "?index=3", ""),
            (TARGET + "?token=t", ""),
            (TARGET, "X-Consul-Token: t\r\n"),
            (TARGET, "Cache-Control: no-cache\r\n"),
            ("/v1/health/service/web?near=_agent", ""),
            ("/v1/health/service/web?cached", ""),
            ("/v1/status/leader", ""),
            ("/v1/kv/none", ""),
        ):
            for _ in range(2):
                self.know(target, headers)

    def test_settings(self) -> None:
        """An agent that makes all answers pretty makes its own."""
        self.site = site(self.agent, Clock(), always_pretty=True)
        self.client = Client(self.site)
        for _ in range(2):
            self.know()
