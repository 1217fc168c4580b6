"""The interfaces for clients: how HTTP and DNS are set up from the configuration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred

from pyconsul.agent.base import BaseAgent
from pyconsul.agent.translation import Translated
from pyconsul.agent.unix_sockets import UnixListener
from pyconsul.agent.watching import Watching
from pyconsul.config.schema import AgentConfig
from pyconsul.dns.settings import DnsSettings, Soa
from pyconsul.http import agent as agent_routes
from pyconsul.http.app import make_site
from pyconsul.http.routes import App
from pyconsul.http.settings import HttpSettings
from pyconsul.log import make_logger
from pyconsul.net.bounded_lines import BoundedLines
from pyconsul.net.entrance import RpcLimits
from pyconsul.net.tls import Tls

UNIX_PREFIX = "unix://"


def http_settings(config: AgentConfig) -> HttpSettings:
    """The part of the configuration that HTTP needs."""
    return HttpSettings(
        response_headers=config.http_config.response_headers,
        block_endpoints=config.http_config.block_endpoints,
        allow_write_from=config.http_config.allow_write_http_from,
        node_name=config.node_name,
        datacenter=config.datacenter,
        always_pretty=config.dev,
        translate_wan_addrs=config.translate_wan_addrs,
        ui=config.ui,
        allow_unprintable=config.disable_http_unprintable_char_filter,
        kv_value_bytes_max=config.limits.kv_max_value_size,
        txn_bytes_max=config.limits.txn_max_req_len,
        connections_per_client_max=config.limits.http_max_conns_per_client,
    )


def dns_settings(config: AgentConfig) -> DnsSettings:
    """The part of the configuration that DNS needs."""
    dns = config.dns_config
    soa = dns.soa
    return DnsSettings(
        datacenter=config.datacenter,
        node_name=config.node_name,
        domain=config.domain,
        alt_domain=config.alt_domain,
        addresses=config.addresses.dns or config.client_addr,
        port=config.ports.dns,
        allow_stale=dns.allow_stale,
        max_stale_s=dns.max_stale,
        node_ttl_s=int(dns.node_ttl),
        service_ttl_s={name: int(ttl_s) for name, ttl_s in dns.service_ttl.items()},
        only_passing=dns.only_passing,
        enable_truncate=dns.enable_truncate,
        disable_compression=dns.disable_compression,
        udp_answer_limit=dns.udp_answer_limit,
        a_record_limit=dns.a_record_limit,
        additional_node_meta_txt=dns.enable_additional_node_meta_txt,
        soa=Soa(refresh=soa.refresh, retry=soa.retry, expire=soa.expire, min_ttl=soa.min_ttl),
        recursors=config.recursors,
        recursor_timeout_s=dns.recursor_timeout,
    )


def rpc_limits(config: AgentConfig) -> RpcLimits:
    """The part of the configuration that the server port needs."""
    limits = config.limits
    return RpcLimits(limits.rpc_max_conns_per_client, limits.rpc_handshake_timeout)


def add_own_prefixes(app: App, agent: BaseAgent) -> None:
    """What is answered here beside ``/v1/agent/``."""
    from pyconsul.http import event, keyring, snapshot

    event.add_routes(app, agent.events)
    keyring.add_routes(app, agent)
    snapshot.add_routes(app, agent)


class HttpService(Service):
    """The HTTP API on ``addresses.http`` and ``addresses.https``, and the watches, which ask it."""

    def __init__(self, agent: BaseAgent, config: AgentConfig, reactor: Any, tls: Tls) -> None:
        log = make_logger("agent.http")
        self._refusals = BoundedLines(reactor, lambda text: log.warn("{text}", text=text))
        self._reactor = reactor
        self._config = config
        self._tls = tls
        self.site = make_site(
            Translated(agent, config.datacenter) if config.translate_wan_addrs else agent,
            http_settings(config),
            reactor,
            agent.environment.wall_time,
            [
                lambda app, _: agent_routes.add_routes(app, agent),
                lambda app, _: app.later(lambda: add_own_prefixes(app, agent)),
            ],
        )
        agent.telemetry.timings.append(self.site.surface.timings)
        self._ports: list[Any] = []
        self.watching = Watching(self.site.surface.ask, reactor)
        agent.reloading.parts.append(self.watching)

    def startService(self) -> None:
        """Listen and watch; raises ``CannotListenError``, and ``ConfigurationError`` (a watch, a socket)."""
        super().startService()
        config = self._config
        self.watching.start(config.watches)
        addresses, ports = config.addresses, config.ports
        if ports.http >= 0:
            self._listen(addresses.http or config.client_addr, ports.http, self.site)
        if ports.https >= 0:
            timeout_s = config.limits.https_handshake_timeout
            factory = self._tls.https_factory(self.site, self._not_let_in, timeout_s)
            self._listen(addresses.https or config.client_addr, ports.https, factory)

    def _listen(self, addresses: Iterable[str], number: int, factory: Any) -> None:
        for address in addresses:
            if address.startswith(UNIX_PREFIX):
                path = address[len(UNIX_PREFIX) :]
                port = UnixListener(self._config.unix_sockets).listen(self._reactor, path, factory)
            else:
                port = self._reactor.listenTCP(number, factory, backlog=1024, interface=address)
            self._ports.append(port)

    def _not_let_in(self, peer: Any, why: str) -> None:
        self._refusals.add(f"HTTPS connection from {getattr(peer, 'host', peer)} refused: TLS: {why}")

    def stopService(self) -> Deferred[Any]:
        """Close the ports and every connection."""
        super().stopService()
        self.watching.stop()
        ports, self._ports = self._ports, []
        closing = DeferredList([maybeDeferred(port.stopListening) for port in ports])
        self.site.close()
        return closing
