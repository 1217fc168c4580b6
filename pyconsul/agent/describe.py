"""What an agent says of itself: ``/v1/agent/self``, and its addresses in the catalog."""

from __future__ import annotations

from typing import Any

from pyconsul import __version__
from pyconsul.config.schema import AgentConfig


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
