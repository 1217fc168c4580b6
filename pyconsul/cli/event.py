"""``pyconsul event``."""

from __future__ import annotations

from pyconsul.cli.command import Command, Failed, Invocation
from pyconsul.cli.flags import Flag
from pyconsul.client import event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FILTERS = ("node", "service", "tag")


def run(invocation: Invocation) -> int:
    """Fire a user event."""
    given, arguments = invocation.values, invocation.arguments
    if not given["name"]:
        raise Failed("Event name must be specified", usage=True)
    check_filters(given)
    if len(arguments) > 1:
        raise Failed("Too many command line arguments.", usage=True)
    payload = arguments[0].encode("utf-8", "surrogateescape") if arguments else b""
    filters = {name: given[name] for name in FILTERS}
    fired = invocation.do(event.fire(given["name"], payload, **filters), "Error firing event")
    invocation.terminal.out(f"Event ID: {fired.get('ID', '')}")
    return 0


def check_filters(given: Mapping[str, Any]) -> None:
    """Raise ``Failed`` if the flags of ``FILTERS`` cannot be used so."""
    if given["tag"] and not given["service"]:
        raise Failed("Cannot provide tag filter without service filter.")
    for name in FILTERS:
        _check(name, given[name])


def _check(name: str, expression: str) -> None:
    if not expression:
        return
    from pyconsul.regexp.expressions import BadExpression, Expression

    try:
        Expression(expression)
    except BadExpression as error:
        raise Failed(f"Failed to compile {name} filter regexp: {error}") from None


COMMAND = Command(
    "event",
    "[options] [payload]",
    "Fire a user event: something that all agents of the datacenter hear of, or those that pass filters "
    "by node, service and tag.",
    run,
    flags=[
        Flag("name", "Name of the event.", shown="string"),
        Flag("node", "Regular expression for names of nodes.", shown="string"),
        Flag("service", "Regular expression for services on the nodes.", shown="string"),
        Flag("tag", "Regular expression for tags of those services; needs -service.", shown="string"),
    ],
)
