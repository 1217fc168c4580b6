"""``pyconsul info``."""

from __future__ import annotations

from pyconsul.cli.command import Command, Failed, Invocation
from pyconsul.client import agent


def run(invocation: Invocation) -> int:
    """Print the agent's statistics by section."""
    facts = invocation.do(agent.self(), "Error querying agent")
    sections = facts.get("Stats")
    if not isinstance(sections, dict):
        raise Failed("Agent response did not contain 'Stats' key")
    for section, values in sorted(sections.items()):
        invocation.terminal.out(f"{section}:")
        for name, value in sorted(values.items()):
            invocation.terminal.out(f"\t{name} = {value}")
    return 0


COMMAND = Command("info", "[options]", "Show an agent's statistics, for its operators.", run)
