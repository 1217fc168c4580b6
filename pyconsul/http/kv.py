"""``/v1/kv/``: the key/value store."""

from __future__ import annotations

import re
from typing import Any

from msgspec import UNSET, UnsetType
from twisted.internet.defer import Deferred

from pyconsul.errors import BadRequest
from pyconsul.http import changes
from pyconsul.http.answer import FALSE, TEXT, TRUE, Answer
from pyconsul.http.query import Query
from pyconsul.http.reads import read, write
from pyconsul.http.routes import App, hot
from pyconsul.interfaces import Agent, Later
from pyconsul.structs.kv import DirEntry, KeyListRequest, KeyRequest, KVSRequest

Result = Answer | Deferred[Answer] | Later

RULE = "/v1/kv/<path:key>"
_LIMIT = re.compile(r"[1-9][0-9]{0,8}")
RAW_HEADERS = ((b"Content-Security-Policy", b"sandbox"), (b"X-Content-Type-Options", b"nosniff"))


def add_routes(app: App, agent: Agent) -> None:
    """Declare the routes of this module."""

    @hot(app, RULE)
    def get(query: Query, key: str) -> Result:
        """One entry, all below a prefix (``?recurse``), or only their names (``?keys``)."""
        options = query.options()
        if not (key or query.has("keys") or query.has("recurse")):
            raise BadRequest("Missing key name")
        query.refuse_namespace()
        if query.parameters:
            if query.has("changed"):
                _refuse_conflict(query, ("changed", "keys", "raw", "limit", "after"))
                if not query.has("recurse"):
                    raise BadRequest("?changed needs ?recurse")
                return changes.read_changes(agent, query, *changes.kv(query, key), consistency=False)
            options |= _page(query)
        if query.has("keys"):
            separator = query.get("separator")
            names = KeyListRequest(prefix=key, separator=separator, **options)
            shape = _names if key and not query.has("after") else _all_names
            return read(agent, query, "KVS.ListKeys", names, shape, consistency=False)
        if query.has("recurse"):
            below = KeyRequest(key=key, **options)
            shape = _all_entries if query.has("after") else _entries
            return read(agent, query, "KVS.List", below, shape, consistency=False)
        one = KeyRequest(key=key, **options)
        return read(agent, query, "KVS.Get", one, _raw if query.has("raw") else _entries, consistency=False)

    @hot(
        app, RULE, ["PUT"],
        body_max=lambda: app.surface.settings.kv_value_bytes_max, body_doc="kv_max_value_size",
    )  # fmt: skip
    def put(query: Query, key: str) -> Result:
        """Set an entry: always, if its index is still ``?cas=``, or with a session's lock."""
        if key and query.facts.plain and not query.has_parameters:  # as most are
            request = KVSRequest(op="set", dir_ent=DirEntry(key=key, value=query.body or None))
            return write(agent, query, "KVS.Apply", request, _applied)
        if query.has_parameters:
            query.options()  # what only reads need has to be right here, too
        query.refuse_namespace()
        _require(key)
        operation, flags, index = "set", 0, 0
        session: str | UnsetType = UNSET
        if query.has_parameters:
            _refuse_conflict(query, ("acquire", "cas", "release"))
            if query.has("flags"):
                flags = query.unsigned("flags")
            if query.has("cas"):
                operation, index = "cas", query.unsigned("cas")
            for name, locking in (("acquire", "lock"), ("release", "unlock")):
                if query.has(name):
                    operation, session = locking, query.get(name)
        entry = DirEntry(key=key, flags=flags, value=query.body or None, session=session, modify_index=index)
        return _apply(query, operation, entry)

    @hot(app, RULE, ["DELETE"])
    def delete(query: Query, key: str) -> Result:
        """Delete an entry, if its index is still ``?cas=``, or all below a prefix (``?recurse``)."""
        if query.has_parameters:
            query.options()  # as in put
        query.refuse_namespace()
        operation, index = "delete", 0
        _refuse_conflict(query, ("cas", "recurse"))
        if query.has("recurse"):
            operation = "delete-tree"
        else:
            _require(key)
            if query.has("cas"):
                operation, index = "delete-cas", query.unsigned("cas")
        return _apply(query, operation, DirEntry(key=key, modify_index=index))

    def _apply(query: Query, operation: str, entry: DirEntry) -> Result:
        request = KVSRequest(op=operation, dir_ent=entry, **query.write_options())
        return write(agent, query, "KVS.Apply", request, _applied)


def _require(key: str) -> None:
    if not key:
        raise BadRequest("Missing key name")


def _page(query: Query) -> dict[str, Any]:
    """``?limit=`` and ``?after=`` of a listing."""
    page: dict[str, Any] = {}
    if not (query.has("recurse") or query.has("keys")):
        return page
    if query.has("limit"):
        limit = query.get("limit")
        if not _LIMIT.fullmatch(limit):
            raise BadRequest(f'Invalid limit "{limit}"')
        page["limit"] = int(limit)
    if after := query.get("after"):
        page["after"] = after
    return page


def _refuse_conflict(query: Query, names: tuple[str, ...]) -> None:
    given = [name for name in names if query.has(name)]
    if len(given) > 1:
        raise BadRequest("Conflicting flags: " + "&".join(f"{name}={query.get(name)}" for name in given))


def _applied(reply: Any) -> Answer:
    applied = reply if isinstance(reply, bool) else reply.applied
    return TRUE if applied else FALSE


def _entries(reply: Any) -> Answer:
    return Answer(json=reply.entries) if reply.entries else _missing()


def _all_entries(reply: Any) -> Answer:
    """The last page may be empty."""
    return Answer(json=reply.entries)


def _raw(reply: Any) -> Answer:
    if not reply.entries:
        return _missing()
    return Answer(reply.entries[0].value or b"", content_type=TEXT, headers=RAW_HEADERS)


def _names(reply: Any) -> Answer:
    return Answer(json=reply.keys) if reply.keys else _missing()


def _all_names(reply: Any) -> Answer:
    """The root always exists, if only as an empty list."""
    return Answer(json=reply.keys or [])


def _missing() -> Answer:
    return Answer(status=404, content_type=b"")
