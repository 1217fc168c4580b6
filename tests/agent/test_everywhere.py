"""Leader, follower and client agent give the same answers to the same requests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.base import BaseAgent
from pyconsul.agent.listening import http_settings
from pyconsul.agent.server import ServerAgent
from pyconsul.http.app import make_site
from tests.agent.world import World
from tests.http.fakes import Client

OF_THE_AGENT = ("/v1/agent/", "/v1/event/", "/v1/stream/", "/v1/snapshot", "/v1/operator/keyring")
"""Reads that tell about the agent itself, or that never end."""

ELSEWHERE = "?dc=nowhere"
RELAYED = b"rpc error making call: "
CONTACT = re.compile(rb'"LastContact": ?"[^"]*",?')
"""Before errors of another server, as in Consul."""

MODES = ("?stale", "?consistent", "?cached", "?index=1&wait=1s", "?stale&consistent", "?index=x", "?pretty")
FILTERS = (
    "?filter=Node==db1", "?filter=Node.Node==db1", "?filter=Service==web",
    "?filter=not+Node+matches+%22^db%22", "?filter=Foo==1", "?filter=(", "?node-meta=rack:1",
    "?near=db1", "?near=_agent", "?tag=a&tag=b", "?passing",
)  # fmt: skip

PATHS = {
    "/v1/kv/<path:key>": ("a", "none", "locked", "a?raw", "?recurse", "?keys", "dir/?keys&separator=/", ""),
    "/v1/session/info/<path:session>": ("none", "00000000-0000-0000-0000-000000000000", ""),
    "/v1/health/state/<path:state>": ("any", "passing", "critical", "none", ""),
}
NAMES = ("db1", "web", "none", "")
"""What stands in the place of a name that is in no special path."""

WRITES: tuple[tuple[str, str, bytes], ...] = (
    ("PUT", "/v1/kv/again", b"v"),
    ("PUT", "/v1/kv/a?cas=1", b"v"),
    ("PUT", "/v1/kv/a?cas=x", b"v"),
    ("PUT", "/v1/kv/a?acquire=00000000-0000-0000-0000-000000000000", b""),
    ("PUT", "/v1/kv/a?acquire=none", b""),
    ("PUT", "/v1/kv/a?acquire=", b""),
    ("PUT", "/v1/kv/", b""),
    ("PUT", "/v1/kv/large", b"x" * (512 * 1024 + 1)),
    ("DELETE", "/v1/kv/none", b""),
    ("PUT", "/v1/kv/a" + ELSEWHERE, b""),
    ("PUT", "/v1/txn", b'[{"KV": {"Verb": "get", "Key": "a"}}]'),
    ("PUT", "/v1/txn", b'[{"KV": {"Verb": "get", "Key": "none"}}]'),
    ("PUT", "/v1/txn", b'[{"KV": {"Verb": "set", "Key": "b", "Value": "QQ=="}}, {"KV": {"Verb": "zzz"}}]'),
    ("PUT", "/v1/txn", b"{"),
    ("PUT", "/v1/catalog/register", b'{"Node": "db1", "Address": "192.0.2.9", "NodeMeta": {"rack": "1"}}'),
    ("PUT", "/v1/catalog/register", b'{"Node": "db1"}'),
    ("PUT", "/v1/catalog/register", b'{"Foo": 1}'),
    ("PUT", "/v1/catalog/deregister", b'{"Node": "none"}'),
    ("PUT", "/v1/catalog/deregister", b"{}"),
    ("PUT", "/v1/session/create", b'{"Node": "none"}'),
    ("PUT", "/v1/session/create", b'{"TTL": "5s"}'),
    ("PUT", "/v1/session/destroy/00000000-0000-0000-0000-000000000000", b""),
    ("PUT", "/v1/session/renew/00000000-0000-0000-0000-000000000000", b""),
    ("PUT", "/v1/catalog/nodes", b""),
    ("GET", "/v1/nope", b""),
)


class EverywhereTests(SynchronousTestCase):
    """Three servers and a client agent, each with its HTTP interface."""

    def setUp(self) -> None:
        self.world = World()
        leader, follower, _ = self.world.cluster()
        client = self.world.client(9, retry_join=("10.0.0.1",))
        client.startService()
        self.world.until(lambda: client.consul_stats()["known_servers"] == "3")
        self.leader, self.follower, self.client = map(self.connect, (leader, follower, client))
        self.others = {"follower": self.follower, "client": self.client}
        self.rules = self.reads(leader)
        self.fill()

    def connect(self, agent: BaseAgent) -> Client:
        """A connection to the HTTP interface of ``agent``, as all but its listening port makes it."""
        return Client(make_site(agent, http_settings(agent.config), agent.clock))

    def reads(self, agent: ServerAgent) -> list[str]:
        """The rules of all reads of the cluster's state."""
        app = make_site(agent, http_settings(agent.config), agent.clock).surface.app
        return sorted(
            route.rule
            for route in app.declared.values()
            if "GET" in route.methods and not route.rule.startswith(OF_THE_AGENT)
        )

    def fill(self) -> None:
        """Something of everything, written through all three."""
        self.ask(self.client, "PUT", "/v1/kv/a", b"1")
        self.ask(self.leader, "PUT", "/v1/kv/dir/x/1", b"2")
        self.ask(self.follower, "PUT", "/v1/kv/dir/y", b"")
        for number, connection in (b"1", self.client), (b"2", self.follower):
            answer = self.ask(
                connection,
                "PUT",
                "/v1/catalog/register",
                b'{"Node": "db%b", "Address": "192.0.2.%b", "NodeMeta": {"rack": "%b"}, "Service":'
                b' {"Service": "web", "Tags": ["a", "b"], "Port": 80}, "Check":'
                b' {"CheckID": "c", "ServiceID": "web", "Status": "passing"}}' % (number, number, number),
            )
            self.assertTrue(answer.endswith(b"true"), answer)
        created = self.ask(self.client, "PUT", "/v1/session/create", b'{"Node": "db1", "NodeChecks": []}')
        session = created.rpartition(b'{"ID":"')[2].partition(b'"')[0].decode()
        taken = self.ask(self.follower, "PUT", f"/v1/kv/locked?acquire={session}", b"3")
        self.assertTrue(taken.endswith(b"true"), taken)
        self.session = session
        self.world.run_for(3.0)  # followers have applied all of it

    def ask(self, connection: Client, method: str, target: str, body: bytes = b"") -> bytes:
        """One request and its whole answer."""
        answer = connection.get(target, method, body)
        if not answer:
            waited = [b""]

            def answered() -> bool:
                waited[0] += connection.received()
                return bool(waited[0])

            self.world.until(answered)
            answer = waited[0]
        if b"\r\nConnection: close" in answer.partition(b"\r\n\r\n")[0]:
            connection.__init__(connection.channel.site)  # type: ignore[misc]
        return answer

    def meaning(self, answer: bytes) -> tuple[list[bytes], bytes]:
        """Head and body, without what differs from one moment to the next."""
        head, _, body = answer.partition(b"\r\n\r\n")
        fleeting = (b"Date:", b"X-Consul-Lastcontact:", b"X-Cache:", b"Age:", b"Content-Length:")
        lines = [line for line in head.split(b"\r\n") if not line.startswith(fleeting)]
        return lines, CONTACT.sub(b"", body.replace(RELAYED, b""))

    def targets(self) -> Iterator[str]:
        """A sample of each read."""
        for rule in self.rules:
            prefix, found, _ = rule.partition("<")
            named = (
                (*PATHS.get(rule, NAMES), *((self.session,) if "session" in rule else ())) if found else ("",)
            )
            for name in named:
                yield prefix + name
            first = prefix + named[0].partition("?")[0]
            yield from (first + more for more in (*MODES, *FILTERS, ELSEWHERE))

    def test_reads(self) -> None:
        """Each read, in all modes, with filters and wrong parameters."""
        seen = 0
        for target in self.targets():
            expected = self.meaning(self.ask(self.leader, "GET", target))
            for name, connection in self.others.items():
                self.assertEqual(self.meaning(self.ask(connection, "GET", target)), expected, (name, target))
            seen += 1
        self.assertGreater(seen, 200)

    def test_writes(self) -> None:
        """Each write, done and refused."""
        for method, target, body in WRITES:
            expected = self.meaning(self.ask(self.leader, method, target, body))
            for name, connection in self.others.items():
                found = self.meaning(self.ask(connection, method, target, body))
                self.assertEqual(found, expected, (name, method, target, body[:80]))

    def test_waiting(self) -> None:
        """A change through one wakes who waits at the others, with the same answer."""
        target = "/v1/kv/woken?index=1&wait=60s"
        connections: list[Any] = [self.leader, *self.others.values()]
        self.ask(self.leader, "PUT", "/v1/kv/first", b"")
        index = self.ask(self.leader, "GET", "/v1/kv/woken").partition(b"X-Consul-Index: ")[2].split(b"\r")[0]
        for connection in connections:
            self.assertEqual(connection.get(target.replace("index=1", f"index={int(index)}")), b"")
        self.world.run_for(0.5)
        writer = self.connect(self.world.agents[-1])
        self.ask(writer, "PUT", "/v1/kv/woken", b"v")
        self.world.run_for(0.5)
        answers = [self.meaning(connection.received()) for connection in connections]
        self.assertEqual(answers, answers[:1] * 3)
        self.assertIn(b'"Key":"woken"', answers[0][1])
