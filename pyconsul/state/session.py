"""The session table.

A session ends when it is destroyed, when its node goes, or when a check that it depends on becomes
critical or goes; all of these are log commands, so it ends at the same index everywhere. That a TTL
is over is noticed by the leader, which then proposes to destroy the session.

Three views have indexes: all sessions, those of a node, and each session by itself. What is not
there has the index at which a session last ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import UNSET, Struct
from msgspec.structs import replace

from pyconsul.errors import Refused
from pyconsul.state.catalog import Catalog
from pyconsul.state.kv import KVTable
from pyconsul.state.watches import Watches
from pyconsul.structs.catalog import CRITICAL
from pyconsul.structs.session import DELETE, RELEASE, Session

ALL = ("sessions",)

CREATE, DESTROY = range(2)


class SessionCommand(Struct, array_like=True, frozen=True):
    """The log command of Session.Apply.

    :ivar op: ``CREATE`` or ``DESTROY``, for which only the id of ``session`` counts.
    """

    op: int
    session: Session


class SessionSnapshot(Struct):
    """All sessions in the order in which they were created, and the indexes of all views."""

    sessions: list[Session]
    index: int
    gone: int
    nodes: dict[str, int]


class _OnNode:
    """The sessions of a node. :ivar index: when that last changed."""

    __slots__ = ("ids", "index")

    def __init__(self) -> None:
        self.ids: dict[str, None] = {}
        self.index = 0


class SessionTable:
    """Sessions by id. Ids are in lower case.

    :ivar index: when a session last came or ended.
    :ivar created: told of each session that came. :ivar ended: told of each that ended, with the keys
        that it held. Both are called while the command is being applied, on every server.
    :ivar ending: what else is stored ends with a session; the table of prepared queries provides it.
    :ivar replaced: called when there are other sessions now, of which nobody was told.
    """

    def __init__(self, watches: Watches, kv: KVTable, catalog: Catalog) -> None:
        self._watches = watches
        self._kv = kv
        self._catalog = catalog
        self.created: Callable[[Session], None] = lambda session: None
        self.ended: Callable[[Session, list[str]], None] = lambda session, keys: None
        self.replaced: Callable[[], None] = lambda: None
        self.ending: Callable[[int, str], None] = lambda index, session: None
        self._clear()
        kv.session_exists = self.exists
        catalog.listeners.append(self)

    def _clear(self) -> None:
        self._rows: dict[str, Session] = {}
        self._ordered: list[Session] | None = None
        self._nodes: dict[str, _OnNode] = {}
        self._linked: dict[tuple[str, str], dict[str, None]] = {}
        """Sessions by node and check, both in lower case."""
        self.index = 0
        self._gone = 0

    def __len__(self) -> int:
        return len(self._rows)

    # ------------------------------------------------------------ reading

    def exists(self, session_id: str) -> bool:
        """Whether a session of that id lives."""
        return session_id in self._rows

    def row(self, session_id: str) -> Session | None:
        """The session, if it lives."""
        return self._rows.get(session_id)

    def get(self, session_id: str) -> tuple[int, Session | None]:
        """The index to wait on, and the session if it lives."""
        row = self._rows.get(session_id)
        return (self._gone, None) if row is None else (row.modify_index, row)

    def all(self) -> list[Session]:
        """All sessions by id; their index is ``index``. Callers leave the list as it is."""
        if self._ordered is None:
            self._ordered = [row for _, row in sorted(self._rows.items())]
        return self._ordered

    def of_node(self, node: str) -> tuple[int, list[Session]]:
        """The sessions of a node by id."""
        found = self._nodes.get(node.lower())
        if found is None:
            return self._gone, []
        return found.index, [self._rows[session_id] for session_id in sorted(found.ids)]

    # ------------------------------------------------------------ writing

    def create(self, index: int, session: Session) -> str:
        """Add a session, which has an id and a behaviour; gives the id.

        :raises Refused: if what it depends on is not there; nothing is written then.
        """
        if session.id in self._rows:
            raise Refused(f'session "{session.id}" already exists')
        if self._catalog.node(session.node) is None:
            raise Refused("Missing node registration")
        for check_id in session.linked_checks():
            check = self._catalog.node_check(session.node, check_id)
            if check is None:
                raise Refused(f"Missing check '{check_id}' registration")
            if check.status == CRITICAL:
                raise Refused(f"Check '{check_id}' is in {CRITICAL} state")
        row = replace(session, create_index=index, modify_index=index)
        self._add(row)
        self._changed(index, row)
        self.created(row)
        return row.id

    def destroy(self, index: int, session_id: str) -> None:
        """End a session, if it lives, and let go what it holds."""
        row = self._rows.pop(session_id, None)
        if row is None:
            return
        node = row.node.lower()
        for check_id in row.linked_checks():
            linked = self._linked[node, check_id.lower()]
            del linked[row.id]
            if not linked:
                del self._linked[node, check_id.lower()]
        on_node = self._nodes[node]
        del on_node.ids[row.id]
        self._gone = index
        self._changed(index, row)
        if not on_node.ids:
            del self._nodes[node]
        keys = self._kv.release(index, row.id, row.behavior == DELETE)
        self.ending(index, row.id)
        self.ended(row, keys)

    def _add(self, row: Session) -> None:
        self._rows[row.id] = row
        node = row.node.lower()
        self._nodes.setdefault(node, _OnNode()).ids[row.id] = None
        for check_id in row.linked_checks():
            self._linked.setdefault((node, check_id.lower()), {})[row.id] = None

    def _changed(self, index: int, row: Session) -> None:
        node = row.node.lower()
        self.index = index
        self._ordered = None
        self._nodes[node].index = index
        self._watches.touch(ALL)
        self._watches.touch(("session", row.id))
        self._watches.touch(("node-sessions", node))

    # ------------------------------------------------------------ what sessions depend on

    def check_changed(self, index: int, node: str, check_id: str, status: str | None) -> None:
        """See ``pyconsul.state.catalog.CatalogListener``."""
        if status is None or status == CRITICAL:
            self._destroy_all(index, self._linked.get((node.lower(), check_id.lower()), ()))

    def node_gone(self, index: int, node: str) -> None:
        """See ``pyconsul.state.catalog.CatalogListener``."""
        found = self._nodes.get(node.lower())
        if found is not None:
            self._destroy_all(index, found.ids)

    def _destroy_all(self, index: int, ids: Iterable[str]) -> None:
        for session_id in [*ids]:
            self.destroy(index, session_id)

    # ------------------------------------------------------------ snapshots

    def snapshot(self) -> SessionSnapshot:
        """References to all rows; later writes do not show in it."""
        nodes = {name: found.index for name, found in sorted(self._nodes.items())}
        return SessionSnapshot([*self._rows.values()], self.index, self._gone, nodes)

    def restore(self, snapshot: SessionSnapshot) -> None:
        """Become what the snapshot holds; watchers are the caller's affair."""
        self._clear()
        for row in snapshot.sessions:
            self._add(row)
        self.index, self._gone = snapshot.index, snapshot.gone
        for name, index in snapshot.nodes.items():
            self._nodes[name].index = index
        self.replaced()

    def excerpt(self, ids: Iterable[str], nodes: Iterable[str]) -> SessionSnapshot:
        """These sessions and those of ``nodes``, as a snapshot without indexes."""
        wanted = {session_id: None for session_id in ids if session_id in self._rows}
        for node in nodes:
            found = self._nodes.get(node.lower())
            if found is not None:
                wanted.update(found.ids)
        return SessionSnapshot([self._rows[session_id] for session_id in wanted], 0, 0, {})


def canonical_session(session: Session) -> Session:
    """``session`` as it is stored: an absent list of the older name stays absent."""
    return replace(
        session,
        id=session.id.lower(),
        behavior=session.behavior or RELEASE,
        lock_delay=max(0, session.lock_delay),
        checks=session.checks or UNSET,
    )
