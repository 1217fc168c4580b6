"""Make the catalog agree with what runs on this node.

Source: specs of Consul's RPC, section 5. A full sync compares both sides about once a minute; a
change here is sent at once. What fails is tried again later; nothing is forgotten. In a large cluster
all of it is rarer, so that the servers have about as much to do as in one of 128 nodes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from math import ceil, inf, log2
from random import Random
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from pyconsul.agent.local import LocalCheck, LocalState
from pyconsul.errors import BadRequest, PermissionDenied, PyconsulError, Refused
from pyconsul.log import make_logger
from pyconsul.structs.catalog import (
    CONSUL_SERVICE,
    SERF_CHECK_ID,
    DeregisterRequest,
    HealthCheck,
    IndexedHealthChecks,
    IndexedNodeServices,
    Node,
    NodeService,
    NodeSpecificRequest,
    RegisterRequest,
)

FULL_SYNC_S = 60.0
RETRY_S, RETRY_MAX_S = 5.0, 60.0
RECONNECT_S = 3.0
"""Within this time, times the scale, all agents compare after the servers have come back."""
FEW = 32
"""Of fewer nodes, all come sooner."""

SMALL_CLUSTER = 128
GATHER_S = 0.01
IN_FLIGHT_MAX = 16
"""Requests to the servers at a time: enough for them to write many entries at once."""

MAX_STALE_NS = 2_000_000_000


def scale(members: int) -> int:
    """By how much syncs are rarer in a cluster of so many nodes: one more for each doubling above 128."""
    return 1 if members <= SMALL_CLUSTER else ceil(log2(members) - log2(SMALL_CLUSTER)) + 1


class Asks(Protocol):
    """The part of an agent that is needed here."""

    def ask(self, method: str, request: Any) -> Any: ...


class AntiEntropy:
    """Syncs ``local`` and the node itself to the servers.

    :param node: this node as the catalog should have it; its indexes do not matter.
    :param output_interval_s: for how long about a change of a check's output alone is kept back
        (``check_update_interval``); 0: not at all.
    :param members: how many nodes the cluster has.
    :ivar asked: requests made so far.
    """

    def __init__(
        self,
        agent: Asks,
        node: Node,
        local: LocalState,
        clock: IReactorTime,
        rng: Random,
        output_interval_s: float = 0.0,
        members: Callable[[], int] = lambda: 1,
    ) -> None:
        self._log = make_logger("agent")
        self._agent = agent
        self._node = node
        self._local = local
        self._clock = clock
        self._rng = rng
        self._members = members
        self.asked = 0
        self._failures = 0
        self._trusting = False
        """Whether any server's store will do to compare with: one that has just started may be behind."""
        self._node_in_sync = False
        self._running = False
        self._again = False
        self._stopped = True
        self._call: IDelayedCall | None = None
        self._syncing: Deferred[None] | None = None
        self._full_due = 0.0
        self._output_interval_s = output_interval_s
        self._outputs_due: dict[str, float] = {}
        """When the servers are to hear of the new output of a check, by its id."""
        local.changed = self.changed
        if output_interval_s > 0:
            local.output_changed = self.output_changed

    def start(self, after_s: float = 0.0) -> None:
        """Begin with a full sync, after some time or when a server turns up."""
        self._stopped = False
        self._full_due = self._clock.seconds() + after_s
        self._trusting = False
        self._schedule(after_s)

    def stop(self) -> None:
        """Sync no more; what is on its way is given up."""
        self._stopped = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._syncing is not None:
            self._syncing.cancel()

    def changed(self) -> None:
        """Something on this node changed: send it soon."""
        self._again = self._running
        if not self._running:
            self._schedule(GATHER_S)

    def output_changed(self, check_id: str) -> None:
        """A check says something else, though its state is the same: send that some time later."""
        if check_id not in self._outputs_due:
            delay_s = self._output_interval_s * (1 + self._rng.random()) / 2
            self._outputs_due[check_id] = self._clock.seconds() + delay_s
            if not self._running:
                self._schedule(delay_s)

    def node_changed(self, node: Node) -> None:
        """The node itself is another one now."""
        self._node = node
        self._node_in_sync = False
        self.changed()

    def servers_changed(self) -> None:
        """There is a server again, perhaps one that knows nothing: compare.

        All agents notice that at once; they come one after the other, the sooner the fewer there are.
        """
        members = self._members()
        spread_s = min(1.0, members / FEW) * RECONNECT_S * scale(members)
        delay_s = GATHER_S + self._rng.random() * spread_s
        self._full_due = min(self._full_due, self._clock.seconds() + delay_s)
        self._failures = 0
        self._trusting = False
        if not self._running:
            self._schedule(delay_s)

    def leader_found(self) -> None:
        """There is a leader: whoever tried in vain need not wait until the next attempt is due."""
        if self._failures:
            self.servers_changed()

    def _schedule(self, delay_s: float) -> None:
        if self._stopped:
            return
        if self._call is not None:
            if self._call.getTime() <= self._clock.seconds() + delay_s:
                return
            self._call.cancel()
        self._call = self._clock.callLater(delay_s, self._run)

    def _run(self) -> None:
        self._call = None
        self._running = True
        self._again = False
        self._syncing = Deferred.fromCoroutine(self._sync())
        self._syncing.addBoth(self._ran)

    def _ran(self, result: object) -> None:
        self._running = False
        self._syncing = None
        if self._stopped:
            return
        due = min([self._full_due, *self._outputs_due.values()])
        delay_s = max(0.0, due - self._clock.seconds())
        if isinstance(result, Failure):
            if isinstance(result.value, PyconsulError):
                self._log.warn("syncing with the servers failed: {error}", error=result.value)
            else:
                self._log.failure("a bug in anti-entropy", failure=result)
            wait_s = min(RETRY_S * 2**self._failures, RETRY_MAX_S) * scale(self._members())
            self._failures = min(self._failures + 1, 10)
            delay_s = wait_s * (0.5 + self._rng.random())
        else:
            self._failures = 0
            if self._again:
                delay_s = GATHER_S
        self._schedule(delay_s)

    async def _ask(self, method: str, request: Any) -> Any:
        self.asked += 1
        answer = self._agent.ask(method, request)
        return await answer if isinstance(answer, Deferred) else answer

    async def _sync(self) -> None:
        if self._clock.seconds() >= self._full_due:
            self._full_due = inf  # until somebody wants one more, perhaps while this one runs
            try:
                await self._compare()
            except BaseException:
                self._full_due = 0.0
                self._trusting = False
                raise
            interval_s = FULL_SYNC_S * scale(self._members())
            next_due = self._clock.seconds() + interval_s * (1 + self._rng.random())
            self._full_due = min(self._full_due, next_due)
        await self._push()

    # ------------------------------------------------------------ comparing

    async def _compare(self) -> None:
        """Mark what differs from the catalog; note what it has and we do not."""
        question = NodeSpecificRequest(
            datacenter=self._node.datacenter,
            node=self._node.node,
            allow_stale=self._trusting,
            max_stale_duration=MAX_STALE_NS if self._trusting else 0,
        )
        self._trusting = True
        services: IndexedNodeServices = await self._ask("Catalog.NodeServices", question)
        checks: IndexedHealthChecks = await self._ask("Health.NodeChecks", question)
        found = services.node_services
        self._node_in_sync = found is not None and _same_node(found.node, self._node)
        remote_services = dict(found.services) if found is not None else {}
        for service_id, local in self._local.services.items():
            theirs = remote_services.pop(service_id, None)
            if theirs is not None and local.service.enable_tag_override:
                self._local.adopt_tags(service_id, theirs.tags)
            local.in_sync = theirs is not None and _same(theirs, local.service)
        remote_services.pop(CONSUL_SERVICE, None)
        self._local.gone_services.update(dict.fromkeys(remote_services))
        remote_checks = {check.check_id: check for check in checks.health_checks}
        for check_id, local_check in self._local.checks.items():
            their_check = remote_checks.pop(check_id, None)
            if their_check is not None and local_check.unproven:
                self._local.adopt_state(check_id, their_check.status, their_check.output)
            local_check.in_sync = their_check is not None and self._same_check(their_check, local_check)
        remote_checks.pop(SERF_CHECK_ID, None)
        self._local.gone_checks.update(
            (check_id, None)
            for check_id, check in remote_checks.items()
            if check.service_id not in remote_services
        )

    def _same_check(self, theirs: HealthCheck, local: LocalCheck) -> bool:
        """Equal; where only the output differs that may be sent later."""
        ours = local.check
        if self._output_interval_s > 0 and theirs.output != ours.output and theirs.status == ours.status:
            self.output_changed(ours.check_id)
            theirs = replace(theirs, output=ours.output)
        return _same(theirs, ours)

    # ------------------------------------------------------------ sending

    async def _push(self) -> None:
        local = self._local
        self._take_outputs()
        refused: list[PyconsulError] = []
        await self._each(self._drop_service, local.gone_services, refused)
        await self._each(self._drop_check, local.gone_checks, refused)
        if not self._node_in_sync:
            await self._ask("Catalog.Register", self._registration(None, [], ""))
            self._node_in_sync = True
            self._log.info("Synced node info")
        services = [service_id for service_id, entry in local.services.items() if not entry.in_sync]
        await self._each(self._push_service, services, refused)
        checks = [check_id for check_id, entry in local.checks.items() if not entry.in_sync]
        await self._each(self._push_check, checks, refused)
        if refused:
            raise refused[0]

    async def _each(
        self,
        step: Callable[[str], Coroutine[Deferred[Any], Any, None]],
        ids: Iterable[str],
        refused: list[PyconsulError],
    ) -> None:
        """Take a step for each id, some at a time. None is begun any more once one has failed.

        What the servers do not want must not keep the rest from them: that is noted in ``refused``.
        """
        waiting = deque(ids)

        async def work() -> None:
            while waiting:
                try:
                    await step(waiting.popleft())
                except (Refused, BadRequest, PermissionDenied) as error:
                    refused.append(error)
                except BaseException:
                    waiting.clear()
                    raise

        workers = [Deferred.fromCoroutine(work()) for _ in range(min(len(waiting), IN_FLIGHT_MAX))]
        for _, result in await DeferredList(workers, consumeErrors=True):
            if isinstance(result, Failure):
                result.raiseException()

    def _take_outputs(self) -> None:
        """Mark checks whose new output has been kept back long enough."""
        now = self._clock.seconds()
        for check_id in [check_id for check_id, due in self._outputs_due.items() if due <= now]:
            del self._outputs_due[check_id]
            local = self._local.checks.get(check_id)
            if local is not None:
                local.in_sync = False

    async def _drop_service(self, service_id: str) -> None:
        if service_id not in self._local.services:
            await self._ask("Catalog.Deregister", self._gone(service_id=service_id))
            self._local.gone_services.pop(service_id, None)
            self._log.info("Deregistered service: service={service}", service=service_id)

    async def _drop_check(self, check_id: str) -> None:
        if check_id not in self._local.checks:
            await self._ask("Catalog.Deregister", self._gone(check_id=check_id))
            self._local.gone_checks.pop(check_id, None)
            self._log.info("Deregistered check: check={check}", check=check_id)

    async def _push_service(self, service_id: str) -> None:
        entry = self._local.services.get(service_id)
        if entry is None:
            return
        service = entry.service
        checks = [
            (local, local.check)
            for local in self._local.checks_of(service_id)
            if not local.in_sync and local.token == entry.token
        ]
        request = self._registration(service, [check for _, check in checks], entry.token)
        await self._ask("Catalog.Register", request)
        entry.in_sync = entry.service is service
        for local, sent in checks:
            self._sent(local, sent)
        self._log.info("Synced service: service={service}", service=service_id)

    async def _push_check(self, check_id: str) -> None:
        local = self._local.checks.get(check_id)
        if local is None or local.in_sync:
            return
        sent = local.check
        owner = self._local.services.get(sent.service_id)
        request = self._registration(owner.service if owner else None, [sent], local.token)
        await self._ask("Catalog.Register", request)
        self._sent(local, sent)
        self._log.info("Synced check: check={check} status={status}", check=check_id, status=sent.status)

    def _sent(self, local: LocalCheck, sent: HealthCheck) -> None:
        """The servers have ``sent``; it may have changed meanwhile."""
        if local.check is sent:
            local.in_sync = True
            self._outputs_due.pop(sent.check_id, None)
        else:
            local.in_sync = sent.check_id in self._outputs_due and (
                replace(local.check, output=sent.output) == sent
            )

    def _registration(
        self, service: NodeService | None, checks: list[HealthCheck], token: str
    ) -> RegisterRequest:
        node = self._node
        return RegisterRequest(
            token=token,
            datacenter=node.datacenter,
            id=node.id,
            node=node.node,
            address=node.address,
            tagged_addresses=node.tagged_addresses,
            node_meta=node.meta,
            service=service,
            checks=checks or None,
        )

    def _gone(self, service_id: str = "", check_id: str = "") -> DeregisterRequest:
        return DeregisterRequest(
            datacenter=self._node.datacenter, node=self._node.node, service_id=service_id, check_id=check_id
        )


def _same(theirs: Any, ours: Any) -> bool:
    """Equal but for the indexes, and for empty against missing collections."""
    return _plain(theirs) == _plain(ours)


def _plain(row: Any) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.structs.asdict(row)
    for name in ("create_index", "modify_index"):
        fields.pop(name, None)
    return {name: value for name, value in fields.items() if value or isinstance(value, int | str)}


def _same_node(theirs: Node, ours: Node) -> bool:
    return (theirs.id, theirs.address, theirs.tagged_addresses or {}, theirs.meta or {}) == (
        ours.id,
        ours.address,
        ours.tagged_addresses or {},
        ours.meta or {},
    )
