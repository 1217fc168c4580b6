"""Linearizable reads without writing: ReadIndex, dissertation 6.4; Raft paper, section 8."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.raft.events import (
    ChangeConfiguration,
    ChangeKind,
    ConfirmLeadership,
    LeadershipConfirmed,
    LeadershipRefused,
    Propose,
)
from pyconsul.raft.messages import Heartbeat
from pyconsul.raft.reads import WAITING_MAX
from tests.raft.single import Single, of, sent


class ReadIndexTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.one = Single("abcde", "n")
        self.one.lead_and_commit()

    def ask(self, token: int) -> dict[str, int]:
        """Ask, and return the heartbeats that this causes."""
        return {to: m.context for to, m in sent(self.one.feed(ConfirmLeadership(token)), Heartbeat)}

    def test_refused_by_others(self) -> None:
        self.assertEqual(Single().feed(ConfirmLeadership(7)), [LeadershipRefused(7)])

    def test_majority_confirms(self) -> None:
        """All voters are asked at once; the commit index of that moment is what the read needs."""
        contexts = self.ask(7)
        self.assertEqual(sorted(contexts), ["b", "c", "d", "e"])
        self.one.feed(Propose([b"x"]))
        for follower in "bcd":
            self.one.ack(follower)
        self.assertEqual(of(self.one.beat("b", contexts["b"]), LeadershipConfirmed), [])
        effects = self.one.beat("c", contexts["c"])
        self.assertEqual(of(effects, LeadershipConfirmed), [LeadershipConfirmed(7, 2)])

    def test_earlier_heartbeats_do_not_confirm(self) -> None:
        """They say nothing about the time since the read came."""
        late: dict[str, int] = {}
        for effects in self.one.ticks():
            late.update({to: m.context for to, m in sent(effects, Heartbeat)})
            if len(late) == 5:
                break
        self.ask(7)
        for follower in "bcde":
            self.assertEqual(of(self.one.beat(follower, late[follower]), LeadershipConfirmed), [])

    def test_later_heartbeats_do(self) -> None:
        """The round itself may get lost."""
        self.ask(7)
        confirmed: list[LeadershipConfirmed] = []
        for effects in self.one.ticks():
            for to, message in sent(effects, Heartbeat):
                confirmed += of(self.one.beat(to, message.context), LeadershipConfirmed)
            if confirmed:
                break
        self.assertEqual(confirmed, [LeadershipConfirmed(7, 2)])

    def test_nonvoters_and_acknowledgements_do_not_count(self) -> None:
        contexts = self.ask(7)
        self.one.beat("b", contexts["b"])
        self.assertEqual(of(self.one.beat("n", 99), LeadershipConfirmed), [])
        self.assertEqual(of(self.one.ack("c"), LeadershipConfirmed), [])

    def test_reads_share_the_next_round(self) -> None:
        """One round is on its way at a time."""
        first = self.ask(1)
        self.assertEqual(self.ask(2), {})
        self.assertEqual(self.ask(3), {})
        self.one.beat("b", first["b"])
        effects = self.one.beat("c", first["c"])
        self.assertEqual(of(effects, LeadershipConfirmed), [LeadershipConfirmed(1, 2)])
        second = {to: m.context for to, m in sent(effects, Heartbeat)}
        self.assertEqual(sorted(second), ["b", "c", "d", "e"])
        self.one.beat("d", second["d"])
        effects = self.one.beat("e", second["e"])
        self.assertEqual([e.token for e in of(effects, LeadershipConfirmed)], [2, 3])

    def test_a_heartbeat_does_not_hold_up_the_next_round(self) -> None:
        """A heartbeat that falls due is sent to one follower; reads that wait get a round to all."""
        first = self.ask(1)
        self.ask(2)
        self.one.tick()
        self.one.beat("b", first["b"])
        effects = self.one.beat("c", first["c"])
        self.assertEqual([e.token for e in of(effects, LeadershipConfirmed)], [1])
        second = {to: m.context for to, m in sent(effects, Heartbeat)}
        self.assertEqual(sorted(second), ["b", "c", "d", "e"])

    def test_waiting_reads_join_heartbeats_when_a_round_is_lost(self) -> None:
        self.ask(1)
        self.ask(2)
        confirmed: list[LeadershipConfirmed] = []
        for effects in self.one.ticks():
            for to, message in sent(effects, Heartbeat):
                if to in "bc":
                    confirmed += of(self.one.beat(to, message.context), LeadershipConfirmed)
            if len(confirmed) == 2:
                break
        self.assertEqual([effect.token for effect in confirmed], [1, 2])

    def test_refused_on_losing_leadership(self) -> None:
        """Both those in a round and those that wait for the next."""
        self.ask(1)
        self.ask(2)
        effects = self.one.receive("b", Heartbeat(9, 0, 1))
        self.assertEqual(of(effects, LeadershipRefused), [LeadershipRefused(1), LeadershipRefused(2)])

    def test_bounded(self) -> None:
        self.ask(0)
        assert self.one.core._leader is not None
        self.one.core._leader.reads.waiting = list(range(WAITING_MAX))
        self.assertEqual(self.one.feed(ConfirmLeadership(7)), [LeadershipRefused(7)])


class NewLeaderTests(SynchronousTestCase):
    """6.4, step 1: wait for the no-op, or an earlier leader's last commits may be missed."""

    def test_held_until_the_noop_is_committed(self) -> None:
        one = Single()
        one.lead()
        self.assertEqual(one.feed(ConfirmLeadership(7)), [])
        beats = next(found for effects in one.ticks() if (found := sent(effects, Heartbeat)))
        self.assertEqual(of(one.beat(beats[0][0], beats[0][1].context), LeadershipConfirmed), [])
        effects = one.ack("b")
        contexts = {to: m.context for to, m in sent(effects, Heartbeat)}
        self.assertEqual(of(one.beat("c", contexts["c"]), LeadershipConfirmed), [LeadershipConfirmed(7, 2)])


class LoneVoterTests(SynchronousTestCase):
    def test_confirmed_at_once(self) -> None:
        one = Single("a", "n")
        one.lead()
        self.assertEqual(one.feed(ConfirmLeadership(7)), [LeadershipConfirmed(7, 2)])

    def test_but_not_before_the_noop_is_durable(self) -> None:
        one = Single("a")
        one.auto_sync = False
        one.time_out()
        one.sync()
        self.assertEqual(one.feed(ConfirmLeadership(7)), [])
        self.assertIn(LeadershipConfirmed(7, 2), one.sync())

    def test_the_last_other_voter_leaves(self) -> None:
        """Who waited for it need not any more."""
        one = Single("ab", "n")
        one.lead_and_commit()
        one.feed(ConfirmLeadership(7))
        one.feed(ConfirmLeadership(8))
        effects = one.feed(ChangeConfiguration(ChangeKind.REMOVE_SERVER, "b"))
        self.assertEqual([e.token for e in of(effects, LeadershipConfirmed)], [7, 8])
        self.assertEqual(of(one.beat("n", 99), LeadershipConfirmed), [])
