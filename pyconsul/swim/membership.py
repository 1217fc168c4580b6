"""Who is alive: the rules of SWIM for what is said about a node.

========== ================== ====================== =================== ==================
state      alive, newer       suspect, as new        dead, as new        timer
========== ================== ====================== =================== ==================
unknown    alive, joined      -                      -                   -
alive      alive (updated)    suspect, timer         dead or left, left  -
suspect    alive              confirmation           dead or left, left  dead, left
dead, left alive, joined      -                      -                   -
ourselves  refute             refute                 refute, or leave    -
========== ================== ====================== =================== ==================

*Newer*: its incarnation is higher than what we know; *as new*: not lower. A node has left, and is
not dead, when it says so itself. Source: SWIM (2002) and Lifeguard (2017); specs of gossip,
section 8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyconsul.interfaces import Address
from pyconsul.swim.address import host_of
from pyconsul.swim.awareness import Awareness
from pyconsul.swim.context import Context
from pyconsul.swim.dissemination import Dissemination
from pyconsul.swim.messages import (
    META_MAX,
    STATE_ALIVE,
    STATE_DEAD,
    STATE_LEFT,
    STATE_SUSPECT,
    Alive,
    Dead,
    NodeState,
    Suspect,
)
from pyconsul.swim.nodes import NODES_MAX, Node, NodeTable
from pyconsul.swim.suspicion import Suspicion, suspicion_for
from pyconsul.swim.timers import Timer
from pyconsul.swim.wire import DecodeError

_INCARNATION_MAX = 0xFFFFFFFF
_STEP_MAX = 1024
"""By so much more than is known an incarnation may be at any time: changes that were missed."""
_JUMP_MAX = 1 << 24
"""By so much more it may be once in ``_JUMP_PAUSE_S``. Nothing above that is believed."""
_JUMP_PAUSE_S = 10.0


class Membership:
    """Applies what others say about nodes, and answers what they say about us.

    :ivar leaving: this node is on its way out and no longer refutes.
    :ivar woken: called when there is somebody new to probe.
    """

    def __init__(
        self, context: Context, nodes: NodeTable, awareness: Awareness, gossip: Dissemination, port: int
    ) -> None:
        self._ctx = context
        self._nodes = nodes
        self._awareness = awareness
        self._gossip = gossip
        self._port = port
        self._suspicions: dict[str, tuple[Suspicion, Timer]] = {}
        self._patient_until = 0.0
        self._first_hand = False
        self._gone: Callable[[], None] | None = None
        self.leaving = False
        self.woken: Callable[[], None] = lambda: None

    # ------------------------------------------------------------ alive

    def announce(self, message: Alive) -> None:
        """Enter ourselves."""
        self._create(message, (host_of(message.addr), message.port))
        self._become_alive(self.me, message)

    @property
    def me(self) -> Node:
        """This node."""
        node = self._nodes.get(self._ctx.name)
        assert node is not None, "not started"
        return node

    def alive(self, message: Alive) -> None:
        """Somebody says that a node is alive."""
        about_me = message.node == self._ctx.name
        node = self._nodes.get(message.node)
        moved = node is not None and (node.addr != message.addr or node.port != message.port)
        if node is not None and not moved and not about_me and message.incarnation <= node.incarnation:
            return
        if (about_me and self.leaving) or not self._acceptable(message):
            return
        try:
            address = (host_of(message.addr), message.port)
        except DecodeError as error:
            self._ctx.problem(f"alive message of '{message.node}' with {error}")
            return
        if node is None:
            if message.incarnation == 0 or len(self._nodes) >= NODES_MAX:
                return
            if message.incarnation > _INCARNATION_MAX - _JUMP_MAX:
                self._ctx.problem(f"alive message of '{message.node}' with an impossible incarnation")
                return
            node = self._create(message, address)
        elif moved and not self._may_move(node):
            self._ctx.delegate.conflict(node, message)
            return
        elif not self._plausible(node, message.incarnation):
            return
        if about_me:
            if message.incarnation >= node.incarnation and not self._same(node, message):
                self._drop_suspicion(node)
                self._refute(message.incarnation)
            return
        node.address = address
        self._become_alive(node, message)

    def _acceptable(self, message: Alive) -> bool:
        """Whether the message is well-formed and the layer above lets the node in."""
        versions = message.versions
        ctx = self._ctx
        if len(versions) >= 3 and not 0 < versions[0] <= versions[1]:
            ctx.problem(f"alive message of '{message.node}' with impossible versions")
            return False
        me = self._nodes.get(ctx.name)
        if me is not None and message.node != ctx.name and not understood(versions, me.versions):
            # It cannot have joined. To take it in would keep everybody else from joining us.
            ctx.problem(f"alive message of '{message.node}' with versions that are not spoken here")
            return False
        if not ctx.delegate.hooked:
            return True
        if len(versions) < 6 or len(message.meta) > META_MAX:
            ctx.problem(f"alive message of '{message.node}' without versions or with too much meta")
            return False
        refusal = ctx.delegate.refuse_alive(message)
        if refusal:
            ctx.problem(f"ignoring alive message of '{message.node}': {refusal}", notable=True)
        return not refusal

    def _plausible(self, node: Node, incarnation: int) -> bool:
        """Whether what is said of ``node`` may be of that incarnation, which only the node itself moves on.

        Without this, one forged message would bring a node close to the last incarnation there is, where it
        could refute nothing any more. So it takes 256 of them, ten seconds apart.
        """
        ahead = incarnation - node.incarnation
        if ahead <= _STEP_MAX:
            return True
        if ahead <= _JUMP_MAX and self._ctx.now - node.jumped >= _JUMP_PAUSE_S:
            node.jumped = self._ctx.now
            return True
        self._ctx.problem(f"a message about '{node.name}' with an impossible incarnation", notable=True)
        return False

    def _may_move(self, node: Node) -> bool:
        """Whether the name may be taken over from another address."""
        if node.state == STATE_LEFT:
            return True
        reclaim_s = self._ctx.timing.dead_node_reclaim_s
        return node.state == STATE_DEAD and 0 < reclaim_s < self._ctx.now - node.changed

    @staticmethod
    def _same(me: Node, message: Alive) -> bool:
        """Whether the message about us says nothing that is not so."""
        return (
            message.incarnation == me.incarnation
            and message.meta == me.meta
            and message.versions == me.versions
        )  # fmt: skip

    def _create(self, message: Alive, address: Address) -> Node:
        node = Node(
            message.node, message.addr, message.port, address, message.meta, b"", 0, STATE_DEAD,
            self._ctx.now,
        )  # fmt: skip
        self._nodes.add(node)
        return node

    def _become_alive(self, node: Node, message: Alive) -> None:
        self._drop_suspicion(node)
        self._gossip.broadcast(message.encode(), node.name, first_hand=self._first_hand)
        was_gone, old_meta = node.gone, node.meta
        node.addr, node.port = message.addr, message.port
        node.meta, node.versions, node.incarnation = message.meta, message.versions, message.incarnation
        node.set_state(STATE_ALIVE, self._ctx.now)
        if was_gone:
            self._ctx.delegate.joined(node)
            self._gossip.wake()
            self.woken()
        elif old_meta != node.meta:
            self._ctx.delegate.updated(node)

    def update_meta(self, meta: bytes) -> None:
        """Tell everybody that our meta bytes are now these."""
        me = self.me
        me.meta, me.incarnation = meta, me.incarnation + 1
        me.encoded = None
        self._gossip.broadcast(me.alive_message().encode(), me.name)
        self._ctx.delegate.updated(me)

    def _refute(self, accused: int) -> None:
        """Say that we are alive, more recently than what was said about us."""
        me = self.me
        if accused >= _INCARNATION_MAX:
            self._ctx.problem("accused with the last incarnation; this cannot be refuted", notable=True)
            return
        me.incarnation = max(me.incarnation, accused) + 1
        me.encoded = None
        self._awareness.add(1)
        self._gossip.broadcast(me.alive_message().encode(), me.name)

    # ------------------------------------------------------------ suspect

    def suspect(self, message: Suspect) -> None:
        """Somebody got no answer from a node."""
        node = self._nodes.get(message.node)
        if node is None or message.incarnation < node.incarnation:
            return
        if not self._plausible(node, message.incarnation):
            return
        running = self._suspicions.get(node.name)
        if running is not None:
            self._confirm(node, running[0], message)
            return
        if node.state != STATE_ALIVE:
            return
        if node.name == self._ctx.name:
            if not self.leaving:
                self._refute(message.incarnation)
            return
        self._become_suspect(node, message)

    def _become_suspect(self, node: Node, message: Suspect) -> None:
        timing, now = self._ctx.timing, self._ctx.now
        self._gossip.broadcast(message.encode(), node.name)
        node.incarnation = message.incarnation
        node.set_state(STATE_SUSPECT, now)
        suspicion = suspicion_for(
            len(self._nodes), timing.suspicion_mult, timing.suspicion_max_timeout_mult,
            timing.probe_interval_s, now, message.accuser,
        )  # fmt: skip
        self._watch(node, suspicion)

    def _watch(self, node: Node, suspicion: Suspicion) -> None:
        """Declare the node dead when the suspicion ends."""
        self._watch_until(suspicion.deadline(), node, suspicion)

    def _watch_until(self, when: float, node: Node, suspicion: Suspicion) -> None:
        timer = self._ctx.timers.at(when, lambda: self._expire(node))
        self._suspicions[node.name] = (suspicion, timer)

    def _confirm(self, node: Node, suspicion: Suspicion, message: Suspect) -> None:
        if not suspicion.confirm(message.accuser):
            return
        self._gossip.broadcast(message.encode(), node.name)
        self._suspicions[node.name][1].cancel()
        if suspicion.deadline() <= self._ctx.now:
            self._expire(node)
        else:
            self._watch(node, suspicion)

    def stood_still(self) -> None:
        """We did not run for a while: what refutes our suspicions may be there and not yet read."""
        if self._ctx.timing.patient:
            self._patient_until = self._ctx.now + self._ctx.timing.probe_interval_s

    def _expire(self, node: Node) -> None:
        if self._ctx.now < self._patient_until:
            suspicion, _ = self._suspicions[node.name]
            self._watch_until(self._patient_until, node, suspicion)
            return
        self._suspicions.pop(node.name, None)
        self._ctx.problem(f"suspect '{node.name}' has failed, no acks received", notable=True)
        self.dead(Dead(node.incarnation, node.name, self._ctx.name))

    def _drop_suspicion(self, node: Node) -> None:
        running = self._suspicions.pop(node.name, None)
        if running is not None:
            running[1].cancel()

    # ------------------------------------------------------------ dead, left

    def dead(self, message: Dead) -> None:
        """Somebody says that a node is dead, or a node that it leaves."""
        node = self._nodes.get(message.node)
        if node is None or message.incarnation < node.incarnation:
            return
        if not self._plausible(node, message.incarnation):
            return
        self._drop_suspicion(node)
        if node.gone:
            return
        done = None
        if node.name == self._ctx.name:
            if not self.leaving:
                self._refute(message.incarnation)
                return
            done, self._gone = self._gone, None
        self._gossip.broadcast(message.encode(), node.name, done)
        node.incarnation = message.incarnation
        node.set_state(STATE_LEFT if message.accuser == message.node else STATE_DEAD, self._ctx.now)
        self._ctx.delegate.left(node)

    def leave(self, done: Callable[[], None]) -> None:
        """Say that we leave; ``done`` is called when that was sent often enough."""
        self.leaving = True
        self._gone = done
        me = self.me
        self.dead(Dead(me.incarnation, me.name, me.name))

    # ------------------------------------------------------------ push/pull

    def merge(self, states: Sequence[NodeState], joining: bool = False) -> None:
        """Take in what another node knows; never its word that a node is dead.

        :param joining: it joins through us, so nobody else knows it yet.
        """
        self._first_hand = joining
        for state in states:
            if state.state == STATE_ALIVE:
                self.alive(Alive(
                    state.incarnation, state.name, state.addr, state.port or self._port, state.meta,
                    state.versions,
                ))  # fmt: skip
            elif state.state == STATE_LEFT:
                self.dead(Dead(state.incarnation, state.name, state.name))
            elif state.state in (STATE_SUSPECT, STATE_DEAD):
                self.suspect(Suspect(state.incarnation, state.name, self._ctx.name))
        self._first_hand = False


def understood(theirs: bytes, ours: bytes) -> bool:
    """Whether two nodes can speak with each other, as far as their version bytes tell."""
    for first in (0, 3):
        if len(theirs) >= first + 3 and len(ours) >= first + 3:
            low, high, current = theirs[first : first + 3]
            if not (low <= current <= high and low <= ours[first + 2] <= high):
                return False
            if not ours[first] <= current <= ours[first + 1]:
                return False
    return True
