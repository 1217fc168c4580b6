"""``pyconsul operator``: the servers' Raft configuration, leadership and Autopilot."""

from __future__ import annotations

from pyconsul.cli.command import Command, Failed, Group, Invocation, table
from pyconsul.cli.flags import Flag, boolean, unsigned
from pyconsul.client import operator

# ---------------------------------------------------------------- raft


def list_peers(invocation: Invocation) -> int:
    """Print the servers of the Raft configuration."""
    call = operator.raft_configuration(**invocation.read_options)
    found = invocation.do(call, "Error getting peers: Failed to retrieve raft configuration")
    rows = [["Node", "ID", "Address", "State", "Voter", "RaftProtocol"]]
    for row in found.get("Servers") or ():
        state = "leader" if row["Leader"] else "follower"
        voter = "true" if row["Voter"] else "false"
        protocol = row.get("ProtocolVersion") or "<=1"
        rows.append([row["Node"], row["ID"], row["Address"], state, voter, protocol])
    invocation.terminal.out(table(rows))
    return 0


def remove_peer(invocation: Invocation) -> int:
    """Take a server out of the Raft configuration."""
    given = invocation.values
    address, server_id = given["address"], given["id"]
    problem = "Error removing peer"
    if not address and not server_id:
        raise Failed(f"{problem}: an address or id is required for the peer to remove")
    if address and server_id:
        raise Failed(f"{problem}: cannot give both an address and id")
    call = operator.remove_peer(address=address, id=server_id, datacenter=given["datacenter"])
    invocation.do(call, problem)
    what, value = ("address", address) if address else ("id", server_id)
    invocation.terminal.out(f'Removed peer with {what} "{value}"')
    return 0


def transfer_leader(invocation: Invocation) -> int:
    """Make another server the leader."""
    given = invocation.values
    problem = "Error transferring leadership"
    if not invocation.do(operator.transfer_leader(id=given["id"], datacenter=given["datacenter"]), problem):
        raise Failed(f"{problem}: it was not done")
    invocation.terminal.out("Success")
    return 0


RAFT = Group(
    "operator raft",
    "See and change which servers take part in Raft, to get rid of one that is gone for good.",
    [
        Command(
            "operator raft list-peers",
            "[options]",
            "List the servers of the Raft configuration.",
            list_peers,
            asks_servers=True,
        ),
        Command(
            "operator raft remove-peer",
            "[options]",
            "Take a server out of the Raft configuration. This is for one that gossip does not know any "
            "more; for one that failed, force-leave is better. One that is alive comes back.",
            remove_peer,
            flags=[
                Flag("address", "The server's address, IP:PORT.", shown="string"),
                Flag("id", "The server's id.", shown="string"),
            ],
            asks_servers=True,
        ),
        Command(
            "operator raft transfer-leader",
            "[options]",
            "Make another server the leader.",
            transfer_leader,
            flags=[Flag("id", "The id of the server to lead; any if this is not given.", shown="string")],
            asks_servers=True,
        ),
    ],
    also={"-list-peers": "list-peers", "-remove-peer": "remove-peer"},
)

# ---------------------------------------------------------------- autopilot


def get_config(invocation: Invocation) -> int:
    """Print how Autopilot behaves."""
    call = operator.autopilot_configuration(**invocation.read_options)
    found = invocation.do(call, "Error querying Autopilot configuration")
    for _, name in SETTINGS:
        value = found.get(name)
        if isinstance(value, bool):
            shown = "true" if value else "false"
        elif name.endswith("Tag"):
            shown = f'"{value or ""}"'
        else:
            shown = str(value)
        invocation.terminal.out(f"{name} = {shown}")
    return 0


def set_config(invocation: Invocation) -> int:
    """Change some settings, the others stay."""
    datacenter = invocation.values["datacenter"]
    call = operator.autopilot_configuration(datacenter=datacenter)
    config = invocation.do(call, "Error querying Autopilot configuration")
    for flag, name in SETTINGS:
        if flag.into in invocation.given:
            config[name] = invocation.given[flag.into]
    cas = config.get("ModifyIndex", 0)
    change = operator.set_autopilot_configuration(config, cas=cas, datacenter=datacenter)
    if not invocation.do(change, "Error setting Autopilot configuration"):
        raise Failed("Configuration could not be atomically updated, please try again")
    invocation.terminal.out("Configuration updated!")
    return 0


def _duration(text: str) -> str:
    """A duration, which the agent reads; wrong ones raise ``ValueError``."""
    from pyconsul.structs.durations import parse_ns

    parse_ns(text)
    return text


def _time(name: str, doc: str, shown: str) -> Flag:
    return Flag(name, doc, read=_duration, shown=shown)


_ENTERPRISE = "Kept for Consul Enterprise; does nothing."

SETTINGS: tuple[tuple[Flag, str], ...] = (
    (
        boolean("cleanup-dead-servers", "Whether servers that are dead are removed by themselves."),
        "CleanupDeadServers",
    ),
    (
        _time(
            "last-contact-threshold",
            "A server that has not heard of the leader for longer is not healthy.",
            "200ms",
        ),
        "LastContactThreshold",
    ),
    (
        unsigned("max-trailing-logs", "A server more entries behind the leader is not healthy."),
        "MaxTrailingLogs",
    ),
    (
        unsigned("min-quorum", "Never remove a dead server if fewer voters would be left."),
        "MinQuorum",
    ),
    (
        _time("server-stabilization-time", "How long a new server has to be healthy to get a vote.", "10s"),
        "ServerStabilizationTime",
    ),
    (Flag("redundancy-zone-tag", _ENTERPRISE), "RedundancyZoneTag"),
    (boolean("disable-upgrade-migration", _ENTERPRISE), "DisableUpgradeMigration"),
    (Flag("upgrade-version-tag", _ENTERPRISE), "UpgradeVersionTag"),
)

AUTOPILOT = Group(
    "operator autopilot",
    "See and change how Autopilot looks after the servers.",
    [
        Command(
            "operator autopilot get-config",
            "[options]",
            "Show how Autopilot behaves.",
            get_config,
            asks_servers=True,
        ),
        Command(
            "operator autopilot set-config",
            "[options]",
            "Change settings of Autopilot. Those that are not given stay as they are.",
            set_config,
            flags=[flag for flag, _ in SETTINGS],
            asks_servers=True,
        ),
    ],
)

COMMAND = Group("operator", "Tools for those who run the servers. Use them with care.", [RAFT, AUTOPILOT])
