"""Coordinate.*: where nodes are, in terms of round-trip times; and sorting by that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from pyconsul.endpoints.base import Answered, Read, node, read, write
from pyconsul.errors import Refused
from pyconsul.state.coordinate import ALL, distance_s
from pyconsul.structs.catalog import NodeSpecificRequest
from pyconsul.structs.coordinate import (
    DIMENSIONS,
    CoordinateUpdateRequest,
    DatacenterMap,
    IndexedCoordinates,
    NodeCoordinate,
)
from pyconsul.structs.query import DCSpecificRequest, Empty, QuerySource

if TYPE_CHECKING:
    from pyconsul.state.store import Store

Row = TypeVar("Row")


class Coordinates:
    """Takes and tells places.

    :param gather: keeps a place that was told, on the leader, to be written with others.
    :param datacenters: where the servers of all datacenters are, as this server sees it.
    """

    def __init__(
        self,
        store: Store,
        gather: Callable[[NodeCoordinate], None],
        datacenters: Callable[[], list[DatacenterMap]],
    ) -> None:
        self._store = store
        self._gather = gather
        self._datacenters = datacenters

    @write("Coordinate.Update", CoordinateUpdateRequest, Empty, "node:write")
    def update(self, request: CoordinateUpdateRequest) -> Answered:
        """A node tells where it is. It is written a little later, if the node is registered then.

        :raises Refused: if it is no place.
        """
        place = request.coord
        if place is None or not place.finite:
            raise Refused("invalid coordinate")
        if len(place.vec) != DIMENSIONS:
            raise Refused("incompatible coordinate")
        row = NodeCoordinate(node=request.node, segment=request.segment, coord=place)
        if self._store.coordinates.places(row.node).get(row.segment) != row:  # it may well stand still
            self._gather(row)
        return Answered(Empty())

    @node("Coordinate.ListDatacenters", DCSpecificRequest, list[DatacenterMap])
    def list_datacenters(self, request: DCSpecificRequest) -> list[DatacenterMap]:
        """Where the servers of each datacenter are."""
        return self._datacenters()

    @read("Coordinate.ListNodes", DCSpecificRequest, IndexedCoordinates, "node:read")
    def list_nodes(self, request: DCSpecificRequest) -> Read:
        """Where all nodes are that have told it."""
        table = self._store.coordinates
        return Read(table.index, IndexedCoordinates(coordinates=table.all()), (ALL,))

    @read("Coordinate.Node", NodeSpecificRequest, IndexedCoordinates, "node:read")
    def node(self, request: NodeSpecificRequest) -> Read:
        """Where one node is, in each of its network segments."""
        index, rows = self._store.coordinates.of_node(request.node)
        watch = ("coordinate", request.node.lower())
        return Read(index, IndexedCoordinates(coordinates=rows), (watch,))


def nearest_first(
    store: Store, datacenter: str, source: QuerySource, rows: list[Row], node_of: Callable[[Row], str]
) -> list[Row]:
    """``rows`` by distance from where a request comes from, if that is known; a new list then.

    Rows whose node has told no place come last, in the order they were in (specs of coordinates,
    section 6).

    :param datacenter: this one; who asks from another is not sorted for.
    :param node_of: the name of a row's node.
    """
    if not source.node or (source.datacenter and source.datacenter != datacenter):
        return rows
    table = store.coordinates
    here = table.places(source.node)
    if not here:
        return rows
    return sorted(rows, key=lambda row: distance_s(here, table.places(node_of(row))))
