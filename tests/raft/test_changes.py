"""Membership changes: dissertation, chapter 4; specs of Consul's Raft, section 6."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.raft import events
from pyconsul.raft.configuration import NONVOTER, VOTER
from pyconsul.raft.events import (
    Bootstrap,
    ChangeConfiguration,
    ChangeKind,
    ConfigurationChanged,
    PersistEntries,
    PersistState,
    ProposalRefused,
    Proposed,
    Role,
    Send,
)
from pyconsul.raft.messages import (
    CONFIGURATION,
    AppendEntries,
    Entry,
    Heartbeat,
    RequestVote,
    TimeoutNow,
)
from tests.raft.single import Single, configuration, of, only, sent, snapshot


class BootstrapTests(SynchronousTestCase):
    def test_entry_1_of_term_1(self) -> None:
        one = Single(empty=True, term=0)
        effects = one.feed(Bootstrap(configuration("abc")))
        entry = Entry(1, 1, CONFIGURATION, configuration("abc").encode())
        self.assertEqual(
            effects,
            [
                PersistState(1, 1, ""),
                PersistEntries(2, [entry]),
                ConfigurationChanged(configuration("abc"), 1),
            ],
        )
        self.assertEqual(one.campaign()[-1].message.last_log_index, 1)

    def test_in_a_later_term(self) -> None:
        """Somebody asked for our vote before; the entry is the same all the same."""
        one = Single(empty=True, term=5)
        effects = one.feed(Bootstrap(configuration("abc")))
        self.assertEqual(of(effects, PersistState), [])
        self.assertEqual(only(effects, PersistEntries).entries[0].term, 1)

    def test_ignored(self) -> None:
        """With a log, with a leader, or if nobody could use it."""
        self.assertEqual(Single().feed(Bootstrap(configuration("abc"))), [])
        one = Single(empty=True)
        one.heartbeat()
        self.assertEqual(one.feed(Bootstrap(configuration("abc"))), [])
        self.assertEqual(Single(empty=True).feed(Bootstrap(configuration("", "a"))), [])


class ChangeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.one = Single()
        self.one.lead_and_commit()

    def change(self, kind: ChangeKind, server: str, prev_index: int = 0, address: str = "") -> list[Any]:
        address = address or f"{server}:8300"
        return self.one.feed(ChangeConfiguration(kind, server, address, prev_index))

    def refusal(self, *args: Any) -> str:
        return only(self.change(*args), ProposalRefused).reason

    def test_refused_by_others(self) -> None:
        effects = Single().feed(ChangeConfiguration(ChangeKind.ADD_VOTER, "d", "d:8300"))
        self.assertEqual(effects, [ProposalRefused("node is not the leader", not_leader=True)])

    def test_in_force_when_appended(self) -> None:
        effects = self.change(ChangeKind.ADD_VOTER, "d")
        self.assertEqual(only(effects, Proposed), Proposed(3, 1, 2))
        self.assertEqual(only(effects, ConfigurationChanged), ConfigurationChanged(configuration("abcd"), 3))
        self.assertEqual(self.one.core.configuration_index, 3)
        self.one.ack("b")
        self.assertEqual(self.one.core.commit_index, 2)  # 3 of 4 are needed
        self.one.ack("c")
        self.assertEqual(self.one.core.commit_index, 3)

    def test_newcomer_is_sent_everything(self) -> None:
        """It answers from nothing; a heartbeat goes to it at once."""
        effects = self.change(ChangeKind.ADD_NONVOTER, "d")
        self.assertEqual([m.prev_log_index for to, m in sent(effects, AppendEntries) if to == "d"], [3])
        effects = self.one.reject("d", 3, 0, 0)
        self.assertEqual(
            [(m.prev_log_index, len(m.entries)) for _, m in sent(effects, AppendEntries)], [(0, 3)]
        )
        self.assertEqual([to for to, _ in sent(self.one.tick(), Heartbeat)], ["d"])

    def test_one_at_a_time(self) -> None:
        self.change(ChangeKind.ADD_VOTER, "d")
        self.assertEqual(
            self.refusal(ChangeKind.ADD_VOTER, "e"), "the latest configuration is not committed yet"
        )

    def test_not_before_an_entry_of_the_term_is_committed(self) -> None:
        """The flaw found after the dissertation: two leaders' changes could pass each other."""
        self.one = Single()
        self.one.lead()
        self.assertEqual(
            self.refusal(ChangeKind.ADD_VOTER, "d"), "the leader has not committed an entry of its term yet"
        )

    def test_prev_index(self) -> None:
        self.assertEqual(
            self.refusal(ChangeKind.ADD_VOTER, "d", 9), "Configuration changed since 9 (latest is 1)"
        )
        self.assertEqual(len(of(self.change(ChangeKind.ADD_VOTER, "d", 1), Proposed)), 1)

    def test_result_is_validated(self) -> None:
        self.assertEqual(
            self.refusal(ChangeKind.ADD_VOTER, "d", 0, "a:8300"),
            "found duplicate address in configuration: a:8300",
        )
        self.assertEqual(self.refusal(ChangeKind.ADD_VOTER, ""), "empty ID in configuration")
        self.one = Single("a")
        self.one.lead()
        self.assertEqual(
            self.refusal(ChangeKind.REMOVE_SERVER, "a"), "need at least one voter in configuration"
        )

    def test_promoted(self) -> None:
        self.one = Single("abc", "n")
        self.one.lead_and_commit()
        self.change(ChangeKind.ADD_VOTER, "n")
        self.assertEqual([server.suffrage for server in self.one.core.configuration.servers], [VOTER] * 4)

    def test_new_address(self) -> None:
        """Messages go there at once."""
        self.change(ChangeKind.ADD_VOTER, "b", 0, "b:9")
        effects = self.one.feed(events.Propose([b"x"]))
        self.assertEqual([effect.address for effect in of(effects, Send)], ["b:9", "c:8300"])

    def test_demoted_follower(self) -> None:
        """It is still sent everything, and counts no more."""
        self.change(ChangeKind.DEMOTE_VOTER, "c")
        self.assertEqual(self.one.core.configuration.servers[2].suffrage, NONVOTER)
        self.one.ack("c")
        self.assertEqual(self.one.core.commit_index, 2)
        self.one.ack("b")
        self.assertEqual(self.one.core.commit_index, 3)
        self.assertEqual(len(sent(self.one.feed(events.Propose([b"x"])), AppendEntries)), 2)


class RemovedFollowerTests(SynchronousTestCase):
    """It is told, so that it does not campaign (specs: "a removed follower ... does not campaign")."""

    def setUp(self) -> None:
        self.one = Single()
        self.one.lead_and_commit()
        self.one.feed(ChangeConfiguration(ChangeKind.REMOVE_SERVER, "c"))

    def test_gets_the_entry_and_its_commit(self) -> None:
        one = self.one
        one.ack("b")
        one.ack("c")
        commits = []
        for effects in one.ticks():
            commits += [m.leader_commit for to, m in sent(effects, Heartbeat) if to == "c"]
            if "c" not in one.core.progress:
                break
        self.assertEqual(commits[-1], 3)
        self.assertEqual(one.core.role, Role.LEADER)

    def test_counts_no_more(self) -> None:
        self.one.ack("c")
        self.assertEqual(self.one.core.commit_index, 2)
        self.one.ack("b")
        self.assertEqual(self.one.core.commit_index, 3)

    def test_given_up_after_a_while(self) -> None:
        one = self.one
        start = one.now
        for effects in one.ticks():
            for to, message in sent(effects, Heartbeat):
                if to == "b":
                    one.beat("b", message.context, 3, 3)
            if "c" not in one.core.progress:
                break
        self.assertLess(one.now - start, 1.25)

    def test_comes_back(self) -> None:
        """Added again before it was gone: it is a follower like any other."""
        self.one.ack("b")
        self.one.feed(ChangeConfiguration(ChangeKind.ADD_VOTER, "c", "c:8300"))
        self.one.ack("b")
        end = self.one.now + 3.0
        while self.one.now < end:
            for to, message in sent(self.one.tick(), Heartbeat):
                self.one.beat(to, message.context, 4, 4)
        self.assertIn("c", self.one.core.progress)

    def test_does_not_campaign(self) -> None:
        one = Single()
        entry = Entry(1, 2, CONFIGURATION, configuration("bc").encode())
        one.receive("b", AppendEntries(1, 1, 1, 2, [entry], "b:8300"))
        one.time_out()
        self.assertEqual(one.core.role, Role.FOLLOWER)

    def test_may_campaign_while_it_is_not_committed(self) -> None:
        """4.2.2: its log may be the only one that holds the change; it does not vote for itself."""
        one = Single()
        entry = Entry(1, 2, CONFIGURATION, configuration("b").encode())
        one.receive("b", AppendEntries(1, 1, 1, 0, [entry], "b:8300"))
        effects = one.campaign()
        self.assertEqual(one.core.role, Role.CANDIDATE)
        self.assertEqual({message.address for _, message in sent(effects, RequestVote)}, {"a:8300"})


class RemovedLeaderTests(SynchronousTestCase):
    """4.2.2: it manages the cluster until the change is committed, without counting itself."""

    def remove(self, kind: ChangeKind) -> Single:
        one = Single()
        one.lead_and_commit()
        one.feed(ChangeConfiguration(kind, "a"))
        return one

    def test_steps_down_when_committed(self) -> None:
        for kind in (ChangeKind.REMOVE_SERVER, ChangeKind.DEMOTE_VOTER):
            one = self.remove(kind)
            one.ack("b")
            self.assertEqual((one.core.role, one.core.commit_index), (Role.LEADER, 2))
            effects = one.ack("c")
            self.assertEqual((one.core.role, one.core.commit_index), (Role.FOLLOWER, 3))
            self.assertEqual([m.leader_commit for _, m in sent(effects, Heartbeat)], [3, 3])
            self.assertEqual([to for to, _ in sent(effects, TimeoutNow)], ["b"])
            one.time_out()
            self.assertEqual(one.core.role, Role.FOLLOWER)

    def test_restarts_before_it_is_committed(self) -> None:
        """It has to help; it knows where it can be answered from the configuration before."""
        one = Single()
        one.disk.entries.append(Entry(1, 2, CONFIGURATION, configuration("bc").encode()))
        core = type(one.core)(one.core._s.timing, one.core._s.rng, "a", one.disk, one.disk.read)
        core.handle(0.0, events.Tick())
        effects = core.handle(9.0, events.Tick())
        requests = sent(list(effects), RequestVote)
        self.assertEqual(
            [(to, message.address) for to, message in requests], [("b", "a:8300"), ("c", "a:8300")]
        )

    def test_configuration_of_a_snapshot(self) -> None:
        """It is in force whatever the log says that lies before it."""
        one = Single("ab", terms=[1, 1])
        taken = snapshot(3, voters="abc", at=2)
        core = type(one.core)(one.core._s.timing, one.core._s.rng, "a", one.disk, one.disk.read, taken)
        self.assertEqual((core.configuration_index, core.configuration), (2, configuration("abc")))
