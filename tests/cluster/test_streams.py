"""A stream of changes at a client agent, and prepared queries everywhere, while the leader is killed."""

from __future__ import annotations

import threading
from functools import partial

from pyconsul.client import stream
from pyconsul.client.blocking import Client
from pyconsul.client.endpoint import Endpoint
from pyconsul.errors import PyconsulError
from tests.cluster.processes import Agent, ClusterTestCase, block, eventually

WRITES = 40


class Reader(threading.Thread):
    """Holds what is under a prefix, by a stream. :ivar kinds: of the events, in order."""

    def __init__(self, agent: Agent, prefix: str) -> None:
        super().__init__(daemon=True)
        self.client = Client(Endpoint(f"{agent.ip}:8500"))
        self.prefix = prefix
        self.rows: dict[str, str | None] = {}
        self.kinds: list[str] = []
        self.start()

    def run(self) -> None:
        try:
            for event in stream.changes(self.client, stream.kv(self.prefix, wait="1s")):
                self.kinds.append(event.kind)
                self.take(event)
        except PyconsulError:
            pass  # the end of the test

    def take(self, event: stream.Event) -> None:
        data = event.data
        rows = {} if event.kind == "reset" else dict(self.rows)
        for prefix in data["DeletedPrefixes"]:
            rows = {key: value for key, value in rows.items() if not key.startswith(prefix)}
        for key in data["Deleted"]:
            rows.pop(key, None)
        rows.update({row["Key"]: row["Value"] for row in data["Changed"]})
        self.rows = rows


class StreamTests(ClusterTestCase):
    block = block(36)

    def test_change_of_leader(self) -> None:
        """The stream goes on without beginning anew, and ends with what is there."""
        self.start_all()
        self.client.put("kv/s/0", b"0")
        reader = Reader(self.client, "s/")
        eventually(lambda: reader.rows == {"s/0": "MA=="})
        leader = self.leader()
        for number in range(WRITES):
            if number == WRITES // 2:
                leader.kill()
                eventually(partial(self.writes, f"s/{number}"))
            self.client.put(f"kv/s/{number}", str(number).encode())
            if number % 5 == 4:
                self.client.request("DELETE", f"kv/s/{number - 1}")
        self.client.put("kv/s/tree/1", b"1")
        self.client.request("DELETE", "kv/s/tree/?recurse")
        self.client.put("kv/s/last", b"1")
        expected = {row["Key"]: row["Value"] for row in self.client.get("kv/s/?recurse&consistent")}
        eventually(lambda: reader.rows == expected)
        self.assertEqual(reader.kinds.count("reset"), 1)
        self.assertGreater(len(reader.kinds), WRITES // 4)

    def writes(self, key: str) -> bool:
        return self.client.request("PUT", f"kv/{key}", b"x")[0] == 200

    def test_prepared_queries(self) -> None:
        """Made at a client, they are executed by every agent, by HTTP and DNS, and outlive the leader."""
        self.start_all()
        self.client.put("agent/service/register", {"Name": "web", "Port": 80, "Tags": ["a"]})
        status, body = self.client.request(
            "POST",
            "query",
            {
                "Name": "find-",
                "Template": {"Type": "name_prefix_match", "Regexp": "^find-(.*)$"},
                "Service": {"Service": "${match(1)}", "Tags": ["a", "!b"], "Near": "_agent"},
                "DNS": {"TTL": "7s"},
            },
        )
        self.assertEqual(status, 200, body)
        leader = self.leader()
        leader.kill()
        for agent in self.agents:
            if agent is not leader:
                eventually(partial(self.finds, agent))
                eventually(partial(self.resolves, agent))

    def finds(self, agent: Agent) -> bool:
        status, body = agent.request("GET", "query/find-web/execute")
        return status == 200 and b'"Service":"web"' in body.replace(b" ", b"") and b'"c5"' in body

    def resolves(self, agent: Agent) -> bool:
        return agent.dig("find-web.query.consul", "SRV") == ["1 1 80 c5.node.dc1.consul."]
