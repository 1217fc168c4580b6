"""``pyconsul leave``."""

from __future__ import annotations

from pyconsul.cli.command import Command, Invocation
from pyconsul.client import agent


def run(invocation: Invocation) -> int:
    """Make the agent leave and end."""
    if invocation.arguments:
        invocation.terminal.err(f"Error found unexpected args: [{' '.join(invocation.arguments)}]")
        invocation.terminal.out(COMMAND.help())
        return 1
    invocation.do(agent.leave(), "Error leaving")
    invocation.terminal.out("Graceful leave complete")
    return 0


COMMAND = Command("leave", "[options]", "Make an agent leave its datacenter and end.", run)
