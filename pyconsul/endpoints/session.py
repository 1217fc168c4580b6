"""Session.*: sessions, which hold locks."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from msgspec.structs import replace

from pyconsul.endpoints.base import Answered, Read, read, write
from pyconsul.errors import Refused
from pyconsul.state import commands
from pyconsul.state.session import ALL, CREATE
from pyconsul.state.store import Store
from pyconsul.state.uuids import session_id_fault
from pyconsul.structs.catalog import NodeSpecificRequest
from pyconsul.structs.durations import format_ns, parse_ns
from pyconsul.structs.session import (
    DELETE,
    RELEASE,
    TTL_MAX_NS,
    TTL_MIN_NS,
    IndexedSessions,
    Session,
    SessionRequest,
    SessionSpecificRequest,
)


class Sessions:
    """Creates, ends, renews and lists sessions.

    :param rng: where ids come from; the leader chooses them.
    :param renew: lets the TTL of a session start again; ``False`` if the session is about to end.
    :param ttl_min_ns: ``session_ttl_min``; 0 for Consul's.
    """

    def __init__(
        self, store: Store, rng: Random, renew: Callable[[Session], bool], ttl_min_ns: int = 0
    ) -> None:
        self._sessions = store.sessions
        self._rng = rng
        self._renew = renew
        self._ttl_min_ns = ttl_min_ns or TTL_MIN_NS

    @write("Session.Apply", SessionRequest, str, "session:write")
    def apply(self, request: SessionRequest) -> bytes:
        """Create a session, whose id is the reply, or end one; that it is not there is no error.

        :raises Refused: if something is missing or malformed.
        """
        session = request.session
        if request.op == "destroy":
            if not session.id:
                raise Refused("Must provide ID")
            return commands.encode_destroy(_checked(session.id))
        if request.op != "create":
            raise Refused(f'Invalid Session operation "{request.op}"')
        if not session.node:
            raise Refused("Must provide Node")
        if session.behavior not in ("", RELEASE, DELETE):
            raise Refused(f"Invalid Behavior setting '{session.behavior}'")
        self._check_ttl(session.ttl)
        return commands.encode_session(CREATE, replace(session, id=self._new_id()))

    def _check_ttl(self, ttl: str) -> None:
        if not ttl:
            return
        try:
            ttl_ns = parse_ns(ttl)
        except ValueError as error:
            raise Refused(f"Session TTL '{ttl}' invalid: {error}") from None
        if ttl_ns and not self._ttl_min_ns <= ttl_ns <= TTL_MAX_NS:
            shortest, longest = format_ns(self._ttl_min_ns), format_ns(TTL_MAX_NS)
            raise Refused(f"Invalid Session TTL '{ttl_ns}', must be between [{shortest}={longest}]")

    def _new_id(self) -> str:
        while True:
            digits = f"{self._rng.getrandbits(128):032x}"
            session_id = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
            if not self._sessions.exists(session_id):
                return session_id

    @write("Session.Renew", SessionSpecificRequest, IndexedSessions, "session:write")
    def renew(self, request: SessionSpecificRequest) -> Answered:
        """Let the TTL of a session start again; only the leader knows of TTLs. No session: none is there.

        :raises Refused: if the id is malformed.
        """
        index, row = self._sessions.get(_id(request))
        if row is None or not self._renew(row):
            return Answered(IndexedSessions(index=index))
        return Answered(IndexedSessions(index=index, sessions=[row]))

    @read("Session.Get", SessionSpecificRequest, IndexedSessions, "session:read")
    def get(self, request: SessionSpecificRequest) -> Read:
        """One session, or none.

        :raises Refused: if the id is malformed.
        """
        session_id = _id(request)
        index, row = self._sessions.get(session_id)
        return Read(index, IndexedSessions(sessions=[] if row is None else [row]), (("session", session_id),))

    @read("Session.List", SessionSpecificRequest, IndexedSessions, "session:read")
    def list(self, request: SessionSpecificRequest) -> Read:
        """All sessions."""
        return Read(self._sessions.index, IndexedSessions(sessions=self._sessions.all()), (ALL,))

    @read("Session.NodeSessions", NodeSpecificRequest, IndexedSessions, "session:read")
    def node_sessions(self, request: NodeSpecificRequest) -> Read:
        """The sessions of a node."""
        index, rows = self._sessions.of_node(request.node)
        return Read(index, IndexedSessions(sessions=rows), (("node-sessions", request.node.lower()),))


def _id(request: SessionSpecificRequest) -> str:
    return _checked(request.session_id or request.session)


def _checked(session_id: str) -> str:
    fault = session_id_fault(session_id)
    if fault:
        raise Refused(fault)
    return session_id.lower()
