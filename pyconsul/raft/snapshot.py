"""What Raft knows of a snapshot, and how a leader's snapshot comes to a follower.

Source: Raft paper, section 7 and figure 13. What is in a snapshot, and where it lies, Raft does not
know: the driver reads and writes the bytes.

The leader sends pieces, several at once, and the follower takes them in order only. ``received`` is
how far it has come. A piece is answered once it is written down, which is what paces the leader.
Nothing but the last piece depends on who the leader is: a snapshot of the same content goes on where
an earlier leader's ended.
"""

from __future__ import annotations

from msgspec import Struct

from pyconsul.raft.configuration import Configuration


class SnapshotInfo(Struct, array_like=True, frozen=True):
    """A snapshot, whole or on its way.

    :ivar index: the last entry that it covers, and ``term`` that of this entry.
    :ivar configuration: what was in force then, from the entry ``configuration_index``.
    :ivar checksum: CRC-32 of its ``size`` bytes. Equal in everything means equal bytes.
    :ivar by_hand: made of all that one server had when an operator gave it a configuration, so that
        no majority has vouched for it.
    """

    index: int
    term: int
    configuration: Configuration
    configuration_index: int
    size: int
    checksum: int
    by_hand: bool = False

    def is_sane(self, term: int) -> bool:
        """Whether a leader in ``term`` may have sent this."""
        return (
            0 < self.configuration_index <= self.index
            and 0 < self.term <= term
            and self.size > 0
            and not self.configuration.problem()
        )


class Receiving(Struct):
    """A snapshot that comes in.

    :ivar received: bytes that were handed to the driver, in order.
    """

    info: SnapshotInfo
    received: int = 0
