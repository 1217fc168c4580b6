"""/v1/catalog/, /v1/health/ and /v1/status/."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import succeed

from pyconsul.errors import NoLeader
from pyconsul.structs.catalog import (
    CheckServiceNode,
    IndexedCheckServiceNodes,
    IndexedHealthChecks,
    IndexedNodes,
    IndexedNodeServiceList,
    IndexedNodeServices,
    IndexedServiceNodes,
    IndexedServices,
    Node,
    NodeService,
)
from tests.http.fakes import check, meta
from tests.http.test_kv import Base


class CatalogTests(Base):
    def test_shapes(self) -> None:
        for target, method, begin in [
            ("/v1/catalog/nodes", "Catalog.ListNodes", b'[{"ID":"9a4e'),
            ("/v1/catalog/services", "Catalog.ListServices", b'{"web":["v1"]}'),
            ("/v1/catalog/service/web", "Catalog.ServiceNodes", b'[{"ID":""'),
            ("/v1/catalog/connect/web", "Catalog.ServiceNodes", b'[{"ID":""'),
            ("/v1/catalog/node/n1", "Catalog.NodeServices", b'{"Node":{"ID":"9a4e'),
            ("/v1/catalog/node-services/n1", "Catalog.NodeServiceList", b'{"Node":{"ID":"9a4e'),
        ]:
            status, body = self.ask(target)
            self.assertEqual((status, self.asked()[0], body[: len(begin)]), (200, method, begin))
            self.assertIn(b"X-Consul-Effective-Consistency: leader\r\nX-Consul-Index: 7\r\n", self.head)
        self.assertIn(b'"Services":{"web1":{"ID":"web1"', self.ask("/v1/catalog/node/n1")[1])
        self.assertIn(b'"Services":[{"ID":"web1"', self.ask("/v1/catalog/node-services/n1")[1])

    def test_nothing_there(self) -> None:
        """Which endpoint says ``[]``, ``{}`` or ``null``."""
        self.agent.replies.update(
            {
                "Catalog.ListNodes": IndexedNodes(**meta()),
                "Catalog.ListServices": IndexedServices(**meta()),
                "Catalog.ServiceNodes": IndexedServiceNodes(**meta()),
                "Catalog.NodeServices": IndexedNodeServices(**meta()),
                "Catalog.NodeServiceList": IndexedNodeServiceList(**meta()),
            }
        )
        for target, body in [
            ("/v1/catalog/nodes", b"[]"),
            ("/v1/catalog/services", b"{}"),
            ("/v1/catalog/service/web", b"[]"),
            ("/v1/catalog/node/n1", b"null"),
            ("/v1/catalog/node-services/n1", b'{"Node":null,"Services":null}'),
        ]:
            self.assertEqual(self.ask(target), (200, body))

    def test_requests(self) -> None:
        self.ask("/v1/catalog/service/web?tag=a&tag=b&node-meta=k:v&near=_agent&filter=x&stale")
        request = self.asked()[1]
        self.assertEqual(
            (request.service_name, request.service_tags, request.tag_filter), ("web", ["a", "b"], True)
        )
        self.assertEqual((request.node_meta_filters, request.source.node), ({"k": "v"}, ""))
        self.assertEqual((request.filter, request.allow_stale, request.connect), ("x", True, False))
        self.assertIn(b"Effective-Consistency: stale", self.head)
        self.ask("/v1/catalog/connect/web?consistent&near=n2&tag=a")
        self.assertTrue(self.asked()[1].connect)
        self.assertFalse(self.asked()[1].tag_filter)  # Consul minds no tags there
        self.assertEqual(self.asked()[1].source.node, "n2")
        self.assertIn(b"Effective-Consistency: consistent", self.head)
        self.ask("/v1/catalog/nodes?dc=dc1")
        self.assertEqual(self.asked()[1].datacenter, "dc1")
        self.ask("/v1/catalog/node/n%2F1")
        self.assertEqual(self.asked()[1].node, "n/1")

    def test_consistency_of_the_server(self) -> None:
        """What the server says it gave wins over what was asked for."""
        self.agent.replies["Catalog.ListNodes"] = IndexedNodes(**meta(consistency_level="stale"))
        self.ask("/v1/catalog/nodes")
        self.assertIn(b"Effective-Consistency: stale", self.head)

    def test_missing_names(self) -> None:
        for target, message in [
            ("/v1/catalog/service/", b"Missing service name"),
            ("/v1/catalog/connect/", b"Missing service name"),
            ("/v1/catalog/node/", b"Missing node name"),
            ("/v1/catalog/node-services/", b"Missing node name"),
            ("/v1/health/service/", b"Missing service name"),
            ("/v1/health/checks/", b"Missing service name"),
            ("/v1/health/node/", b"Missing node name"),
            ("/v1/health/state/", b"Missing check state"),
        ]:
            self.assertEqual(self.ask(target), (400, message))
            self.assertNotIn(b"X-Consul", self.head)

    def test_namespaces(self) -> None:
        """Nearly all mind them, even the one without a name or that of open source."""
        for path in (
            "catalog/services", "catalog/service/web", "catalog/connect/web", "catalog/node/n1",
            "catalog/node-services/n1", "health/node/n1", "health/checks/web", "health/service/web",
            "health/connect/web", "health/state/any",
        ):  # fmt: skip
            status, text = self.ask(f"/v1/{path}?ns=default")
            self.assertEqual((status, text[:42]), (400, b'Bad request: Invalid query parameter: "ns"'), path)
        self.assertEqual(self.ask("/v1/catalog/nodes?ns=x")[0], 200)
        self.assertEqual(self.ask("/v1/catalog/service/web?ns=")[0], 200)

    def test_failures_show_the_headers_of_a_read(self) -> None:
        """As Consul 1.8.7 does on catalog and health, and only there."""
        self.assertEqual(self.ask("/v1/catalog/nodes?dc=nowhere"), (500, b"No path to datacenter"))
        self.assertIn(
            b"X-Consul-Index: 1\r\nX-Consul-Knownleader: false\r\nX-Consul-Lastcontact: 0\r\n", self.head
        )
        self.assertNotIn(b"Effective", self.head)

    def test_datacenters(self) -> None:
        """Any server knows them, and nobody can wait for others; how they are read has to make sense."""
        for query in ("", "?dc=nowhere", "?index=x&wait=y", "?stale", "?filter=("):
            self.assertEqual(self.ask(f"/v1/catalog/datacenters{query}"), (200, b'["dc1","dc2"]'))
            self.assertNotIn(b"X-C", self.head)
        for hit in (b"MISS", b"HIT"):
            self.ask("/v1/catalog/datacenters?cached")
            self.assertIn(b"X-Cache: %b\r\n" % hit, self.head)
        self.agent.replies["Catalog.ListDatacenters"] = ["dc1"]
        self.ask("/v1/catalog/datacenters?cached&stale")
        self.assertIn(b"X-Cache: MISS", self.head)
        for query, text in (
            ("?stale&consistent", b"Cannot specify ?stale with ?consistent, conflicting semantics."),
            ("?cached&consistent", b"Cannot specify ?cached with ?consistent, conflicting semantics."),
            ("?max_stale=x", b'Invalid max_stale value "x"'),
        ):
            self.assertEqual(self.ask(f"/v1/catalog/datacenters{query}"), (400, text))

    def test_parameters_before_names(self) -> None:
        """What is wrong with a parameter is told before that there is no name."""
        for path in ("catalog/service/", "catalog/node/", "health/node/", "health/service/", "health/state/"):
            self.assertEqual(self.ask(f"/v1/{path}?index=x"), (400, b"Invalid index"))
            self.assertEqual(self.ask(f"/v1/{path}?ns=x")[1][:24], b"Bad request: Invalid que")

    def test_register(self) -> None:
        body: dict[str, Any] = {
            "node": "n", "Address": "192.0.2.9", "SERVICE": {"Service": "web", "Port": 80},
            "Check": {"Name": "c", "Definition": {"Interval": "10s", "Unknown": 1}},
        }  # fmt: skip
        sent = msgspec.json.encode(body)
        self.assertEqual(self.ask("/v1/catalog/register?token=t&dc=dc1", "PUT", sent), (200, b"true"))
        method, request = self.asked()
        self.assertEqual((method, request.node, request.service.port), ("Catalog.Register", "n", 80))
        self.assertEqual((request.token, request.datacenter), ("t", ""))  # only the body's counts
        self.assertEqual(request.check.definition.interval, "10s")

    def test_proxies(self) -> None:
        """Their settings are read like all else in a body."""
        proxy = {
            "destinationServiceName": "web",
            "upstreams": [{"destinationname": "db"}],
            "MeshGateway": None,
        }
        body = msgspec.json.encode({"Node": "n", "Service": {"Service": "p", "Proxy": proxy}})
        self.assertEqual(self.ask("/v1/catalog/register", "PUT", body), (200, b"true"))
        found = self.asked()[1].service.proxy
        self.assertEqual(found.destination_service_name, "web")
        self.assertEqual(found.upstreams[0]["DestinationName"], "db")
        for wrong in ({"Upstreams": 5}, {"Upstreams": [5]}, {"Expose": {"Paths": [{"Path": 5}]}}, {"Foo": 1}):
            body = msgspec.json.encode({"Node": "n", "Service": {"Service": "p", "Proxy": wrong}})
            self.assertEqual(self.ask("/v1/catalog/register", "PUT", body)[0], 400)

    def test_datacenter_of_the_body(self) -> None:
        self.ask("/v1/catalog/deregister?dc=nowhere", "PUT", b'{"Node": "n", "Datacenter": "dc1"}')
        method, request = self.asked()
        self.assertEqual((method, request.datacenter), ("Catalog.Deregister", "dc1"))

    def test_refused_bodies(self) -> None:
        for body in (b"", b"{", b"[]", b'{"Foo": 1}', b'{"service": {"enable_tag_override": true}}'):
            for target in ("/v1/catalog/register", "/v1/catalog/deregister"):
                status, answer = self.ask(target, "PUT", body)
                self.assertEqual((status, answer[:23]), (400, b"Request decode failed: "), body)
        self.assertEqual(self.agent.asked, [])
        self.assertEqual(self.ask("/v1/catalog/register?ns=a", "PUT", b"{}")[0], 400)


class StaleTests(Base):
    """``?max_stale=``."""

    def answer(self, request: Any, last_contact_ms: int) -> IndexedNodes:
        late = last_contact_ms * 1_000_000 if request.allow_stale else 0
        return IndexedNodes(**meta(last_contact=late))

    def test_too_old(self) -> None:
        """An answer that is too old is asked for again, of the leader; also if it comes later."""
        for late in (0, 50, 51):
            for later in (False, True):

                def reply(request: Any, late: int = late, later: bool = later) -> Any:
                    found = self.answer(request, late)
                    return succeed(found) if later else found

                self.agent.replies["Catalog.ListNodes"] = reply
                self.agent.asked.clear()
                self.assertEqual(self.ask("/v1/catalog/nodes?max_stale=50ms"), (200, b"[]"))
                asked = [request.allow_stale for _, request in self.agent.asked]
                self.assertEqual(asked, [True, False] if late > 50 else [True])
                level = b"leader" if late > 50 else b"stale"
                self.assertIn(b"\r\nX-Consul-Effective-Consistency: %b\r\n" % level, self.head)

    def test_any_age(self) -> None:
        """Without a limit it may be as old as it will."""
        self.agent.replies["Catalog.ListNodes"] = lambda request: self.answer(request, 99_999)
        for target in ("/v1/catalog/nodes?stale", "/v1/catalog/nodes?max_stale=0s"):
            self.agent.asked.clear()
            self.ask(target)
            self.assertEqual(len(self.agent.asked), 1)
            self.assertIn(b"\r\nX-Consul-Lastcontact: 99999\r\n", self.head)


class CachedTests(Base):
    """``?cached``."""

    def test_miss_and_hit(self) -> None:
        for target in ("/v1/health/service/web?cached", "/v1/catalog/services?cached"):
            self.ask(target)
            self.assertIn(b"\r\nX-Cache: MISS\r\n", self.head)
            asked = len(self.agent.asked)
            for headers in ("", "Cache-Control: max-age=60\r\n", "Accept-Encoding: gzip\r\n"):
                self.ask(target, headers=headers)
                self.assertIn(b"\r\nX-Cache: HIT\r\n", self.head)
                self.assertIn(b"\r\nAge: 0\r\n", self.head)
            self.assertEqual(len(self.agent.asked), asked)
            self.ask(target, headers="Cache-Control: max-age=0\r\n")
            self.assertIn(b"\r\nX-Cache: MISS\r\n", self.head)
            self.agent.wake()
            self.ask(target)
            self.assertIn(b"\r\nX-Cache: MISS\r\n", self.head)

    def test_not_everywhere(self) -> None:
        """Consul's cache knows no lists of nodes."""
        for _ in range(2):
            self.ask("/v1/catalog/nodes?cached")
            self.assertNotIn(b"X-Cache", self.head)

    def test_stale(self) -> None:
        """A stale answer of the leader is as fresh as any, and is kept."""
        for hit in (b"MISS", b"HIT"):
            self.ask("/v1/health/service/web?cached&stale")
            self.assertIn(b"\r\nX-Cache: %b\r\n" % hit, self.head)

    def test_nobody(self) -> None:
        """An empty list is only kept for who says that it may be old: its index may move unseen."""
        self.agent.replies["Health.ServiceNodes"] = IndexedCheckServiceNodes(nodes=[], **meta())
        for target, asked in (("none", 5), ("none?cached", 1)):
            self.agent.asked.clear()
            for _ in range(5):
                self.assertEqual(self.ask(f"/v1/health/service/{target}"), (200, b"[]"))
            self.assertEqual(len(self.agent.asked), asked, target)

    def test_alike(self) -> None:
        """What asks for the same is found, however it is asked for, until that changes."""
        for target, hit in (
            ("web?cached", b"MISS"),
            ("web?cached&stale", b"HIT"),
            ("web?pretty&cached=1", b"HIT"),
            ("web?cached&passing", b"HIT"),
            ("web?cached&tag=a&tag=b", b"MISS"),
            ("web?tag=a&cached&tag=b&stale", b"HIT"),
            ("web?cached&tag=a", b"MISS"),
            ("other?cached", b"MISS"),
        ):
            self.ask(f"/v1/health/service/{target}")
            self.assertIn(b"\r\nX-Cache: %b\r\n" % hit, self.head, target)
        self.agent.wake()
        self.ask("/v1/health/service/web?cached&stale")
        self.assertIn(b"\r\nX-Cache: MISS\r\n", self.head)

    def test_endpoints_without(self) -> None:
        self.ask("/v1/kv/a?cached")
        self.assertNotIn(b"X-Cache", self.head)

    def test_conflict(self) -> None:
        status, body = self.ask("/v1/health/service/web?cached&consistent")
        self.assertEqual(status, 400)
        self.assertEqual(body, b"Cannot specify ?cached with ?consistent, conflicting semantics.")


class HealthTests(Base):
    def test_shapes(self) -> None:
        for target, method, begin in [
            ("/v1/health/node/n1", "Health.NodeChecks", b'[{"Node":"n1"'),
            ("/v1/health/checks/web", "Health.ServiceChecks", b'[{"Node":"n1"'),
            ("/v1/health/state/any", "Health.ChecksInState", b'[{"Node":"n1"'),
            ("/v1/health/service/web", "Health.ServiceNodes", b'[{"Node":{'),
            ("/v1/health/connect/web", "Health.ServiceNodes", b'[{"Node":{'),
        ]:
            status, body = self.ask(target)
            self.assertEqual((status, self.asked()[0], body[: len(begin)]), (200, method, begin))
        self.assertTrue(self.asked()[1].connect)

    def test_nothing_there(self) -> None:
        for method in ("Health.NodeChecks", "Health.ServiceChecks", "Health.ChecksInState"):
            self.agent.replies[method] = IndexedHealthChecks(**meta())
        self.agent.replies["Health.ServiceNodes"] = IndexedCheckServiceNodes(**meta())
        for target in ("node/x", "checks/x", "state/x", "service/x", "service/x?passing", "connect/x"):
            self.assertEqual(self.ask(f"/v1/health/{target}"), (200, b"[]"))

    def test_passing(self) -> None:
        """Instances with any check that does not pass are left out; the value decides."""
        for parameters, count in [
            ("", 2), ("?passing", 1), ("?passing=1", 1), ("?passing=true", 1), ("?passing=0", 2),
            ("?passing=false", 2),
        ]:  # fmt: skip
            status, body = self.ask("/v1/health/service/web" + parameters)
            self.assertEqual((status, len(msgspec.json.decode(body))), (200, count), parameters)
        self.assertEqual(
            self.ask("/v1/health/service/web?passing=junk"), (400, b"Invalid value for ?passing")
        )

    def test_order_of_those_that_pass(self) -> None:
        """The last takes the place of one that is left out, but not when the nearest come first."""

        def row(name: str, status: str) -> CheckServiceNode:
            return CheckServiceNode(Node(node=name, address=""), NodeService(id=name), [check(status)])

        states = ("critical", "passing", "warning", "passing", "passing", "critical")
        rows = [row(str(place), status) for place, status in enumerate(states)]
        self.agent.replies["Health.ServiceNodes"] = IndexedCheckServiceNodes(nodes=rows, **meta())
        for parameters, expected in (("", "413"), ("&near=n", "134")):
            body = self.ask("/v1/health/service/web?passing" + parameters)[1]
            found = [row["Service"]["ID"] for row in msgspec.json.decode(body)]
            self.assertEqual("".join(found), expected)
        self.assertEqual(len(rows), len(states))

    def test_state(self) -> None:
        self.ask("/v1/health/state/critical?node-meta=a:b&near=n")
        request = self.asked()[1]
        self.assertEqual((request.state, request.node_meta_filters), ("critical", {"a": "b"}))
        self.assertEqual(request.source.node, "n")


class StatusTests(Base):
    def test_answers(self) -> None:
        self.assertEqual(self.ask("/v1/status/leader"), (200, b'"192.0.2.1:8300"'))
        self.assertEqual(self.ask("/v1/status/peers?pretty"), (200, b'[\n    "192.0.2.1:8300"\n]\n'))
        self.assertNotIn(b"X-Consul", self.head)
        self.agent.replies["Status.Leader"] = ""
        self.assertEqual(self.ask("/v1/status/leader"), (200, b'""'))

    def test_failure(self) -> None:
        self.agent.replies["Status.Peers"] = NoLeader()
        self.assertEqual(self.ask("/v1/status/peers"), (500, b"No cluster leader"))
