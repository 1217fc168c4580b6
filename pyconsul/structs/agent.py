"""What is registered with an agent: services and checks, as its HTTP API and its files give them."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from pyconsul.structs.catalog import ServiceAddress, Weights

NODE_MAINTENANCE = "_node_maintenance"
SERVICE_MAINTENANCE = "_service_maintenance:"
"""Ids of the checks that stand for maintenance; that of a service is followed by the service's."""

ALL_SEGMENTS = "_all"
"""What the API calls the members of all network segments; there is but one, which has no name."""


SHELL = "/bin/sh"


class CheckDefinition(Struct, rename="pascal", kw_only=True):
    """A check to run. Durations are texts of Go's form or nanoseconds.

    Which of ``ttl``, ``http``, ``tcp``, ``args``, ... is set decides the type.
    """

    id: str = field(default="", name="ID")
    check_id: str = field(default="", name="CheckID")
    name: str = ""
    notes: str = ""
    service_id: str = field(default="", name="ServiceID")
    token: str = ""
    status: str = ""
    script_args: list[str] | None = None
    args: list[str] | None = None
    http: str = field(default="", name="HTTP")
    header: dict[str, list[str]] | None = None
    method: str = ""
    body: str = ""
    disable_redirects: bool = False
    tcp: str = field(default="", name="TCP")
    tcp_use_tls: bool = field(default=False, name="TCPUseTLS")
    udp: str = field(default="", name="UDP")
    interval: str | int = 0
    docker_container_id: str = field(default="", name="DockerContainerID")
    shell: str = ""
    grpc: str = field(default="", name="GRPC")
    grpc_use_tls: bool = field(default=False, name="GRPCUseTLS")
    h2ping: str = field(default="", name="H2PING")
    h2ping_use_tls: bool | None = field(default=None, name="H2PingUseTLS")
    os_service: str = field(default="", name="OSService")
    python: str = ""
    python_options: dict[str, str] | None = None
    tls_server_name: str = field(default="", name="TLSServerName")
    tls_skip_verify: bool = field(default=False, name="TLSSkipVerify")
    timeout: str | int = 0
    ttl: str | int = field(default=0, name="TTL")
    alias_node: str = ""
    alias_service: str = ""
    success_before_passing: int = 0
    failures_before_warning: int = 0
    failures_before_critical: int = 0
    deregister_critical_service_after: str | int = 0
    output_max_size: int = 0


def script_args(line: str, shell: str) -> list[str]:
    """The arguments that run a line, as up to Consul 1.0 a check's ``script`` was."""
    return [shell or SHELL, "-c", line]


class MeshGateway(Struct, rename="pascal", kw_only=True, omit_defaults=True):
    """How a proxy reaches other datacenters."""

    mode: str = ""


class Upstream(Struct, rename="pascal", kw_only=True, omit_defaults=True):
    """A service that a proxy makes reachable at a local port."""

    destination_type: str = ""
    destination_namespace: str = ""
    destination_name: str = ""
    datacenter: str = ""
    local_bind_address: str = ""
    local_bind_port: int = 0
    config: dict[str, Any] | None = None
    mesh_gateway: MeshGateway = field(default_factory=MeshGateway)


class ExposedPath(Struct, rename="pascal", kw_only=True):
    """A path that a proxy lets through from outside the mesh."""

    listener_port: int = 0
    path: str = ""
    local_path_port: int = 0
    protocol: str = ""
    parsed_from_check: bool = False


class Expose(Struct, rename="pascal", kw_only=True, omit_defaults=True):
    """All of those."""

    checks: bool = False
    paths: list[ExposedPath] | None = None


class ProxyDefinition(Struct, rename="pascal", kw_only=True):
    """What a proxy is for and how it is set up."""

    destination_service_name: str = ""
    destination_service_id: str = field(default="", name="DestinationServiceID")
    local_service_address: str = ""
    local_service_port: int = 0
    config: dict[str, Any] | None = None
    upstreams: list[Upstream] | None = None
    mesh_gateway: MeshGateway = field(default_factory=MeshGateway)
    expose: Expose = field(default_factory=Expose)


class ConnectDefinition(Struct, rename="pascal", kw_only=True):
    """A service's place in the mesh.

    :ivar native: it speaks the mesh's TLS itself.
    :ivar sidecar_service: a proxy to register with it.
    """

    native: bool = False
    sidecar_service: ServiceDefinition | None = None


class ServiceDefinition(Struct, rename="pascal", kw_only=True):
    """A service to register with the agent of its node."""

    kind: str = ""
    id: str = field(default="", name="ID")
    name: str = ""
    tags: list[str] | None = None
    address: str = ""
    tagged_addresses: dict[str, ServiceAddress] | None = None
    meta: dict[str, str] | None = None
    port: int = 0
    check: CheckDefinition | None = None
    checks: list[CheckDefinition] | None = None
    weights: Weights | None = None
    token: str = ""
    enable_tag_override: bool = False
    proxy: ProxyDefinition | None = None
    connect: ConnectDefinition | None = None


class CheckUpdate(Struct, rename="pascal", kw_only=True):
    """A new state of a TTL check."""

    status: str = ""
    output: str = ""


class AuthorizeRequest(Struct, rename="pascal", kw_only=True):
    """Whether the holder of a certificate may connect to a service."""

    target: str = ""
    client_cert_uri: str = field(default="", name="ClientCertURI")
    client_cert_serial: str = ""
