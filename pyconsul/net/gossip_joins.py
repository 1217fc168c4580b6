"""How a pool finds others: joins that somebody asks for, and finding back after a restart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred, DeferredList, fail, succeed

from pyconsul.errors import PyconsulError, Unreachable
from pyconsul.interfaces import Address, GossipTransport
from pyconsul.log import make_logger
from pyconsul.serf.events import AnnounceJoin
from pyconsul.swim.address import is_literal
from pyconsul.swim.events import PushPull, PushPullEnded

Resolver: TypeAlias = Callable[[str], Deferred[Sequence[str]]]
"""All IP addresses of a host; fails with the reason."""

_AT_A_TIME = 8
"""Addresses that are tried at the same time by one join."""


def literals_only(host: str) -> Deferred[Sequence[str]]:
    """The resolver that knows no names."""
    if is_literal(host):
        return succeed([host])
    return fail(Unreachable(f"lookup {host}: no such host"))


class PoolJoins:
    """Between the Deferreds of those who want to join and the events of the core.

    :param feed: has the core handle an event.
    :param transport: the pool's; an address without a port means its own.
    """

    def __init__(self, feed: Callable[[Any], object], resolver: Resolver, transport: GossipTransport) -> None:
        self._log = make_logger("gossip")
        self._feed = feed
        self._resolve = resolver
        self._transport = transport
        self._waiting: dict[int, Deferred[None]] = {}
        self._token = 0
        self._running = False

    def start(self) -> None:
        """The core handles events from now on."""
        self._running = True

    def stop(self) -> None:
        """The pool ends."""
        self._running = False
        waiting, self._waiting = self._waiting, {}
        for done in waiting.values():
            done.errback(Unreachable("shutting down"))

    # ------------------------------------------------------------ join

    async def join(self, addresses: Sequence[str], ignore_old: bool) -> int:
        """Join through all of ``addresses``; how many answered.

        :raises PyconsulError: if none did.
        """
        if not self._running:
            raise PyconsulError("gossip is not running")
        errors: list[str] = []
        targets: list[Address] = []
        for text in addresses:
            try:
                host, port = self._split(text)
                targets += [(found, port) for found in await self._resolve(host)]
            except PyconsulError as error:
                errors.append(f"Failed to resolve {text}: {error}")
        joined = 0
        for first in range(0, len(targets), _AT_A_TIME):
            some = targets[first : first + _AT_A_TIME]
            exchanges = [self._push_pull(to, ignore_old) for to in some]
            outcomes: Sequence[tuple[bool, Any]] = await DeferredList(exchanges, consumeErrors=True)
            for to, (succeeded, result) in zip(some, outcomes, strict=True):
                if succeeded:
                    joined += 1
                elif result.check(PyconsulError):
                    errors.append(f"Failed to join {to[0]}: {result.value}")
                else:
                    result.raiseException()
        if errors and not joined:
            raise PyconsulError(_several(errors))
        if joined:
            self._feed(AnnounceJoin())
        return joined

    def _split(self, text: str) -> Address:
        """Host and port of what the user wrote."""
        _, _, place = text.rpartition("/")
        if is_literal(place):
            return place, self._transport.address[1]
        if place.startswith("["):
            host, _, rest = place[1:].partition("]")
            port = rest.removeprefix(":")
        else:
            host, _, port = place.partition(":")
        if not port:
            return host, self._transport.address[1]
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise PyconsulError(f"invalid port {port}")
        return host, int(port)

    def _push_pull(self, to: Address, ignore_old: bool) -> Deferred[None]:
        if not self._running:
            return fail(Unreachable("shutting down"))
        self._token += 1
        waiting = self._waiting[self._token] = Deferred()
        self._feed(PushPull(self._token, to, True, ignore_old))
        return waiting

    def ended(self, effect: PushPullEnded) -> None:
        """An exchange is over."""
        waiting = self._waiting.pop(effect.token, None)
        if waiting is None:
            return
        if effect.error:
            waiting.errback(PyconsulError(effect.error))
        else:
            waiting.callback(None)

    # ------------------------------------------------------------ rejoin

    def rejoin(self, others: Sequence[str], alone: Callable[[], bool]) -> None:
        """Join one of those who were alive before a restart, unless somebody finds us first."""
        rejoining = Deferred.fromCoroutine(self._rejoin(others, alone))
        rejoining.addErrback(lambda failure: self._log.failure("a bug in gossip", failure=failure))

    async def _rejoin(self, others: Sequence[str], alone: Callable[[], bool]) -> None:
        for text in others:
            if not self._running or not alone():
                return
            self._log.info("Attempting re-join to previously known node: {address}", address=text)
            try:
                await self._push_pull(self._split(text), False)
            except PyconsulError as error:
                self._log.debug("cannot re-join {address}: {why}", address=text, why=error)
                continue
            self._log.info("Re-joined to previously known node: {address}", address=text)
            self._feed(AnnounceJoin())
            return
        self._log.warn("Failed to re-join any previously known node")


def _several(errors: Sequence[str]) -> str:
    """Errors under one another, as Consul prints them."""
    head = "1 error occurred:" if len(errors) == 1 else f"{len(errors)} errors occurred:"
    return head + "".join(f"\n\t* {error}" for error in errors) + "\n\n"
