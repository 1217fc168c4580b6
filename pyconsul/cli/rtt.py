"""``pyconsul rtt``."""

from __future__ import annotations

from pyconsul.cli.command import Command, Failed, Invocation
from pyconsul.cli.flags import boolean
from pyconsul.client import agent, coordinate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(invocation: Invocation) -> int:
    """Estimate the round-trip time between two nodes."""
    names = invocation.arguments
    if not 1 <= len(names) <= 2:
        raise Failed("One or two node names must be specified", usage=True)
    wan = invocation.values["wan"]
    if len(names) == 1:
        names = [names[0], _this_node(invocation, wan)]
    places = _wan_places(invocation, names) if wan else _lan_places(invocation, names)
    for name in names:
        if name not in places:
            raise Failed(f'Could not find a coordinate for node "{name}"')
    distance_ms = coordinate.distance_s(places[names[0]], places[names[1]]) * 1000.0
    area = "WAN" if wan else "LAN"
    invocation.terminal.out(
        f"Estimated {names[0]} <-> {names[1]} rtt: {distance_ms:.3f} ms (using {area} coordinates)"
    )
    return 0


def _this_node(invocation: Invocation, wan: bool) -> str:
    config = invocation.do(agent.self(), "Unable to look up agent info").get("Config") or {}
    name, datacenter = config.get("NodeName", ""), config.get("Datacenter", "")
    return f"{name}.{datacenter}" if wan else name


def _lan_places(invocation: Invocation, names: list[str]) -> dict[str, Any]:
    rows = invocation.do(coordinate.nodes(), "Error getting coordinates")
    return {row["Node"]: row["Coord"] for row in rows if row["Node"] in names}


def _wan_places(invocation: Invocation, names: list[str]) -> dict[str, Any]:
    if not all("." in name for name in names):
        raise Failed("Node names must be specified as <node name>.<datacenter> with -wan")
    found = invocation.do(coordinate.datacenters(), "Error getting coordinates")
    return {
        f"{row['Node']}.{datacenter['Datacenter']}": row["Coord"]
        for datacenter in found
        for row in datacenter["Coordinates"] or ()
    }


COMMAND = Command(
    "rtt",
    "[options] NODE1 [NODE2]",
    "Estimate the round-trip time between two nodes, or between one and this agent's, from where they are "
    "in the network as all agents work it out together.",
    run,
    flags=[
        boolean(
            "wan",
            "Use the coordinates that servers of several datacenters have to each other; a name is "
            "then NODE.DATACENTER.",
        )
    ],
)
