"""Leadership transfer: dissertation 3.10; specs of Consul's Raft, section 6."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.raft.events import (
    ChangeConfiguration,
    ChangeKind,
    ProposalRefused,
    Propose,
    Proposed,
    Role,
    TransferEnded,
    TransferLeadership,
)
from pyconsul.raft.messages import Heartbeat, RequestVote, TimeoutNow
from tests.raft.single import Single, of, only, sent


class TransferTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.one = Single("abc", "n")
        self.one.lead_and_commit()

    def error(self, target: str) -> str:
        return only(self.one.feed(TransferLeadership(target)), TransferEnded).error

    def test_refused(self) -> None:
        self.assertEqual(self.error("a"), "cannot transfer leadership to itself")
        self.assertEqual(self.error("n"), "cannot find a voter with id n")
        self.assertEqual(self.error("z"), "cannot find a voter with id z")
        self.one.feed(TransferLeadership("b"))
        self.assertEqual(self.error("c"), "leadership transfer in progress")
        self.one = Single("ab", "n")
        self.assertEqual(self.error("n"), "node is not the leader")
        self.one = Single("a", "n")
        self.assertEqual(self.error(""), "cannot find a voter to transfer leadership to")

    def test_up_to_date_target_is_told_at_once(self) -> None:
        effects = self.one.feed(TransferLeadership("c"))
        self.assertEqual(sent(effects, TimeoutNow), [("c", TimeoutNow(2))])
        self.assertEqual(self.one.core.transfer_target, "c")

    def test_target_is_caught_up_first(self) -> None:
        self.one.feed(Propose([b"x"]))
        self.assertEqual(sent(self.one.feed(TransferLeadership("c")), TimeoutNow), [])
        self.assertEqual(sent(self.one.ack("b"), TimeoutNow), [])
        self.assertEqual(sent(self.one.ack("c"), TimeoutNow), [("c", TimeoutNow(2))])

    def test_everything_is_committed_first(self) -> None:
        """The target may have it long before a majority has."""
        self.one = Single("abcde")
        self.one.lead_and_commit()
        self.one.feed(Propose([b"x"]))
        self.one.feed(TransferLeadership("c"))
        self.assertEqual(sent(self.one.ack("c"), TimeoutNow), [])
        self.assertEqual(sent(self.one.beat("c", 1, 3, 3), TimeoutNow), [])
        self.assertEqual(sent(self.one.ack("b"), TimeoutNow), [("c", TimeoutNow(2))])

    def test_best_voter_is_chosen(self) -> None:
        self.one.feed(Propose([b"x"]))
        self.one.ack("c")
        self.one.ack("n")
        self.assertEqual([to for to, _ in sent(self.one.feed(TransferLeadership()), TimeoutNow)], ["c"])

    def test_nothing_is_proposed_meanwhile(self) -> None:
        self.one.feed(TransferLeadership("b"))
        refused = [ProposalRefused("leadership transfer in progress")]
        self.assertEqual(self.one.feed(Propose([b"x"])), refused)
        self.assertEqual(self.one.feed(ChangeConfiguration(ChangeKind.REMOVE_SERVER, "b")), refused)

    def test_success(self) -> None:
        self.one.feed(TransferLeadership("b"))
        effects = self.one.receive("b", RequestVote(3, 2, 2, False, True))
        self.assertEqual(only(effects, TransferEnded), TransferEnded(""))
        self.assertEqual((self.one.core.role, self.one.core.voted_for), (Role.FOLLOWER, "b"))

    def test_timeout(self) -> None:
        """The old leader goes on."""
        self.one.feed(TransferLeadership("b"))
        start = self.one.now
        ended: list[TransferEnded] = []
        for effects in self.one.ticks():
            ended = of(effects, TransferEnded)
            for to, message in sent(effects, Heartbeat):
                if to != "b":
                    self.one.beat(to, message.context)
            if ended:
                break
        self.assertEqual(ended, [TransferEnded("leadership transfer timeout")])
        self.assertAlmostEqual(self.one.now - start, 1.0)
        self.assertEqual(len(of(self.one.feed(Propose([b"x"])), Proposed)), 1)
        self.assertEqual(self.one.core.transfer_target, "")

    def test_lost_message_is_repeated(self) -> None:
        """With each sign of life of the target."""
        self.one.feed(TransferLeadership("b"))
        self.assertEqual(len(sent(self.one.beat("b", 1), TimeoutNow)), 1)

    def test_leadership_lost_otherwise(self) -> None:
        """Before the target was told: that is no success."""
        self.one.feed(Propose([b"x"]))
        self.one.feed(TransferLeadership("b"))
        effects = self.one.receive("c", Heartbeat(9, 0, 1))
        self.assertEqual(only(effects, TransferEnded).error, "leadership lost while transferring it")

    def test_lease_lost_meanwhile(self) -> None:
        self.one.feed(TransferLeadership("b"))
        ended = next(found for effects in self.one.ticks() if (found := of(effects, TransferEnded)))
        self.assertEqual(ended, [TransferEnded("leadership lost while transferring it")])
        self.assertEqual(self.one.core.role, Role.FOLLOWER)
