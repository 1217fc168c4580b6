"""``pyconsul services``: register, deregister."""

from __future__ import annotations

from pyconsul.cli.command import Command, Failed, Group, Invocation, pairs
from pyconsul.cli.flags import BadValue, Flag, repeated
from pyconsul.client import agent
from pyconsul.errors import PyconsulError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def register(invocation: Invocation) -> int:
    """Register one service from flags, or all that stand in files."""
    given = invocation.values
    if invocation.arguments:
        if given["name"]:
            raise Failed("Service registration requires arguments or -id, not both.")
        services = in_files(invocation)
    elif given["name"]:
        services = [from_flags(given)]
    else:
        raise Failed("Service registration requires at least one argument or flags.")
    for service in services:
        name = service.get("Name", "")
        invocation.do(agent.register_service(service), f'Error registering service "{name}"')
        invocation.terminal.out(f"Registered service: {name}")
    return 0


def deregister(invocation: Invocation) -> int:
    """Deregister one service by its id, or all that stand in files."""
    service_id = invocation.values["id"]
    if invocation.arguments:
        if service_id:
            raise Failed("Service deregistration requires arguments or -id, not both.")
        ids = [service.get("ID") or service.get("Name", "") for service in in_files(invocation)]
    elif service_id:
        ids = [service_id]
    else:
        raise Failed("Service deregistration requires at least one argument or -id.")
    for service_id in ids:
        invocation.do(agent.deregister_service(service_id), f'Error deregistering service "{service_id}"')
        invocation.terminal.out(f"Deregistered service: {service_id}")
    return 0


def in_files(invocation: Invocation) -> list[dict[str, Any]]:
    """The services that stand in files, as the API takes them."""
    from pyconsul.config.definitions import service_body
    from pyconsul.config.sources import services_in

    try:
        return [service_body(raw) for raw in services_in(invocation.arguments)]
    except PyconsulError as error:
        raise Failed(f"Error: {error}") from None


def from_flags(given: dict[str, Any]) -> dict[str, Any]:
    """The service that flags describe, without what they leave out."""
    addresses = {name: _listens(text) for name, text in pairs(given["tagged-address"]).items()}
    service = {
        "Kind": given["kind"],
        "ID": given["id"],
        "Name": given["name"],
        "Address": given["address"],
        "Port": given["port"],
        "Tags": list(given["tag"]),
        "Meta": pairs(given["meta"]),
        "TaggedAddresses": addresses,
    }
    return {name: value for name, value in service.items() if value}


def _listens(text: str) -> dict[str, Any]:
    host, colon, port = text.rpartition(":")
    if not colon:
        raise Failed(f"Invalid Tagged Address: address {text}: missing port in address")
    if not port.isascii() or not port.isdigit():
        raise Failed(f'Invalid Tagged Address: strconv.Atoi: parsing "{port}": invalid syntax')
    return {"Address": host.strip("[]"), "Port": int(port)}


def _number(text: str) -> int:
    return int(text, 0)


def _pair(text: str) -> str:
    if "=" not in text:
        raise BadValue(f'Missing "=" value in argument: {text}')
    return text


COMMAND = Group(
    "services",
    "Register services with the agent of this machine, and deregister them.",
    [
        Command(
            "services register",
            "[options] [FILE...]",
            "Register services with an agent: one that flags describe, or all that stand in files of the "
            "form that the agent's own files have. They stay registered until they are deregistered; what "
            "stands in the agent's own files is better there.\n\n"
            "    $ pyconsul services register web.json\n"
            "    $ pyconsul services register -name=web -port=80",
            register,
            flags=[
                Flag("id", "Id of the service; its name if this is not given.", shown="string"),
                Flag("name", "Name of the service.", shown="string"),
                Flag("address", "Address of the service.", shown="string"),
                Flag("port", "Port of the service.", default=0, read=_number, shown="int"),
                Flag("kind", "Kind of the service.", shown="string"),
                repeated("tag", "Tag of the service. May be repeated."),
                Flag("meta", "Metadata, KEY=VALUE. May be repeated.", default=(), read=_pair, many=True),
                Flag(
                    "tagged-address",
                    "Another address, NAME=HOST:PORT. May be repeated.",
                    default=(),
                    read=_pair,
                    many=True,
                ),
            ],
            asks_servers=True,
        ),
        Command(
            "services deregister",
            "[options] [FILE...]",
            "Deregister services with an agent: the one with an id, or all that stand in files.\n\n"
            "    $ pyconsul services deregister -id web1",
            deregister,
            flags=[Flag("id", "Id of the service.", shown="string")],
            asks_servers=True,
        ),
    ],
)
