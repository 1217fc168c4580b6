"""All settings of an agent, each declared once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyconsul.config import groups
from pyconsul.config.definitions import CHECK, SERVICE
from pyconsul.config.kinds import (
    ADDRESSES,
    ANY_MAP,
    BOOL,
    DURATION,
    INT,
    IP,
    IPS,
    MAPS,
    NETWORKS,
    PATH,
    STRING,
    STRING_MAP,
)
from pyconsul.config.setting import SettingGroup, group, setting

if TYPE_CHECKING:
    from pyconsul.config.sources import Sources


class AgentConfig(SettingGroup, frozen=True, kw_only=True):
    """What an agent runs with. Field names are the keys of files; durations are seconds.

    ``AgentConfig()`` has the plain defaults; ``sources.load`` gives one whose dependent values
    (``node_name``, ``advertise_addr``, ``addresses``, ...) are filled in and that was checked.

    :ivar dev: whether ``-dev`` was given: nothing is kept on disk, timers are short.
    :ivar warnings: what the user should hear about, though the agent may start.
    :ivar sources: where the values came from, so that SIGHUP can read them again.
    """

    dev: bool = False
    warnings: tuple[str, ...] = ()
    sources: Sources | None = None

    # ------------------------------------------------------------ who the agent is
    node_name: str = setting(
        "", STRING, "Name of this node, unique in the datacenter. Default: the host's name.", flag="node"
    )
    node_id: str = setting(
        "", STRING, "UUID of this node. Default: a random one, kept in the data folder.", flag="node-id"
    )
    disable_host_node_id: bool = setting(
        True, BOOL, "Do not derive the node's id from the host's.", flag="disable-host-node-id"
    )
    node_meta: dict[str, str] = setting(
        {}, STRING_MAP, "A pair of metadata of this node, KEY:VALUE. May be repeated.", flag="node-meta",
        reload=True,
    )  # fmt: skip
    datacenter: str = setting("dc1", STRING, "Datacenter of the agent.", flag="datacenter")
    primary_datacenter: str = setting("", STRING, "Which datacenter decides about ACL, CA and intentions.")
    domain: str = setting("consul.", STRING, "Domain that DNS answers for.", flag="domain")
    alt_domain: str = setting("", STRING, "A second such domain.", flag="alt-domain")
    server: bool = setting(False, BOOL, "Run as a server.", flag="server")
    bootstrap: bool = setting(
        False, BOOL, "This server may elect itself; only for the first of a datacenter.", flag="bootstrap"
    )
    bootstrap_expect: int = setting(
        0, INT, "Wait for this many servers, then form the datacenter together.", flag="bootstrap-expect"
    )
    data_dir: str = setting("", PATH, "Folder for what must survive a restart.", flag="data-dir")
    pid_file: str = setting("", PATH, "File to write the process id to.", flag="pid-file")
    protocol: int = setting(2, INT, "Protocol version spoken, 2 or 3.", flag="protocol")
    segment: str = setting("", STRING, "Accepted only if empty; an Enterprise feature.", flag="segment")
    segments: tuple[dict[str, Any], ...] = setting((), MAPS, "Accepted only if empty; Enterprise.")
    non_voting_server: bool = setting(
        False, BOOL, "Accepted without effect; an Enterprise feature.", flag="non-voting-server"
    )

    # ------------------------------------------------------------ where it listens
    bind_addr: str = setting(
        "0.0.0.0",
        STRING,
        "Address to listen on for other agents; may be a template, as all addresses.",
        flag="bind",
    )
    client_addr: tuple[str, ...] = setting(
        ("127.0.0.1",), IPS, "Addresses for HTTP, DNS and gRPC, separated by spaces.", flag="client"
    )
    addresses: groups.Addresses = group(groups.Addresses)
    ports: groups.Ports = group(groups.Ports)
    unix_sockets: groups.UnixSockets = group(groups.UnixSockets)
    advertise_addr: str = setting(
        "", IP, "Address that others are told. Default: the bind address.", flag="advertise"
    )
    advertise_addr_wan: str = setting(
        "", IP, "The same for other datacenters. Default: the address above.", flag="advertise-wan"
    )
    advertise_addr_ipv4: str = setting("", IP, "The ``lan_ipv4`` tagged address.")
    advertise_addr_ipv6: str = setting("", IP, "The ``lan_ipv6`` tagged address.")
    advertise_addr_wan_ipv4: str = setting("", IP, "The ``wan_ipv4`` tagged address.")
    translate_wan_addrs: bool = setting(False, BOOL, "Answer with WAN addresses about other datacenters.")
    serf_lan: str = setting(
        "", IP, "Address for LAN gossip. Default: the bind address.", flag="serf-lan-bind"
    )
    serf_wan: str = setting(
        "", IP, "Address for WAN gossip. Default: the bind address.", flag="serf-wan-bind"
    )
    serf_lan_allowed_cidrs: tuple[str, ...] = setting(
        (), NETWORKS, "Networks LAN members may come from. May be repeated.", flag="serf-lan-allowed-cidrs"
    )
    serf_wan_allowed_cidrs: tuple[str, ...] = setting(
        (), NETWORKS, "Networks WAN members may come from. May be repeated.", flag="serf-wan-allowed-cidrs"
    )

    # ------------------------------------------------------------ whom it joins
    start_join: tuple[str, ...] = setting(
        (), ADDRESSES, "Address to join at start, once. May be repeated.", flag="join"
    )
    start_join_wan: tuple[str, ...] = setting(
        (), ADDRESSES, "The same for the WAN pool. May be repeated.", flag="join-wan"
    )
    retry_join: tuple[str, ...] = setting(
        (), ADDRESSES, "Address to join, tried until it works. May be repeated.", flag="retry-join"
    )
    retry_interval: float = setting(30.0, DURATION, "Time between such attempts.", flag="retry-interval")
    retry_max: int = setting(0, INT, "Number of attempts before giving up; 0: never.", flag="retry-max")
    retry_join_wan: tuple[str, ...] = setting(
        (), ADDRESSES, "Like -retry-join, for the WAN pool. May be repeated.", flag="retry-join-wan"
    )
    retry_interval_wan: float = setting(
        30.0, DURATION, "Time between attempts to join the WAN pool.", flag="retry-interval-wan"
    )
    retry_max_wan: int = setting(
        0, INT, "Number of attempts for the WAN pool; 0: no limit.", flag="retry-max-wan"
    )
    rejoin_after_leave: bool = setting(
        False, BOOL, "Join the members known before, even after a leave.", flag="rejoin"
    )
    primary_gateways: tuple[str, ...] = setting(
        (),
        ADDRESSES,
        "Mesh gateway of the primary datacenter. May be repeated.",
        flag="primary-gateway",
        idle=True,
    )
    primary_gateways_interval: float = setting(
        30.0, DURATION, "Time between attempts to reach them.", idle=True
    )

    # ------------------------------------------------------------ how it goes
    leave_on_terminate: bool | None = setting(
        None, BOOL, "SIGTERM leaves the datacenter. Default: clients do, servers do not."
    )
    skip_leave_on_interrupt: bool | None = setting(
        None, BOOL, "SIGINT does not leave. Default: servers do not leave, clients do."
    )
    reconnect_timeout: float = setting(259200.0, DURATION, "When a failed member is forgotten; at least 8h.")
    reconnect_timeout_wan: float = setting(259200.0, DURATION, "The same in the WAN pool.")

    # ------------------------------------------------------------ gossip and Raft
    encrypt: str = setting("", STRING, "Gossip key, base64 (see keygen).", flag="encrypt", secret=True)
    encrypt_verify_incoming: bool = setting(True, BOOL, "Refuse gossip that is not encrypted.")
    encrypt_verify_outgoing: bool = setting(True, BOOL, "Encrypt all gossip that is sent.")
    disable_keyring_file: bool = setting(
        False, BOOL, "Do not keep gossip keys in the data folder.", flag="disable-keyring-file"
    )
    gossip_lan: groups.Gossip = group(groups.Gossip)
    gossip_wan: groups.Gossip = group(
        groups.Gossip, gossip_interval=0.5, probe_interval=5.0, probe_timeout=3.0, suspicion_mult=6
    )
    raft_protocol: int = setting(3, INT, "Raft protocol version shown to others.", flag="raft-protocol")
    raft_snapshot_threshold: int = setting(16384, INT, "Entries between snapshots, at least.", reload=True)
    raft_snapshot_interval: float = setting(
        30.0, DURATION, "How often to see whether one is due.", reload=True
    )
    raft_trailing_logs: int = setting(10000, INT, "Entries kept behind a snapshot.", reload=True)
    performance: groups.Performance = group(groups.Performance)
    autopilot: groups.Autopilot = group(groups.Autopilot)

    # ------------------------------------------------------------ queries and interfaces
    default_query_time: float = setting(
        300.0, DURATION, "How long a blocking query waits if it does not say.", flag="default-query-time"
    )
    max_query_time: float = setting(
        600.0, DURATION, "How long a blocking query may wait.", flag="max-query-time"
    )
    discovery_max_stale: float = setting(
        0.0, DURATION, "Discovery may read this stale; 0: not at all.", idle=True
    )
    dns_config: groups.DnsConfig = group(groups.DnsConfig)
    recursors: tuple[str, ...] = setting(
        (), ADDRESSES, "DNS server for all other domains. May be repeated.", flag="recursor", reload=True
    )
    http_config: groups.HttpConfig = group(groups.HttpConfig)
    limits: groups.Limits = group(groups.Limits)
    cache: groups.Cache = group(groups.Cache)
    disable_http_unprintable_char_filter: bool = setting(False, BOOL, "Let odd characters in paths pass.")
    ui: bool = setting(False, BOOL, "Serve the web interface.", flag="ui")
    ui_dir: str = setting("", PATH, "Serve a web interface from this folder.", flag="ui-dir", idle=True)
    ui_content_path: str = setting(
        "/ui/", STRING, "Path of the web interface.", flag="ui-content-path", idle=True
    )
    session_ttl_min: float = setting(0.0, DURATION, "Shortest TTL of a session; 0: 10s.")
    disable_remote_exec: bool = setting(True, BOOL, "Do not run what ``exec`` asks for.")
    disable_coordinates: bool = setting(False, BOOL, "No network coordinates.")
    disable_update_check: bool = setting(False, BOOL, "Accepted; there is no update check.")
    disable_anonymous_signature: bool = setting(False, BOOL, "Accepted; there is no update check.")
    enable_debug: bool = setting(False, BOOL, "Serve profiles under /debug/pprof.", idle=True)

    # ------------------------------------------------------------ services and checks
    services: tuple[dict[str, Any], ...] = setting(
        (), MAPS, "Services of this node (also ``service``).", reload=True, holds=SERVICE
    )
    checks: tuple[dict[str, Any], ...] = setting(
        (), MAPS, "Checks of this node (also ``check``).", reload=True, holds=CHECK
    )
    watches: tuple[dict[str, Any], ...] = setting((), MAPS, "What to watch, and what to call.", reload=True)
    check_update_interval: float = setting(
        300.0, DURATION, "How long a change of output alone may wait before it is sent."
    )
    check_output_max_size: int = setting(
        4096, INT, "Bytes of output kept of a check.", flag="check_output_max_size"
    )
    discard_check_output: bool = setting(False, BOOL, "Keep no output of checks.", reload=True)
    enable_script_checks: bool = setting(
        False, BOOL, "Run script checks, wherever they come from.", flag="enable-script-checks"
    )
    enable_local_script_checks: bool = setting(
        False, BOOL, "Run script checks from files only.", flag="enable-local-script-checks"
    )
    enable_agent_tls_for_checks: bool = setting(False, BOOL, "HTTPS checks use the agent's certificate.")
    enable_central_service_config: bool = setting(
        False, BOOL, "Merge defaults from config entries.", idle=True
    )
    config_entries: groups.ConfigEntries = group(groups.ConfigEntries)
    connect: groups.Connect = group(groups.Connect)

    # ------------------------------------------------------------ logs and metrics
    log_level: str = setting(
        "INFO", STRING, "TRACE, DEBUG, INFO, WARN or ERR.", flag="log-level", reload=True
    )
    log_json: bool = setting(False, BOOL, "Log lines are JSON.", flag="log-json")
    log_file: str = setting("", PATH, "Also log to this file.", flag="log-file")
    log_rotate_bytes: int = setting(
        0, INT, "Start a new log file at this size; 0: do not.", flag="log-rotate-bytes"
    )
    log_rotate_duration: float = setting(
        86400.0, DURATION, "Start a new log file after this time.", flag="log-rotate-duration"
    )
    log_rotate_max_files: int = setting(
        0, INT, "Old log files kept; 0: all, -1: none.", flag="log-rotate-max-files"
    )
    enable_syslog: bool = setting(False, BOOL, "Also log to syslog.", flag="syslog")
    syslog_facility: str = setting("LOCAL0", STRING, "The facility used there.")
    telemetry: groups.Telemetry = group(groups.Telemetry)

    # ------------------------------------------------------------ TLS and access
    ca_file: str = setting("", PATH, "CA certificates, PEM.", reload=True)
    ca_path: str = setting("", PATH, "A folder of them, if there is no ca_file.", reload=True)
    cert_file: str = setting("", PATH, "The agent's certificate, PEM.", reload=True)
    key_file: str = setting("", PATH, "Its key, PEM.", reload=True)
    verify_incoming: bool = setting(
        False, BOOL, "RPC and HTTPS take only connections with a certificate of our CA.", reload=True
    )
    verify_incoming_rpc: bool = setting(False, BOOL, "The same for RPC only.", reload=True)
    verify_incoming_https: bool = setting(False, BOOL, "The same for HTTPS only.", reload=True)
    verify_outgoing: bool = setting(
        False, BOOL, "Use TLS to other agents and check that our CA knows them.", reload=True
    )
    verify_server_hostname: bool = setting(
        False,
        BOOL,
        "The same, and servers must have a certificate for server.DATACENTER.DOMAIN.",
        reload=True,
    )
    server_name: str = setting(
        "", STRING, "Name to ask servers for, without verify_server_hostname. Default: the node's.",
        reload=True,
    )  # fmt: skip
    tls_min_version: str = setting("tls12", STRING, "tls10, tls11, tls12 or tls13.", reload=True)
    tls_cipher_suites: str = setting(
        "", STRING, "Cipher suites up to TLS 1.2, separated by commas. Default: good ones.", reload=True
    )
    tls_prefer_server_cipher_suites: bool = setting(
        False, BOOL, "The server's order of suites counts.", reload=True
    )
    auto_encrypt: groups.AutoEncrypt = group(groups.AutoEncrypt)
    auto_config: dict[str, Any] = setting({}, ANY_MAP, "Accepted; not built.", idle=True)
    acl: groups.Acl = group(groups.Acl)

    @property
    def raft_timers(self) -> tuple[float, float, float]:
        """Heartbeat timeout, election timeout and leader lease, in seconds."""
        if self.dev:
            return 0.035, 0.052, 0.020
        factor = float(self.performance.raft_multiplier)
        return factor, factor, factor / 2


DEV: dict[str, Any] = {
    "bind_addr": "127.0.0.1",
    "server": True,
    "log_level": "DEBUG",
    "disable_anonymous_signature": True,
    "disable_keyring_file": True,
    "enable_debug": True,
    "ui": True,
    "ports": {"grpc": 8502},
    "connect": {"enabled": True},
    "gossip_lan": {
        "gossip_interval": "100ms", "probe_interval": "100ms", "probe_timeout": "100ms", "suspicion_mult": 3,
    },
    "gossip_wan": {
        "gossip_interval": "100ms", "probe_interval": "100ms", "probe_timeout": "100ms", "suspicion_mult": 3,
    },
}  # fmt: skip
"""What ``-dev`` puts under files and flags."""
