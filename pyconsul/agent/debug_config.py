"""``DebugConfig`` of ``/v1/agent/self``: every setting, by the name that Consul gives it there.

Most names follow from the key in files: its words begin with capitals, and its group has a name of its
own. ``NAMES`` has the others, and ``_computed`` what follows from several settings.
"""

from __future__ import annotations

import math
from typing import Any

from pyconsul import __version__
from pyconsul.agent import antientropy, coordinates, reaping
from pyconsul.checks.definition import DEREGISTER_MIN_S
from pyconsul.config.kinds import DURATION, DURATION_MAP, Kind
from pyconsul.config.schema import AgentConfig
from pyconsul.config.setting import declared
from pyconsul.config.tls import cipher_suites
from pyconsul.structs.durations import format_ns

HIDDEN = "hidden"

ACL_DISABLED_S = 120.0
"""No setting: so long an agent believes that servers have no ACL."""

WORDS = {
    "id": "ID", "dns": "DNS", "http": "HTTP", "https": "HTTPS", "rpc": "RPC", "tls": "TLS", "ttl": "TTL",
    "ui": "UI", "ca": "CA", "acl": "ACL", "lan": "LAN", "wan": "WAN", "ip": "IP", "json": "JSON", "kv": "KV",
    "grpc": "GRPC", "udp": "UDP", "san": "SAN",
}  # fmt: skip

GROUPS = {
    "dns_config": "DNS", "limits": "", "gossip_lan": "GossipLAN", "gossip_wan": "GossipWAN",
    "autopilot": "Autopilot", "http_config": "HTTP", "acl": "ACL", "auto_encrypt": "AutoEncrypt",
    "performance": "", "unix_sockets": "UnixSocket", "connect": "Connect", "cache": "Cache.",
    "telemetry": "Telemetry.", "ports": "",
}  # fmt: skip
"""How the names of a group's settings begin; a dot makes an object of them."""

NAMES = {
    "acl.enable_token_replication": "ACLTokenReplication",
    "acl.enabled": "ACLsEnabled",
    "acl.tokens.agent": "ACLAgentToken",
    "acl.tokens.agent_master": "ACLAgentMasterToken",
    "acl.tokens.default": "ACLToken",
    "acl.tokens.master": "ACLMasterToken",
    "acl.tokens.replication": "ACLReplicationToken",
    "advertise_addr": "AdvertiseAddrLAN",
    "alt_domain": "DNSAltDomain",
    "client_addr": "ClientAddrs",
    "config_entries.bootstrap": "ConfigEntryBootstrap",
    "connect.enable_mesh_gateway_wan_federation": "ConnectMeshGatewayWANFederationEnabled",
    "dns_config.enable_additional_node_meta_txt": "DNSNodeMetaTXT",
    "dns_config.soa.expire": "DNSSOA.Expire",
    "dns_config.soa.min_ttl": "DNSSOA.Minttl",
    "dns_config.soa.refresh": "DNSSOA.Refresh",
    "dns_config.soa.retry": "DNSSOA.Retry",
    "domain": "DNSDomain",
    "enable_script_checks": "EnableRemoteScriptChecks",
    "enable_syslog": "Logging.EnableSyslog",
    "encrypt": "EncryptKey",
    "http_config.allow_write_http_from": "AllowWriteHTTPFrom",
    "leave_on_terminate": "LeaveOnTerm",
    "limits.rpc_rate": "RPCRateLimit",
    "log_file": "Logging.LogFilePath",
    "log_json": "Logging.LogJSON",
    "log_level": "Logging.LogLevel",
    "log_rotate_bytes": "Logging.LogRotateBytes",
    "log_rotate_duration": "Logging.LogRotateDuration",
    "log_rotate_max_files": "Logging.LogRotateMaxFiles",
    "ports.expose_max_port": "ExposeMaxPort",
    "ports.expose_min_port": "ExposeMinPort",
    "ports.serf_lan": "SerfPortLAN",
    "ports.serf_wan": "SerfPortWAN",
    "ports.sidecar_max_port": "ConnectSidecarMaxPort",
    "ports.sidecar_min_port": "ConnectSidecarMinPort",
    "protocol": "RPCProtocol",
    "reconnect_timeout": "ReconnectTimeoutLAN",
    "recursors": "DNSRecursors",
    "retry_interval": "RetryJoinIntervalLAN",
    "retry_interval_wan": "RetryJoinIntervalWAN",
    "retry_join": "RetryJoinLAN",
    "retry_max": "RetryJoinMaxAttemptsLAN",
    "retry_max_wan": "RetryJoinMaxAttemptsWAN",
    "segment": "SegmentName",
    "serf_lan_allowed_cidrs": "SerfAllowedCIDRsLAN",
    "serf_wan_allowed_cidrs": "SerfAllowedCIDRsWAN",
    "server": "ServerMode",
    "skip_leave_on_interrupt": "SkipLeaveOnInt",
    "start_join": "StartJoinAddrsLAN",
    "start_join_wan": "StartJoinAddrsWAN",
    "syslog_facility": "Logging.SyslogFacility",
    "telemetry.statsd_address": "Telemetry.StatsdAddr",
    "telemetry.statsite_address": "Telemetry.StatsiteAddr",
    "ui": "EnableUI",
}


def debug_config(config: AgentConfig, node_id: str, addresses: dict[str, str]) -> dict[str, Any]:
    """All of it; secrets are hidden, durations are texts.

    :param addresses: this node's tagged addresses.
    """
    shown: dict[str, Any] = {}
    for item in declared(config):
        group = shown
        *path, name = name_of(item.path).split(".")
        for part in path:
            group = group.setdefault(part, {})
        group[name] = HIDDEN if item.setting.secret else _show(item.default, item.setting.kind)
    shown.update(_computed(config, node_id, addresses))
    filters = config.telemetry.prefix_filter
    shown["Telemetry"] |= {
        "AllowedPrefixes": [text[1:] for text in filters if text.startswith("+")],
        "BlockedPrefixes": [text[1:] for text in filters if text.startswith("-")],
    }
    return dict(sorted(shown.items()))


def name_of(path: str) -> str:
    """Consul's name for the setting with this key."""
    if path in NAMES:
        return NAMES[path]
    group, _, name = path.rpartition(".")
    words = "".join(WORDS.get(word, word.capitalize()) for word in name.split("_"))
    if group == "ports":
        words += "Port"
    if group and group not in GROUPS:
        group = "".join(word.capitalize() for word in group.split("_"))
        return f"{group}.{words}"
    return (GROUPS[group] if group else "") + words


def _computed(config: AgentConfig, node_id: str, addresses: dict[str, str]) -> dict[str, Any]:
    ports = config.ports
    heartbeat_s, election_s, lease_s = config.raft_timers
    clients = config.client_addr
    lan, wan = config.serf_lan or config.bind_addr, config.serf_wan or config.bind_addr
    advertised_wan = config.advertise_addr_wan or config.advertise_addr
    leaves = not config.server
    return {
        "ACLDatacenter": config.primary_datacenter,
        "ACLDisabledTTL": _duration(ACL_DISABLED_S),
        "AEInterval": _duration(antientropy.FULL_SYNC_S),
        "CheckDeregisterIntervalMin": _duration(DEREGISTER_MIN_S),
        "EnableLocalScriptChecks": config.enable_script_checks or config.enable_local_script_checks,
        "CheckReapInterval": _duration(reaping.INTERVAL_S),
        "ConsulCoordinateUpdateBatchSize": coordinates.BATCH_ROWS,
        "ConsulCoordinateUpdateMaxBatches": coordinates.BATCHES_MAX,
        "ConsulCoordinateUpdatePeriod": _duration(
            coordinates.BATCH_DEV_S if config.dev else coordinates.BATCH_S
        ),
        "ConsulRaftElectionTimeout": _duration(election_s),
        "ConsulRaftHeartbeatTimeout": _duration(heartbeat_s),
        "ConsulRaftLeaderLeaseTimeout": _duration(lease_s),
        "DNSAddrs": [
            f"{kind}://{address}:{ports.dns}"
            for kind in ("tcp", "udp")
            for address in config.addresses.dns or clients
            if ports.dns >= 0
        ],
        "DevMode": config.dev,
        "GRPCAddrs": _listening(config.addresses.grpc or clients, ports.grpc),
        "HTTPAddrs": _listening(config.addresses.http or clients, ports.http),
        "HTTPSAddrs": _listening(config.addresses.https or clients, ports.https),
        "KeyFile": HIDDEN,  # a path only, but Consul hides it
        "LeaveOnTerm": leaves if config.leave_on_terminate is None else config.leave_on_terminate,
        "NodeID": node_id,
        "RPCAdvertiseAddr": f"tcp://{config.advertise_addr}:{ports.server}",
        "RPCBindAddr": f"tcp://{config.bind_addr}:{ports.server}",
        "Revision": "",
        "SerfAdvertiseAddrLAN": f"tcp://{config.advertise_addr}:{ports.serf_lan}",
        "SerfAdvertiseAddrWAN": f"tcp://{advertised_wan}:{ports.serf_wan}",
        "SerfBindAddrLAN": f"tcp://{lan}:{ports.serf_lan}",
        "SerfBindAddrWAN": f"tcp://{wan}:{ports.serf_wan}",
        "SkipLeaveOnInt": (
            config.server if config.skip_leave_on_interrupt is None else config.skip_leave_on_interrupt
        ),
        "SyncCoordinateIntervalMin": _duration(coordinates.INTERVAL_MIN_S),
        "SyncCoordinateRateTarget": coordinates.UPDATES_PER_S,
        "TLSCipherSuites": cipher_suites(config),
        "TaggedAddresses": addresses,
        "Version": __version__,
        "VersionPrerelease": "",
    }


def _listening(addresses: tuple[str, ...], port: int) -> list[str]:
    if port < 0:
        return []
    return [a if a.startswith("unix://") else f"tcp://{a}:{port}" for a in addresses]


def _duration(seconds: float) -> str:
    return format_ns(round(seconds * 1e9))


def _show(value: Any, kind: Kind) -> Any:
    if kind is DURATION:
        return _duration(value)
    if kind is DURATION_MAP:
        return {name: _duration(seconds) for name, seconds in value.items()}
    if isinstance(value, float) and math.isinf(value):
        return -1  # as it is written in files; JSON has no infinity
    return _without_secrets(value)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_without_secrets(item) for item in value]
    if isinstance(value, dict):
        return {
            name: HIDDEN if item and _is_secret(name) else _without_secrets(item)
            for name, item in value.items()
        }
    return value


def _is_secret(name: Any) -> bool:
    """Whether what has this name, in a definition or a header, gives somebody away."""
    lower = str(name).lower()
    return any(word in lower for word in ("token", "secret", "password", "authorization"))
