"""Catalog.*: validation, shapes and what each read watches. Shapes are those of Consul 1.8.7."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.endpoints.base import Registry
from pyconsul.endpoints.catalog import Catalog, DatacentersRequest
from pyconsul.errors import BadRequest, PyconsulError, Refused
from pyconsul.structs.catalog import (
    CheckDefinition,
    DeregisterRequest,
    HealthCheck,
    NodeService,
    NodeSpecificRequest,
    Proxy,
    RegisterRequest,
    ServiceSpecificRequest,
)
from pyconsul.structs.query import DCSpecificRequest
from tests.state.replica import Replica, ids

REGISTER = b"""{"Node":"db1","Address":"192.0.2.10",
"TaggedAddresses":{"lan":"192.0.2.10","wan":"198.51.100.10"},
"NodeMeta":{"rack":"r1","os":"linux"},"Service":{"ID":"pg1","Service":"postgres","Tags":["primary","v9"],
"Address":"192.0.2.110","Port":5432,"Meta":{"shard":"1"},"Weights":{"Passing":5,"Warning":2}},
"Check":{"Node":"db1","CheckID":"service:pg1","Name":"pg alive","Status":"passing","ServiceID":"pg1"}}"""


def shown(row: Any) -> Any:
    """A reply as JSON shows it."""
    return msgspec.json.decode(msgspec.json.encode(row))


class CatalogTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.replica = Replica()
        self.catalog = Catalog(self.replica.store, "dc1")

    def put(self, body: bytes) -> Any:
        return self.replica.apply(self.catalog.register(msgspec.json.decode(body, type=RegisterRequest)))

    def refused(self, **fields: Any) -> str:
        return str(self.assertRaises(PyconsulError, self.catalog.register, RegisterRequest(**fields)))


class GoneTests(CatalogTestCase):
    def test_index_of_a_node_that_went(self) -> None:
        """It falls to 1, but whoever waits for a change of that node is told."""
        self.put(b'{"Node":"first","Address":"192.0.2.1"}')
        self.put(REGISTER)
        before = self.catalog.node_services(NodeSpecificRequest(node="db1")).index
        self.replica.apply(self.catalog.deregister(DeregisterRequest(node="db1")))
        for read in (self.catalog.node_services, self.catalog.node_service_list):
            self.assertEqual(read(NodeSpecificRequest(node="DB1")).index, 1)
            self.assertEqual(read(NodeSpecificRequest(node="db1", min_query_index=1)).index, 1)
            self.assertGreater(read(NodeSpecificRequest(node="db1", min_query_index=before)).index, before)


class ByAddressTests(CatalogTestCase):
    def test_all_services_at_an_address(self) -> None:
        """Without a name, an address finds every instance there; such an answer cannot be watched."""
        self.put(REGISTER)
        for address, expected in (("192.0.2.110", ["pg1"]), ("192.0.2.10", [])):
            read = self.catalog.service_nodes(ServiceSpecificRequest(service_address=address))
            self.assertEqual([row.service_id for row in read.reply.service_nodes], expected)
            self.assertEqual((read.index, read.watch), (1, ()))
        error = self.assertRaises(Refused, self.catalog.service_nodes, ServiceSpecificRequest())
        self.assertEqual(str(error), "Must provide service name")


class ShapeTests(CatalogTestCase):
    """The answers of the reference to the same registration."""

    def test_node(self) -> None:
        """Catalog.NodeServices and NodeServiceList."""
        self.put(REGISTER)
        node = {
            "Address": "192.0.2.10", "CreateIndex": 1, "Datacenter": "dc1", "ID": "",
            "Meta": {"os": "linux", "rack": "r1"}, "ModifyIndex": 1, "Node": "db1",
            "TaggedAddresses": {"lan": "192.0.2.10", "wan": "198.51.100.10"},
        }  # fmt: skip
        service = {
            "Address": "192.0.2.110", "Connect": {}, "CreateIndex": 1,
            "EnableTagOverride": False, "ID": "pg1", "Meta": {"shard": "1"}, "ModifyIndex": 1, "Port": 5432,
            "Proxy": {"Expose": {}, "MeshGateway": {}}, "Service": "postgres", "Tags": ["primary", "v9"],
            "Weights": {"Passing": 5, "Warning": 2},
        }  # fmt: skip
        found = self.catalog.node_services(NodeSpecificRequest(node="DB1"))
        self.assertEqual(shown(found.reply.node_services), {"Node": node, "Services": {"pg1": service}})
        self.assertEqual((found.index, found.watch), (1, (("node", "db1"),)))
        listed = self.catalog.node_service_list(NodeSpecificRequest(node="db1"))
        self.assertEqual(shown(listed.reply.node_services), {"Node": node, "Services": [service]})
        nodes = self.catalog.list_nodes(DCSpecificRequest())
        self.assertEqual((shown(nodes.reply.nodes), nodes.index), ([node], 1))

    def test_service(self) -> None:
        """Catalog.ServiceNodes and ListServices; no metadata is ``{}`` here and ``null`` above."""
        self.put(REGISTER)
        row = {
            "Address": "192.0.2.10", "CreateIndex": 1, "Datacenter": "dc1", "ID": "", "ModifyIndex": 1,
            "Node": "db1", "NodeMeta": {"os": "linux", "rack": "r1"}, "ServiceAddress": "192.0.2.110",
            "ServiceConnect": {}, "ServiceEnableTagOverride": False, "ServiceID": "pg1", "ServiceKind": "",
            "ServiceMeta": {"shard": "1"}, "ServiceName": "postgres", "ServicePort": 5432,
            "ServiceProxy": {"Expose": {}, "MeshGateway": {}}, "ServiceTags": ["primary", "v9"],
            "ServiceWeights": {"Passing": 5, "Warning": 2},
            "TaggedAddresses": {"lan": "192.0.2.10", "wan": "198.51.100.10"},
        }  # fmt: skip
        found = self.catalog.service_nodes(ServiceSpecificRequest(service_name="Postgres"))
        self.assertEqual(shown(found.reply.service_nodes), [row])
        self.assertEqual((found.index, found.watch), (1, (("service", "postgres"),)))
        services = self.catalog.list_services(DCSpecificRequest())
        self.assertEqual(services.reply.services, {"postgres": ["primary", "v9"]})
        self.assertEqual(services.watch, (("services",),))
        self.put(
            b'{"Node":"x","Address":"1","Service":{"Service":"m","TaggedAddresses":{"lan":{"Address":"y","Port":5}}}}'
        )
        bare = shown(
            self.catalog.service_nodes(ServiceSpecificRequest(service_name="m")).reply.service_nodes
        )[0]
        self.assertEqual(
            (bare["ServiceMeta"], bare["NodeMeta"], bare["TaggedAddresses"], bare["ServiceTaggedAddresses"]),
            ({}, None, None, {"lan": {"Address": "y", "Port": 5}}),
        )
        in_node = self.catalog.node_services(NodeSpecificRequest(node="x")).reply.node_services
        self.assertIsNone(shown(in_node)["Services"]["m"]["Meta"])

    def test_unknown(self) -> None:
        """Unknown names: nothing, a null, or two nulls; a node without services: one."""
        node = NodeSpecificRequest(node="none")
        self.assertIsNone(self.catalog.node_services(node).reply.node_services)
        listed = self.catalog.node_service_list(node)
        self.assertEqual(shown(listed.reply.node_services), {"Node": None, "Services": None})
        self.assertEqual((listed.index, listed.watch), (1, (("node", "none"),)))
        found = self.catalog.service_nodes(ServiceSpecificRequest(service_name="None"))
        self.assertEqual(
            (found.reply.service_nodes, found.index, found.watch), ([], 0, (("service", "none"),))
        )
        self.put(b'{"Node":"empty","Address":"1"}')
        empty = self.catalog.node_service_list(NodeSpecificRequest(node="empty")).reply.node_services
        self.assertIsNone(shown(empty)["Services"])
        bare = self.catalog.node_services(NodeSpecificRequest(node="empty")).reply.node_services
        self.assertEqual(shown(bare)["Services"], {})


class WriteTests(CatalogTestCase):
    def test_declarations(self) -> None:
        """The names on the wire and their kinds."""
        registry = Registry([self.catalog])
        names = ("Register", "Deregister", "ListDatacenters", "ListNodes", "ListServices", "ServiceNodes",
                 "NodeServices", "NodeServiceList")  # fmt: skip
        kinds = [getattr(registry.get(f"Catalog.{name}"), "kind", None) for name in names]
        self.assertEqual(kinds, ["write", "write", "node"] + 5 * ["read"])

    def test_refused(self) -> None:
        """The texts of Consul 1.8.7."""
        u = "40e4a748-2192-161a-0510-9bf59fe950b1"
        self.assertEqual(self.refused(), "Must provide node")
        self.assertEqual(self.refused(node="x"), "Must provide address if SkipNodeUpdate is not set")
        for bad, text in (
            ("nope", "uuid string is wrong length"),
            ("g" + u[1:], "encoding/hex: invalid byte: U+0067 'g'"),
            (u[:8] + "x" + u[9:], "uuid is improperly formatted"),
        ):
            self.assertEqual(self.refused(node="x", address="1", id=bad), f"Bad node ID: {text}")
        self.assertEqual(
            self.refused(node="x", address="1", service=NodeService(id="i")),
            "Must provide service name with ID",
        )
        self.assertEqual(
            self.refused(node="x", address="1", service=NodeService(port=3)),
            "failed inserting service: failed inserting service: object missing primary index",
        )
        self.assertEqual(
            self.refused(node="y", address="1", check=HealthCheck(name="c", node="Y")),
            'check node "Y" does not match node "y"',
        )
        self.assertEqual(
            self.refused(node="y", address="1", checks=[HealthCheck(name="c", node="other")]),
            'check node "other" does not match node "y"',
        )
        check = HealthCheck(name="c", definition=CheckDefinition(interval="soon"))
        error = self.assertRaises(
            BadRequest, self.catalog.register, RegisterRequest(node="y", address="1", check=check)
        )
        self.assertEqual(str(error), 'Request decode failed: time: invalid duration "soon"')

    def test_refused_addresses(self) -> None:
        """An address that is all addresses at once, as Consul knows them."""
        for address in ("0.0.0.0", "::", "[::]"):
            service = NodeService(service="s", address=address)
            self.assertEqual(
                self.refused(node="x", address="1", service=service), "Invalid service address", address
            )
        service = NodeService(service="s", address="0.0.0.0:80")
        self.catalog.register(RegisterRequest(node="x", address="0.0.0.0", service=service))

    def test_refused_metadata(self) -> None:
        """That of services has rules, that of nodes has none here."""
        for meta, text in (
            ({"a b": "c"}, "Couldn't load metadata pair ('a b', 'c'): Key contains invalid characters"),
            ({"": "c"}, "Couldn't load metadata pair ('', 'c'): Key cannot be blank"),
            (dict.fromkeys(map(str, range(65)), ""),
             "Node metadata cannot contain more than 64 key/value pairs"),
        ):  # fmt: skip
            self.assertEqual(
                self.refused(node="x", address="1", service=NodeService(service="s", meta=meta)),
                f"failed inserting service: Invalid Service Meta for node x and serviceID s: {text}",
            )
            self.catalog.register(RegisterRequest(node="x", address="1", node_meta=meta))

    def test_refused_proxies(self) -> None:
        """All faults of a proxy at once."""
        proxy = NodeService(service="p", kind="connect-proxy")
        self.assertEqual(
            self.refused(node="x", address="1", service=proxy),
            "2 errors occurred:\n"
            "\t* Proxy.DestinationServiceName must be non-empty for Connect proxy services\n"
            "\t* Port must be set for a Connect proxy\n\n",
        )
        native = NodeService(
            service="p",
            kind="connect-proxy",
            port=1,
            proxy=Proxy(destination_service_name="web"),
            connect={"Native": True},
        )
        self.assertEqual(
            self.refused(node="x", address="1", service=native),
            "1 error occurred:\n\t* A Proxy cannot also be Connect Native, only typical services\n\n",
        )

    def test_accepted(self) -> None:
        """A node without address when it is not to be updated; a check that names its node; a proxy."""
        self.put(b'{"Node":"a","SkipNodeUpdate":true,"Check":{"Node":"a","Name":"c"}}')
        self.put(
            b'{"Node":"a","Address":"1","Service":{"Service":"p","Kind":"connect-proxy","Port":1,'
            b'"Proxy":{"DestinationServiceName":"web"}}}'
        )
        found = self.catalog.service_nodes(ServiceSpecificRequest(service_name="web", connect=True))
        self.assertEqual(ids(found.reply.service_nodes, "service_id"), ["p"])
        self.assertEqual(found.watch, (("connect", "web"),))

    def test_datacenter(self) -> None:
        """A row is in this datacenter unless told otherwise."""
        self.put(b'{"Node":"a","Address":"1"}')
        self.put(b'{"Node":"b","Address":"1","Datacenter":"dc9"}')
        nodes = self.catalog.list_nodes(DCSpecificRequest()).reply.nodes
        self.assertEqual(ids(nodes, "datacenter"), ["dc1", "dc9"])
        self.assertEqual(self.catalog.list_datacenters(DatacentersRequest()), ["dc1"])

    def test_deregister(self) -> None:
        """A node has to be named; what is not there is no error."""
        error = self.assertRaises(Refused, self.catalog.deregister, DeregisterRequest())
        self.assertEqual(str(error), "Must provide node")
        self.put(REGISTER)
        for more in ({"check_id": "service:pg1"}, {"service_id": "pg1"}, {}, {}):
            self.replica.apply(self.catalog.deregister(DeregisterRequest(node="db1", **more)))
        self.assertEqual(self.catalog.list_nodes(DCSpecificRequest()).reply.nodes, [])


class ReadTests(CatalogTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.put(
            b'{"Node":"a","Address":"1","NodeMeta":{"env":"prod","rack":"1"},'
            b'"Service":{"ID":"w1","Service":"web","Tags":["blue","v1"],"Address":"x"}}'
        )
        self.put(
            b'{"Node":"b","Address":"2","NodeMeta":{"env":"test","rack":"1"},'
            b'"Service":{"ID":"w2","Service":"web","Tags":["green","v1"]}}'
        )
        self.put(
            b'{"Node":"b","Address":"2","NodeMeta":{"env":"test","rack":"1"},"Service":{"Service":"db"}}'
        )

    def web(self, **more: Any) -> list[Any]:
        read = self.catalog.service_nodes(ServiceSpecificRequest(service_name="web", **more))
        return ids(read.reply.service_nodes, "service_id")

    def test_tags(self) -> None:
        """All tags are needed, whatever their case; without ``tag_filter`` none."""
        self.assertEqual(self.web(tag_filter=True, service_tags=["BLUE"]), ["w1"])
        self.assertEqual(self.web(tag_filter=True, service_tags=["v1"]), ["w1", "w2"])
        self.assertEqual(self.web(tag_filter=True, service_tags=["v1", "green"]), ["w2"])
        self.assertEqual(self.web(tag_filter=True, service_tags=["v1", "none"]), [])
        self.assertEqual(self.web(tag_filter=True, service_tag="green"), ["w2"])
        self.assertEqual(self.web(tag_filter=True), ["w1", "w2"])
        self.assertEqual(self.web(service_tags=["none"]), ["w1", "w2"])

    def test_narrowed(self) -> None:
        """By metadata of the node and by address of the service."""
        self.assertEqual(self.web(node_meta_filters={"env": "prod"}), ["w1"])
        self.assertEqual(
            self.web(node_meta_filters={"env": "prod"}, tag_filter=True, service_tags=["green"]), []
        )
        self.assertEqual(self.web(node_meta_filters={"rack": "1"}), ["w1", "w2"])
        self.assertEqual(self.web(node_meta_filters={"none": "1"}), [])
        self.assertEqual(self.web(service_address="x"), ["w1"])
        self.assertEqual(self.web(), ["w1", "w2"])

    def test_nodes_by_metadata(self) -> None:
        """All pairs are needed."""
        for pairs, names in (
            ({"rack": "1"}, ["a", "b"]),
            ({"rack": "1", "env": "test"}, ["b"]),
            ({"x": "1"}, []),
        ):
            read = self.catalog.list_nodes(DCSpecificRequest(node_meta_filters=pairs))
            self.assertEqual(ids(read.reply.nodes, "node"), names)

    def test_services_by_metadata(self) -> None:
        """Which nodes count may change, so these are watched, too."""
        read = self.catalog.list_services(DCSpecificRequest(node_meta_filters={"env": "test"}))
        self.assertEqual(read.reply.services, {"db": [], "web": ["green", "v1"]})
        self.assertEqual((read.index, read.watch), (3, (("services",), ("nodes",))))
        self.put(b'{"Node":"c","Address":"2"}')
        self.assertEqual(
            self.catalog.list_services(DCSpecificRequest(node_meta_filters={"env": "test"})).index, 4
        )
        self.assertEqual(self.catalog.list_services(DCSpecificRequest()).index, 3)

    def test_nothing_named(self) -> None:
        """Names are needed."""
        for call, request, text in (
            (self.catalog.service_nodes, ServiceSpecificRequest(), "Must provide service name"),
            (self.catalog.node_services, NodeSpecificRequest(), "Must provide node"),
            (self.catalog.node_service_list, NodeSpecificRequest(), "Must provide node"),
        ):
            self.assertEqual(str(self.assertRaises(Refused, call, request)), text)
