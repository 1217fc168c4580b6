"""Requests to the agent about itself and its members (``/v1/agent``)."""

from __future__ import annotations

from pyconsul.client.call import Call, a_dict, a_list, encoded, nothing, quote_path

SILENCE_S = 86_400.0
"""A log may be silent for so long."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def self() -> Call[dict[str, Any]]:
    """The agent's configuration, statistics and member record."""
    return Call("GET", "/v1/agent/self", a_dict)


def members(*, wan: bool = False, segment: str = "") -> Call[list[dict[str, Any]]]:
    """The members of the LAN or of the WAN pool."""
    query = [("segment", segment), ("wan", 1 if wan else None)]
    return Call("GET", "/v1/agent/members", a_list, query)


def join(address: str, *, wan: bool = False) -> Call[None]:
    """Join the pool that ``address`` is a member of."""
    return Call("PUT", f"/v1/agent/join/{quote_path(address)}", nothing, [("wan", 1 if wan else None)])


def leave() -> Call[None]:
    """Leave the pools and end the agent."""
    return Call("PUT", "/v1/agent/leave", nothing)


def force_leave(node: str, *, prune: bool = False, wan: bool = False) -> Call[None]:
    """Take a failed member for one that left; with ``prune``, forget it.

    With ``wan`` only in the WAN pool; the name is ``NODE.DATACENTER`` then.
    """
    query = [("prune", 1 if prune else None), ("wan", 1 if wan else None)]
    return Call("PUT", f"/v1/agent/force-leave/{quote_path(node)}", nothing, query)


def reload() -> Call[None]:
    """Read the configuration files again."""
    return Call("PUT", "/v1/agent/reload", nothing)


def reload_diff() -> Call[list[str]]:
    """What reading them again would change, a line each; only agents of this program know that."""
    return Call("PUT", "/v1/agent/reload", a_list, [("diff", 1)])


def monitor(level: str = "INFO", *, as_json: bool = False) -> Call[None]:
    """The agent's log as it is written, for ``Client.stream``, without end."""
    query = [("logjson", "true" if as_json else None), ("loglevel", level)]
    return Call("GET", "/v1/agent/monitor", nothing, query, timeout_s=SILENCE_S)


def services(*, filter: str = "") -> Call[dict[str, Any]]:
    """The agent's services by id."""
    return Call("GET", "/v1/agent/services", a_dict, [("filter", filter)])


def checks(*, filter: str = "") -> Call[dict[str, Any]]:
    """The agent's checks by id."""
    return Call("GET", "/v1/agent/checks", a_dict, [("filter", filter)])


def register_service(definition: dict[str, Any]) -> Call[None]:
    """Register a service on the agent; ``definition`` as the HTTP API has it."""
    return Call("PUT", "/v1/agent/service/register", nothing, body=encoded(definition))


def deregister_service(service_id: str) -> Call[None]:
    """Take a service of the agent away."""
    return Call("PUT", f"/v1/agent/service/deregister/{quote_path(service_id)}", nothing)


def register_check(definition: dict[str, Any]) -> Call[None]:
    """Register a check on the agent; ``definition`` as the HTTP API has it."""
    return Call("PUT", "/v1/agent/check/register", nothing, body=encoded(definition))


def deregister_check(check_id: str) -> Call[None]:
    """Take a check of the agent away."""
    return Call("PUT", f"/v1/agent/check/deregister/{quote_path(check_id)}", nothing)


def update_ttl(check_id: str, status: str, output: str = "") -> Call[None]:
    """Report the state of a TTL check: ``passing``, ``warning`` or ``critical``."""
    body = encoded({"Status": status, "Output": output})
    return Call("PUT", f"/v1/agent/check/update/{quote_path(check_id)}", nothing, body=body)


def maintenance(enable: bool, reason: str = "") -> Call[None]:
    """Put the node into maintenance mode, or take it out."""
    query = [("enable", str(enable).lower()), ("reason", reason)]
    return Call("PUT", "/v1/agent/maintenance", nothing, query)


def service_maintenance(service_id: str, enable: bool, reason: str = "") -> Call[None]:
    """Put one service into maintenance mode, or take it out."""
    query = [("enable", str(enable).lower()), ("reason", reason)]
    return Call("PUT", f"/v1/agent/service/maintenance/{quote_path(service_id)}", nothing, query)
