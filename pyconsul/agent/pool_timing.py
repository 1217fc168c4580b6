"""A gossip pool's timing: the usual one, with what the configuration changes of it."""

from __future__ import annotations

from msgspec.structs import replace

from pyconsul.config.groups import Gossip
from pyconsul.swim.timing import Timing


def pool_timing(usual: Timing, settings: Gossip, reconnect_timeout_s: float) -> Timing:
    """``usual`` with ``settings`` in its place.

    :param reconnect_timeout_s: for how long failed members are sought.
    """
    return replace(
        usual,
        gossip_interval_s=settings.gossip_interval,
        gossip_nodes=settings.gossip_nodes,
        probe_interval_s=settings.probe_interval,
        probe_timeout_s=settings.probe_timeout,
        suspicion_mult=settings.suspicion_mult,
        retransmit_mult=settings.retransmit_mult,
        reconnect_timeout_s=reconnect_timeout_s,
    )
