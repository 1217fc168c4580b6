"""From a definition to what watches over the check.

The types are loaded when the first check of theirs is made: an agent without gRPC checks does not
load HTTP/2, and TLS waits for the first connection that uses it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, succeed

from pyconsul.checks import definition as kinds
from pyconsul.checks.definition import CheckType
from pyconsul.checks.outcome import Outcome, Probe
from pyconsul.checks.runner import CheckRunner, Notify, Runner
from pyconsul.checks.ttl import TtlCheck
from pyconsul.net.tls_files import Credentials
from pyconsul.net.wheel import Wheel
from pyconsul.structs.catalog import CRITICAL, HealthCheck

ReadChecks = Callable[[str, str], "list[HealthCheck] | Deferred[Any] | None"]
"""For alias checks: takes node and service (either may be empty: this node; the node itself) and gives
their checks, or ``None`` if there is no such thing."""


class Unable:
    """Stands in for a check that this agent cannot run, and says why."""

    def __init__(self, why: str) -> None:
        self._why = why

    def run(self) -> Deferred[Outcome]:
        """Critical, always."""
        return succeed(self.timed_out())

    def timed_out(self) -> Outcome:
        """Does not happen."""
        return Outcome(CRITICAL, self._why)


class CheckMaker:
    """Makes checks, to be started.

    :param reactor: clock of all checks; they also connect and spawn with it.
    :param notify: hears of states.
    :param credentials: an agent's certificates, if checks are to use them; see ``CheckTls``.
    :param docker_host: where the Engine is; by default as ``DOCKER_HOST`` says.
    """

    def __init__(
        self,
        reactor: Any,
        rng: Random,
        notify: Notify,
        read_checks: ReadChecks,
        credentials: Callable[[], Credentials] | None = None,
        docker_host: str | None = None,
    ) -> None:
        self._reactor = reactor
        self._rng = rng
        self._notify = notify
        self._read_checks = read_checks
        self._credentials = credentials
        self._docker_host = os.environ.get("DOCKER_HOST", "") if docker_host is None else docker_host
        self._kept_tls: Any = None
        self._wheel = Wheel(reactor)

    def make(self, definition: CheckType) -> Runner:
        """What watches over a check."""
        if definition.kind == kinds.TTL:
            return TtlCheck(definition, self._reactor, self._notify)
        return CheckRunner(definition, self._probe(definition), self._wheel, self._rng, self._notify)

    def stop(self) -> None:
        """Once all checks are stopped: leave nothing behind."""
        self._wheel.stop()

    def _probe(self, definition: CheckType) -> Probe:
        kind, reactor = definition.kind, self._reactor
        if kind == kinds.ALIAS:
            from pyconsul.checks.alias import AliasProbe

            return AliasProbe(definition, self._read_checks)
        if kind == kinds.SCRIPT:
            from pyconsul.checks.script import ScriptProbe

            return ScriptProbe(definition, reactor)
        if kind == kinds.DOCKER:
            from pyconsul.checks.docker import DockerProbe

            return DockerProbe(definition, reactor, self._docker_host)
        if kind == kinds.UDP:
            from pyconsul.checks.udp import UdpProbe

            return UdpProbe(definition, reactor)
        if kind == kinds.OS_SERVICE:
            from pyconsul.checks.os_service import OsServiceProbe

            return OsServiceProbe(definition, reactor)
        if kind == kinds.PYTHON:
            from pyconsul.checks.python import PythonProbe

            return PythonProbe(definition, reactor)
        return self._connecting(definition)

    def _connecting(self, definition: CheckType) -> Probe:
        """Those that may use TLS."""
        kind, reactor, tls = definition.kind, self._reactor, self._tls()
        if kind == kinds.HTTP:
            from pyconsul.checks.http import HttpProbe

            return HttpProbe(definition, reactor, tls)
        if kind == kinds.TCP:
            from pyconsul.checks.tcp import TcpProbe

            return TcpProbe(definition, reactor, tls)
        try:
            if kind == kinds.GRPC:
                from pyconsul.checks.grpc import GrpcProbe

                return GrpcProbe(definition, reactor, tls)
            from pyconsul.checks.h2ping import H2PingProbe
        except ImportError as error:
            return Unable(f"{kind} checks need a package that is not there ({error}): install pyconsul[grpc]")
        return H2PingProbe(definition, reactor, tls)

    def _tls(self) -> Any:
        if self._kept_tls is None:
            from pyconsul.checks.tls import CheckTls

            self._kept_tls = CheckTls(self._credentials) if self._credentials else CheckTls()
        return self._kept_tls
