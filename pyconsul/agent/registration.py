"""From what is registered with an agent to what its local state holds.

Source: specs of the HTTP API, section 7, "Generated ids" and the table of bad input.
"""

from __future__ import annotations

from msgspec import UNSET

from pyconsul.agent.local import LocalState
from pyconsul.checks.definition import type_of, validate
from pyconsul.checks.factory import CheckFactory
from pyconsul.checks.ttl import TTLCheck
from pyconsul.errors import BadRequest, Refused
from pyconsul.structs.agent import CheckDefinition, ServiceDefinition
from pyconsul.structs.canonical import with_ip_addresses
from pyconsul.structs.catalog import CRITICAL, WEIGHTS, HealthCheck, NodeService, Proxy

CHECKS_PER_SERVICE_MAX = 1_000


class Registrations:
    """Adds and removes services and checks of this node.

    :param factory: makes what runs a check.
    :param scripts: whether script checks may come over HTTP.
    """

    def __init__(self, local: LocalState, factory: CheckFactory, scripts: bool) -> None:
        self._local = local
        self._factory = factory
        self._scripts = scripts

    # ------------------------------------------------------------ services

    def register_service(self, definition: ServiceDefinition, replace_checks: bool) -> None:
        """Add or replace a service with its checks; nothing is changed unless all of it is right."""
        service = node_service(definition)
        definitions = [*([definition.check] if definition.check else []), *(definition.checks or [])]
        if len(definitions) > CHECKS_PER_SERVICE_MAX:
            raise BadRequest(f"Invalid check: more than {CHECKS_PER_SERVICE_MAX} checks for one service")
        checks: list[tuple[HealthCheck, CheckDefinition]] = []
        for number, check in enumerate(definitions, 1):
            self._allow(check)
            default_id = f"service:{service.id}" + (f":{number}" if len(definitions) > 1 else "")
            name = check.name or f"Service '{service.service}' check"
            checks.append(
                (health_check(check, check.check_id or check.id or default_id, name, service.id), check)
            )
        if replace_checks:
            kept = {check.check_id for check, _ in checks}
            for local in list(self._local.checks.values()):
                if local.check.service_id == service.id and local.check.check_id not in kept:
                    self._local.remove_check(local.check.check_id)
        self._local.add_service(service)
        for health, check in checks:
            self._add(health, check)

    def deregister_service(self, service_id: str) -> None:
        """Remove a service and its checks."""
        self._local.remove_service(service_id)

    # ------------------------------------------------------------ checks

    def register_check(self, definition: CheckDefinition) -> None:
        """Add or replace a check of the node or of a service."""
        self._allow(definition)
        check_id = definition.check_id or definition.id or definition.name
        self._add(health_check(definition, check_id, definition.name, definition.service_id), definition)

    def deregister_check(self, check_id: str) -> None:
        """Stop and remove a check."""
        self._local.remove_check(check_id)

    def update_ttl(self, check_id: str, status: str, output: str) -> None:
        """Set the state of a TTL check."""
        local = self._local.checks.get(check_id)
        if local is None or not isinstance(local.runner, TTLCheck):
            raise Refused(f'CheckID "{check_id}" does not have associated TTL')
        local.runner.update(status, output)

    def _allow(self, definition: CheckDefinition) -> None:
        validate(definition)
        if type_of(definition) == "script" and not self._scripts:
            raise Refused(
                "Scripts are disabled on this agent from remote calls; "
                "to enable, configure 'enable_script_checks' to true"
            )

    def _add(self, health: HealthCheck, definition: CheckDefinition) -> None:
        runner = self._factory.make(definition, health, self._notify)
        self._local.add_check(health, runner)

    def _notify(self, check_id: str, status: str, output: str) -> None:
        self._local.update_check(check_id, status, output)


def node_service(definition: ServiceDefinition) -> NodeService:
    """The service as the catalog is to have it; raises ``BadRequest``."""
    weights = definition.weights or WEIGHTS
    if weights.passing < 1:
        raise BadRequest("Invalid Weights: Passing must be greater than 0")
    if weights.warning < 0:
        raise BadRequest("Invalid Weights: Warning must be greater or equal than 0")
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
    return with_ip_addresses(service)


def health_check(definition: CheckDefinition, check_id: str, name: str, service_id: str) -> HealthCheck:
    """The check as the catalog is to have it, in its initial state."""
    return HealthCheck(
        check_id=check_id,
        name=name,
        status=definition.status or CRITICAL,
        notes=definition.notes,
        service_id=service_id,
        type=type_of(definition),
    )
