"""Records of the session table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from pyconsul.errors import Refused
from pyconsul.state.records_kinds import INDEX, SESSION, Skipped
from pyconsul.state.records_wire import IndexRecord, packer
from pyconsul.state.session import SessionSnapshot, canonical_session
from pyconsul.structs.session import Session

HOMELESS = "session of a node that is not in the snapshot"


def records(table: SessionSnapshot) -> Iterator[bytes]:
    """One record per session, the index of the table, and for us when a session last ended."""
    pack = packer().pack
    kind = bytes((SESSION,))
    for row in table.sessions:
        yield kind + pack(_fields(row))
    yield bytes((INDEX,)) + pack({"Key": "sessions", "Value": table.index, "Views": [table.gone]})


def _fields(row: Session) -> dict[str, Any]:
    services = row.service_checks
    return {
        "Behavior": row.behavior,
        "Checks": row.checks or None,
        "CreateIndex": row.create_index,
        "ID": row.id,
        "LockDelay": row.lock_delay,
        "ModifyIndex": row.modify_index,
        "Name": row.name,
        "Node": row.node,
        "NodeChecks": row.node_checks,
        "ServiceChecks": services and [{"ID": check.id, "Namespace": check.namespace} for check in services],
        "TTL": row.ttl,
    }


_decode = msgspec.msgpack.Decoder(Session).decode


class SessionReader:
    """Gathers the table's records.

    :ivar last_index: stands for every index that the records do not tell.
    :ivar rows: by id.
    """

    def __init__(self, skipped: Skipped) -> None:
        self.last_index = 0
        self.rows: dict[str, Session] = {}
        self._skipped = skipped
        self._index: IndexRecord | None = None

    def session(self, record: bytes) -> None:
        """A session."""
        row = canonical_session(_decode(record))
        if not row.id:
            raise Refused("has no id")
        self.rows[row.id] = replace(
            row,
            create_index=row.create_index or self.last_index,
            modify_index=row.modify_index or self.last_index,
        )

    def index(self, row: IndexRecord) -> None:
        """An index of Consul's."""
        if row.key == "sessions":
            self._index = row

    def finish(self, nodes: Mapping[str, int]) -> SessionSnapshot:
        """The table, without sessions that no node would ever end.

        :param nodes: all there are, in lower case, with the index of their sessions.
        """
        for row in [row for row in self.rows.values() if row.node.lower() not in nodes]:
            del self.rows[row.id]
            self._skipped.add(HOMELESS)
        rows = [*self.rows.values()]
        index, gone = self.last_index, self.last_index
        if self._index is not None:
            index = self._index.value
            gone = self._index.views[0] if self._index.views else gone
        on = sorted({row.node.lower() for row in rows})
        return SessionSnapshot(rows, index, gone, {name: nodes[name] for name in on})
