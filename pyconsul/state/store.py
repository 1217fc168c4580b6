"""The replicated state of one server: its tables and who watches them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from pyconsul.state.autopilot import AutopilotTable
from pyconsul.state.catalog import Catalog, CatalogSnapshot
from pyconsul.state.coordinate import CoordinateSnapshot, CoordinateTable
from pyconsul.state.kv import KVSnapshot, KVTable
from pyconsul.state.queries import QuerySnapshot, QueryTable
from pyconsul.state.session import SessionSnapshot, SessionTable
from pyconsul.state.watches import Watches
from pyconsul.structs.operator import AutopilotConfig


class Snapshot(Struct):
    """All of a store at one index, as references to its rows."""

    index: int
    kv: KVSnapshot
    catalog: CatalogSnapshot
    sessions: SessionSnapshot
    coordinates: CoordinateSnapshot
    autopilot: AutopilotConfig | None = None
    queries: QuerySnapshot = msgspec.field(default_factory=QuerySnapshot)


class Store:
    """What all servers of a datacenter hold alike. Only ``pyconsul.state.fsm`` changes it.

    :ivar index: the index of the last command applied.
    :ivar known_since: the index at which this became what a snapshot held. Of what went before nothing
        is known but what the snapshot tells.
    """

    def __init__(self) -> None:
        self.index = 0
        self.known_since = 0
        self.watches = Watches()
        self.kv = KVTable(self.watches)
        self.catalog = Catalog(self.watches)
        self.sessions = SessionTable(self.watches, self.kv, self.catalog)
        self.coordinates = CoordinateTable(self.watches, self.catalog)
        self.autopilot = AutopilotTable(self.watches)
        self.queries = QueryTable(self.watches, self.sessions)

    def snapshot(self) -> Snapshot:
        """Everything as it is now; later commands do not show in it."""
        return Snapshot(
            self.index,
            self.kv.snapshot(),
            self.catalog.snapshot(),
            self.sessions.snapshot(),
            self.coordinates.snapshot(),
            self.autopilot.row,
            self.queries.snapshot(),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Become what ``snapshot`` holds, and wake everybody."""
        self.index = self.known_since = snapshot.index
        self.kv.restore(snapshot.kv)
        self.catalog.restore(snapshot.catalog)
        self.sessions.restore(snapshot.sessions)
        self.coordinates.restore(snapshot.coordinates)
        self.autopilot.row = snapshot.autopilot
        self.queries.restore(snapshot.queries)
        self.watches.wake_all()

    def excerpt(self, keys: Iterable[str], nodes: Iterable[str], sessions: Iterable[str]) -> Store:
        """Another store with just these rows and what hangs on them, to try commands on.

        It knows the indexes of rows, but not those of deletions and views, and nobody watches it.
        """
        part = Store()
        entries = self.kv.excerpt(keys)
        part.kv.restore(entries)
        part.catalog.restore_excerpt(self.catalog.excerpt(nodes))
        holders = [row.session for row in entries.entries if row.session]
        part.sessions.restore(self.sessions.excerpt([*sessions, *holders], nodes))
        return part

    def digest(self) -> str:
        """A hash over all rows and all indexes, equal on servers that have applied the same commands."""
        from hashlib import blake2b  # brings OpenSSL's library, which most agents do without

        return blake2b(_encode(self.snapshot()), digest_size=16).hexdigest()


_encode = msgspec.msgpack.Encoder(enc_hook=list).encode
"""Entries are a list of rows then, however they lie in blocks."""
