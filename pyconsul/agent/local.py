"""What runs on this node: services and checks, and whether the servers know of it.

The agent is the authority for its own node. The catalog is made to follow by ``AntiEntropy``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec
from msgspec import Struct, field

from pyconsul.errors import Refused
from pyconsul.structs.catalog import CRITICAL, HealthCheck, NodeService


class Runner(Protocol):
    """Something that finds out a check's state (``pyconsul.checks``)."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class LocalService(Struct):
    """A service of this node.

    :ivar in_sync: the servers know it as it is.
    :ivar token: what the servers are to allow its registration by.
    :ivar sidecar_of: id of the service that it was made for.
    """

    service: NodeService
    in_sync: bool = False
    token: str = ""
    sidecar_of: str = ""


class LocalCheck(Struct):
    """A check of this node and what runs it.

    :ivar token: as for services.
    :ivar unproven: nothing has been found out about it since this agent started.
    :ivar reap_after_s: its service goes when it has been critical for so long; 0: never.
    :ivar critical_since: when it became critical, by ``LocalState.seconds``.
    """

    check: HealthCheck
    runner: Runner | None = None
    in_sync: bool = False
    token: str = ""
    unproven: bool = False
    reap_after_s: float = 0.0
    critical_since: float | None = None


class LocalState(Struct):
    """Services and checks by id.

    :ivar changed: called after each change that the servers have to hear of.
    :ivar output_changed: called with the id of a check of which only the output changed, which the
        servers may hear of later; by default that is a change as any other.
    :ivar service_changed: called with the id of a service that came, changed or went.
    :ivar seconds: the clock by which checks are critical.
    :ivar discard_output: keep no output of checks.
    :ivar gone_services: ids that the servers still have to forget, in order; as for ``gone_checks``.
    """

    node_name: str
    changed: Callable[[], None] = lambda: None
    output_changed: Callable[[str], None] | None = None
    service_changed: Callable[[str], None] = lambda service_id: None
    seconds: Callable[[], float] = lambda: 0.0
    discard_output: bool = False
    services: dict[str, LocalService] = field(default_factory=dict)
    checks: dict[str, LocalCheck] = field(default_factory=dict)
    _check_ids: dict[str, dict[str, None]] = field(default_factory=dict)
    """Ids of the checks of each service, in order."""
    gone_services: dict[str, None] = field(default_factory=dict)
    gone_checks: dict[str, None] = field(default_factory=dict)

    def add_service(self, service: NodeService, token: str = "", sidecar_of: str = "") -> None:
        """Add ``service``, or replace the one with its id."""
        old = self.services.get(service.id)
        self.gone_services.pop(service.id, None)
        in_sync = old is not None and old.in_sync and old.service == service
        self.services[service.id] = LocalService(service, in_sync, token, sidecar_of)
        if old is not None:
            self._tell_checks(service)
        self.service_changed(service.id)
        self.changed()

    def checks_of(self, service_id: str) -> list[LocalCheck]:
        """The checks of a service."""
        return [self.checks[check_id] for check_id in self._check_ids.get(service_id, ())]

    def adopt_tags(self, service_id: str, tags: list[str] | None) -> None:
        """Take over the tags that the servers have: ``enable_tag_override`` allows others to set them."""
        local = self.services[service_id]
        if (local.service.tags or []) != (tags or []):
            local.service = msgspec.structs.replace(local.service, tags=tags or [])
            self._tell_checks(local.service)
            self.service_changed(service_id)

    def _tell_checks(self, service: NodeService) -> None:
        """A service's checks show its name and tags."""
        name, tags = service.service, service.tags or []
        for local in self.checks_of(service.id):
            if (local.check.service_name, local.check.service_tags) != (name, tags):
                self._replace(local, service_name=name, service_tags=tags)

    def remove_service(self, service_id: str) -> bool:
        """Remove a service and its checks; false if there is none."""
        if self.services.pop(service_id, None) is None:
            return False
        self.gone_services[service_id] = None
        for local in self.checks_of(service_id):
            self._drop_check(local.check.check_id)
        self.service_changed(service_id)
        self.changed()
        return True

    def add_check(
        self,
        check: HealthCheck,
        runner: Runner | None,
        token: str = "",
        reap_after_s: float = 0.0,
        unproven: bool = False,
    ) -> None:
        """Add ``check`` and start ``runner``; a check with the same id is stopped and replaced.

        The state of the check replaced is kept, since nothing says that it has changed.
        """
        service = None
        if check.service_id:
            local = self.services.get(check.service_id)
            if local is None:
                raise Refused(f'ServiceID "{check.service_id}" does not exist')
            service = local.service
        old = self.checks.get(check.check_id)
        if old is not None:
            self._forget_owner(old.check)
            if old.runner is not None:
                old.runner.stop()
        check = msgspec.structs.replace(
            check,
            node=self.node_name,
            service_name=service.service if service is not None else "",
            service_tags=(service.tags or []) if service is not None else [],
        )
        if old is not None:
            check = msgspec.structs.replace(check, status=old.check.status, output=old.check.output)
        self.gone_checks.pop(check.check_id, None)
        local_check = LocalCheck(
            check,
            runner,
            old is not None and old.in_sync and old.check == check,
            token,
            old.unproven if old is not None else unproven,
            reap_after_s,
            old.critical_since if old is not None else None,
        )
        self.checks[check.check_id] = local_check
        if check.service_id:
            self._check_ids.setdefault(check.service_id, {})[check.check_id] = None
        self._note_critical(local_check)
        if runner is not None:
            runner.start()
        self.changed()

    def remove_check(self, check_id: str) -> bool:
        """Stop and remove a check; false if there is none."""
        if check_id not in self.checks:
            return False
        self._drop_check(check_id)
        self.changed()
        return True

    def update_check(self, check_id: str, status: str, output: str) -> None:
        """A check ran; only a change is passed on."""
        local = self.checks.get(check_id)
        if local is None:
            return
        local.unproven = False
        if self.discard_output:
            output = ""
        if (local.check.status, local.check.output) == (status, output):
            return
        if local.check.status == status and self.output_changed is not None:
            local.check = msgspec.structs.replace(local.check, output=output)
            self.output_changed(check_id)
        else:
            self._replace(local, status=status, output=output)
            self.changed()

    def adopt_state(self, check_id: str, status: str, output: str) -> None:
        """Go on with the state that the servers know of a check that has not run since the start."""
        local = self.checks[check_id]
        self._replace(local, status=status, output="" if self.discard_output else output)

    def overdue(self) -> list[str]:
        """Ids of services with a check that has been critical for longer than it may be."""
        now = self.seconds()
        late = [
            local.check.service_id
            for local in self.checks.values()
            if local.reap_after_s > 0
            and local.critical_since is not None
            and now - local.critical_since > local.reap_after_s
        ]
        return [service_id for service_id in dict.fromkeys(late) if service_id]

    def stop(self) -> None:
        """Run no check any more."""
        for local in self.checks.values():
            if local.runner is not None:
                local.runner.stop()

    def _drop_check(self, check_id: str) -> None:
        local = self.checks.pop(check_id)
        self._forget_owner(local.check)
        if local.runner is not None:
            local.runner.stop()
        self.gone_checks[check_id] = None

    def _forget_owner(self, check: HealthCheck) -> None:
        """The check is no longer one of its service's."""
        siblings = self._check_ids.get(check.service_id)
        if siblings is not None:
            siblings.pop(check.check_id, None)
            if not siblings:
                del self._check_ids[check.service_id]

    def _replace(self, local: LocalCheck, **changes: object) -> None:
        local.check = msgspec.structs.replace(local.check, **changes)
        local.in_sync = False
        self._note_critical(local)

    def _note_critical(self, local: LocalCheck) -> None:
        if local.check.status != CRITICAL:
            local.critical_since = None
        elif local.critical_since is None:
            local.critical_since = self.seconds()
