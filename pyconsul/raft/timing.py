"""How long a Raft server waits, and how much it sends at once.

Source: specs of Consul's Raft, section 1.
"""

from __future__ import annotations

from msgspec import Struct

from pyconsul.errors import ConfigurationError

MULTIPLIER_MAX = 10
TIMEOUT_MIN_S = 0.005


class Timing(Struct, frozen=True):
    """Timeouts and limits of one server; a wait of "random(T)" lies in [T, 2T).

    Raises ``ConfigurationError`` unless 5 ms <= lease <= heartbeat <= election.

    :ivar heartbeat_timeout_s: a follower campaigns after random(this) without its leader.
    :ivar election_timeout_s: an election, or a transfer of leadership, is given up after it.
    :ivar leader_lease_timeout_s: a leader that a majority has not answered for so long steps down.
    :ivar commit_timeout_s: followers learn of a commit no later than this.
    :ivar snapshot_window_bytes: pieces of a snapshot that may be on their way to one follower.
    """

    heartbeat_timeout_s: float = 1.0
    election_timeout_s: float = 1.0
    leader_lease_timeout_s: float = 0.5
    commit_timeout_s: float = 0.05
    entries_per_append_max: int = 256
    bytes_per_append_max: int = 64 * 1024
    inflight_appends_max: int = 128
    snapshot_piece_bytes: int = 256 * 1024
    snapshot_window_bytes: int = 1024 * 1024

    def __post_init__(self) -> None:
        lease, heartbeat = self.leader_lease_timeout_s, self.heartbeat_timeout_s
        if not TIMEOUT_MIN_S <= lease <= heartbeat <= self.election_timeout_s:
            raise ConfigurationError(
                "raft timeouts must satisfy 5ms <= leader lease <= heartbeat <= election, got "
                f"{lease}s, {heartbeat}s, {self.election_timeout_s}s"
            )
        limits = (
            self.entries_per_append_max,
            self.bytes_per_append_max,
            self.inflight_appends_max,
            self.snapshot_piece_bytes,
            self.snapshot_window_bytes,
        )
        if min(limits) < 1:
            raise ConfigurationError("raft limits must be at least 1")

    @classmethod
    def scaled(cls, multiplier: int = 5) -> Timing:
        """The timing for ``performance.raft_multiplier``, 1 to 10."""
        if not 1 <= multiplier <= MULTIPLIER_MAX:
            raise ConfigurationError(f"raft_multiplier must be 1 to {MULTIPLIER_MAX}, got {multiplier}")
        base = cls()
        return cls(
            heartbeat_timeout_s=base.heartbeat_timeout_s * multiplier,
            election_timeout_s=base.election_timeout_s * multiplier,
            leader_lease_timeout_s=base.leader_lease_timeout_s * multiplier,
        )

    @classmethod
    def dev(cls) -> Timing:
        """The timing of ``-dev``: one server that leads at once."""
        return cls(heartbeat_timeout_s=0.035, election_timeout_s=0.052, leader_lease_timeout_s=0.020)
