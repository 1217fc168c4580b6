"""PreparedQuery.*: definitions, and what they find. The texts are those of Consul 1.8.7."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.endpoints.base import Read, Registry
from pyconsul.endpoints.prepared_query import PreparedQueries
from pyconsul.errors import NotFound, Refused, Unreachable
from pyconsul.state.coordinate import CoordinateBatch
from pyconsul.state.uuids import session_id_fault
from pyconsul.structs.catalog import CheckServiceNode, Node, NodeService
from pyconsul.structs.coordinate import Coordinate, NodeCoordinate
from pyconsul.structs.prepared import (
    PreparedQuery,
    PreparedQueryExecuteRemoteRequest,
    PreparedQueryExecuteRequest,
    PreparedQueryExecuteResponse,
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
        self.queries = self.make()
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

    def make(self) -> PreparedQueries:
        return PreparedQueries(self.replica.store, "dc1", Random(1), lambda: ["dc1"], self.elsewhere)

    async def elsewhere(self, request: PreparedQueryExecuteRemoteRequest) -> PreparedQueryExecuteResponse:
        raise AssertionError("another datacenter is asked")

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
        read = self.queries.execute(request)
        assert isinstance(read, Read)
        return read.reply

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
        again = self.make()
        self.queries = again
        self.assertEqual(self.apply(name="q"), query_id)
        self.queries = self.make()
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


class FailoverTests(Base):
    """``dc2`` and ``dc3`` have ``far``, ``dc3`` also ``farther``; ``dc4`` cannot be reached."""

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[PreparedQueryExecuteRemoteRequest] = []

    def make(self) -> PreparedQueries:
        known = ["dc1", "dc2", "dc4", "dc3"]
        return PreparedQueries(self.replica.store, "dc1", Random(1), lambda: known, self.elsewhere)

    async def elsewhere(self, request: PreparedQueryExecuteRemoteRequest) -> PreparedQueryExecuteResponse:
        self.asked.append(request)
        if request.datacenter == "dc4":
            raise Unreachable("EOF")
        service = request.query.service.service
        here = service == "far" or (service, request.datacenter) == ("farther", "dc3")
        row = CheckServiceNode(
            Node(node="x", address="192.0.2.9"), NodeService(id=service, service=service), []
        )
        return PreparedQueryExecuteResponse(
            service=service, datacenter=request.datacenter, nodes=[row] if here else []
        )

    def outcome(self, service: str, nearest: int = 0, *named: str) -> tuple[str, int, int]:
        """The datacenter of the answer, how many were asked, how many instances there are."""
        failover = QueryDatacenterOptions(nearest_n=nearest, datacenters=list(named))
        query_id = self.apply(name="q", service=service, failover=failover)
        request = PreparedQueryExecuteRequest(
            query_id_or_name="q", limit=3, connect=service == "mesh", token="t"
        )
        read: Any = self.queries.execute(request)
        if isinstance(read, Deferred):
            read = self.successResultOf(read)
        self.apply("delete", id=query_id)
        self.assertTrue(read.at_once)
        return read.reply.datacenter, read.reply.failovers, len(read.reply.nodes)

    def test_where(self) -> None:
        """The nearest come first, then those that are named; unknown ones and this one do not count."""
        for service, nearest, named, wanted in (
            ("web", 3, ["dc2"], ("dc1", 0, 2)),
            ("far", 0, [], ("dc1", 0, 0)),
            ("far", 1, [], ("dc2", 1, 1)),
            ("farther", 1, [], ("dc2", 1, 0)),
            ("farther", 3, [], ("dc3", 3, 1)),
            ("farther", 99, [], ("dc3", 3, 1)),
            ("far", 0, ["dc3", "dc2"], ("dc3", 1, 1)),
            ("far", 0, ["nowhere", "dc1", "dc3"], ("dc3", 1, 1)),
            ("far", 0, ["nowhere", "dc1"], ("dc1", 0, 0)),
            ("farther", 1, ["dc2", "dc3", "dc3"], ("dc3", 2, 1)),
            ("none", 3, ["dc2", "dc3"], ("dc3", 3, 0)),
        ):
            self.assertEqual(self.outcome(service, nearest, *named), wanted, (service, nearest, named))

    def test_out_of_reach(self) -> None:
        """It counts as asked, and the next one is tried; the last that answered is named."""
        self.assertEqual(self.outcome("far", 0, "dc4", "dc3"), ("dc3", 2, 1))
        self.assertEqual(self.outcome("none", 0, "dc2", "dc4"), ("dc2", 2, 0))
        self.assertEqual(self.outcome("none", 0, "dc4"), ("dc1", 1, 0))

    def test_what_is_sent(self) -> None:
        """The whole query, and what goes for the request."""
        self.outcome("mesh", 1)
        (request,) = self.asked
        self.assertEqual(request.query.service.service, "mesh")
        self.assertEqual((request.datacenter, request.limit, request.token), ("dc2", 3, "t"))
        self.assertTrue(request.connect)

    def test_unhealthy_here(self) -> None:
        """Instances that are left out do not count as found."""
        for node in "ab":
            self.replica.register(node, checks=[{"check_id": "node", "status": "critical"}])
        self.assertEqual(self.outcome("web", 1), ("dc2", 1, 0))


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
