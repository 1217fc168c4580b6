"""``pyconsul maint``."""

from __future__ import annotations

from pyconsul.cli.command import Command, Failed, Invocation
from pyconsul.cli.flags import Flag, boolean
from pyconsul.client import agent

NODE_CHECK = "_node_maintenance"
SERVICE_CHECK = "_service_maintenance:"


def run(invocation: Invocation) -> int:
    """Begin or end maintenance, or say where there is any."""
    given = invocation.values
    enable, reason, service = given["enable"], given["reason"], given["service"]
    if enable and given["disable"]:
        raise Failed("Only one of -enable or -disable may be provided")
    if reason and not enable:
        raise Failed("Reason may only be provided with -enable")
    if not enable and not given["disable"]:
        if service:
            raise Failed("Service requires either -enable or -disable")
        return show(invocation)
    what = "service" if service else "node"
    call = (
        agent.service_maintenance(service, enable, reason) if service else agent.maintenance(enable, reason)
    )
    invocation.do(call, f"Error {'enabling' if enable else 'disabling'} {what} maintenance")
    state = "enabled" if enable else "disabled"
    which = f' for "{service}"' if service else ""
    invocation.terminal.out(f"{what.capitalize()} maintenance is now {state}{which}")
    return 0


def show(invocation: Invocation) -> int:
    """What is in maintenance, and why; nothing if nothing is."""
    facts = invocation.do(agent.self(), "Error querying Consul agent")
    checks = invocation.do(agent.checks(), "Error querying Consul agent")
    if (node := checks.get(NODE_CHECK)) is not None:
        _block(invocation, "Node", "Name:   ", facts["Config"]["NodeName"], node["Notes"])
    for check_id, check in sorted(checks.items()):
        if check_id.startswith(SERVICE_CHECK):
            _block(invocation, "Service", "ID:     ", check["ServiceID"], check["Notes"])
    return 0


def _block(invocation: Invocation, what: str, label: str, name: str, reason: str) -> None:
    invocation.terminal.out(f"{what}:\n  {label}{name}\n  Reason: {reason}\n")


COMMAND = Command(
    "maint",
    "[options]",
    "Take a node or a service out of use, or back into it. While it lasts, DNS and the API's healthy "
    "results leave it out: it has a critical check more, which holds the reason. It lasts over a restart "
    "of the agent. Without -enable and -disable, show what is out of use and why.\n\n"
    '    $ pyconsul maint -enable -reason "disk full"\n'
    "    $ pyconsul maint -disable -service web1",
    run,
    flags=[
        boolean("enable", "Begin."),
        boolean("disable", "End."),
        Flag("reason", "Why, for people to read."),
        Flag("service", "Id of a service; without it the whole node is meant."),
    ],
)
