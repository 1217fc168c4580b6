"""Session.*: what may be asked for, ids, renewals and reads."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.endpoints.base import Registry
from pyconsul.endpoints.session import Sessions
from pyconsul.errors import Refused
from pyconsul.state.uuids import session_id_fault
from pyconsul.structs.catalog import NodeSpecificRequest
from pyconsul.structs.session import Session, SessionRequest, SessionSpecificRequest
from tests.state.replica import Replica, ids

UNKNOWN = "11111111-2222-3333-4444-555555555555"


class SessionsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.replica = Replica()
        self.replica.register("n1")
        self.renewed: list[str] = []
        self.renews = True
        self.sessions = Sessions(self.replica.store, Random(1), self.renew)

    def renew(self, session: Session) -> bool:
        self.renewed.append(session.id)
        return self.renews

    def apply(self, op: str, **fields: Any) -> Any:
        return self.replica.apply(
            self.sessions.apply(SessionRequest(op=op, session=Session(**{"node": "n1", **fields})))
        )

    def refused(self, op: str, **fields: Any) -> str:
        return str(self.assertRaises(Refused, self.apply, op, **fields))

    def get(self, session_id: str) -> Any:
        return self.sessions.get(SessionSpecificRequest(session_id=session_id))

    def test_declarations(self) -> None:
        """The names on the wire and their kinds."""
        registry = Registry([self.sessions])
        self.assertEqual(
            {method.name: (method.kind, method.permission) for method in registry.methods()},
            {
                "Session.Apply": ("write", "session:write"),
                "Session.Renew": ("write", "session:write"),
                "Session.Get": ("read", "session:read"),
                "Session.List": ("read", "session:read"),
                "Session.NodeSessions": ("read", "session:read"),
            },
        )

    def test_ids(self) -> None:
        """The server chooses the id, whatever was asked for, and none that is taken."""
        first = self.apply("create", id=UNKNOWN)
        self.assertEqual(session_id_fault(first), "")
        self.assertNotEqual(first, UNKNOWN)
        again = Sessions(self.replica.store, Random(1), self.renew)
        second = self.replica.apply(again.apply(SessionRequest(op="create", session=Session(node="n1"))))
        self.assertNotEqual(second, first)
        self.assertEqual(len(self.replica.store.sessions), 2)

    def test_refusals(self) -> None:
        """In Consul's words, and nothing gets into the log."""
        index = self.replica.index
        for op, fields, text in (
            ("fly", {}, 'Invalid Session operation "fly"'),
            ("create", {"node": ""}, "Must provide Node"),
            ("create", {"behavior": "explode"}, "Invalid Behavior setting 'explode'"),
            ("create", {"ttl": "soon"}, "Session TTL 'soon' invalid: time: invalid duration \"soon\""),
            ("create", {"ttl": "5s"}, "Invalid Session TTL '5000000000', must be between [10s=24h0m0s]"),
            ("create", {"ttl": "25h"}, "Invalid Session TTL '90000000000000', must be between [10s=24h0m0s]"),
            ("create", {"ttl": "-1s"}, "Invalid Session TTL '-1000000000', must be between [10s=24h0m0s]"),
            ("destroy", {"id": ""}, "Must provide ID"),
            ("destroy", {"id": "x"}, "failed session lookup: index error: UUID must be 36 characters"),
        ):
            self.assertEqual(self.refused(op, **fields), text)
        self.assertEqual(self.replica.index, index)

    def test_ttl_bounds(self) -> None:
        """Both ends are allowed, zero stands for none, and the shortest can be configured."""
        for ttl in ("10s", "24h", "86400s", "0s", "0", ""):
            self.assertTrue(self.apply("create", ttl=ttl), ttl)
        self.sessions = Sessions(self.replica.store, Random(2), self.renew, 500_000_000)
        self.assertTrue(self.apply("create", ttl="1s"))
        self.assertEqual(
            self.refused("create", ttl="100ms"),
            "Invalid Session TTL '100000000', must be between [500ms=24h0m0s]",
        )

    def test_destroy(self) -> None:
        """Whatever the case of the id; unknown ones are no error."""
        session = self.apply("create")
        self.assertEqual(self.apply("destroy", id=session.upper()), "")
        self.assertEqual(self.get(session).reply.sessions, [])
        self.assertEqual(self.apply("destroy", id=UNKNOWN), "")

    def test_renew(self) -> None:
        """Answered by the leader alone; nothing is written."""
        session = self.apply("create", ttl="20s")
        index = self.replica.index
        renewed = self.sessions.renew(SessionSpecificRequest(session=session.upper())).reply
        self.assertEqual((ids(renewed.sessions), renewed.index), ([session], index))
        self.assertEqual((self.renewed, self.replica.index), ([session], index))
        self.assertIsNone(self.sessions.renew(SessionSpecificRequest(session_id=UNKNOWN)).reply.sessions)
        self.assertEqual(self.renewed, [session])
        self.renews = False
        self.assertIsNone(self.sessions.renew(SessionSpecificRequest(session_id=session)).reply.sessions)
        error = self.assertRaises(Refused, self.sessions.renew, SessionSpecificRequest(session_id="x"))
        self.assertEqual(str(error), "failed session lookup: index error: UUID must be 36 characters")

    def test_get(self) -> None:
        """One or none, watched by its id in lower case."""
        session = self.apply("create")
        read = self.get(session.upper())
        self.assertEqual((ids(read.reply.sessions), read.index), ([session], 2))
        self.assertEqual(read.watch, (("session", session),))
        waiter = self.replica.wait(*read.watch)
        self.apply("destroy", id=session)
        self.assertEqual((waiter.woken, self.get(session).index), (1, 3))
        self.assertRaises(Refused, self.get, "x")
        missing = self.get(UNKNOWN)
        self.assertEqual((missing.reply.sessions, missing.watch), ([], (("session", UNKNOWN),)))

    def test_lists(self) -> None:
        """All, and those of a node, each woken by what concerns it."""
        self.replica.register("n2")
        first = self.apply("create")
        everything = self.sessions.list(SessionSpecificRequest())
        mine = self.sessions.node_sessions(NodeSpecificRequest(node="N1"))
        self.assertEqual((ids(everything.reply.sessions), ids(mine.reply.sessions)), ([first], [first]))
        self.assertEqual((everything.index, mine.index), (3, 3))
        waiters = self.replica.wait(*everything.watch), self.replica.wait(*mine.watch)
        self.apply("create", node="n2")
        self.assertEqual([waiter.woken for waiter in waiters], [1, 0])
        self.assertEqual(self.sessions.list(SessionSpecificRequest()).index, 4)
        none = self.sessions.node_sessions(NodeSpecificRequest(node="n3"))
        self.assertEqual((none.reply.sessions, none.index), ([], 0))
