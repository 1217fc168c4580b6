"""The table of prepared queries.

A query is found by its id, by its name, or, if it is a template, by the longest prefix of a name.
Names are unique without regard to case. A query that names a session ends with it.

Two views have indexes: all queries, and each query by itself. What is not there has the index at
which a query last went.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from pyconsul.errors import NotFound, PyconsulError, Refused
from pyconsul.state.session import SessionTable
from pyconsul.state.templates import Template
from pyconsul.state.uuids import session_id_fault
from pyconsul.state.watches import Watches
from pyconsul.structs.prepared import PreparedQuery

ALL = ("queries",)
NOT_FOUND = "Query not found"
UUID_CHARACTERS = 36

CREATE, UPDATE, DELETE = range(3)


class QueryCommand(Struct, array_like=True, frozen=True):
    """The log command of PreparedQuery.Apply.

    :ivar op: ``CREATE``, ``UPDATE`` or ``DELETE``, for which only the id of ``query`` counts.
    """

    op: int
    query: PreparedQuery


class QuerySnapshot(Struct):
    """All queries by id, and the indexes of all views."""

    queries: list[PreparedQuery] = []
    index: int = 0
    gone: int = 0


class QueryTable:
    """Queries by id. Ids of queries and of their sessions are in lower case.

    :ivar index: when a query last came, changed or went.
    """

    def __init__(self, watches: Watches, sessions: SessionTable) -> None:
        self._watches = watches
        self._sessions = sessions
        self._clear()
        sessions.ending = self._session_ended

    def _clear(self) -> None:
        self._rows: dict[str, PreparedQuery] = {}
        self._names: dict[str, str] = {}
        """Ids by name in lower case; of templates, too."""
        self._prefixes: dict[str, str] = {}
        """Ids of templates by their name in lower case."""
        self._lengths: list[int] = []
        """Of the prefixes, the longest first."""
        self._bound: dict[str, dict[str, None]] = {}
        """Ids by session."""
        self._templates: dict[str, Template] = {}
        """Those that were needed, by id."""
        self._ordered: list[PreparedQuery] | None = None
        self.index = 0
        self._gone = 0

    def __len__(self) -> int:
        return len(self._rows)

    # ------------------------------------------------------------ reading

    def get(self, query_id: str) -> tuple[int, PreparedQuery | None]:
        """The index to wait on, and the query if there is one."""
        row = self._rows.get(query_id)
        return (self._gone, None) if row is None else (row.modify_index, row)

    def all(self) -> list[PreparedQuery]:
        """All queries by id; their index is ``index``. Callers leave the list as it is."""
        if self._ordered is None:
            self._ordered = [row for _, row in sorted(self._rows.items())]
        return self._ordered

    def resolve(self, id_or_name: str, segment: str = "") -> PreparedQuery:
        """What is to be executed under an id or a name; a template is filled in.

        :param segment: the network segment of the agent that was asked.
        :raises NotFound: if there is no such query.
        :raises Refused: if a template is asked for by its id, or cannot be filled in.
        """
        name = id_or_name.lower()
        row = self._rows.get(name) if len(name) == UUID_CHARACTERS else None
        if row is not None:
            if row.is_template:
                raise Refused("prepared query templates can only be resolved up by name, not by ID")
            return row
        row = self._rows.get(self._names.get(name, ""))
        if row is not None and not row.is_template:
            return row
        for length in self._lengths:
            found = self._prefixes.get(name[:length]) if length <= len(name) else None
            if found is not None:
                return self._template(found).fill(id_or_name, segment)
        raise NotFound(NOT_FOUND)

    def _template(self, query_id: str) -> Template:
        template = self._templates.get(query_id)
        if template is None:
            template = self._templates[query_id] = Template(self._rows[query_id])
        return template

    # ------------------------------------------------------------ writing

    def apply(self, index: int, command: QueryCommand) -> str | PyconsulError:
        """Do what ``command`` says; gives the id."""
        query = command.query
        if command.op == DELETE:
            self._delete(index, query.id)
            return query.id
        if command.op not in (CREATE, UPDATE):
            return Refused(f"unknown operation {command.op} on the table of prepared queries")
        return self._set(index, query, new=command.op == CREATE)

    def _set(self, index: int, query: PreparedQuery, *, new: bool) -> str | PyconsulError:
        old = self._rows.get(query.id)
        if (old is None) != new:
            return Refused(no_such_query(query.id) if old is None else f"query ID '{query.id}' is in use")
        refusal = self._alias(query) or self._session_fault(query.session)
        if refusal:
            return Refused(refusal)
        row = replace(
            query,
            session=query.session.lower(),
            create_index=index if old is None else old.create_index,
            modify_index=index,
        )
        if row.is_template:
            template = Template(row)
        if old is not None:
            self._remove(old)
        self._add(row)
        if row.is_template:
            self._templates[row.id] = template
        self._changed(index, row.id)
        return row.id

    def _alias(self, query: PreparedQuery) -> str:
        """Why its name is not free; empty if it is."""
        name = query.name.lower()
        if not name:
            taken = self._prefixes.get("", query.id) != query.id
            return "a query template with an empty name already exists" if query.is_template and taken else ""
        if self._names.get(name, query.id) != query.id:
            return f"name '{query.name}' aliases an existing query name"
        return f"name '{query.name}' aliases an existing query ID" if name in self._rows else ""

    def _session_fault(self, session: str) -> str:
        if not session or self._sessions.exists(session.lower()):
            return ""
        fault = session_id_fault(session)
        if fault:
            return fault.replace("failed session lookup", "invalid session", 1)
        return f'invalid session "{session}"'

    def _delete(self, index: int, query_id: str) -> None:
        row = self._rows.get(query_id)
        if row is not None:
            self._remove(row)
            self._gone = index
            self._changed(index, query_id)

    def _session_ended(self, index: int, session: str) -> None:
        for query_id in [*self._bound.get(session, ())]:
            self._delete(index, query_id)

    def _add(self, row: PreparedQuery) -> None:
        self._rows[row.id] = row
        name = row.name.lower()
        if name:
            self._names[name] = row.id
        if row.is_template:
            self._prefixes[name] = row.id
            self._measure()
        if row.session:
            self._bound.setdefault(row.session, {})[row.id] = None

    def _remove(self, row: PreparedQuery) -> None:
        del self._rows[row.id]
        name = row.name.lower()
        self._names.pop(name, None)
        if row.is_template:
            del self._prefixes[name]
            self._templates.pop(row.id, None)
            self._measure()
        if row.session:
            bound = self._bound[row.session]
            del bound[row.id]
            if not bound:
                del self._bound[row.session]

    def _measure(self) -> None:
        self._lengths = sorted({len(prefix) for prefix in self._prefixes}, reverse=True)

    def _changed(self, index: int, query_id: str) -> None:
        self.index = index
        self._ordered = None
        self._watches.touch(ALL)
        self._watches.touch(("query", query_id))

    # ------------------------------------------------------------ snapshots

    def snapshot(self) -> QuerySnapshot:
        """References to all rows; later writes do not show in it."""
        return QuerySnapshot([*self.all()], self.index, self._gone)

    def restore(self, snapshot: QuerySnapshot) -> None:
        """Become what the snapshot holds; watchers are the caller's affair."""
        self._clear()
        for row in snapshot.queries:
            self._add(row)
        self.index, self._gone = snapshot.index, snapshot.gone


def no_such_query(query_id: str) -> str:
    """What Consul says to a change of a query that is not there."""
    return f"Cannot modify non-existent prepared query: '{query_id}'"
