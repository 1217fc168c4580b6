"""PreparedQuery.*: definitions, and what they find. The texts are those of Consul 1.8.7."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.endpoints.base import Registry
from pyconsul.endpoints.prepared_query import PreparedQueries
from pyconsul.errors import NotFound, Refused
from pyconsul.state.coordinate import CoordinateBatch
from pyconsul.state.uuids import session_id_fault
from pyconsul.structs.coordinate import Coordinate, NodeCoordinate
from pyconsul.structs.prepared import (
    PreparedQuery,
    PreparedQueryExecuteRemoteRequest,
    PreparedQueryExecuteRequest,
    PreparedQueryRequest,
    PreparedQuerySpecificRequest,
    QueryDatacenterOptions,
    QueryDNSOptions,
    QueryTemplateOptions,
    ServiceQuery,
)
from pyconsul.structs.query import DCSpecificRequest, QuerySource
from tests.state.replica import Replica, ids

UNKNOWN = "11111111-2222-3333-4444-555555555555"
STATES = {"a": "passing", "b": "warning", "c": "critical"}


class Base(SynchronousTestCase):
    def setUp(self) -> None:
        self.replica = Replica()
        self.queries = PreparedQueries(self.replica.store, "dc1", Random(1))
        for number, (node, status) in enumerate(STATES.items(), 1):
            self.replica.register(
                node,
                f"192.0.2.{number}",
                node_meta={"rack": f"r{number}"},
                service={
                    "id": f"w{number}", "service": "Web", "tags": [f"t{number}", "Common"],
                    "meta": {"v": str(number)}, "port": number,
                },
                checks=[{"check_id": f"c{number}", "service_id": f"w{number}", "status": status}],
            )  # fmt: skip

    def apply(self, op: str = "create", **fields: Any) -> Any:
        service = fields.pop("service", "web")
        wanted = {key: fields.pop(key) for key in list(fields) if key in ServiceQuery.__struct_fields__}
        query = PreparedQuery(**fields, service=ServiceQuery(service=service, **wanted))
        command = self.queries.apply(PreparedQueryRequest(op=op, query=query))
        return self.replica.apply(command)

    def refused(self, **fields: Any) -> str:
        return str(self.assertRaises(Refused, self.apply, **fields))

    def execute(self, name: str = "q", **options: Any) -> Any:
        request = PreparedQueryExecuteRequest(query_id_or_name=name, **options)
        return self.queries.execute(request).reply

    def found(self, **wanted: Any) -> str:
        """The nodes, in order, that a query with ``wanted`` finds."""
        near, options = wanted.pop("asked", ""), wanted.pop("options", {})
        query = self.apply(name="q", **wanted)
        reply = self.execute(source=QuerySource(node=near), **options)
        self.apply("delete", id=query)
        return "".join(sorted(row.node.node for row in reply.nodes))


class DefinitionTests(Base):
    def test_declarations(self) -> None:
        registry = Registry([self.queries])
        self.assertEqual(
            {method.name: method.kind for method in registry.methods()},
            {
                "PreparedQuery.Apply": "write", "PreparedQuery.Get": "read", "PreparedQuery.List": "read",
                "PreparedQuery.Execute": "read", "PreparedQuery.ExecuteRemote": "read",
                "PreparedQuery.Explain": "read",
            },
        )  # fmt: skip

    def test_life(self) -> None:
        """Created with an id of the server's, read, changed and deleted under it in any case."""
        query_id = self.apply(name="q", dns=QueryDNSOptions(ttl="5s"))
        self.assertEqual(session_id_fault(query_id), "")
        request = PreparedQuerySpecificRequest(query_id=query_id.upper())
        read = self.queries.get(request)
        self.assertEqual((read.index, read.watch), (4, (("query", query_id),)))
        self.assertEqual((read.reply.queries[0].name, read.reply.queries[0].dns.ttl), ("q", "5s"))
        self.assertEqual(self.apply("update", id=query_id.upper(), name="r"), query_id)
        read = self.queries.list_all(DCSpecificRequest())
        self.assertEqual((read.index, read.watch), (5, (("queries",),)))
        self.assertEqual([query.name for query in read.reply.queries], ["r"])
        self.apply("delete", id=query_id)
        self.assertEqual(str(self.assertRaises(NotFound, self.queries.get, request)), "Query not found")
        again = PreparedQueries(self.replica.store, "dc1", Random(1))
        self.queries = again
        self.assertEqual(self.apply(name="q"), query_id)
        self.queries = PreparedQueries(self.replica.store, "dc1", Random(1))
        self.assertNotEqual(self.apply(name="q2"), query_id)

    def test_refusals(self) -> None:
        """Nothing gets into the log."""
        index = self.replica.index
        template = QueryTemplateOptions(type="name_prefix_match")
        pair = "Invalid prepared query: Couldn't load metadata pair "
        for fields, text in (
            ({"name": "q", "op": "fly"}, "Unknown prepared query operation: fly"),
            ({"name": "q", "id": UNKNOWN}, "ID must be empty when creating a new prepared query"),
            ({}, "Invalid prepared query: Must be bound to a session"),
            (
                {"name": "q", "token": "<hidden>"},
                "Invalid prepared query: Bad Token '<hidden>', it looks like a query definition with a "
                "redacted token was submitted",
            ),
            (
                {"template": template, "service": ""},
                "Invalid prepared query: Must provide a Service name to query",
            ),
            (
                {"name": "q", "failover": QueryDatacenterOptions(nearest_n=-1)},
                "Invalid prepared query: Bad NearestN '-1', must be >= 0",
            ),
            ({"name": "q", "node_meta": {"": "x"}}, pair + "('', 'x'): Key cannot be blank"),
            (
                {"name": "q", "node_meta": {"a b": "x"}},
                pair + "('a b', 'x'): Key contains invalid characters",
            ),
            (
                {"name": "q", "node_meta": {"k" * 129: "x"}},
                pair + f"('{'k' * 129}', 'x'): Key is too long (limit: 128 characters)",
            ),
            (
                {"name": "q", "node_meta": {"k": "v" * 513}},
                pair + f"('k', '{'v' * 513}'): Value is too long (limit: 512 characters)",
            ),
            (
                {"name": "q", "node_meta": {str(number): "" for number in range(65)}},
                "Invalid prepared query: Node metadata cannot contain more than 64 key/value pairs",
            ),
            (
                {"name": "q", "dns": QueryDNSOptions(ttl="x")},
                "Invalid prepared query: Bad DNS TTL 'x': time: invalid duration \"x\"",
            ),
            (
                {"name": "q", "dns": QueryDNSOptions(ttl="-5s")},
                "Invalid prepared query: DNS TTL '-5000000000', must be >=0",
            ),
            (
                {"op": "update", "id": "x"},
                "Prepared Query lookup failed: failed prepared query lookup: index error: UUID must be 36 "
                "characters",
            ),
            (
                {"op": "delete", "id": UNKNOWN},
                f"Cannot modify non-existent prepared query: '{UNKNOWN}'",
            ),
        ):
            self.assertEqual(self.refused(**fields), text)
        self.assertEqual(self.replica.index, index)
        request = PreparedQuerySpecificRequest(query_id="x")
        error = self.assertRaises(Refused, self.queries.get, request)
        self.assertEqual(str(error), "failed prepared query lookup: index error: UUID must be 36 characters")
        self.assertEqual(self.found(node_meta={"consul-x": "y"}), "")

    def test_explain(self) -> None:
        """The query as it would be executed, filled in for the agent that was asked."""
        template = QueryTemplateOptions(type="name_prefix_match")
        self.apply(name="geo-", template=template, service="${name.suffix}${agent.segment}")
        request = PreparedQueryExecuteRequest(
            query_id_or_name="geo-db", agent=QuerySource(node="a", segment="s")
        )
        read = self.queries.explain(request)
        self.assertEqual((read.reply.query.service.service, read.reply.query.name), ("dbs", "geo-"))
        self.assertEqual(read.watch, ())
        request.query_id_or_name = "none"
        self.assertRaises(NotFound, self.queries.explain, request)


class FilterTests(Base):
    def test_health(self) -> None:
        """Critical instances are out; warnings too, if asked; ignored checks do not count."""
        self.assertEqual(self.found(), "ab")
        self.assertEqual(self.found(service="WEB"), "ab")
        self.assertEqual(self.found(only_passing=True), "a")
        self.assertEqual(self.found(ignore_check_ids=["c3"]), "abc")
        self.assertEqual(self.found(ignore_check_ids=["C3"]), "ab")
        self.assertEqual(self.found(ignore_check_ids=["c2"], only_passing=True), "ab")
        self.assertEqual(self.found(service="none"), "")

    def test_tags(self) -> None:
        """All must be there, but those behind a ``!``, without regard to case."""
        for tags, nodes in (
            (["common"], "ab"), (["COMMON", "t1"], "a"), (["!T1"], "b"), (["!t1", "!t2"], ""),
            (["t1", "t2"], ""), (["!"], "ab"), ([""], ""), ([], "ab"), (["!nope", "t2"], "b"),
        ):  # fmt: skip
            self.assertEqual(self.found(tags=tags), nodes, tags)
        self.replica.register("d", service={"id": "w", "service": "web", "tags": None})
        self.assertEqual(self.found(tags=["!t1"]), "bd")

    def test_meta(self) -> None:
        """Of the node and of the service, all pairs."""
        self.assertEqual(self.found(node_meta={"rack": "r1"}), "a")
        self.assertEqual(self.found(service_meta={"v": "2"}), "b")
        self.assertEqual(self.found(service_meta={"v": "2"}, node_meta={"rack": "r1"}), "")
        self.replica.register("d", service={"id": "w", "service": "web", "meta": None})
        self.assertEqual(self.found(service_meta={"v": "2"}), "b")

    def test_connect(self) -> None:
        """Mesh-capable instances, if the query or whoever executes it wants them."""
        self.replica.register(
            "d", service={"id": "n", "service": "web", "connect": {"Native": True}, "port": 9}
        )
        self.assertEqual(self.found(), "abd")
        self.assertEqual(self.found(connect=True), "d")
        self.assertEqual(self.found(options={"connect": True}), "d")

    def test_reply(self) -> None:
        """What it tells besides; with the limit that was asked for."""
        query_id = self.apply(
            name="q", dns=QueryDNSOptions(ttl="7s"), failover=QueryDatacenterOptions(nearest_n=2)
        )
        reply = self.execute(query_id)
        self.assertEqual(
            (reply.service, reply.datacenter, reply.failovers, reply.dns.ttl), ("web", "dc1", 0, "7s")
        )
        for limit, count in ((0, 2), (-1, 2), (1, 1), (9, 2)):
            self.assertEqual(len(self.execute(limit=limit).nodes), count)
        self.assertRaises(NotFound, self.execute, "none")

    def test_remote(self) -> None:
        """A query of another datacenter, which is sent whole."""
        query = PreparedQuery(service=ServiceQuery(service="web", only_passing=True))
        request = PreparedQueryExecuteRemoteRequest(query=query, limit=5)
        reply = self.queries.execute_remote(request).reply
        self.assertEqual(([row.node.node for row in reply.nodes], reply.datacenter), (["a"], "dc1"))


class OrderTests(Base):
    def setUp(self) -> None:
        super().setUp()
        self.apply(name="q", ignore_check_ids=["c2", "c3"])
        self.apply(name="agent", near="_agent", ignore_check_ids=["c2", "c3"])
        self.apply(name="ip", near="_ip", ignore_check_ids=["c2", "c3"])

    def order(self, name: str, asked: str = "", ip: str = "", agent: str = "b") -> str:
        reply = self.execute(name, source=QuerySource(node=asked, ip=ip), agent=QuerySource(node=agent))
        return "".join(ids([row.node for row in reply.nodes], "node"))

    def place(self, **at: float) -> None:
        rows = [
            NodeCoordinate(node=node, coord=Coordinate(vec=(where, *(0.0,) * 7)))
            for node, where in at.items()
        ]
        self.replica.store.coordinates.apply(self.replica.index, CoordinateBatch(rows))

    def test_shuffled(self) -> None:
        """Another order each time, and the store's lists stay as they are."""
        self.assertEqual(len({self.order("q") for _ in range(100)}), 6)
        group = self.replica.store.catalog.group("web", False)
        assert group is not None
        self.assertEqual([row.node.node for row in group.health()], ["a", "b", "c"])

    def test_by_distance(self) -> None:
        """From the agent, a node, or the client's; what the request says comes first."""
        self.place(a=0.0, b=1.0, c=3.0)
        for _ in range(10):
            self.assertEqual(self.order("agent"), "bac")
            self.assertEqual(self.order("agent", "c"), "cba")
            self.assertEqual(self.order("q", "_agent"), "bac")
            self.assertEqual(self.order("ip", ip="192.0.2.3"), "cba")
            self.assertEqual(self.order("q", "_ip", ip="192.0.2.1"), "abc")
        self.assertEqual(len({self.order("ip", ip="192.0.2.99") for _ in range(100)}), 6)
        self.assertEqual(len({self.order("ip") for _ in range(100)}), 6)

    def test_own_node_first(self) -> None:
        """Also while nobody knows where anything is."""
        self.assertEqual({self.order("agent")[0] for _ in range(20)}, {"b"})
        self.assertEqual({self.order("q", "C")[0] for _ in range(20)}, {"c"})
        self.assertEqual(len({self.order("agent", agent="x") for _ in range(100)}), 6)
