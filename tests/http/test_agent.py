"""/v1/agent/."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import PyconsulError, Refused
from pyconsul.http import agent as module
from pyconsul.http.agent import show
from pyconsul.serf.members import Member, Status
from pyconsul.structs.agent import CheckDefinition, ServiceDefinition
from pyconsul.structs.catalog import HealthCheck, NodeService, ServiceAddress, Weights
from tests.http.fakes import Client, FakeAgent, site

MEMBER = Member("n1", "192.0.2.1", 8301, {"role": "node", "dc": "dc1"}, Status.ALIVE, 1, 5, 2, 2, 5, 4)
SERVICE = NodeService(id="web1", service="web", port=80)
CHECK = HealthCheck(node="n1", check_id="c", name="c", status="passing", type="ttl")


class Agent(FakeAgent):
    """Notes what was asked of it, and has ``trouble`` with all of it if that is set."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []
        self.trouble: PyconsulError | None = None
        self.waiting: Deferred[Any] = Deferred()

    def _call(self, *call: Any) -> None:
        self.calls.append(call)
        if self.trouble is not None:
            raise self.trouble

    def members(self, segment: str = "") -> list[Member]:
        if segment:
            raise Refused("Network segments are not supported in this version of Consul")
        return [MEMBER]

    def wan_members(self) -> list[Member] | None:
        return None

    def describe(self) -> dict[str, Any]:
        return {"Config": {"NodeName": "n1"}, "Member": MEMBER}

    def local_services(self) -> dict[str, NodeService]:
        return {"web1": SERVICE}

    def local_checks(self) -> dict[str, HealthCheck]:
        return {"c": CHECK}

    def join(self, addresses: Sequence[str]) -> Deferred[int]:
        self._call("join", list(addresses))
        return self.waiting

    def join_wan(self, addresses: Sequence[str]) -> Deferred[int]:
        self._call("join_wan", list(addresses))
        return self.waiting

    def leave(self) -> Deferred[None]:
        self._call("leave")
        return self.waiting

    def force_leave(self, name: str, prune: bool = False, wan: bool = False) -> None:
        self._call("force_leave", name, prune, wan)

    def register_service(self, definition: ServiceDefinition, replace_checks: bool) -> None:
        self._call("register_service", definition, replace_checks)

    def deregister_service(self, service_id: str) -> None:
        self._call("deregister_service", service_id)

    def register_check(self, definition: CheckDefinition) -> None:
        self._call("register_check", definition)

    def deregister_check(self, check_id: str) -> None:
        self._call("deregister_check", check_id)

    def update_ttl(self, check_id: str, status: str, output: str) -> None:
        self._call("update_ttl", check_id, status, output)


class Base(SynchronousTestCase):
    def setUp(self) -> None:
        self.agent = Agent()
        self.client = Client(site(self.agent, more=[self.add_routes]))

    def add_routes(self, app: Any, _: Any) -> None:
        agent: Any = self.agent  # it has what these routes need
        module.add_routes(app, agent)

    def ask(self, method: str, target: str, body: Any = b"", headers: str = "") -> tuple[int, bytes]:
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        return self.parsed(self.client.get("/v1/agent/" + target, method, body, headers))

    def parsed(self, received: bytes) -> tuple[int, bytes]:
        head, _, content = received.partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), content

    def put(self, target: str, body: Any = b"", headers: str = "") -> tuple[int, bytes]:
        return self.ask("PUT", target, body, headers)

    def get(self, target: str) -> Any:
        status, content = self.ask("GET", target)
        self.assertEqual(status, 200)
        return json.loads(content)


class NodeTests(Base):
    def test_self(self) -> None:
        """What the agent says of itself; members have Consul's field names."""
        self.assertEqual(self.get("self")["Config"], {"NodeName": "n1"})
        self.assertEqual(self.get("self")["Member"]["Name"], "n1")

    def test_members(self) -> None:
        """The pool; status is a number."""
        self.assertEqual(
            self.get("members?wan"),  # without a value it does not count
            [
                {
                    "Name": "n1",
                    "Addr": "192.0.2.1",
                    "Port": 8301,
                    "Tags": {"role": "node", "dc": "dc1"},
                    "Status": 1,
                    "ProtocolMin": 1,
                    "ProtocolMax": 5,
                    "ProtocolCur": 2,
                    "DelegateMin": 2,
                    "DelegateMax": 5,
                    "DelegateCur": 4,
                }
            ],
        )
        self.assertIsNone(self.get("members?wan=1&segment=_all"))
        text = b"Network segments are not supported in this version of Consul"
        self.assertEqual(self.ask("GET", "members?segment=x"), (500, text))
        text = b"Cannot provide a segment with wan=true"
        self.assertEqual(self.ask("GET", "members?segment=x&wan=1"), (400, text))

    def test_join(self) -> None:
        """Answered when somebody was joined, or with what went wrong."""
        self.client.get("/v1/agent/join/127.0.0.9:8301", "PUT")
        self.assertEqual(self.agent.calls, [("join", ["127.0.0.9:8301"])])
        self.agent.waiting.callback(1)
        self.assertEqual(self.parsed(self.client.received()), (200, b""))
        self.agent.waiting = Deferred()
        self.client.get("/v1/agent/join/127.0.0.9", "PUT")
        text = "1 error occurred:\n\t* Failed to join 127.0.0.9: connection refused\n\n"
        self.agent.waiting.errback(PyconsulError(text))
        self.assertEqual(self.parsed(self.client.received()), (500, text.encode()))
        self.agent.trouble = Refused("Must be a server to join WAN cluster")
        refused = (500, b"Must be a server to join WAN cluster")
        self.assertEqual(self.put("join/127.0.0.9?wan=1"), refused)
        self.assertEqual(self.agent.calls[-1], ("join_wan", ["127.0.0.9"]))

    def test_leave(self) -> None:
        """Answered when the agent has left."""
        self.assertEqual(self.client.get("/v1/agent/leave", "PUT"), b"")
        self.agent.waiting.callback(None)
        self.assertEqual(self.parsed(self.client.received()), (200, b""))

    def test_force_leave(self) -> None:
        """``prune`` counts as soon as it is there; an empty name reaches the agent, which knows none."""
        self.assertEqual(self.put("force-leave/n2"), (200, b""))
        self.assertEqual(self.put("force-leave/n2?prune"), (200, b""))
        self.assertEqual(self.put("force-leave/n2.dc2?wan"), (200, b""))
        self.agent.trouble = Refused("agent: No node found with name ''")
        self.assertEqual(self.put("force-leave/"), (500, b"agent: No node found with name ''"))
        self.assertEqual(
            self.agent.calls,
            [
                ("force_leave", "n2", False, False),
                ("force_leave", "n2", True, False),
                ("force_leave", "n2.dc2", False, True),
                ("force_leave", "", False, False),
            ],
        )

    def test_methods(self) -> None:
        """Reads are read, changes are put."""
        self.assertEqual(self.ask("GET", "leave")[0], 405)
        self.assertEqual(self.put("members")[0], 405)
        self.assertEqual(self.agent.calls, [])


class ServiceTests(Base):
    def test_list(self) -> None:
        """By id, in the shape in which agents show services."""
        self.assertEqual(
            self.get("services"),
            {
                "web1": {
                    "ID": "web1",
                    "Service": "web",
                    "Tags": [],
                    "Meta": {},
                    "Port": 80,
                    "Address": "",
                    "Weights": {"Passing": 1, "Warning": 1},
                    "EnableTagOverride": False,
                }
            },
        )

    def test_filter(self) -> None:
        """Selectors are those of the catalog's services."""
        self.assertEqual(list(self.get("services?filter=Service==web")), ["web1"])
        self.assertEqual(self.get("services?filter=Port==81"), {})
        status, told = self.ask("GET", "services?filter=Foo==1")
        self.assertEqual(status, 500)
        self.assertEqual(told, b'Failed to create boolean expression evaluator: Selector "Foo" is not valid')

    def test_show(self) -> None:
        """Kind and tagged addresses show if there are any."""
        shown = show(
            NodeService(
                id="x",
                service="x",
                kind="connect-proxy",
                weights=None,
                tagged_addresses={"lan": ServiceAddress("192.0.2.1", 1)},
            )
        )
        self.assertEqual((shown.kind, shown.weights), ("connect-proxy", Weights(1, 1)))
        self.assertEqual(list(shown.tagged_addresses), ["lan"])
        self.assertIs(show(SERVICE).kind, UNSET)

    def test_register(self) -> None:
        """All fields, in either spelling; the token is that of the request unless the body has one."""
        body = {
            "Name": "web",
            "ID": "web1",
            "Tags": ["a"],
            "Port": 80,
            "Meta": {"k": "v"},
            "Weights": {"Passing": 2, "Warning": 1},
            "Check": {"TTL": "10s"},
            "Checks": [{"HTTP": "http://192.0.2.1/", "Interval": "5s"}],
        }
        self.assertEqual(self.put("service/register", body, "X-Consul-Token: t\r\n"), (200, b""))
        _, definition, replace = self.agent.calls[-1]
        self.assertEqual((definition.name, definition.id, definition.tags), ("web", "web1", ["a"]))
        self.assertEqual((definition.port, definition.weights), (80, Weights(2, 1)))
        self.assertEqual((definition.check.ttl, definition.checks[0].interval), ("10s", "5s"))
        self.assertEqual((definition.token, replace), ("t", False))
        body = {"name": "web", "token": "own", "enable_tag_override": True}
        self.put("service/register?replace-existing-checks=true", body, "X-Consul-Token: t\r\n")
        _, definition, replace = self.agent.calls[-1]
        self.assertEqual((definition.token, definition.enable_tag_override, replace), ("own", True, True))

    def test_bad_bodies(self) -> None:
        """Nothing of them reaches the agent."""
        for body, text in (
            ({}, b"Missing service name"),
            ({"Name": ""}, b"Missing service name"),
            ({"Name": "web", "Foo": 1}, b'Request decode failed: json: unknown field "Foo"'),
        ):
            self.assertEqual(self.put("service/register", body), (400, text))
        status, content = self.put("service/register", {"Name": "web", "Port": "x"})
        self.assertEqual(status, 400)
        self.assertTrue(
            content.startswith(b"Request decode failed: json: cannot unmarshal string into"), content
        )
        self.assertTrue(content.endswith(b".Port of type int"), content)
        self.assertEqual(self.put("service/register", b"{")[0], 400)
        self.assertEqual(self.put("service/register")[0], 400)
        self.assertEqual(self.agent.calls, [])

    def test_refused(self) -> None:
        """What the agent does not want is told as it says."""
        self.agent.trouble = Refused("Scripts are disabled")
        self.assertEqual(self.put("service/register", {"Name": "web"}), (500, b"Scripts are disabled"))

    def test_deregister(self) -> None:
        """Ids may hold slashes; without one there is nothing to do."""
        self.assertEqual(self.put("service/deregister/a%2Fb/c"), (200, b""))
        self.assertEqual(self.agent.calls, [("deregister_service", "a/b/c")])
        self.assertEqual(self.put("service/deregister/"), (500, b"ServiceID missing"))


class CheckTests(Base):
    def test_list(self) -> None:
        """By id, in the shape of the catalog."""
        self.assertEqual(
            self.get("checks"),
            {
                "c": {
                    "Node": "n1",
                    "CheckID": "c",
                    "Name": "c",
                    "Status": "passing",
                    "Notes": "",
                    "Output": "",
                    "ServiceID": "",
                    "ServiceName": "",
                    "ServiceTags": [],
                    "Type": "ttl",
                    "Definition": {},
                    "CreateIndex": 0,
                    "ModifyIndex": 0,
                }
            },
        )

    def test_filter(self) -> None:
        """Selectors are looked at only if there is a check."""
        self.assertEqual(list(self.get("checks?filter=Status==passing")), ["c"])
        self.assertEqual(self.get("checks?filter=Status==critical"), {})
        self.assertEqual(self.ask("GET", "checks?filter=Foo==1")[0], 500)
        self.agent.local_checks = dict  # type: ignore[method-assign]
        self.assertEqual(self.get("checks?filter=Foo==1"), {})

    def test_register(self) -> None:
        """Fields in either spelling."""
        self.assertEqual(self.put("check/register?token=t", {"Name": "n", "TTL": "10s"}), (200, b""))
        self.put("check/register", {"name": "n", "service_id": "web", "ttl": "10s", "token": "own"})
        (_, first), (_, second) = self.agent.calls
        self.assertEqual((first.name, first.ttl, first.token), ("n", "10s", "t"))
        self.assertEqual((second.service_id, second.token), ("web", "own"))

    def test_bad_bodies(self) -> None:
        """Nothing of them reaches the agent."""
        self.assertEqual(self.put("check/register", {"TTL": "10s"}), (400, b"Missing check name"))
        self.assertEqual(
            self.put("check/register", {"Name": "n", "Script": "true"}),
            (400, b'Request decode failed: json: unknown field "Script"'),
        )
        self.assertEqual(self.agent.calls, [])

    def test_deregister(self) -> None:
        """By id."""
        self.assertEqual(self.put("check/deregister/service:web"), (200, b""))
        self.assertEqual(self.agent.calls, [("deregister_check", "service:web")])

    def test_states(self) -> None:
        """Three words for three states, with a note."""
        for word, state in (("pass", "passing"), ("warn", "warning"), ("fail", "critical")):
            self.assertEqual(self.put(f"check/{word}/c?note=all%20is+well"), (200, b""))
            self.assertEqual(self.agent.calls.pop(), ("update_ttl", "c", state, "all is well"))
        self.agent.trouble = Refused('CheckID "" does not have associated TTL')
        self.assertEqual(self.put("check/pass/"), (500, b'CheckID "" does not have associated TTL'))
        self.assertEqual(self.agent.calls, [("update_ttl", "", "passing", "")])

    def test_update(self) -> None:
        """The same with a body."""
        self.assertEqual(self.put("check/update/c", {"Status": "warning", "Output": "hm"}), (200, b""))
        self.assertEqual(self.agent.calls, [("update_ttl", "c", "warning", "hm")])
        self.assertEqual(self.put("check/update/c", {"Status": "xx"}), (400, b"Invalid check status: 'xx'"))
        self.assertEqual(self.put("check/update/c", b"junk")[0], 400)
        self.assertEqual(len(self.agent.calls), 1)
