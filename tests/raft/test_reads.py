"""Linearizable reads without writing: ReadIndex, dissertation 6.4; Raft paper, section 8."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.raft.events import (
    ChangeConfiguration,
    ChangeKind,
    ConfirmLeadership,
    LeadershipConfirmed,
    LeadershipRefused,
    Propose,
    Role,
    Tick,
)
from pyconsul.raft.follower import ASKED_MAX
from pyconsul.raft.messages import AppendEntries, Heartbeat, ReadIndex, ReadIndexResponse
from pyconsul.raft.reads import WAITING_MAX
from tests.raft.single import Single, of, sent


class ReadIndexTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.one = Single("abcde", "n")
        self.one.lead_and_commit()

    def tell(self) -> None:
        """Have all followers told what is committed, and answer at once."""
        for to, heartbeat in sent(self.one.feed(Tick(), 0.05), Heartbeat):
            self.one.beat(to, heartbeat.context)

    def ask(self, token: int) -> dict[str, int]:
        """Ask, and return the heartbeats that this causes."""
        return {to: m.context for to, m in sent(self.one.feed(ConfirmLeadership(token)), Heartbeat)}

    def test_refused_by_others(self) -> None:
        self.assertEqual(Single().feed(ConfirmLeadership(7)), [LeadershipRefused(7)])

    def test_majority_confirms(self) -> None:
        """Enough voters are asked at once; the commit index of that moment is what the read needs."""
        contexts = self.ask(7)
        self.assertEqual(sorted(contexts), ["b", "c"])
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
        self.assertEqual(sorted(second), ["b", "c"])
        self.one.beat("b", second["b"])
        effects = self.one.beat("c", second["c"])
        self.assertEqual([e.token for e in of(effects, LeadershipConfirmed)], [2, 3])

    def test_a_heartbeat_does_not_hold_up_the_next_round(self) -> None:
        """A heartbeat that falls due is sent to one follower; reads that wait get a round."""
        first = self.ask(1)
        self.ask(2)
        self.one.tick()
        self.one.beat("b", first["b"])
        effects = self.one.beat("c", first["c"])
        self.assertEqual([e.token for e in of(effects, LeadershipConfirmed)], [1])
        self.assertEqual(len(sent(effects, Heartbeat)), 2)

    def test_the_quickest_are_asked(self) -> None:
        """Those whose latest answers took the shortest time."""
        contexts = self.ask(1)
        self.one.feed(Tick(), 0.02)
        for follower in "bc":
            self.one.beat(follower, contexts[follower])
        self.assertEqual(sorted(self.ask(2)), ["d", "e"])

    def test_the_others_are_asked_when_those_take_long(self) -> None:
        """Once; the answers of any majority will do."""
        self.tell()
        self.ask(1)
        wait_s = self.one.core._s.timing.commit_timeout_s
        self.assertEqual(sent(self.one.feed(Tick(), wait_s * 0.9), Heartbeat), [])
        beats = {to: m.context for to, m in sent(self.one.feed(Tick(), wait_s * 0.11), Heartbeat)}
        self.assertEqual(sorted(beats), ["b", "c", "d", "e"])
        self.assertEqual(of(self.one.beat("d", beats["d"]), LeadershipConfirmed), [])
        confirmed = of(self.one.beat("e", beats["e"]), LeadershipConfirmed)
        self.assertEqual(confirmed, [LeadershipConfirmed(1, 2)])
        self.assertEqual(sent(self.one.feed(Tick(), wait_s), Heartbeat), [])

    def test_nobody_else_is_asked_once_it_is_confirmed(self) -> None:
        self.tell()
        contexts = self.ask(1)
        for follower in "bc":
            self.one.beat(follower, contexts[follower])
        self.assertEqual(sent(self.one.feed(Tick(), self.one.core._s.timing.commit_timeout_s), Heartbeat), [])

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
        [(asked, beat)] = sent(effects, Heartbeat)
        confirmed = of(one.beat(asked, beat.context), LeadershipConfirmed)
        self.assertEqual(confirmed, [LeadershipConfirmed(7, 2)])


class LoneVoterTests(SynchronousTestCase):
    def test_confirmed_at_once(self) -> None:
        one = Single("a", "n")
        one.lead()
        self.assertEqual(one.feed(ConfirmLeadership(7)), [LeadershipConfirmed(7, 2)])

    def test_but_not_before_the_noop_is_durable(self) -> None:
        one = Single("a", auto_sync=False)
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


class AskedByFollowersTests(SynchronousTestCase):
    """The leader's side of reads at followers."""

    def setUp(self) -> None:
        self.one = Single("abcde", "n")
        self.one.lead_and_commit()

    def ask(self, leased: bool, term: int = 0, sender: str = "b") -> list[Any]:
        return self.one.receive(sender, ReadIndex(term or self.one.core.term, 7, leased, f"{sender}:8300"))

    def answered(self, effects: list[Any]) -> list[str]:
        """Who has an answer."""
        return [to for to, _ in sent(effects, ReadIndexResponse)]

    def test_majority_confirms(self) -> None:
        """As for reads of its own."""
        first, second = sent(self.ask(leased=False), Heartbeat)
        self.assertEqual(self.answered(self.one.beat(first[0], first[1].context)), [])
        effects = self.one.beat(second[0], second[1].context)
        self.assertEqual(sent(effects, ReadIndexResponse), [("b", ReadIndexResponse(2, 7, 2))])
        self.assertEqual(of(effects, LeadershipConfirmed), [])

    def test_who_asks_is_the_majority(self) -> None:
        """With two or three voters one that asks is enough, for itself."""
        for voters in ("ab", "abc"):
            self.one = Single(voters, "n")
            self.one.lead_and_commit()
            [(_, heartbeat)] = sent(self.one.feed(ConfirmLeadership(1)), Heartbeat)
            effects = self.ask(leased=False)
            self.assertEqual(sent(effects, ReadIndexResponse), [("b", ReadIndexResponse(2, 7, 2))])
            self.assertEqual(of(effects, LeadershipConfirmed), [])
            self.assertEqual(self.answered(self.ask(leased=False, sender="n")), [])
            effects = self.one.beat("b", heartbeat.context)
            self.assertEqual(of(effects, LeadershipConfirmed), [LeadershipConfirmed(1, 2)])

    def test_who_asks_is_the_majority_but_the_leader_may_be_behind(self) -> None:
        """What an earlier leader acknowledged, it has, but does not know to be committed."""
        self.one = Single("abc")
        self.one.lead()
        self.assertEqual(self.answered(self.ask(leased=False)), [])
        self.assertEqual(self.answered(self.ask(leased=True)), [])
        effects = self.one.ack("b")
        [(asked, heartbeat)] = sent(effects, Heartbeat)
        self.assertEqual(self.answered(self.one.beat(asked, heartbeat.context)), ["b", "b"])

    def test_lease(self) -> None:
        """While nobody else can lead the leader's word will do, if that is enough; then it will not."""
        effects = self.one.feed(ConfirmLeadership(1))
        for to, heartbeat in sent(effects, Heartbeat):
            self.one.beat(to, heartbeat.context)
        effects = self.ask(leased=True)
        self.assertEqual(sent(effects, ReadIndexResponse), [("b", ReadIndexResponse(2, 7, 2))])
        self.assertEqual(sent(self.ask(leased=False), ReadIndexResponse), [])
        self.one.now = self.one.core.reads_until
        self.assertEqual(sent(self.ask(leased=True), ReadIndexResponse), [])

    def test_before_the_first_entry_is_committed(self) -> None:
        """The commit index may be behind what an earlier leader acknowledged."""
        one = Single("abc")
        one.lead()
        effects = one.receive("b", ReadIndex(one.core.term, 7, True, "b:8300"))
        self.assertEqual(sent(effects, ReadIndexResponse), [])

    def test_alone(self) -> None:
        """The only voter knows at once; a server without a vote may ask it."""
        one = Single("a", "n")
        one.lead_and_commit()
        effects = one.receive("n", ReadIndex(one.core.term, 7, False, "n:8300"))
        self.assertEqual([to for to, _ in sent(effects, ReadIndexResponse)], ["n"])

    def test_not_in_this_term(self) -> None:
        """A question of an old term is not answered; one of a later term says that this leader is none."""
        self.assertEqual(self.ask(leased=True, term=1), [])
        self.ask(leased=True, term=9)
        self.assertIs(self.one.core.role, Role.FOLLOWER)
        self.assertEqual(self.ask(leased=True, term=9), [])

    def test_deposed(self) -> None:
        """Followers hear of the next leader by themselves."""
        self.ask(leased=False)
        self.assertEqual(of(self.one.receive("c", Heartbeat(9, 0, 1)), LeadershipRefused), [])


class FollowerTests(SynchronousTestCase):
    """A follower's side."""

    def setUp(self) -> None:
        self.one = Single("abc", terms=[1, 1])
        self.one.receive("b", AppendEntries(1, 3, 1, 1, (), "b:8300"))

    def ask(self, token: int = 1, leased: bool = False) -> ReadIndex:
        ((to, message),) = sent(self.one.feed(ConfirmLeadership(token, leased)), ReadIndex)
        self.assertEqual((to, message.leased), ("b", leased))
        return message

    def test_answered(self) -> None:
        """The read needs what the leader says, and what that commits is applied."""
        asked = self.ask(leased=True)
        effects = self.one.receive("b", ReadIndexResponse(1, asked.context, 2))
        self.assertEqual(of(effects, LeadershipConfirmed), [LeadershipConfirmed(1, 2)])
        self.assertEqual(self.one.core.commit_index, 2)
        self.assertEqual(self.one.receive("b", ReadIndexResponse(1, asked.context, 3)), [])
        asked = self.ask(2)
        effects = self.one.receive("b", ReadIndexResponse(1, asked.context, 9))
        self.assertEqual(of(effects, LeadershipConfirmed), [LeadershipConfirmed(2, 9)])
        self.assertEqual(self.one.core.commit_index, 3)

    def test_answers_of_others(self) -> None:
        """What another server says, or the leader of another term, is no answer."""
        context = self.ask().context
        self.assertEqual(self.one.receive("c", ReadIndexResponse(1, context, 3)), [])
        self.assertEqual(self.one.receive("b", ReadIndexResponse(0, context, 3)), [])
        self.assertEqual(self.one.receive("b", ReadIndexResponse(1, context + 1, 3)), [])
        effects = self.one.receive("b", ReadIndexResponse(5, context, 3))
        self.assertEqual(of(effects, LeadershipRefused), [LeadershipRefused(1)])
        self.assertEqual(self.one.core.term, 5)

    def test_not_answered(self) -> None:
        """Whoever asked hears of it in time, though the leader is there."""
        self.ask(1)
        self.one.now += 0.5
        self.one.receive("b", Heartbeat(1, 1, 1, "b:8300"))
        self.ask(2)
        due = self.one.core.next_deadline()
        assert due is not None
        self.one.now = due
        self.assertEqual(self.one.feed(Tick()), [LeadershipRefused(1)])
        self.assertEqual(self.one.core.next_deadline(), min(due + 0.5, self.one.core._s.election_due or 0.0))

    def test_another_leader(self) -> None:
        """The answer of the one that was asked is not waited for."""
        self.ask()
        effects = self.one.receive("c", Heartbeat(2, 0, 1, "c:8300"))
        self.assertEqual(of(effects, LeadershipRefused), [LeadershipRefused(1)])

    def test_refused(self) -> None:
        """Without a leader, with too many questions, and in a term that is not on the disk."""
        for token in range(ASKED_MAX):
            self.ask(token)
        self.assertEqual(self.one.feed(ConfirmLeadership(ASKED_MAX)), [LeadershipRefused(ASKED_MAX)])
        self.one.auto_sync = False
        self.one.receive("b", Heartbeat(2, 0, 1, "b:8300"))
        self.assertEqual(self.one.feed(ConfirmLeadership(7)), [LeadershipRefused(7)])
