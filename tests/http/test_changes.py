"""``?changed``, and pages of keys."""

from __future__ import annotations

from tests.http.test_kv import Base


class ChangedTests(Base):
    def test_keys(self) -> None:
        """What came, what went; the index to go on with is in body and header."""
        status, body = self.ask("/v1/kv/a/?recurse&changed&index=5&wait=3s")
        self.assertEqual(status, 200)
        self.assertEqual(
            body,
            b'{"Index":9,"Reset":false,"Changed":[{"LockIndex":0,"Key":"a/1","Flags":0,"Value":"aGVsbG8=",'
            b'"CreateIndex":6,"ModifyIndex":7}],"Deleted":["a/2"],"DeletedPrefixes":["a/b/"]}',
        )
        self.assertIn(b"X-Consul-Index: 9\r\n", self.head)
        self.assertNotIn(b"Effective-Consistency", self.head)
        method, request = self.asked()
        self.assertEqual((method, request.prefix, request.since), ("Changes.KV", "a/", 5))
        self.assertEqual((request.min_query_index, request.max_query_time), (5, 3_000_000_000))

    def test_catalog(self) -> None:
        for target, method, start in (
            ("catalog/nodes?changed&node-meta=a:b", "Changes.Nodes", b'[{"ID":"9a4e'),
            ("catalog/services?changed", "Changes.Services", b'{"web":["v1"]}'),
            ("catalog/service/web?changed&tag=a&tag=b", "Changes.ServiceNodes", b'[{"ID":"","Node":"n1"'),
            ("catalog/connect/web?changed", "Changes.ServiceNodes", b'[{"ID":"","Node":"n1"'),
            ("health/service/web?changed&passing&filter=x", "Changes.Health", b'[{"Node":{"ID"'),
            ("health/connect/web?changed", "Changes.Health", b'[{"Node":{"ID"'),
        ):
            status, body = self.ask(f"/v1/{target}")
            self.assertEqual(status, 200, target)
            self.assertIn(b'{"Index":9,"Reset":true,"Changed":' + start, body)
            self.assertNotIn(b"DeletedPrefixes", body)
            self.assertIn(b"X-Consul-Effective-Consistency: leader", self.head)
            self.assertEqual(self.asked()[0], method)
        requests = [request for _, request in self.agent.asked]
        self.assertEqual(requests[0].node_meta_filters, {"a": "b"})
        self.assertEqual(
            (requests[2].name, requests[2].tags, requests[2].connect), ("web", ["a", "b"], False)
        )
        self.assertEqual((requests[3].connect, requests[3].tags), (True, None))
        self.assertEqual((requests[4].passing, requests[4].filter), (True, "x"))
        self.assertEqual((requests[5].passing, requests[5].connect), (False, True))

    def test_refusals(self) -> None:
        """What makes no sense together."""
        for target, text in (
            ("kv/a?changed", b"?changed needs ?recurse"),
            ("kv/a?recurse&changed&raw", b"Conflicting flags: changed=&raw="),
            ("kv/a?recurse&changed&limit=1", b"Conflicting flags: changed=&limit=1"),
            ("catalog/nodes?changed&near=_agent", b"?near cannot be used when only changes are asked for"),
            ("catalog/services?changed&filter=x", b"?filter cannot be used when only changes are asked for"),
            ("catalog/service/?changed", b"Missing service name"),
            ("health/service/web?changed&passing=x", b"Invalid value for ?passing"),
        ):
            self.assertEqual(self.ask(f"/v1/{target}"), (400, text))
        self.assertEqual(self.agent.asked, [])

    def test_only_where_asked(self) -> None:
        """Plain reads are what they were."""
        self.ask("/v1/catalog/nodes")
        self.ask("/v1/kv/a?recurse")
        self.assertEqual([method for method, _ in self.agent.asked], ["Catalog.ListNodes", "KVS.List"])


class PageTests(Base):
    def test_parameters(self) -> None:
        self.ask("/v1/kv/a?recurse&limit=10&after=a/1")
        request = self.asked()[1]
        self.assertEqual((request.key, request.limit, request.after), ("a", 10, "a/1"))
        self.ask("/v1/kv/a?keys&separator=/&limit=3")
        request = self.asked()[1]
        self.assertEqual((request.prefix, request.limit, request.after), ("a", 3, ""))
        self.ask("/v1/kv/a?limit=x&after=b")
        self.assertEqual((self.asked()[0], self.asked()[1].limit), ("KVS.Get", 0))
        for limit in ("x", "0", "-1", "", "1e3"):
            answer = self.ask(f"/v1/kv/a?keys&limit={limit}")
            self.assertEqual(answer, (400, f'Invalid limit "{limit}"'.encode()))

    def test_last_page(self) -> None:
        """It may be empty, which is not the same as nothing being there."""
        for parameters in ("recurse", "keys"):
            self.assertEqual(self.ask(f"/v1/kv/none?{parameters}&after=x"), (200, b"[]"))
            self.assertEqual(self.ask(f"/v1/kv/none?{parameters}&limit=3"), (404, b""))
