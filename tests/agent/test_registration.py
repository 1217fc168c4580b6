"""From definitions to what this node runs (specs of the HTTP API, section 7)."""

from __future__ import annotations

from random import Random
from typing import Any

from msgspec import UNSET
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.definitions import CHECKS_PER_SERVICE_MAX, node_service
from pyconsul.agent.local import LocalState
from pyconsul.agent.registration import Registrations
from pyconsul.checks.ttl import TtlCheck
from pyconsul.errors import BadRequest, ConfigurationError, PyconsulError, Refused
from pyconsul.structs.agent import (
    CheckDefinition,
    ConnectDefinition,
    MeshGateway,
    ProxyDefinition,
    ServiceDefinition,
)
from pyconsul.structs.canonical import canonical_check, canonical_service
from pyconsul.structs.catalog import CRITICAL, PASSING, WARNING, Proxy, ServiceAddress, Weights

CHECK = CheckDefinition(ttl="10s")


class Base(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.local = LocalState("n1")
        self.made = self.registrations()

    def registrations(self, scripts: bool = False, **more: Any) -> Registrations:
        return Registrations(self.local, self.clock, Random(1), scripts, **more)

    def service(self, replace_checks: bool = False, **fields: Any) -> None:
        self.made.register_service(ServiceDefinition(**({"name": "web"} | fields)), replace_checks)

    def check(self, **fields: Any) -> None:
        self.made.register_check(CheckDefinition(**({"name": "n"} | fields)))

    def names(self) -> dict[str, str]:
        """Checks by id, with their names."""
        return {key: local.check.name for key, local in self.local.checks.items()}

    def assert_refused(self, kind: type[PyconsulError], text: str, call: Any, **fields: Any) -> None:
        error = self.assertRaises(kind, call, **fields)
        self.assertEqual(str(error), text)
        self.assertIs(type(error), kind)


class ServiceTests(Base):
    def test_defaults(self) -> None:
        """The id is the name; weights are 1; nothing else is made up."""
        self.service()
        service = self.local.services["web"].service
        self.assertEqual((service.id, service.service, service.tags, service.meta), ("web", "web", [], None))
        assert service.weights is not None
        self.assertEqual((service.weights.passing, service.weights.warning), (1, 1))
        self.assertEqual((service.kind, service.tagged_addresses), (UNSET, UNSET))

    def test_fields(self) -> None:
        """All of a definition gets there; an address is also tagged by its version."""
        self.service(
            id="web1",
            kind="connect-proxy",
            tags=["a"],
            address="192.0.2.1",
            port=80,
            meta={"k": "v"},
            weights=Weights(passing=2, warning=0),
            enable_tag_override=True,
            tagged_addresses={"wan": ServiceAddress("198.51.100.1", 8)},
            proxy=ProxyDefinition(destination_service_name="db"),
        )
        service = self.local.services["web1"].service
        self.assertEqual((service.service, service.kind, service.tags), ("web", "connect-proxy", ["a"]))
        self.assertEqual((service.address, service.port, service.meta), ("192.0.2.1", 80, {"k": "v"}))
        self.assertEqual((service.weights, service.enable_tag_override), (Weights(2, 0), True))
        self.assertEqual(service.proxy.destination_service_name, "db")
        assert isinstance(service.tagged_addresses, dict)
        self.assertEqual(
            {name: (found.address, found.port) for name, found in service.tagged_addresses.items()},
            {"lan_ipv4": ("192.0.2.1", 80), "wan_ipv4": ("192.0.2.1", 80), "wan": ("198.51.100.1", 8)},
        )

    def test_canonical(self) -> None:
        """What is kept has the form that the servers keep, so that both compare equal."""
        proxy = ProxyDefinition(upstreams=[], config={}, mesh_gateway=MeshGateway())
        connect = ConnectDefinition(native=False)
        service = node_service(
            ServiceDefinition(name="web", tagged_addresses={}, proxy=proxy, connect=connect)
        )
        self.assertEqual(service, canonical_service(service))
        self.assertEqual((service.proxy, service.connect), (Proxy(), {}))
        self.service(check=CHECK)
        check = self.local.checks["service:web"].check
        self.assertEqual(check, canonical_check(check))

    def test_weights(self) -> None:
        """Weights have a range each; the texts are Consul's."""
        for weights, text in (
            (Weights(0, 0), "Invalid Weights: Passing must be greater than 0"),
            (Weights(-1, 1), "Invalid Weights: Passing must be greater than 0"),
            (Weights(1, -1), "Invalid Weights: Warning must be greater or equal than 0"),
            (Weights(65536, 1), "Invalid Weights: DNS Weight must be between 0 and 65535"),
            (Weights(1, 65536), "Invalid Weights: DNS Weight must be between 0 and 65535"),
        ):
            self.assert_refused(BadRequest, text, self.service, weights=weights)
        self.assertEqual(self.local.services, {})
        self.service(weights=Weights(65535, 0))

    def test_deregister(self) -> None:
        """Its checks go with it; an unknown one is no error."""
        self.service(check=CHECK)
        self.made.deregister_service("web")
        self.assertEqual((self.local.services, self.local.checks), ({}, {}))
        self.made.deregister_service("web")
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ServiceCheckTests(Base):
    def test_one(self) -> None:
        """One check is called after its service."""
        self.service(id="web1", check=CHECK)
        self.assertEqual(self.names(), {"service:web1": "Service 'web' check"})
        found = self.local.checks["service:web1"].check
        self.assertEqual((found.service_id, found.service_name, found.type), ("web1", "web", "ttl"))
        self.assertEqual((found.status, found.output, found.node), (CRITICAL, "", "n1"))

    def test_several(self) -> None:
        """Several are numbered, the single one first; ids and names that are given are kept."""
        self.service(
            check=CHECK,
            checks=[CHECK, CheckDefinition(ttl="10s", check_id="mine", name="My check")],
        )
        self.assertEqual(
            self.names(),
            {
                "service:web:1": "Service 'web' check",
                "service:web:2": "Service 'web' check",
                "mine": "My check",
            },
        )

    def test_one_in_the_list(self) -> None:
        """A list of one is not numbered."""
        self.service(checks=[CHECK])
        self.assertEqual(list(self.names()), ["service:web"])

    def test_empty(self) -> None:
        """Consul takes an empty ``Check`` for none, but not an empty element of ``Checks``."""
        self.service(check=CheckDefinition())
        self.assertEqual(self.names(), {})
        text = "Invalid check: TTL must be > 0 for TTL checks"
        self.assert_refused(BadRequest, text, self.service, checks=[CheckDefinition()])

    def test_initial_state(self) -> None:
        """A state may be given, if it is one."""
        self.service(check=CheckDefinition(ttl="10s", status=WARNING, notes="x"))
        found = self.local.checks["service:web"].check
        self.assertEqual((found.status, found.notes), (WARNING, "x"))
        text = "Status for checks must 'passing', 'warning', 'critical'"
        self.assert_refused(BadRequest, text, self.service, check=CheckDefinition(ttl="1s", status="zzz"))

    def test_all_or_nothing(self) -> None:
        """If one check is wrong nothing changes."""
        self.service(port=1, check=CHECK)
        self.assert_refused(
            BadRequest,
            "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks",
            self.service,
            port=2,
            checks=[CHECK, CheckDefinition(http="http://192.0.2.1/")],
        )
        self.assertEqual(self.local.services["web"].service.port, 1)
        self.assertEqual(list(self.names()), ["service:web"])

    def test_bound(self) -> None:
        """Nobody registers checks without end."""
        self.assertRaises(BadRequest, self.service, checks=[CHECK] * (CHECKS_PER_SERVICE_MAX + 1))
        self.assertEqual(self.local.services, {})

    def test_replacing(self) -> None:
        """Checks that are not named again stay, unless all are to be replaced; others' always do."""
        self.check(ttl="10s")
        self.service(check=CHECK, checks=[CheckDefinition(ttl="10s", check_id="mine")])
        self.local.update_check("mine", PASSING, "fine")
        self.service(check=CHECK)
        self.assertEqual(list(self.names()), ["n", "service:web:1", "mine", "service:web"])
        self.service(True, checks=[CheckDefinition(ttl="10s", check_id="mine")])
        self.assertEqual(list(self.names()), ["n", "mine"])
        self.assertEqual(self.local.checks["mine"].check.status, PASSING)
        self.assertEqual(len(self.clock.getDelayedCalls()), 2)


class CheckTests(Base):
    def test_ids(self) -> None:
        """``CheckID``, else ``ID``, else the name."""
        self.check(name="a", ttl="10s")
        self.check(name="b", id="b1", ttl="10s")
        self.check(name="c", id="c1", check_id="c2", ttl="10s")
        self.assertEqual(self.names(), {"a": "a", "b1": "b", "c2": "c"})

    def test_errors(self) -> None:
        """What makes no sense, in Consul's words."""
        self.service()
        cases: list[tuple[type[PyconsulError], str, dict[str, Any]]] = [
            (BadRequest, "Invalid check: TTL must be > 0 for TTL checks", {"interval": "10s"}),
            (
                BadRequest,
                "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks",
                {"http": "http://192.0.2.1/"},
            ),
            (
                BadRequest,
                "Invalid check: Interval and TTL cannot both be specified",
                {"ttl": "10s", "interval": "10s"},
            ),
            (BadRequest, "Bad check status", {"ttl": "10s", "status": "zzz"}),
            (Refused, 'ServiceID "none" does not exist', {"ttl": "10s", "service_id": "none"}),
            (
                Refused,
                "Scripts are disabled on this agent from remote calls; "
                "to enable, configure 'enable_script_checks' to true",
                {"args": ["true"], "interval": "10s"},
            ),
        ]
        for kind, text, fields in cases:
            self.assert_refused(kind, text, self.check, **fields)
        self.assertEqual((self.names(), self.clock.getDelayedCalls()), ({}, []))

    def test_scripts(self) -> None:
        """A program is run only where that is allowed."""
        self.made = self.registrations(scripts=True)
        self.check(args=["true"], interval="10s")
        self.assertEqual(self.local.checks["n"].check.type, "script")
        self.local.stop()

    def test_of_a_service(self) -> None:
        """A check of a service shows its name and goes with it."""
        self.service(tags=["a"])
        self.check(ttl="10s", service_id="web")
        found = self.local.checks["n"].check
        self.assertEqual((found.service_name, found.service_tags), ("web", ["a"]))
        self.made.deregister_service("web")
        self.assertEqual(self.names(), {})

    def test_short_interval(self) -> None:
        """Is lengthened, not refused."""
        self.check(tcp="192.0.2.1:1", interval="10ms")
        self.assertEqual(self.local.checks["n"].check.type, "tcp")
        self.local.stop()

    def test_deregister(self) -> None:
        """An unknown one is no error; the timers of a known one are gone."""
        self.check(ttl="10s")
        self.made.deregister_check("n")
        self.made.deregister_check("n")
        self.assertEqual((self.names(), self.clock.getDelayedCalls()), ({}, []))


class FileTests(Base):
    """What stands in configuration files."""

    def test_load(self) -> None:
        """Keys are in snake_case; the rest is as over HTTP."""
        self.made.load(
            [
                {
                    "name": "web",
                    "tagged_addresses": {"lan": {"address": "192.0.2.1", "port": 80}},
                    "checks": [{"ttl": "10s", "deregister_critical_service_after": "5m"}],
                }
            ],
            [{"id": "c", "name": "disk", "ttl": "1m", "service_id": "web"}],
        )
        self.assertEqual(self.names(), {"service:web": "Service 'web' check", "c": "disk"})
        addresses = self.local.services["web"].service.tagged_addresses
        assert isinstance(addresses, dict)
        self.assertEqual(addresses["lan"].port, 80)

    def test_errors(self) -> None:
        """An error names the service or check that is wrong."""
        for services, checks, text in (
            (
                [{"name": "a"}, {"name": "b", "check": {"interval": "1s"}}],
                [],
                "service b: Invalid check: TTL",
            ),
            ([], [{"id": "c", "name": "d"}], "check c: Invalid check: TTL must be > 0 for TTL checks"),
            ([], [{"ttl": "x"}], "check without a name: "),
            ([], [{"ttl": "5s"}], "check without a name: CheckID missing"),
            ([{"id": "web1", "port": 80}], [], "service web1: Service name missing"),
            ([{}], [], "service without a name: Service name missing"),
            ([{"nome": "a"}], [], "service without a name: "),
        ):
            error = self.assertRaises(ConfigurationError, self.made.load, services, checks)
            self.assertTrue(str(error).startswith(text), error)

    def test_scripts(self) -> None:
        """Programs may be allowed for files alone."""
        script = {"name": "s", "args": ["true"], "interval": "10s"}
        self.assertRaises(ConfigurationError, self.made.load, [], [script])
        self.made = Registrations(self.local, self.clock, Random(1), False, True)
        self.made.load([], [script])
        self.made.load([{"name": "web", "check": script}], [script])
        self.assertEqual(sorted(self.names()), ["s", "service:web"])
        self.assertRaises(Refused, self.check, name="t", args=["true"], interval="10s")
        self.assertRaises(Refused, self.service, check=CheckDefinition(args=["true"], interval="10s"))
        self.local.stop()


class TtlTests(Base):
    def test_update(self) -> None:
        """A report counts for a TTL, then the check is critical."""
        self.check(ttl="10s")
        self.assertIsInstance(self.local.checks["n"].runner, TtlCheck)
        self.made.update_ttl("n", PASSING, "fine")
        found = self.local.checks["n"].check
        self.assertEqual((found.status, found.output), (PASSING, "fine"))
        self.clock.advance(9.9)
        self.assertEqual(self.local.checks["n"].check.status, PASSING)
        self.clock.advance(0.2)
        self.assertEqual(self.local.checks["n"].check.status, CRITICAL)

    def test_no_ttl(self) -> None:
        """Only a TTL check takes reports."""
        self.check(tcp="192.0.2.1:1", interval="10s")
        for check_id in ("n", "unknown", ""):
            text = f'CheckID "{check_id}" does not have associated TTL'
            self.assert_refused(
                Refused, text, self.made.update_ttl, check_id=check_id, status=PASSING, output=""
            )
        self.local.stop()

    def test_output_bound(self) -> None:
        """``check_output_max_size`` cuts what is reported."""
        self.made = self.registrations(output_bytes_max=10)
        self.check(ttl="10s")
        self.made.update_ttl("n", PASSING, "x" * 50)
        output = self.local.checks["n"].check.output
        self.assertTrue(output.startswith("x" * 10), output)
        self.assertNotIn("x" * 11, output)


class AliasTests(Base):
    def state(self) -> str:
        return self.local.checks["alias"].check.status

    def alias(self, **fields: str) -> None:
        self.check(name="alias", **fields)
        self.clock.pump([1.0] * 120)

    def test_of_a_service(self) -> None:
        """It follows the checks of the service that it stands for."""
        self.service(checks=[CHECK])
        self.alias(alias_service="web")
        self.assertEqual(self.state(), CRITICAL)
        self.made.update_ttl("service:web", PASSING, "")
        self.made.register_check(CheckDefinition(name="node", ttl="1h", status=PASSING))
        self.local.checks["service:web"].runner.stop()  # type: ignore[union-attr]
        self.clock.pump([1.0] * 120)
        self.assertEqual(self.state(), PASSING)
        self.made.update_ttl("node", WARNING, "hot")
        self.clock.pump([1.0] * 120)
        self.assertEqual(self.state(), WARNING)
        self.assertEqual(self.local.checks["alias"].check.output, 'Aliased check "node" failing: hot')
        self.local.stop()

    def test_of_its_own_node(self) -> None:
        """The node's own checks, and the one of gossip, which passes as long as anything runs here."""
        self.alias(alias_node="n1")
        self.assertEqual(self.state(), PASSING)
        self.assertEqual(self.local.checks["alias"].check.output, "All checks passing.")
        self.check(name="disk", ttl="1h")
        self.clock.pump([1.0] * 120)
        self.assertEqual(self.state(), CRITICAL)
        self.local.stop()

    def test_of_what_is_not_here(self) -> None:
        """An unknown service, or another node's, is not healthy; its own node may be named."""
        for fields in ({"alias_service": "none"}, {"alias_service": "none", "alias_node": "n2"}):
            self.alias(**fields)
            self.assertEqual(self.state(), CRITICAL)
        self.service()
        self.alias(alias_service="web", alias_node="N1")
        self.assertEqual(self.state(), PASSING)
        self.local.stop()
