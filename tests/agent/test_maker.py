"""From a configuration to a running agent."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import treq
from twisted.internet import reactor as real_reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pyconsul.agent import maker as module
from pyconsul.agent.client import ClientAgent
from pyconsul.agent.executing import RemoteExecution
from pyconsul.agent.identity import NODE_ID_FILE
from pyconsul.agent.listening import HttpService, dns_settings, http_settings
from pyconsul.agent.maker import HAND_OVER_S, AgentService, Sockets, make_agent, run
from pyconsul.agent.reloading import Part
from pyconsul.agent.server import ServerAgent
from pyconsul.config.groups import Addresses, DnsConfig, HttpConfig, Limits, Ports
from pyconsul.config.schema import AgentConfig
from pyconsul.config.setting import declared, replaced
from pyconsul.config.sources import Sources
from pyconsul.errors import ConfigurationError, PyconsulError, StorageDamaged
from pyconsul.log import LOG, Sink
from pyconsul.storage import raft_storage
from tests.checks.certificates import Authority

ID = "0e243a1c-1e48-7a28-0dfb-191c86364e28"

SOME = {
    "tls_cipher_suites": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "tls_min_version": "tls13",
}
"""Values of settings that cannot have any."""


class Port:
    """A listening port that notes its end."""

    def __init__(self, reactor: Reactor, name: str, number: int) -> None:
        self._reactor = reactor
        self.name = name
        self._number = number

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", self._number or 40_000)

    def stopListening(self) -> None:
        self._reactor.log.append(f"stop {self.name}")


class Reactor(MemoryReactorClock):
    """Listens nowhere, but notes on what it was asked to; ``taken`` ports are in use.

    :ivar during: called while it "runs".
    """

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []
        self.taken: set[str] = set()
        self.during: Callable[[], None] = lambda: None
        self.stops = 0

    def _listen(self, kind: str, where: str, number: int) -> Port:
        name = f"{kind} {where}"
        if name in self.taken:
            raise CannotListenError(where, number, "in use")
        self.log.append(name)
        return Port(self, name, number)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        return self._listen("tcp", f"{interface}:{port}", port)

    def listenUDP(self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192) -> Any:
        return self._listen("udp", f"{interface}:{port}", port)

    def listenUNIX(self, address: str, factory: Any, *more: Any, **options: Any) -> Any:
        return self._listen("unix", address, 0)

    def callFromThread(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.callLater(0, call, *arguments)

    def stop(self) -> None:
        assert self.running and not self.stops, "a reactor stops once"
        self.stops += 1

    def run(self, installSignalHandlers: bool = True) -> None:
        assert installSignalHandlers  # those for children are needed
        self.running = True
        for hook, arguments, more in self.whenRunningHooks:
            hook(*arguments, **more)
        self.advance(0)
        self.during()
        self.advance(0)
        for hook, arguments, more in self.triggers["before"]["shutdown"]:
            hook(*arguments, **more)
        self.running = False


def config(**more: Any) -> AgentConfig:
    facts: dict[str, Any] = {
        "dev": True,
        "node_name": "n1",
        "node_id": ID,
        "server": True,
        "bind_addr": "127.0.0.1",
        "advertise_addr": "127.0.0.1",
    }
    return AgentConfig(**(facts | more))


ONLY_SERVERS = {"raft_snapshot_threshold", "raft_snapshot_interval", "raft_trailing_logs"}
ONLY_CLIENTS = {"limits.rpc_rate", "limits.rpc_max_burst"}


class MakeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()

    def make(self, **more: Any) -> AgentService:
        return make_agent(config(**more), self.reactor)

    def test_dev_server(self) -> None:
        """Nothing is opened before the start; then sockets, HTTP and DNS, each where it belongs."""
        service = self.make()
        self.assertEqual((self.reactor.log, self.reactor.getDelayedCalls()), ([], []))
        self.assertIsInstance(service.agent, ServerAgent)
        self.assertEqual(service.agent.node_id, ID)
        service.startService()
        self.assertEqual(
            self.reactor.log,
            [
                "tcp 127.0.0.1:8301",
                "udp 127.0.0.1:8301",
                "tcp 127.0.0.1:8302",
                "udp 127.0.0.1:8302",
                "tcp 127.0.0.1:8300",
                "tcp 127.0.0.1:8500",
                "udp 127.0.0.1:8600",
                "tcp 127.0.0.1:8600",
            ],
        )
        opened = set(self.reactor.log)
        self.reactor.log.clear()
        self.reactor.pump([0.05] * 40)
        assert isinstance(service.agent, ServerAgent)
        self.assertTrue(service.agent.raft.ready)
        self.successResultOf(service.stopService())
        self.assertEqual({line.removeprefix("stop ") for line in self.reactor.log}, opened)
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_client(self) -> None:
        """A client serves no calls, and takes part in no consensus."""
        service = self.make(server=False, dev=False, data_dir=self.mktemp())
        self.assertIsInstance(service.agent, ClientAgent)
        service.startService()
        self.assertNotIn("tcp 127.0.0.1:8300", self.reactor.log)
        self.successResultOf(service.stopService())
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_remote_execution(self) -> None:
        """Only with it allowed is there something that runs commands, in both roles."""
        for role in ({}, {"server": False, "dev": False}):
            for disabled in (True, False):
                more = {"data_dir": self.mktemp()} if role else {}
                agent = self.make(**role, **more, disable_remote_exec=disabled).agent
                self.assertEqual(isinstance(agent.events.remote_exec, RemoteExecution), not disabled)

    def concerns(self, part: Part, old: AgentConfig, new: AgentConfig) -> bool:
        """Whether a part has something to do with a change, be it that it objects."""
        try:
            return bool(part.changes(old, new))
        except ConfigurationError:
            return True

    def test_every_reloadable_setting_is_taken_over(self) -> None:
        """Some part of the agent is concerned by each; those of log and metrics come with the process."""
        elsewhere = {"log_level"}
        for role in ({}, {"server": False, "dev": False}):
            agent = self.make(**role, data_dir=self.mktemp()).agent
            old = agent.config
            for item in declared(old):
                if not item.setting.reload or item.setting.idle or item.path in elsewhere:
                    continue
                if item.path.startswith("telemetry.") or item.path in ("services", "checks", "watches"):
                    continue
                other = {bool: not item.default, str: "x", tuple: ("192.0.2.9",), dict: {"x": "1"}}
                value = SOME.get(item.path, other.get(type(item.default), 77))
                new = replaced(old, {item.path: value})
                concerned = [part for part in agent.reloading.parts if self.concerns(part, old, new)]
                if item.path in ONLY_SERVERS and role or item.path in ONLY_CLIENTS and not role:
                    self.assertEqual(concerned, [], item.path)
                else:
                    self.assertEqual(len(concerned), 1, item.path)

    def test_new_certificates(self) -> None:
        """The others hear that this agent takes TLS from now on, in both pools."""
        agent = self.make(data_dir=self.mktemp()).agent
        assert isinstance(agent, ServerAgent)
        assert agent.federation.wan is not None
        pools = agent.pool, agent.federation.wan.pool
        self.assertEqual([pool.tags.get("gossip_tls") for pool in pools], [None, None])
        folder = Path(os.path.abspath(self.mktemp()))
        authority = Authority()
        cert, key = authority.write(folder, "server.dc1.consul")
        (folder / "ca.pem").write_bytes(authority.pem())
        new = replaced(
            agent.config, {"ca_file": str(folder / "ca.pem"), "cert_file": str(cert), "key_file": str(key)}
        )
        for part in agent.reloading.parts:
            if part.changes(agent.config, new):
                part.apply(agent.config, new)
        self.assertEqual([pool.tags["gossip_tls"] for pool in pools], ["1", "1"])
        self.assertEqual([pool.tags["use_tls"] for pool in pools], ["1", "1"])

    def test_new_limits(self) -> None:
        """Raft's snapshots and the server port take over theirs."""
        agent = self.make(data_dir=self.mktemp()).agent
        assert isinstance(agent, ServerAgent)
        old = agent.config
        snapshots = {"raft_snapshot_threshold": 5, "raft_trailing_logs": 6}
        new = replaced(old, {**snapshots, "limits.rpc_max_conns_per_client": 7})
        for part in agent.reloading.parts:
            if part.changes(old, new):
                part.apply(old, new)
        assert agent.raft.policy is not None
        settings = agent.raft.policy.settings
        self.assertEqual((settings.threshold, settings.trailing_logs), (5, 6))
        network: Any = agent.environment.rpc_transport
        self.assertEqual(network._limits.connections_per_client_max, 7)

    def test_new_settings(self) -> None:
        """HTTP and DNS take over what may change while they run."""
        service = self.make()
        old = service.agent.config
        new = replaced(old, {"limits.http_max_conns_per_client": 7, "dns_config.only_passing": True})
        for part in service.agent.reloading.parts:
            if part.changes(old, new):
                part.apply(old, new)
        http, dns = list(service)[-2:]
        self.assertEqual(http.site.surface.settings.connections_per_client_max, 7)
        self.assertTrue(dns.names.responder.settings.only_passing)

    def test_where_it_listens(self) -> None:
        """Addresses and ports are settings; a port of -1 turns a listener off."""
        service = self.make(
            serf_lan="127.0.0.2",
            serf_wan="127.0.0.6",
            client_addr=("127.0.0.3", "127.0.0.4"),
            addresses=Addresses(http=("unix:///run/x.sock", "127.0.0.5")),
            ports=Ports(http=1, dns=2, server=3, serf_lan=4, serf_wan=5),
        )
        service.startService()
        self.assertEqual(
            self.reactor.log,
            [
                "tcp 127.0.0.2:4",
                "udp 127.0.0.2:4",
                "tcp 127.0.0.6:5",
                "udp 127.0.0.6:5",
                "tcp 127.0.0.1:3",
                "unix /run/x.sock",
                "tcp 127.0.0.5:1",
                "udp 127.0.0.3:2",
                "tcp 127.0.0.3:2",
                "udp 127.0.0.4:2",
                "tcp 127.0.0.4:2",
            ],
        )
        service.stopService()
        off = self.make(ports=Ports(http=-1, dns=-1, serf_wan=-1))
        self.assertEqual([type(child) for child in off], [Sockets, ServerAgent])
        self.assertIsNone(off.agent.wan_members())

    def test_data_folder(self) -> None:
        """A server keeps its id and its log there; only one agent may use it, until that is ended."""
        folder = self.mktemp()
        service = self.make(dev=False, node_id="", data_dir=folder, bootstrap=True)
        self.assertIn(NODE_ID_FILE, os.listdir(folder))
        self.assertRaises(ConfigurationError, self.make, dev=False, data_dir=folder)
        service.stopService()
        again = self.make(dev=False, node_id="", data_dir=folder)
        self.assertEqual(again.agent.node_id, service.agent.node_id)
        again.stopService()

    def test_nothing_is_left_open(self) -> None:
        """If an agent cannot be made its data folder is free again."""
        folder = self.mktemp()
        for wrong in ("x", "AAAA"):
            self.assertRaises(PyconsulError, self.make, dev=False, data_dir=folder, encrypt=wrong)
        self.make(dev=False, data_dir=folder).stopService()

    def test_damage(self) -> None:
        """A log without its term is refused, whoever may be to blame; and again nothing is left."""
        folder = self.mktemp()
        self.make(dev=False, data_dir=folder).stopService()
        (state,) = [name for name in os.listdir(os.path.join(folder, "raft")) if "state" in name]
        with open(os.path.join(folder, "raft", state), "wb") as file:
            file.write(b"junk")
        for _ in range(2):
            self.assertRaises(StorageDamaged, self.make, dev=False, data_dir=folder)

    def test_notes_of_the_log(self) -> None:
        """What recovery had to mend is said."""
        found: list[str] = []

        class Storage(raft_storage.SegmentedStorage):
            def recover(self) -> Any:
                recovered = super().recover()
                self.notes = ["cut the last entry"]
                return recovered

        class Log:
            def warn(self, text: str, **fields: Any) -> None:
                found.append(text.format(**fields))

        self.patch(raft_storage, "SegmentedStorage", Storage)
        self.patch(module, "log", Log())
        self.make(dev=False, data_dir=self.mktemp()).stopService()
        self.assertEqual(found, ["cut the last entry"])

    def test_systemd(self) -> None:
        """systemd is told when the agent is ready, and when it ends."""
        told: list[str] = []
        self.patch(module, "notify", told.append)
        service = self.make()
        service.startService()
        self.assertEqual(told, ["READY=1"])
        service.stopService()
        self.assertEqual(told, ["READY=1", "STOPPING=1"])

    def test_a_port_is_taken(self) -> None:
        """Whatever of it was started can be stopped."""
        tcp = [f"tcp 127.0.0.1:{port}" for port in (8301, 8302, 8300, 8500)]
        for taken in (*tcp, "udp 127.0.0.1:8600"):
            self.reactor = Reactor()
            self.reactor.taken.add(taken)
            service = self.make()
            self.assertRaises(CannotListenError, service.startService)
            opened = set(self.reactor.log)
            self.reactor.log.clear()
            self.successResultOf(service.stopService())
            self.assertEqual({line.removeprefix("stop ") for line in self.reactor.log}, opened)
            self.reactor.advance(0)
            self.assertEqual(self.reactor.getDelayedCalls(), [])


class SettingsTests(SynchronousTestCase):
    def test_http(self) -> None:
        """What HTTP needs of the configuration."""
        made = http_settings(
            config(
                ui=True,
                http_config=HttpConfig(response_headers={"X-A": "b"}, block_endpoints=("/v1/agent",)),
                limits=Limits(kv_max_value_size=7, txn_max_req_len=8, http_max_conns_per_client=9),
            )
        )
        self.assertEqual((made.node_name, made.datacenter, made.always_pretty), ("n1", "dc1", True))
        self.assertEqual((made.response_headers, made.block_endpoints), ({"X-A": "b"}, ("/v1/agent",)))
        self.assertEqual((made.kv_value_bytes_max, made.txn_bytes_max), (7, 8))
        self.assertEqual((made.connections_per_client_max, made.ui), (9, True))
        self.assertFalse(http_settings(config(dev=False)).always_pretty)

    def test_dns(self) -> None:
        """What DNS needs of it."""
        made = dns_settings(
            config(dns_config=DnsConfig(service_ttl={"*": 5.0}, node_ttl=3.0), recursors=("192.0.2.1",))
        )
        self.assertEqual((made.node_ttl_s, made.service_ttl_s), (3, {"*": 5}))
        self.assertEqual((made.addresses, made.port, made.domain), (("127.0.0.1",), 8600, "consul."))
        self.assertEqual(made.recursors, ("192.0.2.1",))
        elsewhere = dns_settings(config(addresses=Addresses(dns=("127.0.0.9",))))
        self.assertEqual(elsewhere.addresses, ("127.0.0.9",))


class RunTests(SynchronousTestCase):
    """``pyconsul agent``: what ends it, and with which status."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.handlers: dict[int, Callable[[int, Any], Any]] = {}
        self.patch(signal, "signal", lambda number, handler: self.handlers.update({number: handler}))
        self.patch(sys.modules["twisted.internet"], "reactor", self.reactor)
        self.settled = 0
        self.patch(module, "settle", self.settle)
        self.out, self.err = StringIO(), StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)

    def settle(self) -> None:
        self.settled += 1

    def signal(self, *numbers: int) -> None:
        """Signals come while the agent runs, one after another."""

        def send() -> None:
            for number in numbers:
                self.handlers[number](number, None)
                self.reactor.advance(0)

        self.reactor.during = send

    def run_agent(self, **more: Any) -> int:
        return run(config(**more))

    def test_output(self) -> None:
        """The banner, warnings in the log, and that it runs."""
        lines = self.logged("WARN")
        self.run_agent(warnings=("something is odd",))
        shown = self.out.getvalue().splitlines()
        self.assertEqual((shown[0], shown[-1]), ("==> Starting Consul agent...", "==> Consul agent running!"))
        self.assertEqual(self.settled, 1)
        self.assertEqual(self.err.getvalue(), "")
        self.assertIn("[WARN]  agent: something is odd", lines[0])

    def test_output_for_programs(self) -> None:
        """Where the log is JSON, nothing else is printed."""
        self.run_agent(log_json=True)
        self.assertEqual((self.out.getvalue(), self.err.getvalue()), ("", ""))

    def logged(self, level: str) -> list[str]:
        """The lines of the log, from now on."""
        lines: list[str] = []
        sink = Sink(level, lines.append)
        LOG.add(sink)
        self.addCleanup(LOG.remove, sink)
        return lines

    def test_signals(self) -> None:
        """Which signals let which role leave; only leaving is a success."""
        for number, more, status in (
            (signal.SIGINT, {"server": True}, 1),
            (signal.SIGTERM, {"server": True}, 1),
            (signal.SIGINT, {"server": False}, 0),
            (signal.SIGTERM, {"server": False}, 0),
            (signal.SIGINT, {"server": True, "skip_leave_on_interrupt": False}, 0),
            (signal.SIGTERM, {"server": True, "leave_on_terminate": True}, 0),
            (signal.SIGINT, {"server": False, "skip_leave_on_interrupt": True}, 1),
            (signal.SIGTERM, {"server": False, "leave_on_terminate": False}, 1),
        ):
            self.reactor = Reactor()
            self.patch(sys.modules["twisted.internet"], "reactor", self.reactor)
            self.signal(number)
            self.assertEqual(self.run_agent(**more), status, (number, more))
            self.assertEqual(self.reactor.stops, 1)

    def test_second_signal(self) -> None:
        """While it leaves, another signal ends it at once, and that is no success."""
        stuck: Deferred[None] = Deferred()
        self.patch(ClientAgent, "_leave", lambda agent: stuck)

        def send() -> None:
            self.handlers[signal.SIGINT](signal.SIGINT, None)
            self.reactor.advance(0)
            self.assertEqual(self.reactor.stops, 0)
            self.handlers[signal.SIGINT](signal.SIGINT, None)
            self.reactor.advance(0)
            self.assertEqual(self.reactor.stops, 1)
            stuck.callback(None)  # it could leave after all, but too late
            self.handlers[signal.SIGINT](signal.SIGINT, None)

        self.reactor.during = send
        self.assertEqual(self.run_agent(server=False), 1)

    def test_hands_over_first(self) -> None:
        """A server that ends without leaving may hand over, if that is soon done; or a signal is enough."""
        waits = []

        def hand_over(agent: ServerAgent) -> Deferred[None]:
            waits.append(Deferred[None]())
            return waits[-1]

        self.patch(ServerAgent, "hand_over", hand_over)

        def second_signal() -> None:
            self.handlers[signal.SIGTERM](signal.SIGTERM, None)
            self.reactor.advance(0)

        for ends in (
            lambda: waits[-1].callback(None),
            lambda: self.reactor.advance(HAND_OVER_S),
            second_signal,
        ):
            self.reactor = Reactor()
            self.patch(sys.modules["twisted.internet"], "reactor", self.reactor)

            def during(ends: Callable[[], object] = ends) -> None:
                self.handlers[signal.SIGTERM](signal.SIGTERM, None)
                self.reactor.advance(0)
                self.assertEqual(self.reactor.stops, 0)
                ends()
                self.assertEqual(self.reactor.stops, 1)

            self.reactor.during = during
            self.assertEqual(self.run_agent(server=True), 1)

    def test_hang_up(self) -> None:
        """SIGHUP is no reason to end, also if there is nothing to be read again, or it is wrong."""
        told: list[str] = []
        self.patch(module, "notify", told.append)
        self.signal(signal.SIGHUP)
        self.run_agent()
        self.assertEqual(self.reactor.stops, 0)
        reloading = next(
            at for at, state in enumerate(told) if state.startswith("RELOADING=1\nMONOTONIC_USEC=")
        )
        self.assertEqual(told[reloading + 1], "READY=1")

    def test_log_level(self) -> None:
        """A reload changes the level of the sinks that the agent was given."""
        levels: list[tuple[str, tuple[Sink, ...]]] = []
        sink = Sink("INFO", lambda line: None)
        self.patch(LOG, "set_level", lambda level, *sinks: levels.append((level, sinks)))

        def files(sources: Sources) -> AgentConfig:
            return replaced(config(), {"log_level": "warn"})

        made: list[AgentService] = []
        make = module.make_agent

        def noting(*arguments: Any) -> AgentService:
            made.append(make(*arguments))
            made[-1].agent.reloading._read = files
            return made[-1]

        self.patch(module, "make_agent", noting)
        self.signal(signal.SIGHUP)
        run(config(sources=Sources()), [sink])
        self.assertEqual(levels, [("WARN", (sink,))])

    def test_cannot_start(self) -> None:
        """A port that is taken is told in a line, and ends the agent."""
        self.reactor.taken.add("tcp 127.0.0.1:8500")
        self.assertEqual(self.run_agent(), 1)
        self.assertIn("==> Failed to start the agent: Couldn't listen on ", self.err.getvalue())
        self.assertNotIn("running", self.out.getvalue())
        self.assertEqual(self.settled, 0)
        self.assertEqual(self.reactor.stops, 1)

    def test_cannot_be_made(self) -> None:
        """A wrong setting, or a folder that cannot be used, is told in a line as well."""
        self.assertEqual(self.run_agent(node_id="x"), 1)
        self.assertEqual(
            self.err.getvalue(),
            "==> failed to setup node ID: specified NodeID is invalid: uuid string is wrong length\n",
        )
        self.err.truncate(0)
        file = self.mktemp()
        with open(file, "w"):
            pass
        self.assertEqual(self.run_agent(dev=False, data_dir=os.path.join(file, "below")), 1)
        self.assertIn("==> ", self.err.getvalue())
        self.assertNotIn("Traceback", self.err.getvalue())

    def test_nobody_lets_it_in(self) -> None:
        """After ``retry_max`` attempts it ends."""
        service = make_agent(config(server=False, retry_join=("127.0.0.9",), retry_max=1), self.reactor)
        self.patch(module, "make_agent", lambda config, reactor: service)

        def give_up() -> None:
            service.agent.joining.gave_up()

        self.reactor.during = give_up
        self.assertEqual(self.run_agent(server=False), 1)
        self.assertEqual(self.reactor.stops, 1)

    def test_pid_file(self) -> None:
        """It holds the process's id while that runs; somebody may have removed it."""
        path = self.mktemp()

        def look() -> None:
            with open(path) as file:
                self.assertEqual(file.read(), str(os.getpid()))

        self.reactor.during = look
        self.run_agent(pid_file=path)
        self.assertFalse(os.path.exists(path))
        self.reactor = Reactor()
        self.patch(sys.modules["twisted.internet"], "reactor", self.reactor)
        self.reactor.during = lambda: os.unlink(path)
        self.run_agent(pid_file=path)
        lines = self.logged("INFO")
        self.assertEqual(self.run_agent(pid_file="/nonexistent/pid"), 1)
        why = "Could not open pid file: open /nonexistent/pid: no such file or directory"
        self.assertIn(f'[ERROR] agent: Error starting agent: error="{why}"', "".join(lines))
        self.assertIn("agent: Exit code: code=1", lines[-1])


class RealTests(TestCase):
    """On the real reactor, with real sockets."""

    async def test_unix_socket(self) -> None:
        """It is there as the umask wants it while the agent runs, and gone afterwards."""
        path = f"{os.getpid()}-http.sock"
        ports = Ports(http=0, dns=-1, server=0, serf_lan=0, serf_wan=0)
        addresses = Addresses(http=("unix://" + path,))
        service = make_agent(config(ports=ports, addresses=addresses), real_reactor)
        before = os.umask(0o022)
        self.addCleanup(os.umask, before)
        service.startService()
        try:
            found = os.stat(path)
        finally:
            await service.stopService()
        self.assertEqual((stat.S_ISSOCK(found.st_mode), stat.S_IMODE(found.st_mode)), (True, 0o755))
        self.assertFalse(os.path.exists(path))

    def test_serves(self) -> Deferred[None]:
        """A -dev agent answers over HTTP, and ends without leaving anything behind."""
        ports = Ports(http=0, dns=0, server=0, serf_lan=0, serf_wan=0)
        service = make_agent(config(ports=ports), real_reactor)
        service.startService()
        (http,) = [child for child in service if isinstance(child, HttpService)]
        number = http._ports[0].getHost().port

        async def ask(method: str, path: str, body: str = "") -> tuple[int, bytes]:
            url = f"http://127.0.0.1:{number}/v1/{path}"
            response = await treq.request(method, url, data=body.encode(), persistent=False)
            return response.code, (await treq.content(response)).strip()

        async def story() -> None:
            try:
                self.assertEqual(await ask("GET", "status/leader"), (200, b'"127.0.0.1:0"'))
                web = '{"Name": "web", "Port": 80, "Check": {"TTL": "1m"}}'
                for path, text in (
                    ("service/register", web),
                    ("check/register", '{"Name": "disk", "TTL": "1m"}'),
                    ("check/pass/service:web?note=fine", ""),
                    ("check/deregister/disk", ""),
                ):
                    self.assertEqual(await ask("PUT", f"agent/{path}", text), (200, b""))
                self.assertIn(b'"Port": 80', (await ask("GET", "agent/services"))[1])
                checks = (await ask("GET", "agent/checks"))[1]
                self.assertIn(b'"Output": "fine"', checks)
                self.assertNotIn(b"disk", checks)
                self.assertEqual(await ask("PUT", "agent/service/deregister/web"), (200, b""))
                self.assertEqual(await ask("GET", "agent/checks"), (200, b"{}"))
                self.assertIn(b'"NodeName": "n1"', (await ask("GET", "agent/self"))[1])
                self.assertIn(b'"Status": 1', (await ask("GET", "agent/members"))[1])
                status, reason = await ask("PUT", "agent/join/127.0.0.1:1")
                self.assertEqual(status, 500)
                self.assertIn(b"1 error occurred:\n\t* Failed to join 127.0.0.1: ", reason)
                self.assertEqual(
                    await ask("PUT", "agent/force-leave/x"), (500, b"agent: No node found with name 'x'")
                )
                self.assertEqual(await ask("PUT", "agent/leave"), (200, b""))
                self.assertTrue(service.agent.left.called)
            finally:
                await service.stopService()

        leader: Deferred[None] = Deferred()

        def wait() -> None:
            assert isinstance(service.agent, ServerAgent)
            if service.agent.raft.ready:
                leader.callback(None)
            else:
                real_reactor.callLater(0.01, wait)

        wait()
        return leader.addCallback(lambda _: Deferred.fromCoroutine(story()))
