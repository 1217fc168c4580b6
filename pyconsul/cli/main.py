"""The entry: finds the command, imports its module, runs it, and turns errors into exit statuses."""

from __future__ import annotations

import gc
import os
import sys

from pyconsul.cli.command import Command, Failed, Group, Invocation, Terminal
from pyconsul.cli.flags import HELP, HelpWanted, UsageError, parse
from pyconsul.errors import PyconsulError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

COMMANDS = {
    "agent": "Run an agent",
    "catalog": "Look at what is registered",
    "configtest": "Check configuration files (see validate)",
    "debug": "Record what an agent says of itself",
    "event": "Fire a user event",
    "exec": "Run a command on many nodes",
    "force_leave": "Take a failed member for one that left",
    "info": "Show an agent's statistics",
    "join": "Make an agent join others",
    "keygen": "Make a gossip key",
    "keyring": "List or change gossip's keys",
    "kv": "Read and write the key/value store",
    "leave": "Make an agent leave and end",
    "lock": "Run a program while holding a lock",
    "maint": "Take a node or a service out of use for a while",
    "members": "List the members an agent knows",
    "monitor": "Show an agent's log as it is written",
    "operator": "Look after the servers",
    "reload": "Make an agent read its files again",
    "rtt": "Estimate the time between two nodes",
    "services": "Register and deregister services",
    "simulate": "Run servers in virtual time through faults",
    "snapshot": "Save, restore and inspect the state of the servers",
    "tls": "Make a CA and certificates",
    "validate": "Check configuration files",
    "version": "Show the version",
    "watch": "Print data, or run a program whenever it changes",
}
"""Modules of this package, each with a ``COMMAND``, and what their commands do."""
EARLY_FLAGS = """Invalid flags before the subcommand. If these flags are for
the subcommand, please put them after the subcommand.
"""

HEAVY = {"agent"}
"""Those that run for long in a process of their own, and load Twisted."""

NOT_FOUND = 127


def run() -> NoReturn:
    """What the ``pyconsul`` script calls.

    Loading makes no garbage, and looking for it is a tenth of a start. Commands that run for long
    enable collection once they have started.
    """
    gc.disable()
    terminal = Terminal(sys.stdin.buffer, sys.stdout, sys.stderr, os.environ)
    try:
        status = main(sys.argv[1:], terminal, load_lean)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 1
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def load(name: str) -> Command | Group:
    """The command in the module ``name``."""
    found: Command | Group = __import__(f"pyconsul.cli.{name}", fromlist=["COMMAND"]).COMMAND
    return found


def load_lean(name: str) -> Command | Group:
    """The same, for a process that does nothing else."""
    if name not in HEAVY:
        return load(name)
    from pyconsul import bundle

    bundle.install()
    from pyconsul.stand_ins import stand_ins

    with stand_ins():
        return load(name)


def main(arguments: Sequence[str], terminal: Terminal, load: Callable[[str], Command | Group] = load) -> int:
    """Run the command that ``arguments`` name; its exit status.

    :param load: gives the command of a name.
    """
    if arguments and arguments[0] in ("-v", "-version", "--version"):
        arguments = ["version"]
    if arguments and arguments[0] in HELP:
        terminal.out(overview())
        return 0
    if arguments and arguments[0][:1] == "-" and (named := _named(arguments)):
        terminal.err(EARLY_FLAGS)
        terminal.err(load(named).help())
        return 1
    name = arguments[0].replace("-", "_") if arguments and arguments[0][:1] != "-" else ""
    if name not in COMMANDS or "_" in arguments[0]:
        terminal.err(overview())
        return NOT_FOUND
    found = load(name)
    rest = arguments[1:]
    while isinstance(found, Group):
        below = found.find(rest[0]) if rest else None
        if below is None:
            wanted = bool(rest) and rest[0] in HELP
            (terminal.out if wanted else terminal.err)(found.help())
            return 0 if wanted else 1
        found, rest = below, rest[1:]
    return perform(found, rest, terminal)


def _named(arguments: Sequence[str]) -> str:
    """The first of ``arguments`` that is no flag, if it is a command."""
    first = next((argument for argument in arguments if argument[:1] != "-"), "")
    return first.replace("-", "_") if first in overview_names() else ""


def perform(command: Command, arguments: Sequence[str], terminal: Terminal) -> int:
    """Run one command with its flags and arguments; its exit status."""
    try:
        given, rest = parse(command.flags, arguments)
    except HelpWanted:
        terminal.out(command.help())
        return 0
    except UsageError as error:
        terminal.err(str(error))
        terminal.err(command.help())
        return 1
    invocation = Invocation(command.flags, given, rest, terminal)
    try:
        return command.run(invocation)
    except Failed as error:
        terminal.err(str(error))
        if error.usage:
            terminal.err()
            terminal.err(command.help())
        return 1
    except PyconsulError as error:
        terminal.err(str(error))
        return 1
    finally:
        invocation.close()


def overview_names() -> dict[str, str]:
    """Commands as they are typed, with what they do."""
    return {name.replace("_", "-"): about for name, about in COMMANDS.items()}


def overview() -> str:
    """What there is, for somebody who named no command."""
    names = overview_names()
    width = max(map(len, names))
    lines = [f"    {name:<{width}}    {about}" for name, about in sorted(names.items())]
    usage = "Usage: pyconsul [--version] [--help] <command> [<args>]"
    return "\n".join([usage, "", "Available commands are:", *lines, ""])
