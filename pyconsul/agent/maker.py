"""From a configuration to a running agent: the one function that all ways of starting share.

``pyconsul agent``, ``twistd pyconsul`` and an embedding program all call ``make_agent``.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred

from pyconsul.agent.banner import banner
from pyconsul.agent.environment import Environment, asleep
from pyconsul.agent.garbage import settle
from pyconsul.agent.identity import machine_id, node_id
from pyconsul.agent.keyring import LAN_FILE, WAN_FILE, open_keyring
from pyconsul.agent.listening import HttpService, dns_settings, http_settings, rpc_limits
from pyconsul.agent.notify import Watchdog, notify
from pyconsul.agent.reloading import Settings
from pyconsul.agent.tls import TlsSettings, tls_options
from pyconsul.agent.translation import Translated
from pyconsul.config.schema import AgentConfig
from pyconsul.errors import ConfigurationError, PyconsulError
from pyconsul.log import LOG, Sink, make_logger, normal_level, open_problem
from pyconsul.net.dns_service import DnsService
from pyconsul.net.gossip_transport import UdpTcpGossipTransport, reactor_resolver
from pyconsul.net.peers import AmpNetwork
from pyconsul.net.tls import Tls
from pyconsul.net.tls_files import RealReader
from pyconsul.storage.disk import RealDisk
from pyconsul.swim.timing import WAN

if TYPE_CHECKING:
    from pyconsul.agent.client import ClientAgent
    from pyconsul.agent.server import ServerAgent
    from pyconsul.config.groups import Telemetry
    from pyconsul.swim.keyring import Keyring

HTTP_SETTINGS = ("http_config", "limits.http_max_conns_per_client")
"""What of HTTP may change while the agent runs."""

HAND_OVER_S = 1.0
"""How long a leader that is told to end may take to hand over first."""

log = make_logger("agent")


class Sockets(Service):
    """The sockets between agents. Open before anything uses them, closed after."""

    def __init__(
        self, reactor: Any, config: AgentConfig, gossip: Sequence[UdpTcpGossipTransport], amp: AmpNetwork
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._gossip = gossip
        self._amp = amp
        self._port: Any = None

    def startService(self) -> None:
        """Listen; raises ``CannotListenError``."""
        super().startService()
        for transport in self._gossip:
            transport.start()
        if self._config.server:
            self._port = self._reactor.listenTCP(
                self._config.ports.server, self._amp.make_factory(), interface=self._config.bind_addr
            )

    def stopService(self) -> Deferred[Any]:
        """Close everything."""
        super().stopService()
        closing: list[Deferred[Any]] = [transport.stop() for transport in self._gossip]
        if self._port is not None:
            closing.append(maybeDeferred(self._port.stopListening))
        self._amp.close()
        return DeferredList(closing)


class AgentService(MultiService):
    """A whole agent with its listeners.

    :ivar agent: the role, to be asked in process.
    """

    def __init__(
        self, agent: ServerAgent | ClientAgent, children: Sequence[Service], disk: RealDisk | None
    ) -> None:
        super().__init__()
        self.agent = agent
        self._disk = disk
        self._watchdog = Watchdog(agent.clock)
        for child in children:
            child.setServiceParent(self)

    def startService(self) -> None:
        """Start the children in order: sockets, the role, HTTP, DNS."""
        super().startService()
        notify("READY=1")
        self._watchdog.start()

    def stopService(self) -> Deferred[Any]:
        """Stop everything; the disk comes last, since the log is closed on it."""
        notify("STOPPING=1")
        self._watchdog.stop()
        stopping: Deferred[Any] = maybeDeferred(super().stopService)

        def close_disk(result: Any) -> Any:
            if self._disk is not None:
                self._disk.close()
            return result

        return stopping.addBoth(close_disk)


def make_agent(config: AgentConfig, reactor: Any) -> AgentService:
    """The agent that ``config`` describes, not yet started.

    :raises ConfigurationError: if it cannot be made; nothing is left open then.
    :raises StorageDamaged: if what its data folder holds cannot be used.
    """
    rng = Random(SystemRandom().getrandbits(128))
    data_dir = "" if config.dev and not config.data_dir else config.data_dir
    disk = RealDisk(data_dir, reactor) if data_dir else None
    try:  # nothing is written to the folder before the disk has seen that nobody else uses it
        known_by = "" if config.disable_host_node_id else machine_id()
        identity = node_id(config.node_id, data_dir, rng, known_by)
        return _assemble(config, reactor, rng, identity, disk)
    except BaseException:
        if disk is not None:
            disk.close()
        raise


def _assemble(
    config: AgentConfig, reactor: Any, rng: Random, identity: str, disk: RealDisk | None
) -> AgentService:
    """Put an agent together; ``disk`` is for what it has to keep."""
    tls = Tls(RealReader(), reactor, tls_options(config))
    host = config.serf_lan or config.bind_addr
    gossip = UdpTcpGossipTransport(reactor, host, config.ports.serf_lan, tls=tls)
    wan: UdpTcpGossipTransport | None = None
    if config.server and config.ports.serf_wan >= 0:
        wan_host = config.serf_wan or config.bind_addr
        wan = UdpTcpGossipTransport(reactor, wan_host, config.ports.serf_wan, WAN.tcp_timeout_s, tls)
    amp = AmpNetwork(reactor, identity if config.server else "", rpc_limits(config), tls)
    environment = Environment(
        clock=reactor,
        rng=rng,
        wall_time=time.time,
        rpc_transport=amp,
        gossip_transport=gossip,
        raft_transport=amp,
        disk=disk,
        wan_transport=wan,
        tls=tls,
        stay_awake=getattr(reactor, "stay_awake", asleep),
    )
    in_file = not config.disable_keyring_file
    keyring = open_keyring(disk, LAN_FILE, config.encrypt, in_file)
    agent: ServerAgent | ClientAgent
    if config.server:
        wan_keyring = None if wan is None else open_keyring(disk, WAN_FILE, config.encrypt, in_file)
        agent = _server(config, environment, identity, keyring, wan_keyring)
    else:
        from pyconsul.agent.client import ClientAgent

        agent = ClientAgent(config, environment, identity, keyring, reactor_resolver(reactor))
    if not config.disable_remote_exec:
        from pyconsul.agent.executing import RemoteExecution

        agent.events.remote_exec = RemoteExecution(agent.node_name, agent.datacenter, agent.ask, reactor)
    agent.reloading.parts.append(
        Settings(["limits.rpc_max_conns_per_client"], lambda new: amp.configure(rpc_limits(new)))
    )
    amp.datacenter_of = agent.datacenter_of

    def tls_changed() -> None:
        amp.tls_changed()
        agent.tls_changed()

    tls_settings = TlsSettings(tls, environment.wall_time, tls_changed)
    tls_settings.warn()
    agent.reloading.parts.append(tls_settings)
    transports = [gossip] if wan is None else [gossip, wan]
    sinks = _sinks(config.telemetry, agent.telemetry.prefix, reactor)
    agent.telemetry.sinks += [sink.push for sink in sinks]
    children: list[Any] = [Sockets(reactor, config, transports, amp), agent, *sinks]
    return AgentService(agent, children + _interfaces(agent, config, reactor, rng, tls), disk)


def _sinks(settings: Telemetry, prefix: str, reactor: Any) -> Sequence[Any]:
    """What metrics are sent to; few send any, and what connects to a statsite takes long to load."""
    if not (settings.statsd_address or settings.statsite_address or settings.dogstatsd_addr):
        return ()
    from pyconsul.agent.metric_sinks import make_sinks

    return make_sinks(settings, prefix, reactor)


def _server(
    config: AgentConfig,
    environment: Environment,
    identity: str,
    keyring: Keyring | None,
    wan_keyring: Keyring | None,
) -> ServerAgent:
    """A server; a client agent never loads what it is made of."""
    from pyconsul.agent.server import ServerAgent
    from pyconsul.storage.memory import MemoryStorage
    from pyconsul.storage.raft_storage import SegmentedStorage

    disk = environment.disk
    storage = MemoryStorage() if disk is None else SegmentedStorage(disk, environment.rng)
    resolver = reactor_resolver(environment.clock)
    agent = ServerAgent(config, environment, identity, storage, keyring, resolver, wan_keyring)
    if isinstance(storage, SegmentedStorage):
        for note in (*storage.notes, *agent.raft.notes):  # of what was found
            log.warn("{note}", note=note)
    return agent


def _interfaces(
    agent: ServerAgent | ClientAgent, config: AgentConfig, reactor: Any, rng: Random, tls: Tls
) -> list[Any]:
    """HTTP, HTTPS and DNS, which take over what they can of a new configuration."""
    made: list[Any] = []
    parts = agent.reloading.parts
    if config.ports.http >= 0 or config.ports.https >= 0 or config.watches:
        http = HttpService(agent, config, reactor, tls)
        made.append(http)
        parts.append(
            Settings(HTTP_SETTINGS, lambda new: http.site.surface.configure(http_settings(new)))
        )
    if config.ports.dns >= 0:
        asked = (
            Translated(agent, config.datacenter, for_names=True) if config.translate_wan_addrs else agent
        )
        dns = DnsService(asked, dns_settings(config), reactor, reactor, rng, time.time)
        made.append(dns)
        agent.telemetry.timings.append(dns.timings.named)
        parts.append(Settings(["dns_config", "recursors"], lambda new: dns.configure(dns_settings(new))))
    return made


# ---------------------------------------------------------------- as a process of its own


class _Run:
    """One run of ``pyconsul agent``: signals, the reactor, the exit status."""

    def __init__(self, config: AgentConfig, reactor: Any) -> None:
        self._config = config
        self._reactor = reactor
        self._status = 1
        self._leaving = False
        self._ended = False
        self.service = make_agent(config, reactor)

    def run(self) -> int:
        agent = self.service.agent
        agent.left.addCallback(lambda _: self._end(0))
        for joining in agent.joins:
            joining.gave_up = lambda: self._end(1)
        agent.name_lost = self._name_lost
        self._reactor.callWhenRunning(self._start)
        self._reactor.addSystemEventTrigger("before", "shutdown", self.service.stopService)
        self._reactor.run()  # with its handlers, or it would not hear of all children that end
        return self._status

    def _start(self) -> None:
        for name, leaves in (
            ("SIGINT", self._leaves_on_interrupt()),
            ("SIGTERM", self._leaves_on_terminate()),
        ):
            self._on_signal(name, partial(self._signalled, name, leaves))
        self._on_signal("SIGHUP", self._reload)
        try:
            self.service.startService()
        except Exception as error:
            print(f"==> Failed to start the agent: {error}", file=sys.stderr, flush=True)
            self._end(1)
            return
        if not self._config.log_json:
            print("==> Consul agent running!", flush=True)
        settle()

    def _name_lost(self) -> None:
        log.error(
            "another node is known by the name {name}: give this one its own (-node)",
            name=self._config.node_name,
        )
        self._end(1)

    def _on_signal(self, name: str, action: Callable[[], None]) -> None:
        """Have ``action`` called by the reactor; a signal may come at any moment."""
        signal.signal(getattr(signal, name), lambda number, frame: self._reactor.callFromThread(action))

    def _reload(self) -> None:
        log.info("Caught: signal=hangup")
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        with suppress(PyconsulError):  # the log says what is wrong, and the agent goes on as it was
            self.service.agent.reload()
        notify("READY=1")

    def _leaves_on_interrupt(self) -> bool:
        skip = self._config.skip_leave_on_interrupt
        return not (self._config.server if skip is None else skip)

    def _leaves_on_terminate(self) -> bool:
        leave = self._config.leave_on_terminate
        return (not self._config.server) if leave is None else leave

    def _signalled(self, name: str, leaves: bool) -> None:
        log.info("Caught: signal={name}", name=name)
        if self._leaving:
            self._end(1)
            return
        self._leaving = True
        if leaves:
            log.info("Gracefully shutting down agent...")
            self.service.agent.leave()
            return
        # Consul's leader just goes, and the others wait until they miss it.
        self.service.agent.hand_over().addBoth(lambda _: self._end(1))
        self._reactor.callLater(HAND_OVER_S, self._end, 1)

    def _end(self, status: int) -> None:
        """Stop the reactor; the first reason to do so tells the exit status."""
        if self._ended:
            return
        self._ended = True
        self._status = status
        log.info("Exit code", code=status)
        if self._reactor.running:
            self._reactor.stop()


def run(config: AgentConfig, sinks: Sequence[Sink] = ()) -> int:
    """Run an agent until a signal ends it; returns the exit status.

    :param sinks: where its log goes, for a change of level on a reload.
    """
    from twisted.internet import reactor

    try:
        runner = _Run(config, reactor)
    except (PyconsulError, OSError) as error:
        print(f"==> {error}", file=sys.stderr)
        return 1
    agent = runner.service.agent
    agent.reloading.parts.append(
        Settings(["log_level"], lambda new: LOG.set_level(normal_level(new.log_level), *sinks))
    )
    if not config.log_json:  # who wants JSON gets nothing else
        print(banner(config, agent.node_id, agent.pool.keyring is not None), flush=True)
    for warning in config.warnings:
        log.warn("{text}", text=warning)
    if config.pid_file:
        try:
            with open(config.pid_file, "w", encoding="ascii") as file:
                file.write(str(os.getpid()))
        except OSError as error:
            log.error("Error starting agent", error=f"Could not open pid file: {open_problem(error)}")
            log.info("Exit code", code=1)
            return 1
    try:
        return runner.run()
    finally:
        if config.pid_file:
            with suppress(OSError):
                os.unlink(config.pid_file)


__all__ = ["AgentService", "ConfigurationError", "make_agent", "run"]
