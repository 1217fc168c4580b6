"""What the DNS server is told; defaults are those of Consul 1.8.7."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field


class Soa(Struct, frozen=True, kw_only=True):
    """The numbers of the zone's SOA record, in seconds."""

    refresh: int = 3600
    retry: int = 600
    expire: int = 86400
    min_ttl: int = 0


class DnsSettings(Struct, frozen=True, kw_only=True):
    """Where to listen and how to answer.

    Source: specs of the DNS surface, sections 3 to 5.

    :ivar domain: the zone; the dot at the end may be missing. ``alt_domain`` is a second one.
    :ivar addresses: IP addresses to listen on, by UDP and TCP.
    :ivar service_ttl_s: TTL by service name, by ``prefix*`` or for all others by ``*``.
    :ivar udp_answer_limit: most answers by UDP up to 512 bytes; 0 for no limit.
    :ivar a_record_limit: most addresses in any answer; 0 for no limit.
    :ivar recursors: ``IP`` or ``IP:PORT`` of servers that know the names outside of the domain.
    :ivar segment: network segment of the agent, for prepared queries that ask for what is near.
    """

    datacenter: str = "dc1"
    node_name: str = ""
    segment: str = ""
    domain: str = "consul."
    alt_domain: str = ""
    addresses: tuple[str, ...] = ("127.0.0.1",)
    port: int = 8600
    allow_stale: bool = True
    max_stale_s: float = 87600 * 3600.0
    node_ttl_s: int = 0
    service_ttl_s: Mapping[str, int] = field(default_factory=dict)
    only_passing: bool = False
    enable_truncate: bool = False
    disable_compression: bool = False
    udp_answer_limit: int = 3
    a_record_limit: int = 0
    additional_node_meta_txt: bool = True
    soa: Soa = field(default_factory=Soa)
    recursors: tuple[str, ...] = ()
    recursor_timeout_s: float = 2.0
