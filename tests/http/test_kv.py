"""/v1/kv/."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET
from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import NoLeader, Refused
from pyconsul.structs.kv import IndexedDirEntries, IndexedKeyList
from tests.http.fakes import Client, FakeAgent, entry, meta, site


class Base(SynchronousTestCase):
    def setUp(self) -> None:
        self.agent = FakeAgent()
        self.site = site(self.agent)
        self.client = Client(self.site)

    def ask(
        self, target: str, method: str = "GET", body: bytes = b"", headers: str = ""
    ) -> tuple[int, bytes]:
        head, _, content = self.client.get(target, method, body, headers).partition(b"\r\n\r\n")
        self.head = head
        return int(head.split(b" ", 2)[1]), content

    def asked(self) -> tuple[str, Any]:
        return self.agent.asked[-1]


class ReadTests(Base):
    def test_entry(self) -> None:
        status, body = self.ask("/v1/kv/web/a%20b?stale&index=3&dc=dc1")
        self.assertEqual(status, 200)
        self.assertIn(b'"Key":"web/a b","Flags":0,"Value":"aGVsbG8=","CreateIndex":6', body)
        method, request = self.asked()
        self.assertEqual((method, request.key, request.allow_stale), ("KVS.Get", "web/a b", True))
        self.assertEqual((request.min_query_index, request.datacenter), (3, "dc1"))

    def test_missing(self) -> None:
        """404 without a body, but with the index to wait on, in all three forms."""
        for parameters in ("", "?recurse", "?keys", "?raw", "?keys&separator=/"):
            self.assertEqual(self.ask("/v1/kv/none" + parameters), (404, b""), parameters)
            self.assertIn(b"X-Consul-Index: 7", self.head)
            self.assertNotIn(b"Content-Type", self.head)

    def test_empty_and_locked(self) -> None:
        """An empty value is null; the session shows while there is one."""
        row = replace(entry("a", None), session="s", lock_index=1)
        self.agent.replies["KVS.Get"] = IndexedDirEntries(entries=[row], **meta())
        self.assertEqual(
            self.ask("/v1/kv/a")[1],
            b'[{"LockIndex":1,"Key":"a","Flags":0,"Value":null,"Session":"s","CreateIndex":6,"ModifyIndex":7}]',
        )
        self.assertEqual(self.ask("/v1/kv/a?raw"), (200, b""))

    def test_raw(self) -> None:
        self.assertEqual(self.ask("/v1/kv/a?raw"), (200, b"hello"))
        for line in (
            b"Content-Type: text/plain", b"Content-Security-Policy: sandbox",
            b"X-Content-Type-Options: nosniff",
            b"X-Consul-Index: 7",
        ):  # fmt: skip
            self.assertIn(line, self.head.split(b"\r\n"))

    def test_recurse(self) -> None:
        status, body = self.ask("/v1/kv/a?recurse&raw")
        self.assertEqual((status, body.count(b'"Key"')), (200, 2))
        self.assertEqual((self.asked()[0], self.asked()[1].key), ("KVS.List", "a"))
        self.assertEqual(self.ask("/v1/kv/?recurse")[0], 200)

    def test_keys(self) -> None:
        self.assertEqual(self.ask("/v1/kv/a?keys&separator=/&recurse"), (200, b'["a/1","a/2"]'))
        method, request = self.asked()
        self.assertEqual((method, request.prefix, request.separator), ("KVS.ListKeys", "a", "/"))

    def test_root_is_never_missing(self) -> None:
        self.agent.replies["KVS.ListKeys"] = IndexedKeyList(**meta())
        self.assertEqual(self.ask("/v1/kv/?keys"), (200, b"[]"))

    def test_no_key(self) -> None:
        for method in ("GET", "PUT", "DELETE"):
            self.assertEqual(self.ask("/v1/kv/", method), (400, b"Missing key name"))
            self.assertEqual(self.ask("/v1/kv/?ns=x&index=x", method), (400, b"Invalid index"))
        self.assertEqual(self.ask("/v1/kv/?ns=x"), (400, b"Missing key name"))
        for method, target in (
            ("GET", "?ns=x&keys"),
            ("PUT", "?ns=x"),
            ("DELETE", "?ns=x"),
            ("GET", "a?ns=x"),
        ):
            self.assertIn(b"Namespaces are", self.ask(f"/v1/kv/{target}", method)[1])
        self.assertEqual(self.agent.asked, [])

    def test_no_effective_consistency(self) -> None:
        """The key/value store does not tell it."""
        self.ask("/v1/kv/a")
        self.assertNotIn(b"Effective", self.head)

    def test_failure_has_no_index(self) -> None:
        self.assertEqual(self.ask("/v1/kv/a?dc=nowhere"), (500, b"No path to datacenter"))
        self.assertNotIn(b"X-Consul", self.head)


class WriteTests(Base):
    def put(self, parameters: str, body: bytes = b"v") -> Any:
        self.assertEqual(self.ask("/v1/kv/a" + parameters, "PUT", body), (200, b"true"))
        method, request = self.asked()
        self.assertEqual(method, "KVS.Apply")
        return request

    def test_set(self) -> None:
        request = self.put("?flags=18446744073709551615&token=t&dc=dc1")
        row = request.dir_ent
        self.assertEqual((request.op, row.key, row.value, row.flags), ("set", "a", b"v", 2**64 - 1))
        self.assertEqual((row.session, request.token, request.datacenter), (UNSET, "t", "dc1"))
        self.assertIsNone(self.put("", b"").dir_ent.value)

    def test_operations(self) -> None:
        request = self.put("?cas=3")
        self.assertEqual((request.op, request.dir_ent.modify_index), ("cas", 3))
        request = self.put("?acquire=s&flags=1")
        self.assertEqual((request.op, request.dir_ent.session, request.dir_ent.flags), ("lock", "s", 1))
        request = self.put("?release=s")
        self.assertEqual((request.op, request.dir_ent.session), ("unlock", "s"))
        request = self.put("?acquire=")
        self.assertEqual((request.op, request.dir_ent.session), ("lock", ""))

    def test_not_done(self) -> None:
        self.assertEqual(self.ask("/v1/kv/refused", "PUT", b"x"), (200, b"false"))

    def test_refused(self) -> None:
        for method, parameters, answer in [
            ("PUT", "?acquire=a&release=b", (400, b"Conflicting flags: acquire=a&release=b")),
            ("PUT", "?cas=1&acquire=a", (400, b"Conflicting flags: acquire=a&cas=1")),
            ("PUT", "?release=y&cas=1&acquire=x", (400, b"Conflicting flags: acquire=x&cas=1&release=y")),
            ("DELETE", "?cas=1&recurse", (400, b"Conflicting flags: cas=1&recurse=")),
            ("PUT", "?flags=abc&cas=x", (500, b'strconv.ParseUint: parsing "abc": invalid syntax')),
            ("PUT", "?cas=x", (500, b'strconv.ParseUint: parsing "x": invalid syntax')),
            ("DELETE", "?cas=x", (500, b'strconv.ParseUint: parsing "x": invalid syntax')),
        ]:
            self.assertEqual(self.ask("/v1/kv/a" + parameters, method), answer)
        for method in ("GET", "PUT", "DELETE"):
            self.assertEqual(self.ask("/v1/kv/a?ns=x", method)[0], 400)
        conflict = b"Cannot specify ?stale with ?consistent, conflicting semantics."
        for method in ("PUT", "DELETE"):  # what only reads need is looked at, too
            self.assertEqual(self.ask("/v1/kv/a?index=x", method), (400, b"Invalid index"))
            self.assertEqual(self.ask("/v1/kv/a?wait=x", method), (400, b"Invalid wait time"))
            self.assertEqual(self.ask("/v1/kv/a?stale&consistent", method), (400, conflict))
        self.assertEqual(self.agent.asked, [])

    def test_delete(self) -> None:
        for target, operation, key, index in [
            ("/v1/kv/a", "delete", "a", 0),
            ("/v1/kv/a?cas=9", "delete-cas", "a", 9),
            ("/v1/kv/a/?recurse", "delete-tree", "a/", 0),
            ("/v1/kv/?recurse", "delete-tree", "", 0),
        ]:
            self.assertEqual(self.ask(target, "DELETE"), (200, b"true"))
            request = self.asked()[1]
            self.assertEqual(
                (request.op, request.dir_ent.key, request.dir_ent.modify_index), (operation, key, index)
            )

    def test_servers_refusal(self) -> None:
        self.agent.replies["KVS.Apply"] = Refused('invalid session "x"')
        self.assertEqual(self.ask("/v1/kv/a?acquire=x", "PUT"), (500, b'invalid session "x"'))


class KeptTests(Base):
    """What is kept is served without asking, until it changes."""

    def asks(self, target: str, times: int = 3, headers: str = "") -> int:
        before = len(self.agent.asked)
        for _ in range(times):
            self.assertEqual(self.ask(target, headers=headers)[0], 200)
        return len(self.agent.asked) - before

    def test_kept_from_the_second_time(self) -> None:
        self.assertEqual(self.asks("/v1/kv/a", 5), 2)
        self.assertEqual(self.asks("/v1/kv/a", 2, "Accept-Encoding: gzip\r\n"), 0)
        self.agent.wake()
        self.assertEqual(self.asks("/v1/kv/a", 2), 1)
        self.assertEqual(len(self.agent.watching), 1)

    def test_not_kept(self) -> None:
        """Answers that depend on more than the target and the leader's store."""
        for target in (
            "/v1/kv/a?index=1", "/v1/kv/a?token=t",
            "/v1/kv/a?near=n",
            "/v1/status/leader",
        ):  # fmt: skip
            self.assertEqual(self.asks(target), 3, target)
        self.assertEqual(self.asks("/v1/kv/a", 4), 2)
        for headers in (
            "X-Consul-Token: t\r\n",
            "Cache-Control: no-cache\r\n",
            "Authorization: Bearer t\r\n",
        ):
            self.assertEqual(self.asks("/v1/kv/a", 3, headers), 3, headers)
        self.assertEqual(self.agent.watching and len(self.agent.watching), 1)

    def test_missing_is_not_kept(self) -> None:
        for _ in range(3):
            self.ask("/v1/kv/none")
        self.assertEqual((len(self.agent.asked), self.agent.watching), (3, []))

    def test_gone_after_it_was_kept(self) -> None:
        """When a key that was kept disappears, its watcher is not left behind."""
        self.asks("/v1/kv/a", 3)
        self.agent.wake()
        self.agent.replies["KVS.Get"] = IndexedDirEntries(**meta())
        self.assertEqual(self.ask("/v1/kv/a")[0], 404)
        self.assertEqual(self.agent.forgotten, self.agent.watching)
        self.assertEqual(len(self.agent.forgotten), 1)

    def test_stale(self) -> None:
        self.assertEqual(self.asks("/v1/kv/a?stale", 5), 2)

    def test_consistent(self) -> None:
        """What is kept is served once it is certain that this server still led."""
        self.assertEqual(self.asks("/v1/kv/a?consistent", 5), 2)
        self.assertEqual(self.agent.confirming, 3)
        confirmed = self.agent.confirmed = Deferred()
        self.assertEqual(self.client.get("/v1/kv/a?consistent"), b"")
        confirmed.callback(None)
        self.assertTrue(self.client.received().startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertEqual(len(self.agent.asked), 2)

    def test_without_a_lease(self) -> None:
        """What is kept for default reads needs the lease, or to be confirmed; for stale ones nothing."""
        self.asks("/v1/kv/a", 3)
        self.asks("/v1/kv/a?stale", 3)
        self.agent.leased = False
        self.assertEqual((self.asks("/v1/kv/a", 2), self.agent.confirming), (0, 2))
        self.assertEqual((self.asks("/v1/kv/a?stale", 2), self.agent.confirming), (0, 2))
        self.agent.confirmed = fail(NoLeader())
        self.assertEqual(self.asks("/v1/kv/a", 1), 1)

    def test_consistent_but_changed(self) -> None:
        """A change, or another leader, while that is found out: the read begins anew."""
        self.asks("/v1/kv/a?consistent", 3)
        confirmed = self.agent.confirmed = Deferred()
        self.client.get("/v1/kv/a?consistent")
        self.agent.wake()
        confirmed.callback(None)
        self.assertEqual(len(self.agent.asked), 3)
        self.agent.confirmed = fail(NoLeader())
        self.assertEqual(self.asks("/v1/kv/a?consistent", 2), 2)

    def test_follower_arms_nothing(self) -> None:
        self.agent.arms = False
        self.assertEqual(self.asks("/v1/kv/a", 4), 4)

    def test_answer_of_a_follower(self) -> None:
        """It tells when the leader was last heard of, each time anew, though the rest of it is kept."""
        self.agent.replies["KVS.Get"] = IndexedDirEntries(entries=[entry()], **meta(last_contact=5_000_000))
        self.assertEqual(self.asks("/v1/kv/a?stale", 2), 2)
        self.assertIn(b"X-Consul-Lastcontact: 5\r\n", self.head)
        for contact_ms in (6, 6, 71, 0):
            self.agent.contact_ms = contact_ms
            for headers in ("", "Accept-Encoding: gzip\r\n", "Connection: close\r\n"):
                client = Client(self.site)
                answer = client.get("/v1/kv/a?stale", headers=headers)
                self.assertIn(b"X-Consul-Lastcontact: %d\r\n" % contact_ms, answer)
        self.assertEqual(len(self.agent.asked), 2)

    def test_woken_while_it_is_read(self) -> None:
        """A change between the read and its answer: the answer is sent, but not kept."""
        self.asks("/v1/kv/a", 1)
        read = self.agent.replies["KVS.Get"]

        def racing(request: Any) -> Any:
            reply = read(request)
            self.agent.wake()
            return reply

        self.agent.replies["KVS.Get"] = racing
        self.assertEqual(self.asks("/v1/kv/a", 3), 3)
