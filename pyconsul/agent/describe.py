"""What an agent says of itself: ``/v1/agent/self``, and its addresses in the catalog."""

from __future__ import annotations

import os
import platform
import threading
from functools import cache
from typing import Any

import msgspec

from pyconsul import __version__
from pyconsul.agent.debug_config import debug_config
from pyconsul.config.schema import AgentConfig
from pyconsul.structs.catalog import Node


class ConfigDescription:
    """The parts that change with the configuration or the node only, encoded once for each."""

    def __init__(self, config: AgentConfig, node_id: str) -> None:
        self._summary = msgspec.Raw(msgspec.json.encode(config_summary(config, node_id)))
        self._node_id = node_id
        self._config: AgentConfig | None = None
        self._node: Node | None = None
        self._parts: dict[str, Any] = {}

    def parts(self, config: AgentConfig, node: Node) -> dict[str, Any]:
        """``Config``, ``DebugConfig`` and ``Meta`` of an agent as it is now configured.

        :param config: another object after each change; as for ``node``.
        """
        if config is not self._config or node is not self._node:
            self._config, self._node = config, node
            shown = debug_config(config, self._node_id, node.tagged_addresses or {})
            self._parts = {
                "Config": self._summary,
                "DebugConfig": msgspec.Raw(msgspec.json.encode(shown)),
                "Meta": node.meta,
            }
        return self._parts


BUILD = {"prerelease": "", "revision": "", "version": __version__}


def runtime_stats() -> dict[str, str]:
    """The ``runtime`` section of the statistics."""
    return {**_machine(), "goroutines": str(threading.active_count())}


@cache
def _machine() -> dict[str, str]:
    """What does not change while the process runs."""
    return {
        "arch": platform.machine(),
        "cpu_count": str(os.cpu_count() or 1),
        "max_procs": "1",
        "implementation": platform.python_implementation(),
        "os": platform.system().lower(),
        "version": platform.python_version(),
    }


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
