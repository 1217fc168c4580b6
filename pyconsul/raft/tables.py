"""The states of a server, and of a follower as its leader sees it, and what moves them.

These tables are the ones that the code goes by; ``docs/architecture/states.rst`` shows them.
"""

from __future__ import annotations

from enum import Enum
from typing import Generic, NamedTuple, TypeVar

from pyconsul.raft.events import Role

State = TypeVar("State", bound=Enum)


class To(NamedTuple, Generic[State]):
    """Where a state goes, and what is done then."""

    state: State
    note: str = ""


class Cause(Enum):
    """What may move a server from one role to another."""

    SILENCE = "no leader is heard for an election timeout"
    NO_VOTE = "the same, without a vote in the configuration"
    PRE_VOTES = "a majority would vote for it"
    VOTES = "a majority votes for it"
    VOTED = "it votes for another"
    LEADER = "a leader of its term or a later one is heard"
    TERM = "a higher term is seen [#term]_"
    TOLD = "the leader tells it to take over"
    LEASE = "no majority answers it within the lease"
    REMOVED = "a configuration without its vote is committed"


NOTES = (
    "[#term] Except in a vote request while a leader may count on our vote, and in pre-votes (dissertation, "
    "4.2.3 and 9.6).",
)

ROLES: dict[Cause, dict[Role, To[Role]]] = {
    Cause.SILENCE: {
        Role.FOLLOWER: To(Role.CANDIDATE, "asks whether it would get votes; a lone voter need not"),
        Role.CANDIDATE: To(Role.CANDIDATE, "begins again, in the same way"),
    },
    Cause.NO_VOTE: {
        Role.FOLLOWER: To(Role.FOLLOWER),
        Role.CANDIDATE: To(Role.FOLLOWER),
    },
    Cause.PRE_VOTES: {
        Role.CANDIDATE: To(Role.CANDIDATE, "in a new term; asks for votes once its own is durable"),
    },
    Cause.VOTES: {
        Role.CANDIDATE: To(Role.LEADER, "appends a no-op at once"),
    },
    Cause.VOTED: {
        Role.CANDIDATE: To(Role.FOLLOWER, "it had only asked whether it would get votes"),
    },
    Cause.LEADER: {
        Role.FOLLOWER: To(Role.FOLLOWER, "follows it"),
        Role.CANDIDATE: To(Role.FOLLOWER, "follows it"),
        Role.LEADER: To(Role.FOLLOWER, "follows it; it is of a later term"),
    },
    Cause.TERM: {
        Role.FOLLOWER: To(Role.FOLLOWER),
        Role.CANDIDATE: To(Role.FOLLOWER),
        Role.LEADER: To(Role.FOLLOWER),
    },
    Cause.TOLD: {
        Role.FOLLOWER: To(Role.CANDIDATE, "asks for votes at once, in a new term"),
        Role.CANDIDATE: To(Role.CANDIDATE, "asks for votes at once, in a new term"),
    },
    Cause.LEASE: {
        Role.LEADER: To(Role.FOLLOWER),
    },
    Cause.REMOVED: {
        Role.LEADER: To(Role.FOLLOWER, "tells the best of the others to take over"),
    },
}


class Pace(Enum):
    """How a follower is sent what it lacks."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Step(Enum):
    """What may change the pace of a follower; a new one is probed."""

    SEND = "there is something to send"
    ACKNOWLEDGED = "it acknowledges more"
    REJECTED = "it rejects"
    LOST = "what was sent before a heartbeat has not come [#lost]_"
    RESTARTED = "it has received nothing in this term, though it had acknowledged something"
    FORGOTTEN = "it turns out to lack what it had acknowledged"
    UNREACHABLE = "the connection breaks"
    COMPACTED = "what it needs is gone from our log"
    RESTORED = "it has all of the snapshot"


PACE_NOTES = (
    "[#lost] A heartbeat remembers how far entries had been sent before it, and its answer tells how far "
    "they had come. A follower that merely waits for its disk has received them.",
)

PACES: dict[Step, dict[Pace, To[Pace]]] = {
    Step.SEND: {
        Pace.PROBE: To(Pace.PROBE, "one message, then waits; *next* stays"),
        Pace.REPLICATE: To(Pace.REPLICATE, "as many as may be in flight; *next* moves on"),
        Pace.SNAPSHOT: To(Pace.SNAPSHOT, "pieces, as many as the window allows"),
    },
    Step.ACKNOWLEDGED: {
        Pace.PROBE: To(Pace.REPLICATE, "*next* = *match* + 1"),
        Pace.REPLICATE: To(Pace.REPLICATE, "frees what is in flight up to *match*"),
        Pace.SNAPSHOT: To(Pace.SNAPSHOT, "a piece: the window moves on"),
    },
    Step.REJECTED: {
        Pace.PROBE: To(Pace.PROBE, "*next* = hint + 1, at once"),
        Pace.REPLICATE: To(Pace.PROBE, "the same; but once between two heartbeats only"),
        Pace.SNAPSHOT: To(Pace.SNAPSHOT, "from the missing piece, once between two heartbeats only"),
    },
    Step.LOST: {
        Pace.PROBE: To(Pace.PROBE, "the same again, at once"),
        Pace.REPLICATE: To(Pace.PROBE, "*next* = received + 1, at once"),
        Pace.SNAPSHOT: To(Pace.SNAPSHOT, "is asked how far it has come"),
    },
    Step.RESTARTED: {
        Pace.PROBE: To(Pace.PROBE, "is asked whether it still has everything up to *match*"),
        Pace.REPLICATE: To(Pace.REPLICATE, "the same"),
    },
    Step.FORGOTTEN: {
        Pace.PROBE: To(Pace.REPLICATE, "*match* = 0, and what it rejects is believed"),
        Pace.REPLICATE: To(Pace.REPLICATE, "the same"),
        Pace.SNAPSHOT: To(Pace.SNAPSHOT, "*match* = 0"),
    },
    Step.UNREACHABLE: {
        Pace.PROBE: To(Pace.PROBE, "waits for an answer to a heartbeat"),
        Pace.REPLICATE: To(Pace.PROBE, "*next* = *match* + 1, waits for an answer to a heartbeat"),
        Pace.SNAPSHOT: To(Pace.SNAPSHOT, "from the last piece stored, once it answers a heartbeat"),
    },
    Step.COMPACTED: {
        Pace.PROBE: To(Pace.SNAPSHOT, "from its beginning"),
        Pace.REPLICATE: To(Pace.SNAPSHOT, "from its beginning"),
    },
    Step.RESTORED: {
        Pace.SNAPSHOT: To(Pace.PROBE, "and that it has more than before is acknowledged, too"),
    },
}
