"""/v1/session/."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from pyconsul.errors import Refused
from pyconsul.structs.session import ServiceCheck
from tests.http.fakes import SESSION, Client, site
from tests.http.test_kv import Base

ROW = (
    b'[{"ID":"2a88cf87-5efa-d566-8b52-e578548e40a1","Name":"","Node":"n1","LockDelay":15000000000,'
    b'"Behavior":"release","TTL":"","NodeChecks":["serfHealth"],"ServiceChecks":null,"CreateIndex":5,'
    b'"ModifyIndex":5}]'
)


class CreateTests(Base):
    def setUp(self) -> None:
        super().setUp()
        self.client = Client(site(self.agent, node_name="me"))

    def create(self, body: bytes = b"") -> Any:
        """The session that the agent is asked for."""
        answer = self.ask("/v1/session/create", "PUT", body)
        self.assertEqual(answer, (200, b'{"ID":"2a88cf87-5efa-d566-8b52-e578548e40a1"}'), body)
        method, request = self.asked()
        self.assertEqual((method, request.op), ("Session.Apply", "create"))
        return request.session

    def test_defaults(self) -> None:
        """Of this agent's node, with its gossip check, and 15 s of lock delay."""
        for body in (b"", b"{}", b"null", b'{"Bogus": 1, "ID": "x", "Namespace": "y"}'):
            session = self.create(body)
            self.assertEqual((session.node, session.node_checks, session.id), ("me", ["serfHealth"], ""))
            self.assertEqual((session.lock_delay, session.ttl, session.behavior), (15_000_000_000, "", ""))
            self.assertEqual((session.checks, session.service_checks), (UNSET, None))

    def test_everything(self) -> None:
        """All fields, in any case."""
        session = self.create(
            b'{"name": "s", "NODE": "n2", "lockdelay": "3s", "behavior": "delete", "ttl": "20s",'
            b' "servicechecks": [{"id": "c", "more": 1}]}'
        )
        self.assertEqual((session.name, session.node, session.behavior), ("s", "n2", "delete"))
        self.assertEqual((session.lock_delay, session.ttl), (3_000_000_000, "20s"))
        self.assertEqual(session.service_checks, [ServiceCheck("c")])

    def test_checks(self) -> None:
        """The older name adds to the default, an empty list replaces it, the newer name replaces both."""
        for body, node_checks, checks in (
            (b'{"Checks": ["a"]}', ["serfHealth"], ["a"]),
            (b'{"Checks": []}', [], UNSET),
            (b'{"Checks": null}', [], UNSET),
            (b'{"NodeChecks": ["a"]}', ["a"], UNSET),
            (b'{"NodeChecks": []}', [], UNSET),
            (b'{"NodeChecks": null}', None, UNSET),
            (b'{"Checks": ["serfHealth"]}', ["serfHealth"], UNSET),
            (b'{"Checks": ["serfHealth", "a"]}', ["serfHealth"], ["serfHealth", "a"]),
            (b'{"Checks": ["a"], "NodeChecks": null}', None, UNSET),
            (b'{"NodeChecks": ["a"], "Checks": ["b"]}', ["a"], UNSET),
        ):
            session = self.create(body)
            self.assertEqual((session.node_checks, session.checks), (node_checks, checks), body)

    def test_lock_delay(self) -> None:
        """A duration, or a number: of seconds if it is small, else of nanoseconds."""
        for given, seconds in (
            (b'"2m"', 120), (b"20", 20), (b"999", 999), (b"1.5", 1), (b"0", 0), (b"null", 15),
            (b"120000000000", 120), (b"1000", 1e-6), (b"true", 0), (b"[1]", 0), (b"1e30", 0), (b"-5", -5),
            (b'"1ns"', 1), (b'"1us"', 1e-6),
        ):  # fmt: skip
            session = self.create(b'{"LockDelay": %b}' % given)
            self.assertEqual(session.lock_delay, round(seconds * 1e9), given)

    def test_malformed(self) -> None:
        """400, in Consul's words."""
        for body, text in (
            (b'{"LockDelay": "20"}', 'time: missing unit in duration "20"'),
            (b'{"LockDelay": "abc"}', 'time: invalid duration "abc"'),
            (
                b'{"Name": 4}',
                "json: cannot unmarshal number into Go struct field CreateBody.Name of type string",
            ),
            (b"[]", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
            (b'{"ID": 1}', "json: cannot unmarshal number into Go struct field CreateBody.ID of type string"),
            (b" ", "EOF"),
            (b"{nope", "invalid character at byte 1: object keys must be strings"),
        ):
            status, told = self.ask("/v1/session/create", "PUT", body)
            self.assertEqual((status, told), (400, b"Request decode failed: " + text.encode()))
        self.assertEqual(self.ask("/v1/session/create?ns=x", "PUT")[0], 400)
        self.assertEqual(self.ask("/v1/session/create", "PUT", b'{"Node":""}'), (500, b"Must provide Node"))
        self.assertEqual(self.agent.asked, [])
        self.assertEqual(self.ask("/v1/session/create", "PUT", b'{"Node":null}')[0], 200)

    def test_refused(self) -> None:
        """What the servers turn down is a 500."""
        self.agent.replies["Session.Apply"] = Refused("Missing node registration")
        self.assertEqual(self.ask("/v1/session/create", "PUT"), (500, b"Missing node registration"))


class EndTests(Base):
    def test_destroy(self) -> None:
        """Always true."""
        self.assertEqual(self.ask(f"/v1/session/destroy/{SESSION.id}?dc=dc1", "PUT"), (200, b"true"))
        method, request = self.asked()
        self.assertEqual((method, request.op, request.session.id), ("Session.Apply", "destroy", SESSION.id))
        self.assertEqual(request.datacenter, "dc1")

    def test_renew(self) -> None:
        """The session, without a read's headers, or 404."""
        self.assertEqual(self.ask(f"/v1/session/renew/{SESSION.id}?token=t", "PUT"), (200, ROW))
        self.assertNotIn(b"X-Consul", self.head)
        method, request = self.asked()
        self.assertEqual((method, request.session_id, request.token), ("Session.Renew", SESSION.id, "t"))
        self.assertEqual(self.ask("/v1/session/renew/none", "PUT"), (404, b"Session id 'none' not found"))

    def test_missing(self) -> None:
        """Nothing is asked without a name."""
        for method, what, text in (
            ("PUT", "destroy/", b"Missing session"),
            ("PUT", "renew/", b"Missing session"),
            ("GET", "info/", b"Missing session"),
            ("GET", "node/", b"Missing node name"),
        ):
            self.assertEqual(self.ask("/v1/session/" + what, method), (400, text))
            if what != "destroy/":
                self.assertEqual(self.ask(f"/v1/session/{what}?index=x", method), (400, b"Invalid index"))
        self.assertEqual(self.agent.asked, [])
        self.assertEqual(self.ask("/v1/session/create")[0], 405)


class ReadTests(Base):
    def test_reads(self) -> None:
        """One, all, and those of a node, as lists with a read's headers."""
        for target, method, field, value in (
            ("info/x?index=4", "Session.Get", "session_id", "x"),
            ("list?index=4", "Session.List", "session_id", ""),
            ("node/n1?index=4", "Session.NodeSessions", "node", "n1"),
        ):
            self.assertEqual(self.ask("/v1/session/" + target), (200, ROW))
            self.assertIn(b"X-Consul-Index: 7", self.head)
            self.assertNotIn(b"Effective-Consistency", self.head)
            asked, request = self.asked()
            self.assertEqual((asked, getattr(request, field), request.min_query_index), (method, value, 4))
        self.assertEqual(self.ask("/v1/session/info/none"), (200, b"[]"))
        self.assertEqual(self.ask("/v1/session/node/none"), (200, b"[]"))

    def test_failed(self) -> None:
        """With a read's headers all the same."""
        self.agent.replies["Session.Get"] = Refused("bad id")
        self.assertEqual(self.ask("/v1/session/info/x"), (500, b"bad id"))
        self.assertIn(b"X-Consul-Index: 1\r\nX-Consul-Knownleader: false", self.head)
        self.assertEqual(self.ask("/v1/session/info/x?ns=y")[0], 400)
