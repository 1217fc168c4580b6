"""How a replica is, in the words of ``/v1/agent/self`` and ``pyconsul info``."""

from __future__ import annotations

from collections.abc import Sequence

from pyconsul.agent.replica import Replica
from pyconsul.raft.configuration import Configuration


def stats(replica: Replica, now: float) -> dict[str, str]:
    """The ``raft`` section (specs of the raft view); ``storage_error`` while the disk has failed."""
    core = replica.core
    contact = core.last_contact
    if replica.is_leader:
        last_contact = "0"
    elif contact is None:
        last_contact = "never"
    else:
        last_contact = f"{max(0.0, now - contact) * 1000:.3f}ms"
    found = {
        "applied_index": str(replica.applied_index),
        "commit_index": str(core.commit_index),
        "fsm_pending": str(max(0, core.commit_index - replica.applied_index)),
        "last_contact": last_contact,
        "last_log_index": str(core.last_log_index),
        "last_log_term": str(core.last_log_term),
        "last_snapshot_index": str(core.snapshot.index if core.snapshot else 0),
        "last_snapshot_term": str(core.snapshot.term if core.snapshot else 0),
        "latest_configuration": _show(core.configuration),
        "latest_configuration_index": str(core.configuration_index),
        "num_peers": str(max(0, len(core.configuration.servers) - 1)),
        "protocol_version": "3",
        "protocol_version_max": "3",
        "protocol_version_min": "0",
        "snapshot_version_max": "1",
        "snapshot_version_min": "0",
        "state": "Shutdown" if replica.is_stopped or replica.trouble else core.role.value,
        "term": str(core.term),
    }
    if replica.trouble:
        found["storage_error"] = replica.trouble
    return found


def _show(configuration: Configuration) -> str:
    servers: Sequence[str] = [
        f"{{Suffrage:{'Nonvoter' if server.suffrage else 'Voter'} ID:{server.id} Address:{server.address}}}"
        for server in configuration.servers
    ]
    return f"[{' '.join(servers)}]"
