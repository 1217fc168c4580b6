"""What makes a definition of a service a service: rules of the mesh, sidecars, metadata."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.definitions import node_service, sidecar_of
from pyconsul.errors import BadRequest, PyconsulError, Refused
from pyconsul.structs.agent import (
    CheckDefinition,
    ConnectDefinition,
    Expose,
    ExposedPath,
    ProxyDefinition,
    ServiceDefinition,
    Upstream,
)
from pyconsul.structs.catalog import Proxy


def web(**more: Any) -> ServiceDefinition:
    return ServiceDefinition(**({"name": "web"} | more))


class Base(SynchronousTestCase):
    def assert_refused(self, text: str, call: Any, *arguments: Any, kind: type = BadRequest) -> None:
        error = self.assertRaises(PyconsulError, call, *arguments)
        self.assertIs(type(error), kind)
        self.assertEqual(str(error), text)


class ServiceTests(Base):
    def test_addresses(self) -> None:
        """An address that stands for all is none; names are not looked at."""
        for address in ("0.0.0.0", "::"):
            self.assert_refused("Invalid service address", node_service, web(address=address))
        self.assertEqual(node_service(web(address="db.example")).address, "db.example")

    def test_metadata(self) -> None:
        """The limits of metadata, with Consul's texts."""
        start = "Invalid Service Meta: "
        for meta, text in (
            ({"": "x"}, "Couldn't load metadata pair ('', 'x'): Key cannot be blank"),
            ({"a b": "x"}, "Couldn't load metadata pair ('a b', 'x'): Key contains invalid characters"),
            (
                {"consul-x": "x"},
                "Couldn't load metadata pair ('consul-x', 'x'): "
                "Key prefix 'consul-' is reserved for internal use",
            ),
            (
                {"k" * 129: "x"},
                f"Couldn't load metadata pair ('{'k' * 129}', 'x'): Key is too long (limit: 128 characters)",
            ),
            (
                {"k": "v" * 513},
                f"Couldn't load metadata pair ('k', '{'v' * 513}'): "
                "Value is too long (limit: 512 characters)",
            ),
            (
                {str(number): "" for number in range(65)},
                "Node metadata cannot contain more than 64 key/value pairs",
            ),
        ):
            self.assert_refused(start + text, node_service, web(meta=meta))
        node_service(web(meta={"k" * 128: "v" * 512}))

    def test_proxies(self) -> None:
        """What a proxy must have, and must not be; all that is wrong is told at once."""
        proxy = ProxyDefinition(destination_service_name="db")
        native = ConnectDefinition(native=True)
        for definition, problems in (
            (
                web(kind="connect-proxy"),
                [
                    "Proxy.DestinationServiceName must be non-empty for Connect proxy services",
                    "Port must be set for a Connect proxy",
                ],
            ),
            (
                web(kind="connect-proxy", port=1, proxy=proxy, connect=native),
                ["A Proxy cannot also be Connect Native, only typical services"],
            ),
            (
                web(
                    kind="connect-proxy",
                    port=1,
                    proxy=ProxyDefinition(destination_service_name="db", upstreams=[Upstream()]),
                ),
                ["upstream destination name cannot be empty"],
            ),
            (web(kind="mesh-gateway"), ["Port must be non-zero for a mesh-gateway"]),
        ):
            what = "error" if len(problems) == 1 else "errors"
            lines = "".join(f"\t* {problem}\n" for problem in problems)
            self.assert_refused(f"{len(problems)} {what} occurred:\n{lines}\n", node_service, definition)
        for kind in ("ingress-gateway", "whatever"):
            node_service(web(kind=kind))
        self.assertEqual(node_service(web(connect=native)).connect, {"Native": True})

    def test_proxy_settings(self) -> None:
        """They get there as the catalog has them, upstreams with their type."""
        definition = ProxyDefinition(
            destination_service_name="db",
            upstreams=[Upstream(destination_name="cache", local_bind_port=9)],
            expose=Expose(checks=True, paths=[ExposedPath(path="/h", listener_port=2)]),
        )
        found = node_service(web(kind="connect-proxy", port=1, proxy=definition)).proxy
        self.assertEqual(
            found.upstreams,
            [{"DestinationType": "service", "DestinationName": "cache", "Datacenter": "", "LocalBindPort": 9,
              "Config": None, "MeshGateway": {}}],
        )  # fmt: skip
        self.assertEqual(found.expose["Checks"], True)
        self.assertEqual((found.expose["Paths"][0]["Path"], found.mesh_gateway), ("/h", {}))
        self.assertEqual(node_service(web()).proxy, Proxy())


class SidecarTests(Base):
    ports = range(21_000, 21_002)

    def make(self, sidecar: ServiceDefinition, *taken: int, port: int = 0, **more: Any) -> ServiceDefinition:
        return sidecar_of(web(**({"port": 80, "tags": ["a"]} | more)), sidecar, self.ports, taken, port)

    def test_defaults(self) -> None:
        """All of it follows from its service, with two checks and a free port."""
        made = self.make(ServiceDefinition(), 21_000, meta={"k": "v"})
        self.assertEqual((made.id, made.name), ("web-sidecar-proxy", "web-sidecar-proxy"))
        self.assertEqual((made.port, made.tags, made.meta), (21_001, ["a"], {"k": "v"}))
        assert made.proxy is not None and made.checks is not None
        self.assertEqual(
            (made.proxy.destination_service_name, made.proxy.destination_service_id), ("web", "web")
        )
        self.assertEqual((made.proxy.local_service_address, made.proxy.local_service_port), ("127.0.0.1", 80))
        listening, alias = made.checks
        self.assertEqual((listening.name, listening.tcp), ("Connect Sidecar Listening", "127.0.0.1:21001"))
        self.assertEqual((alias.name, alias.alias_service), ("Connect Sidecar Aliasing web", "web"))
        self.assertEqual(node_service(made).kind, "connect-proxy")

    def test_given(self) -> None:
        """What is given counts, also checks; a port that it has is kept."""
        check = CheckDefinition(ttl="3s")
        made = self.make(ServiceDefinition(name="p", port=444, tags=["q"], check=check), id="w1")
        self.assertEqual((made.id, made.name, made.port), ("w1-sidecar-proxy", "p", 444))
        self.assertEqual((made.tags, made.check, made.checks), (["q"], check, None))
        self.assertEqual(self.make(ServiceDefinition(), 21_000, 21_001, port=21_000).port, 21_000)

    def test_refused(self) -> None:
        """What a sidecar must not have, and a range that is used up."""
        nested = ServiceDefinition(connect=ConnectDefinition(sidecar_service=ServiceDefinition()))
        for sidecar, problem in (
            (ServiceDefinition(id="x"),
             "A SidecarService cannot specify an ID as this is managed by the agent"),
            (nested, "A SidecarService cannot have a nested SidecarService"),
        ):  # fmt: skip
            self.assert_refused(f"1 error occurred:\n\t* {problem}\n\n", self.make, sidecar)
        self.assert_refused(
            "failed to allocate a port for a sidecar: none left in the range from sidecar_min_port to "
            "sidecar_max_port (21000 to 21001)",
            self.make, ServiceDefinition(), 21_000, 21_001, kind=Refused,
        )  # fmt: skip
