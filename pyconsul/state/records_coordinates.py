"""Records of the coordinate table: one with all rows, and its index."""

from __future__ import annotations

from collections.abc import Container, Iterator

import msgspec

from pyconsul.state.coordinate import CoordinateSnapshot
from pyconsul.state.records_kinds import COORDINATE, INDEX, Skipped
from pyconsul.state.records_wire import Index, IndexRecord, packer
from pyconsul.structs.coordinate import NodeCoordinate

HOMELESS = "network coordinate of a node that is not in the snapshot"
_ROWS_PER_RECORD = 1000


def records(table: CoordinateSnapshot) -> Iterator[bytes]:
    """Lists of rows with Consul's fields, then the indexes of the table and for us of its views."""
    pack = packer().pack
    kind = bytes((COORDINATE,))
    for start in range(0, len(table.rows), _ROWS_PER_RECORD):
        yield kind + pack(msgspec.to_builtins(table.rows[start : start + _ROWS_PER_RECORD]))
    index = {"Key": "coordinates", "Value": table.index, "Views": [table.gone], "States": table.nodes}
    yield bytes((INDEX,)) + pack(index)


_decode = msgspec.msgpack.Decoder(list[NodeCoordinate]).decode


class CoordinateReader:
    """Gathers the table's records.

    :ivar last_index: stands for every index that the records do not tell.
    """

    def __init__(self, skipped: Skipped) -> None:
        self.last_index = 0
        self._rows: list[NodeCoordinate] = []
        self._skipped = skipped
        self._index: IndexRecord | None = None

    def coordinates(self, record: bytes) -> None:
        """A list of rows."""
        for row in _decode(record):
            if row.coord.valid:
                self._rows.append(row)
            else:
                self._skipped.add("network coordinate that makes no sense")

    def index(self, row: IndexRecord) -> None:
        """An index of Consul's."""
        if row.key == "coordinates":
            self._index = row

    def finish(self, nodes: Container[str]) -> CoordinateSnapshot:
        """The table, without rows of nodes that are not there.

        :param nodes: all there are, in lower case.
        """
        rows = [row for row in self._rows if row.node.lower() in nodes]
        if len(rows) < len(self._rows):
            self._skipped.add(HOMELESS, len(self._rows) - len(rows))
        index, gone = self.last_index, self.last_index
        views: dict[str, Index] = {}
        if self._index is not None:
            index = self._index.value
            gone = self._index.views[0] if self._index.views else gone
            views = self._index.states or {}
        names = dict.fromkeys(row.node.lower() for row in rows)
        return CoordinateSnapshot(rows, index, gone, {name: views.get(name, index) for name in names})
