"""From what is registered with an agent to what its local state holds.

Source: specs of the HTTP API, section 7, "Generated ids" and the table of bad input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

from msgspec import UNSET
from twisted.internet.defer import Deferred

from pyconsul.agent.local import LocalState
from pyconsul.checks.definition import (
    OUTPUT_BYTES_MAX,
    CheckType,
    check_status,
    check_type,
    runs_program,
)
from pyconsul.checks.making import CheckMaker, ReadChecks
from pyconsul.checks.tls import TlsFiles
from pyconsul.checks.ttl import TtlCheck
from pyconsul.errors import BadRequest, ConfigurationError, PyconsulError, Refused
from pyconsul.log import make_logger
from pyconsul.structs.agent import CheckDefinition, ServiceDefinition
from pyconsul.structs.bodies import convert
from pyconsul.structs.canonical import canonical_service, with_ip_addresses
from pyconsul.structs.catalog import CRITICAL, WEIGHTS, HealthCheck, NodeService, Proxy

CHECKS_PER_SERVICE_MAX = 1_000
DNS_WEIGHT_MAX = 65_535
SCRIPTS_DISABLED = (
    "Scripts are disabled on this agent from remote calls; "
    "to enable, configure 'enable_script_checks' to true"
)


class Registrations:
    """Adds and removes services and checks of this node.

    :param reactor: clock of all checks, which also connect and spawn with it.
    :param scripts: whether script checks may come over HTTP.
    :param file_scripts: whether they may stand in configuration files.
    :param remote_checks: reads the checks of another node, or of a service of its, for alias checks.
    :param tls_files: certificates that checks are to use instead of the system's.
    """

    def __init__(
        self,
        local: LocalState,
        reactor: Any,
        rng: Random,
        scripts: bool = False,
        file_scripts: bool = False,
        output_bytes_max: int = OUTPUT_BYTES_MAX,
        remote_checks: ReadChecks = lambda node, service_id: None,
        tls_files: TlsFiles | None = None,
    ) -> None:
        self._log = make_logger("agent")
        self._local = local
        self._remote_checks = remote_checks
        self._maker = CheckMaker(reactor, rng, local.update_check, self._alias_of, tls_files)
        self._scripts = scripts
        self._file_scripts = scripts or file_scripts
        self._output_bytes_max = output_bytes_max

    def load(self, services: Sequence[Mapping[str, Any]], checks: Sequence[Mapping[str, Any]]) -> None:
        """Register what stands in configuration files, with keys in snake_case.

        :raises PyconsulError: naming the service or check that is wrong.
        """
        for raw in services:
            with _naming("service", raw):
                service = convert(raw, ServiceDefinition, snake_case=True)
                self.register_service(service, False, allow_scripts=self._file_scripts)
        for raw in checks:
            with _naming("check", raw):
                check = convert(raw, CheckDefinition, snake_case=True)
                self.register_check(check, allow_scripts=self._file_scripts)

    # ------------------------------------------------------------ services

    def register_service(
        self, definition: ServiceDefinition, replace_checks: bool, allow_scripts: bool | None = None
    ) -> None:
        """Add or replace a service with its checks; nothing is changed unless all of it is right.

        :param allow_scripts: if not what holds for requests over HTTP.
        """
        service = node_service(definition)
        definitions = list(definition.checks or [])
        if definition.check is not None and definition.check != CheckDefinition():  # Consul ignores {}
            definitions.insert(0, definition.check)
        if len(definitions) > CHECKS_PER_SERVICE_MAX:
            raise BadRequest(f"Invalid check: more than {CHECKS_PER_SERVICE_MAX} checks for one service")
        checks: list[tuple[HealthCheck, CheckType]] = []
        for number, check in enumerate(definitions, 1):
            check_status(check.status, of_service=True)
            default_id = f"service:{service.id}" + (f":{number}" if len(definitions) > 1 else "")
            kind = self._checked(check, check.check_id or check.id or default_id, allow_scripts)
            name = check.name or f"Service '{service.service}' check"
            checks.append((health_check(check, kind, name, service.id), kind))
        if replace_checks:
            kept = {kind.check_id for _, kind in checks}
            for local in list(self._local.checks.values()):
                if local.check.service_id == service.id and local.check.check_id not in kept:
                    self._local.remove_check(local.check.check_id)
        self._local.add_service(service)
        for health, kind in checks:
            self._add(health, kind)

    def deregister_service(self, service_id: str) -> None:
        """Remove a service and its checks."""
        self._local.remove_service(service_id)

    # ------------------------------------------------------------ checks

    def register_check(self, definition: CheckDefinition, allow_scripts: bool | None = None) -> None:
        """Add or replace a check of the node or of a service."""
        check_status(definition.status)
        check_id = definition.check_id or definition.id or definition.name
        kind = self._checked(definition, check_id, allow_scripts)
        self._add(health_check(definition, kind, definition.name, definition.service_id), kind)

    def deregister_check(self, check_id: str) -> None:
        """Stop and remove a check."""
        self._local.remove_check(check_id)

    def update_ttl(self, check_id: str, status: str, output: str) -> None:
        """Set the state of a TTL check."""
        local = self._local.checks.get(check_id)
        if local is None or not isinstance(local.runner, TtlCheck):
            raise Refused(f'CheckID "{check_id}" does not have associated TTL')
        local.runner.report(status, output)

    def _checked(self, definition: CheckDefinition, check_id: str, allow_scripts: bool | None) -> CheckType:
        kind, warnings = check_type(definition, check_id, self._output_bytes_max)
        allowed = self._scripts if allow_scripts is None else allow_scripts
        if runs_program(definition) and not allowed:
            raise Refused(SCRIPTS_DISABLED)
        for warning in warnings:
            self._log.warn("{text}", text=warning)
        return kind

    def _add(self, health: HealthCheck, kind: CheckType) -> None:
        self._local.add_check(health, self._maker.make(kind))

    def _alias_of(self, node: str, service_id: str) -> list[HealthCheck] | Deferred[Any] | None:
        """The checks that an alias check of this node stands for."""
        if node and node.lower() != self._local.node_name.lower():
            return self._remote_checks(node, service_id)
        if service_id and service_id not in self._local.services:
            return None
        checks = [local.check for local in self._local.checks.values()]
        return [check for check in checks if check.service_id == service_id and check.type != "alias"]


@contextmanager
def _naming(what: str, raw: Mapping[str, Any]) -> Iterator[None]:
    """Say in an error which of many definitions is wrong."""
    try:
        yield
    except PyconsulError as error:
        name = raw.get("id") or raw.get("name") or "without a name"
        raise ConfigurationError(f"{what} {name}: {error}") from None


def node_service(definition: ServiceDefinition) -> NodeService:
    """The service as the catalog is to have it; raises ``BadRequest``."""
    weights = definition.weights or WEIGHTS
    if weights.passing < 1:
        raise BadRequest("Invalid Weights: Passing must be greater than 0")
    if weights.warning < 0:
        raise BadRequest("Invalid Weights: Warning must be greater or equal than 0")
    if max(weights.passing, weights.warning) > DNS_WEIGHT_MAX:
        raise BadRequest(f"Invalid Weights: DNS Weight must be between 0 and {DNS_WEIGHT_MAX}")
    service = NodeService(
        kind=definition.kind or UNSET,
        id=definition.id or definition.name,
        service=definition.name,
        tags=definition.tags or [],
        address=definition.address,
        tagged_addresses=definition.tagged_addresses or UNSET,
        meta=definition.meta,
        port=definition.port,
        weights=weights,
        enable_tag_override=definition.enable_tag_override,
        proxy=definition.proxy or Proxy(),
        connect=definition.connect or {},
    )
    return canonical_service(with_ip_addresses(service))


def health_check(definition: CheckDefinition, kind: CheckType, name: str, service_id: str) -> HealthCheck:
    """The check as the catalog is to have it, in its initial state."""
    return HealthCheck(
        check_id=kind.check_id,
        name=name,
        status=definition.status or CRITICAL,
        notes=definition.notes,
        service_id=service_id,
        type=kind.kind,
    )
