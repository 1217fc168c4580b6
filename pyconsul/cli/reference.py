"""The reference page of all commands, made from their help."""

from __future__ import annotations

from collections.abc import Iterator

from pyconsul.cli.command import Command, Group
from pyconsul.cli.main import COMMANDS, load


def commands() -> Iterator[Command]:
    """Every command, by name."""
    for name in COMMANDS:
        yield from _below(load(name))


def _below(found: Command | Group) -> Iterator[Command]:
    if isinstance(found, Group):
        for command in found.commands.values():
            yield from _below(command)
    else:
        yield found


def render() -> str:
    """reStructuredText: each command with its help."""
    lines: list[str] = []
    for command in sorted(commands(), key=lambda command: command.name):
        lines += [command.name, "-" * len(command.name), "", ".. code-block:: text", ""]
        lines += [f"    {line}".rstrip() for line in command.help().splitlines()]
        lines.append("")
    return "\n".join(lines)
