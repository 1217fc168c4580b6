"""``/v1/operator/keyring`` over the wire of HTTP."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.http import keyring
from pyconsul.structs.keyring import KeyringRequest, KeyringResponse, KeyringResponses
from tests.http.fakes import Client, FakeAgent, site

TARGET = "/v1/operator/keyring"
KEY = "pUqJrVyVRj5jsiYEkM/tFQ=="
LAN = KeyringResponse(datacenter="dc1", keys={KEY: 2}, primary_keys={KEY: 2}, num_nodes=2)


class Server(FakeAgent):
    is_server = True


class KeyringTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.agent = Server()
        self.answer(LAN)
        self.client = Client(site(self.agent, more=[lambda app, _: keyring.add_routes(app, self.agent)]))

    def answer(self, *responses: KeyringResponse) -> None:
        self.agent.replies["Internal.KeyringOperation"] = KeyringResponses(responses=list(responses))

    def asked(self) -> KeyringRequest:
        request: KeyringRequest = self.agent.asked[-1][1]
        return request

    def test_list(self) -> None:
        self.answer(KeyringResponse(wan=True, datacenter="dc1", keys={KEY: 1}, num_nodes=1), LAN)
        answer = self.client.get(TARGET + "?relay-factor=2&local-only=1&token=t")
        request = self.asked()
        self.assertEqual(
            (request.operation, request.relay_factor, request.local_only, request.token),
            ("list", 2, True, "t"),
        )
        wan, lan = json.loads(answer.partition(b"\r\n\r\n")[2])
        self.assertEqual(
            lan,
            {
                "WAN": False, "Datacenter": "dc1", "Segment": "", "Keys": {KEY: 2}, "PrimaryKeys": {KEY: 2},
                "NumNodes": 2,
            },
        )  # fmt: skip
        self.assertEqual((wan["WAN"], wan["PrimaryKeys"]), (True, {}))

    def test_changes(self) -> None:
        for method, operation in (("POST", "install"), ("PUT", "use"), ("DELETE", "remove")):
            answer = self.client.get(TARGET, method, json.dumps({"Key": KEY}).encode())
            self.assertIn(b"200 OK", answer)
            self.assertIn(b"Content-Length: 0", answer)
            self.assertEqual((self.asked().operation, self.asked().key), (operation, KEY))

    def test_what_members_say(self) -> None:
        """Each on a line of its own, under its pool."""
        wrong = KeyringResponse(
            datacenter="dc1", error="2/2 nodes reported failure", messages={"a": "no", "b": "never"}
        )
        fine = KeyringResponse(wan=True, messages={"a": "only a remark"})
        self.answer(fine, wrong)
        for method in ("GET", "PUT"):
            answer = self.client.get(TARGET, method, b'{"Key": "x"}' if method == "PUT" else b"")
            self.assertIn(b"500 Internal", answer)
            self.assertTrue(
                answer.endswith(
                    b"\r\n\r\n3 errors occurred:\n\t* dc1 (LAN) error: 2/2 nodes reported failure\n"
                    b"\t* a: no\n\t* b: never\n\n"
                ),
                answer,
            )
        self.answer(KeyringResponse(wan=True, error="illegal base64 data at input byte 4"))
        answer = self.client.get(TARGET)
        self.assertTrue(
            answer.endswith(b"1 error occurred:\n\t* WAN error: illegal base64 data at input byte 4\n\n")
        )

    def test_bad_requests(self) -> None:
        for target, method, why in (
            ("?relay-factor=9", "GET", "Invalid relay-factor: Relay factor must be in range: [0, 5]"),
            ("?relay-factor=-1", "GET", "Invalid relay-factor: Relay factor must be in range: [0, 5]"),
            (
                "?relay-factor=x",
                "GET",
                'Error parsing relay factor: strconv.Atoi: parsing "x": invalid syntax',
            ),
            (
                "?local-only=zz",
                "GET",
                'Error parsing local-only: strconv.ParseBool: parsing "zz": invalid syntax',
            ),
            (
                "?local-only=true",
                "PUT",
                "Invalid use of local-only: local-only can only be set for list requests",
            ),
        ):
            answer = self.client.get(TARGET + target, method, b'{"Key": "x"}' if method == "PUT" else b"")
            self.assertIn(b"400 Bad Request", answer)
            self.assertTrue(answer.endswith(f"\r\n\r\nBad request: {why}".encode()), answer)
        answer = self.client.get(TARGET, "POST", b"{")
        self.assertIn(b"Bad request: Request decode failed: ", answer)
        self.assertEqual(self.agent.asked, [])

    def test_a_client_agent(self) -> None:
        self.agent.is_server = False
        answer = self.client.get(TARGET)
        self.assertIn(b"500 Internal", answer)
        self.assertTrue(answer.endswith(b"keyring operations must run against a server node"))

    def test_methods(self) -> None:
        answer = self.client.get(TARGET, "PATCH")
        self.assertIn(b"Allow: OPTIONS,GET,POST,PUT,DELETE\r\n", answer)
        self.assertTrue(answer.endswith(b"method PATCH not allowed"))
