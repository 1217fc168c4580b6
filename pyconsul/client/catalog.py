"""Requests about what is registered in a datacenter (``/v1/catalog``)."""

from __future__ import annotations

from pyconsul.client.call import (
    Call,
    a_dict,
    a_list,
    blocking_timeout,
    encoded,
    quote_path,
    read_options,
    truth,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def datacenters() -> Call[list[str]]:
    """The names of all datacenters, the nearest first."""
    return Call("GET", "/v1/catalog/datacenters", a_list)


def nodes(*, index: int = 0, wait_s: float = 0.0, **options: Any) -> Call[list[dict[str, Any]]]:
    """All nodes. ``options`` are those of ``read_options``."""
    query = read_options(index=index, wait_s=wait_s, **options)
    return Call("GET", "/v1/catalog/nodes", a_list, query, timeout_s=blocking_timeout(index, wait_s))


def services(*, index: int = 0, wait_s: float = 0.0, **options: Any) -> Call[dict[str, list[str]]]:
    """The names of all services, each with its tags."""
    query = read_options(index=index, wait_s=wait_s, **options)
    return Call("GET", "/v1/catalog/services", a_dict, query, timeout_s=blocking_timeout(index, wait_s))


def service(
    name: str, *, tag: str = "", index: int = 0, wait_s: float = 0.0, **options: Any
) -> Call[list[dict[str, Any]]]:
    """The instances of a service."""
    query = [("tag", tag), *read_options(index=index, wait_s=wait_s, **options)]
    path = f"/v1/catalog/service/{quote_path(name)}"
    return Call("GET", path, a_list, query, timeout_s=blocking_timeout(index, wait_s))


def node(name: str, *, index: int = 0, wait_s: float = 0.0, **options: Any) -> Call[dict[str, Any]]:
    """A node and its services by id; empty if there is none of this name."""
    query = read_options(index=index, wait_s=wait_s, **options)
    path = f"/v1/catalog/node/{quote_path(name)}"
    return Call("GET", path, a_dict, query, timeout_s=blocking_timeout(index, wait_s))


def register(registration: dict[str, Any], *, datacenter: str = "") -> Call[bool]:
    """Write to the catalog past any agent; ``registration`` as the HTTP API has it."""
    return Call("PUT", "/v1/catalog/register", truth, [("dc", datacenter)], encoded(registration))


def deregister(registration: dict[str, Any], *, datacenter: str = "") -> Call[bool]:
    """Remove a node, a service or a check from the catalog."""
    return Call("PUT", "/v1/catalog/deregister", truth, [("dc", datacenter)], encoded(registration))
