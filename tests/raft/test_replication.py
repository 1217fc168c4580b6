"""The leader's side: Raft paper 5.3, 5.4.2; dissertation 10.2; specs, section 4."""

from __future__ import annotations

from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.raft import events
from pyconsul.raft.events import (
    Apply,
    PersistEntries,
    ProposalRefused,
    Propose,
    Proposed,
    Role,
    Send,
    SendPiece,
    Unreachable,
)
from pyconsul.raft.messages import (
    COMMAND,
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    Heartbeat,
    HeartbeatResponse,
)
from pyconsul.raft.tables import Pace
from pyconsul.raft.timing import Timing
from tests.raft.single import Single, of, only, sent, snapshot


def spans(effects: list[object], to: str = "b") -> list[tuple[int, int]]:
    """What is sent to ``to``: prev_log_index and number of entries of each message."""
    return [(m.prev_log_index, len(m.entries)) for who, m in sent(effects, AppendEntries) if who == to]


class ProposeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.one = Single()
        self.one.lead_and_commit()

    def test_refused_by_others(self) -> None:
        refused = [ProposalRefused("node is not the leader", not_leader=True)]
        self.assertEqual(Single().feed(Propose([b"x"])), refused)

    def test_disk_and_followers_at_once(self) -> None:
        """Dissertation 10.2.1: in parallel; one list of entries serves all."""
        self.one.auto_sync = False
        effects = self.one.feed(Propose([b"x", b"y"]))
        entries = [Entry(2, 3, COMMAND, b"x"), Entry(2, 4, COMMAND, b"y")]
        message = AppendEntries(2, 2, 2, 2, entries, "a:8300")
        self.assertEqual(
            effects,
            [
                PersistEntries(2 + 1, entries),
                Proposed(3, 2, 2),
                Send("b", "b:8300", message),
                Send("c", "c:8300", message),
            ],
        )
        self.assertIs(effects[2].message.entries, effects[0].entries)

    def test_nothing_proposed(self) -> None:
        self.assertEqual(self.one.feed(Propose([])), [Proposed(3, 0, 2)])

    def test_committed_by_a_majority_of_disks(self) -> None:
        """5.3; the leader's own disk counts like any other."""
        self.one.feed(Propose([b"x"]))
        effects = self.one.ack("b")
        self.assertEqual([entry.data for entry in only(effects, Apply).entries], [b"x"])
        self.assertEqual(of(self.one.ack("c"), Apply), [])

    def test_own_disk_may_be_the_slowest(self) -> None:
        self.one.auto_sync = False
        self.one.feed(Propose([b"x"]))
        self.assertEqual(of(self.one.ack("b"), Apply), [])
        self.assertEqual(len(of(self.one.ack("c"), Apply)), 1)

    def test_own_disk_counts_once_it_is_done(self) -> None:
        self.one.auto_sync = False
        self.one.feed(Propose([b"x"]))
        self.one.ack("b")
        self.assertEqual([entry.index for entry in only(self.one.sync(), Apply).entries], [3])

    def test_lone_voter(self) -> None:
        one = Single("a", "n")
        one.lead()
        one.auto_sync = False
        self.assertEqual(of(one.feed(Propose([b"x"])), Apply), [])
        self.assertEqual(len(of(one.sync(), Apply)), 1)

    def test_nonvoters_do_not_count(self) -> None:
        one = Single("abc", "n")
        one.lead_and_commit()
        one.feed(Propose([b"x"]))
        self.assertEqual(of(one.ack("n"), Apply), [])
        self.assertEqual(len(of(one.ack("b"), Apply)), 1)

    def test_five_voters(self) -> None:
        one = Single("abcde")
        one.lead_and_commit()
        one.feed(Propose([b"x", b"y", b"z"]))
        for follower, index, commit in (("b", 5, 2), ("c", 4, 4), ("d", 3, 4), ("e", 5, 5)):
            one.ack(follower, index)
            self.assertEqual(one.core.commit_index, commit)

    def test_answers_beyond_the_log(self) -> None:
        """Of a peer that lies, or mistakes us for somebody else."""
        self.one.ack("b", 99)
        self.assertEqual(self.one.core.progress["b"].match_index, 2)

    def test_answers_of_an_earlier_term(self) -> None:
        """What a follower had in common with an earlier leader, it need not have with this one."""
        self.one.feed(Propose([b"x"]))
        self.assertEqual(self.one.receive("b", AppendEntriesResponse(1, True, 3, 0)), [])
        self.assertEqual(self.one.receive("b", HeartbeatResponse(1, 1, 3, 3)), [])
        self.assertEqual(self.one.core.commit_index, 2)

    def test_answers_of_strangers(self) -> None:
        self.assertEqual(self.one.ack("z"), [])
        self.assertEqual(self.one.beat("z", 1), [])
        self.assertEqual(self.one.feed(Unreachable("z")), [])


class EarlierTermTests(SynchronousTestCase):
    """5.4.2: entries of earlier terms are never committed by counting replicas."""

    def test_only_with_an_entry_of_this_term(self) -> None:
        one = Single(terms=[1, 1, 1])
        one.lead()
        one.ack("b", 4)
        one.ack("c", 4)
        self.assertEqual(one.core.commit_index, 0)
        effects = one.ack("b", 5)
        self.assertEqual([entry.index for entry in only(effects, Apply).entries], [1, 2, 3, 4, 5])

    def test_restarted_lone_voter(self) -> None:
        """Everything in its log is committed with the no-op."""
        one = Single("a", terms=[1, 1])
        self.assertEqual([entry.index for entry in only(one.first, Apply).entries], [1, 2, 3, 4])

    def test_restart_after_a_snapshot(self) -> None:
        """Applying begins after what the snapshot holds."""
        one = Single(terms=[1, 1])
        core = type(one.core)(Timing(), one.core._s.rng, "a", one.disk, one.disk.read, snapshot(2))
        self.assertEqual((core.commit_index, core.last_applied, core.last_log_index), (2, 2, 3))


class PipelineTests(SynchronousTestCase):
    """Dissertation 10.2: more is sent before the first is acknowledged."""

    def lead(self, **limits: int) -> Single:
        one = Single(timing=Timing(**limits))
        one.lead_and_commit()
        return one

    def propose(self, one: Single, count: int, size: int = 1) -> list[object]:
        return one.feed(Propose([b"x" * size for _ in range(count)]))

    def test_no_waiting(self) -> None:
        one = self.lead()
        self.assertEqual(spans(self.propose(one, 1)), [(2, 1)])
        self.assertEqual(spans(self.propose(one, 3)), [(3, 3)])

    def test_batches_are_bounded_by_entries(self) -> None:
        one = self.lead(entries_per_append_max=2)
        self.assertEqual(spans(self.propose(one, 5)), [(2, 2), (4, 2), (6, 1)])

    def test_batches_are_bounded_by_bytes(self) -> None:
        one = self.lead(bytes_per_append_max=1000)
        self.assertEqual(spans(self.propose(one, 3, 400)), [(2, 2), (4, 1)])
        self.assertEqual(spans(self.propose(one, 2, 5000)), [(5, 1), (6, 1)])

    def test_window_is_bounded(self) -> None:
        one = self.lead(entries_per_append_max=1, inflight_appends_max=3)
        self.assertEqual(spans(self.propose(one, 5)), [(2, 1), (3, 1), (4, 1)])
        self.assertEqual(spans(self.propose(one, 1)), [])
        self.assertEqual(spans(one.ack("b", 4)), [(5, 1), (6, 1)])

    def test_bursts_are_bounded(self) -> None:
        """One that is far behind does not hold up the rest; acknowledgements bring the next."""
        one = self.lead(entries_per_append_max=1)
        self.assertEqual(len(spans(self.propose(one, 40))), 16)
        self.assertEqual(len(spans(one.ack("b", 3))), 16)

    def test_new_leader_probes_first(self) -> None:
        """One message at a time until it is known where the logs meet."""
        one = Single(terms=[1, 1])
        self.assertEqual(spans(one.lead()), [(3, 1)])
        self.assertEqual(spans(self.propose(one, 1)), [])
        self.assertEqual(spans(one.ack("b", 4)), [(4, 1)])

    def test_repeated_answers_start_nothing(self) -> None:
        one = Single(terms=[1, 1])
        one.lead()
        self.assertEqual(spans(one.ack("b", 0)), [])
        self.assertEqual(one.core.progress["b"].pace, Pace.PROBE)


class BacktrackTests(SynchronousTestCase):
    """5.3, end: the leader finds where the logs meet, terms at a time."""

    def test_short_log(self) -> None:
        one = Single(terms=[1, 1, 1])
        one.lead()
        self.assertEqual(spans(one.reject("b", 4, 1, 1)), [(1, 4)])

    def test_conflicting_term(self) -> None:
        """The follower has term 2 up to 9; the leader's last entry of a term so low is 2."""
        one = Single(terms=[1, 3, 3, 3, 3, 3, 3], term=3)
        one.lead()
        self.assertEqual(spans(one.reject("b", 8, 8, 2)), [(2, 7)])

    def test_each_reject_goes_further_back(self) -> None:
        """Whatever hint comes, and never below what matches."""
        one = Single(terms=[1] * 5)
        one.lead()
        self.assertEqual(spans(one.reject("b", 6, 99, 9)), [(5, 2)])
        self.assertEqual(spans(one.reject("b", 5, 5, 1)), [(4, 3)])
        self.assertEqual(spans(one.reject("b", 4, 0, 0)), [(0, 7)])

    def test_stale_reject(self) -> None:
        one = Single(terms=[1] * 5)
        one.lead()
        self.assertEqual(spans(one.reject("b", 3, 1, 1)), [])

    def test_reject_in_a_pipeline(self) -> None:
        """A message got lost before this one; the next rejects say the same."""
        one = Single()
        one.lead_and_commit()
        for _ in range(4):
            one.feed(Propose([b"x"]))
        self.assertEqual(spans(one.reject("b", 3, 2, 2)), [(2, 4)])
        self.assertEqual(spans(one.reject("b", 4, 2, 2)), [])
        one.ack("b")
        one.feed(Propose([b"x"]))
        one.feed(Propose([b"x"]))
        self.assertEqual(spans(one.reject("b", 7, 6, 2)), [])  # until a heartbeat is answered

    def test_needs_a_snapshot(self) -> None:
        """What it lacks is gone from our log: it is sent the snapshot."""
        one = Single(terms=[1, 1, 1])
        one.lead()
        one.ack("c")
        one.compact(4)
        effects = one.reject("b", 4, 2, 1)
        self.assertEqual(spans(effects), [])
        self.assertEqual([(e.to, e.message.info.index) for e in of(effects, SendPiece)], [("b", 4)])
        self.assertIs(one.core.progress["b"].pace, Pace.SNAPSHOT)
        self.assertIsNot(one.core.progress["c"].pace, Pace.SNAPSHOT)

    def test_needs_a_snapshot_that_is_not_there(self) -> None:
        """It is told nothing."""
        one = Single(terms=[1, 1, 1])
        one.lead()
        one.ack("c")
        one.core._s.log.compact(4)
        self.assertEqual(spans(one.reject("b", 4, 2, 1)), [])
        self.assertTrue(one.core.progress["b"].needs_snapshot)
        self.assertFalse(one.core.progress["c"].needs_snapshot)


class LossTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.one = Single()
        self.one.lead_and_commit()
        self.context = 0

    def beats(self) -> dict[str, int]:
        """Wait until both followers were sent a heartbeat; the latest of each."""
        contexts: dict[str, int] = {}
        for effects in self.one.ticks():
            contexts.update({to: m.context for to, m in sent(effects, Heartbeat)})
            if len(contexts) == 2:
                break
        return contexts

    def test_lost_entries_are_sent_again(self) -> None:
        """A heartbeat sent after them is answered, and they have not come."""
        self.one.feed(Propose([b"x"]))
        self.one.feed(Propose([b"y"]))
        contexts = self.beats()
        self.assertEqual(spans(self.one.beat("b", contexts["b"], 2, 3)), [(3, 1)])
        self.assertEqual(spans(self.one.beat("c", contexts["c"], 2, 4), "c"), [])

    def test_lost_answers_are_made_up_for(self) -> None:
        """The answer to a heartbeat acknowledges, too."""
        self.one.feed(Propose([b"x"]))
        effects = self.one.beat("b", self.beats()["b"], 3, 3)
        self.assertEqual([entry.index for entry in only(effects, Apply).entries], [3])

    def test_lost_probe_is_repeated(self) -> None:
        one = self.one = Single(terms=[1, 1])
        one.lead()
        self.assertEqual(spans(one.beat("b", self.beats()["b"], 0, 0)), [(3, 1)])

    def test_lost_backtracking_goes_on_where_it_was(self) -> None:
        one = self.one = Single(terms=[1, 1, 1])
        one.lead()
        one.reject("b", 4, 2, 1)
        self.assertEqual(spans(one.beat("b", self.beats()["b"], 0, 0)), [(2, 3)])

    def test_restarted_follower_shows_what_it_has(self) -> None:
        """It has heard nothing in this term, though it acknowledged: do our logs still agree?"""
        contexts = self.beats()
        effects = self.one.beat("b", contexts["b"], 0, 0)
        self.assertEqual(spans(effects), [(2, 0)])
        self.assertEqual(spans(self.one.ack("b", 2)), [])
        self.assertEqual(spans(self.one.beat("b", contexts["b"], 0, 0)), [])  # an old answer

    def test_replaced_disk_is_filled_again(self) -> None:
        """It has nothing any more: from the start, whatever it acknowledged."""
        self.one.beat("b", self.beats()["b"], 0, 0)
        self.assertEqual(spans(self.one.reject("b", 2, 0, 0)), [(0, 2)])
        self.assertEqual(self.one.core.progress["b"].match_index, 0)
        self.assertEqual(self.one.core.commit_index, 2)

    def test_late_reject_takes_nothing_back(self) -> None:
        self.assertEqual(spans(self.one.reject("b", 2, 0, 0)), [])
        self.assertEqual(self.one.core.progress["b"].match_index, 2)

    def test_unreachable(self) -> None:
        """Nothing more until it answers a heartbeat, then again from what it acknowledged."""
        self.one.feed(Propose([b"x"]))
        self.assertEqual(self.one.feed(Unreachable("b")), [])
        self.assertEqual(spans(self.one.feed(Propose([b"y"]))), [])
        self.assertEqual(spans(self.one.beat("b", self.beats()["b"], 2, 2)), [(2, 2)])

    def test_unreachable_to_others(self) -> None:
        self.assertEqual(Single().feed(Unreachable("b")), [])


class HeartbeatTests(SynchronousTestCase):
    """Specs, section 4: each follower every random(HeartbeatTimeout / 10)."""

    def test_interval(self) -> None:
        one = Single()
        one.lead_and_commit()
        beats: dict[str, list[float]] = {"b": [], "c": []}
        end = one.now + 20.0
        while one.now < end:
            for to, message in sent(one.tick(), Heartbeat):
                beats[to].append(one.now)
                one.beat(to, message.context, 2, 2)
        for times in beats.values():
            gaps = [later - earlier for earlier, later in pairwise(times[1:])]
            self.assertTrue(all(0.1 <= gap < 0.2001 for gap in gaps), gaps)
            self.assertGreater(max(gaps) - min(gaps), 0.05)

    def test_commit_is_passed_on_soon(self) -> None:
        """Within the commit timeout, once, and no further than what the follower has."""
        one = Single()
        one.lead_and_commit()
        one.feed(Propose([b"x"]))
        start = one.now
        one.ack("b")
        told: dict[str, float] = {}
        while one.now - start < 0.051:
            for to, message in sent(one.tick(), Heartbeat):
                told.setdefault(to, message.leader_commit)
        self.assertEqual(told["b"], 3)
        self.assertEqual(told.get("c", 2), 2)

    def test_no_more_than_what_matches(self) -> None:
        """A heartbeat says nothing about the log that it commits."""
        one = Single()
        one.lead_and_commit()
        one.feed(Propose([b"x"]))
        one.ack("b")
        commits: dict[str, int] = {}
        for effects in one.ticks():
            commits.update({to: m.leader_commit for to, m in sent(effects, Heartbeat)})
            if len(commits) == 2:
                break
        self.assertEqual(commits, {"b": 3, "c": 2})

    def test_commit_goes_with_the_next_entries(self) -> None:
        one = Single()
        one.lead_and_commit()
        one.feed(Propose([b"x"]))
        one.ack("b")
        one.ack("c")
        effects = one.feed(Propose([b"y"]))
        self.assertEqual([m.leader_commit for _, m in sent(effects, AppendEntries)], [3, 3])
        one.now += 0.051
        quiet = [to for to, m in sent(one.feed(events.Tick()), Heartbeat) if m.leader_commit == 3]
        due = [to for to, p in one.core.progress.items() if p.heartbeat_due > one.now and to in quiet]
        self.assertEqual(sorted(quiet), sorted(due))

    def test_slow_follower_is_told_when_it_has_caught_up(self) -> None:
        one = Single()
        one.lead_and_commit()
        one.feed(Propose([b"x"]))
        one.ack("b")
        one.now += 0.06
        one.feed(events.Tick())
        one.ack("c")
        self.assertLessEqual(one.due, one.now + 0.05)

    def test_leader_view(self) -> None:
        """Its own last contact is now; followers show no progress."""
        one = Single()
        self.assertEqual(one.core.progress, {})
        one.lead()
        self.assertEqual(one.core.last_contact, one.now)
        self.assertEqual(one.core.role, Role.LEADER)
        self.assertEqual(sorted(one.core.progress), ["b", "c"])
