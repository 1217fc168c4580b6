"""What is registered with an agent: services and checks, as its HTTP API and its files give them."""

from typing import Any

from msgspec import Struct, field

from pyconsul.structs.catalog import Proxy, ServiceAddress, Weights

ALL_SEGMENTS = "_all"
"""What the API calls the members of all network segments; there is but one, which has no name."""


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
    proxy: Proxy | None = None
    connect: dict[str, Any] | None = None


class CheckUpdate(Struct, rename="pascal", kw_only=True):
    """A new state of a TTL check."""

    status: str = ""
    output: str = ""
