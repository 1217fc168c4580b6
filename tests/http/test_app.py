"""The interface as a whole: settings, endpoints of any kind, failures."""

from __future__ import annotations

from typing import Any

from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import PermissionDenied
from pyconsul.http.answer import Answer, empty
from pyconsul.http.app import make_site
from pyconsul.http.query import Query
from pyconsul.http.reads import as_json, ask
from pyconsul.http.routes import App, Table, allowed, hot, route
from pyconsul.http.settings import HttpSettings, is_within
from tests.http.fakes import Client, FakeAgent, request, site


def ask_all(served: Any, *targets: str) -> list[tuple[int, bytes]]:
    """Status and body of each target; ``METHOD target`` for other methods than GET."""
    found = []
    for target in targets:
        method, _, path = target.rpartition(" ")
        head, _, body = Client(served).get(path, method or "GET").partition(b"\r\n\r\n")
        found.append((int(head.split(b" ", 2)[1]), body))
    return found


class SettingsTests(SynchronousTestCase):
    def both(self, *targets: str, **settings: Any) -> list[tuple[int, bytes]]:
        """The answers, once it is sure that both roads give them."""
        short, long = (ask_all(site(FakeAgent(), lane=lane, **settings), *targets) for lane in (True, False))
        self.assertEqual(short, long)
        return short

    def test_blocked_endpoints(self) -> None:
        blocked = (403, b"Endpoint is blocked by agent configuration")
        answers = self.both(
            "/v1/kv/x", "PUT /v1/kv/x", "/v1/status/peers", "/v1/status/leader", "/v1/k%76/x",
            block_endpoints=["/v1/kv/", "/v1/status/peers"],
        )  # fmt: skip
        self.assertEqual(answers, [blocked, blocked, blocked, (200, b'"192.0.2.1:8300"'), blocked])

    def test_writes_from_elsewhere(self) -> None:
        refused = (403, b"Access is restricted")
        targets = ("PUT /v1/kv/x", "DELETE /v1/kv/x", "/v1/kv/none")
        self.assertEqual(self.both(*targets, allow_write_from=["10.0.0.0/8"]), [refused, refused, (404, b"")])
        self.assertEqual(self.both(targets[0], allow_write_from=["10.0.0.0/8", "192.168.1.1/24"])[0][0], 200)

    def test_networks(self) -> None:
        networks = HttpSettings(allow_write_from=["127.0.0.0/8", "::1/128"]).write_networks()
        for address, inside in [
            ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True), ("10.0.0.1", False), ("", True),
            ("fe80::1%lo", False),
        ]:  # fmt: skip
            self.assertIs(is_within(address, networks), inside, address)
        self.assertRaises(ValueError, HttpSettings(allow_write_from=["nonsense"]).write_networks)

    def test_headers(self) -> None:
        """Configured headers on what endpoints answer, none on an unknown path."""
        served = site(FakeAgent(), response_headers={"x-conf": "yes"}, translate_wan_addrs=True)
        for target, there in [
            ("/v1/kv/a", True),
            ("/v1/kv/none", True),
            ("/v1/kv/", True),
            ("/v1/nope", False),
        ]:
            answer = Client(served).get(target)
            self.assertEqual(b"\r\nX-Conf: yes\r\n" in answer, there, target)
            self.assertEqual(b"\r\nX-Consul-Translate-Addresses: true\r\n" in answer, there, target)

    def test_pretty(self) -> None:
        (status,) = self.both("/v1/status/peers", always_pretty=True)
        self.assertEqual(status, (200, b'[\n    "192.0.2.1:8300"\n]\n'))
        written, read = self.both("PUT /v1/kv/a?pretty", "/v1/status/peers")
        self.assertEqual((written[1], read[1]), (b"true\n", b'["192.0.2.1:8300"]'))

    def test_too_large_for_any_server(self) -> None:
        """Where another channel than ours has taken the body, the resource still refuses it."""
        stub: Any = StubTreq(site(FakeAgent(), kv_value_bytes_max=3).resource)
        answer = self.successResultOf(stub.put("http://x/v1/kv/a", data=b"abcd"))
        self.assertEqual(answer.code, 413)
        self.assertIn(b"too large", self.successResultOf(answer.content()))

    def test_root(self) -> None:
        self.assertEqual(self.both("/", ui=True)[0][0], 301)
        self.assertEqual(self.both("/")[0][0], 200)
        for method in ("PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS"):
            self.assertEqual(self.both(f"{method} /", ui=True)[0][0], 301, method)

    def test_near_this_node(self) -> None:
        agent = FakeAgent()
        ask_all(site(agent, node_name="me"), "/v1/catalog/nodes?near=_agent")
        self.assertEqual(agent.asked[0][1].source.node, "me")

    def test_reconfigure(self) -> None:
        """A reload: what was kept was rendered with the old settings."""
        served = site(FakeAgent())
        client = Client(served)
        for _ in range(3):
            client.get("/v1/kv/a")
        served.reconfigure(HttpSettings(response_headers={"X-New": "1"}, lane=False))
        self.assertIn(b"\r\nX-New: 1\r\n", client.get("/v1/kv/a"))
        self.assertEqual(served.surface.kept.entries, {})
        self.assertIsNone(served.lane)

    def test_wall_time_defaults_to_the_clock(self) -> None:
        clock = Clock()
        clock.advance(1_000_000_000)
        served = make_site(FakeAgent(), HttpSettings(), clock)
        self.assertIn(b"Date: Sun, 09 Sep 2001 01:46:40 GMT", Client(served).get("/v1/kv/a"))


class EndpointTests(SynchronousTestCase):
    """Endpoints that further modules may add."""

    def serve(self, **settings: Any) -> Any:
        def add_routes(app: App, agent: Any) -> None:
            @hot(app, "/own/coroutine/<path:name>", ["GET", "POST"])
            async def coroutine(query: Query, name: str) -> Answer:
                waiting: Deferred[str] = Deferred()
                waiting.callback(name)
                name = await waiting
                if name == "denied":
                    raise PermissionDenied("Permission denied")
                if name == "bug":
                    raise ZeroDivisionError("secret")
                return Answer(json={"name": name})

            @hot(app, "/own/plain/<path:name>")
            def plain(query: Query, name: str) -> Answer:
                if name == "bug":
                    raise ZeroDivisionError("secret")
                return empty()

            @route(app, "/own/<path:name>/inner", ["PUT"])
            def inner(query: Query, name: str) -> Answer | Deferred[Answer]:
                return ask(agent, "Status.Leader", None, as_json)

        return site(FakeAgent(), None, [add_routes], **settings)

    def test_kinds(self) -> None:
        for lane in (True, False):
            served = self.serve(lane=lane)
            self.assertEqual(
                ask_all(
                    served, "/own/coroutine/a/b", "/own/coroutine/denied", "/own/plain/x", "PUT /own/a/inner",
                    "/own/a/inner", "DELETE /own/coroutine/a", "OPTIONS /own/coroutine/a", "/own/plain",
                ),
                [
                    (200, b'{"name":"a/b"}'), (403, b"Permission denied"), (200, b""),
                    (200, b'"192.0.2.1:8300"'), (405, b"method GET not allowed"),
                    (405, b"method DELETE not allowed"), (200, b""),
                    (301, b'<a href="/own/plain/">Moved Permanently</a>.\n\n'),
                ],
            )  # fmt: skip
            self.assertIn(b"\r\nAllow: OPTIONS,GET,POST\r\n", Client(served).get("/own/coroutine/a", "PUT"))

    def test_bugs(self) -> None:
        """A bug is a 500 that tells nothing; the log has it, the next request works."""
        for lane in (True, False):
            served = self.serve(lane=lane)
            client = Client(served)
            for target in ("/own/plain/bug", "/own/coroutine/bug"):
                answer = client.get(target)
                self.assertTrue(answer.startswith(b"HTTP/1.1 500 "))
                self.assertNotIn(b"secret", answer)
            self.assertTrue(client.get("/own/plain/x").startswith(b"HTTP/1.1 200 "))
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_unencodable(self) -> None:
        """A reply that JSON cannot hold is a bug like any other."""
        for lane in (True, False):
            served = site(FakeAgent(Status_Peers=lambda request: ["\ud800"]), lane=lane)
            self.assertEqual(ask_all(served, "/v1/status/peers")[0][0], 500)
            self.assertEqual(len(self.flushLoggedErrors(UnicodeEncodeError)), 1)

    def test_bug_of_the_agent(self) -> None:
        served = site(FakeAgent(Catalog_ListNodes=ZeroDivisionError("secret")))
        self.assertEqual(ask_all(served, "/v1/catalog/nodes")[0][0], 500)
        later: Deferred[Any] = Deferred()
        client = Client(site(FakeAgent(Catalog_ListNodes=later)))
        self.assertEqual(client.get("/v1/catalog/nodes"), b"")
        later.errback(ZeroDivisionError("secret"))
        self.assertTrue(client.received().startswith(b"HTTP/1.1 500 "))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_rules_that_cannot_be_compiled(self) -> None:
        for rule in ("/own/<name>", "/own/<path:name>/inner", "own"):
            self.assertRaises(ValueError, hot, App(), rule)


class TableTests(SynchronousTestCase):
    def find(self, *rules: str) -> Any:
        app = App()
        for rule in rules:
            method, _, path = rule.rpartition(" ")
            route(app, path, [method or "GET"])(lambda query: Answer())
        table = Table(app)

        def find(path: str, method: str = "GET") -> tuple[str, str, int] | None:
            found = table.find(method.encode(), path.encode())
            return None if found is None else (found[0].rule, *found[1:])

        return find

    def test_later(self) -> None:
        """Routes are declared when a path is asked for that none leads to, in every table."""
        app = App()
        declared: list[str] = []

        def declare(*rules: str) -> None:
            for rule in rules:
                declared.append(rule)
                route(app, rule)(lambda query: Answer())

        declare("/a")
        app.later(lambda: declare("/b/<path:x>"))
        app.later(lambda: declare("/c"))
        tables = [Table(app), Table(app)]
        for table in tables:
            self.assertIsNotNone(table.find(b"GET", b"/a"))
        self.assertEqual(declared, ["/a"])
        for table in tables:
            self.assertIsNotNone(table.find(b"GET", b"/c"))
            self.assertIsNone(table.find(b"GET", b"/d"))
            self.assertTrue(table.only_below("/b"))
        self.assertEqual(declared, ["/a", "/b/<path:x>", "/c"])

    def test_all_that_is_declared(self) -> None:
        """Who looks at all routes, or asks what is below a path, has the rest declared."""
        app = App()

        def declare(mark: Any) -> None:
            mark(lambda *given: Answer())

        app.later(lambda: declare(app.route("/own")))
        self.assertEqual([own.rule for own in app.own], ["/own"])
        app.later(lambda: declare(route(app, "/b/<path:x>")))
        self.assertTrue(Table(app).only_below("/b"))
        app.later(lambda: declare(route(app, "/c")))
        self.assertEqual([declared.rule for declared in app.declared.values()], ["/b/<path:x>", "/c"])

    def test_precedence(self) -> None:
        """Exact before prefix, the longer prefix before the shorter."""
        find = self.find(
            "/a/<path:x>", "/a/b/<path:y>", "/a/b", "/a/b/c/d/<path:z>", "PUT /a/b/e", "/q/<r>/s"
        )
        self.assertEqual(find("/a/b"), ("/a/b", "", 4))
        self.assertEqual(find("/a/x/y"), ("/a/<path:x>", "x", 3))
        self.assertEqual(find("/a/"), ("/a/<path:x>", "x", 3))
        self.assertEqual(find("/a/b/x"), ("/a/b/<path:y>", "y", 5))
        self.assertEqual(find("/a/b/c/x"), ("/a/b/<path:y>", "y", 5))
        self.assertEqual(find("/a/b/c/d/x"), ("/a/b/c/d/<path:z>", "z", 9))
        for path in ("/b", "/", "/a", "/b/c", "/q/r/s", ""):
            self.assertIsNone(find(path), path)

    def test_methods(self) -> None:
        """A path that has other methods only is left to Klein, which says which."""
        find = self.find("/a/<path:x>", "PUT /a/<path:x>", "PUT /a/b")
        self.assertEqual(find("/a/x", "PUT"), ("/a/<path:x>", "x", 3))
        self.assertIsNone(find("/a/x", "POST"))
        self.assertIsNone(find("/a/b", "GET"))

    def test_allowed(self) -> None:
        self.assertEqual(allowed(["DELETE", "HEAD", "PUT", "GET"]), b"OPTIONS,GET,PUT,DELETE")

    def test_klein_agrees(self) -> None:
        """What the table finds for a hot route, Klein finds as well (see test_roads for answers)."""
        served = site(FakeAgent())
        adapter = served.surface.road.klein.url_map.bind("x")
        for path in ("/v1/kv/a", "/v1/kv/", "/v1/kv/a/b/", "/v1/health/service/web", "/v1/status/leader"):
            rule, values = adapter.match(path, "GET", return_rule=True)
            found = served.surface.table.find(b"GET", path.encode())
            assert found is not None
            self.assertEqual(served.surface.app.declared[rule.endpoint], found[0])
            self.assertEqual(values, {found[1]: path[found[2] :]} if found[1] else {})

    def test_requests_are_recorded_as_sent(self) -> None:
        """The helper of these tests speaks HTTP/1.1."""
        self.assertEqual(request("/a", headers="B: c\r\n"), b"GET /a HTTP/1.1\r\nHost: x\r\nB: c\r\n\r\n")
