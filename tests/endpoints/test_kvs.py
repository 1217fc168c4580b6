"""KVS.*: what each method reads and what it puts into the log."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.endpoints.base import Answered, Registry
from pyconsul.endpoints.kvs import KVS
from pyconsul.errors import BadRequest, Refused
from pyconsul.structs.kv import DirEntry, KeyListRequest, KeyRequest, KVSRequest
from tests.state.replica import Replica


class KVSTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.replica = Replica()
        self.kvs = KVS(self.replica.store)

    def write(self, op: str, key: str, value: bytes = b"1", **more: Any) -> Any:
        entry = DirEntry(key=key, value=value, **more)
        command = self.kvs.apply(KVSRequest(op=op, dir_ent=entry))
        assert isinstance(command, bytes)
        return self.replica.apply(command)

    def test_declarations(self) -> None:
        """The names on the wire and their kinds."""
        methods = {method.name: (method.kind, method.permission) for method in map(
            Registry([self.kvs]).get, ("KVS.Apply", "KVS.Get", "KVS.List", "KVS.ListKeys")
        ) if method is not None}  # fmt: skip
        self.assertEqual(
            methods,
            {
                "KVS.Apply": ("write", "key:write"),
                "KVS.Get": ("read", "key:read"),
                "KVS.List": ("read", "key:list"),
                "KVS.ListKeys": ("read", "key:list"),
            },
        )

    def test_get(self) -> None:
        """One entry or none, watched by its key."""
        self.write("set", "a", b"x", flags=3)
        found = self.kvs.get(KeyRequest(key="a"))
        self.assertEqual((found.index, found.watch), (1, (("kv", "a"),)))
        self.assertEqual([(row.key, row.value, row.flags) for row in found.reply.entries], [("a", b"x", 3)])
        missing = self.kvs.get(KeyRequest(key="b"))
        self.assertEqual((missing.index, missing.reply.entries, missing.watch), (0, [], (("kv", "b"),)))

    def test_waiting_for_a_missing_key(self) -> None:
        """Neighbours neither wake nor move it; its creation and deletion do both."""
        read = self.kvs.get(KeyRequest(key="b"))
        waiter = self.replica.wait(*read.watch)
        self.write("set", "a")
        self.write("set", "b/c")
        self.assertEqual((waiter.woken, self.kvs.get(KeyRequest(key="b")).index), (0, read.index))
        self.write("set", "b")
        self.assertEqual((waiter.woken, self.kvs.get(KeyRequest(key="b")).index), (1, 3))
        waiter = self.replica.wait(*read.watch)
        self.write("delete", "b")
        self.assertEqual((waiter.woken, self.kvs.get(KeyRequest(key="b")).index), (1, 4))

    def test_list(self) -> None:
        """Entries and names under a prefix, watched by it."""
        for key in ("a/1", "a/2/x", "a/2/y", "b"):
            self.write("set", key)
        found = self.kvs.list(KeyRequest(key="a/"))
        self.assertEqual((found.index, found.watch), (3, (("kvp", "a/"),)))
        self.assertEqual([row.key for row in found.reply.entries], ["a/1", "a/2/x", "a/2/y"])
        names = self.kvs.list_keys(KeyListRequest(prefix="a/", separator="/"))
        self.assertEqual((names.index, names.reply.keys, names.watch), (3, ["a/1", "a/2/"], (("kvp", "a/"),)))
        self.assertEqual(self.kvs.list(KeyRequest(key="none")).reply.entries, [])

    def test_writes(self) -> None:
        """Each operation gets through with what it needs."""
        self.replica.store.kv.session_exists = lambda session: session == "s"
        self.assertIs(self.write("cas", "a", modify_index=0), True)
        self.assertIs(self.write("cas", "a", b"2", modify_index=9), False)
        self.assertIs(self.write("lock", "a", b"2", session="s"), True)
        self.assertIs(self.write("unlock", "a", b"3", session="s", flags=9), True)
        row = self.kvs.get(KeyRequest(key="a")).reply.entries[0]
        self.assertEqual((row.value, row.flags, row.lock_index), (b"3", 9, 1))
        self.assertIs(self.write("delete-cas", "a", modify_index=4), True)
        self.assertIs(self.write("delete-tree", ""), True)

    def test_refused(self) -> None:
        """No key, no operation."""
        self.assertRaises(Refused, self.write, "set", "")
        self.assertRaises(BadRequest, self.write, "frob", "a")
        self.assertEqual(self.replica.index, 0)

    def test_lock_delay(self) -> None:
        """A key that may not be locked yet is not locked, and nothing gets into the log."""
        kvs = KVS(self.replica.store, {"l"}.__contains__)
        for op, key, answered in (("lock", "l", True), ("lock", "k", False), ("set", "l", False)):
            command = kvs.apply(KVSRequest(op=op, dir_ent=DirEntry(key=key, session="s")))
            self.assertEqual(isinstance(command, Answered), answered, (op, key))
            if isinstance(command, Answered):
                self.assertIs(command.reply, False)
