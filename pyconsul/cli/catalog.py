"""``pyconsul catalog``: datacenters, nodes, services."""

from __future__ import annotations

from pyconsul.cli.command import NODE_META, Command, Group, Invocation, pairs, table
from pyconsul.cli.flags import Flag, boolean
from pyconsul.client import catalog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def datacenters(invocation: Invocation) -> int:
    """Print the names of all datacenters."""
    invocation.no_more_than(0)
    for name in invocation.do(catalog.datacenters(), "Error listing datacenters"):
        invocation.terminal.out(name)
    return 0


def nodes(invocation: Invocation) -> int:
    """Print nodes, all or those of a service."""
    invocation.no_more_than(0)
    given = invocation.values
    options = {
        **invocation.read_options,
        "near": given["near"],
        "filter": given["filter"],
        "node_meta": pairs(given["node-meta"]),
    }
    if given["service"]:
        call = catalog.service(given["service"], **options)
        found = invocation.do(call, "Error listing nodes for service")
        found = list({row["Node"]: row for row in found}.values())
    else:
        found = invocation.do(catalog.nodes(**options), "Error listing nodes")
    if not found:
        invocation.terminal.err("No nodes match the given query - try expanding your search.")
        return 0
    invocation.terminal.out(table(_detailed(found) if given["detailed"] else _standard(found)))
    return 0


def _standard(found: list[dict[str, Any]]) -> list[list[str]]:
    rows = [["Node", "ID", "Address", "DC"]]
    for row in found:
        short = row.get("ID", "").partition("-")[0]
        rows.append([row["Node"], short, row["Address"], row.get("Datacenter", "")])
    return rows


def _detailed(found: list[dict[str, Any]]) -> list[list[str]]:
    rows = [["Node", "ID", "Address", "DC", "TaggedAddresses", "Meta"]]
    for row in found:
        meta = row.get("Meta", row.get("NodeMeta"))
        start = [row["Node"], row.get("ID", ""), row["Address"], row.get("Datacenter", "")]
        rows.append([*start, _joined(row.get("TaggedAddresses")), _joined(meta)])
    return rows


def _joined(texts: dict[str, str] | None) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted((texts or {}).items()))


def services(invocation: Invocation) -> int:
    """Print the names of services, all or those of a node."""
    invocation.no_more_than(0)
    given = invocation.values
    options = {**invocation.read_options, "node_meta": pairs(given["node-meta"])}
    if given["node"]:
        node = invocation.do(catalog.node(given["node"], **options), "Error listing services for node")
        found: dict[str, set[str]] = {}
        for row in (node.get("Services") or {}).values():
            found.setdefault(row["Service"], set()).update(row.get("Tags") or ())
    else:
        call = catalog.services(**options)
        named = invocation.do(call, "Error listing services")
        found = {name: set(tags or ()) for name, tags in named.items()}
    if not found:
        invocation.terminal.err("No services match the given query - try expanding your search.")
        return 0
    shown = given["tags"] and any(found.values())
    width = max(map(len, found)) + 6
    for name, tags in sorted(found.items()):
        invocation.terminal.out(f"{name:<{width}}{','.join(sorted(tags))}" if shown else name)
    return 0


COMMAND = Group(
    "catalog",
    "Look at what is registered in a datacenter.",
    [
        Command(
            "catalog datacenters", "[options]", "List all datacenters.", datacenters, asks_servers=True
        ),
        Command(
            "catalog nodes",
            "[options]",
            "List nodes.",
            nodes,
            flags=[
                boolean("detailed", "Show whole ids, addresses and metadata."),
                Flag("filter", "Only nodes that this expression holds for.", shown="string"),
                Flag("near", "Sort by distance from this node; _agent is the agent's own.", shown="string"),
                NODE_META,
                Flag("service", "Only nodes with an instance of this service.", shown="string"),
            ],
            asks_servers=True,
        ),
        Command(
            "catalog services",
            "[options]",
            "List services.",
            services,
            flags=[
                Flag("node", "Only services of this node.", shown="string"),
                NODE_META,
                boolean("tags", "Show tags too."),
            ],
            asks_servers=True,
        ),
    ],
)
