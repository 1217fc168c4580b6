"""Archives between us and real Consul servers, both ways, compared through HTTP.

Skipped where the reference binary is not present.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from pyconsul.http.app import make_site
from pyconsul.http.settings import HttpSettings
from tests.agent.test_snapshots import store_in
from tests.agent.world import World
from tests.cluster.peers import missing_peers, peers_folder
from tests.cluster.processes import Agent, ProcessTestCase, block, eventually
from tests.http.fakes import Client

BLOCK = block(28)


def alike(path: str, answer: Any) -> Any:
    """``answer`` without what may differ: Consul gives the tags of a service in any order."""
    if path == "catalog/services":
        return {name: sorted(tags) for name, tags in answer.items()}
    return answer


TOKEN = "11111111-2222-3333-4444-555555555555"
ACL = f'acl {{ enabled = true default_policy = "allow" tokens {{ master = "{TOKEN}" }} }}'

KEYS: dict[str, bytes] = {
    "a": b"one",
    "empty": b"",
    "flags?flags=18446744073709551615": b"x",
    "bytes": bytes(range(256)),
    "t%C3%A4st/%20key": "ü☃".encode(),
    "large": b"B" * 100_000,
    **{f"many/{number:03}": b"%d" % number for number in range(300)},
}
CHECK = {
    "HTTP": "http://x/", "Interval": "10s", "Timeout": "2s", "Header": {"X": ["1", "2"]}, "Method": "POST",
    "Body": "b", "TLSSkipVerify": True, "DeregisterCriticalServiceAfter": "1m30s",
}  # fmt: skip
WEB = {
    "ID": "web1", "Service": "web", "Tags": ["a", "b"], "Port": 80, "Address": "192.0.2.20",
    "Meta": {"v": "1"}, "EnableTagOverride": True, "Weights": {"Passing": 3, "Warning": 2},
    "TaggedAddresses": {"lan": {"Address": "192.0.2.3", "Port": 8}},
}  # fmt: skip
PROXY = {
    "DestinationServiceName": "web", "DestinationServiceID": "web1", "LocalServiceAddress": "127.0.0.1",
    "LocalServicePort": 80, "Config": {"k": "v", "n": 3, "f": 1.5, "b": True},
    "MeshGateway": {"Mode": "local"},
    "Upstreams": [
        {
            "DestinationType": "service", "DestinationName": "db", "LocalBindPort": 9191, "Config": {"a": 1},
            "Datacenter": "", "MeshGateway": {},
        }
    ],
    "Expose": {
        "Checks": True,
        "Paths": [
            {
                "Path": "/m", "LocalPathPort": 1, "ListenerPort": 2, "Protocol": "http",
                "ParsedFromCheck": False,
            }
        ],
    },
}  # fmt: skip
N2 = {"Node": "n2", "Address": "192.0.2.2", "SkipNodeUpdate": True}
REGISTRATIONS: list[dict[str, Any]] = [
    {"Node": "n1", "Address": "192.0.2.1"},
    {
        "Node": "n2", "Address": "192.0.2.2", "ID": "40e4a748-2192-161a-0510-9bf59fe950b5",
        "TaggedAddresses": {"lan": "192.0.2.2", "wan": "198.51.100.2"}, "NodeMeta": {"a": "b"},
        "Service": WEB,
        "Checks": [
            {"CheckID": "c1", "Name": "node check", "Status": "passing", "Notes": "no", "Output": "out"},
            {"CheckID": "svc", "Name": "svc", "Status": "warning", "ServiceID": "web1", "Definition": CHECK},
        ],
    },
    {**N2, "Service": {"ID": "web2", "Service": "web", "Port": 81}},
    {**N2, "Service": {"ID": "side", "Service": "side", "Kind": "connect-proxy", "Port": 82, "Proxy": PROXY}},
    {**N2, "Service": {"ID": "nat", "Service": "nat", "Port": 83, "Connect": {"Native": True}}},
    {"Node": "N5", "Address": "192.0.2.5", "Service": {"ID": "UP", "Service": "UpCase", "Port": 84}},
    {"Node": "N5", "Address": "192.0.2.5", "Check": {
        "CheckID": "ttl", "Name": "ttl", "ServiceID": "UP", "Status": "critical",
        "Definition": {"TTL": "10s"},
    }},
]  # fmt: skip
NODES = ("n1", "n2", "N5")
SERVICES = ("web", "side", "nat", "UpCase")
READS = (
    "kv/?recurse",
    "kv/gone",
    *(f"{where}/{node}" for where in ("catalog/node", "health/node", "session/node") for node in NODES),
    *(
        f"{where}/{name}"
        for where in ("catalog/service", "health/service", "health/checks")
        for name in SERVICES
    ),
    "catalog/connect/web",
    "coordinate/node/n2",
)
EVERYTHING = ("catalog/nodes", "catalog/services", "session/list")
MORE_IN_CONSUL: list[tuple[str, str, Any]] = [
    ("POST", "query", {"Name": "q1", "Service": {"Service": "web"}}),
    ("PUT", "config", {"Kind": "service-defaults", "Name": "web", "Protocol": "http"}),
    ("PUT", "acl/policy", {"Name": "p1", "Rules": 'key "" { policy = "read" }'}),
    ("PUT", "acl/role", {"Name": "r1", "Policies": [{"Name": "p1"}]}),
    ("POST", "connect/intentions", {"SourceName": "web", "DestinationName": "db", "Action": "allow"}),
]


class Consul(Agent):
    """A real server with data on the disk."""

    def command(self) -> list[str]:
        own = ["-node", self.name, "-bind", self.ip, "-client", self.ip]
        own += ["-data-dir", os.path.join(self.folder, "data")]
        fast = ["-hcl", "performance { raft_multiplier = 1 }"]
        return [
            str(peers_folder() / "consul"),
            "agent",
            "-server",
            "-bootstrap",
            *own,
            *fast,
            *self._arguments,
        ]


def with_token(path: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}token={TOKEN}"


def fill(agent: Agent) -> None:
    """Put something of everything that both hold into a server, and delete some of it."""
    for path, value in KEYS.items():
        agent.put("kv/" + path, value)
    for registration in REGISTRATIONS:
        agent.put("catalog/register", registration)
    agent.put("catalog/register", {"Node": "n3", "Address": "192.0.2.3", "Service": {"Service": "brief"}})
    agent.put("catalog/deregister", {"Node": "n3"})
    sessions = [
        {"Node": "n2", "Name": "s1", "NodeChecks": ["c1"], "LockDelay": "0s", "TTL": "600s"},
        {
            "Node": "n2",
            "Name": "s2",
            "NodeChecks": [],
            "ServiceChecks": [{"ID": "svc"}],
            "Behavior": "delete",
        },
        {"Node": "n1", "Name": "s3", "NodeChecks": []},
    ]
    for number, session in enumerate(sessions):
        made = json.loads(agent.put("session/create", session))
        agent.put(f"kv/lock{number}?acquire={made['ID']}", b"l")
    agent.put("kv/gone", b"1")
    agent.put("kv/tree/1", b"1")
    agent.request("DELETE", "kv/gone")
    agent.request("DELETE", "kv/tree/?recurse")
    place = {"Vec": [1, 2, 3, 4, 5, 6, 7, 8], "Error": 1.5, "Adjustment": 0.125, "Height": 0.001}
    status, _ = agent.request("PUT", "coordinate/update", {"Node": "n2", "Segment": "", "Coord": place})
    if status == 200:
        eventually(lambda: agent.get("coordinate/node/n2"))
    agent.put("operator/autopilot/configuration", AUTOPILOT)


AUTOPILOT = {
    "CleanupDeadServers": False,
    "LastContactThreshold": "300ms",
    "MaxTrailingLogs": 123,
    "ServerStabilizationTime": "20s",
}


def answers(agent: Agent) -> dict[str, Any]:
    """What a server says about what was filled in."""
    found = {path: _json(agent.request("GET", with_token(path))) for path in READS}
    found["autopilot"] = _autopilot(agent.get(with_token("operator/autopilot/configuration")))
    return found


def _json(answer: tuple[int, bytes]) -> Any:
    status, body = answer
    return json.loads(body) if status == 200 else status


def _autopilot(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in (*AUTOPILOT, "CreateIndex", "ModifyIndex")}


class Base(ProcessTestCase):
    skip = missing_peers("consul")

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)

    def start(self, agent: Agent) -> Agent:
        agent.start()
        eventually(lambda: agent.get("status/leader"))
        eventually(lambda: agent.get("health/node/" + agent.name))
        return agent

    def consul(self, *arguments: str) -> tuple[int, str]:
        """Run a real command; its status and all that it wrote."""
        ran = subprocess.run(
            [str(peers_folder() / "consul"), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return ran.returncode, ran.stdout + ran.stderr

    def compare(self, found: dict[str, Any], expected: dict[str, Any]) -> None:
        self.assertEqual(list(found), list(expected))
        for path, answer in expected.items():
            self.assertEqual(alike(path, found[path]), alike(path, answer), path)
        self.assertGreater(len(found["kv/?recurse"]), 300)
        self.assertEqual(len(found["catalog/node/n2"]["Services"]), 4)


class FromConsulTests(Base):
    def test_read_completely(self) -> None:
        """Everything that a real server saved and that we hold is there, index for index."""
        theirs = self.start(Consul(self, self.folder, f"{BLOCK}.20", "c1", "-hcl", ACL))
        fill(theirs)
        for method, path, body in MORE_IN_CONSUL:
            status, answer = theirs.request(method, with_token(path), body)
            self.assertEqual(status, 200, (path, answer))
        expected = answers(theirs)
        everything = {path: theirs.get(path) for path in EVERYTHING}
        status, data = theirs.request("GET", with_token("snapshot"))
        self.assertEqual((status, data[:2]), (200, b"\x1f\x8b"))
        self.compare(self.in_process(data), expected | everything)
        ours = self.start(Agent(self, self.folder, f"{BLOCK}.23", "p2", "-server", "-bootstrap"))
        ours.put("kv/before", b"not in the snapshot")
        status, text = self.consul("snapshot", "restore", f"-http-addr={BLOCK}.23:8500", self.write(data))
        self.assertEqual((status, text), (0, "Restored snapshot\n"))
        self.compare(eventually(lambda: answers(ours)), expected)
        self.assertEqual(ours.request("GET", "kv/before")[0], 404)
        ours.put("kv/after", b"it lives")
        ours.kill()
        ours.start()
        eventually(lambda: ours.get("kv/after"))
        self.compare(answers(ours), expected | {"kv/?recurse": ours.get("kv/?recurse")})

    def write(self, data: bytes) -> str:
        path = os.path.join(self.folder, "theirs.snap")
        with open(path, "wb") as file:
            file.write(data)
        return path

    def in_process(self, data: bytes) -> dict[str, Any]:
        """What a server of ours says whose state is that of an archive, before anybody tidies up there."""
        world = World()
        self.addCleanup(world.stop)
        server = world.server(1, bootstrap_expect=1)
        server.startService()
        world.until(lambda: server.raft.ready)
        server.store.restore(store_in(data).snapshot())
        client = Client(make_site(server, HttpSettings(), server.clock))

        def ask(path: str) -> Any:
            head, _, body = client.get("/v1/" + path).partition(b"\r\n\r\n")
            return _json((int(head.split(b" ")[1]), body))

        found = {path: ask(path) for path in READS}
        found["autopilot"] = _autopilot(ask("operator/autopilot/configuration"))
        return found | {path: ask(path) for path in EVERYTHING}


class ToConsulTests(Base):
    def test_accepted(self) -> None:
        """What we save passes the real commands, and a real server has everything of it."""
        ours = self.start(Agent(self, self.folder, f"{BLOCK}.21", "p1", "-server", "-bootstrap"))
        fill(ours)
        expected = answers(ours)
        path = os.path.join(self.folder, "backup.snap")
        status, text = self.consul("snapshot", "save", f"-http-addr={BLOCK}.21:8500", path)
        self.assertEqual(status, 0, text)
        self.assertRegex(text, r"^Saved and verified snapshot to index \d+\n$")
        status, text = self.consul("snapshot", "inspect", path)
        self.assertEqual(status, 0, text)
        self.assertRegex(text, r"(?s)^ID +\d+-\d+-\d+\nSize +\d+\nIndex +\d+\nTerm +\d+\nVersion +1\n")
        theirs = self.start(Consul(self, self.folder, f"{BLOCK}.22", "c2"))
        theirs.put("kv/before", b"not in the snapshot")
        status, text = self.consul("snapshot", "restore", f"-http-addr={BLOCK}.22:8500", path)
        self.assertEqual((status, text), (0, "Restored snapshot\n"))
        eventually(lambda: theirs.get("status/leader"))
        self.compare(answers(theirs), expected)
        self.assertEqual(theirs.request("GET", "kv/before")[0], 404)
        theirs.put("kv/after", b"it lives")
        theirs.kill()
        self.start(theirs)
        eventually(lambda: theirs.get("kv/after"))
        status, text = self.consul("snapshot", "save", f"-http-addr={BLOCK}.22:8500", path)
        self.assertEqual(status, 0, text)
        with open(path, "rb") as file:
            again = store_in(file.read())
        self.assertEqual(len(again.kv.under("many/")[1]), 300)
