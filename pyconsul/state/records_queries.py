"""Records of the table of prepared queries."""

from __future__ import annotations

from collections.abc import Container, Iterator

import msgspec
from msgspec.structs import replace

from pyconsul.errors import Refused
from pyconsul.state.queries import QuerySnapshot
from pyconsul.state.records_kinds import INDEX, QUERY, Skipped
from pyconsul.state.records_wire import IndexRecord, packer
from pyconsul.structs.prepared import PreparedQuery

UNBOUND = "prepared query of a session that is not in the snapshot"
TABLE = "prepared-queries"


def records(table: QuerySnapshot) -> Iterator[bytes]:
    """One record per query, with the same fields, and the indexes of the table if it was ever used."""
    pack = packer().pack
    for row in table.queries:
        yield bytes((QUERY,)) + pack(msgspec.to_builtins(row))
    if table.index:
        yield bytes((INDEX,)) + pack({"Key": TABLE, "Value": table.index, "Views": [table.gone]})


_decode = msgspec.msgpack.Decoder(PreparedQuery).decode


class QueryReader:
    """Gathers the table's records.

    :ivar last_index: stands for every index that the records do not tell.
    """

    def __init__(self, skipped: Skipped) -> None:
        self.last_index = 0
        self._skipped = skipped
        self._rows: dict[str, PreparedQuery] = {}
        self._index: IndexRecord | None = None

    def query(self, record: bytes) -> None:
        """A query."""
        row = _decode(record)
        if not row.id:
            raise Refused("has no id")
        self._rows[row.id.lower()] = replace(
            row,
            id=row.id.lower(),
            session=row.session.lower(),
            create_index=row.create_index or self.last_index,
            modify_index=row.modify_index or self.last_index,
        )

    def index(self, row: IndexRecord) -> None:
        """An index of Consul's."""
        if row.key == TABLE:
            self._index = row

    def finish(self, sessions: Container[str]) -> QuerySnapshot:
        """The table, without queries that no session's end would ever end."""
        rows = []
        for _, row in sorted(self._rows.items()):
            if row.session and row.session not in sessions:
                self._skipped.add(UNBOUND)
            else:
                rows.append(row)
        if self._index is None:
            index = self.last_index if rows else 0
            return QuerySnapshot(rows, index, index)
        views = self._index.views
        return QuerySnapshot(rows, self._index.value, views[0] if views else self._index.value)
