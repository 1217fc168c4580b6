"""``pyconsul join``."""

from __future__ import annotations

from pyconsul.cli.command import Command, Failed, Invocation
from pyconsul.cli.flags import boolean
from pyconsul.client import agent


def run(invocation: Invocation) -> int:
    """Join the addresses given; enough if one of them works."""
    if not invocation.arguments:
        raise Failed("At least one address to join must be specified.", usage=True)
    joined = 0
    for address in invocation.arguments:
        try:
            invocation.do(
                agent.join(address, wan=invocation.values["wan"]), f"Error joining address '{address}'"
            )
            joined += 1
        except Failed as error:
            invocation.terminal.err(str(error))
    if not joined:
        raise Failed("Failed to join any nodes.")
    invocation.terminal.out(f"Successfully joined cluster by contacting {joined} nodes.")
    return 0


COMMAND = Command(
    "join",
    "[options] ADDRESS ...",
    "Make a running agent join the datacenter that one of the addresses is a member of.",
    run,
    flags=[boolean("wan", "Join the pool of the servers of all datacenters.")],
)
