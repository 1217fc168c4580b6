"""Requests about sessions (``/v1/session``), events (``/v1/event``) and the leader (``/v1/status``)."""

from __future__ import annotations

from pyconsul.client.call import (
    Call,
    Response,
    a_dict,
    a_list,
    encoded,
    expect,
    quote_path,
    read_options,
    truth,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _session_id(response: Response) -> str:
    return str(a_dict(response).get("ID", ""))


def create(definition: dict[str, Any] | None = None, *, datacenter: str = "") -> Call[str]:
    """Open a session; its id. ``definition`` as the HTTP API has it."""
    return Call("PUT", "/v1/session/create", _session_id, [("dc", datacenter)], encoded(definition or {}))


def destroy(session_id: str, *, datacenter: str = "") -> Call[bool]:
    """End a session and what it holds."""
    return Call("PUT", f"/v1/session/destroy/{quote_path(session_id)}", truth, [("dc", datacenter)])


def renew(session_id: str, *, datacenter: str = "") -> Call[list[dict[str, Any]]]:
    """Let the TTL of a session start again; empty if there is no such session."""
    path = f"/v1/session/renew/{quote_path(session_id)}"
    return Call("PUT", path, _rows_or_none, [("dc", datacenter)])


def _rows_or_none(response: Response) -> list[dict[str, Any]]:
    return [] if response.status == 404 else a_list(response)


def info(session_id: str, **options: Any) -> Call[list[dict[str, Any]]]:
    """A session, as a list of one or none."""
    return Call("GET", f"/v1/session/info/{quote_path(session_id)}", a_list, read_options(**options))


def list_all(**options: Any) -> Call[list[dict[str, Any]]]:
    """All sessions."""
    return Call("GET", "/v1/session/list", a_list, read_options(**options))


def fire_event(
    name: str, payload: bytes = b"", *, node: str = "", service: str = "", tag: str = ""
) -> Call[dict[str, Any]]:
    """Send a user event to all members, or to those that the expressions match."""
    query = [("node", node), ("service", service), ("tag", tag)]
    return Call("PUT", f"/v1/event/fire/{quote_path(name)}", a_dict, query, payload)


def _text(response: Response) -> str:
    return str(expect(response).json())


def leader(*, datacenter: str = "") -> Call[str]:
    """The leader's address, or an empty string."""
    return Call("GET", "/v1/status/leader", _text, [("dc", datacenter)])


def peers(*, datacenter: str = "") -> Call[list[str]]:
    """The addresses of the servers in the Raft configuration."""
    return Call("GET", "/v1/status/peers", a_list, [("dc", datacenter)])
