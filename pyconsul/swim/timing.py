"""How often and how long: the settings of one pool, and those that Consul uses."""

from __future__ import annotations

from msgspec import Struct


class Timing(Struct, frozen=True, kw_only=True):
    """Intervals and counts of a pool (specs of gossip, section 11). All members should agree.

    :ivar suspicion_max_timeout_mult: longest suspicion, as a multiple of the shortest.
    :ivar gossip_to_the_dead_s: how long the dead still get gossip, before they are forgotten.
    :ivar hurried: pass news on as soon as it comes, not only in rounds; memberlist does not.
    :ivar patient: a member that has not run for more than a probe interval reads for as long what has come
        in meanwhile before its suspicions end; memberlist does not.
    :ivar push_pull_interval_s: 0 switches the periodic exchange off.
    :ivar dead_node_reclaim_s: after which time a dead member's name may come from another address;
        0: only once it is forgotten.
    :ivar tcp_fallback: ping by TCP while the relays are asked.
    :ivar broadcast_timeout_s: how long leaving waits for its messages to go out.
    :ivar leave_propagate_delay_s: how long leaving then waits for others to pass them on.
    :ivar reconnect_timeout_s: after which time a failed member is forgotten.
    :ivar name_patience_s: for how long others may know another node by this one's name before it ends.
    :ivar tombstone_timeout_s: after which time a member that left is forgotten.
    """

    probe_interval_s: float = 1.0
    probe_timeout_s: float = 0.5
    suspicion_mult: int = 4
    suspicion_max_timeout_mult: int = 6
    indirect_checks: int = 3
    retransmit_mult: int = 4
    gossip_interval_s: float = 0.2
    gossip_nodes: int = 3
    hurried: bool = True
    patient: bool = True
    gossip_to_the_dead_s: float = 30.0
    push_pull_interval_s: float = 30.0
    tcp_timeout_s: float = 10.0
    dead_node_reclaim_s: float = 30.0
    awareness_max: int = 7
    tcp_fallback: bool = True
    broadcast_timeout_s: float = 5.0
    leave_propagate_delay_s: float = 3.0
    reap_interval_s: float = 15.0
    reconnect_interval_s: float = 30.0
    reconnect_timeout_s: float = 72 * 3600.0
    tombstone_timeout_s: float = 24 * 3600.0
    recent_intent_timeout_s: float = 300.0
    name_patience_s: float = 120.0


LAN = Timing()
"""Consul's LAN pool."""

WAN = Timing(
    probe_interval_s=5.0,
    probe_timeout_s=3.0,
    suspicion_mult=6,
    gossip_interval_s=0.5,
    gossip_to_the_dead_s=60.0,
    push_pull_interval_s=60.0,
    tcp_timeout_s=30.0,
)
"""Consul's WAN pool."""

LOCAL = Timing(
    probe_timeout_s=0.2,
    suspicion_mult=3,
    indirect_checks=1,
    retransmit_mult=2,
    gossip_interval_s=0.1,
    gossip_to_the_dead_s=15.0,
    push_pull_interval_s=15.0,
    tcp_timeout_s=1.0,
    dead_node_reclaim_s=15.0,
    leave_propagate_delay_s=1.0,
    name_patience_s=0.0,
)
"""Members on one machine."""

DEV = Timing(
    probe_interval_s=0.1,
    probe_timeout_s=0.1,
    suspicion_mult=3,
    gossip_interval_s=0.1,
)
"""Both pools of an agent in development mode."""
