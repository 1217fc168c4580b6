"""The groups of settings that files write as objects: ``ports``, ``dns_config``, ``limits``, ...

Defaults are those of Consul 1.8.7, read from a running agent.
"""

from __future__ import annotations

from typing import Any

from pyconsul.config.kinds import (
    ANY_MAP,
    BOOL,
    DURATION,
    DURATION_MAP,
    FLOAT_MAX,
    INT,
    IPS,
    MAPS,
    NETWORKS,
    NUMBER,
    PORT,
    STRING,
    STRING_MAP,
    STRINGS,
    UINT,
)
from pyconsul.config.setting import SettingGroup, group, setting


class Addresses(SettingGroup, frozen=True, kw_only=True):
    """Where each client interface listens; ``client_addr`` where nothing is given."""

    dns: tuple[str, ...] = setting((), IPS, "Where DNS listens.")
    http: tuple[str, ...] = setting((), IPS, "Where HTTP listens; ``unix://PATH`` is a socket.")
    https: tuple[str, ...] = setting((), IPS, "Where HTTPS listens; ``unix://PATH`` is a socket.")
    grpc: tuple[str, ...] = setting((), IPS, "Where gRPC listens; ``unix://PATH`` is a socket.")


class Ports(SettingGroup, frozen=True, kw_only=True):
    """Port numbers; -1 turns a listener off."""

    dns: int = setting(8600, PORT, "DNS, UDP and TCP.", flag="dns-port")
    http: int = setting(8500, PORT, "HTTP API.", flag="http-port")
    https: int = setting(-1, PORT, "HTTPS API.", flag="https-port")
    grpc: int = setting(-1, PORT, "gRPC; 8502 with -dev.", flag="grpc-port", idle=True)
    serf_lan: int = setting(8301, PORT, "Gossip in the datacenter, UDP and TCP.", flag="serf-lan-port")
    serf_wan: int = setting(8302, PORT, "Gossip between datacenters, UDP and TCP.", flag="serf-wan-port")
    server: int = setting(8300, PORT, "RPC and Raft between servers.", flag="server-port")
    sidecar_min_port: int = setting(21000, PORT, "First port given to sidecar proxies.")
    sidecar_max_port: int = setting(21255, PORT, "Last port given to sidecar proxies.")
    expose_min_port: int = setting(21500, PORT, "First port for exposed check paths.", idle=True)
    expose_max_port: int = setting(21755, PORT, "Last port for exposed check paths.", idle=True)


class Performance(SettingGroup, frozen=True, kw_only=True):
    """How patient the servers are."""

    raft_multiplier: int = setting(
        5, INT, "Factor on Raft's timers, 1 to 10; 1 is for fast machines and networks."
    )
    leave_drain_time: float = setting(
        5.0, DURATION, "How long a leaving server goes on answering, so that others learn of it."
    )
    rpc_hold_timeout: float = setting(7.0, DURATION, "How long a request waits for a leader to be there.")


class Soa(SettingGroup, frozen=True, kw_only=True):
    """The SOA record of the DNS domain; all in seconds."""

    refresh: int = setting(3600, UINT, "Refresh of the SOA record, seconds.", reload=True)
    retry: int = setting(600, UINT, "Retry of the SOA record, seconds.", reload=True)
    expire: int = setting(86400, UINT, "Expiry of the SOA record, seconds.", reload=True)
    min_ttl: int = setting(0, UINT, "How long a negative answer may be kept, seconds.", reload=True)


class DnsConfig(SettingGroup, frozen=True, kw_only=True):
    """How DNS questions are answered."""

    allow_stale: bool = setting(True, BOOL, "Any server may answer, not only the leader.", reload=True)
    max_stale: float = setting(
        315360000.0, DURATION, "How far behind the leader such a server may be.", reload=True
    )
    node_ttl: float = setting(0.0, DURATION, "TTL of node records.", reload=True)
    service_ttl: dict[str, float] = setting(
        {}, DURATION_MAP, "TTL of service records by service name; ``*`` is any other.", reload=True
    )
    only_passing: bool = setting(False, BOOL, "Leave out instances with a warning too.", reload=True)
    enable_truncate: bool = setting(False, BOOL, "Set the TC bit on cut UDP answers.", reload=True)
    disable_compression: bool = setting(False, BOOL, "Write names in full.", reload=True)
    udp_answer_limit: int = setting(3, INT, "Most records in a UDP answer.", reload=True)
    a_record_limit: int = setting(0, INT, "Most A and AAAA records in any answer; 0: no limit.", reload=True)
    recursor_timeout: float = setting(2.0, DURATION, "How long to wait for a recursor.", reload=True)
    enable_additional_node_meta_txt: bool = setting(
        True, BOOL, "Add node metadata as TXT records to the additional section.", reload=True
    )
    soa: Soa = group(Soa)
    use_cache: bool = setting(False, BOOL, "Answer from the agent's cache.", reload=True, idle=True)
    cache_max_age: float = setting(0.0, DURATION, "How old a cached answer may be.", reload=True, idle=True)
    prefer_namespace: bool = setting(False, BOOL, "Accepted; namespaces are an Enterprise feature.")


class HttpConfig(SettingGroup, frozen=True, kw_only=True):
    """The HTTP API."""

    response_headers: dict[str, str] = setting({}, STRING_MAP, "Headers added to every response.")
    block_endpoints: tuple[str, ...] = setting((), STRINGS, "Path prefixes that answer 403.")
    allow_write_http_from: tuple[str, ...] = setting(
        (), NETWORKS, "Networks that may write; none: all.", flag="allow-write-http-from"
    )
    use_cache: bool = setting(True, BOOL, "Whether ``?cached`` is honoured.", idle=True)


class Limits(SettingGroup, frozen=True, kw_only=True):
    """What one client may take."""

    http_max_conns_per_client: int = setting(200, INT, "HTTP connections of one client address.", reload=True)
    https_handshake_timeout: float = setting(5.0, DURATION, "How long a TLS handshake may take.")
    rpc_handshake_timeout: float = setting(5.0, DURATION, "How long a peer may wait with its first bytes.")
    rpc_max_conns_per_client: int = setting(100, INT, "RPC connections of one client address.", reload=True)
    rpc_rate: float = setting(
        -1.0, NUMBER, "RPC requests this agent may make a second; -1: any.", reload=True
    )
    rpc_max_burst: int = setting(1000, INT, "How many it may make at once.", reload=True)
    kv_max_value_size: int = setting(524288, UINT, "Bytes in a KV value.")
    txn_max_req_len: int = setting(524288, UINT, "Bytes in a transaction.")


class Gossip(SettingGroup, frozen=True, kw_only=True):
    """Timers of a gossip pool; the defaults are those of the LAN."""

    gossip_interval: float = setting(0.2, DURATION, "Time between gossip messages.")
    gossip_nodes: int = setting(3, INT, "Members that get each of them.")
    probe_interval: float = setting(1.0, DURATION, "Time between probes.")
    probe_timeout: float = setting(0.5, DURATION, "How long to wait for an acknowledgement.")
    suspicion_mult: int = setting(4, INT, "Factor on how long a suspect may refute.")
    retransmit_mult: int = setting(4, INT, "Factor on how often a message is sent again.")


class UnixSockets(SettingGroup, frozen=True, kw_only=True):
    """Owner and mode of listening Unix sockets."""

    user: str = setting("", STRING, "Owner, by name or number.")
    group: str = setting("", STRING, "Group, by name or number.")
    mode: str = setting("", STRING, "Mode, octal.")


class Autopilot(SettingGroup, frozen=True, kw_only=True):
    """What a new datacenter starts with; later the stored configuration counts."""

    cleanup_dead_servers: bool = setting(True, BOOL, "Remove dead servers when a new one comes.")
    last_contact_threshold: float = setting(0.2, DURATION, "A server silent for longer is unhealthy.")
    max_trailing_logs: int = setting(250, INT, "A server further behind is unhealthy.")
    min_quorum: int = setting(0, UINT, "Never remove below this number of servers.")
    server_stabilization_time: float = setting(
        10.0, DURATION, "How long a new server must be healthy before it votes."
    )
    disable_upgrade_migration: bool = setting(False, BOOL, "Accepted; an Enterprise feature.")
    redundancy_zone_tag: str = setting("", STRING, "Accepted; an Enterprise feature.")
    upgrade_version_tag: str = setting("", STRING, "Accepted; an Enterprise feature.")


class Telemetry(SettingGroup, frozen=True, kw_only=True):
    """Where metrics go."""

    statsd_address: str = setting("", STRING, "A statsd to send to, HOST:PORT.")
    statsite_address: str = setting("", STRING, "A statsite to send to, HOST:PORT.")
    dogstatsd_addr: str = setting("", STRING, "A DogStatsD to send to, HOST:PORT.")
    dogstatsd_tags: tuple[str, ...] = setting((), STRINGS, "Tags on all that is sent to DogStatsD.")
    metrics_prefix: str = setting("consul", STRING, "First part of every name.")
    disable_hostname: bool = setting(False, BOOL, "No host name in the names of gauges.")
    prefix_filter: tuple[str, ...] = setting(
        (), STRINGS, "Prefixes to keep (``+a.b``) or to drop (``-a.b``).", reload=True
    )
    filter_default: bool = setting(True, BOOL, "Keep what no filter names.", reload=True)
    prometheus_retention_time: float = setting(
        0.0, DURATION, "Serve metrics for Prometheus; how long an idle one is kept; 0: do not."
    )


class AclTokens(SettingGroup, frozen=True, kw_only=True):
    """The tokens an agent has of its own."""

    master: str = setting("", STRING, "The bootstrap token.", reload=True, secret=True, idle=True)
    agent_master: str = setting(
        "",
        STRING,
        "For the agent's own API when no server can be asked.",
        reload=True,
        secret=True,
        idle=True,
    )
    agent: str = setting("", STRING, "What the agent itself uses.", reload=True, secret=True, idle=True)
    default: str = setting("", STRING, "For requests without a token.", reload=True, secret=True, idle=True)
    replication: str = setting(
        "", STRING, "For replication from the primary datacenter.", reload=True, secret=True, idle=True
    )


class Acl(SettingGroup, frozen=True, kw_only=True):
    """Access control."""

    enabled: bool = setting(False, BOOL, "Whether tokens are looked at.", idle=True)
    default_policy: str = setting(
        "allow", STRING, "``allow`` or ``deny`` where no rule says anything.", idle=True
    )
    down_policy: str = setting(
        "extend-cache",
        STRING,
        "When servers cannot be asked: allow, deny, extend-cache, async-cache.",
        idle=True,
    )
    token_ttl: float = setting(30.0, DURATION, "How long a token is kept.", idle=True)
    policy_ttl: float = setting(30.0, DURATION, "How long a policy is kept.", idle=True)
    role_ttl: float = setting(0.0, DURATION, "How long a role is kept.", idle=True)
    enable_key_list_policy: bool = setting(False, BOOL, "Recursive reads need ``list``.", idle=True)
    enable_token_persistence: bool = setting(
        False, BOOL, "Keep tokens set by API in the data folder.", idle=True
    )
    enable_token_replication: bool = setting(
        False, BOOL, "Replicate tokens from the primary datacenter.", idle=True
    )
    tokens: AclTokens = group(AclTokens)


class AutoEncrypt(SettingGroup, frozen=True, kw_only=True):
    """Certificates for clients from the servers."""

    tls: bool = setting(False, BOOL, "Client: get a certificate from the servers.", idle=True)
    allow_tls: bool = setting(False, BOOL, "Server: give certificates to clients.", idle=True)
    dns_san: tuple[str, ...] = setting((), STRINGS, "More DNS names in the certificate.", idle=True)
    ip_san: tuple[str, ...] = setting((), STRINGS, "More IP addresses in the certificate.", idle=True)


class ConfigEntries(SettingGroup, frozen=True, kw_only=True):
    """Config entries that a new datacenter starts with."""

    bootstrap: tuple[dict[str, Any], ...] = setting(
        (), MAPS, "Entries to write if absent.", reload=True, idle=True
    )


class Connect(SettingGroup, frozen=True, kw_only=True):
    """The service mesh."""

    enabled: bool = setting(False, BOOL, "Whether there is a CA; on with -dev.", idle=True)
    ca_provider: str = setting("", STRING, "``consul`` is the one built in.", idle=True)
    ca_config: dict[str, Any] = setting({}, ANY_MAP, "Settings of the provider.", idle=True)
    enable_mesh_gateway_wan_federation: bool = setting(
        False, BOOL, "WAN traffic through mesh gateways.", idle=True
    )


class Cache(SettingGroup, frozen=True, kw_only=True):
    """The agent's cache."""

    entry_fetch_rate: float = setting(FLOAT_MAX, NUMBER, "Fetches of one entry a second.", idle=True)
    entry_fetch_max_burst: int = setting(2, INT, "How many of them at once.", idle=True)
