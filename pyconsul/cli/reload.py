"""``pyconsul reload``."""

from __future__ import annotations

from pyconsul.cli.command import Command, Invocation
from pyconsul.cli.flags import boolean
from pyconsul.client import agent


def run(invocation: Invocation) -> int:
    """Make the agent read its configuration files again, or say what that would change."""
    if invocation.values["diff"]:
        lines = invocation.do(agent.reload_diff(), "Error reloading")
        for line in lines:
            invocation.terminal.out(line)
        if not lines:
            invocation.terminal.out("Nothing would change")
        return 0
    invocation.do(agent.reload(), "Error reloading")
    invocation.terminal.out("Configuration reload triggered")
    return 0


COMMAND = Command(
    "reload",
    "[options]",
    "Make an agent read its configuration files again. Not every setting can change while it runs. What "
    "is unchanged goes on undisturbed; if anything is wrong nothing changes.",
    run,
    flags=[boolean("diff", "Only show what would change, and what needs a restart.")],
)
