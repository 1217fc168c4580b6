"""Who is well, who gets a vote, who is removed (specs of Consul's Raft, section 7, "Autopilot")."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.raft.autopilot import (
    Judged,
    Lead,
    Policy,
    Removal,
    Seen,
    Stats,
    failure_tolerance,
    is_healthy,
    judge,
    key,
    promotable,
    removal,
)

POLICY = Policy()
LEAD = Lead("a", 3, 1000)
FINE = Stats(0.1, 3, 1000)


def well(server_id: str, **more: Any) -> Seen:
    """A voter that is well."""
    facts: dict[str, Any] = {"name": server_id.upper(), "alive": True, "voter": True, "stats": FINE} | more
    return Seen(server_id, f"{server_id}:8300", **facts)


def dead(server_id: str, **more: Any) -> Seen:
    """One that gossip calls failed and that does not answer."""
    return well(server_id, **({"alive": False, "failed": True, "stats": None} | more))


def unknown(server_id: str, **more: Any) -> Seen:
    """One that gossip does not know and that does not answer."""
    return Seen(server_id, f"{server_id}:8300", **({"voter": True} | more))


class HealthTests(SynchronousTestCase):
    def test_rules(self) -> None:
        """Alive, in touch, of the leader's term, not too far behind: all of it is needed."""
        for seen, healthy in (
            (well("b"), True),
            (well("b", stats=Stats(0.0, 3, 1000)), True),
            (well("b", stats=Stats(0.2, 3, 750)), True),
            (well("b", stats=Stats(0.21, 3, 1000)), False),
            (well("b", stats=Stats(None, 3, 1000)), False),
            (well("b", stats=Stats(0.1, 2, 1000)), False),
            (well("b", stats=Stats(0.1, 4, 1000)), False),
            (well("b", stats=Stats(0.1, 3, 749)), False),
            (well("b", stats=Stats(0.1, 3, 1005)), True),
            (well("b", voter=False), True),
            (well("b", alive=False), False),
            (well("b", alive=False, failed=True), False),
            (well("b", stats=None), False),
            (dead("b"), False),
            (unknown("b"), False),
        ):
            self.assertIs(is_healthy(seen, LEAD, POLICY), healthy, seen)

    def test_stable_since(self) -> None:
        """It moves when health changes, or the server, and with nothing else."""
        found: dict[str, Judged] = {}
        since = []
        for now, seen in enumerate(
            (well("b"), well("b"), dead("b"), unknown("b"), well("b"), well("b", voter=False),
             replace(well("b"), address="new:8300"))
        ):  # fmt: skip
            found = judge([seen], LEAD, POLICY, found, float(now), 1000.0 + now)
            since.append((found["b"].healthy, found["b"].since, found["b"].since_wall))
        self.assertEqual(
            since,
            [
                (True, 0.0, 1000.0), (True, 0.0, 1000.0), (False, 2.0, 1002.0), (False, 2.0, 1002.0),
                (True, 4.0, 1004.0), (True, 4.0, 1004.0), (True, 6.0, 1006.0),
            ],
        )  # fmt: skip

    def test_silent_since(self) -> None:
        """Silent is who reaches us in no way. Who left, or is about to, is not silent but gone."""
        found: dict[str, Judged] = {}
        since = []
        for now, seen in enumerate(
            (well("b"), dead("b"), unknown("b"), dead("b", stats=FINE), dead("b"), well("b", stats=None),
             unknown("b"), unknown("b", stats=FINE), dead("b"), dead("b", failed=False))
        ):  # fmt: skip
            found = judge([seen], LEAD, POLICY, found, float(now), 0.0)
            since.append(found["b"].silent_since)
        self.assertEqual(since, [None, 1.0, 1.0, None, 4.0, None, 6.0, None, 8.0, None])

    def test_forgotten(self) -> None:
        """Who is not seen any more begins anew; members beyond the configuration go by name."""
        found = judge([dead("b"), dead("b", member=False, name="old")], LEAD, POLICY, {}, 1.0, 0.0)
        self.assertEqual(list(found), ["b", "member old"])
        self.assertEqual([key(one.seen) for one in found.values()], list(found))
        found = judge([], LEAD, POLICY, found, 2.0, 0.0)
        self.assertEqual(found, {})
        found = judge([dead("b")], LEAD, POLICY, found, 3.0, 0.0)
        self.assertEqual(found["b"].silent_since, 3.0)


def after(seen: Iterable[Seen], seconds: float = 10.0, policy: Policy = POLICY) -> list[Judged]:
    """What is thought of servers that look like this for so long."""
    servers = list(seen)
    first = judge(servers, LEAD, policy, {}, 0.0, 0.0)
    return list(judge(servers, LEAD, policy, first, seconds, 0.0).values())


class ToleranceTests(SynchronousTestCase):
    def test_table(self) -> None:
        """Healthy voters beyond a majority of all voters; nonvoters and others do not count."""
        for servers, tolerance in (
            ([], 0),
            ([well("a")], 0),
            ([well("a"), well("b")], 0),
            ([well("a"), well("b"), well("c")], 1),
            ([well("a"), well("b"), dead("c")], 0),
            ([well("a"), dead("b"), dead("c")], 0),
            ([well(i) for i in "abcde"], 2),
            ([*(well(i) for i in "abcd"), dead("e")], 1),
            ([well("a"), well("b"), well("c"), well("d", voter=False)], 1),
            ([well("a"), well("b"), well("c"), dead("d", member=False)], 1),
        ):
            self.assertEqual(failure_tolerance(after(servers)), tolerance, servers)


class PromotionTests(SynchronousTestCase):
    def test_table(self) -> None:
        """A nonvoter that was healthy for long enough, and does not want to stay one."""
        new = well("d", voter=False)
        for seen, seconds, promoted in (
            (new, 10.0, True),
            (new, 9.9, False),
            (well("d"), 10.0, False),
            (replace(new, wants_vote=False), 10.0, False),
            (replace(new, stats=None), 10.0, False),
            (replace(new, member=False), 10.0, False),
            (dead("d", voter=False), 10.0, False),
        ):
            found = promotable(after([well("a"), seen], seconds), POLICY, seconds)
            self.assertEqual([one.id for one in found], ["d"] if promoted else [], seen)

    def test_several(self) -> None:
        """In the order of the configuration."""
        found = promotable(after([well("a"), well("c", voter=False), well("b", voter=False)]), POLICY, 10.0)
        self.assertEqual([one.id for one in found], ["c", "b"])

    def test_at_once(self) -> None:
        """Without a time to wait it is done in the first round."""
        policy = Policy(stable_s=0.0)
        found = judge([well("d", voter=False)], LEAD, policy, {}, 5.0, 0.0)
        self.assertEqual(len(promotable(found.values(), policy, 5.0)), 1)


class RemovalTests(SynchronousTestCase):
    def removed(self, *servers: Seen, seconds: float = 10.0, **policy: Any) -> Removal:
        found = after(servers, seconds)
        return removal(found, "a", replace(POLICY, **policy), seconds)

    def check(self, found: Removal, failed: str, stale: str, refused: str = "") -> None:
        self.assertEqual("".join(seen.id for seen in found.failed), failed)
        self.assertEqual("".join(seen.id for seen in found.stale), stale)
        self.assertEqual(found.refused, refused)

    def test_failed_and_stale(self) -> None:
        """Who gossip knows is made to leave; who it does not is taken out of the configuration."""
        others = [well(i) for i in "abc"]
        self.check(self.removed(*others), "", "")
        self.check(self.removed(*others, dead("d")), "d", "")
        self.check(self.removed(*others, unknown("d")), "", "d")
        self.check(self.removed(*others, dead("e"), unknown("d")), "e", "d")
        self.check(self.removed(*others, dead("d"), dead("x", member=False)), "dx", "")

    def test_time(self) -> None:
        """Not before it has been silent for long enough."""
        self.check(self.removed(well("a"), well("b"), dead("c"), seconds=9.9), "", "")
        self.check(self.removed(well("a"), well("b"), dead("c"), seconds=10.0), "c", "")

    def test_not_all_silent(self) -> None:
        """One that gossip has lost, but that answers, is not dead."""
        self.check(self.removed(well("a"), well("b"), dead("c", stats=FINE)), "", "")
        self.check(self.removed(well("a"), well("b"), unknown("c", stats=FINE)), "", "")

    def test_switched_off(self) -> None:
        """``CleanupDeadServers`` is obeyed."""
        self.check(self.removed(well("a"), well("b"), dead("c"), remove_dead=False), "", "")

    def test_never_half(self) -> None:
        """No more than (voters - 1) / 2, or none."""
        for total in range(1, 10):
            ids = "abcdefghi"[:total]
            for gone in range(total):
                servers = [well(i) for i in ids[: total - gone]] + [dead(i) for i in ids[total - gone :]]
                allowed = gone <= (total - 1) // 2
                refused = "" if allowed else f"too many dead servers: {gone}/{total}"
                self.check(self.removed(*servers), ids[total - gone :] if allowed else "", "", refused)

    def test_min_quorum(self) -> None:
        """Nor so many that fewer than ``MinQuorum`` voters are left."""
        servers = [*(well(i) for i in "abc"), dead("d"), unknown("e")]
        self.check(self.removed(*servers, voters_min=3), "d", "e")
        self.check(
            self.removed(*servers, voters_min=4),
            "",
            "",
            "3 servers would be left, fewer than the minimum of 4",
        )
        self.check(self.removed(*(well(i) for i in "abc"), voters_min=4), "", "")

    def test_without_a_vote(self) -> None:
        """Who has no vote is no loss: it neither counts nor stays when others have to."""
        nobody = dead("x", voter=False)
        self.check(self.removed(well("a"), nobody), "x", "")
        self.check(self.removed(well("a"), unknown("y", voter=False), dead("z", member=False)), "z", "y")
        self.check(self.removed(well("a"), dead("b"), nobody), "x", "", "too many dead servers: 1/2")
        self.check(
            self.removed(well("a"), well("b"), dead("c"), nobody, voters_min=3),
            "x", "", "2 servers would be left, fewer than the minimum of 3",
        )  # fmt: skip

    def test_never_the_leader(self) -> None:
        """Whatever gossip says of it."""
        self.check(self.removed(dead("a"), well("b"), well("c")), "", "")
        self.check(self.removed(unknown("a"), well("b"), well("c")), "", "")
