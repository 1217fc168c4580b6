"""Requests about who is healthy (``/v1/health``)."""

from __future__ import annotations

from pyconsul.client.call import Call, a_list, blocking_timeout, quote_path, read_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Rows = list[dict[str, Any]]


def service(
    name: str, *, passing: bool = False, tag: str = "", index: int = 0, wait_s: float = 0.0, **options: Any
) -> Call[Rows]:
    """The instances of a service with their node and their checks.

    :param passing: only those of which every check passes.
    """
    query = [("passing", passing), ("tag", tag), *read_options(index=index, wait_s=wait_s, **options)]
    path = f"/v1/health/service/{quote_path(name)}"
    return Call("GET", path, a_list, query, timeout_s=blocking_timeout(index, wait_s))


def node(name: str, *, index: int = 0, wait_s: float = 0.0, **options: Any) -> Call[Rows]:
    """The checks of a node."""
    return _checks(f"node/{quote_path(name)}", index, wait_s, options)


def checks(service_name: str, *, index: int = 0, wait_s: float = 0.0, **options: Any) -> Call[Rows]:
    """The checks of a service on all nodes."""
    return _checks(f"checks/{quote_path(service_name)}", index, wait_s, options)


def state(name: str = "any", *, index: int = 0, wait_s: float = 0.0, **options: Any) -> Call[Rows]:
    """All checks that are ``passing``, ``warning`` or ``critical``."""
    return _checks(f"state/{name}", index, wait_s, options)


def _checks(path: str, index: int, wait_s: float, options: dict[str, Any]) -> Call[Rows]:
    query = read_options(index=index, wait_s=wait_s, **options)
    return Call("GET", f"/v1/health/{path}", a_list, query, timeout_s=blocking_timeout(index, wait_s))
