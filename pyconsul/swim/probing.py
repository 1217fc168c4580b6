"""The failure detector: ping one node after the other, ask others to help, then suspect.

Source: SWIM (2002), section 3.1, with Lifeguard's nacks; specs of gossip, section 9.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from pyconsul.interfaces import Address
from pyconsul.swim.address import host_of
from pyconsul.swim.awareness import Awareness
from pyconsul.swim.context import Context
from pyconsul.swim.dissemination import Dissemination
from pyconsul.swim.membership import Membership
from pyconsul.swim.messages import STATE_ALIVE, Ack, IndirectPing, Nack, Ping, Suspect
from pyconsul.swim.nodes import Node, NodeTable
from pyconsul.swim.timers import Timer

_NACK_PROTOCOL = 4
_TCP_PROTOCOL = 3
_RELAYS_MAX = 512
"""Pings for others that may be under way; further requests are dropped."""

PingByStream = Callable[[Ping, Node, float, Callable[[], None]], None]
"""Ping a node by TCP within so many seconds; the last argument is called if it answers."""


class Probe:
    """The ping that is under way."""

    __slots__ = ("by_stream", "direct", "due", "nacks", "nacks_expected", "node", "sent", "seq_no", "timers")

    def __init__(self, node: Node, seq_no: int, sent: float, due: float) -> None:
        self.node = node
        self.seq_no = seq_no
        self.sent = sent
        self.due = due
        self.timers: tuple[Timer, ...] = ()
        self.nacks_expected = 0
        self.nacks = 0
        self.direct = True
        self.by_stream = False


class FailureDetector:
    """Probes one node per interval and answers the pings of others."""

    def __init__(
        self,
        context: Context,
        nodes: NodeTable,
        awareness: Awareness,
        gossip: Dissemination,
        membership: Membership,
        ping_by_stream: PingByStream,
    ) -> None:
        self._ctx = context
        self._nodes = nodes
        self._awareness = awareness
        self._gossip = gossip
        self._membership = membership
        self._ping_by_stream = ping_by_stream
        self._seq_no = 0
        self._probe: Probe | None = None
        self._scheduled = False
        self._last_tick = 0.0
        self._relays: dict[int, tuple[int, Address, Timer]] = {}

    # ------------------------------------------------------------ schedule

    def wake(self) -> None:
        """There is somebody to probe."""
        if not self._scheduled and self._probe is None and len(self._nodes) > 1:
            delay_s = self._ctx.rng.random() * self._ctx.timing.probe_interval_s
            self._schedule(self._ctx.now + delay_s)

    def _schedule(self, when: float) -> None:
        self._scheduled = True
        self._ctx.timers.at(when, self._tick)

    def _tick(self) -> None:
        ctx = self._ctx
        self._scheduled = False
        self._last_tick = ctx.now
        if len(self._nodes) < 2:
            return
        node = self._nodes.next_probed(ctx.now, ctx.name, ctx.timing.gossip_to_the_dead_s)
        if node is None:
            self._schedule(ctx.now + ctx.timing.probe_interval_s)
        else:
            self._begin(node)

    def _end(self) -> None:
        """Forget the probe; the next one starts with the next tick, those in between are skipped."""
        probe = self._probe
        assert probe is not None
        for timer in probe.timers:
            timer.cancel()
        self._probe = None
        interval = self._ctx.timing.probe_interval_s
        ticks = max(1, ceil((self._ctx.now - self._last_tick) / interval - 1e-6))
        self._schedule(max(self._last_tick + ticks * interval, self._ctx.now))

    # ------------------------------------------------------------ our own probe

    def _begin(self, node: Node) -> None:
        ctx, timing = self._ctx, self._ctx.timing
        due = ctx.now + self._awareness.scale(timing.probe_interval_s)
        probe = Probe(node, self._next_seq_no(), ctx.now, due)
        self._probe = probe
        probe.timers = (
            ctx.timers.at(min(ctx.now + timing.probe_timeout_s, probe.due), self._ask_others),
            ctx.timers.at(probe.due, self._give_up),
        )
        ping = self._ping(probe.seq_no, node.name).encode()
        if node.state == STATE_ALIVE:
            self._gossip.piggyback(ping, node.address)
        else:  # it can refute at once
            accusation = Suspect(node.incarnation, node.name, ctx.name)
            self._gossip.send_to(node, (ping, accusation.encode()))

    def _ping(self, seq_no: int, node: str) -> Ping:
        me = self._membership.me
        return Ping(seq_no, node, me.addr, me.port, me.name)

    def _next_seq_no(self) -> int:
        self._seq_no = self._seq_no % 0xFFFFFFFF + 1
        return self._seq_no

    def _ask_others(self) -> None:
        """The node did not answer in time: have others ping it, and try TCP."""
        probe, ctx = self._probe, self._ctx
        assert probe is not None
        probe.direct = False
        target, me = probe.node, self._membership.me
        for peer in self._nodes.choose(ctx.timing.indirect_checks, lambda node: self._helps(node, target)):
            nack = peer.protocol_max >= _NACK_PROTOCOL
            probe.nacks_expected += nack
            request = IndirectPing(
                probe.seq_no, target.addr, target.port, target.name, nack, me.addr, me.port, me.name
            )
            self._gossip.piggyback(request.encode(), peer.address)
        left_s = probe.due - ctx.now
        if ctx.timing.tcp_fallback and target.protocol_max >= _TCP_PROTOCOL and left_s > 0:
            ping = self._ping(probe.seq_no, target.name)
            self._ping_by_stream(ping, target, left_s, lambda: self._stream_acked(probe))

    def _helps(self, node: Node, target: Node) -> bool:
        return node.state == STATE_ALIVE and node is not target and node.name != self._ctx.name

    @staticmethod
    def _stream_acked(probe: Probe) -> None:
        probe.by_stream = True

    def _give_up(self) -> None:
        """The time for the probe is over."""
        probe = self._probe
        assert probe is not None
        node = probe.node
        self._end()
        if probe.by_stream:
            self._ctx.problem(
                f"was able to connect to '{node.name}' over TCP but UDP probes failed, network may be "
                "misconfigured",
                notable=True,
            )
            self._awareness.add(-1)
            return
        self._awareness.add(probe.nacks_expected - probe.nacks if probe.nacks_expected else 1)
        self._membership.suspect(Suspect(node.incarnation, node.name, self._ctx.name))

    # ------------------------------------------------------------ what comes in

    def answer_ping(self, ping: Ping, source: Address) -> None:
        """Ack a ping that is for us."""
        if ping.node and ping.node != self._ctx.name:
            self._ctx.problem(f"got ping for unexpected node '{ping.node}'")
            return
        ack = Ack(ping.seq_no, self._ctx.delegate.ack_payload())
        self._gossip.piggyback(ack.encode(), _reply_to(ping, source))

    def relay(self, request: IndirectPing, source: Address) -> None:
        """Ping a node for somebody else."""
        ctx = self._ctx
        if len(self._relays) >= _RELAYS_MAX:
            ctx.problem("too many indirect pings")
            return
        target = (host_of(request.target), request.port)
        reply_to = _reply_to(request, source)
        seq_no = self._next_seq_no()
        timer = ctx.timers.at(
            ctx.now + ctx.timing.probe_timeout_s, lambda: self._relay_failed(seq_no, request.nack)
        )
        self._relays[seq_no] = (request.seq_no, reply_to, timer)
        self._gossip.piggyback(self._ping(seq_no, request.node).encode(), target)

    def _relay_failed(self, seq_no: int, nack: bool) -> None:
        their_seq_no, reply_to, _ = self._relays.pop(seq_no)
        if nack:
            self._gossip.piggyback(Nack(their_seq_no).encode(), reply_to)

    def acked(self, ack: Ack) -> None:
        """An ack came, for our probe, for one that we relay, or too late."""
        probe = self._probe
        if probe is not None and ack.seq_no == probe.seq_no:
            self._end()
            self._awareness.add(-1)
            if probe.direct and ack.payload is not None:
                self._ctx.delegate.probed(probe.node, self._ctx.now - probe.sent, ack.payload)
            return
        relay = self._relays.pop(ack.seq_no, None)
        if relay is not None:
            their_seq_no, reply_to, timer = relay
            timer.cancel()
            self._gossip.piggyback(Ack(their_seq_no).encode(), reply_to)

    def nacked(self, nack: Nack) -> None:
        """One who helps lives but got no answer either."""
        probe = self._probe
        if probe is not None and nack.seq_no == probe.seq_no and probe.nacks < probe.nacks_expected:
            probe.nacks += 1


def _reply_to(message: Ping | IndirectPing, source: Address) -> Address:
    """Where the answer goes: to the source that is named, else to where the packet came from."""
    if message.source_addr and message.source_port:
        return (host_of(message.source_addr), message.source_port)
    return source
