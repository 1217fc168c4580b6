"""``pyconsul reload``."""

from __future__ import annotations

from pyconsul.cli.command import Command, Invocation
from pyconsul.client import agent


def run(invocation: Invocation) -> int:
    """Make the agent read its configuration files again."""
    invocation.do(agent.reload(), "Error reloading")
    invocation.terminal.out("Configuration reload triggered")
    return 0


COMMAND = Command(
    "reload",
    "[options]",
    "Make an agent read its configuration files again. Not every setting can change while it runs.",
    run,
)
