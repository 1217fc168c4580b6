"""The interfaces for clients: how HTTP and DNS are set up from the configuration."""

from __future__ import annotations

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
from pyconsul.http import event as event_routes
from pyconsul.http import keyring as keyring_routes
from pyconsul.http import snapshot as snapshot_routes
from pyconsul.http.app import make_site
from pyconsul.http.settings import HttpSettings
from pyconsul.net.amp import RpcLimits

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


class HttpService(Service):
    """The HTTP API on ``addresses.http``, and the watches, which ask it."""

    def __init__(self, agent: BaseAgent, config: AgentConfig, reactor: Any) -> None:
        self._reactor = reactor
        self._addresses = (config.addresses.http or config.client_addr) if config.ports.http >= 0 else ()
        self._number = config.ports.http
        self._unix_sockets = config.unix_sockets
        self.site = make_site(
            Translated(agent, config.datacenter) if config.translate_wan_addrs else agent,
            http_settings(config),
            reactor,
            agent.environment.wall_time,
            [
                lambda app, _: agent_routes.add_routes(app, agent),
                lambda app, _: event_routes.add_routes(app, agent.events),
                lambda app, _: keyring_routes.add_routes(app, agent),
                lambda app, _: snapshot_routes.add_routes(app, agent),
            ],
        )
        agent.telemetry.timings.append(self.site.surface.timings)
        self._ports: list[Any] = []
        self._watches = config.watches
        self.watching = Watching(self.site.surface.ask, reactor)
        agent.reloading.parts.append(self.watching)

    def startService(self) -> None:
        """Listen and watch; raises ``CannotListenError``, and ``ConfigurationError`` (a watch, a socket)."""
        super().startService()
        self.watching.start(self._watches)
        for address in self._addresses:
            if address.startswith(UNIX_PREFIX):
                path = address[len(UNIX_PREFIX) :]
                port = UnixListener(self._unix_sockets).listen(self._reactor, path, self.site)
            else:
                port = self._reactor.listenTCP(self._number, self.site, backlog=1024, interface=address)
            self._ports.append(port)

    def stopService(self) -> Deferred[Any]:
        """Close the ports and every connection."""
        super().stopService()
        self.watching.stop()
        ports, self._ports = self._ports, []
        closing = DeferredList([maybeDeferred(port.stopListening) for port in ports])
        self.site.close()
        return closing
