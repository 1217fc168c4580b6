"""What peers send, and the shape in which it is stored and shown."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.structs.canonical import canonical_check, canonical_service, with_ip_addresses
from pyconsul.structs.catalog import CheckDefinition, HealthCheck, NodeService, RegisterRequest
from pyconsul.structs.kv import DirEntry, KeyListRequest

# The request of a real client agent (Consul 1.8.7), all its fields spelt out.
DEFINITION = {
    "AliasNode": "", "AliasService": "", "Body": "", "DeregisterCriticalServiceAfter": 0,
    "DockerContainerID": "", "GRPC": "", "GRPCUseTLS": False, "HTTP": "", "Header": None, "Interval": 0,
    "Method": "", "OutputMaxSize": 0, "ScriptArgs": None, "Shell": "", "TCP": "", "TLSSkipVerify": False,
    "TTL": 0, "Timeout": 0,
}  # fmt: skip
CHECK = {
    "CheckID": "service:web1", "CreateIndex": 0, "Definition": DEFINITION, "ModifyIndex": 0,
    "Name": "Service 'web' check", "Node": "c3", "Notes": "", "Output": "", "ServiceID": "web1",
    "ServiceName": "web", "ServiceTags": ["a"], "Status": "critical", "Type": "ttl",
}  # fmt: skip
PROXY = {
    "Config": None, "DestinationServiceID": "", "DestinationServiceName": "",
    "Expose": {"Checks": False, "Paths": None}, "LocalServiceAddress": "", "LocalServicePort": 0,
    "MeshGateway": {"Mode": ""}, "Upstreams": None,
}  # fmt: skip
SERVICE = {
    "Address": "", "Connect": {"Native": False, "SidecarService": None}, "CreateIndex": 0,
    "EnableTagOverride": False, "ID": "web1", "Kind": "", "LocallyRegisteredAsSidecar": False,
    "Meta": {"k": "v"}, "ModifyIndex": 0, "Port": 80, "Proxy": PROXY, "Service": "web",
    "TaggedAddresses": {}, "Tags": ["a"], "Weights": {"Passing": 1, "Warning": 1},
}  # fmt: skip
REQUEST = {
    "Address": "192.0.2.3", "Check": CHECK, "Checks": None, "CreateIndex": 0, "Datacenter": "dc1",
    "ID": "f2becb8f-c580-9f77-39f5-612526ec7e40", "ModifyIndex": 0, "Node": "c3",
    "NodeMeta": {"consul-network-segment": ""}, "Service": SERVICE, "SkipNodeUpdate": True,
    "TaggedAddresses": {"lan": "192.0.2.3"}, "Token": "11111111-1111-1111-1111-111111111111",
}  # fmt: skip


def shown(row: Any) -> Any:
    """A row as JSON shows it."""
    return msgspec.json.decode(msgspec.json.encode(row))


class CanonicalTests(SynchronousTestCase):
    def test_from_a_client_agent(self) -> None:
        """Every field that Consul's JSON leaves out is left out."""
        request = msgspec.msgpack.decode(msgspec.msgpack.encode(REQUEST), type=RegisterRequest)
        assert request.service is not None and request.check is not None
        self.assertEqual(
            shown(canonical_service(request.service)),
            {
                "ID": "web1", "Service": "web", "Tags": ["a"], "Address": "", "Meta": {"k": "v"}, "Port": 80,
                "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": False,
                "Proxy": {"MeshGateway": {}, "Expose": {}}, "Connect": {}, "CreateIndex": 0, "ModifyIndex": 0,
            },
        )  # fmt: skip
        self.assertEqual(
            shown(canonical_check(request.check)),
            {
                "Node": "c3", "CheckID": "service:web1", "Name": "Service 'web' check", "Status": "critical",
                "Notes": "", "Output": "", "ServiceID": "web1", "ServiceName": "web", "ServiceTags": ["a"],
                "Type": "ttl", "Definition": {}, "CreateIndex": 0, "ModifyIndex": 0,
            },
        )  # fmt: skip

    def test_from_json(self) -> None:
        """What JSON leaves out gets its default."""
        row = canonical_service(msgspec.json.decode(b'{"Service":"web"}', type=NodeService))
        self.assertEqual(
            shown(row),
            {
                "ID": "web", "Service": "web", "Tags": [], "Address": "", "Meta": None, "Port": 0,
                "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": False,
                "Proxy": {"MeshGateway": {}, "Expose": {}}, "Connect": {}, "CreateIndex": 0, "ModifyIndex": 0,
            },
        )  # fmt: skip

    def test_kept(self) -> None:
        """What is there stays: kind, addresses, weights, proxy, connect."""
        body = (
            b'{"Service":"p","Kind":"connect-proxy","Weights":{"Passing":3},"Meta":{},'
            b'"TaggedAddresses":{"lan":{"Address":"192.0.2.4","Port":5}},"Connect":{"Native":true},'
            b'"Proxy":{"DestinationServiceName":"web","Config":{"a":1},"Upstreams":['
            b'{"LocalBindPort":2,"LocalBindAddress":"192.0.2.5","MeshGateway":{"Mode":""}}],'
            b'"LocalServicePort":7,"MeshGateway":{"Mode":"local"},'
            b'"Expose":{"Checks":false,"Paths":[{"Path":"/h","Protocol":""},5]}}}'
        )
        kept = ("Kind", "Weights", "Meta", "TaggedAddresses", "Connect", "Proxy")
        found = shown(canonical_service(msgspec.json.decode(body, type=NodeService)))
        self.assertEqual(
            {name: found[name] for name in found if name in kept},
            {
                "Kind": "connect-proxy",
                "Weights": {"Passing": 3, "Warning": 0},
                "Meta": {},
                "TaggedAddresses": {"lan": {"Address": "192.0.2.4", "Port": 5}},
                "Connect": {"Native": True},
                "Proxy": {
                    "DestinationServiceName": "web", "Config": {"a": 1},
                    "Upstreams": [
                        {"DestinationType": "", "DestinationName": "", "Datacenter": "",
                         "LocalBindAddress": "192.0.2.5", "LocalBindPort": 2, "Config": None,
                         "MeshGateway": {}},
                    ],
                    "LocalServicePort": 7, "MeshGateway": {"Mode": "local"},
                    "Expose": {"Paths": [{"Path": "/h", "ParsedFromCheck": False}]},
                },
            },
        )  # fmt: skip

    def test_again(self) -> None:
        """The canonical form of the canonical form is itself."""
        service = canonical_service(msgspec.convert(SERVICE, NodeService))
        check = canonical_check(HealthCheck(name="x", definition=CheckDefinition(timeout="90s", ttl="10s")))
        self.assertEqual(canonical_service(service), service)
        self.assertEqual(canonical_check(check), check)

    def test_ip_addresses(self) -> None:
        """An agent tags IP addresses by version; what was tagged before stays; names get none."""
        four = with_ip_addresses(
            msgspec.convert(
                {
                    "Service": "s",
                    "Address": "192.0.2.4",
                    "Port": 5,
                    "TaggedAddresses": {"lan": {"Address": "x"}},
                },
                NodeService,
            )
        )
        listens = {"Address": "192.0.2.4", "Port": 5}
        self.assertEqual(
            shown(four)["TaggedAddresses"],
            {"lan": {"Address": "x", "Port": 0}, "lan_ipv4": listens, "wan_ipv4": listens},
        )
        six = with_ip_addresses(NodeService(service="s", address="2001:db8::1"))
        self.assertEqual([*shown(six)["TaggedAddresses"]], ["lan_ipv6", "wan_ipv6"])
        for address in ("", "host.example"):
            service = NodeService(service="s", address=address)
            self.assertIs(with_ip_addresses(service), service)

    def test_null_weights(self) -> None:
        """No weights, and weights that cannot be, are 1 and 1."""
        for weights in (
            b"null", b"{}", b'{"Passing":0}', b'{"Warning":3}', b'{"Passing":1,"Warning":-1}',
            b'{"Passing":65536}',
        ):  # fmt: skip
            body = b'{"Weights":%b}' % weights
            row = canonical_service(msgspec.json.decode(body, type=NodeService))
            self.assertEqual(shown(row)["Weights"], {"Passing": 1, "Warning": 1})

    def test_definition(self) -> None:
        """Durations are shown in Go's form, a TTL as a number; the type follows from the definition."""
        for definition, shape, kind in (
            (CheckDefinition(ttl="10s"), {"TTL": 10_000_000_000}, "ttl"),
            (CheckDefinition(http="h", interval="90s"), {"HTTP": "h", "Interval": "1m30s"}, "http"),
            (CheckDefinition(tcp="h:1", interval=5_000_000_000), {"TCP": "h:1", "Interval": "5s"}, "tcp"),
            (CheckDefinition(tcp="h:1"), {"TCP": "h:1"}, ""),
            (CheckDefinition(grpc="h:1", interval="1s"), {"GRPC": "h:1", "Interval": "1s"}, "grpc"),
            (
                CheckDefinition(docker_container_id="d", script_args=["a"], interval="1s"),
                {"Interval": "1s", "ScriptArgs": ["a"], "DockerContainerID": "d"},
                "docker",
            ),
            (CheckDefinition(script_args=["a"], shell="sh"), {"ScriptArgs": ["a"], "Shell": "sh"}, "script"),
            (CheckDefinition(alias_service="s"), {"AliasService": "s"}, "alias"),
            (CheckDefinition(alias_node="n"), {"AliasNode": "n"}, "alias"),
            (CheckDefinition(interval="0s", timeout="1500ms"), {"Timeout": "1.5s"}, ""),
            (
                CheckDefinition(grpc="h:1", grpc_use_tls=True, deregister_critical_service_after="1m"),
                {"GRPC": "h:1", "GRPCUseTLS": True, "DeregisterCriticalServiceAfter": "1m0s"},
                "",
            ),
            (CheckDefinition(), {}, ""),
        ):
            check = canonical_check(HealthCheck(name="x", definition=definition))
            self.assertEqual((shown(check)["Definition"], check.type), (shape, kind))
        self.assertEqual(
            canonical_check(HealthCheck(type="http", definition=CheckDefinition(tcp="x"))).type, "http"
        )
        self.assertRaises(ValueError, canonical_check, HealthCheck(definition=CheckDefinition(timeout="x")))


class ShapeTests(SynchronousTestCase):
    def test_entry(self) -> None:
        """An entry's JSON: no session while it is free, ``null`` for an empty value."""
        free = DirEntry(key="web/key1", flags=2**64 - 1, value=b"test", create_index=15, modify_index=16)
        self.assertEqual(
            msgspec.json.encode(free),
            b'{"LockIndex":0,"Key":"web/key1","Flags":18446744073709551615,"Value":"dGVzdA==",'
            b'"CreateIndex":15,"ModifyIndex":16}',
        )
        held = shown(DirEntry(key="k", session="s", lock_index=1))
        self.assertEqual((held["Session"], held["Value"]), ("s", None))

    def test_spelling(self) -> None:
        """Consul's spelling on the wire."""
        request = msgspec.msgpack.decode(msgspec.msgpack.encode({"Seperator": "/"}), type=KeyListRequest)
        self.assertEqual(request.separator, "/")
