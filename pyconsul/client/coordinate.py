"""Requests about where nodes are, in terms of round-trip times (``/v1/coordinate``)."""

from __future__ import annotations

from math import hypot

from pyconsul.client.call import (
    Call,
    a_list,
    blocking_timeout,
    encoded,
    expect,
    nothing,
    quote_path,
    read_options,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyconsul.client.call import Response


def nodes(*, index: int = 0, wait_s: float = 0.0, **options: Any) -> Call[list[dict[str, Any]]]:
    """Where the nodes are: ``Node``, ``Segment`` and ``Coord``. ``options`` are those of ``read_options``."""
    query = read_options(index=index, wait_s=wait_s, **options)
    return Call("GET", "/v1/coordinate/nodes", a_list, query, timeout_s=blocking_timeout(index, wait_s))


def node(name: str, *, index: int = 0, wait_s: float = 0.0, **options: Any) -> Call[list[dict[str, Any]]]:
    """Where one node is, in each of its network segments; empty if it has not told."""
    query = read_options(index=index, wait_s=wait_s, **options)
    path = f"/v1/coordinate/node/{quote_path(name)}"
    return Call("GET", path, _perhaps, query, timeout_s=blocking_timeout(index, wait_s))


def datacenters() -> Call[list[dict[str, Any]]]:
    """Where the servers of each datacenter are, for distances between datacenters."""
    return Call("GET", "/v1/coordinate/datacenters", a_list)


def update(name: str, coordinate: dict[str, Any], *, datacenter: str = "") -> Call[None]:
    """Tell where a node is, in its place."""
    body = encoded({"Node": name, "Coord": coordinate})
    return Call("PUT", "/v1/coordinate/update", nothing, [("dc", datacenter)], body)


def _perhaps(response: Response) -> list[Any]:
    return [] if response.status == 404 else a_list(expect(response))


def distance_s(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The round-trip time between two coordinates, in seconds."""
    apart = [a - b for a, b in zip(one["Vec"], other["Vec"])]
    plain: float = hypot(*apart) + one["Height"] + other["Height"]
    adjusted: float = plain + one["Adjustment"] + other["Adjustment"]
    return adjusted if adjusted > 0 else plain
