"""``pyconsul members``."""

from __future__ import annotations

from pyconsul.cli.command import Command, Failed, Invocation, table
from pyconsul.cli.flags import Flag, boolean
from pyconsul.client import agent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STATUSES = ("none", "alive", "leaving", "left", "failed")
_ALL = "_all"  # what the API calls all segments
NONE_MATCH = 2


def run(invocation: Invocation) -> int:
    """Print the members an agent knows."""
    given = invocation.values
    call = agent.members(wan=given["wan"], segment=given["segment"])
    found = invocation.do(call, "Error retrieving members")
    members = sorted(
        (_with_segment(row) for row in found), key=lambda row: (row["Tags"]["segment"], row["Name"])
    )
    members = [row for row in members if _matches(given["status"], row)]
    if not members:
        return NONE_MATCH
    rows = _detailed(members) if given["detailed"] else _standard(members)
    invocation.terminal.out(table(rows))
    return 0


def _with_segment(row: dict[str, Any]) -> dict[str, Any]:
    """A member whose tags always name a segment: servers are in all of them."""
    tags = dict(row.get("Tags") or {})
    if tags.get("role") == "consul":
        tags["segment"] = "<all>"
    elif not tags.get("segment"):
        tags["segment"] = "<default>"
    return {**row, "Tags": tags}


def _status(row: dict[str, Any]) -> str:
    number = row.get("Status", 0)
    return STATUSES[number] if 0 <= number < len(STATUSES) else "unknown"


def _matches(expression: str, row: dict[str, Any]) -> bool:
    if expression == ".*":
        return True
    from pyconsul.regexp.expressions import BadExpression, Expression

    try:
        return Expression(expression).search(_status(row))
    except BadExpression as error:
        raise Failed(f"Failed to compile status regexp: {error}") from None


def _address(row: dict[str, Any]) -> str:
    host = row.get("Addr", "")
    return f"[{host}]:{row.get('Port', 0)}" if ":" in host else f"{host}:{row.get('Port', 0)}"


def _standard(members: list[dict[str, Any]]) -> list[list[str]]:
    rows = [["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Segment"]]
    for row in members:
        tags = row["Tags"]
        start = [row["Name"], _address(row), _status(row)]
        kind = {"node": "client", "consul": "server"}.get(tags.get("role", ""))
        if kind is None:
            rows.append([*start, "unknown", "", "", "", ""])
            continue
        build = tags.get("build", "").partition(":")[0] or "< 0.3"
        rows.append([*start, kind, build, tags.get("vsn", ""), tags.get("dc", ""), tags["segment"]])
    return rows


def _detailed(members: list[dict[str, Any]]) -> list[list[str]]:
    rows = [["Node", "Address", "Status", "Tags"]]
    for row in members:
        tags = ",".join(f"{name}={value}" for name, value in sorted(row["Tags"].items()))
        rows.append([row["Name"], _address(row), _status(row), tags])
    return rows


COMMAND = Command(
    "members",
    "[options]",
    "List the members an agent knows, with their state.",
    run,
    flags=[
        boolean("detailed", "Show all tags."),
        Flag("segment", "Only members of this segment; an Enterprise feature.", default=_ALL),
        Flag("status", "Only members whose status matches this expression.", default=".*", shown="string"),
        boolean("wan", "Show the servers of all datacenters instead."),
    ],
)
