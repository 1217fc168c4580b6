"""Requests about user events (``/v1/event``)."""

from __future__ import annotations

from pyconsul.client.call import Call, a_dict, a_list, blocking_timeout, quote_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def fire(
    name: str, payload: bytes = b"", *, node: str = "", service: str = "", tag: str = "", datacenter: str = ""
) -> Call[dict[str, Any]]:
    """Send an event to all agents that pass the filters, which are regular expressions.

    The value is the event, whose ``ID`` tells it from others. A tag needs a service.
    """
    query = [("dc", datacenter), ("node", node), ("service", service), ("tag", tag)]
    return Call("PUT", f"/v1/event/fire/{quote_path(name)}", a_dict, query, payload)


def events(*, name: str = "", index: int = 0, wait_s: float = 0.0) -> Call[list[dict[str, Any]]]:
    """The latest events that the agent has seen, oldest first; ``Payload`` is base64.

    The index of such an answer stands for its last event: another number, not a greater one, is news.
    """
    query = [("name", name), ("index", index or None), ("wait", f"{wait_s:g}s" if wait_s else None)]
    return Call("GET", "/v1/event/list", a_list, query, timeout_s=blocking_timeout(index, wait_s))
