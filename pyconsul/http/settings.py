"""What an operator can set about the HTTP interface."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from msgspec import Struct, field

KV_VALUE_BYTES_MAX = 512 * 1024
TXN_BYTES_MAX = 512 * 1024
CONNECTIONS_PER_CLIENT_MAX = 200
HEAD_BYTES_MAX = 256 * 1024
IDLE_TIMEOUT_S = 300.0
REQUEST_TIMEOUT_S = 30.0
HEAD_TIMEOUT_S = 60.0


class HttpSettings(Struct, frozen=True):
    """The HTTP part of an agent's configuration; durations in seconds.

    :ivar response_headers: ``http_config.response_headers``.
    :ivar block_endpoints: ``http_config.block_endpoints``, prefixes of paths.
    :ivar allow_write_from: ``http_config.allow_write_http_from``, networks; empty for everybody.
    :ivar node_name: of this agent, for ``?near=_agent``.
    :ivar always_pretty: indent all JSON, as a ``-dev`` agent does.
    :ivar kv_value_bytes_max: ``limits.kv_max_value_size``.
    :ivar txn_bytes_max: ``limits.txn_max_req_len``.
    :ivar connections_per_client_max: ``limits.http_max_conns_per_client``; 0 for no limit.
    :ivar lane: whether hot routes are called without Klein.
    :ivar kept_answers_max: how many answers are kept; 0 for none.
    :ivar idle_timeout_s: how long a connection may rest between requests.
    :ivar request_timeout_s: how long a client may say nothing within a request.
    :ivar head_timeout_s: how long the head of a request may take.
    """

    response_headers: Mapping[str, str] = field(default_factory=dict)
    block_endpoints: Sequence[str] = ()
    allow_write_from: Sequence[str] = ()
    node_name: str = ""
    datacenter: str = ""
    always_pretty: bool = False
    translate_wan_addrs: bool = False
    ui: bool = False
    allow_unprintable: bool = False
    kv_value_bytes_max: int = KV_VALUE_BYTES_MAX
    txn_bytes_max: int = TXN_BYTES_MAX
    connections_per_client_max: int = CONNECTIONS_PER_CLIENT_MAX
    head_bytes_max: int = HEAD_BYTES_MAX
    lane: bool = True
    kept_answers_max: int = 8192
    kept_answers_bytes_max: int = 64 * 1024 * 1024
    idle_timeout_s: float = IDLE_TIMEOUT_S
    request_timeout_s: float = REQUEST_TIMEOUT_S
    head_timeout_s: float = HEAD_TIMEOUT_S

    def extra_headers(self) -> dict[str, str]:
        """Headers for every answer of an endpoint."""
        extra = dict(self.response_headers)
        if self.translate_wan_addrs:
            extra["X-Consul-Translate-Addresses"] = "true"
        return extra

    def write_networks(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """``allow_write_from``, parsed; raises ``ValueError``."""
        return [ipaddress.ip_network(network, strict=False) for network in self.allow_write_from]


def is_within(address: str, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """Whether ``address`` lies in one of ``networks``; a UNIX socket, which has none, counts as inside."""
    if not address:
        return True
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return any((mapped or parsed) in network for network in networks)
