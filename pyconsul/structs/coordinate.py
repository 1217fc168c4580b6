"""Network coordinates: where nodes are, in terms of round-trip times (specs of coordinates).

All lengths are seconds. How a node finds its own place is told in ``pyconsul.serf.coordinates``.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, isfinite

from msgspec import Struct, field

from pyconsul.structs.query import QueryMeta, WriteRequest

DIMENSIONS = 8
ERROR_MAX = 1.5
HEIGHT_MIN = 10e-6

LAN_AREA, WAN_AREA = "lan", "wan"


class Coordinate(Struct, frozen=True, rename="pascal"):
    """A place in the network; ``vec`` has ``DIMENSIONS`` numbers."""

    vec: tuple[float, ...] = (0.0,) * DIMENSIONS
    error: float = ERROR_MAX
    adjustment: float = 0.0
    height: float = HEIGHT_MIN

    @property
    def finite(self) -> bool:
        """Whether every number is one."""
        return isfinite(sum(self.vec) + self.error + self.adjustment + self.height)

    @property
    def valid(self) -> bool:
        """Whether every number is finite and the dimension is ours."""
        return len(self.vec) == DIMENSIONS and self.finite

    def raw_distance_to(self, other: Coordinate) -> float:
        """Distance without the adjustment terms."""
        return length(difference(self.vec, other.vec)) + self.height + other.height

    def distance_to(self, other: Coordinate) -> float:
        """The round-trip time that one should expect."""
        plain = self.raw_distance_to(other)
        adjusted = plain + self.adjustment + other.adjustment
        return adjusted if adjusted > 0 else plain


def difference(left: Sequence[float], right: Sequence[float]) -> list[float]:
    """``left`` less ``right``."""
    return [a - b for a, b in zip(left, right)]


def length(vec: Sequence[float]) -> float:
    """How long a vector is."""
    return hypot(*vec)


class NodeCoordinate(Struct, rename="pascal", frozen=True, kw_only=True):
    """A row of the coordinate table: where a node is, within a network segment."""

    node: str
    segment: str = ""
    coord: Coordinate


class DatacenterMap(Struct, rename="pascal", frozen=True, kw_only=True):
    """Where the servers of a datacenter are, by the pool that servers of all datacenters share."""

    datacenter: str
    area_id: str = field(default=WAN_AREA, name="AreaID")
    coordinates: list[NodeCoordinate]


class CoordinateUpdateRequest(WriteRequest, rename="pascal", kw_only=True):
    """Coordinate.Update: a node tells where it is."""

    datacenter: str = ""
    node: str = ""
    segment: str = ""
    coord: Coordinate | None = None


class IndexedCoordinates(QueryMeta, rename="pascal", kw_only=True):
    """Coordinate.ListNodes, by name, and Coordinate.Node."""

    coordinates: list[NodeCoordinate] | None = []
