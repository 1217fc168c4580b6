"""``pyconsul keyring``."""

from __future__ import annotations

from pyconsul.cli.command import Command, Failed, Invocation
from pyconsul.cli.flags import Flag, boolean
from pyconsul.client import keyring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RELAY_FACTOR_MAX = 5
CHANGES = {
    "install": ("==> Installing new gossip encryption key...", keyring.install),
    "use": ("==> Changing primary gossip encryption key...", keyring.use),
    "remove": ("==> Removing gossip encryption key...", keyring.remove),
}


def run(invocation: Invocation) -> int:
    """List or change gossip's keys."""
    given = invocation.values
    lists = [name for name in ("list", "list-primary") if given[name]]
    changes = [name for name in CHANGES if given[name]]
    if not lists and not changes:
        invocation.terminal.err(COMMAND.help())
        return 1
    if len(lists) + len(changes) > 1:
        raise Failed("Only a single action is allowed")
    relay_factor = given["relay-factor"]
    if not 0 <= relay_factor <= RELAY_FACTOR_MAX:
        text = f"Relay factor must be in range: [0, {RELAY_FACTOR_MAX}]"
        raise Failed(f"Error parsing relay factor: {text}")
    if lists:
        return _list(invocation, lists[0] == "list-primary", relay_factor)
    if given["local-only"]:
        text = "local-only can only be set for list requests"
        raise Failed(f"Error validating local-only: {text}")
    said, change = CHANGES[changes[0]]
    invocation.terminal.out(said)
    invocation.do(change(given[changes[0]], relay_factor=relay_factor), "error")
    return 0


def _list(invocation: Invocation, primary: bool, relay_factor: int) -> int:
    what = "primary " if primary else ""
    invocation.terminal.out(f"==> Gathering installed {what}encryption keys...")
    call = keyring.keys(relay_factor=relay_factor, local_only=invocation.values["local-only"])
    for pool in invocation.do(call, "error"):
        invocation.terminal.out()
        invocation.terminal.out(_pool(pool) + ":")
        found = pool.get("PrimaryKeys" if primary else "Keys") or {}
        for key, count in sorted(found.items()):
            invocation.terminal.out(f"  {key} [{count}/{pool.get('NumNodes', 0)}]")
    return 0


def _pool(pool: dict[str, Any]) -> str:
    if pool.get("WAN"):
        return "WAN"
    segment = f" [{pool['Segment']}]" if pool.get("Segment") else ""
    return f"{pool.get('Datacenter', '')} (LAN){segment}"


COMMAND = Command(
    "keyring",
    "[options]",
    "List or change the keys that gossip is encrypted with, on all agents.\n\n"
    "A new key takes three steps: -install it everywhere, -use it, then -remove the old one. Only servers "
    "do this. The exit status is 1 if any agent failed or did not answer.",
    run,
    flags=[
        Flag("install", "Give all agents this key.", shown="string"),
        boolean("list", "List all keys, with how many agents have them."),
        boolean("list-primary", "List the keys that agents encrypt with."),
        boolean("local-only", "Ask only the agents of the server's own datacenter; for lists."),
        Flag(
            "relay-factor",
            "Have answers also come through this many other agents, at most 5.",
            default=0,
            read=int,
            shown="int",
        ),
        Flag("remove", "Have all agents forget this key, which must not be in use.", shown="string"),
        Flag("use", "Have all agents encrypt with this key, which must be installed.", shown="string"),
    ],
)
