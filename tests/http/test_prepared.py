"""/v1/query."""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred

from pyconsul.errors import NotFound, Refused
from tests.http.fakes import QUERY, Client, site
from tests.http.test_kv import Base

DEFINITION = (
    b'{"ID":"a7d96076-ace3-fe71-4db2-3a942f4022bd","Name":"q","Session":"","Token":"",'
    b'"Template":{"Type":"","Regexp":"","RemoveEmptyTags":false},'
    b'"Service":{"Service":"web","Failover":{"NearestN":0,"Datacenters":null},"OnlyPassing":false,'
    b'"IgnoreCheckIDs":null,"Near":"","Tags":null,"NodeMeta":null,"ServiceMeta":null,"Connect":false},'
    b'"DNS":{"TTL":"5s"},"CreateIndex":5,"ModifyIndex":6}'
)
UUID = QUERY.id


class DefinitionTests(Base):
    def test_reads(self) -> None:
        """All of them, and one; both can be waited for."""
        self.assertEqual(self.ask("/v1/query"), (200, b"[" + DEFINITION + b"]"))
        self.assertIn(b"X-Consul-Index: 7", self.head)
        self.assertEqual(self.asked()[0], "PreparedQuery.List")
        self.assertEqual(self.ask(f"/v1/query/{UUID}?index=5"), (200, b"[" + DEFINITION + b"]"))
        method, request = self.asked()
        self.assertEqual((method, request.query_id), ("PreparedQuery.Get", UUID))
        self.assertEqual(request.min_query_index, 5)

    def test_not_found(self) -> None:
        """404 without the headers of a read, now or later; other failures have them."""
        later: Deferred[Any] = Deferred()
        later.errback(NotFound("Query not found"))
        for reply in (NotFound("Query not found"), later):
            self.agent.replies["PreparedQuery.Get"] = reply
            self.assertEqual(self.ask(f"/v1/query/{UUID}"), (404, b"Query not found"))
            self.assertNotIn(b"X-Consul", self.head)
        self.agent.replies["PreparedQuery.Get"] = Refused("no")
        self.assertEqual(self.ask("/v1/query/x"), (500, b"no"))
        self.assertIn(b"X-Consul-Index: 1", self.head)

    def test_create(self) -> None:
        """Keys in any case; what is not there has its default."""
        body = b'{"name": "q", "service": {"SERVICE": "web", "tags": ["a", "!b"]}, "DNS": {"ttl": "3s"}}'
        self.assertEqual(self.ask("/v1/query?dc=dc1", "POST", body), (200, f'{{"ID":"{UUID}"}}'.encode()))
        method, request = self.asked()
        self.assertEqual((method, request.op, request.datacenter), ("PreparedQuery.Apply", "create", "dc1"))
        query = request.query
        self.assertEqual((query.name, query.service.service, query.dns.ttl), ("q", "web", "3s"))
        self.assertEqual((query.service.tags, query.service.node_meta), (["a", "!b"], None))
        for body in (b"", b"{", b"[]", b'{"Foo": 1}', b'{"Service": {"Tags": "x"}}'):
            status, text = self.ask("/v1/query", "POST", body)
            self.assertEqual(status, 400)
            self.assertTrue(text.startswith(b"Request decode failed: "), text)

    def test_change(self) -> None:
        """The path tells the id, whatever the body says; an empty body is an empty definition."""
        body = b'{"ID": "x", "Name": "r", "Service": {"Service": "web"}}'
        self.assertEqual(self.ask(f"/v1/query/{UUID}", "PUT", body), (200, b""))
        request = self.asked()[1]
        self.assertEqual((request.op, request.query.id, request.query.name), ("update", UUID, "r"))
        self.assertEqual(self.ask(f"/v1/query/{UUID}", "PUT"), (200, b""))
        self.assertEqual(self.asked()[1].query.name, "")
        self.assertEqual(self.ask(f"/v1/query/{UUID}", "DELETE"), (200, b""))
        self.assertEqual((self.asked()[1].op, self.asked()[1].query.id), ("delete", UUID))

    def test_methods(self) -> None:
        """They depend on how the path ends. Only OPTIONS tells of itself."""
        for path, methods in (
            ("x", b"GET,PUT,DELETE"), ("", b"GET,PUT,DELETE"), ("x/execute", b"GET"), ("x/explain", b"GET"),
        ):  # fmt: skip
            target = f"/v1/query/{path}"
            for method in ("POST", "PATCH", "HEAD", *(("PUT", "DELETE") if methods == b"GET" else ())):
                status, _ = self.ask(target, method)
                self.assertEqual(status, 405, (target, method))
                self.assertIn(b"Allow: " + methods + b"\r\n", self.head)
            self.assertEqual(self.ask(target, "OPTIONS"), (200, b"{}"))
            self.assertIn(b"Allow: OPTIONS," + methods + b"\r\n", self.head)
        self.assertEqual(self.ask("/v1/query", "PUT"), (405, b"method PUT not allowed"))
        self.assertIn(b"Allow: OPTIONS,GET,POST\r\n", self.head)


class ExecutionTests(Base):
    def setUp(self) -> None:
        super().setUp()
        self.client = Client(site(self.agent, node_name="me"))

    def test_execute(self) -> None:
        """Everything in the body, with an index of 0; it never waits and is never kept."""
        for _ in range(4):
            status, body = self.ask("/v1/query/q/execute?index=9&wait=5s&stale")
        self.assertEqual(status, 200)
        self.assertTrue(body.startswith(b'{"Service":"web","Nodes":[{"Node":{"ID":'), body[:60])
        self.assertTrue(
            body.endswith(
                b'"DNS":{"TTL":"5s"},"Datacenter":"dc1","Failovers":0,"Index":0,"LastContact":0,'
                b'"KnownLeader":true,"ConsistencyLevel":"leader"}'
            ),
            body[-160:],
        )
        self.assertIn(b"X-Consul-Index: 7", self.head)
        method, request = self.asked()
        self.assertEqual((method, request.query_id_or_name), ("PreparedQuery.Execute", "q"))
        self.assertEqual((request.min_query_index, request.allow_stale), (0, True))
        self.assertEqual((request.agent.node, request.source.node, request.limit), ("me", "", 0))
        self.assertEqual(len(self.agent.asked), 4)

    def test_no_tags(self) -> None:
        """They are ``null``, unlike anywhere else."""
        reply = self.agent.replies["PreparedQuery.Execute"]
        (row,) = reply.nodes[:1]
        check = replace(row.checks[0], service_tags=[])
        bare = replace(row, service=replace(row.service, tags=[]), checks=[check])
        self.agent.replies["PreparedQuery.Execute"] = replace(reply, nodes=[bare])
        (found,) = json.loads(self.ask("/v1/query/q/execute")[1])["Nodes"]
        self.assertIsNone(found["Service"]["Tags"])
        self.assertIsNone(found["Checks"][0]["ServiceTags"])

    def test_names(self) -> None:
        """Whatever is before the end, decoded; nothing is cut off a name that is the end itself."""
        for path, name in (
            ("a%20b%2F%C3%BC/execute", "a b/ü"), ("a/b/execute", "a/b"), ("execute", "execute"),
        ):  # fmt: skip
            self.ask(f"/v1/query/{path}")
            self.assertEqual(self.asked()[1].query_id_or_name, name)
        self.ask("/v1/query/x/execute/y")
        self.assertEqual(self.asked()[0], "PreparedQuery.Get")

    def test_parameters(self) -> None:
        self.ask("/v1/query/q/execute?limit=3&near=_agent&connect=true&token=t")
        request = self.asked()[1]
        self.assertEqual((request.limit, request.connect, request.token), (3, True, "t"))
        self.assertEqual(request.source.node, "_agent")
        for parameters in ("connect=false", "connect", "connect=0", "limit="):
            self.ask(f"/v1/query/q/execute?{parameters}")
            self.assertEqual((self.asked()[1].connect, self.asked()[1].limit), (False, 0))
        for limit, number in (("-1", -1), ("%2B2", 2)):
            self.ask(f"/v1/query/q/execute?limit={limit}")
            self.assertEqual(self.asked()[1].limit, number)
        for parameters, text in (
            ("limit=x", 'Bad limit: strconv.Atoi: parsing "x": invalid syntax'),
            ("limit=1x", 'Bad limit: strconv.Atoi: parsing "1x": invalid syntax'),
            (
                "connect=xx",
                "Error parsing 'connect' value: strconv.ParseBool: parsing \"xx\": invalid syntax",
            ),
        ):
            self.assertEqual(self.ask(f"/v1/query/q/execute?{parameters}"), (500, text.encode()))
            self.assertNotIn(b"X-Consul-Index", self.head)

    def test_client(self) -> None:
        """Its address, or what a proxy says of it."""
        for headers, address in (
            ("", "192.168.1.1"),
            ("X-Forwarded-For: 192.0.2.7, 10.0.0.1\r\n", "192.0.2.7"),
            ("x-forwarded-for: 2001:DB8::1\r\n", "2001:db8::1"),
            ("X-Forwarded-For: junk\r\n", "192.168.1.1"),
        ):
            self.ask("/v1/query/q/execute", headers=headers)
            self.assertEqual(self.asked()[1].source.ip, address)

    def test_explain(self) -> None:
        """The definition, filled in; ``?connect=`` means nothing to it."""
        status, body = self.ask("/v1/query/q/explain?connect=xx")
        self.assertEqual(status, 200)
        end = b',"Index":0,"LastContact":0,"KnownLeader":true,"ConsistencyLevel":"leader"}'
        self.assertEqual(body, b'{"Query":' + DEFINITION + end)
        self.assertEqual(self.ask("/v1/query/q/explain?limit=x")[0], 500)
