"""Questions to the whole pool: asking them, answering those of others, relaying answers.

Source: specs of serf, section 7. A query spreads by gossip; answers go straight to who asked, and
with a relay factor also by way of a few other members, in case the straight way is blocked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil, log10

from msgspec import Struct

from pyconsul.interfaces import Address
from pyconsul.serf import messages
from pyconsul.serf.buffers import RecentBuffer
from pyconsul.serf.clock import LamportClock
from pyconsul.serf.events import AnswerQuery, QueryAnswered, QueryEnded, QueryReceived, StartQuery
from pyconsul.serf.filters import passes
from pyconsul.serf.messages import FLAG_ACK, FLAG_NO_BROADCAST, Query, QueryResponse, Relay
from pyconsul.serf.roster import Roster
from pyconsul.swim.address import host_of
from pyconsul.swim.core import SwimCore
from pyconsul.swim.messages import STATE_ALIVE, STATE_DEAD
from pyconsul.swim.nodes import Node
from pyconsul.swim.timers import Timer

QUERY_SIZE_MAX = 1024
RESPONSE_SIZE_MAX = 1024
INTERNAL = "_serf_"
"""What the names of queries begin with that members answer by themselves."""

_TIMEOUT_MULT = 16
_ASKED_MAX = 256
"""Queries of ours that are under way at a time."""

_ANSWERABLE_MAX = 1024
"""Queries of others that wait for an answer of an application."""

_SENDERS_MIN = 64
_RELAY_PROTOCOL = 5
_NUMBER_BITS = 31

_Key = tuple[int, int]
"""Logical time and number of a query."""


class _Asked(Struct):
    """A query of ours that still takes answers. Who has acked and answered is only looked up."""

    token: int
    enough: int
    timer: Timer
    answered: Callable[[QueryResponse], None]
    ended: Callable[[str], None]
    acks: set[str]
    answers: set[str]


class Queries:
    """Both sides of queries.

    :param spread: have a message passed on by gossip.
    :param internal: what answers queries of the serf layer itself; tells whether it knows the name.
    """

    def __init__(
        self,
        swim: SwimCore,
        roster: Roster,
        clock: LamportClock,
        spread: Callable[[bytes], None],
        internal: Callable[[Query], bool],
    ) -> None:
        self._swim = swim
        self._ctx = swim.context
        self._roster = roster
        self._clock = clock
        self._spread = spread
        self._internal = internal
        self.recent: RecentBuffer[int] = RecentBuffer()
        self._asked: dict[_Key, _Asked] = {}
        self._tokens: dict[int, _Key] = {}
        self._answerable: dict[_Key, tuple[Query, float]] = {}

    # ------------------------------------------------------------ asking

    def default_timeout_s(self) -> float:
        """How long answers are awaited in a pool of this size."""
        alive = self.alive_count()
        return self._ctx.timing.gossip_interval_s * _TIMEOUT_MULT * ceil(log10(alive + 1))

    def alive_count(self) -> int:
        """Members that may be expected to answer, this one included."""
        return sum(node.state < STATE_DEAD for node in self._swim.nodes)

    def start(self, event: StartQuery) -> None:
        """Ask everybody, this node included, and report what comes of it as effects."""
        emit, token = self._ctx.emit, event.token
        self.ask(
            event,
            lambda response: emit(QueryAnswered(token, response)),
            lambda error: emit(QueryEnded(token, error)),
        )

    def ask(
        self, event: StartQuery, answered: Callable[[QueryResponse], None], ended: Callable[[str], None]
    ) -> None:
        """Ask everybody; ``ended`` gets why it could not be asked, or nothing."""
        me = self._swim.me
        timeout_s = event.timeout_s if event.timeout_s > 0 else self.default_timeout_s()
        flags = (FLAG_ACK if event.ack else 0) | (0 if event.spread else FLAG_NO_BROADCAST)
        query = Query(
            self._clock.time(), self._ctx.rng.getrandbits(_NUMBER_BITS), me.addr, me.port, self._ctx.name,
            tuple(event.filters), flags, event.relay_factor, int(timeout_s * 1e9), event.name, event.payload,
        )  # fmt: skip
        message = query.encode()
        if len(message) > QUERY_SIZE_MAX:
            ended(f"query exceeds limit of {QUERY_SIZE_MAX} bytes")
            return
        if len(self._asked) >= _ASKED_MAX:
            ended("too many queries at a time")
            return
        key = (query.ltime, query.number)
        timer = self._ctx.timers.at(self._ctx.now + timeout_s, partial(self._end, key))
        self._asked[key] = _Asked(event.token, event.enough, timer, answered, ended, set(), set())
        self._tokens[event.token] = key
        self._take(query)
        self._spread(message)

    def close(self, token: int) -> None:
        """Take no more answers."""
        key = self._tokens.get(token)
        if key is not None:
            self._end(key)

    def _end(self, key: _Key) -> None:
        asked = self._asked.pop(key, None)
        if asked is not None:
            asked.timer.cancel()
            self._tokens.pop(asked.token, None)
            asked.ended("")

    def response_received(self, response: QueryResponse) -> None:
        """Somebody answers: the first ack and the first answer of each member count."""
        key = (response.ltime, response.number)
        asked = self._asked.get(key)
        if asked is None:
            return
        senders = asked.acks if response.is_ack else asked.answers
        senders_max = max(_SENDERS_MIN, 2 * len(self._swim.nodes))
        if response.sender in senders or len(senders) >= senders_max:
            return
        senders.add(response.sender)
        asked.answered(response)
        if 0 < asked.enough <= len(asked.answers):
            self._end(key)

    # ------------------------------------------------------------ answering

    def received(self, message: bytes) -> None:
        """A query came; it is passed on whether or not it is for this node."""
        query = Query.decode(message[1:])
        if self._take(query) and not query.flags & FLAG_NO_BROADCAST:
            self._spread(message)

    def _take(self, query: Query) -> bool:
        """See to a query; tells whether it was news."""
        host_of(query.addr)  # raises: who cannot be answered is not listened to
        self._clock.witness(query.ltime)
        if not self.recent.is_news(query.ltime, self._clock.time(), query.number):
            return False
        if not passes(query.filters, self._ctx.name, self._tags()):
            return True
        if query.flags & FLAG_ACK:
            self._respond(query, None, FLAG_ACK)
        if query.name.startswith(INTERNAL):
            if not self._internal(query):
                self._ctx.problem(f"unknown query '{query.name}' from {query.source_node}")
        elif query.timeout_ns > 0:
            while len(self._answerable) >= _ANSWERABLE_MAX:
                del self._answerable[next(iter(self._answerable))]
            key = (query.ltime, query.number)
            self._answerable[key] = query, self._ctx.now + query.timeout_ns / 1e9
            self._ctx.emit(QueryReceived(query))
        return True

    def _tags(self) -> dict[str, str]:
        record = self._roster.records.get(self._ctx.name)
        return record.member.tags if record is not None else {}

    def answered(self, event: AnswerQuery) -> None:
        """An application has its answer: the first one, in time, is sent."""
        found = self._answerable.pop((event.query.ltime, event.query.number), None)
        if found is not None and self._ctx.now <= found[1]:
            self.respond(found[0], event.payload)

    def respond(self, query: Query, payload: bytes) -> None:
        """Send an answer."""
        self._respond(query, payload, 0)

    def _respond(self, query: Query, payload: bytes | None, flags: int) -> None:
        response = QueryResponse(query.ltime, query.number, self._ctx.name, flags, payload)
        message = response.encode()
        if len(message) > RESPONSE_SIZE_MAX:
            text = f"answer to query '{query.name}': response exceeds limit of {RESPONSE_SIZE_MAX} bytes"
            self._ctx.problem(text, notable=True)
            return
        if (query.ltime, query.number) in self._asked and query.source_node == self._ctx.name:
            self.response_received(response)
            return
        self._swim.send_user(message, (host_of(query.addr), query.port))
        if query.relay_factor:
            relay = Relay(query.addr, query.port, query.source_node, message).encode()
            for address in self._relays(query.relay_factor):
                self._swim.send_user(relay, address)

    def _relays(self, count: int) -> list[Address]:
        """Members to send an answer through; none in a pool that is too small for that."""
        if len(self._roster.records) < count + 1:
            return []

        def fits(node: Node) -> bool:
            usable = node.state == STATE_ALIVE and node.protocol_max >= _RELAY_PROTOCOL
            return usable and node.name != self._ctx.name

        return [node.address for node in self._swim.nodes.choose(count, fits)]

    def relay_received(self, message: bytes) -> None:
        """Pass an answer on, as it is, to who asked."""
        relay = Relay.decode(message[1:])
        if relay.message[:1] == bytes((messages.QUERY_RESPONSE,)):
            self._swim.send_user(relay.message, (host_of(relay.addr), relay.port))
