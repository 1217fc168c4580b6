"""Which servers are well, which nonvoters may have a vote, and which servers are to be removed.

All of it are functions of what was seen in one round and of what was thought after the one before.

Source: specs of Consul's Raft, section 7, "Autopilot". It differs from Consul in what is dead: there
a server is, once gossip has taken it for failed; here it must have been silent, in gossip and on its
RPC port, for as long as a new one has to be healthy before it is trusted. A server that gossip loses
sight of for a moment, or that is restarted, is not removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from pyconsul.raft.configuration import ServerId


class Policy(Struct, frozen=True):
    """The rules in force.

    :ivar last_contact_s: a server that has not heard of the leader for longer is not healthy.
    :ivar trailing_logs_max: nor is one that is more entries behind the leader.
    :ivar stable_s: how long a nonvoter has to be healthy before it gets a vote, and a silent server
        to be silent before it counts as dead.
    :ivar remove_dead: whether dead servers are removed at all.
    :ivar voters_min: how many voters have to be left by that.
    """

    last_contact_s: float = 0.2
    trailing_logs_max: int = 250
    stable_s: float = 10.0
    remove_dead: bool = True
    voters_min: int = 0


class Stats(Struct, frozen=True):
    """What a server said of its replica.

    :ivar contact_s: since it heard of the leader; ``None`` if it never did.
    """

    contact_s: float | None
    last_term: int
    last_index: int


class Seen(Struct, frozen=True):
    """One server as it looked in a round.

    :ivar name: its name in gossip; empty if gossip does not know it.
    :ivar alive: whether gossip says so.
    :ivar failed: whether gossip says that it failed. It may also have left, or be about to.
    :ivar voter: whether it has a vote, and ``wants_vote`` whether it may get one.
    :ivar member: whether it is in the Raft configuration at all.
    :ivar stats: ``None`` if it did not answer.
    """

    id: ServerId
    address: str
    name: str = ""
    alive: bool = False
    failed: bool = False
    voter: bool = False
    wants_vote: bool = True
    member: bool = True
    stats: Stats | None = None

    @property
    def silent(self) -> bool:
        """Neither gossip nor RPC reach it, though nobody has said that it left."""
        return self.stats is None and (self.failed or not self.name)


class Lead(Struct, frozen=True):
    """The leader at the beginning of the round, to which others are compared."""

    id: ServerId
    last_term: int
    last_index: int


class Judged(Struct, frozen=True):
    """What is thought of one server.

    :ivar since: when ``healthy`` last changed, or the server was first seen, on the core's clock;
        ``since_wall`` is the same as wall time, to show to people.
    :ivar silent_since: since when it is silent; ``None`` if it is not.
    """

    seen: Seen
    healthy: bool
    since: float
    since_wall: float
    silent_since: float | None = None


def is_healthy(seen: Seen, lead: Lead, policy: Policy) -> bool:
    """Whether a server is alive, in contact with the leader and up to date."""
    stats = seen.stats
    if not seen.alive or stats is None or stats.contact_s is None:
        return False
    return (
        stats.contact_s <= policy.last_contact_s
        and stats.last_term == lead.last_term
        and stats.last_index + policy.trailing_logs_max >= lead.last_index
    )


def judge(
    servers: Iterable[Seen],
    lead: Lead,
    policy: Policy,
    before: Mapping[str, Judged],
    now: float,
    wall: float,
) -> dict[str, Judged]:
    """What is thought of each server after a round, by ``key``.

    :param before: the same after the round before; empty at first.
    """
    judged: dict[str, Judged] = {}
    for seen in servers:
        last = before.get(key(seen))
        healthy = is_healthy(seen, lead, policy)
        silent_since = None
        if seen.silent:
            known = None if last is None else last.silent_since
            silent_since = now if known is None else known
        if last is not None and last.healthy == healthy and last.seen.address == seen.address:
            judged[key(seen)] = Judged(seen, healthy, last.since, last.since_wall, silent_since)
        else:
            judged[key(seen)] = Judged(seen, healthy, now, wall, silent_since)
    return judged


def key(seen: Seen) -> str:
    """Under what a server is remembered: its id, or for members beyond the configuration the name."""
    return seen.id if seen.member else f"member {seen.name}"


def failure_tolerance(judged: Iterable[Judged]) -> int:
    """How many healthy voters may be lost while the others still are a majority."""
    voters = [one for one in judged if one.seen.member and one.seen.voter]
    healthy = sum(one.healthy for one in voters)
    return max(0, healthy - (len(voters) // 2 + 1))


def promotable(judged: Iterable[Judged], policy: Policy, now: float) -> list[Seen]:
    """The nonvoters that have been healthy for long enough to get a vote."""
    return [
        one.seen
        for one in judged
        if one.seen.member
        and not one.seen.voter
        and one.seen.wants_vote
        and one.healthy
        and now - one.since >= policy.stable_s
    ]


class Removal(Struct, frozen=True):
    """Which dead servers go.

    :ivar failed: those that gossip knows, to be forced to leave.
    :ivar stale: those that it does not, to be taken out of the Raft configuration.
    :ivar refused: why those with a vote stay, if there are such and they do.
    """

    failed: Sequence[Seen] = ()
    stale: Sequence[Seen] = ()
    refused: str = ""


def removal(judged: Iterable[Judged], leader: ServerId, policy: Policy, now: float) -> Removal:
    """Which servers are dead and may be removed; never the leader, never half of the voters.

    Servers without a vote do not count: without them a majority is no harder to get.
    """
    if not policy.remove_dead:
        return Removal()
    servers = list(judged)
    voters = sum(one.seen.member and one.seen.voter for one in servers)
    dead = [
        one.seen
        for one in servers
        if one.silent_since is not None
        and now - one.silent_since >= policy.stable_s
        and one.seen.id != leader
    ]
    dead_voters = sum(seen.member and seen.voter for seen in dead)
    refused = ""
    if dead_voters > (voters - 1) // 2:
        refused = f"too many dead servers: {dead_voters}/{voters}"
    elif dead_voters and voters - dead_voters < policy.voters_min:
        refused = (
            f"{voters - dead_voters} servers would be left, fewer than the minimum of {policy.voters_min}"
        )
    if refused:
        dead = [seen for seen in dead if not (seen.member and seen.voter)]
    failed = [seen for seen in dead if seen.failed]
    return Removal(failed, [seen for seen in dead if not seen.failed], refused)
