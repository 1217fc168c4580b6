"""The table of network coordinates: where each node of the catalog is.

Two views have indexes: all coordinates, and those of a node. What is not there has the index at
which a coordinate last went, which it does together with its node.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from pyconsul.state.watches import Watches
from pyconsul.structs.coordinate import Coordinate, NodeCoordinate

if TYPE_CHECKING:
    from pyconsul.state.catalog import Catalog

ALL = ("coordinates",)


class CoordinateBatch(Struct, array_like=True, frozen=True):
    """The log command that writes where nodes are, each once."""

    rows: list[NodeCoordinate]


class CoordinateSnapshot(Struct):
    """All rows in the order in which their nodes came, and the indexes of all views."""

    rows: list[NodeCoordinate]
    index: int
    gone: int
    nodes: dict[str, int]


class _OfNode:
    """The coordinates of a node by segment. :ivar index: when one was last written."""

    __slots__ = ("index", "rows")

    def __init__(self) -> None:
        self.rows: dict[str, NodeCoordinate] = {}
        self.index = 0


class CoordinateTable:
    """Coordinates by node, in lower case, and segment.

    :ivar index: when a coordinate was last written or went.
    """

    def __init__(self, watches: Watches, catalog: Catalog) -> None:
        self._watches = watches
        self._catalog = catalog
        self._clear()
        catalog.listeners.append(self)

    def _clear(self) -> None:
        self._nodes: dict[str, _OfNode] = {}
        self._ordered: list[NodeCoordinate] | None = None
        self.index = 0
        self._gone = 0

    # ------------------------------------------------------------ reading

    def all(self) -> list[NodeCoordinate]:
        """All rows by node and segment; their index is ``index``. Callers leave the list as it is."""
        if self._ordered is None:
            self._ordered = [row for _, found in sorted(self._nodes.items()) for row in _rows(found)]
        return self._ordered

    def of_node(self, node: str) -> tuple[int, list[NodeCoordinate]]:
        """The rows of a node by segment."""
        found = self._nodes.get(node.lower())
        return (self._gone, []) if found is None else (found.index, _rows(found))

    def places(self, node: str) -> Mapping[str, NodeCoordinate]:
        """The rows of a node by segment, for comparing distances."""
        found = self._nodes.get(node.lower())
        return {} if found is None else found.rows

    # ------------------------------------------------------------ writing

    def apply(self, index: int, command: CoordinateBatch) -> None:
        """Write where nodes are; what is said of unknown nodes does not count."""
        for row in command.rows:
            key = row.node.lower()
            if self._catalog.node(key) is None:
                continue
            found = self._nodes.setdefault(key, _OfNode())
            found.rows[row.segment] = row
            found.index = index
            self._watches.touch(("coordinate", key))
            self._changed(index)

    def _changed(self, index: int) -> None:
        self.index = index
        self._ordered = None
        self._watches.touch(ALL)

    def check_changed(self, index: int, node: str, check_id: str, status: str | None) -> None:
        """See ``pyconsul.state.catalog.CatalogListener``; it makes no difference here."""

    def node_gone(self, index: int, node: str) -> None:
        """See ``pyconsul.state.catalog.CatalogListener``."""
        key = node.lower()
        if self._nodes.pop(key, None) is not None:
            self._gone = index
            self._watches.touch(("coordinate", key))
            self._changed(index)

    # ------------------------------------------------------------ snapshots

    def snapshot(self) -> CoordinateSnapshot:
        """References to all rows; later writes do not show in it."""
        rows = [row for found in self._nodes.values() for row in _rows(found)]
        indexes = {name: found.index for name, found in self._nodes.items()}
        return CoordinateSnapshot(rows, self.index, self._gone, indexes)

    def restore(self, snapshot: CoordinateSnapshot) -> None:
        """Become what the snapshot holds; watchers are the caller's affair."""
        self._clear()
        for row in snapshot.rows:
            self._nodes.setdefault(row.node.lower(), _OfNode()).rows[row.segment] = row
        self.index, self._gone = snapshot.index, snapshot.gone
        for name, index in snapshot.nodes.items():
            self._nodes[name].index = index


def _rows(found: _OfNode) -> list[NodeCoordinate]:
    return [row for _, row in sorted(found.rows.items())]


def distance_s(here: Mapping[str, NodeCoordinate], there: Mapping[str, NodeCoordinate]) -> float:
    """The round-trip time between two nodes, each given by its rows; infinite if they share no segment.

    A client has a row of its own segment only, a server of each (specs of coordinates, section 6).
    """
    segment = ""
    for rows in (here, there):
        if len(rows) == 1:
            segment = next(iter(rows))
            if segment:
                break
    near, far = here.get(segment), there.get(segment)
    if near is None or far is None or not _comparable(near.coord, far.coord):
        return float("inf")
    return near.coord.distance_to(far.coord)


def _comparable(one: Coordinate, other: Coordinate) -> bool:
    return len(one.vec) == len(other.vec)
