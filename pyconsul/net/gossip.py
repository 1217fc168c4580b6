"""A gossip pool as agents use it: a serf core with a network, a clock and callbacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pyconsul.errors import PyconsulError
from pyconsul.interfaces import Address, GossipTransport
from pyconsul.log import make_logger
from pyconsul.net.driver import Driver
from pyconsul.net.gossip_joins import PoolJoins, Resolver, literals_only
from pyconsul.net.gossip_problems import Problems
from pyconsul.net.gossip_queries import AnswerHook, PoolQueries, filters_of
from pyconsul.net.networks import anywhere
from pyconsul.serf.coordinates import CoordinateClient, CoordinateSource
from pyconsul.serf.core import SerfCore
from pyconsul.serf.events import (
    FireEvent,
    ForceLeave,
    KeyringChanged,
    KeyringSaved,
    NameLost,
    QueryAnswered,
    QueryEnded,
    QueryReceived,
    SetTags,
    StartLeave,
    UserEventReceived,
)
from pyconsul.serf.keys import KeyTally, encode_request, tally
from pyconsul.serf.members import Member, MemberEvent, Status
from pyconsul.serf.messages import QueryResponse, UserEvent
from pyconsul.serf.queries import INTERNAL
from pyconsul.serf.snapshot import GossipSnapshot, Previous
from pyconsul.serf.tags import TLS_TAG, encode_tags
from pyconsul.swim.address import is_unspecified
from pyconsul.swim.core import VERSIONS
from pyconsul.swim.events import (
    Answer,
    Exchange,
    ExchangeEnded,
    LeaveEnded,
    PacketReceived,
    Problem,
    PushPullEnded,
    Send,
    StreamReceived,
    Tick,
)
from pyconsul.swim.keyring import Keyring
from pyconsul.swim.layers import Layers
from pyconsul.swim.timing import Timing

USER_EVENT_MAX = 512
"""Most bytes of a user event's name and payload, and of the whole message."""

SaveKeyring: TypeAlias = Callable[[Sequence[str]], "Deferred[None]"]
"""Makes the keys, base64 with the primary first, durable."""

__all__ = ["GossipPool", "Member", "MemberEvent", "Resolver", "Status", "literals_only"]


def _accept_all(member: Member) -> str | None:
    return None


def _ignore(_: Any) -> None:
    return None


def _nothing() -> None:
    return None


class _Begin:
    """The first event of a pool's core: become the member of one's own pool of one."""


class _Core:
    """The core as the driver sees it.

    A bug in it is logged and no more: a node that goes silent would be worse.
    """

    def __init__(self, core: SerfCore, tags: Mapping[str, str], snapshot: GossipSnapshot | None) -> None:
        self._log = make_logger("gossip")
        self._core, self._tags, self._snapshot = core, tags, snapshot
        self.next_deadline = core.next_deadline

    def handle(self, now: float, event: Any) -> list[Any]:
        core = self._core
        try:
            effects = core.start(now, self._tags) if type(event) is _Begin else core.handle(now, event)
        except Exception:
            self._log.failure("a bug in gossip")
            effects = core.swim.end()
        if self._snapshot is not None:
            self._snapshot.clocks(
                core.member_clock.time() - 1, core.event_clock.time() - 1, core.query_clock.time() - 1
            )
        return effects


class GossipPool:
    """One node's place in one pool.

    :ivar on_event: called with each change of a member, this node included.
    :ivar on_user_event: called with each user event, once.
    :ivar on_query: called with each query that is for this node, once; gives the answer.
    :ivar on_name_lost: called when most members know another node by this node's name.
    :param transport: already listening; it belongs to the caller, who closes it after ``stop``.
    :param accept_member: why a member may not be in this pool, or ``None``; asked about every member
        that is new or has news, and about all members of another pool before it is merged.
    :param allowed: whether members may be at an IP address.
    :param advertise: where others reach this node; by default where the transport listens.
    :param random_bytes: nonces of the encryption; a simulation may take its own.
    :param versions: protocol min, max, current and those of the serf layer.
    :param save_keyring: called when a query has changed the keyring; the change is reported as done
        once its Deferred has fired.
    :param snapshot: where to remember who was there, so that a restart finds back.
    :param resolve_conflicts: let members vote about a name that two nodes use; Consul does not.
    """

    def __init__(
        self,
        name: str,
        transport: GossipTransport,
        clock: IReactorTime,
        rng: Random,
        timing: Timing,
        tags: Mapping[str, str],
        *,
        keyring: Keyring | None = None,
        verify_incoming: bool = True,
        verify_outgoing: bool = True,
        compress: bool = False,
        accept_member: Callable[[Member], str | None] = _accept_all,
        allowed: Callable[[str], bool] = anywhere,
        on_event: Callable[[MemberEvent], None] = _ignore,
        on_user_event: Callable[[UserEvent], None] = _ignore,
        on_query: AnswerHook = _ignore,
        on_name_lost: Callable[[], None] = _nothing,
        advertise: Address | None = None,
        resolver: Resolver = literals_only,
        coordinates: CoordinateSource | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
        versions: bytes = VERSIONS,
        save_keyring: SaveKeyring | None = None,
        snapshot: GossipSnapshot | None = None,
        resolve_conflicts: bool = False,
    ) -> None:
        self._log = make_logger("gossip")
        self.name = name
        self.tags = dict(tags)
        self.keyring = keyring
        self.on_event, self.on_user_event, self.on_query = on_event, on_user_event, on_query
        self._transport = transport
        self._clock = clock
        self._rng = rng
        self._timing = timing
        self._accept_member, self._allowed = accept_member, allowed
        self._advertise = advertise
        self.coordinates: CoordinateSource = coordinates or CoordinateClient(rng)
        self._layers = Layers(
            random_bytes,
            keyring,
            verify_incoming=verify_incoming,
            verify_outgoing=verify_outgoing,
            compress=compress,
        )
        self.on_name_lost = on_name_lost
        self._versions = versions
        self._save_keyring = save_keyring
        self._snapshot = snapshot
        self._resolve_conflicts = resolve_conflicts
        self._queries = PoolQueries(self._feed)
        self._joins = PoolJoins(self._feed, resolver, transport)
        self._core: SerfCore | None = None
        self._driver: Driver | None = None
        self._exchanges: set[Deferred[bytes]] = set()
        self.received_bytes = self.sent_bytes = 0
        """In packets."""
        self._answer: bytes | None = None
        self._left: Deferred[None] | None = None
        self._perform: dict[type[Any], Callable[[Any], None]] = {
            Send: self._send,
            Exchange: self._exchange,
            PushPullEnded: self._joins.ended,
            LeaveEnded: self._leave_ended,
            MemberEvent: self._member_event,
            UserEventReceived: lambda effect: self._tell(self.on_user_event, effect.event),
            QueryReceived: lambda effect: self._queries.received(effect.query, self.on_query),
            QueryAnswered: self._queries.answered,
            QueryEnded: self._queries.ended,
            KeyringChanged: self._keyring_changed,
            NameLost: lambda effect: self.on_name_lost(),
            Problem: Problems(clock).add,
            Answer: self._answered,
        }

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Become the member of one's own pool of one, then look for those who were there before."""
        assert self._core is None, "started twice"
        previous = self._snapshot.open() if self._snapshot is not None else Previous()
        core = self._core = SerfCore(
            self.name,
            self._advertised(),
            self._timing,
            self._layers,
            self._rng,
            refuse=self._accept_member,
            allowed=self._allowed,
            coordinates=self.coordinates,
            versions=self._versions,
            previous=previous,
            saves_keys=self._save_keyring is not None,
            resolve_conflicts=self._resolve_conflicts,
        )
        self._transport.packet_received = self._packet_received
        self._transport.stream_received = self._stream_received
        self._transport.speaks_tls = self.speaks_tls
        self._driver = Driver(_Core(core, self.tags, self._snapshot), self._perform, self._clock, Tick())
        self._driver.feed(_Begin())
        self._joins.start()
        others = [address for name, address in previous.alive.items() if name != self.name]
        if others:
            self._rng.shuffle(others)
            self._joins.rejoin(others, lambda: not core.swim.nodes.others_alive(self.name))

    def _advertised(self) -> Address:
        address = self._advertise or self._transport.address
        if is_unspecified(address[0]):
            raise PyconsulError("a gossip pool that listens on every address needs one to advertise")
        return address

    def stop(self) -> None:
        """End at once, without leaving: to the others this looks like a failure."""
        if self._core is None:
            return
        self._core = None
        if self._driver is not None:
            self._driver.stop()
        self._queries.stop()
        if self._snapshot is not None:
            self._snapshot.close()
        self._transport.packet_received = lambda packet, source: None
        self._transport.stream_received = lambda request, source: None
        for exchange in list(self._exchanges):
            exchange.cancel()
        self._joins.stop()
        if self._left is not None and not self._left.called:
            self._left.callback(None)

    def _running(self) -> SerfCore:
        if self._core is None:
            raise PyconsulError("gossip is not running")
        return self._core

    # ------------------------------------------------------------ members

    def members(self) -> list[Member]:
        """All members, this one included."""
        if self._core is None:
            return []
        return [record.member for record in self._core.roster.records.values()]

    def member(self, name: str) -> Member | None:
        """The member called ``name``."""
        record = self._core.roster.records.get(name) if self._core is not None else None
        return record.member if record is not None else None

    def speaks_tls(self, address: Address) -> bool | None:
        """Whether the member at an address takes streams inside TLS; ``None`` if none is known there."""
        for member in self.members():
            if (member.addr, member.port) == address and member.status in (Status.ALIVE, Status.LEAVING):
                return TLS_TAG in member.tags
        return None

    @property
    def local(self) -> Member:
        """This node."""
        record = self._running().roster.records[self.name]
        return record.member

    def stats(self) -> dict[str, str]:
        """The figures of one pool in ``consul info``."""
        return self._running().stats()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Tell everybody that this node's tags are now these.

        :raises PyconsulError: if there are too many.
        """
        encode_tags(tags)
        self.tags = dict(tags)
        if self._core is not None:
            self._feed(SetTags(self.tags))

    def force_leave(self, name: str, prune: bool = False) -> None:
        """Have everybody count a failed member as gone, or with ``prune`` forget it."""
        self._running()
        self._feed(ForceLeave(name, prune))

    def fire_event(self, name: str, payload: bytes, coalesce: bool = False) -> None:
        """Send a user event to everybody, this node included.

        :raises PyconsulError: if it is too large.
        """
        core = self._running()
        if len(name.encode()) + len(payload) > USER_EVENT_MAX:
            raise PyconsulError(
                f"user event exceeds configured limit of {USER_EVENT_MAX} bytes before encoding"
            )
        encoded = UserEvent(core.event_clock.time(), name, payload, coalesce).encode()
        if len(encoded) > USER_EVENT_MAX:
            raise PyconsulError(
                f"user event exceeds configured limit of {USER_EVENT_MAX} bytes after encoding"
            )
        self._feed(FireEvent(name, payload, coalesce))

    # ------------------------------------------------------------ queries

    def query(
        self,
        name: str,
        payload: bytes = b"",
        *,
        nodes: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        ack: bool = False,
        relay_factor: int = 0,
        timeout_s: float = 0.0,
        enough: int = 0,
    ) -> Deferred[list[QueryResponse]]:
        """Ask everybody, this node included; fires with the answers and acks in the order they came.

        It fires when the time is over, or once there are ``enough`` answers; cancel it to end sooner.

        :param nodes: ask only the members with these names.
        :param tags: ask only members in whose tags these regular expressions match.
        :param ack: have each member say, before it answers, that the query arrived.
        :param relay_factor: through how many other members each answer comes as well.
        :param timeout_s: 0 means as long as a pool of this size needs.
        :raises PyconsulError: if the name is one of serf's own; or the Deferred fails with it, if the
            query is too large.
        """
        self._running()
        if name.startswith(INTERNAL):
            raise PyconsulError(f"Queries cannot contain the '{INTERNAL}' prefix")
        return self._queries.ask(
            name, payload, filters=filters_of(nodes, tags or {}), ack=ack,
            relay_factor=relay_factor, timeout_s=timeout_s, enough=enough,
        )  # fmt: skip

    def change_keys(self, operation: str, key: bytes = b"", relay_factor: int = 0) -> Deferred[KeyTally]:
        """Do ``operation``, of those in ``pyconsul.serf.keys``, on all members.

        That some members failed, or did not answer in time, is in the result.
        """
        core = self._running()
        wanted = core.queries.alive_count()
        done = self._queries.ask(
            INTERNAL + operation, encode_request(key), relay_factor=relay_factor, enough=wanted
        )
        return done.addCallback(tally, wanted)

    def _keyring_changed(self, effect: KeyringChanged) -> None:
        if self._save_keyring is None or self.keyring is None:
            return
        saved = self._save_keyring(self.keyring.keys_base64())

        def done(error: str) -> None:
            self._feed(KeyringSaved(effect.token, error))

        saved.addCallbacks(lambda _: done(""), lambda failure: done(failure.getErrorMessage()))

    # ------------------------------------------------------------ join

    def join(self, addresses: Sequence[str], ignore_old: bool = True) -> Deferred[int]:
        """Join the pools of the nodes at ``addresses``; fires with how many answered.

        An address is ``host``, ``host:port`` or ``name/host:port``. It fails if none answered.

        :param ignore_old: do not replay user events from before.
        """
        return Deferred.fromCoroutine(self._joins.join(addresses, ignore_old))

    # ------------------------------------------------------------ leave

    def leave(self) -> Deferred[None]:
        """Leave the pool; fires when everybody should know. ``stop`` still has to be called."""
        if self._left is None:
            self._left = Deferred()
            if self._core is None:
                self._left.callback(None)
            else:
                if self._snapshot is not None:
                    self._snapshot.left()
                self._feed(StartLeave())
        waiting: Deferred[None] = Deferred()
        self._left.addCallback(lambda _: waiting.callback(None))
        return waiting

    def _leave_ended(self, effect: LeaveEnded) -> None:
        if self._left is not None and not self._left.called:
            self._left.callback(None)

    # ------------------------------------------------------------ events in, effects out

    def _send(self, effect: Send) -> None:
        self.sent_bytes += len(effect.packet)
        self._transport.send(effect.packet, effect.to)

    def _packet_received(self, packet: bytes, source: Address) -> None:
        self.received_bytes += len(packet)
        self._feed(PacketReceived(packet, source))

    def _stream_received(self, request: bytes, source: Address) -> bytes | None:
        self._answer = None
        self._feed(StreamReceived(request, source))
        return self._answer

    def _answered(self, effect: Answer) -> None:
        self._answer = effect.data

    def _feed(self, event: Any) -> None:
        if self._driver is not None:
            self._driver.feed(event)

    def _exchange(self, effect: Exchange) -> None:
        """Do a stream exchange and tell the core how it went."""
        exchange = self._transport.exchange(effect.request, effect.to, effect.timeout_s, effect.answer)
        self._exchanges.add(exchange)

        def answered(answer: bytes) -> None:
            self._exchanges.discard(exchange)
            self._feed(ExchangeEnded(effect.token, answer))

        def failed(failure: Failure) -> None:
            self._exchanges.discard(exchange)
            if self._core is not None and not isinstance(failure.value, PyconsulError):
                self._log.failure("a gossip stream failed in an unexpected way", failure=failure)
            self._feed(ExchangeEnded(effect.token, None, failure.getErrorMessage()))

        exchange.addCallbacks(answered, failed)
        exchange.addErrback(lambda failure: self._log.failure("a bug in gossip", failure=failure))

    def _member_event(self, event: MemberEvent) -> None:
        self._log.info(
            "{pool}: member {kind}: {member} {addr}",
            pool=self.name, kind=event.kind, member=event.member.name, addr=event.member.addr,
        )  # fmt: skip
        if self._snapshot is not None:
            self._snapshot.member_event(event)
        self._tell(self.on_event, event)

    def _tell(self, listener: Callable[[Any], None], event: Any) -> None:
        """Call a listener; its bugs are not gossip's."""
        try:
            listener(event)
        except Exception:
            self._log.failure("a listener of gossip failed")
