"""The session table: what sessions depend on, what they hold, what their indexes say."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.state import commands
from pyconsul.state.commands import SESSION
from pyconsul.state.session import SessionCommand
from pyconsul.state.store import Store
from pyconsul.structs.session import ServiceCheck, Session
from tests.state.replica import Replica, ids, refusal, travelled

S1, S2, S3 = (f"11111111-2222-3333-4444-55555555555{digit}" for digit in "abc")


def check(check_id: str, status: str = "passing", **more: Any) -> dict[str, Any]:
    """The fields of a check."""
    return {"check_id": check_id, "name": check_id, "status": status, **more}


class SessionTestCase(SynchronousTestCase):
    """A store with two nodes; sessions start at index 3."""

    def setUp(self) -> None:
        self.replica = Replica()
        self.replica.register("n1", service={"service": "web"}, checks=[check("serfHealth"), check("disk")])
        self.replica.register("n2")
        self.sessions = self.replica.store.sessions
        self.told: list[Any] = []
        self.sessions.created = lambda session: self.told.append(("created", session.id))
        self.sessions.ended = lambda session, keys: self.told.append(("ended", session.id, keys))

    def lock(self, key: str, session: str) -> None:
        self.assertIs(self.replica.kv("lock", key, b"1", session=session), True)


class CreateTests(SessionTestCase):
    def test_row(self) -> None:
        """What is stored, in canonical form; the reply is the id."""
        self.assertEqual(self.replica.create(S1.upper(), "N1", lock_delay=-5, checks=[], name="s"), S1)
        row = self.sessions.row(S1)
        assert row is not None
        self.assertEqual(
            (row.id, row.node, row.name, row.behavior, row.lock_delay, row.create_index, row.modify_index),
            (S1, "N1", "s", "release", 0, 3, 3),
        )
        self.assertIs(row.checks, UNSET)
        self.assertNotIn("Checks", msgspec.json.decode(msgspec.json.encode(row)))
        self.assertEqual(self.told, [("created", S1)])
        self.assertEqual(len(self.sessions), 1)

    def test_refusals(self) -> None:
        """Nothing is written for a session that depends on what is not there."""
        self.replica.register("n1", checks=[check("bad", "critical")])
        before = self.sessions.snapshot()
        for fields, text in (
            ({"node": "n9"}, "Missing node registration"),
            ({"node_checks": ["serfHealth", "none"]}, "Missing check 'none' registration"),
            ({"service_checks": [ServiceCheck("gone")]}, "Missing check 'gone' registration"),
            ({"checks": ["Bad"]}, "Check 'Bad' is in critical state"),
            ({"node": "n2", "node_checks": ["disk"]}, "Missing check 'disk' registration"),
        ):
            self.assertEqual(refusal(self.replica.create(S1, **fields)), text)
        self.assertEqual((self.sessions.snapshot(), self.told), (before, []))

    def test_twice(self) -> None:
        """An id is used once at a time."""
        self.replica.create(S1)
        self.assertEqual(refusal(self.replica.create(S1)), f'session "{S1}" already exists')
        self.replica.destroy(S1)
        self.assertEqual(self.replica.create(S1), S1)

    def test_linked_checks(self) -> None:
        """All three lists, each check once whatever its case, in the spelling that came first."""
        session = Session(
            checks=["a", "A"], node_checks=["b", "a"], service_checks=[ServiceCheck("B"), ServiceCheck("c")]
        )
        self.assertEqual(session.linked_checks(), ["a", "b", "c"])
        self.assertEqual(Session().linked_checks(), [])
        self.assertEqual(Session(checks=None).linked_checks(), [])

    def test_unknown_operation(self) -> None:
        """A log that holds an operation of the future is refused by all alike."""
        command = commands.encode(SESSION, SessionCommand(9, Session(id=S1)))
        self.assertEqual(refusal(self.replica.apply(command)), "unknown operation 9 on the session table")


class EndTests(SessionTestCase):
    def test_destroy(self) -> None:
        """Keys are let go, others are told which; an unknown session is no error."""
        self.replica.create(S1)
        self.lock("b", S1)
        self.lock("a", S1)
        self.assertEqual(self.replica.destroy(S1.upper()), "")
        self.assertEqual(self.told[1:], [("ended", S1, ["a", "b"])])
        self.assertFalse(self.sessions.exists(S1))
        row = self.replica.store.kv.row("a")
        assert row is not None
        self.assertEqual((row.session, row.lock_index, row.modify_index), (UNSET, 1, 6))
        self.assertEqual(self.replica.destroy(S1), "")
        self.assertEqual(len(self.told), 2)
        self.assertEqual(refusal(self.replica.kv("lock", "a", session=S1)), f'invalid session "{S1}"')

    def test_behaviour_delete(self) -> None:
        """The keys that it holds go with it; those that it held before stay."""
        self.replica.create(S1, behavior="delete")
        self.lock("a", S1)
        self.lock("b", S1)
        self.replica.kv("unlock", "b", b"2", session=S1)
        self.replica.destroy(S1)
        self.assertEqual(self.replica.store.kv.names("", "")[1], ["b"])
        self.assertEqual(self.told[1:], [("ended", S1, ["a"])])

    def test_check_becomes_critical(self) -> None:
        """Only sessions that depend on it end, and only when it gets critical."""
        self.replica.create(S1, node_checks=["DISK"])
        self.replica.create(S2, node_checks=["serfHealth"])
        self.replica.create(S3, "n2")
        self.replica.register("n1", checks=[check("disk", "warning")])
        self.assertTrue(self.sessions.exists(S1))
        self.replica.register("n1", checks=[check("disk", "critical")])
        self.assertEqual(ids(self.sessions.all()), [S2, S3])
        self.assertEqual(self.told[3:], [("ended", S1, [])])

    def test_check_goes(self) -> None:
        """The end of a check is the end of those who depend on it."""
        self.replica.register("n1", checks=[check("c", service_id="web")])
        self.replica.create(S1, service_checks=[ServiceCheck("c")])
        self.replica.create(S2, checks=["disk", "serfHealth"])
        self.replica.deregister("n1", service_id="web")
        self.assertEqual(ids(self.sessions.all()), [S2])
        self.replica.deregister("n1", check_id="disk")
        self.assertEqual(ids(self.sessions.all()), [])

    def test_node_goes(self) -> None:
        """All its sessions end, also those without checks, with their locks."""
        self.replica.create(S1, node_checks=["serfHealth"])
        self.replica.create(S2)
        self.replica.create(S3, "n2")
        self.lock("k", S2)
        self.replica.deregister("N1")
        self.assertEqual(ids(self.sessions.all()), [S3])
        self.assertEqual(self.told[3:], [("ended", S1, []), ("ended", S2, ["k"])])
        self.replica.register("n1")
        self.assertEqual(self.sessions.of_node("n1")[1], [])

    def test_node_is_renamed(self) -> None:
        """A node that goes on under another name leaves its sessions behind."""
        node_id = "22222222-2222-3333-4444-555555555555"
        self.replica.register("old", id=node_id)
        self.replica.create(S1, "old")
        self.replica.register("new", id=node_id)
        self.assertFalse(self.sessions.exists(S1))

    def test_a_lock_in_another_spelling(self) -> None:
        """Ids are the same in upper case."""
        self.replica.create(S1)
        self.lock("k", S1.upper())
        self.assertEqual(self.replica.store.kv.held_by(S1), ["k"])
        self.assertIs(self.replica.kv("unlock", "k", session=S1), True)


class IndexTests(SessionTestCase):
    def test_views(self) -> None:
        """Each view moves with its own changes; what is not there has the index of the last end."""
        read = self.sessions
        self.assertEqual((read.index, read.get(S1), read.of_node("n1")), (0, (0, None), (0, [])))
        self.replica.create(S1)  # 3
        self.replica.create(S2, "n2")  # 4
        self.assertEqual((read.index, read.get(S1)[0], read.of_node("N1")[0]), (4, 3, 3))
        self.assertEqual(ids(read.of_node("n2")[1]), [S2])
        self.replica.create(S3)  # 5
        self.replica.destroy(S1)  # 6
        self.assertEqual((read.index, read.get(S1), read.get(S2)[0]), (6, (6, None), 4))
        self.assertEqual((read.of_node("n1")[0], read.of_node("n2")[0], read.of_node("n3")), (6, 4, (6, [])))
        self.replica.destroy(S2)  # 7
        self.assertEqual((read.of_node("n2"), read.get(S1)[0], read.of_node("n1")[0]), ((7, []), 7, 6))

    def test_watches(self) -> None:
        """Those are woken whom it concerns."""
        watches = [("sessions",), ("session", S1), ("session", S2), ("node-sessions", "n1"), ("kv", "k")]

        def woken(command: Any, *arguments: Any) -> list[int]:
            waiters = [self.replica.wait(key) for key in watches]
            command(*arguments)
            for key, waiter in zip(watches, waiters, strict=True):
                self.replica.store.watches.cancel((key,), waiter)
            return [waiter.woken for waiter in waiters]

        self.assertEqual(woken(self.replica.create, S1), [1, 1, 0, 1, 0])
        self.assertEqual(woken(self.lock, "k", S1), [0, 0, 0, 0, 1])
        self.assertEqual(woken(self.replica.create, S2, "n2"), [1, 0, 1, 0, 0])
        self.assertEqual(woken(self.replica.deregister, "n1"), [1, 1, 0, 1, 1])
        self.assertEqual(woken(self.replica.destroy, S1), [0, 0, 0, 0, 0])

    def test_lists_are_ordered(self) -> None:
        """By id, whatever the order in which they came."""
        for session in (S3, S1, S2):
            self.replica.create(session)
        self.assertEqual(ids(self.sessions.all()), [S1, S2, S3])
        self.assertEqual(ids(self.sessions.of_node("n1")[1]), [S1, S2, S3])
        self.assertIs(self.sessions.all(), self.sessions.all())


class SnapshotTests(SessionTestCase):
    def test_restored(self) -> None:
        """A store that was restored goes on as the one that was not, down to the bytes."""
        self.replica.create(S2, node_checks=["disk"], behavior="delete")
        self.replica.create(S1, "n2", ttl="30s")
        self.replica.create(S3, checks=["disk"])
        for key in ("b", "a"):
            self.lock(key, S2)
        self.replica.destroy(S1)
        other = Replica()
        told: list[Any] = []
        other.store.sessions.ended = lambda session, keys: told.append((session.id, keys))
        other.store.restore(travelled(self.replica.store.snapshot()))
        other.index = self.replica.index
        self.assertEqual(other.store.digest(), self.replica.store.digest())
        for replica in (self.replica, other):
            replica.create(S1)
            replica.register("n1", checks=[check("disk", "critical")])
        self.assertEqual(other.store.digest(), self.replica.store.digest())
        self.assertEqual(told, [(S2, ["a", "b"]), (S3, [])])
        self.assertEqual(ids(other.store.sessions.all()), [S1])

    def test_order_of_nodes_does_not_show(self) -> None:
        """A snapshot does not depend on which node had a session first."""
        self.replica.create(S1)
        self.replica.create(S2, "n2")
        self.replica.create(S3)
        self.replica.destroy(S1)
        restored = Store()
        restored.restore(self.replica.store.snapshot())
        self.assertEqual(restored.digest(), self.replica.store.digest())
