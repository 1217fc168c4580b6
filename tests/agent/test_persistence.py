"""What was registered over HTTP is found again in the data folder, in Consul's form."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.local import LocalState
from pyconsul.agent.maintenance import Maintenance
from pyconsul.agent.persistence import STATES_S, SYNC_PAUSE_S, Persistence, file_name
from pyconsul.agent.registration import Registrations
from pyconsul.errors import NotFound
from pyconsul.structs.agent import CheckDefinition, ConnectDefinition, ServiceDefinition
from pyconsul.structs.catalog import CRITICAL, PASSING, WARNING
from pyconsul.testing.disk import SimDisk

WALL = 1_700_000_000.0

SERVICE_OF_CONSUL = {
    "Token": "t", "Source": "remote",
    "Service": {
        "ID": "redis1", "Service": "redis", "Tags": None, "Address": "192.0.2.5",
        "TaggedAddresses": {"lan_ipv4": {"Address": "192.0.2.5", "Port": 80}}, "Meta": None, "Port": 80,
        "Weights": {"Passing": 10, "Warning": 1}, "EnableTagOverride": True,
        "Proxy": {"MeshGateway": {}, "Expose": {}}, "Connect": {}, "CreateIndex": 0, "ModifyIndex": 0,
    },
}  # fmt: skip
CHECK_OF_CONSUL = {
    "Check": {
        "Node": "o1", "CheckID": "h", "Name": "Service 'redis' check", "Status": "passing", "Notes": "n",
        "Output": "", "ServiceID": "redis1", "ServiceName": "redis", "ServiceTags": None, "Type": "tcp",
        "Definition": {}, "CreateIndex": 0, "ModifyIndex": 0,
    },
    "ChkType": {
        "CheckID": "h", "Name": "", "Status": "", "Notes": "n", "ScriptArgs": None, "HTTP": "",
        "Header": None, "Method": "", "Body": "", "TCP": "127.0.0.1:1", "Interval": 10000000000,
        "AliasNode": "", "AliasService": "", "DockerContainerID": "", "Shell": "", "GRPC": "",
        "GRPCUseTLS": False, "TLSSkipVerify": False, "Timeout": 2000000000, "TTL": 0,
        "SuccessBeforePassing": 2, "FailuresBeforeCritical": 3, "ProxyHTTP": "", "ProxyGRPC": "",
        "DeregisterCriticalServiceAfter": 90000000000, "OutputMaxSize": 100,
    },
    "Token": "u", "Source": "remote",
}  # fmt: skip
"""Written by Consul 1.8.7."""


class Base(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.wall = WALL
        self.disk = SimDisk(self.clock, Random(1), lambda rng: 0.001)
        self.begin()

    def begin(self) -> None:
        """An agent starts on what the disk holds."""
        self.disk.attach(self.clock)
        self.local = LocalState("n1", seconds=self.clock.seconds)
        self.persistence = Persistence(self.disk, self.clock, lambda: self.wall)
        self.made = Registrations(self.local, self.clock, Random(1), True, persistence=self.persistence)
        self.maintenance = Maintenance(self.local, self.persistence)

    def load(self, services: list[dict[str, Any]] | None = None, checks: Any = ()) -> None:
        self.made.load(services or [], checks)

    def restart(self, services: list[dict[str, Any]] | None = None, checks: Any = ()) -> None:
        """The process is killed and starts again."""
        self.local.stop()
        self.settle()
        self.disk.crash(power_cut=False)
        self.begin()
        self.load(services, checks)

    def settle(self) -> None:
        """Let everything be written."""
        for _ in range(20):
            self.clock.advance(STATES_S / 10)

    def service(self, **fields: Any) -> None:
        self.made.register_service(ServiceDefinition(**({"name": "web"} | fields)), False)

    def check(self, **fields: Any) -> None:
        self.made.register_check(CheckDefinition(**({"name": "c", "ttl": "100s"} | fields)))

    def read(self, path: str) -> Any:
        file = self.disk.open(path)
        try:
            return json.loads(file.read(1 << 20, 0))
        finally:
            file.close()

    def write(self, path: str, content: Any) -> None:
        for folder in ("services", "checks", "checks/state"):
            self.disk.make_folder(folder)
        file = self.disk.open(path, create=True)
        file.write([content if isinstance(content, bytes) else json.dumps(content).encode()], 0)
        file.close()

    def names(self, folder: str) -> list[str]:
        return [name for name in self.disk.list(folder) if name != "state"]


class FileTests(Base):
    def test_service(self) -> None:
        """One file for each, named by the MD5 of its id, as Consul writes it."""
        self.service(id="web1", port=80, token="t", tags=["a"])
        kept = self.read("services/" + file_name("web1"))
        self.assertEqual((kept["Token"], kept["Source"]), ("t", "remote"))
        self.assertEqual(kept["Service"]["ID"], "web1")
        self.assertEqual(kept["Service"]["Weights"], {"Passing": 1, "Warning": 1})
        self.assertNotIn("LocallyRegisteredAsSidecar", kept)
        self.assertEqual(file_name("redis1"), "fd1742239212ef81344dca043704c36f")

    def test_check(self) -> None:
        """The check as it was registered, and how it is run with durations as numbers."""
        self.service(id="redis1")
        self.check(check_id="h", name="n", tcp="127.0.0.1:1", ttl=0, interval="10s", timeout="2s",
                   service_id="redis1", notes="n", success_before_passing=2, token="u")  # fmt: skip
        self.local.update_check("h", PASSING, "connected")
        kept = self.read("checks/" + file_name("h"))
        wanted = CHECK_OF_CONSUL["ChkType"]
        assert isinstance(wanted, dict)
        self.assertEqual(kept["ChkType"].keys(), wanted.keys() - {"ProxyHTTP", "ProxyGRPC"})
        self.assertEqual((kept["ChkType"]["Interval"], kept["ChkType"]["Timeout"]), (10**10, 2 * 10**9))
        self.assertEqual((kept["Token"], kept["Source"]), ("u", "remote"))
        self.assertEqual((kept["Check"]["Status"], kept["Check"]["ServiceID"]), (CRITICAL, "redis1"))
        self.local.stop()

    def test_newer_fields(self) -> None:
        """What Consul 1.8.7 does not know is written only where it is used, for it refuses such files."""
        self.check(h2ping="192.0.2.1:1", ttl=0, interval="24h")
        kept = self.read("checks/" + file_name("c"))["ChkType"]
        self.assertEqual(kept["H2PING"], "192.0.2.1:1")
        self.assertNotIn("UDP", kept)
        self.restart()
        self.assertEqual(self.local.checks["c"].check.type, "h2ping")
        self.local.stop()

    def test_arguments(self) -> None:
        """Whatever name the arguments of a script had, they are kept under one."""
        self.check(args=["true"], ttl=0, interval="24h")
        self.assertEqual(self.read("checks/" + file_name("c"))["ChkType"]["ScriptArgs"], ["true"])
        self.restart()
        self.assertEqual(self.local.checks["c"].check.type, "script")
        self.local.stop()

    def test_removed(self) -> None:
        """What is deregistered leaves nothing behind."""
        self.service(check=CheckDefinition(ttl="100s"))
        self.check()
        self.made.update_ttl("c", PASSING, "x")
        self.made.update_ttl("service:web", PASSING, "x")
        self.settle()
        self.assertEqual(len(self.names("checks/state")), 2)
        self.made.deregister_service("web")
        self.made.deregister_check("c")
        self.made.deregister_check("c")
        self.assertEqual(
            [self.names(folder) for folder in ("services", "checks", "checks/state")], [[], [], []]
        )

    def test_durable(self) -> None:
        """A moment later a power cut takes nothing of it."""
        self.service()
        self.check()
        self.settle()
        self.local.stop()
        self.disk.crash(power_cut=True)
        self.begin()
        self.load()
        self.assertEqual((list(self.local.services), list(self.local.checks)), (["web"], ["c"]))
        self.local.stop()

    def test_disk_full(self) -> None:
        """What cannot be written is logged; the agent goes on."""

        def fail(*args: Any, **more: Any) -> Any:
            raise OSError(28, "No space left on device")

        self.patch(self.disk, "open", fail)
        self.service()
        self.assertEqual(list(self.local.services), ["web"])
        self.patch(self.disk, "remove", fail)
        self.made.deregister_service("web")
        self.assertEqual(list(self.local.services), [])

    def test_jobs_that_fail(self) -> None:
        """So is what fails off the reactor; the next registration is synced all the same."""
        real = self.disk.sync_folder
        asked: list[str] = []

        def fail(path: str) -> None:
            asked.append(path)
            raise OSError(5, "Input/output error")

        self.patch(self.disk, "sync_folder", fail)
        self.service()
        self.service(id="web2")
        self.settle()
        self.assertEqual(asked, ["services", "services"])
        self.patch(self.disk, "sync_folder", real)
        self.service(id="web3")
        self.settle()
        self.assertEqual(len(self.names("services")), 3)

    def test_many_in_a_row(self) -> None:
        """The first is synced at once, the others together; the end waits for no pause."""
        synced: list[str] = []
        real = self.disk.sync_folder

        def sync(path: str) -> None:
            synced.append(path)
            real(path)

        self.patch(self.disk, "sync_folder", sync)
        self.service()
        self.clock.advance(0.01)
        self.assertEqual(synced, ["services"])
        for number in range(100):
            self.service(id=f"web{number}")
        self.clock.advance(SYNC_PAUSE_S / 2)
        self.assertEqual(synced, ["services"])
        self.settle()
        self.assertEqual(synced, ["services"] * 2)
        self.service(id="last")
        self.clock.advance(0.01)
        self.service(id="very last")
        self.persistence.close()
        self.clock.advance(0.01)
        self.assertEqual(synced, ["services"] * 4)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_gone_before_it_was_synced(self) -> None:
        """A registration that is taken back at once is no trouble."""
        self.service()
        self.service(id="web2")
        self.made.deregister_service("web2")
        self.settle()
        self.assertEqual(len(self.names("services")), 1)


class RestoreTests(Base):
    def test_services(self) -> None:
        """They come back as they were, tokens included."""
        self.service(id="web1", port=80, tags=["a"], meta={"k": "v"}, token="t", address="192.0.2.1")
        before = self.local.services["web1"].service
        self.restart()
        self.assertEqual(self.local.services["web1"].service, before)
        self.assertEqual(self.local.services["web1"].token, "t")

    def test_sidecar(self) -> None:
        """A sidecar proxy is known as such again, so it goes with its service."""
        self.service(port=80, connect=ConnectDefinition(sidecar_service=ServiceDefinition()))
        self.restart()
        self.assertEqual(self.local.services["web-sidecar-proxy"].sidecar_of, "web")
        self.assertEqual(
            sorted(self.local.checks), ["service:web-sidecar-proxy:1", "service:web-sidecar-proxy:2"]
        )
        self.made.deregister_service("web")
        self.assertEqual((self.local.services, self.local.checks), ({}, {}))
        self.assertEqual((self.names("services"), self.names("checks")), ([], []))

    def test_files_of_consul(self) -> None:
        """What Consul wrote is understood."""
        self.write("services/" + file_name("redis1"), SERVICE_OF_CONSUL)
        self.write("checks/" + file_name("h"), CHECK_OF_CONSUL)
        self.load()
        service = self.local.services["redis1"]
        self.assertEqual((service.service.port, service.service.tags, service.token), (80, [], "t"))
        self.assertTrue(service.service.enable_tag_override)
        check = self.local.checks["h"]
        self.assertEqual((check.check.status, check.check.node, check.token), (CRITICAL, "n1", "u"))
        self.assertEqual((check.reap_after_s, check.unproven), (90.0, True))
        runner: Any = check.runner
        self.assertEqual((runner.definition.interval_s, runner.definition.timeout_s), (10.0, 2.0))
        self.assertEqual(runner.definition.success_before_passing, 2)
        self.local.stop()

    def test_files_win(self) -> None:
        """A definition in files takes the place of what was kept, which is forgotten."""
        self.service(port=80, check=CheckDefinition(ttl="100s"))
        self.check()
        self.restart([{"name": "web", "port": 90}], [{"name": "c", "ttl": "50s"}])
        self.assertEqual(self.local.services["web"].service.port, 90)
        self.assertEqual(sorted(self.local.checks), ["c", "service:web"])
        runner: Any = self.local.checks["c"].runner
        self.assertEqual(runner.definition.ttl_s, 50.0)
        self.assertEqual(self.names("services"), [])
        self.assertEqual(self.names("checks"), [file_name("service:web")])
        self.local.stop()

    def test_file_check_of_kept_service(self) -> None:
        """A check in files may be for a service that was registered over HTTP."""
        self.service()
        self.restart(checks=[{"name": "c", "ttl": "50s", "service_id": "web"}])
        self.assertEqual(self.local.checks["c"].check.service_name, "web")
        self.local.stop()

    def test_broken(self) -> None:
        """Files that are none are left out, and the rest comes back."""
        self.service()
        self.check()
        for path in (
            "services/" + "0" * 32, "services/x.tmp", "checks/" + "0" * 32, "checks/y.tmp",
        ):  # fmt: skip
            self.write(path, b'{"broken')
        self.write("checks/" + "1" * 32, {"Check": {"CheckID": "z", "ServiceID": "gone"}, "ChkType": {}})
        self.write(
            "checks/" + "2" * 32,
            {"Check": {"CheckID": "z", "ServiceID": "gone"}, "ChkType": {"TTL": 10**10}},
        )
        self.write("checks/" + "3" * 32, {"x": 1})
        self.restart()
        self.assertEqual((list(self.local.services), list(self.local.checks)), (["web"], ["c"]))
        self.local.stop()

    def test_unreadable(self) -> None:
        """So is one that cannot be read."""
        self.service()

        def fail(path: str, create: bool = False) -> Any:
            raise OSError(5, "Input/output error")

        self.settle()
        self.disk.crash(power_cut=False)
        self.begin()
        self.patch(self.disk, "open", fail)
        self.load()
        self.assertEqual(self.local.services, {})

    def test_scripts_that_are_off_now(self) -> None:
        """A script does not run any more once scripts are off."""
        self.check(args=["true"], ttl=0, interval="24h")
        self.settle()
        self.local.stop()
        self.disk.crash(power_cut=False)
        self.begin()
        self.made = Registrations(self.local, self.clock, Random(1), persistence=self.persistence)
        self.load()
        self.assertEqual(self.local.checks, {})


class StateTests(Base):
    def test_kept(self) -> None:
        """What was reported of a TTL check is good after a restart, for as long as it was."""
        self.check(ttl="100s")
        self.made.update_ttl("c", WARNING, "hm")
        self.settle()
        self.assertEqual(
            self.read("checks/state/" + file_name("c")),
            {"CheckID": "c", "Output": "hm", "Status": WARNING, "Expires": int(WALL) + 100},
        )
        self.wall += 60
        self.restart()
        check = self.local.checks["c"].check
        self.assertEqual((check.status, check.output), (WARNING, "hm"))
        self.clock.advance(39)
        self.assertEqual(self.local.checks["c"].check.status, WARNING)
        self.clock.advance(2)
        self.assertEqual(self.local.checks["c"].check.status, CRITICAL)

    def test_registered(self) -> None:
        """The state that a check was registered with counts as a report."""
        self.check(ttl="100s", status=PASSING)
        self.settle()
        self.wall += 60
        self.restart()
        self.assertEqual(self.local.checks["c"].check.status, PASSING)
        self.clock.advance(41)
        self.assertEqual(self.local.checks["c"].check.status, CRITICAL)

    def test_in_files(self) -> None:
        """That holds for TTL checks of files, too."""
        definition = {"name": "f", "ttl": "100s"}
        self.load(checks=[definition])
        self.made.update_ttl("f", PASSING, "ok")
        self.restart(checks=[definition])
        self.assertEqual(self.local.checks["f"].check.status, PASSING)
        self.local.stop()

    def test_expired(self) -> None:
        """An old report is none."""
        self.check(ttl="100s")
        self.made.update_ttl("c", PASSING, "ok")
        self.settle()
        self.wall += 101
        self.restart()
        self.assertEqual(self.local.checks["c"].check.status, CRITICAL)
        self.local.stop()

    def test_gathered(self) -> None:
        """However often is reported, it is written about once a second; the end writes what waits."""
        self.check()
        for number in range(100):
            self.made.update_ttl("c", PASSING, str(number))
        self.assertEqual(self.names("checks/state"), [])
        self.persistence.close()
        for _ in range(5):
            self.clock.advance(0.01)
        self.assertEqual(self.read("checks/state/" + file_name("c"))["Output"], "99")
        self.persistence.close()
        self.local.stop()

    def test_again(self) -> None:
        """One that is registered again keeps its present state, not the one on the disk."""
        self.check()
        self.made.update_ttl("c", PASSING, "ok")
        self.settle()
        self.local.update_check("c", CRITICAL, "TTL expired")
        self.check(ttl="200s")
        self.assertEqual(self.local.checks["c"].check.status, CRITICAL)
        self.local.stop()

    def test_waiting(self) -> None:
        """A report that is not on the disk yet is known all the same."""
        self.check()
        self.made.update_ttl("c", PASSING, "ok")
        found = self.persistence.state("c")
        assert found is not None
        self.assertEqual((found.status, self.persistence.remaining_s(found)), (PASSING, 100))
        self.local.stop()

    def test_folder_that_cannot_be_made(self) -> None:
        """A report that cannot be kept is no trouble."""

        def fail(path: str) -> None:
            raise OSError(30, "Read-only file system")

        self.check()
        self.patch(self.disk, "make_folder", fail)
        self.persistence = Persistence(self.disk, self.clock, lambda: self.wall)
        self.persistence.save_state("c", PASSING, "", 10.0)
        self.clock.advance(STATES_S)
        self.assertEqual(self.names("checks/state"), [])
        self.local.stop()


class MaintenanceTests(Base):
    def test_node(self) -> None:
        """A critical check with the reason; it lasts over a restart until it is ended."""
        self.maintenance.node(True, "broken disk", "t")
        self.maintenance.node(True, "other", "t")
        kept = self.read("checks/" + file_name("_node_maintenance"))
        self.assertEqual((kept["ChkType"], kept["Source"], kept["Token"]), (None, "local", "t"))
        self.restart()
        check = self.local.checks["_node_maintenance"].check
        self.assertEqual((check.status, check.name), (CRITICAL, "Node Maintenance Mode"))
        self.assertEqual((check.notes, check.type), ("broken disk", "maintenance"))
        self.maintenance.node(False, "", "")
        self.maintenance.node(False, "", "")
        self.assertEqual((self.local.checks, self.names("checks")), ({}, []))

    def test_service(self) -> None:
        """The same for one service; unknown ones are told."""
        self.service()
        self.maintenance.service("web", True, "", "")
        check = self.local.checks["_service_maintenance:web"].check
        self.assertEqual((check.name, check.service_id), ("Service Maintenance Mode", "web"))
        self.assertEqual(check.notes, "Maintenance mode is enabled for this service, but no reason was "
                                      "provided. This is a default message.")  # fmt: skip
        self.restart()
        self.assertIn("_service_maintenance:web", self.local.checks)
        self.made.register_service(ServiceDefinition(name="web", port=1), True)
        self.assertIn("_service_maintenance:web", self.local.checks)
        self.maintenance.service("web", False, "", "")
        self.assertEqual(self.local.checks, {})
        error = self.assertRaises(NotFound, self.maintenance.service, "none", True, "", "")
        self.assertEqual(str(error), 'No service registered with ID "none"')

    def test_without_a_disk(self) -> None:
        """An agent that keeps nothing has maintenance as well."""
        maintenance = Maintenance(self.local)
        maintenance.node(True, "", "")
        self.assertIn("this node", self.local.checks["_node_maintenance"].check.notes)
        maintenance.node(False, "", "")
        self.assertEqual(self.local.checks, {})


class ReapTests(Base):
    def test_reap(self) -> None:
        """A service whose check has been critical for too long goes, with all that was kept of it."""
        self.service(check=CheckDefinition(ttl="50s", deregister_critical_service_after="2m"))
        self.check(name="node", ttl="50s", deregister_critical_service_after="2m")
        self.clock.advance(110)
        self.made.reap()
        self.assertIn("web", self.local.services)
        self.made.update_ttl("service:web", PASSING, "")
        self.clock.advance(60)  # critical again after 50 s
        self.clock.advance(60)
        self.made.reap()
        self.assertIn("web", self.local.services)
        self.clock.advance(61)
        self.made.reap()
        self.assertEqual(self.local.services, {})
        self.assertEqual(list(self.local.checks), ["node"])
        self.assertEqual(self.names("services"), [])
        self.local.stop()

    def test_state_is_kept(self) -> None:
        """To register the check again does not begin the time anew."""
        for _ in range(5):
            self.service(check=CheckDefinition(deregister_critical_service_after="1m", ttl="50s"))
            self.clock.advance(20)
        self.made.reap()
        self.assertEqual(self.local.services, {})

    def test_checks_differ(self) -> None:
        """Without the setting nothing ever goes."""
        self.service(check=replace(CheckDefinition(ttl="50s")))
        self.clock.advance(10_000)
        self.made.reap()
        self.assertIn("web", self.local.services)
