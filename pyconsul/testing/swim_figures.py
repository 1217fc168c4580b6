"""How fast and how surely gossip finds out: measured in ``SwimWorld``, beside what was published.

``python -m pyconsul.testing.swim_figures FOLDER`` writes the picture and the table of the documentation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from math import e, log
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from pyconsul.swim.messages import STATE_ALIVE, STATE_DEAD
from pyconsul.swim.timing import LAN, Timing
from pyconsul.testing.chart import Bars, Lines, Series, draw
from pyconsul.testing.swim_world import SwimMember, SwimWorld

OURS = replace(LAN, tcp_fallback=False)
"""Consul's LAN settings. Pings by TCP, which SWIM does not have, would hide what is measured."""

LIFEGUARD = replace(OURS, hurried=False, patient=False)
"""News waits for the next round, and suspicions for nothing, as with the authors of Lifeguard."""

PLAIN = replace(LIFEGUARD, awareness_max=0, suspicion_max_timeout_mult=1)
"""No local health, and a suspicion lasts equally long whoever confirms it, as in SWIM (2002).

Not switched off, since the core cannot: a suspected member is told in the ping itself.
"""

WAYS = (("SWIM", PLAIN), ("Lifeguard", LIFEGUARD), ("pyconsul", OURS))

LAMBDA = 2.0
"""SWIM (2002), section 4.1: after LAMBDA ln n rounds the share of members that do not know the news is
n ** -(2 LAMBDA - 2), if each member pings one other each round."""

FALSE_POSITIVE_SHARE = 1 / 50
"""The abstract of Lifeguard (arXiv 1707.00788, first version) says "by a factor of more than 50x"."""

FIRST_DETECTION = e / (e - 1)
"""SWIM (2002), section 3.1: expected protocol periods until somebody pings a crashed member, in a large
pool whose members choose at random."""

MEMBER_HOURS = 1000 / 60
"""For so long false positives are counted in each pool: in one of 500 members for two minutes."""

LOSS = 0.10
SLOW = 0.05
FROZEN_S = 16.384
RUNNING_S = 1.024


class Spread(Struct, frozen=True):
    """How news went around a pool of ``members``; all in seconds.

    :ivar join_s: from a join until the last member knows the new one.
    :ivar suspected_s: from a crash until the first member suspects.
    :ivar failed_s: from a crash until the first member takes it for dead.
    :ivar known_s: from then until the last one does.
    :ivar sent: packets per member and second while nothing happens.
    """

    members: int
    join_s: float
    suspected_s: float
    failed_s: float
    known_s: float
    sent: float


class Accuracy(Struct, frozen=True):
    """What was wrongly taken for dead, with loss and slow members.

    :ivar false_positives: times that a member took a healthy one, not a slow one, for dead.
    :ivar hours: member-hours.
    :ivar sent: packets per member and second.
    :ivar all_alive: whether, a minute after the trouble, everybody took everybody for alive again.
    """

    members: int
    false_positives: int
    hours: float
    sent: float
    all_alive: bool

    @property
    def rate(self) -> float:
        """False positives per member-hour."""
        return self.false_positives / self.hours


def join_bound_s(members: int, timing: Timing = LAN) -> float:
    """Within which time all know of a join, by SWIM's analysis; a round is a gossip interval."""
    return LAMBDA * log(members) * timing.gossip_interval_s


def measure_spread(members: int, seed: int = 1, timing: Timing = OURS, lost: float = 0.0) -> Spread:
    """One join and one crash in a quiet pool."""
    world = SwimWorld(seed, timing)
    world.settle(members)
    world.lost = lost
    world.run(3.0)
    before = world.packets
    world.run(5.0)
    sent = (world.packets - before) / 5.0 / members
    everybody = list(world.members.values())
    new = world.add()
    world.join(new, world.rng.choice(everybody))

    joined = world.run_until(lambda: _all(world, new.name, STATE_ALIVE), 60.0)
    victim = world.rng.choice(everybody)
    world.crash(victim)
    suspected = world.run_until(lambda: any(world.states_of(victim.name)), 60.0)
    failed = world.run_until(lambda: STATE_DEAD in world.states_of(victim.name), 120.0)
    known = world.run_until(lambda: _all(world, victim.name, STATE_DEAD), 60.0)
    times = [_reached(seconds) for seconds in (joined, suspected, failed, known)]
    return Spread(members, times[0], times[1], times[1] + times[2], times[3], sent)


def _all(world: SwimWorld, name: str, state: int) -> bool:
    return set(world.states_of(name)) == {state}


def _reached(seconds: float | None) -> float:
    return float("inf") if seconds is None else seconds


def measure_accuracy(members: int, seconds: float, timing: Timing, seed: int = 1) -> Accuracy:
    """False positives with ``LOSS`` and a share of ``SLOW`` members that stop again and again."""
    world = SwimWorld(seed, timing)
    world.settle(members)
    world.lost = LOSS
    everybody = list(world.members.values())
    slow = everybody[:: round(1 / SLOW)]
    world.stutter(slow, FROZEN_S, RUNNING_S)
    world.run(seconds)
    sent = world.packets / seconds / members
    slow_names = {member.name for member in slow}
    wrong = sum(name not in slow_names for _, _, name in world.deaths)
    world.lost = 0.0
    world.calm()
    healed = world.run_until(lambda: _healthy(world, everybody), 180.0, 1.0) is not None
    return Accuracy(members, wrong, members * seconds / 3600, sent, healed)


def _healthy(world: SwimWorld, members: Sequence[SwimMember]) -> bool:
    return all(_all(world, member.name, STATE_ALIVE) for member in members)


# ---------------------------------------------------------------- the documentation


def picture(spreads: Sequence[Spread], ways: Sequence[Accuracy]) -> str:
    """The picture, as SVG; ``ways`` of keeping false positives rare, as in ``WAYS``."""
    sizes = [float(one.members) for one in spreads]
    joins = Lines(
        "A join is known to all", "members", "seconds",
        (
            Series("bound of SWIM (2002)", sizes, [join_bound_s(one.members) for one in spreads]),
            Series("pyconsul, measured", sizes, [one.join_s for one in spreads]),
            Series("a failure, from first to last", sizes, [one.known_s for one in spreads]),
        ),
    )  # fmt: skip
    plain, lifeguard, ours = ways
    allowed = plain.rate * FALSE_POSITIVE_SHARE
    wrong = Bars(
        "False positives per member-hour", f"{plain.members} members, 10 % loss, 5 % slow",
        (
            ("SWIM", plain.rate),
            ("SWIM / 50", allowed),
            ("Lifeguard", lifeguard.rate),
            ("pyconsul", ours.rate),
        ),
    )  # fmt: skip
    return draw((joins, wrong))


def table(spreads: Sequence[Spread], accuracies: Sequence[Sequence[Accuracy]]) -> str:
    """The figures, as reStructuredText; false positives in each of ``WAYS``."""
    lines = [
        ".. Written by python -m pyconsul.testing.swim_figures; do not edit.", "",
        ".. csv-table:: One join and one crash in a quiet pool, seconds",
        '   :header: "members", "join known to all", "bound", "first suspects", "first sure", '
        '"then all know", "packets per member and second"', "",
    ]  # fmt: skip
    lines += [
        f"   {one.members}, {one.join_s:.2f}, {join_bound_s(one.members):.2f}, {one.suspected_s:.2f}, "
        f"{one.failed_s:.2f}, {one.known_s:.2f}, {one.sent:.2f}"
        for one in spreads
    ]
    lines += [
        "", f"SWIM (2002) expects that somebody pings the crashed member after {FIRST_DETECTION:.2f} periods "
        f"of {OURS.probe_interval_s:g} s; it is suspected when that period has ended.",
        "", f".. csv-table:: {LOSS:.0%} of the packets lost, {SLOW:.0%} of the members slow",
        '   :header: "members", "member-hours", "way", "false positives", "per member-hour", '
        '"packets per member and second"', "",
    ]  # fmt: skip
    lines += [
        f"   {one.members}, {one.hours:.1f}, {name}, {one.false_positives}, {one.rate:.2f}, {one.sent:.2f}"
        for measured in accuracies
        for (name, _), one in zip(WAYS, measured, strict=True)
    ]
    return "\n".join(lines) + "\n"


def main(folder: Path, sizes: Sequence[int], hours: float, say: Callable[[str], None]) -> None:
    """Measure, and write ``gossip-figures.svg`` and ``gossip-figures.inc`` into ``folder``."""
    spreads = []
    for size in sizes:
        spreads.append(measure_spread(size))
        say(str(spreads[-1]))
    accuracies = []
    for size in sizes:
        accuracies.append([measure_accuracy(size, hours * 3600 / size, timing) for _, timing in WAYS])
        say(str(accuracies[-1]))
    (folder / "gossip-figures.svg").write_text(picture(spreads, accuracies[-1]))
    (folder / "gossip-figures.inc").write_text(table(spreads, accuracies))


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        [int(size) for size in sys.argv[2].split(",")] if len(sys.argv) > 2 else [100, 200, 500, 1000],
        float(sys.argv[3]) if len(sys.argv) > 3 else MEMBER_HOURS,
        partial(print, flush=True),
    )
