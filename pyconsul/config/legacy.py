"""Keys of older versions: read under their new names, or read and left aside."""

from __future__ import annotations

from typing import Any

RENAMED = {
    "acl_datacenter": "primary_datacenter",
    "acl_default_policy": "acl.default_policy",
    "acl_down_policy": "acl.down_policy",
    "acl_enable_key_list_policy": "acl.enable_key_list_policy",
    "acl_ttl": "acl.token_ttl",
    "acl_token": "acl.tokens.default",
    "acl_agent_token": "acl.tokens.agent",
    "acl_agent_master_token": "acl.tokens.agent_master",
    "acl_master_token": "acl.tokens.master",
    "acl_replication_token": "acl.tokens.replication",
    "enable_acl_replication": "acl.enable_token_replication",
    "http_api_response_headers": "http_config.response_headers",
    "statsd_addr": "telemetry.statsd_address",
    "statsite_addr": "telemetry.statsite_address",
    "statsite_prefix": "telemetry.metrics_prefix",
}

ATLAS = (
    "atlas_infrastructure",
    "atlas_token",
    "atlas_acl_token",
    "atlas_join",
    "atlas_endpoint",
)
"""A hosted service that is gone."""

CIRCONUS = tuple(
    f"telemetry.circonus_{name}"
    for name in (
        "api_app", "api_token", "api_url", "broker_id", "broker_select_tag", "check_display_name",
        "check_force_metric_activation", "check_id", "check_instance_id", "check_search_tag", "check_tags",
        "submission_interval", "submission_url",
    )
)  # fmt: skip
"""Where metrics cannot go from here."""

RPC = ("addresses.rpc", "ports.rpc")
"""The command line's own port of Consul 0.7, which nobody misses."""

IGNORED = (
    *CIRCONUS,
    *ATLAS,
    "acl_enforce_version_8",
    "acl_disabled_ttl",
    *RPC,
    "reap",
    "audit",
    "snapshot_agent",
    "acl.disabled_ttl",
    "acl.msp_disable_bootstrap",
    "acl.tokens.managed_service_provider",
)


_NEWER = "it came after Consul 1.8, which this agent goes by"
_CLOUD = "use retry_join, with provider= for what a name server, a file or a program knows"
_ADVERTISE = "use advertise_addr, advertise_addr_wan and ports"
ADVICE = {
    "advertise_addrs": _ADVERTISE,
    "retry_join_ec2": _CLOUD,
    "retry_join_gce": _CLOUD,
    "retry_join_azure": _CLOUD,
    "recursor": "use recursors, a list",
    "serf_lan_bind": "use serf_lan",
    "serf_wan_bind": "use serf_wan",
    "telemetry.statsite_prefix": "use telemetry.metrics_prefix",
    "acl.tokens.initial_management": "Consul 1.8 calls it acl.tokens.master",
    "acl.tokens.agent_recovery": "Consul 1.8 calls it acl.tokens.agent_master",
    "ui_config": "use ui, ui_dir and ui_content_path",
    "tls": "use ca_file, cert_file, key_file and verify_*",
    **dict.fromkeys(
        (
            "acl.tokens.dns", "addresses.grpc_tls", "advertise_reconnect_timeout", "auto_reload_config",
            "dns_config.recursor_strategy", "experiments", "http_config.max_header_bytes", "license_path",
            "limits.request_limits", "partition", "peering", "ports.grpc_tls", "raft_boltdb",
            "raft_logstore", "read_replica", "reporting", "request_limits", "rpc", "use_streaming_backend",
            "xds",
        ),
        _NEWER,
    ),
}  # fmt: skip
"""Keys that are refused, and what to tell somebody who has them."""


OLD_FLAGS = tuple(
    f"retry-join-{name}"
    for name in (
        "ec2-region", "ec2-tag-key", "ec2-tag-value", "gce-project-name", "gce-zone-pattern", "gce-tag-value",
        "gce-credentials-file", "azure-tag-name", "azure-tag-value",
    )
)  # fmt: skip
"""How Consul 0.7 found other agents in clouds."""


def cloud_warning(name: str) -> str:
    """What to tell somebody who has one of ``OLD_FLAGS``."""
    return f"{name} is ignored: {_CLOUD.replace('retry_join', '-retry-join')}."


def atlas_warning(name: str) -> str:
    """What to tell somebody who still uses Atlas."""
    return f"{name} is ignored: Atlas no longer exists. Use -retry-join to find the other agents."


def translate(layer: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    """A layer with today's keys only; a key given under both names keeps its new one's value."""
    result: dict[str, Any] = {}
    for path, value in layer.items():
        if path in RENAMED:
            new = RENAMED[path]
            warnings.append(f"The '{path}' field is deprecated. Use the '{new}' field instead.")
            result.setdefault(new, value)
        elif path in ATLAS:
            warnings.append(atlas_warning(path))
        elif path in CIRCONUS:
            warnings.append(f"{path} is ignored: metrics cannot be sent to Circonus.")
        elif path in IGNORED:
            if path not in RPC:
                warnings.append(f"{path} is accepted, but has no effect.")
        else:
            result[path] = value
    return result
