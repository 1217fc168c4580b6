"""``/v1/operator/keyring``: the keys of all gossip pools."""

from __future__ import annotations

import re
from typing import Any, Protocol

from msgspec import Struct, field
from twisted.internet.defer import Deferred

from pyconsul.errors import BadRequest, Refused
from pyconsul.http.answer import Answer, empty
from pyconsul.http.query import Query
from pyconsul.http.reads import ask
from pyconsul.http.routes import App, route
from pyconsul.interfaces import Agent
from pyconsul.structs.bodies import PREFIX, decode
from pyconsul.structs.keyring import (
    INSTALL,
    LIST,
    RELAY_FACTOR_MAX,
    REMOVE,
    USE,
    KeyringRequest,
    KeyringResponse,
)

Result = Answer | Deferred[Answer]

BAD = "Bad request: "
NEEDS_SERVER = "keyring operations must run against a server node"

_OPERATIONS = {b"POST": INSTALL, b"PUT": USE, b"DELETE": REMOVE}
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}", re.ASCII)


class KeyBody(Struct, rename="pascal"):
    """The body of a change."""

    key: str = ""


class PoolKeys(Struct, rename="pascal", kw_only=True):
    """The keys of one pool, as they are shown."""

    wan: bool = field(name="WAN")
    datacenter: str
    segment: str
    keys: dict[str, int]
    primary_keys: dict[str, int]
    num_nodes: int


class KeyringAgent(Agent, Protocol):
    """An agent, of which only servers change keys."""

    is_server: bool


def add_routes(app: App, agent: KeyringAgent) -> None:
    """Declare the routes of this module."""

    @route(app, "/v1/operator/keyring")
    def keys(query: Query) -> Result:
        """The keys of each pool, with how many members have them."""
        request = KeyringRequest(operation=LIST, relay_factor=_relay_factor(query), local_only=_local(query))
        return _perform(query, request, _listed)

    @route(app, "/v1/operator/keyring", ["POST", "PUT", "DELETE"])
    def change(query: Query) -> Result:
        """Install a key, use it from now on, or remove it, on all members of all pools."""
        body = decode(query.body, KeyBody, prefix=BAD + PREFIX)
        relay_factor = _relay_factor(query)
        if _local(query):
            text = "Invalid use of local-only: local-only can only be set for list requests"
            raise BadRequest(BAD + text)
        operation = _OPERATIONS[query.method]
        request = KeyringRequest(operation=operation, key=body.key, relay_factor=relay_factor)
        return _perform(query, request, _changed)

    def _perform(query: Query, request: KeyringRequest, shape: Any) -> Result:
        if not agent.is_server:
            raise Refused(NEEDS_SERVER)
        request.token = query.token
        return ask(agent, "Internal.KeyringOperation", request, shape)


def _relay_factor(query: Query) -> int:
    given = query.get("relay-factor")
    if not given:
        return 0
    if not _NUMBER.fullmatch(given):
        text = f'Error parsing relay factor: strconv.Atoi: parsing "{given}": invalid syntax'
        raise BadRequest(BAD + text)
    if not 0 <= int(given) <= RELAY_FACTOR_MAX:
        text = f"Invalid relay-factor: Relay factor must be in range: [0, {RELAY_FACTOR_MAX}]"
        raise BadRequest(BAD + text)
    return int(given)


def _local(query: Query) -> bool:
    given = query.get("local-only")
    flag = query.flag("local-only") if given else False
    if flag is None:
        text = f'Error parsing local-only: strconv.ParseBool: parsing "{given}": invalid syntax'
        raise BadRequest(BAD + text)
    return flag


def _listed(reply: Any) -> Answer:
    responses = reply.responses or []
    _raise_errors(responses)
    shown = [
        PoolKeys(
            wan=response.wan,
            datacenter=response.datacenter,
            segment=response.segment,
            keys=response.keys or {},
            primary_keys=response.primary_keys or {},
            num_nodes=response.num_nodes,
        )
        for response in responses
    ]
    return Answer(json=shown)


def _changed(reply: Any) -> Answer:
    _raise_errors(reply.responses or [])
    return empty()


def _raise_errors(responses: list[KeyringResponse]) -> None:
    """Raise what went wrong in any pool, each member's words on a line of their own."""
    errors = []
    for response in responses:
        if response.error:
            pool = "WAN" if response.wan else f"{response.datacenter} (LAN)"
            errors.append(f"{pool} error: {response.error}")
            errors += [f"{node}: {message}" for node, message in (response.messages or {}).items()]
    if errors:
        head = "1 error occurred:" if len(errors) == 1 else f"{len(errors)} errors occurred:"
        raise Refused(head + "".join(f"\n\t* {error}" for error in errors) + "\n\n")
