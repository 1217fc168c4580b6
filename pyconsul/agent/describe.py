"""What an agent says of itself: ``/v1/agent/self``, and its addresses in the catalog."""

from __future__ import annotations

import math
from typing import Any

from pyconsul import __version__
from pyconsul.config.kinds import DURATION, DURATION_MAP, Kind
from pyconsul.config.schema import AgentConfig
from pyconsul.config.setting import declared
from pyconsul.structs.durations import format_ns

HIDDEN = "hidden"


def debug_config(config: AgentConfig) -> dict[str, Any]:
    """Every setting by its key in files; secrets are hidden, durations are texts."""
    shown: dict[str, Any] = {}
    for item in declared(config):
        group = shown
        *path, name = item.path.split(".")
        for part in path:
            group = group.setdefault(part, {})
        value = item.default
        if item.setting.secret and value:
            value = HIDDEN
        group[name] = _show(value, item.setting.kind)
    return shown


def _show(value: Any, kind: Kind) -> Any:
    if kind is DURATION:
        return format_ns(int(value * 1e9))
    if kind is DURATION_MAP:
        return {name: format_ns(int(seconds * 1e9)) for name, seconds in value.items()}
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


def config_summary(config: AgentConfig, node_id: str) -> dict[str, Any]:
    """The ``Config`` part."""
    return {
        "Datacenter": config.datacenter,
        "NodeName": config.node_name,
        "NodeID": node_id,
        "Revision": "",
        "Server": config.server,
        "Version": __version__,
    }


def tagged_addresses(config: AgentConfig) -> dict[str, str]:
    """Where a node is reached from within its datacenter and from others, by kind of address."""
    lan = config.advertise_addr
    wan = config.advertise_addr_wan or lan
    tagged = {"lan": lan, "wan": wan}
    for kind, address, given in (
        ("lan", lan, config.advertise_addr_ipv4),
        ("wan", wan, config.advertise_addr_wan_ipv4),
    ):
        if given or ":" not in address:
            tagged[f"{kind}_ipv4"] = given or address
    lan_ipv6 = config.advertise_addr_ipv6 or (lan if ":" in lan else "")
    if lan_ipv6:
        tagged["lan_ipv6"] = lan_ipv6
    if ":" in wan:
        tagged["wan_ipv6"] = wan
    return tagged
