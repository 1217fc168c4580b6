"""``pyconsul monitor``."""

from __future__ import annotations

from pyconsul.cli.command import Command, Failed, Invocation
from pyconsul.cli.flags import Flag, boolean
from pyconsul.client import agent
from pyconsul.errors import PyconsulError

ENDED = "\nRemote side ended the monitor! This usually means that the\nremote side has exited or crashed."


def run(invocation: Invocation) -> int:
    """Print lines as they come, until the agent ends or the user has enough."""
    given = invocation.values
    terminal = invocation.terminal
    call = agent.monitor(given["log-level"], as_json=given["log-json"])
    started = False
    try:
        for piece in invocation.client().stream(call):
            started = True
            terminal.write(piece)
            terminal.stdout.flush()
    except KeyboardInterrupt:
        return 0
    except PyconsulError as error:
        if not started:
            kind = "JSON monitor" if given["log-json"] else "monitor"
            raise Failed(f"Error starting {kind}: {error}") from None
    terminal.out(ENDED)
    return 0


COMMAND = Command(
    "monitor",
    "[options]",
    "Show an agent's log as it is written, also lines that it does not write itself because they are less "
    "important. Ends with Ctrl-C, or with the agent.",
    run,
    flags=[
        Flag("log-level", "TRACE, DEBUG, INFO, WARN or ERR.", default="INFO", shown="string"),
        boolean("log-json", "Lines are JSON."),
    ],
)
