"""Every declared request: its method, path and parameters, and what its answer becomes."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.client import agent, catalog, health, kv, operator, session
from pyconsul.client.call import Call, Response, ResponseError, UnexpectedResponse
from pyconsul.errors import BadRequest

LINES: list[tuple[Call[Any], str]] = [
    (kv.get("a/b c"), "GET /v1/kv/a/b%20c"),
    (kv.get("a", index=3, wait_s=5, stale=True), "GET /v1/kv/a?stale&index=3&wait=5s"),
    (kv.value("a"), "GET /v1/kv/a?raw"),
    (kv.recurse("a/", datacenter="d"), "GET /v1/kv/a/?recurse&dc=d"),
    (kv.keys("a/"), "GET /v1/kv/a/?keys"),
    (kv.keys("a/", "/"), "GET /v1/kv/a/?keys&separator=%2F"),
    (kv.put("a", b"x"), "PUT /v1/kv/a"),
    (kv.put("a", b"x", flags=4, cas=0, datacenter="d"), "PUT /v1/kv/a?cas=0&flags=4&dc=d"),
    (kv.put("a", b"x", acquire="s"), "PUT /v1/kv/a?acquire=s"),
    (kv.put("a", b"x", release="s"), "PUT /v1/kv/a?release=s"),
    (kv.delete("a", cas=3), "DELETE /v1/kv/a?cas=3"),
    (kv.delete_tree("a"), "DELETE /v1/kv/a?recurse"),
    (agent.self(), "GET /v1/agent/self"),
    (agent.members(), "GET /v1/agent/members"),
    (agent.members(wan=True, segment="s"), "GET /v1/agent/members?segment=s&wan=1"),
    (agent.join("10.0.0.1"), "PUT /v1/agent/join/10.0.0.1"),
    (agent.join("10.0.0.1", wan=True), "PUT /v1/agent/join/10.0.0.1?wan=1"),
    (agent.leave(), "PUT /v1/agent/leave"),
    (agent.force_leave("n"), "PUT /v1/agent/force-leave/n"),
    (agent.force_leave("n", prune=True), "PUT /v1/agent/force-leave/n?prune=1"),
    (agent.reload(), "PUT /v1/agent/reload"),
    (agent.services(filter="f"), "GET /v1/agent/services?filter=f"),
    (agent.checks(), "GET /v1/agent/checks"),
    (agent.register_service({"Name": "w"}), "PUT /v1/agent/service/register"),
    (agent.deregister_service("w 1"), "PUT /v1/agent/service/deregister/w%201"),
    (agent.register_check({"Name": "c"}), "PUT /v1/agent/check/register"),
    (agent.deregister_check("c"), "PUT /v1/agent/check/deregister/c"),
    (agent.update_ttl("c", "passing"), "PUT /v1/agent/check/update/c"),
    (agent.maintenance(True, "why not"), "PUT /v1/agent/maintenance?enable=true&reason=why%20not"),
    (agent.service_maintenance("w", False), "PUT /v1/agent/service/maintenance/w?enable=false"),
    (catalog.datacenters(), "GET /v1/catalog/datacenters"),
    (catalog.nodes(near="n"), "GET /v1/catalog/nodes?near=n"),
    (catalog.services(), "GET /v1/catalog/services"),
    (catalog.service("w", tag="t"), "GET /v1/catalog/service/w?tag=t"),
    (catalog.node("n"), "GET /v1/catalog/node/n"),
    (catalog.register({"Node": "n"}, datacenter="d"), "PUT /v1/catalog/register?dc=d"),
    (catalog.deregister({"Node": "n"}), "PUT /v1/catalog/deregister"),
    (health.service("w", passing=True, tag="t"), "GET /v1/health/service/w?passing&tag=t"),
    (health.node("n"), "GET /v1/health/node/n"),
    (health.checks("w"), "GET /v1/health/checks/w"),
    (health.state(), "GET /v1/health/state/any"),
    (session.create({"TTL": "10s"}), "PUT /v1/session/create"),
    (session.destroy("s"), "PUT /v1/session/destroy/s"),
    (session.renew("s"), "PUT /v1/session/renew/s"),
    (session.info("s"), "GET /v1/session/info/s"),
    (session.list_all(datacenter="d"), "GET /v1/session/list?dc=d"),
    (session.fire_event("e", b"p", node="n", service="s", tag="t"),
     "PUT /v1/event/fire/e?node=n&service=s&tag=t"),
    (session.leader(), "GET /v1/status/leader"),
    (operator.raft_configuration(), "GET /v1/operator/raft/configuration"),
    (operator.remove_peer(address="a:1", datacenter="d"), "DELETE /v1/operator/raft/peer?dc=d&address=a%3A1"),
    (operator.remove_peer(id="x"), "DELETE /v1/operator/raft/peer?id=x"),
    (operator.transfer_leader(id="x"), "PUT /v1/operator/raft/transfer-leader?id=x"),
    (operator.autopilot_configuration(stale=True), "GET /v1/operator/autopilot/configuration?stale"),
    (operator.set_autopilot_configuration({}), "PUT /v1/operator/autopilot/configuration"),
    (operator.set_autopilot_configuration({}, cas=0), "PUT /v1/operator/autopilot/configuration?cas=0"),
    (operator.autopilot_health(), "GET /v1/operator/autopilot/health"),
    (session.peers(datacenter="d"), "GET /v1/status/peers?dc=d"),
]  # fmt: skip

ROW = b'[{"Key":"a","Value":"eA==","Flags":1,"LockIndex":2,"Session":"s","CreateIndex":3,"ModifyIndex":4}]'


def ok(body: bytes) -> Response:
    return Response(200, "OK", {}, body)


class LineTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """Method, path and parameters as the HTTP API has them."""
        for made, line in LINES:
            self.assertEqual(f"{made.method} {made.target()}", line)

    def test_bodies(self) -> None:
        """What is written goes in the body."""
        self.assertEqual(kv.put("a", b"\xff").body, b"\xff")
        self.assertEqual(agent.register_service({"Name": "w"}).body, b'{"Name":"w"}')
        self.assertEqual(session.create().body, b"{}")
        self.assertEqual(session.fire_event("e", b"p").body, b"p")
        body = b'{"Status":"passing","Output":"fine"}'
        self.assertEqual(agent.update_ttl("c", "passing", "fine").body, body)

    def test_timeouts(self) -> None:
        """A read that blocks may take longer."""
        self.assertEqual(kv.get("a", index=1, wait_s=160).timeout_s, 230.0)
        self.assertEqual(health.service("w").timeout_s, 60.0)

    def test_key_with_a_slash_in_front(self) -> None:
        """Such a key is refused before anything is sent."""
        error = self.assertRaises(BadRequest, kv.put, "/a", b"x")
        self.assertEqual(str(error), "Invalid key. Key must not begin with a '/': /a")


class KvTests(SynchronousTestCase):
    def test_pair(self) -> None:
        """All that is known of an entry."""
        pair = kv.get("a").decode(ok(ROW))
        assert pair is not None
        facts = (pair.key, pair.value, pair.flags, pair.lock_index, pair.session)
        self.assertEqual(facts, ("a", b"x", 1, 2, "s"))
        self.assertEqual((pair.create_index, pair.modify_index), (3, 4))

    def test_empty_value(self) -> None:
        """A value that is null is empty."""
        pairs = kv.recurse("a").decode(ok(b'[{"Key":"a","Value":null}]'))
        self.assertEqual([(pair.key, pair.value, pair.session) for pair in pairs], [("a", b"", "")])

    def test_not_there(self) -> None:
        """404 is an answer like others."""
        missing = Response(404, "Not Found", {}, b"")
        self.assertIsNone(kv.get("a").decode(missing))
        self.assertIsNone(kv.value("a").decode(missing))
        self.assertEqual(kv.recurse("a").decode(missing), [])
        self.assertEqual(kv.keys("a").decode(missing), [])

    def test_value(self) -> None:
        """The value as it was written."""
        self.assertEqual(kv.value("a").decode(ok(b"\x00\xff")), b"\x00\xff")

    def test_errors(self) -> None:
        """Reads say the status alone, as Consul's do; writes say why."""
        failed = Response(500, "X", {}, b"why")
        for made in (kv.get("a"), kv.value("a"), kv.recurse("a"), kv.keys("a")):
            error = self.assertRaises(UnexpectedResponse, made.decode, failed)
            self.assertEqual(str(error), "Unexpected response code: 500")
        error = self.assertRaises(UnexpectedResponse, kv.put("a", b"").decode, failed)
        self.assertEqual(str(error), "Unexpected response code: 500 (why)")

    def test_rows_that_are_none(self) -> None:
        """An answer without a key or with a value that is not base64 is an error of its own."""
        self.assertRaises(ResponseError, kv.recurse("a").decode, ok(b'[{"Value":"eA=="}]'))
        self.assertRaises(ResponseError, kv.recurse("a").decode, ok(b'[{"Key":"a","Value":"e"}]'))
        self.assertRaises(ResponseError, kv.recurse("a").decode, ok(b'["a"]'))


class SessionTests(SynchronousTestCase):
    def test_create(self) -> None:
        """A new session is its id."""
        self.assertEqual(session.create().decode(ok(b'{"ID":"s"}')), "s")

    def test_renew(self) -> None:
        """A session that is gone is no row."""
        self.assertEqual(session.renew("s").decode(Response(404, "", {}, b"gone")), [])
        self.assertEqual(session.renew("s").decode(ok(b'[{"ID":"s"}]')), [{"ID": "s"}])

    def test_leader(self) -> None:
        """The leader is a JSON string."""
        self.assertEqual(session.leader().decode(ok(b'"10.0.0.1:8300"')), "10.0.0.1:8300")


class OperatorTests(SynchronousTestCase):
    def test_health(self) -> None:
        """The servers' health is the answer whether they are well or not."""
        decode = operator.autopilot_health().decode
        for status in (200, 429):
            self.assertEqual(decode(Response(status, "", {}, b'{"Healthy":false}')), {"Healthy": False})
        self.assertRaises(ResponseError, decode, Response(200, "", {}, b"[]"))
        self.assertRaises(UnexpectedResponse, decode, Response(500, "", {}, b"No cluster leader"))

    def test_transfer(self) -> None:
        """Only a clear success is one."""
        decode = operator.transfer_leader().decode
        for body, success in ((b'{"Success":true}', True), (b'{"Success":false}', False), (b"null", False)):
            self.assertIs(decode(Response(200, "", {}, body)), success)
