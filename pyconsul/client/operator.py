"""Requests about the servers themselves (``/v1/operator``)."""

from __future__ import annotations

from pyconsul.client.call import Call, ResponseError, a_dict, encoded, expect, nothing, truth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyconsul.client.call import Response

UNHEALTHY = 429


def raft_configuration(*, datacenter: str = "", stale: bool = False) -> Call[dict[str, Any]]:
    """The servers of the Raft configuration."""
    query = [("dc", datacenter), ("stale", stale)]
    return Call("GET", "/v1/operator/raft/configuration", a_dict, query)


def remove_peer(*, address: str = "", id: str = "", datacenter: str = "") -> Call[None]:
    """Take a server, by its address or by its id, out of the Raft configuration."""
    query = [("dc", datacenter), ("address", address), ("id", id)]
    return Call("DELETE", "/v1/operator/raft/peer", nothing, query)


def transfer_leader(*, id: str = "", datacenter: str = "") -> Call[bool]:
    """Make another server the leader: the one with this id, or any."""
    query = [("dc", datacenter), ("id", id)]
    return Call("PUT", "/v1/operator/raft/transfer-leader", _success, query)


def autopilot_configuration(*, datacenter: str = "", stale: bool = False) -> Call[dict[str, Any]]:
    """How Autopilot behaves."""
    query = [("dc", datacenter), ("stale", stale)]
    return Call("GET", "/v1/operator/autopilot/configuration", a_dict, query)


def set_autopilot_configuration(
    config: dict[str, Any], *, cas: int | None = None, datacenter: str = ""
) -> Call[bool]:
    """Replace that, only if its ``ModifyIndex`` still is ``cas`` where it is given; was it done?"""
    query = [("dc", datacenter), ("cas", None if cas is None else str(cas))]
    return Call("PUT", "/v1/operator/autopilot/configuration", truth, query, encoded(config))


def autopilot_health(*, datacenter: str = "") -> Call[dict[str, Any]]:
    """How the servers are, well or not."""
    return Call("GET", "/v1/operator/autopilot/health", _health, [("dc", datacenter)])


def _success(response: Response) -> bool:
    return a_dict(response).get("Success") is True


def _health(response: Response) -> dict[str, Any]:
    value = expect(response, 200, UNHEALTHY).json()
    if not isinstance(value, dict):
        raise ResponseError("the answer is not an object")
    return value
