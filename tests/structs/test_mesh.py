"""Proxies and gateways, and what Consul 1.8.7 has against some."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.structs.catalog import NodeService, Proxy
from pyconsul.structs.mesh import GATEWAYS, mesh_faults, several


def proxy(**settings: Any) -> NodeService:
    told = Proxy(destination_service_name="web", **settings)
    return NodeService(service="p", kind="connect-proxy", port=1, proxy=told)


def upstream(name: str, port: int, **more: Any) -> dict[str, Any]:
    return {"DestinationName": name, "LocalBindPort": port, **more}


class MeshTests(SynchronousTestCase):
    def test_upstreams(self) -> None:
        """They need a name and a port, and nothing may be there twice; each is told for one fault."""
        again = "upstreams cannot contain duplicates"
        bound = f'{again} by local bind address and port; "127.0.0.1:5" is specified twice'
        twice = f'{again} of [type="service", name="a", namespace="", datacenter=""]'
        for upstreams, faults in (
            ([{}], ["upstream destination name cannot be empty"]),
            ([upstream("a", 0)], ["upstream local bind port cannot be zero"]),
            ([upstream("", 0, DestinationType="x")], ['unknown upstream destination type: "x"']),
            ([upstream("a", 5), upstream("b", 5, LocalBindAddress="127.0.0.1")], [bound]),
            ([upstream("a", 5), upstream("b", 5, LocalBindAddress="127.0.0.2")], []),
            ([upstream("a", 5, DestinationType="service")] * 2, [twice]),
            ([upstream("a", 5), upstream("a", 6, Datacenter="dc2")], []),
            ([upstream("q", 5, DestinationType="prepared_query")], []),
        ):
            self.assertEqual(mesh_faults(proxy(upstreams=upstreams)), faults)

    def test_exposed_paths(self) -> None:
        """They need a path, a port of their own and a protocol that is known."""
        paths = [
            {"ListenerPort": 0, "Path": "x", "Protocol": "zz"}, {"ListenerPort": 5, "Path": "/a"},
            {"ListenerPort": 5, "Protocol": "http2"},
        ]  # fmt: skip
        self.assertEqual(
            mesh_faults(proxy(expose={"Paths": paths})),
            [
                "expose.paths: invalid listener port: 0",
                "protocol 'zz' not supported for path: x, must be in: [http http2]",
                "expose.paths: empty path exposed",
                "expose.paths: duplicate listener ports exposed",
            ],
        )

    def test_gateways(self) -> None:
        """They stand for no service, and have no sidecar."""
        settings = {
            "DestinationServiceName": "a", "DestinationServiceID": "a", "LocalServiceAddress": "x",
            "LocalServicePort": 5, "Upstreams": [upstream("a", 1)],
        }  # fmt: skip
        told = Proxy(
            destination_service_name="a", destination_service_id="a", local_service_address="x",
            local_service_port=5, upstreams=[upstream("a", 1)],
        )  # fmt: skip
        for kind in GATEWAYS:
            faults = mesh_faults(NodeService(kind=kind, proxy=told), sidecar=True)
            port = [] if kind == "ingress-gateway" else [f"Port must be non-zero for a {kind}"]
            self.assertEqual(
                faults,
                [
                    *port,
                    f"A {kind} cannot have a sidecar service defined",
                    *(f"The Proxy.{name} configuration is invalid for a {kind}" for name in settings),
                ],
            )
            self.assertEqual(mesh_faults(NodeService(kind=kind, port=1)), [])
        self.assertEqual(mesh_faults(NodeService(kind="other", proxy=told), sidecar=True), [])

    def test_lists(self) -> None:
        self.assertEqual(several([]), "")
        self.assertEqual(several(["a"]), "1 error occurred:\n\t* a\n\n")
        self.assertEqual(several(["a", "b"]), "2 errors occurred:\n\t* a\n\t* b\n\n")
