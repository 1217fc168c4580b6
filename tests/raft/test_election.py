"""Leader election: Raft paper 5.2, 5.4.1, 8; dissertation 9.6 (pre-vote), 4.2.3, 6.2."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.raft import events
from pyconsul.raft.core import RaftCore
from pyconsul.raft.events import (
    Bootstrap,
    Persisted,
    PersistEntries,
    PersistState,
    Role,
    RoleChanged,
    Send,
    Tick,
)
from pyconsul.raft.messages import (
    CONFIGURATION,
    NOOP,
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    Heartbeat,
    HeartbeatResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from pyconsul.raft.timing import Timing
from tests.raft.single import Single, configuration, of, only, sent


class TimeoutTests(SynchronousTestCase):
    """5.2: followers, timeouts."""

    def test_starts_as_follower(self) -> None:
        one = Single(term=4)
        self.assertEqual((one.core.role, one.core.term, one.core.leader_id), (Role.FOLLOWER, 4, ""))

    def test_due_before_the_first_event(self) -> None:
        """The core does not know what its clock shows until it is told."""
        core = Single().core.__class__
        one = Single()
        fresh = core(one.core._s.timing, one.core._s.rng, "a", one.disk, one.disk.read)
        self.assertEqual(fresh.next_deadline(), float("-inf"))
        self.assertEqual(fresh.handle(50.0, events.Tick()), [])
        self.assertGreaterEqual(fresh.next_deadline() or 0.0, 51.0)

    def test_random_timeouts(self) -> None:
        """Between T and 2 T after the leader was heard, and never the same."""
        one = Single()
        waits = set()
        for _ in range(50):
            one.heartbeat()
            waits.add(one.due - one.now)
        self.assertGreater(len(waits), 40)
        self.assertTrue(all(1.0 <= wait < 2.0 for wait in waits))
        self.assertLess(min(waits), 1.2)
        self.assertGreater(max(waits), 1.8)

    def test_time_does_not_go_back(self) -> None:
        one = Single()
        one.heartbeat()
        due = one.core.next_deadline()
        one.core.handle(one.now - 50.0, events.Tick())
        self.assertEqual(one.core.next_deadline(), due)

    def test_no_configuration_no_campaign(self) -> None:
        """Specs, section 2, (a)."""
        one = Single(empty=True)
        self.assertEqual(one.time_out(), [])
        self.assertEqual(one.core.role, Role.FOLLOWER)

    def test_nonvoter_never_campaigns(self) -> None:
        """Specs, section 2, (b); it forgets its leader all the same."""
        one = Single("bc", "a")
        one.heartbeat()
        self.assertEqual(one.time_out(), [RoleChanged(Role.FOLLOWER, 1, "", "")])
        self.assertEqual(one.time_out(), [])

    def test_too_early_tick(self) -> None:
        one = Single()
        self.assertEqual(one.feed(events.Tick()), [])


class PreVoteTests(SynchronousTestCase):
    """Dissertation 9.6."""

    def test_asks_without_raising_the_term(self) -> None:
        one = Single(terms=[1, 2], term=3)
        effects = one.time_out()
        self.assertEqual(of(effects, PersistState), [])
        request = RequestVote(4, 3, 2, pre_vote=True, address="a:8300")
        self.assertEqual(sent(effects, RequestVote), [("b", request), ("c", request)])
        self.assertEqual((one.core.term, one.core.role), (3, Role.CANDIDATE))

    def test_majority_starts_the_election(self) -> None:
        one = Single()
        one.time_out()
        effects = one.receive("b", RequestVoteResponse(2, True, pre_vote=True))
        self.assertEqual([message.pre_vote for _, message in sent(effects, RequestVote)], [False, False])
        self.assertEqual((one.core.term, one.core.voted_for), (2, "a"))

    def test_minority_does_not(self) -> None:
        one = Single("abcde")
        one.time_out()
        for _ in range(3):  # the same voter, again and again
            self.assertEqual(one.receive("b", RequestVoteResponse(2, True, True)), [])
        one.receive("c", RequestVoteResponse(1, False, True))
        self.assertEqual(one.core.term, 1)

    def test_nonvoters_do_not_count(self) -> None:
        one = Single("abc", "n")
        self.assertEqual([to for to, _ in sent(one.time_out(), RequestVote)], ["b", "c"])
        self.assertEqual(one.receive("n", RequestVoteResponse(2, True, True)), [])

    def test_a_vote_is_no_pre_vote(self) -> None:
        """And the other way round."""
        one = Single()
        one.time_out()
        one.receive("b", RequestVoteResponse(2, True, pre_vote=True))
        one.receive("c", RequestVoteResponse(2, True, pre_vote=True))
        self.assertEqual(one.core.role, Role.CANDIDATE)

    def test_late_pre_vote_of_an_older_term(self) -> None:
        one = Single(term=5)
        one.time_out()
        one.receive("b", RequestVoteResponse(5, True, pre_vote=True))
        self.assertEqual(one.core.term, 5)

    def test_higher_term_in_a_refusal(self) -> None:
        one = Single()
        one.time_out()
        one.receive("b", RequestVoteResponse(9, False, pre_vote=True))
        self.assertEqual((one.core.term, one.core.role), (9, Role.FOLLOWER))

    def test_granted_without_a_trace(self) -> None:
        """Nothing is written, no term adopted; the answer names the term asked about."""
        one = Single()
        effects = one.receive("b", RequestVote(7, 1, 1, True, False, "b:8300"))
        self.assertEqual(effects, [Send("b", "b:8300", RequestVoteResponse(7, True, True))])
        self.assertEqual((one.core.term, one.core.voted_for), (1, ""))

    def test_refused_while_a_leader_lives(self) -> None:
        """9.6 and 4.2.3: a server that was cut off does not disturb."""
        one = Single()
        one.heartbeat()
        refused = RequestVoteResponse(1, False, True)
        response = only(one.receive("c", RequestVote(2, 9, 1, True), after=0.9), RequestVoteResponse)
        self.assertEqual(response, refused)
        response = only(one.receive("c", RequestVote(2, 9, 1, True), after=0.2), RequestVoteResponse)
        self.assertTrue(response.granted)

    def test_refused_to_an_older_log(self) -> None:
        one = Single(terms=[1, 1])
        response = only(one.receive("c", RequestVote(2, 2, 1, True)), RequestVoteResponse)
        self.assertFalse(response.granted)

    def test_same_term_already_voted(self) -> None:
        """One term behind the election that is on: it would not get our vote."""
        one = Single(term=2, voted_for="b")
        response = only(one.receive("c", RequestVote(2, 9, 1, True)), RequestVoteResponse)
        self.assertEqual(response, RequestVoteResponse(2, False, True))
        self.assertTrue(only(one.receive("b", RequestVote(2, 9, 1, True)), RequestVoteResponse).granted)

    def test_lone_voter_need_not_ask(self) -> None:
        """Nor wait for somebody else to lead, unless there may be somebody yet who did."""
        self.assertEqual(Single("a", "n", auto_sync=False).first[0], PersistState(1, 2, "a"))
        one = Single("a", empty=True)
        self.assertEqual(one.first, [])
        effects = one.feed(Bootstrap(configuration("a")))
        self.assertEqual(one.core.role, Role.FOLLOWER)
        one.feed(Tick())
        self.assertEqual((one.core.role, len(of(effects, PersistEntries))), (Role.LEADER, 1))
        one = Single("ab")
        one.disk.entries.append(Entry(1, 2, CONFIGURATION, configuration("a").encode()))
        again = RaftCore(Timing(), Random(7), "a", one.disk, one.disk.read)
        self.assertEqual(again.handle(0.0, Tick()), [])
        self.assertEqual(again.configuration, configuration("a"))

    def test_asks_again(self) -> None:
        one = Single()
        one.time_out()
        self.assertEqual(len(sent(one.time_out(), RequestVote)), 2)
        self.assertEqual(one.core.term, 1)


class CandidateTests(SynchronousTestCase):
    """5.2: candidates."""

    def elect(self, voters: str = "abc") -> Single:
        """A server in the midst of an election for term 2."""
        one = Single(voters)
        one.campaign()
        self.assertEqual((one.core.role, one.core.term), (Role.CANDIDATE, 2))
        return one

    def test_own_vote_is_durable_first(self) -> None:
        """Neither counted nor announced before (specs, section 2)."""
        one = Single()
        one.time_out()
        one.auto_sync = False
        effects = one.receive("b", RequestVoteResponse(2, True, True))
        self.assertEqual(of(effects, PersistState), [PersistState(1, 2, "a")])
        self.assertEqual(of(effects, Send), [])
        self.assertEqual(one.receive("c", RequestVoteResponse(2, True)), [])
        self.assertEqual(one.core.role, Role.CANDIDATE)
        effects = one.sync()
        self.assertEqual(one.core.role, Role.LEADER)
        self.assertEqual(len(sent(effects, RequestVote)), 2)

    def test_lone_voter_waits_for_its_disk(self) -> None:
        one = Single("a", auto_sync=False)
        self.assertEqual(one.core.role, Role.CANDIDATE)
        one.sync()
        self.assertEqual(one.core.role, Role.LEADER)

    def test_majority_of_votes_wins(self) -> None:
        one = self.elect("abcde")
        one.receive("b", RequestVoteResponse(2, True))
        one.receive("b", RequestVoteResponse(2, True))
        one.receive("e", RequestVoteResponse(2, False))
        self.assertEqual(one.core.role, Role.CANDIDATE)
        one.receive("c", RequestVoteResponse(2, True))
        self.assertEqual(one.core.role, Role.LEADER)

    def test_votes_of_other_terms_do_not_count(self) -> None:
        one = self.elect()
        one.receive("b", RequestVoteResponse(1, True))
        self.assertEqual(one.core.role, Role.CANDIDATE)

    def test_higher_term_ends_it(self) -> None:
        one = self.elect()
        effects = one.receive("b", RequestVoteResponse(5, False))
        self.assertEqual((one.core.role, one.core.term, one.core.voted_for), (Role.FOLLOWER, 5, ""))
        self.assertEqual(only(effects, PersistState).term, 5)

    def test_leader_of_the_term_ends_it(self) -> None:
        for message in (AppendEntries(2, 1, 1, 0), Heartbeat(2, 0, 1)):
            one = self.elect()
            effects = one.receive("b", message)
            self.assertEqual(only(effects, RoleChanged), RoleChanged(Role.FOLLOWER, 2, "b", "b:8300"))

    def test_leader_of_an_older_term_does_not(self) -> None:
        one = self.elect()
        effects = one.receive("b", AppendEntries(1, 1, 1, 0, (), "b:8300"))
        self.assertEqual(only(effects, AppendEntriesResponse).term, 2)
        effects = one.receive("b", Heartbeat(1, 0, 1, "b:8300"))
        self.assertEqual(only(effects, HeartbeatResponse).term, 2)
        self.assertEqual(one.core.role, Role.CANDIDATE)

    def test_split_vote_tries_again(self) -> None:
        """With a pre-vote, then in a new term."""
        one = self.elect()
        effects = one.campaign()
        self.assertEqual(one.core.term, 3)
        self.assertEqual([message.term for _, message in sent(effects, RequestVote)], [3, 3, 3, 3])

    def test_refuses_others_in_its_term(self) -> None:
        one = self.elect()
        response = only(one.receive("b", RequestVote(2, 9, 9, False, False, "b:8300")), RequestVoteResponse)
        self.assertEqual(response, RequestVoteResponse(2, False))

    def test_leader_appends_a_noop_at_once(self) -> None:
        """Section 8 of the paper; it is the barrier of ``RoleChanged``."""
        one = self.elect()
        effects = one.receive("b", RequestVoteResponse(2, True))
        self.assertEqual(only(effects, RoleChanged), RoleChanged(Role.LEADER, 2, "a", "a:8300", 2))
        entry = only(effects, PersistEntries).entries[0]
        self.assertEqual((entry.term, entry.index, entry.kind), (2, 2, NOOP))
        self.assertEqual([message.entries for _, message in sent(effects, AppendEntries)], [[entry]] * 2)

    def test_answers_after_the_election(self) -> None:
        """A late vote means nothing to a leader."""
        one = self.elect()
        one.receive("b", RequestVoteResponse(2, True))
        self.assertEqual(one.receive("c", RequestVoteResponse(2, True)), [])


class VoteTests(SynchronousTestCase):
    """5.2, 5.4.1; specs, section 3."""

    def ask(self, one: Single, request: RequestVote, candidate: str = "b") -> RequestVoteResponse:
        return only(one.receive(candidate, request), RequestVoteResponse)

    def test_first_come(self) -> None:
        one = Single()
        self.assertTrue(self.ask(one, RequestVote(2, 1, 1)).granted)
        self.assertFalse(self.ask(one, RequestVote(2, 1, 1), "c").granted)
        self.assertTrue(self.ask(one, RequestVote(2, 1, 1)).granted)
        self.assertEqual(one.core.voted_for, "b")

    def test_lower_term(self) -> None:
        one = Single(term=4)
        self.assertEqual(self.ask(one, RequestVote(3, 9, 9)), RequestVoteResponse(4, False))

    def test_up_to_date(self) -> None:
        """5.4.1: the last term decides, then the length."""
        for last_index, last_term, granted in (
            (3, 2, True), (4, 2, True), (2, 2, False), (1, 3, True), (9, 1, False),
        ):  # fmt: skip
            one = Single(terms=[2, 2], term=2)
            response = self.ask(one, RequestVote(3, last_index, last_term))
            self.assertEqual(response.granted, granted, (last_index, last_term))
            self.assertEqual(one.core.term, 3)

    def test_durable_before_the_answer(self) -> None:
        one = Single()
        one.auto_sync = False
        effects = one.receive("b", RequestVote(2, 1, 1))
        self.assertEqual(of(effects, PersistState), [PersistState(1, 2, ""), PersistState(2, 2, "b")])
        self.assertEqual(of(effects, Send), [])
        self.assertEqual(one.sync(1), [])
        self.assertEqual(one.sync(2), [Send("b", "b:8300", RequestVoteResponse(2, True))])

    def test_refusal_waits_for_the_term(self) -> None:
        """Paper 5.1: the term is persisted before responding."""
        one = Single(terms=[1])
        one.auto_sync = False
        self.assertEqual(of(one.receive("b", RequestVote(2, 1, 1)), Send), [])
        self.assertEqual(one.sync(), [Send("b", "b:8300", RequestVoteResponse(2, False))])

    def test_vote_survives_a_restart(self) -> None:
        one = Single(term=2, voted_for="c")
        self.assertFalse(self.ask(one, RequestVote(2, 9, 9)).granted)
        self.assertTrue(self.ask(one, RequestVote(2, 9, 9), "c").granted)

    def test_a_vote_postpones_our_own_campaign(self) -> None:
        one = Single()
        one.now = one.due - 0.001
        one.receive("b", RequestVote(2, 1, 1))
        self.assertGreaterEqual(one.due, one.now + 1.0)

    def test_a_vote_ends_our_own_pre_vote(self) -> None:
        one = Single()
        one.time_out()
        self.assertTrue(self.ask(one, RequestVote(1, 9, 9)).granted)
        self.assertEqual((one.core.role, one.core.voted_for), (Role.FOLLOWER, "b"))

    def test_live_leader_is_protected(self) -> None:
        """4.2.3: not even the term is adopted, until the minimum election timeout has passed."""
        one = Single()
        one.heartbeat("b")
        self.assertEqual(self.ask(one, RequestVote(9, 9, 9), "c"), RequestVoteResponse(1, False))
        self.assertEqual(one.core.term, 1)
        one.now += 1.0
        self.assertTrue(self.ask(one, RequestVote(9, 9, 9), "c").granted)

    def test_a_leader_protects_itself(self) -> None:
        one = Single()
        one.lead()
        self.assertEqual(self.ask(one, RequestVote(9, 9, 9)), RequestVoteResponse(2, False))
        self.assertEqual(one.core.role, Role.LEADER)

    def test_transfer_overrides_that(self) -> None:
        """3.10: the leader itself told the candidate to start."""
        one = Single()
        one.heartbeat("b")
        self.assertTrue(self.ask(one, RequestVote(2, 9, 9, False, True), "c").granted)

    def test_candidate_unknown_to_us(self) -> None:
        """4.1: servers answer requests from outside their configuration, at the address given."""
        one = Single()
        effects = one.receive("z", RequestVote(2, 9, 9, False, False, "z:8300"))
        self.assertIn(Send("z", "z:8300", RequestVoteResponse(2, True)), effects)

    def test_no_address_no_answer(self) -> None:
        one = Single()
        self.assertEqual(of(one.receive("z", RequestVote(2, 9, 9)), Send), [])

    def test_our_own_message_comes_back(self) -> None:
        """Two servers with one id: at least it hurts nobody else."""
        one = Single()
        self.assertEqual(one.receive("a", RequestVote(2, 9, 9)), [])


class TimeoutNowTests(SynchronousTestCase):
    """Dissertation 3.10: the receiver campaigns at once, without asking first."""

    def test_campaigns(self) -> None:
        one = Single()
        one.heartbeat("b")
        effects = one.receive("b", TimeoutNow(1))
        request = RequestVote(2, 1, 1, False, True, "a:8300")
        self.assertEqual(sent(effects, RequestVote), [("b", request), ("c", request)])

    def test_of_a_newer_term(self) -> None:
        one = Single()
        one.receive("b", TimeoutNow(4))
        self.assertEqual((one.core.term, one.core.role), (5, Role.CANDIDATE))

    def test_ignored(self) -> None:
        """When late, by nonvoters, and by a leader."""
        one = Single(term=5)
        self.assertEqual(one.receive("b", TimeoutNow(4)), [])
        self.assertEqual(Single("bc", "a").receive("b", TimeoutNow(1)), [])
        one.lead()
        self.assertEqual(one.receive("b", TimeoutNow(6)), [])


class CheckQuorumTests(SynchronousTestCase):
    """6.2: a leader steps down when it hears no majority; specs, section 2, "Lease check"."""

    def test_steps_down_within_the_lease(self) -> None:
        one = Single()
        one.lead()
        start = one.now
        effects = next(effects for effects in one.ticks() if of(effects, RoleChanged))
        self.assertAlmostEqual(one.now - start, 0.5)
        self.assertEqual(only(effects, RoleChanged), RoleChanged(Role.FOLLOWER, 2, "", ""))
        self.assertEqual(one.core.term, 2)

    def test_majority_is_enough(self) -> None:
        one = Single("abcde")
        one.lead()
        while one.now < 120.0:
            for to, message in sent(one.tick(), Heartbeat):
                if to in "bc":
                    one.beat(to, message.context)
        self.assertEqual(one.core.role, Role.LEADER)

    def test_nonvoters_do_not_count(self) -> None:
        one = Single("abc", "n")
        one.lead()
        start = one.now
        for effects in one.ticks():
            for _, message in sent(effects, Heartbeat):
                one.beat("n", message.context)
            if of(effects, RoleChanged):
                break
        self.assertAlmostEqual(one.now - start, 0.5)

    def test_lease(self) -> None:
        """It runs from the last time that a majority was heard."""
        one = Single()
        self.assertIsNone(one.core.lease_until)
        one.lead()
        one.now += 0.3
        one.ack("b")
        self.assertAlmostEqual(one.core.lease_until, one.now + 0.5)

    def test_lone_voter_keeps_its_lease(self) -> None:
        one = Single("a")
        one.lead()
        for _ in range(100):
            one.tick()
        self.assertEqual(one.core.role, Role.LEADER)
        self.assertGreater(one.now, 130.0)

    def test_higher_terms_depose(self) -> None:
        """5.1, in any answer."""
        for answer in (AppendEntriesResponse(7, False, 0, 0), HeartbeatResponse(7, 1), Heartbeat(7, 0, 1)):
            one = Single()
            one.lead()
            one.receive("b", answer)
            self.assertEqual((one.core.role, one.core.term), (Role.FOLLOWER, 7))

    def test_another_leader_of_its_term_is_ignored(self) -> None:
        """It cannot exist; a liar is not believed."""
        one = Single()
        one.lead()
        self.assertEqual(one.receive("b", AppendEntries(2, 1, 1, 0)), [])
        self.assertEqual(one.receive("b", Heartbeat(2, 0, 1)), [])
        self.assertEqual(one.core.role, Role.LEADER)

    def test_persisted_reports_in_every_role(self) -> None:
        """A report that nobody waits for changes nothing, whatever it claims."""
        one = Single()
        self.assertEqual(one.feed(Persisted(99)), [])
        self.assertEqual(one.core.durable_index, 1)
