"""New settings while an agent runs."""

from __future__ import annotations

from random import Random
from typing import Any

from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.local import LocalState
from pyconsul.agent.registration import Registrations
from pyconsul.agent.reloading import Definitions, Reloading, Settings, different
from pyconsul.config.groups import DnsConfig
from pyconsul.config.schema import AgentConfig
from pyconsul.config.sources import Sources
from pyconsul.errors import ConfigurationError
from pyconsul.structs.agent import ServiceDefinition
from pyconsul.structs.catalog import CRITICAL, PASSING

TTL = {"ttl": "100s"}


class Base(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = AgentConfig(sources=Sources())
        self.files: AgentConfig | ConfigurationError = self.now
        self.reloading = Reloading(self.now, self.read)

    def read(self, sources: Sources) -> AgentConfig:
        if isinstance(self.files, Exception):
            raise self.files
        return self.files

    def write(self, **settings: Any) -> None:
        """What the files say from now on."""
        self.files = replace(self.now, **settings)


class SettingsTests(Base):
    def setUp(self) -> None:
        super().setUp()
        self.taken: list[Any] = []
        self.reloading.parts += [
            Settings(["log_level"], lambda new: self.taken.append(new.log_level)),
            Settings(["dns_config"], lambda new: self.taken.append(new.dns_config.node_ttl)),
        ]

    def test_nothing_new(self) -> None:
        """Nobody is told of what is as it was."""
        self.reloading.reload()
        self.assertEqual((self.taken, self.reloading.diff()), ([], []))

    def test_changes(self) -> None:
        """Only those concerned are told; a second reload has nothing to do."""
        self.write(log_level="WARN")
        self.assertEqual(self.reloading.diff(), ["log_level: 'INFO' -> 'WARN'"])
        self.assertEqual(self.taken, [])
        self.reloading.reload()
        self.assertEqual((self.taken, self.reloading.config.log_level), (["WARN"], "WARN"))
        self.reloading.reload()
        self.assertEqual(self.taken, ["WARN"])
        self.write(log_level="WARN", dns_config=DnsConfig(node_ttl=3.0))
        self.reloading.reload()
        self.assertEqual(self.taken, ["WARN", 3.0])

    def test_needs_a_restart(self) -> None:
        """What cannot change is told and stays as it is."""
        self.write(node_name="other", encrypt="a", check_update_interval=1.0)
        self.assertEqual(
            self.reloading.diff(),
            [
                "needs a restart: node_name: '' -> 'other'",
                "needs a restart: encrypt: '(secret)' -> '(secret)'",
                "needs a restart: check_update_interval: 300.0 -> 1.0",
            ],
        )
        self.reloading.reload()
        self.assertEqual(self.reloading.config.node_name, "")

    def test_wrong(self) -> None:
        """With files that are wrong everything stays as it is, and the error says why."""
        self.files = ConfigurationError("no good")
        for method in (self.reloading.reload, self.reloading.diff):
            self.assertEqual(str(self.assertRaises(ConfigurationError, method)), "no good")
        self.assertIs(self.reloading.config, self.now)

    def test_no_sources(self) -> None:
        """An agent within a program has nothing to read again."""
        reloading = Reloading(AgentConfig())
        self.assertRaises(ConfigurationError, reloading.reload)

    def test_different(self) -> None:
        """Keys of groups are whole."""
        other = replace(self.now, dns_config=DnsConfig(node_ttl=1.0))
        self.assertEqual(
            different(self.now, other), [("dns_config.node_ttl", "dns_config.node_ttl: 0.0 -> 1.0")]
        )


class DefinitionTests(Base):
    """Services and checks of files come and go one by one."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.local = LocalState("n1")
        self.made = Registrations(self.local, self.clock, Random(1))
        self.reloading.parts.append(Definitions(self.made))
        self.addCleanup(self.local.stop)
        self.begin([{"name": "web", "port": 80, "check": TTL}, {"name": "db"}], [{"name": "c", **TTL}])

    def begin(self, services: Any, checks: Any) -> None:
        """The agent started with these."""
        self.now = self.reloading.config = replace(self.now, services=tuple(services), checks=tuple(checks))
        self.files = self.now
        self.made.load(services, checks)

    def reload(self, services: Any, checks: Any = ()) -> list[str]:
        """The files say this now; what the diff said before it was done."""
        self.write(services=tuple(services), checks=tuple(checks))
        told = self.reloading.diff()
        self.reloading.reload()
        self.assertEqual(self.reloading.diff(), [])
        return told

    def test_unchanged(self) -> None:
        """What is as it was goes on undisturbed."""
        self.made.update_ttl("c", PASSING, "ok")
        before = {key: local.runner for key, local in self.local.checks.items()}
        self.clock.advance(60)
        self.assertEqual(self.reload(self.now.services, self.now.checks), [])
        self.assertEqual({key: local.runner for key, local in self.local.checks.items()}, before)
        self.assertEqual(self.local.checks["c"].check.status, PASSING)
        self.clock.advance(41)
        self.assertEqual(self.local.checks["c"].check.status, CRITICAL)

    def test_changed(self) -> None:
        """A service that changes keeps the checks that do not."""
        self.made.update_ttl("service:web", PASSING, "ok")
        runner = self.local.checks["service:web"].runner
        told = self.reload([{"name": "web", "port": 81, "check": TTL}, {"name": "db"}], self.now.checks)
        self.assertEqual(told, ["change service web"])
        self.assertEqual(self.local.services["web"].service.port, 81)
        self.assertIs(self.local.checks["service:web"].runner, runner)
        self.assertEqual(self.local.checks["service:web"].check.status, PASSING)

    def test_changed_check(self) -> None:
        """A check that changes is run anew, from the state that it is in."""
        self.made.update_ttl("c", PASSING, "ok")
        told = self.reload(self.now.services, [{"name": "c", "ttl": "200s", "notes": "n"}])
        self.assertEqual(told, ["change check c"])
        self.assertEqual(self.local.checks["c"].check.status, PASSING)
        self.clock.advance(150)
        self.assertEqual(self.local.checks["c"].check.status, PASSING)

    def test_come_and_go(self) -> None:
        """What is not there any more goes with its checks, what is new comes."""
        told = self.reload([{"name": "db", "check": TTL}, {"name": "new"}], [{"name": "d", **TTL}])
        self.assertEqual(
            told,
            ["remove service web", "remove check c", "change service db", "add service new", "add check d"],
        )
        self.assertEqual(sorted(self.local.services), ["db", "new"])
        self.assertEqual(sorted(self.local.checks), ["d", "service:db"])

    def test_check_of_a_service_goes(self) -> None:
        """A service may lose its checks."""
        self.assertEqual(
            self.reload([{"name": "web", "port": 80}, {"name": "db"}], self.now.checks),
            ["change service web"],
        )
        self.assertEqual(sorted(self.local.checks), ["c"])

    def test_others(self) -> None:
        """What came over HTTP stays, and what files define has the last word."""
        self.made.register_service(ServiceDefinition(name="http"), False)
        self.made.register_service(ServiceDefinition(name="db", port=9), False)
        self.made.deregister_check("c")
        self.assertEqual(
            self.reload(self.now.services, self.now.checks), ["change service db", "add check c"]
        )
        self.assertEqual(sorted(self.local.services), ["db", "http", "web"])
        self.assertEqual(self.local.services["db"].service.port, 0)

    def test_tags_of_others(self) -> None:
        """Tags that others may set do not count as a change."""
        services = [{"name": "web", "enable_tag_override": True}]
        self.reload(services)
        self.local.adopt_tags("web", ["theirs"])
        self.assertEqual(self.reload(services), [])

    def test_wrong(self) -> None:
        """One wrong definition, and nothing at all changes."""
        self.write(services=({"name": "new"}, {"name": "bad", "check": {"http": "x"}}), checks=())
        error = self.assertRaises(ConfigurationError, self.reloading.reload)
        self.assertEqual(
            str(error), "service bad: Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks"
        )
        self.assertEqual(sorted(self.local.services), ["db", "web"])
        self.assertEqual(sorted(self.local.checks), ["c", "service:web"])
        self.write(services=(), checks=({"name": "x", "service_id": "none", **TTL},))
        error = self.assertRaises(ConfigurationError, self.reloading.reload)
        self.assertEqual(str(error), 'check x: ServiceID "none" does not exist')
