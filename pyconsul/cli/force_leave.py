"""``pyconsul force-leave``."""

from __future__ import annotations

from pyconsul.cli.command import Command, Failed, Invocation
from pyconsul.cli.flags import boolean
from pyconsul.client import agent


def run(invocation: Invocation) -> int:
    """Take a failed member for one that left."""
    if len(invocation.arguments) != 1:
        raise Failed("A single node name must be specified to force leave.", usage=True)
    given = invocation.values
    call = agent.force_leave(invocation.arguments[0], prune=given["prune"], wan=given["wan"])
    invocation.do(call, "Error force leaving")
    return 0


COMMAND = Command(
    "force-leave",
    "[options] NAME",
    "Take a failed member for one that left, so that nobody tries to reach it any more. A member that "
    "is alive after all comes back.",
    run,
    flags=[
        boolean("prune", "Forget the member altogether."),
        boolean("wan", "Only in the pool of the servers of all datacenters; NAME is NODE.DATACENTER then."),
    ],
)
