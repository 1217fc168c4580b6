"""Streams: the exchange of everything that two nodes know, and pings by TCP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import ceil, log2

from pyconsul.interfaces import Address
from pyconsul.swim import messages
from pyconsul.swim.context import Context
from pyconsul.swim.events import Answer, Exchange, ExchangeEnded, StreamReceived
from pyconsul.swim.membership import Membership
from pyconsul.swim.messages import (
    STATE_ALIVE,
    STATE_LEFT,
    Ack,
    ErrorMessage,
    NodeState,
    Ping,
    PushPull,
    encode_push_pull,
)
from pyconsul.swim.nodes import Node, NodeTable
from pyconsul.swim.stream import StreamNotAuthentic, StreamRefused, decode_stream, encode_stream
from pyconsul.swim.wire import DecodeError

_SCALE_FROM = 32
"""Pools up to this size exchange at the plain interval, larger ones less often."""

_Done = Callable[[bytes | None, str], None]


class Streams:
    """Push/pull and stream pings, both sides (specs of gossip, section 7)."""

    def __init__(self, context: Context, nodes: NodeTable, membership: Membership) -> None:
        self._ctx = context
        self._nodes = nodes
        self._membership = membership
        self._waiting: dict[int, _Done] = {}
        self._token = 0

    # ------------------------------------------------------------ schedule

    def start(self) -> None:
        """Begin the periodic exchange."""
        interval = self._ctx.timing.push_pull_interval_s
        if interval > 0:
            delay_s = (1.0 + self._ctx.rng.random()) * interval
            self._ctx.timers.at(self._ctx.now + delay_s, self._tick)

    def _tick(self) -> None:
        ctx = self._ctx
        chosen = self._nodes.choose(1, lambda node: node.state == STATE_ALIVE and node.name != ctx.name)
        for node in chosen:
            self.push_pull(node.address, False, False, partial(self._synchronised, node.name))
        scale = 1
        if len(self._nodes) > _SCALE_FROM:
            scale = ceil(log2(len(self._nodes)) - log2(_SCALE_FROM)) + 1
        ctx.timers.at(ctx.now + scale * ctx.timing.push_pull_interval_s, self._tick)

    def _synchronised(self, name: str, error: str) -> None:
        if error:
            self._ctx.problem(f"push/pull with {name} failed: {error}", notable=True)

    # ------------------------------------------------------------ the asking side

    def push_pull(self, to: Address, join: bool, ignore_old: bool, done: Callable[[str], None]) -> None:
        """Exchange everything with the node at ``to``; ``done`` gets what went wrong, or nothing."""

        def ended(answer: bytes | None, error: str) -> None:
            if answer is not None:
                try:
                    error = self._take_state(answer, join, ignore_old)
                except DecodeError as problem:
                    error = str(problem)
            done(error)

        self._ask(self._local_state(join), to, self._ctx.timing.tcp_timeout_s, ended)

    def _take_state(self, answer: bytes, join: bool, ignore_old: bool) -> str:
        """Merge the other side's answer; returns why not, or nothing."""
        kind, body = decode_stream(self._ctx.layers, answer)
        if kind == messages.ERROR:
            return f"remote error: {ErrorMessage.decode(body).error}"
        if kind != messages.PUSH_PULL:
            return f"received invalid msgType ({kind}), expected pushPullMsg ({messages.PUSH_PULL})"
        return self._merge(PushPull.decode(body, self._known()), join, ignore_old)

    def ping(self, ping: Ping, node: Node, timeout_s: float, acked: Callable[[], None]) -> None:
        """Ping ``node`` by TCP."""

        def ended(answer: bytes | None, error: str) -> None:
            if answer is None:
                return
            try:
                kind, body = decode_stream(self._ctx.layers, answer)
                if kind == messages.ACK and Ack.decode(body).seq_no == ping.seq_no:
                    acked()
            except DecodeError as problem:
                self._ctx.problem(f"TCP ping of '{node.name}': {problem}")

        self._ask(encode_stream(self._ctx.layers, ping.encode()), node.address, timeout_s, ended)

    def _ask(self, request: bytes, to: Address, timeout_s: float, done: _Done) -> None:
        self._token += 1
        self._waiting[self._token] = done
        self._ctx.emit(Exchange(self._token, request, to, timeout_s))

    def ended(self, event: ExchangeEnded) -> None:
        """An exchange that we asked for is over."""
        done = self._waiting.pop(event.token, None)
        if done is not None:
            done(event.answer, event.error)

    # ------------------------------------------------------------ the answering side

    def received(self, event: StreamReceived) -> None:
        """Answer a request, if it has an answer."""
        layers = self._ctx.layers
        try:
            kind, body = decode_stream(layers, event.request)
            if kind == messages.PUSH_PULL:
                self._answer_push_pull(PushPull.decode(body, self._known()), event.source)
            elif kind == messages.PING:
                self._answer_ping(Ping.decode(body), event.source)
            elif kind == messages.USER:
                self._ctx.delegate.user_message(messages.decode_user_stream(body))
            else:
                self._ctx.problem(f"stream of unknown type {kind} from {event.source[0]}")
        except StreamRefused as error:
            self._ctx.not_authentic += isinstance(error, StreamNotAuthentic)
            self._ctx.problem(f"stream from {event.source[0]}: {error}", notable=True)
            self._ctx.emit(Answer(encode_stream(layers, ErrorMessage(str(error)).encode())))
        except DecodeError as error:
            self._ctx.problem(f"stream from {event.source[0]}: {error}")

    def _answer_push_pull(self, theirs: PushPull, source: Address) -> None:
        self._ctx.emit(Answer(self._local_state(theirs.join)))
        error = self._merge(theirs, theirs.join, False, theirs.join)
        if error:
            self._ctx.problem(f"push/pull with {source[0]} failed: {error}", notable=True)

    def _answer_ping(self, ping: Ping, source: Address) -> None:
        if ping.node and ping.node != self._ctx.name:
            self._ctx.problem(f"got TCP ping for unexpected node '{ping.node}' from {source[0]}")
            return
        self._ctx.emit(Answer(encode_stream(self._ctx.layers, Ack(ping.seq_no).encode())))

    # ------------------------------------------------------------ both

    def _local_state(self, join: bool) -> bytes:
        states = [node.encode_state() for node in self._nodes]
        user_state = self._ctx.delegate.local_state(join)
        return encode_stream(self._ctx.layers, encode_push_pull(join, states, user_state))

    def _known(self) -> set[bytes]:
        """States that would tell us nothing. A suspicion is always news: it may confirm ours."""
        return {node.encode_state() for node in self._nodes if node.state in (STATE_ALIVE, STATE_LEFT)}

    def _merge(self, theirs: PushPull, join: bool, ignore_old: bool, joining: bool = False) -> str:
        """Take in the other side's state; returns why not, or nothing."""
        error = verify_versions(theirs.nodes, self._nodes)
        if not error:
            error = self._ctx.delegate.refuse_merge(theirs.nodes)
        if not error:
            self._membership.merge(theirs.nodes, joining)
            if theirs.user_state:
                self._ctx.delegate.merge_state(theirs.user_state, join, ignore_old)
        return error


def verify_versions(theirs: Sequence[NodeState], ours: Iterable[Node]) -> str:
    """Why the nodes of two pools cannot speak with each other; empty if they can.

    The versions that everybody alive understands must hold those that everybody speaks (specs of
    gossip, section 5).
    """
    nodes: list[tuple[str, int, bytes]] = [(node.name, node.state, node.versions) for node in theirs]
    nodes += ((node.name, node.state, node.versions) for node in ours)
    alive = {versions for _, state, versions in nodes if state == STATE_ALIVE}
    everybody = dict.fromkeys(versions for _, _, versions in nodes)
    for first, kind in ((0, "protocol"), (3, "delegate protocol")):
        known = [versions for versions in alive if len(versions) >= first + 3]
        lowest = max((versions[first] for versions in known), default=0)
        highest = min((versions[first + 1] for versions in known), default=255)
        for odd in everybody:
            current = odd[first + 2] if len(odd) >= first + 3 else 0
            if not lowest <= current <= highest:
                name = next(name for name, _, versions in nodes if versions == odd)
                return f"Node '{name}' {kind} version ({current}) is incompatible: [{lowest}, {highest}]"
    return ""
