"""When a leader may answer reads by itself: its lease, and the promises that this rests on."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.raft.events import ConfirmLeadership, TransferLeadership
from pyconsul.raft.messages import (
    AppendEntriesResponse,
    Heartbeat,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from tests.raft.single import Single, only, sent

NEVER = float("-inf")


class LeaseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.one = Single("abcde", "n")
        self.one.lead_and_commit()
        self.token = 0

    def round(self) -> dict[str, int]:
        """Heartbeats to everybody."""
        self.token += 1
        return {to: m.context for to, m in sent(self.one.feed(ConfirmLeadership(self.token)), Heartbeat)}

    def test_none_at_first(self) -> None:
        """Being elected is no promise for what comes after."""
        self.assertEqual(self.one.core.reads_until, NEVER)
        self.assertEqual(Single().core.reads_until, NEVER)

    def test_from_when_it_was_sent(self) -> None:
        """Not from when the answer came; and a majority has to answer."""
        contexts = self.round()
        begun = self.one.now
        self.one.now += 0.2
        self.one.beat("n", 99)
        self.one.beat("b", contexts["b"])
        self.assertEqual(self.one.core.reads_until, NEVER)
        self.one.beat("c", contexts["c"])
        self.assertEqual(self.one.core.reads_until, begun + 0.5)

    def test_renewed(self) -> None:
        """Every heartbeat that a majority answers renews it; answers that come late take nothing away."""
        first = self.round()
        for follower in "bc":
            self.one.beat(follower, first[follower])
        self.one.now += 0.1
        second = self.round()
        for follower in "bc":
            self.one.beat(follower, second[follower])
        self.assertEqual(self.one.core.reads_until, self.one.now + 0.5)
        self.one.beat("b", first["b"])
        self.assertEqual(self.one.core.reads_until, self.one.now + 0.5)

    def test_alone(self) -> None:
        """Nobody else can be elected."""
        one = Single("a", "n")
        one.lead()
        self.assertEqual(one.core.reads_until, float("inf"))

    def test_given_away(self) -> None:
        """Whoever was told to take over may do so at any time, even if it is given up."""
        for follower, context in self.round().items():
            self.one.beat(follower, context)
        self.assertGreater(self.one.core.reads_until, self.one.now)
        effects = self.one.feed(TransferLeadership("b"))
        self.assertEqual(sent(effects, TimeoutNow), [("b", TimeoutNow(2))])
        self.assertEqual(self.one.core.reads_until, NEVER)
        until = self.one.now + 1.1
        while self.one.now < until:
            for to, message in sent(self.one.tick(), Heartbeat):
                self.one.beat(to, message.context)
        self.assertEqual(self.one.core.transfer_target, "")
        self.assertEqual(self.one.core.reads_until, NEVER)


class PromiseTests(SynchronousTestCase):
    def votes(self, one: Single, term: int = 9) -> bool:
        request = RequestVote(term, 9, 9, False, False, "c:8300")
        return only(one.receive("c", request), RequestVoteResponse).granted

    def test_whoever_hears_a_leader(self) -> None:
        """Votes for nobody until the heartbeat timeout is over, unless the leader hands over."""
        one = Single()
        one.heartbeat()
        one.now += 0.999
        self.assertFalse(self.votes(one))
        self.assertEqual(one.core.term, 1)
        one.now += 0.001
        self.assertTrue(self.votes(one))

    def test_a_higher_term_does_not_break_it(self) -> None:
        """As an answer to something long ago may bring."""
        one = Single()
        one.heartbeat()
        one.receive("d", AppendEntriesResponse(7, False, 0, 1))
        self.assertEqual((one.core.term, one.core.leader_id), (7, ""))
        self.assertFalse(self.votes(one))

    def test_handing_over(self) -> None:
        one = Single()
        one.heartbeat()
        response = only(one.receive("c", RequestVote(2, 9, 9, False, True)), RequestVoteResponse)
        self.assertTrue(response.granted)

    def test_a_restart_does_not_break_it(self) -> None:
        """A server that starts does not know what it has promised; one without a past has not."""
        one = Single()
        one.now -= 0.001
        self.assertFalse(self.votes(one))
        new = Single(term=0, empty=True)
        new.now -= 1.0
        self.assertTrue(self.votes(new))
