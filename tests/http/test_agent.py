"""/v1/agent/."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import ConfigurationError, NotFound, PyconsulError, Refused
from pyconsul.http import agent as module
from pyconsul.http.agent_services import because, show
from pyconsul.serf.members import Member, Status
from pyconsul.structs.agent import CheckDefinition, ServiceDefinition
from pyconsul.structs.catalog import HealthCheck, NodeService, Proxy, ServiceAddress, Weights
from pyconsul.structs.metrics import Gauge, Metrics, Sampled
from tests.http.fakes import Client, FakeAgent, site

MEMBER = Member("n1", "192.0.2.1", 8301, {"role": "node", "dc": "dc1"}, Status.ALIVE, 1, 5, 2, 2, 5, 4)
SERVICE = NodeService(id="web1", service="web", port=80)
METRICS = Metrics(
    timestamp="2026-11-24 22:11:40 +0000 UTC",
    gauges=[Gauge(name="consul.raft.last-index", value=7.0, labels={"a b": 'x"y\n\\'})],
    points=[],
    counters=[Sampled(name="consul.c", count=2, rate=0.2, sum=2.0, min=1, max=1, mean=1)],
    samples=[Sampled(name="consul.s", count=3, rate=0.3, sum=4.5, min=1, max=2, mean=1.5)],
)
CHECK = HealthCheck(node="n1", check_id="c", name="c", status="passing", type="ttl")


class Agent(FakeAgent):
    """Notes what was asked of it, and has ``trouble`` with all of it if that is set."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []
        self.trouble: PyconsulError | None = None
        self.waiting: Deferred[Any] = Deferred()
        self.services = {"web1": SERVICE}
        self.checks = {"c": CHECK}
        self.serves_prometheus = self.allows_scripts = False

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
        return self.services

    def local_checks(self) -> dict[str, HealthCheck]:
        return self.checks

    def metrics(self) -> Metrics:
        return METRICS

    def describe_host(self) -> dict[str, Any]:
        return {"Host": {"hostname": "h"}}

    def reload(self) -> None:
        self._call("reload")

    def reload_diff(self) -> list[str]:
        self._call("reload_diff")
        return ["add service web"]

    def service_changed(self, service_id: str, wait_s: float) -> Deferred[None]:
        self._call("service_changed", service_id, wait_s)
        return self.waiting

    def maintain_node(self, enable: bool, reason: str, token: str) -> None:
        self._call("maintain_node", enable, reason, token)

    def maintain_service(self, service_id: str, enable: bool, reason: str, token: str) -> None:
        self._call("maintain_service", service_id, enable, reason, token)

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

    def test_segments(self) -> None:
        """There are none."""
        self.assertEqual(
            self.ask("GET", "members?segment=x"),
            (500, b"Network segments are not supported in this version of Consul"),
        )

    def test_host(self) -> None:
        """As the agent says."""
        self.assertEqual(self.get("host"), {"Host": {"hostname": "h"}})

    def test_metrics(self) -> None:
        """In JSON for everybody."""
        self.assertEqual(self.get("metrics")["Gauges"][0]["Name"], "consul.raft.last-index")

    def test_prometheus(self) -> None:
        """As text for Prometheus if it is wanted, however that is said."""
        text = b"Prometheus is not enabled since its retention time is not positive"
        self.assertEqual(self.ask("GET", "metrics?format=prometheus"), (415, text))
        accept = "Accept: application/openmetrics-text; version=0.0.1\r\n"
        self.assertEqual(self.ask("GET", "metrics", headers=accept), (415, text))
        self.agent.serves_prometheus = True
        status, content = self.ask("GET", "metrics?format=prometheus")
        self.assertEqual(status, 200)
        self.assertEqual(
            content.decode().splitlines(),
            [
                "# HELP consul_raft_last_index consul_raft_last_index",
                "# TYPE consul_raft_last_index gauge",
                'consul_raft_last_index{a_b="x\\"y\\n\\\\"} 7.0',
                "# HELP consul_c consul_c",
                "# TYPE consul_c counter",
                "consul_c 2.0",
                "# HELP consul_s consul_s",
                "# TYPE consul_s summary",
                "consul_s_sum 4.5",
                "consul_s_count 3",
            ],
        )

    def test_reload(self) -> None:
        """Done, or refused with what is wrong; ``diff`` only tells."""
        self.assertEqual(self.put("reload"), (200, b""))
        self.assertEqual(self.put("reload?diff"), (200, b'["add service web"]'))
        self.assertEqual(self.agent.calls, [("reload",), ("reload_diff",)])
        self.agent.trouble = ConfigurationError("failed to parse x.json: y")
        self.assertEqual(self.put("reload"), (500, b"failed to parse x.json: y"))
        self.assertEqual(self.ask("GET", "reload"), (405, b"method GET not allowed"))

    def test_maintenance(self) -> None:
        """On and off, with a reason and a token."""
        self.assertEqual(self.put("maintenance?enable=true&reason=a%20b&token=t"), (200, b""))
        self.assertEqual(self.put("maintenance?enable=0"), (200, b""))
        self.assertEqual(
            self.agent.calls, [("maintain_node", True, "a b", "t"), ("maintain_node", False, "", "")]
        )
        for target, text in (
            ("maintenance", b"Missing value for enable"),
            ("maintenance?enable=", b'Invalid value for enable: ""'),
            ("maintenance?enable=perhaps", b'Invalid value for enable: "perhaps"'),
        ):
            self.assertEqual(self.put(target), (400, text))

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

    def test_mesh(self) -> None:
        """Proxies show what they are for, native services that they are."""
        proxy = NodeService(
            id="p",
            service="p",
            kind="connect-proxy",
            proxy=Proxy(
                destination_service_name="web",
                upstreams=[{"DestinationName": "db", "Datacenter": "", "Config": None, "MeshGateway": {}}],
            ),
        )
        self.agent.services = {"p": proxy, "n": NodeService(id="n", service="n", connect={"Native": True})}
        found = self.get("services")
        self.assertEqual(found["p"]["Proxy"]["DestinationServiceName"], "web")
        self.assertEqual(found["p"]["Proxy"]["Upstreams"], [{"DestinationName": "db", "MeshGateway": {}}])
        self.assertNotIn("Connect", found["p"])
        self.assertEqual(found["n"]["Connect"], {"Native": True})
        self.assertNotIn("Proxy", found["n"])

    def test_one(self) -> None:
        """One service with a hash of it, which the header has as well."""
        received = self.client.get("/v1/agent/service/web1")
        found = json.loads(self.parsed(received)[1])
        self.assertEqual((found["ID"], found["Port"]), ("web1", 80))
        self.assertIn(f"X-Consul-Contenthash: {found['ContentHash']}\r\n".encode(), received)
        for name in ("none", "a%2Fb", ""):
            told = name.replace("%2F", "/").encode()
            self.assertEqual(self.ask("GET", f"service/{name}"), (404, b"unknown service ID: " + told))

    def test_wait_for_one(self) -> None:
        """With its hash the answer comes once it changed; with another at once."""
        found = self.get("service/web1")["ContentHash"]
        self.assertEqual(self.get("service/web1?hash=other&wait=10s")["ContentHash"], found)
        self.assertEqual(self.get("service/web1?stale&consistent&max_stale=zz")["ContentHash"], found)
        self.assertEqual(self.agent.calls, [])
        self.assertEqual(self.client.get(f"/v1/agent/service/web1?hash={found}&wait=10s"), b"")
        self.assertEqual(self.agent.calls, [("service_changed", "web1", 10.0)])
        self.agent.services = {"web1": NodeService(id="web1", service="web", port=81)}
        self.agent.waiting.callback(None)
        status, content = self.parsed(self.client.received())
        self.assertEqual((status, json.loads(content)["Port"]), (200, 81))
        self.assertNotEqual(json.loads(content)["ContentHash"], found)
        self.assertEqual(self.ask("GET", "service/web1?wait=abc"), (400, b"Invalid wait time"))

    def test_wait_for_the_end(self) -> None:
        """A service that goes meanwhile is unknown then."""
        found = self.get("service/web1")["ContentHash"]
        self.client.get(f"/v1/agent/service/web1?hash={found}")
        self.agent.services = {}
        self.agent.waiting.callback(None)
        self.assertEqual(self.parsed(self.client.received()), (404, b"unknown service ID: web1"))

    def test_more_exact_paths(self) -> None:
        """A path of its own is not the id of a service, whatever the method."""
        for target in ("service/register", "service/deregister/x", "service/maintenance/x"):
            head = self.client.get("/v1/agent/" + target)
            self.assertTrue(head.startswith(b"HTTP/1.1 405 "), head)
            self.assertIn(b"Allow: OPTIONS,PUT\r\n", head)
            self.assertIn(b"Allow: OPTIONS,PUT\r\n", self.client.get("/v1/agent/" + target, "OPTIONS"))

    def test_maintenance(self) -> None:
        """Of one service."""
        self.assertEqual(self.put("service/maintenance/a/b?enable=true&reason=r"), (200, b""))
        self.assertEqual(self.agent.calls, [("maintain_service", "a/b", True, "r", "")])
        self.assertEqual(self.put("service/maintenance/?enable=true"), (400, b"Missing service ID"))
        self.assertEqual(self.put("service/maintenance/web"), (400, b"Missing value for enable"))
        self.agent.trouble = NotFound('No service registered with ID "x"')
        self.assertEqual(
            self.put("service/maintenance/x?enable=1"), (404, b'No service registered with ID "x"')
        )

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


class HealthTests(Base):
    """How services are: by id and by name, as status, as JSON and as a word."""

    def setUp(self) -> None:
        super().setUp()
        self.states(web="passing")
        self.agent.services = {
            "web1": SERVICE, "web2": NodeService(id="web2", service="web"),
            "db": NodeService(id="db", service="db"),
        }  # fmt: skip

    def states(self, node: str = "", **services: str) -> None:
        """The states of the node's check and of services' (``web`` is ``web1``)."""
        found = {"n": HealthCheck(node="n1", check_id="n", status=node)} if node else {}
        for name, status in services.items():
            service_id = "web1" if name == "web" else name
            found[name] = HealthCheck(
                node="n1", check_id=name, status=status, service_id=service_id, type="ttl"
            )
        self.agent.checks = found

    def text(self, target: str) -> tuple[int, str]:
        status, content = self.ask("GET", f"health/service/{target}?format=text")
        return status, content.decode()

    def test_states(self) -> None:
        """The worst counts, with those of the node; maintenance is worse than all."""
        for states, word, status in (
            ({}, "passing", 200),
            ({"web": "warning"}, "warning", 429),
            ({"web": "passing", "node": "critical"}, "critical", 503),
            ({"web": "warning", "db": "critical"}, "warning", 429),
        ):
            self.states(**states)
            self.assertEqual(self.text("id/web1"), (status, word))
        for check_id in ("_node_maintenance", "_service_maintenance:web1"):
            self.agent.checks = {check_id: HealthCheck(check_id=check_id, status="critical")}
            self.assertEqual(self.text("id/web1"), (503, "maintenance"))
        self.assertEqual(self.text("id/web2"), (503, "critical"))  # that check is the node's here

    def test_by_name(self) -> None:
        """All instances of a name, by the worst of them."""
        self.states(web="passing", web2="warning")
        self.assertEqual(self.text("name/web"), (429, "warning"))
        status, content = self.ask("GET", "health/service/name/web")
        found = json.loads(content)
        self.assertEqual(status, 429)
        self.assertEqual([one["Service"]["ID"] for one in found], ["web1", "web2"])
        self.assertEqual([one["AggregatedStatus"] for one in found], ["passing", "warning"])

    def test_json(self) -> None:
        """Checks in the form that Consul gives them here."""
        status, content = self.ask("GET", "health/service/id/web1")
        found = json.loads(content)
        self.assertEqual((status, found["AggregatedStatus"]), (200, "passing"))
        (check,) = found["Checks"]
        self.assertEqual((check["Type"], check["ServiceTags"]), ("", None))
        self.assertEqual(check["Definition"]["Interval"], "0s")
        self.assertEqual(self.ask("GET", "health/service/id/web1?format=other")[1], content)

    def test_unknown(self) -> None:
        """Unknown ones, each in its own way."""
        for target, status, content in (
            ("id/none", 404, b'{"AggregatedStatus":"critical","Service":null,"Checks":null}'),
            ("id/none?format=text", 404, b'"ServiceId none not found"'),
            ("name/none", 404, b"[]"),
            ("name/none?format=text", 404, b"ServiceName none Not Found"),
            ("id/", 500, b"Bad request: Missing serviceID"),
            ("name/", 500, b"Bad request: Missing service Name"),
        ):
            self.assertEqual(self.ask("GET", f"health/service/{target}"), (status, content))

    def test_reason(self) -> None:
        """A header tells it again; what a client made up does not end it."""
        self.states(web="passing", web2="warning")
        for target, reason in (
            ("id/web1", b"passing"),
            ("id/web1?format=text", b"passing"),
            ("name/web", b"warning"),
            ("id/none", b"ServiceId none not found"),
            ("name/none?format=text", b"ServiceName none Not Found"),
        ):
            answer = self.client.get(f"/v1/agent/health/service/{target}")
            self.assertIn(b"\r\nX-Consul-Reason: " + reason + b"\r\n", answer)
        reasons = because("a\r\nB: c")
        self.assertEqual(reasons, ((b"X-Consul-Reason", b"a  B: c"),))

    def test_accept(self) -> None:
        """A client that takes text first gets it, unless it says otherwise."""
        for headers, target, text in (
            ("Accept: text/plain\r\n", "id/web1", True),
            ("Accept: text/html, text/plain\r\n", "id/web1", False),
            ("Accept: text/plain\r\n", "id/web1?format=json", False),
        ):
            content = self.ask("GET", f"health/service/{target}", headers=headers)[1]
            self.assertEqual(content == b"passing", text)


class MeshTests(Base):
    """What needs ACL or a CA says that there is none."""

    def test_tokens(self) -> None:
        """Whatever they are for."""
        for kind in ("default", "agent", "bogus", ""):
            self.assertEqual(self.put(f"token/{kind}", {"Token": "x"}), (401, b"ACL support disabled"))

    def test_certificates(self) -> None:
        """Neither roots nor leaves."""
        text = b"Connect must be enabled in order to use this endpoint"
        for target in ("connect/ca/roots", "connect/ca/leaf/web", "connect/ca/leaf/"):
            self.assertEqual(self.ask("GET", target), (500, text))

    def test_authorize(self) -> None:
        """Nobody has a certificate to show."""
        for body, text in (
            ({"Target": "db", "ClientCertURI": "spiffe://x", "ClientCertSerial": "1"},
             b"Bad request: ClientCertURI not a valid Connect identifier"),
            ({}, b"Bad request: Target service must be specified"),
        ):  # fmt: skip
            self.assertEqual(self.ask("POST", "connect/authorize", body), (400, text))
        status, content = self.ask("POST", "connect/authorize", b"x")
        self.assertEqual(status, 400)
        self.assertTrue(content.startswith(b"Bad request: Request decode failed: "), content)


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
        self.assertEqual(self.ask("GET", "checks?filter=(")[0], 500)

    def test_namespaces(self) -> None:
        """Those of the enterprise's are refused."""
        for path in ("services", "checks", "service/s", "health/service/id/s", "health/service/name/s"):
            self.assertEqual(self.ask("GET", path + "?ns=default")[0], 400, path)
        for path in (
            "service/register", "service/deregister/s", "service/maintenance/s?enable=1", "check/register",
            "check/deregister/c", "check/pass/c", "check/warn/c", "check/fail/c",
        ):  # fmt: skip
            status, told = self.put(path + ("&" if "?" in path else "?") + "ns=x", {})
            self.assertEqual((status, told[:42]), (400, b'Bad request: Invalid query parameter: "ns"'), path)
        self.assertEqual(self.put("check/update/c?ns=x", {"Status": "passing"})[0], 400)
        self.assertEqual(self.agent.calls, [])

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
        self.assertEqual(self.put("check/deregister/"), (500, b"CheckID missing"))

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
