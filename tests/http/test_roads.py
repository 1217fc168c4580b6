"""Klein's road and the lane give the same bytes for every route; so does any other Twisted server."""

from __future__ import annotations

import gzip
from typing import Any

from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import NoLeader, PermissionDenied
from pyconsul.http.site import Site
from tests.http.fakes import Client, FakeAgent, request, site

BODIES = {
    "/v1/catalog/register": b'{"Node": "n", "Address": "192.0.2.9"}',
    "/v1/catalog/deregister": b'{"Node": "n"}',
    "/v1/txn": b'[{"KV": {"Verb": "set", "Key": "a", "Value": "YQ=="}}]',
    "/v1/session/create": b'{"Name": "s"}',
    "/v1/query": b'{"Name": "q", "Service": {"Service": "web"}}',
    "/v1/query/": b'{"Name": "q", "Service": {"Service": "web"}}',
}
PARAMETERS = (
    "", "?", "?pretty", "?stale", "?consistent", "?stale&consistent", "?dc=elsewhere", "?dc=dc1", "?index=5",
    "?index=x", "?wait=5", "?keys", "?keys&separator=/", "?recurse", "?raw", "?passing", "?passing=junk",
    "?tag=a&tag=b", "?near=_agent", "?node-meta=a:b", "?filter=x", "?cas=1", "?cas=x", "?flags=3",
    "?flags=-1", "?acquire=s&release=s", "?acquire=s", "?ns=x", "?token=t",
    "?cached", "?cached&consistent", "?limit=x", "?connect=x", "?a=%zz",
)  # fmt: skip
TAILS = (
    "", "a", "a/b", "a%2Fb", "%E2%98%83", "none", "a%20b", "a//b", "a/../b", "%07", "%zz", "%80",
    "refused", "a/execute", "a/explain",
)  # fmt: skip
METHODS = ("GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD")
HEADERS = (
    "", "Accept-Encoding: gzip\r\n", "X-Consul-Token: t\r\n", "Connection: close\r\n",
    "X-Consul-Namespace: n\r\n",
)  # fmt: skip
SETTINGS: list[dict[str, Any]] = [{}, {"response_headers": {"X-Conf": "yes"}, "always_pretty": True}]
IGNORED = {b"connection", b"content-encoding", b"content-length"}
OTHERS = (
    "/", "/v1", "/v1/", "/v1/nope", "/v1/kv", "/v1/kv?recurse", "/v1/health/service", "/v1/status/leader/",
    "*",
)  # fmt: skip


def cases(served: Site) -> list[tuple[str, str, bytes, str]]:
    """Method, target, body and headers, for every route that is declared and some paths that are not."""
    found = []
    for declared in served.surface.app.declared.values():
        prefix = declared.rule.split("<")[0]
        body = BODIES.get(prefix, b"value" if "PUT" in declared.methods else b"")
        tails = TAILS if "<" in declared.rule else ("", "/")
        for method in declared.methods:
            found += [(method, prefix + tail, body, "") for tail in tails]
            found += [(method, prefix + tails[1][:1] + some, body, "") for some in PARAMETERS]
            found += [(method, prefix + "a" * ("<" in declared.rule), body, some) for some in HEADERS]
        found += [(method, prefix, b"", "") for method in METHODS]
        found += [(method, prefix + "a", b"", "") for method in METHODS]
    found += [(method, path, b"", "") for method in METHODS for path in OTHERS]
    return found


def agents() -> list[dict[str, Any]]:
    """Agents that answer well, later, badly, or not at all."""
    names = list(FakeAgent().replies)

    def later(name: str) -> Any:
        known = FakeAgent().replies[name]

        def reply(asked: Any) -> Deferred[Any]:
            deferred: Deferred[Any] = Deferred()
            deferred.callback(known(asked) if callable(known) else known)
            return deferred

        return reply

    def failing(asked: Any) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred()
        deferred.errback(NoLeader())
        return deferred

    return [
        {},
        {name.replace(".", "_"): later(name) for name in names},
        {name.replace(".", "_"): PermissionDenied("Permission denied") for name in names},
        {name.replace(".", "_"): failing for name in names},
    ]


class RoadsTests(SynchronousTestCase):
    def test_every_route_alike(self) -> None:
        """Each request twice on each road: fresh and, where answers are kept, from what is kept."""
        count = 0
        for replies in agents():
            for settings in SETTINGS:
                short = site(FakeAgent(**replies), lane=True, **settings)
                long = site(FakeAgent(**replies), lane=False, **settings)
                self.assertIsNone(long.lane)
                for method, target, body, headers in cases(short):
                    sent = request(target, method, body, headers)
                    for _ in range(2):
                        self.assertEqual(_ask(short, sent), _ask(long, sent), (method, target, headers))
                    count += 1
        self.assertGreater(count, 3000)

    def test_kept_answers_alike(self) -> None:
        """From the third time on an answer is kept; it stays the same to every client."""
        agent = FakeAgent()
        served, plain = site(agent), site(FakeAgent(), kept_answers_max=0)
        hot = [case for case in cases(served) if case[0] == "GET" and "cached" not in case[1]]
        for method, target, body, headers in hot:
            for _ in range(3):
                sent = request(target, method, body, headers)
                self.assertEqual(_ask(served, sent), _ask(plain, sent), (target, headers))
        self.assertGreater(len(served.surface.kept.entries), 20)

    def test_timings(self) -> None:
        """Each answer counts, on either road, under the name that Consul has for its route."""
        for lane in (True, False):
            served = site(FakeAgent(), lane=lane)
            for target in ("/v1/kv/a", "/v1/kv/a", "/v1/kv/a", "/v1/kv/a", "/v1/kv/b/c?recurse"):
                _ask(served, request(target))
            _ask(served, request("/v1/kv/a", "PUT", b"x"))
            _ask(served, request("/v1/catalog/nodes"))
            _ask(served, request("/v1/nothing"))
            counts = {name: timing.take().count for name, timing in served.surface.timings.items()}
            self.assertEqual(
                counts, {"http.GET.v1.kv._": 5, "http.PUT.v1.kv._": 1, "http.GET.v1.catalog.nodes": 1}
            )

    def test_any_twisted_server(self) -> None:
        """Served by Twisted's own site, the resource gives the same status, headers and body.

        treq asks for gzip each time, and takes what concerns length and coding out of the answer.
        """
        served = site(FakeAgent(), lane=False)
        stub: Any = StubTreq(site(FakeAgent(), lane=False).resource)
        for method, target, body, headers in cases(served):
            if "zz" in target or target == "*" or "close" in headers or "//" in target or ".." in target:
                continue  # what treq itself refuses or rewrites
            given = dict(line.split(": ") for line in headers.split("\r\n") if line)
            answer = self.successResultOf(
                stub.request(
                    method, "http://x" + target, data=body or None, headers=given,
                    allow_redirects=False, unbuffered=True,
                )
            )  # fmt: skip
            packed = headers if "gzip" in headers else headers + "Accept-Encoding: gzip\r\n"
            head, _, expected = _ask(served, request(target, method, body, packed))[0].partition(b"\r\n\r\n")
            lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
            if b"Content-Encoding: gzip" in lines:
                lines.remove(b"Content-Encoding: gzip")
                expected = gzip.decompress(expected) if expected else b""
            self.assertEqual(answer.code, int(lines[0].split(b" ")[1]), (method, target))
            seen = {name.lower(): values for name, values in answer.headers.getAllRawHeaders()}
            for line in lines[1:]:
                name, _, value = line.partition(b": ")
                self.assertEqual(seen.pop(name.lower(), None), [value], (method, target, name))
            self.assertEqual(set(seen) - IGNORED, set(), (method, target))
            self.assertEqual(self.successResultOf(answer.content()), expected, (method, target))


def _ask(served: Site, sent: bytes) -> tuple[bytes, bool]:
    client = Client(served)
    answer = client.send(sent)
    client.lose()
    return answer, client.transport.disconnecting or client.transport.half_closed
