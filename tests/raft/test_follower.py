"""Taking over the leader's log: Raft paper 5.3; specs, section 4."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.raft import events
from pyconsul.raft.events import (
    Apply,
    ConfigurationChanged,
    PersistEntries,
    PersistTruncation,
    Role,
    RoleChanged,
    Send,
)
from pyconsul.raft.messages import (
    CONFIGURATION,
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    Heartbeat,
    HeartbeatResponse,
)
from tests.raft.single import Single, command, configuration, of, only, sent


class AppendTests(SynchronousTestCase):
    def test_appends(self) -> None:
        one = Single()
        effects = one.append("b", 1, 1, 1, 1, 1)
        self.assertEqual(one.terms, [1, 1, 1])
        self.assertEqual(only(effects, AppendEntriesResponse), AppendEntriesResponse(1, True, 3, 0))

    def test_first_entries_of_an_empty_log(self) -> None:
        """It is answered though its configuration is not known yet."""
        one = Single(empty=True, term=0)
        entry = Entry(1, 1, CONFIGURATION, configuration("bc", "a").encode())
        effects = one.receive("b", AppendEntries(3, 0, 0, 0, [entry], "b:8300"))
        self.assertEqual(
            of(effects, ConfigurationChanged), [ConfigurationChanged(configuration("bc", "a"), 1)]
        )
        self.assertIn(Send("b", "b:8300", AppendEntriesResponse(3, True, 1, 0)), effects)

    def test_gap_is_rejected(self) -> None:
        """The hint is our last entry."""
        one = Single(terms=[1, 1], term=5)
        response = only(one.append("b", 5, 9, 5, 5), AppendEntriesResponse)
        self.assertEqual(response, AppendEntriesResponse(5, False, 0, 9, 3, 1))

    def test_mismatch_is_rejected(self) -> None:
        """The hint skips the terms that the leader cannot have there (end of 5.3)."""
        one = Single(terms=[1, 2, 4, 4, 4], term=5)
        response = only(one.append("b", 5, 5, 3, 5), AppendEntriesResponse)
        self.assertEqual(response, AppendEntriesResponse(5, False, 0, 5, 3, 2))
        self.assertEqual(one.terms, [1, 1, 2, 4, 4, 4])

    def test_mismatch_below_the_leaders_term(self) -> None:
        one = Single(terms=[2, 2, 2], term=5)
        response = only(one.append("b", 5, 3, 4, 5), AppendEntriesResponse)
        self.assertEqual(response, AppendEntriesResponse(5, False, 0, 3, 3, 2))

    def test_lower_term_is_rejected(self) -> None:
        one = Single(term=5)
        response = only(one.append("b", 4, 1, 1, 4), AppendEntriesResponse)
        self.assertEqual((response.term, response.success), (5, False))
        self.assertIsNone(one.core.last_contact)

    def test_what_is_there_stays(self) -> None:
        """A delayed message does not shorten the log."""
        one = Single()
        one.append("b", 1, 1, 1, 1, 1, 1)
        effects = one.append("b", 1, 1, 1, 1)
        self.assertEqual(of(effects, PersistTruncation), [])
        self.assertEqual(of(effects, PersistEntries), [])
        self.assertEqual(only(effects, AppendEntriesResponse).match_index, 2)
        self.assertEqual(one.core.last_log_index, 4)

    def test_only_what_is_new_is_written(self) -> None:
        one = Single()
        one.append("b", 1, 1, 1, 1, 1)
        effects = one.append("b", 1, 1, 1, 1, 1, 1)
        self.assertEqual([entry.index for entry in only(effects, PersistEntries).entries], [4])

    def test_conflict_is_cut_off(self) -> None:
        """From the first conflicting entry to the end."""
        one = Single(terms=[1, 2, 2, 2], term=3)
        effects = one.append("b", 3, 1, 1, 1, 3)
        self.assertEqual(
            [type(effect) for effect in effects[:3]], [RoleChanged, PersistTruncation, PersistEntries]
        )
        self.assertEqual(only(effects, PersistTruncation).first_dropped, 3)
        self.assertEqual(one.terms, [1, 1, 3])
        self.assertEqual(one.disk.durable[-1], command(3, 3))

    def test_conflict_takes_the_configuration_along(self) -> None:
        """Specs, section 4: the one before it is back in force."""
        one = Single(terms=[1])
        entry = Entry(2, 3, CONFIGURATION, configuration("abcd").encode())
        one.receive("b", AppendEntries(2, 2, 1, 0, [entry], "b:8300"))
        self.assertEqual(one.core.configuration_index, 3)
        effects = one.append("c", 3, 2, 1, 3)
        self.assertEqual(of(effects, ConfigurationChanged), [ConfigurationChanged(configuration("abc"), 1)])
        self.assertEqual(one.core.configuration, configuration("abc"))

    def test_known_configuration_is_not_news(self) -> None:
        one = Single()
        entry = Entry(1, 2, CONFIGURATION, configuration("abcd").encode())
        message = AppendEntries(1, 1, 1, 0, [entry], "b:8300")
        self.assertEqual(len(of(one.receive("b", message), ConfigurationChanged)), 1)
        self.assertEqual(of(one.receive("b", message), ConfigurationChanged), [])

    def test_nothing_committed_is_cut_off(self) -> None:
        """A leader of some other cluster, with a higher term, does no harm."""
        one = Single()
        one.append("b", 1, 1, 1, 1, 1, commit=3)
        effects = one.append("z", 9, 1, 1, 9)
        self.assertEqual(of(effects, PersistTruncation), [])
        self.assertEqual(sent(effects, AppendEntriesResponse), [])
        self.assertEqual(one.terms, [1, 1, 1])

    def test_nonsense_is_ignored(self) -> None:
        """Indexes with gaps, falling terms, terms above the leader's, a broken configuration."""
        for entries in (
            [command(1, 3)],
            [command(2, 2), command(2, 4)],
            [command(2, 2), command(1, 3)],
            [command(4, 2)],
            [Entry(2, 2, CONFIGURATION, b"\xc1")],
        ):
            one = Single()
            effects = one.receive("b", AppendEntries(3, 1, 1, 0, entries, "b:8300"))
            self.assertEqual(of(effects, PersistEntries), [])
            self.assertEqual(sent(effects, AppendEntriesResponse), [])

    def test_contact(self) -> None:
        one = Single()
        self.assertIsNone(one.core.last_contact)
        one.append("b", 1, 1, 1)
        self.assertEqual(one.core.last_contact, one.now)
        self.assertEqual((one.core.leader_id, one.core.leader_address), ("b", "b:8300"))
        one.now += 0.5
        one.append("b", 1, 99, 1)
        self.assertEqual(one.core.last_contact, one.now)

    def test_leader_moved(self) -> None:
        """The address in the message is newer than the configuration's."""
        one = Single()
        one.heartbeat("b")
        effects = one.receive("b", Heartbeat(1, 0, 2, "b:9"))
        self.assertEqual(of(effects, RoleChanged), [RoleChanged(Role.FOLLOWER, 1, "b", "b:9")])
        self.assertEqual(of(effects, Send)[0].address, "b:9")


class DurabilityTests(SynchronousTestCase):
    """An answer claims only what is on the disk."""

    def setUp(self) -> None:
        self.one = Single()
        self.one.heartbeat()
        self.one.auto_sync = False

    def test_answered_when_durable(self) -> None:
        effects = self.one.append("b", 1, 1, 1, 1)
        self.assertEqual(of(effects, Send), [])
        self.assertEqual(self.one.sync(), [Send("b", "b:8300", AppendEntriesResponse(1, True, 2, 0))])

    def test_one_answer_for_many(self) -> None:
        self.one.append("b", 1, 1, 1, 1)
        self.one.append("b", 1, 2, 1, 1)
        self.one.append("b", 1, 3, 1, 1)
        self.assertEqual(only(self.one.sync(2), AppendEntriesResponse).match_index, 3)
        self.assertEqual(only(self.one.sync(), AppendEntriesResponse).match_index, 4)

    def test_repeated_before_it_is_durable(self) -> None:
        """It holds nothing new, and yet it may not be acknowledged."""
        self.one.append("b", 1, 1, 1, 1)
        self.assertEqual(of(self.one.append("b", 1, 1, 1, 1), Send), [])
        self.assertEqual(only(self.one.sync(), AppendEntriesResponse).match_index, 2)

    def test_durable_part_is_acknowledged_at_once(self) -> None:
        self.one.append("b", 1, 1, 1, 1)
        self.assertEqual(only(self.one.append("b", 1, 1, 1), AppendEntriesResponse).match_index, 1)

    def test_replaced_entries_are_not_durable(self) -> None:
        """The report about entries that were cut off meanwhile says nothing about the new ones."""
        one = self.one
        one.append("b", 1, 1, 1, 1, 1)  # seq 1
        one.receive("c", AppendEntries(2, 1, 1, 0, [command(2, 2), command(2, 3)], "c:8300"))  # 2, 3, 4
        self.assertEqual(of(one.sync(1), Send), [])
        self.assertEqual(one.core.durable_index, 1)
        self.assertEqual(of(one.sync(3), Send), [Send("c", "c:8300", AppendEntriesResponse(2, True, 1, 0))])
        self.assertEqual(only(one.sync(4), AppendEntriesResponse).match_index, 3)

    def test_nothing_is_owed_to_an_old_leader(self) -> None:
        """What its log had in common with ours need not hold for the next one."""
        one = self.one
        one.append("b", 1, 1, 1, 1)
        one.heartbeat("c", 2)
        effects = one.sync()
        self.assertEqual(sent(effects, AppendEntriesResponse), [])
        self.assertEqual(only(effects, HeartbeatResponse), HeartbeatResponse(2, 1, 0, 0))

    def test_candidates_owe_nothing(self) -> None:
        one = self.one
        one.append("b", 1, 1, 1, 1)
        one.time_out()
        self.assertEqual(of(one.sync(), Send), [])

    def test_without_leader_nothing_is_owed(self) -> None:
        """Its vote was asked for meanwhile, in a new term."""
        one = Single("bc", "a")
        one.auto_sync = False
        one.append("b", 1, 1, 1, 1)
        one.time_out()
        self.assertEqual(one.core.leader_id, "")
        self.assertEqual(of(one.sync(), Send), [])

    def test_heartbeats_wait_for_the_term_only(self) -> None:
        one = self.one
        one.append("b", 1, 1, 1, 1)
        self.assertEqual(
            only(one.heartbeat("b", 1, context=5), HeartbeatResponse), HeartbeatResponse(1, 5, 1, 2)
        )
        self.assertEqual(of(one.heartbeat("c", 2, context=6), Send), [])
        self.assertEqual(of(one.heartbeat("c", 2, context=7), Send), [])
        self.assertEqual(only(one.sync(), HeartbeatResponse), HeartbeatResponse(2, 7, 0, 0))

    def test_rejects_wait_for_the_term(self) -> None:
        self.assertEqual(of(self.one.append("c", 2, 9, 1, 2), Send), [])
        self.assertFalse(only(self.one.sync(), AppendEntriesResponse).success)

    def test_held_answers_are_bounded(self) -> None:
        one = self.one
        for _ in range(1100):
            one.append("c", 2, 9, 1, 2)
        self.assertEqual(len(of(one.sync(), Send)), 1024)


class CommitTests(SynchronousTestCase):
    """5.3: a follower learns what is committed, and applies it in order, once."""

    def test_commits_what_is_known_to_match(self) -> None:
        """min(leaderCommit, index of last new entry): beyond it our entries may not be the leader's."""
        one = Single(terms=[1, 1, 1], term=2)
        effects = one.append("b", 2, 1, 1, 1, commit=4)
        self.assertEqual(one.core.commit_index, 2)
        self.assertEqual([entry.index for entry in only(effects, Apply).entries], [1, 2])
        effects = one.append("b", 2, 2, 1, 1, commit=4)
        self.assertEqual([entry.index for entry in only(effects, Apply).entries], [3])

    def test_all_kinds_are_applied(self) -> None:
        one = Single()
        self.assertEqual(only(one.append("b", 1, 1, 1, commit=1), Apply).entries[0].kind, CONFIGURATION)

    def test_commit_does_not_go_back(self) -> None:
        one = Single()
        one.append("b", 1, 1, 1, 1, commit=2)
        self.assertEqual(of(one.append("b", 1, 1, 1, commit=1), Apply), [])
        self.assertEqual(one.core.commit_index, 2)

    def test_heartbeats_pass_it_on(self) -> None:
        """They carry no more than what we confirmed to match."""
        one = Single()
        one.append("b", 1, 1, 1, 1)
        effects = one.heartbeat(commit=2)
        self.assertEqual([entry.index for entry in only(effects, Apply).entries], [1, 2])

    def test_never_beyond_what_the_leader_has_sent(self) -> None:
        """In this term and since our start: it may know us from before our disk was replaced."""
        one = Single(terms=[1, 1])
        one.heartbeat(commit=9)
        self.assertEqual(one.core.commit_index, 0)
        one.append("b", 1, 2, 1)
        one.heartbeat(commit=9)
        self.assertEqual(one.core.commit_index, 2)

    def test_before_it_is_durable_here(self) -> None:
        """A majority has it; that is enough."""
        one = Single()
        one.auto_sync = False
        effects = one.append("b", 1, 1, 1, 1, commit=2)
        self.assertEqual(len(only(effects, Apply).entries), 2)

    def test_long_backlog_is_applied_in_pieces(self) -> None:
        """At most 1,024 entries a call; the next deadline is at once until all is done."""
        one = Single(terms=[1] * 2500)
        effects = one.append("b", 1, 2501, 1, commit=2501)
        batches = [only(effects, Apply)]
        while one.due <= one.now:
            batches.append(only(one.feed(events.Tick()), Apply))
        self.assertEqual([len(batch.entries) for batch in batches], [1024, 1024, 453])
        indexes = [entry.index for batch in batches for entry in batch.entries]
        self.assertEqual(indexes, list(range(1, 2502)))
        self.assertEqual(one.core.last_applied, 2501)

    def test_large_entries_are_applied_in_pieces(self) -> None:
        """At most 128 KiB a call, or one entry."""
        one = Single()
        entries = [command(1, index, b"x" * 50_000) for index in range(2, 8)]
        effects = one.receive("b", AppendEntries(1, 1, 1, 7, entries, "b:8300"))
        self.assertEqual([entry.index for entry in of(effects, Apply)[0].entries], [1, 2, 3])


class HeartbeatTests(SynchronousTestCase):
    def test_answer_tells_how_far_the_logs_agree(self) -> None:
        """Nothing in a new term: what we hold may not be this leader's."""
        one = Single(terms=[1, 1])
        self.assertEqual(only(one.heartbeat(context=3), HeartbeatResponse), HeartbeatResponse(1, 3, 0, 0))
        one.append("b", 1, 3, 1)
        self.assertEqual(only(one.heartbeat(context=4), HeartbeatResponse), HeartbeatResponse(1, 4, 3, 3))

    def test_cut_off_entries_do_not_agree(self) -> None:
        """A leader that contradicts itself is not believed any further than it must be."""
        one = Single()
        one.append("b", 3, 1, 1, 1, 1, 1)
        one.append("b", 3, 2, 1, 2)
        self.assertEqual(only(one.heartbeat("b", 3), HeartbeatResponse).received_index, 3)

    def test_snapshot_boundary(self) -> None:
        """Entries before the log's first one are committed, so they agree (specs, section 4)."""
        one = Single(terms=[1, 1, 1])
        one.append("b", 1, 4, 1, commit=4)
        one.compact(3)
        self.assertTrue(only(one.append("b", 1, 3, 1, 1), AppendEntriesResponse).success)
        response = only(one.append("b", 1, 1, 1, 1, 1, 1, 1), AppendEntriesResponse)
        self.assertEqual((response.success, response.match_index), (True, 5))
        self.assertEqual(one.core.last_log_index, 5)
