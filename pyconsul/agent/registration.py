"""From what is registered with an agent to what its local state holds, and back out again.

Source: specs of the HTTP API, section 7, "Generated ids" and the table of bad input. A definition in
files wins over one that came over HTTP before and was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from pyconsul.agent.definitions import SIDECAR_SUFFIX, all_checks, node_service, sidecar_of
from pyconsul.agent.local import LocalState
from pyconsul.agent.persistence import PersistedCheck, Persistence
from pyconsul.checks.definition import (
    OUTPUT_BYTES_MAX,
    TTL,
    CheckType,
    check_status,
    check_type,
    runs_program,
)
from pyconsul.checks.making import CheckMaker, ReadChecks
from pyconsul.checks.ttl import TtlCheck
from pyconsul.errors import ConfigurationError, PyconsulError, Refused
from pyconsul.log import make_logger
from pyconsul.net.tls_files import Credentials
from pyconsul.structs.agent import CheckDefinition, ServiceDefinition
from pyconsul.structs.bodies import convert
from pyconsul.structs.canonical import canonical_service
from pyconsul.structs.catalog import CRITICAL, PASSING, SERF_CHECK_ID, HealthCheck, NodeService

SIDECAR_PORTS = range(21_000, 21_256)
SCRIPTS_DISABLED = (
    "Scripts are disabled on this agent from remote calls; "
    "to enable, configure 'enable_script_checks' to true"
)


class PlannedCheck(Struct, frozen=True):
    """A check whose definition has been found to be right.

    :ivar health: in its initial state.
    """

    health: HealthCheck
    kind: CheckType
    definition: CheckDefinition

    @property
    def token(self) -> str:
        """What it is registered by."""
        return self.definition.token


class PlannedService(Struct, frozen=True):
    """A service whose definition has been found to be right, with its checks."""

    service: NodeService
    token: str
    checks: tuple[PlannedCheck, ...]
    sidecar_of: str = ""


class Planned(Struct, frozen=True):
    """All that stands in files, by id."""

    services: Mapping[str, PlannedService]
    checks: Mapping[str, PlannedCheck]


class Registrations:
    """Adds and removes services and checks of this node.

    :param reactor: clock of all checks, which also connect and spawn with it.
    :param scripts: whether script checks may come over HTTP.
    :param file_scripts: whether they may stand in configuration files.
    :param remote_checks: reads the checks of another node, or of a service of its, for alias checks.
    :param credentials: certificates that checks are to use instead of the system's.
    :param persistence: where registrations over HTTP are kept, if anywhere.
    :param sidecar_ports: from which sidecar proxies get theirs.
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
        credentials: Callable[[], Credentials] | None = None,
        persistence: Persistence | None = None,
        sidecar_ports: range = SIDECAR_PORTS,
    ) -> None:
        self._log = make_logger("agent")
        self._local = local
        self._remote_checks = remote_checks
        self._maker = CheckMaker(reactor, rng, local.update_check, self._alias_of, credentials)
        self._scripts = scripts
        self._file_scripts = scripts or file_scripts
        self._output_bytes_max = output_bytes_max
        self._persistence = persistence
        self._sidecar_ports = sidecar_ports
        self._from_files = Planned({}, {})
        self._starting = False

    def stop(self) -> None:
        """Run no check any more."""
        self._local.stop()
        self._maker.stop()

    # ------------------------------------------------------------ at the start

    def load(self, services: Sequence[Mapping[str, Any]], checks: Sequence[Mapping[str, Any]]) -> None:
        """Register what stands in configuration files, with keys in snake_case, then what was kept.

        :raises ConfigurationError: naming the service or check of the files that is wrong.
        """
        self._starting = True
        try:
            if self._persistence is not None:
                self._restore_services(self._persistence)
            self.apply(self.plan(services, checks))
            if self._persistence is not None:
                self._restore_checks(self._persistence)
        finally:
            self._starting = False

    def _restore_services(self, persistence: Persistence) -> None:
        for kept in persistence.services():
            service = canonical_service(kept.service)
            parent = service.id.removesuffix(SIDECAR_SUFFIX) if kept.locally_registered_as_sidecar else ""
            self._local.add_service(service, kept.token, parent)

    def _restore_checks(self, persistence: Persistence) -> None:
        for service_id in self._from_files.services:
            persistence.remove_service(service_id)
        for kept in persistence.checks():
            check_id = kept.check.check_id
            if check_id in self._local.checks:
                self._log.debug("check in files wins over the one kept", check=check_id)
                persistence.forget_check(check_id)
                continue
            try:
                self._restore_check(kept)
            except PyconsulError as error:
                self._log.warn("Failed to restore check", check=check_id, error=error)

    def _restore_check(self, kept: PersistedCheck) -> None:
        """Critical until something else is known, so that nobody is sent to what may be down."""
        if kept.chk_type is None:
            self._local.add_check(kept.check, None, kept.token)
            return
        health = replace(kept.check, status=CRITICAL, output="")
        kind = self._checked(kept.chk_type, health.check_id, self._scripts)
        self._start(PlannedCheck(health, kind, replace(kept.chk_type, token=kept.token)))

    # ------------------------------------------------------------ files

    def plan(self, services: Sequence[Mapping[str, Any]], checks: Sequence[Mapping[str, Any]]) -> Planned:
        """What definitions in files come to; nothing is changed.

        :raises ConfigurationError: naming the service or check that is wrong.
        """
        found: dict[str, PlannedService] = {}
        for raw in services:
            with _naming("service", raw):
                definition = convert(raw, ServiceDefinition, snake_case=True)
                if not definition.name:
                    raise ConfigurationError("Service name missing")
                for planned in self._planned(definition, self._file_scripts, found):
                    found[planned.service.id] = planned
        alone: dict[str, PlannedCheck] = {}
        for raw in checks:
            with _naming("check", raw):
                check = self._planned_check(
                    convert(raw, CheckDefinition, snake_case=True), self._file_scripts
                )
                if not check.health.check_id:
                    raise ConfigurationError("CheckID missing")
                if check.health.service_id and check.health.service_id not in found:
                    self._must_exist(check.health.service_id)
                alone[check.health.check_id] = check
        return Planned(found, alone)

    def changes(self, planned: Planned) -> list[str]:
        """What ``apply`` would do, for people."""
        old = self._from_files
        told = [f"remove service {name}" for name in old.services if name not in planned.services]
        told += [f"remove check {name}" for name in old.checks if name not in planned.checks]
        told += [
            f"{'change' if name in self._local.services else 'add'} service {name}"
            for name, service in planned.services.items()
            if not self._runs(service, old)
        ]
        told += [
            f"{'change' if name in self._local.checks else 'add'} check {name}"
            for name, check in planned.checks.items()
            if not self._runs_check(check)
        ]
        return told

    def apply(self, planned: Planned) -> None:
        """Make what stands in files what runs here; what is unchanged goes on undisturbed."""
        old, self._from_files = self._from_files, planned
        for service_id in [name for name in old.services if name not in planned.services]:
            self.deregister_service(service_id)
        for check_id in [name for name in old.checks if name not in planned.checks]:
            self.deregister_check(check_id)
        for service in planned.services.values():
            if not self._runs(service, old):
                self._carry_out(service, True, in_files=True)
        for check in planned.checks.values():
            if not self._runs_check(check):
                self._start(check)

    def _runs(self, planned: PlannedService, files: Planned) -> bool:
        """Whether a service is registered just so, and was when the files were last read."""
        local = self._local.services.get(planned.service.id)
        before = files.services.get(planned.service.id)
        if local is None or before is None or local.token != planned.token:
            return False
        service = local.service
        if service.enable_tag_override:
            service = replace(service, tags=planned.service.tags)
        checks = {check.health.check_id for check in planned.checks}
        return (
            service == planned.service
            and all(check.health.check_id in checks for check in before.checks)
            and all(self._runs_check(check) for check in planned.checks)
        )

    def _runs_check(self, planned: PlannedCheck) -> bool:
        """Whether a check is running just so."""
        local = self._local.checks.get(planned.health.check_id)
        if local is None or getattr(local.runner, "definition", None) != planned.kind:
            return False
        check, wanted = local.check, planned.health
        return (check.name, check.notes, check.service_id) == (wanted.name, wanted.notes, wanted.service_id)

    # ------------------------------------------------------------ services

    def register_service(self, definition: ServiceDefinition, replace_checks: bool) -> None:
        """Add or replace a service with its checks; nothing is changed unless all of it is right."""
        for planned in self._planned(definition, self._scripts, {}):
            self._carry_out(planned, replace_checks, in_files=False)

    def deregister_service(self, service_id: str) -> None:
        """Remove a service, its checks, and the sidecar proxy that was made for it."""
        checks = [local.check.check_id for local in self._local.checks_of(service_id)]
        sidecar = self._local.services.get(service_id + SIDECAR_SUFFIX)
        self._local.remove_service(service_id)
        if self._persistence is not None:
            self._persistence.remove_service(service_id)
            for check_id in checks:
                self._persistence.remove_check(check_id)
        if sidecar is not None and sidecar.sidecar_of == service_id:
            self.deregister_service(sidecar.service.id)

    def reap(self) -> None:
        """Deregister services that have been critical for longer than their checks allow."""
        for service_id in self._local.overdue():
            self._log.info(
                "Check for service has been critical for too long; deregistering service", service=service_id
            )
            self.deregister_service(service_id)

    def _planned(
        self, definition: ServiceDefinition, scripts: bool, beside: Mapping[str, PlannedService]
    ) -> list[PlannedService]:
        """The service and, if it wants one, its sidecar proxy.

        :param beside: services that are registered together with it.
        """
        service = node_service(definition)
        found = [self._with_checks(service, definition, scripts)]
        if definition.connect is not None and definition.connect.sidecar_service is not None:
            known = self._local.services
            taken = {local.service.port for local in known.values()}
            taken |= {other.service.port for other in beside.values()}
            own = known.get(service.id + SIDECAR_SUFFIX)
            sidecar = sidecar_of(
                definition,
                definition.connect.sidecar_service,
                self._sidecar_ports,
                taken,
                own.service.port if own is not None else 0,
            )
            sidecar.token = sidecar.token or definition.token
            found.append(self._with_checks(node_service(sidecar), sidecar, scripts, service.id))
        return found

    def _with_checks(
        self, service: NodeService, definition: ServiceDefinition, scripts: bool, parent: str = ""
    ) -> PlannedService:
        checks: list[PlannedCheck] = []
        definitions = all_checks(definition)
        for number, check in enumerate(definitions, 1):
            check_status(check.status, of_service=True)
            default_id = f"service:{service.id}" + (f":{number}" if len(definitions) > 1 else "")
            kind = self._checked(check, check.check_id or check.id or default_id, scripts)
            name = check.name or f"Service '{service.service}' check"
            check = replace(check, token=definition.token)
            checks.append(PlannedCheck(health_check(check, kind, name, service.id), kind, check))
        return PlannedService(service, definition.token, tuple(checks), parent)

    def _carry_out(self, planned: PlannedService, replace_checks: bool, in_files: bool) -> None:
        service = planned.service
        if replace_checks:
            kept = {check.health.check_id for check in planned.checks}
            for local in self._local.checks_of(service.id):
                check_id = local.check.check_id
                if check_id not in kept and local.runner is not None:
                    self.deregister_check(check_id)
        self._local.add_service(service, planned.token, planned.sidecar_of)
        if self._persistence is not None and not in_files:
            self._persistence.save_service(service, planned.token, bool(planned.sidecar_of))
        for planned_check in planned.checks:
            if not (in_files and self._runs_check(planned_check)):
                self._start(planned_check)
            if self._persistence is not None and not in_files:
                self._keep_check(self._persistence, planned_check)

    # ------------------------------------------------------------ checks

    def register_check(self, definition: CheckDefinition) -> None:
        """Add or replace a check of the node or of a service."""
        planned = self._planned_check(definition, self._scripts)
        self._must_exist(planned.health.service_id)
        self._start(planned)
        if self._persistence is not None:
            self._keep_check(self._persistence, planned)

    def deregister_check(self, check_id: str) -> None:
        """Stop and remove a check."""
        self._local.remove_check(check_id)
        if self._persistence is not None:
            self._persistence.remove_check(check_id)

    def update_ttl(self, check_id: str, status: str, output: str) -> None:
        """Set the state of a TTL check."""
        local = self._local.checks.get(check_id)
        if local is None or not isinstance(local.runner, TtlCheck):
            raise Refused(f'CheckID "{check_id}" does not have associated TTL')
        local.runner.report(status, output)
        if self._persistence is not None:
            check = local.check
            self._persistence.save_state(check_id, check.status, check.output, local.runner.definition.ttl_s)

    def _must_exist(self, service_id: str) -> None:
        if service_id and service_id not in self._local.services:
            raise Refused(f'ServiceID "{service_id}" does not exist')

    def _planned_check(self, definition: CheckDefinition, scripts: bool) -> PlannedCheck:
        check_status(definition.status)
        check_id = definition.check_id or definition.id or definition.name
        kind = self._checked(definition, check_id, scripts)
        health = health_check(definition, kind, definition.name, definition.service_id)
        return PlannedCheck(health, kind, definition)

    def _checked(self, definition: CheckDefinition, check_id: str, scripts: bool) -> CheckType:
        kind, warnings = check_type(definition, check_id, self._output_bytes_max)
        if runs_program(definition) and not scripts:
            raise Refused(SCRIPTS_DISABLED)
        for warning in warnings:
            self._log.warn("{text}", text=warning)
        return kind

    def _start(self, planned: PlannedCheck) -> None:
        """Run a check, from where it was before the agent was restarted if that is known."""
        kind, health = planned.kind, planned.health
        runner = self._maker.make(kind)
        state = None
        if self._persistence is not None and isinstance(runner, TtlCheck):
            state = self._persistence.state(kind.check_id)
            if state is not None and kind.check_id not in self._local.checks:
                health = replace(health, status=state.status, output=state.output)
                runner.restore(state.output, self._persistence.remaining_s(state))
        unproven = self._starting and kind.kind != TTL
        self._local.add_check(health, runner, planned.token, kind.deregister_after_s, unproven)

    def _keep_check(self, persistence: Persistence, planned: PlannedCheck) -> None:
        local = self._local.checks[planned.health.check_id]
        check = replace(local.check, status=planned.health.status, output="")
        persistence.save_check(check, planned.definition, planned.token)
        if planned.kind.kind == TTL and local.check.status != CRITICAL:  # good for a TTL, like a report
            state = local.check
            persistence.save_state(state.check_id, state.status, state.output, planned.kind.ttl_s)

    def _alias_of(self, node: str, service_id: str) -> list[HealthCheck] | Deferred[Any] | None:
        """The checks that an alias check of this node stands for: also those of the node, as in Consul."""
        if node and node.lower() != self._local.node_name.lower():
            return self._remote_checks(node, service_id)
        if service_id and service_id not in self._local.services:
            return None
        found = [
            local.check
            for local in self._local.checks.values()
            if local.check.service_id in ("", service_id) and local.check.type != "alias"
        ]
        if node and not service_id:  # whoever can run an alias check passes the gossip check of its node
            found.append(HealthCheck(node=node, check_id=SERF_CHECK_ID, status=PASSING))
        return found


@contextmanager
def _naming(what: str, raw: Mapping[str, Any]) -> Iterator[None]:
    """Say in an error which of many definitions is wrong."""
    try:
        yield
    except PyconsulError as error:
        name = raw.get("id") or raw.get("name") or "without a name"
        raise ConfigurationError(f"{what} {name}: {error}") from None


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
