"""``pyconsul version``."""

from __future__ import annotations

from pyconsul import __version__
from pyconsul.cli.command import Command, Failed, Invocation
from pyconsul.cli.flags import Flag

PROTOCOL_DEFAULT, PROTOCOL_MIN, PROTOCOL_MAX = 2, 2, 3


def run(invocation: Invocation) -> int:
    """Print the version, for people or as JSON."""
    form = invocation.values["format"]
    if form == "json":
        import json

        protocols = {"Default": PROTOCOL_DEFAULT, "Min": PROTOCOL_MIN, "Max": PROTOCOL_MAX}
        facts = {"Version": __version__, "Revision": "", "Prerelease": "", "RPC": protocols}
        invocation.terminal.out(json.dumps(facts, indent=3))
    elif form == "pretty":
        invocation.terminal.out(f"Pyconsul v{__version__}")
        invocation.terminal.out(
            f"Protocol {PROTOCOL_DEFAULT} spoken by default, understands {PROTOCOL_MIN} to {PROTOCOL_MAX} "
            f"(agent will automatically use protocol >{PROTOCOL_DEFAULT} when speaking to compatible agents)"
        )
        invocation.terminal.out()
    else:
        raise Failed(f"Unknown format: {form}")
    return 0


COMMAND = Command(
    "version",
    "[options]",
    "Show the version and the protocol versions that it speaks.",
    run,
    flags=[Flag("format", "pretty or json.", default="pretty", shown="string")],
    connects=False,
)
