"""Stories of several servers, each played step by step; ``Safety`` watches all the while."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.raft import events
from pyconsul.raft.events import ChangeKind, LeadershipConfirmed, LeadershipRefused, Role
from pyconsul.raft.messages import TimeoutNow
from pyconsul.raft.timing import Timing
from tests.raft.harness import Cluster, Node


def campaign(node: Node) -> None:
    """Have ``node`` campaign at once, whoever else may lead."""
    node.feed(events.MessageReceived("?", TimeoutNow(node.core.term)))


def elect(cluster: Cluster, server_id: str) -> Node:
    """Have ``server_id`` win an election, though it may have to learn the current term first."""
    node = cluster[server_id]
    for _ in range(3):
        campaign(node)
        cluster.run(0.03)
        if node.leads:
            return node
    raise AssertionError(f"{server_id} did not win")


class ElectionStories(SynchronousTestCase):
    """Raft paper, 5.2."""

    def test_clusters_of_all_sizes(self) -> None:
        """One leader, soon; everybody knows it, and its no-op is applied everywhere."""
        for size in (1, 2, 3, 5, 7):
            cluster = Cluster(size, seed=size)
            leader = cluster.elect(8.0)
            cluster.run_until(cluster.agreed, 1.0)
            for node in cluster.nodes.values():
                self.assertEqual(node.core.leader_id, leader.id)
                self.assertEqual(node.core.leader_address, f"{leader.id}:8300")
                self.assertEqual(node.applied, 2)

    def test_quiet_cluster_keeps_its_leader(self) -> None:
        cluster = Cluster(5, seed=2)
        leader = cluster.elect()
        term = leader.core.term
        cluster.run(300.0)
        self.assertEqual((cluster.leader, leader.core.term), (leader, term))

    def test_dev_timing(self) -> None:
        """35 ms, 52 ms, 20 ms are enough for three servers on one machine."""
        cluster = Cluster(3, seed=3, timing=Timing.dev())
        leader = cluster.elect(0.5)
        cluster.run(20.0)
        self.assertIs(cluster.leader, leader)

    def test_leader_dies(self) -> None:
        """Another one within twice the timeout and a bit, with everything that was committed."""
        for seed in range(20):
            cluster = Cluster(3, seed)
            leader = cluster.elect()
            leader.propose(b"kept")
            cluster.run_until(cluster.agreed)
            leader.crash()
            successor = cluster.elect(4.0)
            self.assertIsNot(successor, leader)
            self.assertEqual(successor.commands, [b"kept"])

    def test_all_die(self) -> None:
        """Everything that was committed is there after a restart, and applied again."""
        cluster = Cluster(3, seed=5)
        cluster.elect().propose(*(b"%d" % number for number in range(50)))
        cluster.run_until(cluster.agreed)
        before = cluster["a"].applied
        for node in cluster.nodes.values():
            node.crash()
        for node in cluster.nodes.values():
            node.start()
            self.assertEqual(node.core.commit_index, 0)
        cluster.elect()
        cluster.run_until(cluster.agreed)
        self.assertEqual(cluster["a"].applied, before + 1)

    def test_lone_server_restarts(self) -> None:
        cluster = Cluster(1, seed=6)
        node = cluster.elect()
        node.propose(*(b"%d" % number for number in range(3000)))
        cluster.run_until(cluster.agreed)
        node.crash()
        node.start()
        cluster.elect()
        cluster.run_until(cluster.agreed)
        self.assertEqual(node.applied, 3003)

    def test_minority_elects_nobody(self) -> None:
        cluster = Cluster(5, seed=7)
        for server_id in "abc":
            cluster[server_id].crash()
        cluster.run(60.0)
        self.assertIsNone(cluster.leader)
        self.assertLessEqual(cluster["d"].core.term, 1)

    def test_stale_log_does_not_win(self) -> None:
        """5.4.1: who slept through a commit is voted for by nobody."""
        cluster = Cluster(3, seed=8)
        leader = cluster.elect()
        sleeper = next(node for node in cluster.nodes.values() if node is not leader)
        sleeper.crash()
        leader.propose(b"missed")
        cluster.run(0.5)
        sleeper.start()
        leader.crash()
        successor = cluster.elect(10.0)
        self.assertIsNot(successor, sleeper)
        self.assertEqual(successor.commands, [b"missed"])


class LogStories(SynchronousTestCase):
    """Raft paper, 5.3 and 5.4.2."""

    def test_figure_8(self) -> None:
        """An entry on a majority may still be overwritten, as long as it is of an earlier term."""
        cluster = Cluster(5, seed=1, timing=Timing(entries_per_append_max=1))
        cluster.run(0.01)
        a = elect(cluster, "a")
        cluster.run_until(cluster.agreed)
        cluster.isolate("a", "b")  # (a) an entry reaches b only
        a.propose(b"old")
        cluster.run_until(lambda: cluster["b"].commands == [b"old"], 0.1)
        old = a.core.last_log_index
        e = cluster["e"]
        campaign(e)  # (b) e is elected by c and d, and writes what nobody gets
        cluster.run_until(lambda: e.leads, 1.0)
        cluster.isolate("e")
        cluster.run(0.01)
        for server_id in "abe":
            cluster[server_id].crash(keep=9)
        cluster.heal()
        self.assertEqual((cluster["c"].commands, e.core.log.term_at(old)), ([], e.core.term))
        a.start()
        campaign(a)
        cluster.run(0.03)  # it learns the term
        campaign(a)  # (c) a leads again, and copies the old entry to c and d, one at a time
        cluster.run_until(lambda: all(a.core.progress[i].match_index >= old for i in "cd") if a.leads else 0)
        cluster.isolate("a")
        self.assertLess(a.core.commit_index, old)
        self.assertNotIn(a.core.term, [cluster[i].core.last_log_term for i in "cd"])
        a.crash(keep=9)
        cluster["b"].start()
        cluster["e"].start()
        cluster.run(0.01)
        elect(cluster, "e")  # (d) e is elected by all of them, and overwrites it
        cluster.run_until(lambda: cluster.agreed(*"bcde"), 5.0)
        self.assertEqual([cluster[i].commands for i in "bcde"], [[]] * 4)

    def test_divergent_logs_are_repaired(self) -> None:
        """Figure 7: followers that lack entries, have others, or both."""
        cluster = Cluster(5, seed=4)
        for round_number in range(6):
            leader = cluster.elect()
            leader.propose(*(b"kept %d.%d" % (round_number, n) for n in range(round_number)))
            cluster.run(0.3)
            cluster.isolate(leader.id)
            leader.propose(*(b"lost %d.%d" % (round_number, n) for n in range(10 + round_number)))
            cluster.run_until(lambda: not leader.leads, 2.0)  # noqa: B023
            cluster.elect(10.0)
            cluster.heal()
        last = cluster.elect()
        cluster.run_until(cluster.agreed, 10.0)
        self.assertFalse([data for data in last.commands if data.startswith(b"lost")])
        self.assertEqual(len(last.commands), sum(range(6)))
        for node in cluster.nodes.values():
            self.assertEqual(node.commands, last.commands)

    def test_far_behind(self) -> None:
        """Thousands of entries, some from the leader's disk, in bounded messages."""
        cluster = Cluster(3, seed=9)
        leader = cluster.elect()
        sleeper = next(node for node in cluster.nodes.values() if node is not leader)
        sleeper.crash()
        for _ in range(40):
            leader.propose(*[b"x" * 2_000] * 256)
            cluster.run(0.05)
        self.assertGreater(leader.core.log.cached_first, 1_000)
        sleeper.start()
        cluster.run_until(cluster.agreed, 10.0)
        self.assertEqual(sleeper.applied, 40 * 256 + 2)

    def test_lossy_network(self) -> None:
        """A third of the messages is lost, and others come twice: slow, but everybody agrees."""
        cluster = Cluster(3, seed=10)
        leader = cluster.elect()
        cluster.loss, cluster.doubled = 0.3, 0.2
        for number in range(100):
            leader = cluster.leader or leader
            leader.propose(b"%d" % number)
            cluster.run(0.02)
        cluster.loss = 0.0
        cluster.elect()
        cluster.run_until(cluster.agreed, 10.0)

    def test_slow_disk_is_not_a_lossy_network(self) -> None:
        """A follower whose disk takes seconds is sent everything once."""
        cluster = Cluster(3, seed=11)
        leader = cluster.elect()
        cluster.run_until(cluster.agreed)
        slow = next(node for node in cluster.nodes.values() if node is not leader)
        slow.disk_s = 5.0
        sent: list[object] = []
        transmit = cluster.transmit

        def count(sender: str, effect: events.Send) -> None:
            if effect.to == slow.id and getattr(effect.message, "entries", None):
                sent.append(effect)
            transmit(sender, effect)

        cluster.transmit = count  # type: ignore[method-assign]
        leader.propose(b"x")
        leader.propose(b"y")
        cluster.run(4.0)
        self.assertEqual(slow.commands, [b"x", b"y"])
        self.assertEqual(len(sent), 2)
        self.assertEqual(leader.core.progress[slow.id].match_index, 2)

    def test_followers_learn_commits_soon(self) -> None:
        """Within 50 ms and the way there, though nothing else happens."""
        cluster = Cluster(3, seed=12)
        leader = cluster.elect()
        cluster.run(1.0)
        leader.propose(b"x")
        cluster.run(0.070)
        self.assertTrue(cluster.agreed())

    def test_unsynced_writes_are_lost(self) -> None:
        """What a follower never acknowledged may go; what was committed stays."""
        cluster = Cluster(3, seed=13)
        leader = cluster.elect()
        cluster.run_until(cluster.agreed)
        for node in cluster.nodes.values():
            node.disk_s = 0.5
        leader.propose(b"never synced")
        cluster.run(0.01)
        for node in cluster.nodes.values():
            node.crash()
            node.start()
        cluster.elect()
        self.assertEqual(cluster["a"].commands, [])


class PartitionStories(SynchronousTestCase):
    """Dissertation 6.2, 9.6, 4.2.3."""

    def test_cut_off_leader_steps_down(self) -> None:
        """Within its lease, before anybody else can lead; its writes come to nothing."""
        cluster = Cluster(5, seed=1)
        leader = cluster.elect()
        cluster.run_until(cluster.agreed)
        friend = next(node for node in cluster.nodes.values() if node is not leader)
        cluster.isolate(leader.id, friend.id)
        leader.propose(b"lost")
        start = cluster.now
        cluster.run_until(lambda: not leader.leads, 1.0)
        self.assertLess(cluster.now - start, 0.52)
        self.assertIsNone(cluster.leader)
        cluster.elect(5.0).propose(b"kept")
        cluster.run(0.5)
        cluster.heal()
        cluster.run_until(cluster.agreed, 5.0)
        self.assertEqual(leader.commands, [b"kept"])

    def test_rejoining_server_does_not_disturb(self) -> None:
        """It asked for pre-votes only, so its term is the old one."""
        cluster = Cluster(3, seed=2)
        leader = cluster.elect()
        term = leader.core.term
        lonely = next(node for node in cluster.nodes.values() if node is not leader)
        cluster.isolate(lonely.id)
        cluster.run(30.0)
        self.assertEqual(lonely.core.role, Role.CANDIDATE)
        cluster.heal()
        cluster.run(10.0)
        self.assertEqual((cluster.leader, leader.core.term), (leader, term))
        self.assertEqual(lonely.core.leader_id, leader.id)

    def test_half_deaf_server_does_not_disturb(self) -> None:
        """It does not hear the leader, but everybody hears it."""
        cluster = Cluster(3, seed=3)
        leader = cluster.elect()
        term = leader.core.term
        deaf = next(node for node in cluster.nodes.values() if node is not leader)
        cluster.cut.add((leader.id, deaf.id))
        cluster.run(60.0)
        self.assertEqual((cluster.leader, leader.core.term), (leader, term))

    def test_deaf_leader_gives_way(self) -> None:
        """It is heard, so nobody campaigns, but hears nobody: only its lease can end that."""
        cluster = Cluster(3, seed=4)
        leader = cluster.elect()
        for server_id in cluster.nodes:
            cluster.cut.add((server_id, leader.id))
        cluster.run(1.0)
        self.assertFalse(leader.leads)
        self.assertIsNot(cluster.elect(5.0), leader)

    def test_higher_term_comes_back(self) -> None:
        """A server that is ahead in term cannot be led; the leader takes its term, once."""
        cluster = Cluster(3, seed=5)
        leader = cluster.elect()
        other = next(node for node in cluster.nodes.values() if node is not leader)
        cluster.isolate(other.id)
        campaign(other)
        cluster.run(5.0)
        self.assertEqual(other.core.term, leader.core.term + 1)
        cluster.heal()
        cluster.elect(10.0)
        cluster.run_until(lambda: cluster.leader and cluster.agreed(), 10.0)
        self.assertEqual(len({node.core.term for node in cluster.nodes.values()}), 1)


class ReadStories(SynchronousTestCase):
    """Dissertation 6.4."""

    def test_confirmed_within_a_round_trip(self) -> None:
        cluster = Cluster(3, seed=1)
        leader = cluster.elect()
        leader.propose(b"x")
        cluster.run_until(cluster.agreed)
        for _ in range(50):
            cluster.read(leader)
        cluster.run(0.020)
        confirmed = leader.told(LeadershipConfirmed)
        self.assertEqual([effect.index for effect in confirmed], [3] * 50)

    def test_paused_leader_confirms_nothing(self) -> None:
        """It wakes up believing that it leads, finds old answers in its inbox, and has one friend."""
        for seed in range(20):
            cluster = Cluster(5, seed)
            leader = cluster.elect()
            leader.propose(b"x")
            cluster.run_until(cluster.agreed)
            leader.pause(10.0)
            friend = next(node for node in cluster.nodes.values() if node is not leader)
            cluster.run(0.2)
            friend.pause(10.0)
            cluster.elect_other(leader).propose(b"y")
            cluster.run(5.0)
            cluster.isolate(leader.id, friend.id)
            leader.paused = friend.paused = False
            token = cluster.read(leader)
            for node in (friend, leader):
                missed, node.missed = node.missed, []
                for event in missed:
                    node.feed(event)
            cluster.run(3.0)
            self.assertEqual(leader.told(LeadershipConfirmed), [])
            self.assertEqual(leader.told(LeadershipRefused), [LeadershipRefused(token)])

    def test_followers_ask_the_leader(self) -> None:
        """Their reads, too, see everything that was committed before; ``Cluster.answered`` looks."""
        for seed in range(10):
            cluster = Cluster(3, seed)
            leader = cluster.elect()
            followers = [node for node in cluster.nodes.values() if node is not leader]
            for number in range(30):
                leader.propose(b"%d" % number)
                cluster.run(0.003)
                for follower in followers:
                    cluster.read(follower)
            cluster.run(0.5)
            for follower in followers:
                self.assertEqual(len(follower.told(LeadershipConfirmed)), 30)


class MembershipStories(SynchronousTestCase):
    """Dissertation, chapter 4; specs, section 6."""

    def test_grows_from_one_to_five(self) -> None:
        cluster = Cluster(1, seed=1)
        leader = cluster.elect()
        leader.propose(*(b"%d" % number for number in range(1000)))
        for server_id in "bcde":
            cluster.add(server_id)
            self.assertIsInstance(leader.change(ChangeKind.ADD_NONVOTER, server_id), events.Proposed)
            cluster.run_until(cluster.agreed, 5.0)
            self.assertIsInstance(leader.change(ChangeKind.ADD_VOTER, server_id), events.Proposed)
            cluster.run_until(cluster.agreed, 5.0)
        leader.crash()
        self.assertEqual(len(cluster.elect(10.0).core.configuration.servers), 5)

    def test_shrinks_to_one(self) -> None:
        cluster = Cluster(5, seed=2)
        leader = cluster.elect()
        for server_id in [server_id for server_id in cluster.nodes if server_id != leader.id]:
            self.assertIsInstance(leader.change(ChangeKind.REMOVE_SERVER, server_id), events.Proposed)
            cluster.run(1.0)
            cluster[server_id].crash()
        leader.propose(b"alone")
        cluster.run(0.1)
        self.assertEqual(leader.commands, [b"alone"])
        self.assertEqual(leader.applied, leader.core.last_log_index)

    def test_removed_servers_are_quiet(self) -> None:
        """4.2.3: they know, and whoever does not know disturbs nobody."""
        for told in (True, False):
            cluster = Cluster(4, seed=3)
            leader = cluster.elect()
            term = leader.core.term
            removed = next(node for node in cluster.nodes.values() if node is not leader)
            if not told:
                cluster.isolate(removed.id)
            leader.change(ChangeKind.REMOVE_SERVER, removed.id)
            cluster.run(5.0)
            cluster.heal()
            cluster.run(30.0)
            self.assertEqual((cluster.leader, leader.core.term), (leader, term))
            self.assertEqual(removed.core.role is Role.CANDIDATE, not told)
            self.assertNotIn(removed.id, leader.core.progress)

    def test_leader_removes_itself(self) -> None:
        """The best of the others takes over at once."""
        cluster = Cluster(3, seed=4)
        leader = cluster.elect()
        cluster.run_until(cluster.agreed)
        leader.change(ChangeKind.REMOVE_SERVER, leader.id)
        successor = cluster.run_until(
            lambda: next((n for n in cluster.nodes.values() if n.leads and n is not leader), None), 0.5
        )
        self.assertEqual(len(successor.core.configuration.servers), 2)
        cluster.run(10.0)
        self.assertEqual((leader.core.role, cluster.leader), (Role.FOLLOWER, successor))

    def test_nonvoter_follows(self) -> None:
        cluster = Cluster(3, seed=5, nonvoters=1)
        leader = cluster.elect()
        leader.propose(b"x")
        cluster.run_until(cluster.agreed, 1.0)
        for server_id in "abc":
            cluster[server_id].crash()
        cluster.run(20.0)
        self.assertEqual(cluster["d"].core.role, Role.FOLLOWER)

    def test_uncommitted_change_is_rolled_back(self) -> None:
        cluster = Cluster(3, seed=6)
        leader = cluster.elect()
        cluster.run_until(cluster.agreed)
        cluster.isolate(leader.id)
        leader.change(ChangeKind.ADD_VOTER, "x")
        self.assertEqual(leader.core.configuration_index, 3)
        cluster.run(0.6)
        cluster.elect(5.0)
        cluster.heal()
        cluster.run_until(cluster.agreed, 5.0)
        self.assertEqual(leader.core.configuration_index, 1)
        self.assertEqual([change.index for change in leader.told(events.ConfigurationChanged)], [1, 3, 1])

    def test_lost_disk(self) -> None:
        """A server that comes back with nothing is filled up again; it answers all the same."""
        cluster = Cluster(3, seed=7)
        leader = cluster.elect()
        leader.propose(*(b"%d" % number for number in range(300)))
        cluster.run_until(cluster.agreed)
        victim = next(node for node in cluster.nodes.values() if node is not leader)
        victim.crash()
        cluster.add(victim.id)
        cluster.run_until(cluster.agreed, 5.0)
        self.assertEqual(cluster[victim.id].commands, leader.commands)


class TransferStories(SynchronousTestCase):
    """Dissertation 3.10."""

    def test_hands_over(self) -> None:
        """Within a few round trips; no write is lost, the old leader follows."""
        cluster = Cluster(3, seed=1)
        leader = cluster.elect()
        leader.propose(*(b"%d" % number for number in range(100)))
        target = next(node for node in cluster.nodes.values() if node is not leader)
        start = cluster.now
        leader.feed(events.TransferLeadership(target.id))
        cluster.run_until(lambda: target.leads, 1.0)
        self.assertLess(cluster.now - start, 0.06)
        cluster.run_until(cluster.agreed, 1.0)
        self.assertEqual(leader.told(events.TransferEnded), [events.TransferEnded("")])
        self.assertEqual((leader.core.role, leader.core.leader_id), (Role.FOLLOWER, target.id))
        self.assertEqual(len(target.commands), 100)

    def test_dead_target(self) -> None:
        """Safety checklist 15: on timeout the old leader continues."""
        cluster = Cluster(3, seed=2)
        leader = cluster.elect()
        target = next(node for node in cluster.nodes.values() if node is not leader)
        target.crash()
        leader.feed(events.TransferLeadership(target.id))
        cluster.run(1.1)
        ended = [events.TransferEnded("leadership transfer timeout")]
        self.assertEqual(leader.told(events.TransferEnded), ended)
        leader.propose(b"on")
        cluster.run(0.1)
        self.assertEqual(leader.applied, leader.core.last_log_index)
