"""Autopilot: whom it asks, what it makes of the answers, and what it does then; on a fake clock."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.autopilot import ROUND_S, Autopilot, stats_of, stored
from pyconsul.agent.servers import servers_of
from pyconsul.config.groups import Autopilot as Settings
from pyconsul.errors import LeadershipLost, NotSent, Refused
from pyconsul.raft.autopilot import Stats
from pyconsul.raft.configuration import NONVOTER, Configuration, Server
from pyconsul.raft.events import ChangeConfiguration, ChangeKind
from pyconsul.serf.members import Member, Status
from pyconsul.state.commands import encode_autopilot
from pyconsul.state.fsm import FSM
from pyconsul.state.store import Store
from pyconsul.structs.operator import AutopilotConfig, OperatorHealthReply, RaftStats
from tests.agent.fixture import member

WALL = 1_700_000_000.0
STABLE_S = 10.0


class Base(SynchronousTestCase):
    """A leader ``id1`` and the voters ``id2`` and ``id3``."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = Store()
        self.fsm = FSM(self.store)
        self.index = 0
        self.members: dict[str, Member] = {}
        self.servers = [Server(f"id{number}", f"127.0.0.{number}:8300") for number in (1, 2, 3)]
        for number in (1, 2, 3):
            self.gossip(member(number, server=True))
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.changes: list[ChangeConfiguration] = []
        self.busy = False
        self.forced: list[str] = []
        self.refusal: Exception | None = None
        self.autopilot = Autopilot(
            server_id="id1",
            settings=Settings(),
            table=self.store.autopilot,
            servers=lambda: servers_of(self.members.values(), "dc1"),
            configuration=lambda: Configuration(self.servers),
            last=lambda: (2, 100),
            ask=self.ask,
            propose=self.propose,
            change=self.change,
            force_leave=self.force_leave,
            heartbeat_s=0.3,
            clock=self.clock,
            wall_time=lambda: WALL + self.clock.seconds(),
        )

    # ------------------------------------------------------------ what is around it

    def gossip(self, *members: Member) -> None:
        for found in members:
            self.members[found.name] = found

    def ask(self, address: str) -> Deferred[RaftStats]:
        self.asked.append(address)
        answer: Deferred[RaftStats] = Deferred()
        found = self.answers.get(address, RaftStats(last_contact="20ms", last_term=2, last_index=100))
        if isinstance(found, Exception):
            answer.errback(found)
        elif isinstance(found, RaftStats):
            answer.callback(found)
        else:
            self.answers[address].append(answer)  # later
        return answer

    def propose(self, command: bytes) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        if self.refusal is not None:
            done.errback(self.refusal)
        else:
            self.index += 1
            done.callback(self.fsm.apply(self.index, command))
        return done

    def change(self, change: ChangeConfiguration) -> bool:
        if not self.busy:
            self.changes.append(change)
        return not self.busy

    def force_leave(self, name: str) -> None:
        self.forced.append(name)
        if self.refusal is not None:
            raise self.refusal

    # ------------------------------------------------------------ steps

    def configure(self, **settings: Any) -> None:
        """Somebody changes the stored configuration."""
        self.index += 1
        base = stored(Settings())
        facts = {name: getattr(base, name) for name in base.__struct_fields__} | settings
        self.fsm.apply(self.index, encode_autopilot(AutopilotConfig(**facts)))

    def dies(self, number: int) -> None:
        """A server does not answer, and gossip has noticed."""
        self.answers[f"127.0.0.{number}:8300"] = NotSent("no route")
        self.gossip(member(number, Status.FAILED, server=True))

    def joins(self, number: int, **tags: str) -> None:
        """A server is in the configuration, without a vote."""
        self.servers.append(Server(f"id{number}", f"127.0.0.{number}:8300", NONVOTER))
        self.gossip(member(number, Status.ALIVE, True, **tags))

    def rounds(self, seconds: float) -> None:
        self.clock.pump([ROUND_S] * round(seconds / ROUND_S))

    def health(self) -> OperatorHealthReply:
        found = self.autopilot.health()
        assert found is not None
        return found

    def healthy(self) -> str:
        """The numbers of the servers that are well."""
        return "".join(server.id[2:] for server in self.health().servers if server.healthy)


class HealthTests(Base):
    def test_round(self) -> None:
        """All others are asked at once and then every two seconds; this server is not."""
        self.assertIsNone(self.autopilot.health())
        self.autopilot.start()
        self.autopilot.start()
        self.assertEqual(self.asked, ["127.0.0.2:8300", "127.0.0.3:8300"])
        self.rounds(2 * ROUND_S)
        self.assertEqual(len(self.asked), 6)
        found = self.health()
        self.assertEqual((found.healthy, found.failure_tolerance, self.healthy()), (True, 1, "123"))

    def test_facts(self) -> None:
        """What is told of each server."""
        self.joins(4, nonvoter="1")
        self.answers["127.0.0.3:8300"] = RaftStats(last_contact="never", last_term=0, last_index=0)
        self.answers["127.0.0.4:8300"] = NotSent("no route")
        del self.members["n4"]
        self.clock.advance(7.5)
        self.autopilot.start()
        one, two, three, four = self.health().servers
        self.assertEqual(
            (one.id, one.name, one.address, one.serf_status, one.version, one.leader, one.voter),
            ("id1", "n1", "127.0.0.1:8300", 1, "9.9.9", True, True),
        )
        self.assertEqual((one.last_contact, one.last_term, one.last_index, one.healthy), (0, 2, 100, True))
        self.assertEqual((two.last_contact, two.last_index, two.leader), (20_000_000, 100, False))
        self.assertEqual(two.stable_since, "2023-11-14T22:13:27Z")
        self.assertEqual((three.last_contact, three.healthy), (-1, False))
        self.assertEqual(
            (four.name, four.serf_status, four.version, four.last_contact, four.voter, four.healthy),
            ("", 0, "", 0, False, False),
        )

    def test_unwell(self) -> None:
        """One that does not answer in time makes the whole unhealthy, until it does again."""
        self.autopilot.start()
        self.answers["127.0.0.2:8300"] = NotSent("no route")
        self.rounds(ROUND_S)
        found = self.health()
        self.assertEqual((found.healthy, found.failure_tolerance, self.healthy()), (False, 0, "13"))
        since = [server.stable_since for server in found.servers]
        self.assertEqual(since, ["2023-11-14T22:13:20Z", "2023-11-14T22:13:22Z", "2023-11-14T22:13:20Z"])
        del self.answers["127.0.0.2:8300"]
        self.rounds(ROUND_S)
        self.assertTrue(self.health().healthy)

    def test_idle_leader(self) -> None:
        """A follower hears of an idle leader only as often as heartbeats come."""
        for contact, healthy in (("499ms", True), ("501ms", False)):
            self.answers["127.0.0.2:8300"] = RaftStats(last_contact=contact, last_term=2, last_index=100)
            self.autopilot.start()
            self.assertIs(self.health().healthy, healthy)
            self.autopilot.stop()

    def test_stored_rules(self) -> None:
        """The stored configuration counts from the next round on."""
        self.answers["127.0.0.2:8300"] = RaftStats(last_contact="20ms", last_term=2, last_index=95)
        self.autopilot.start()
        self.assertTrue(self.health().healthy)
        self.configure(max_trailing_logs=4)
        self.rounds(ROUND_S)
        self.assertEqual(self.healthy(), "13")

    def test_late_answers(self) -> None:
        """Answers that come after the next round has begun, or after the end, say nothing."""
        late: list[Deferred[RaftStats]] = []
        self.answers["127.0.0.2:8300"] = late
        self.autopilot.start()
        self.assertEqual(self.health().servers, [])
        self.rounds(ROUND_S)
        late[0].callback(RaftStats(last_contact="0", last_term=2, last_index=100))
        self.assertEqual(self.health().servers, [])
        late[1].callback(RaftStats(last_contact="0", last_term=2, last_index=100))
        self.assertEqual(self.healthy(), "123")
        self.rounds(ROUND_S)
        self.autopilot.stop()
        late[2].callback(RaftStats(last_contact="0", last_term=2, last_index=100))
        self.assertIsNone(self.autopilot.health())

    def test_not_the_leader(self) -> None:
        """Who does not lead asks nobody and knows nothing; a new leader begins anew."""
        self.autopilot.stop()
        self.autopilot.start()
        self.autopilot.stop()
        self.assertIsNone(self.autopilot.health())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        asked = len(self.asked)
        self.rounds(10.0)
        self.assertEqual(len(self.asked), asked)
        self.autopilot.start()
        self.assertEqual({server.stable_since for server in self.health().servers}, {"2023-11-14T22:13:30Z"})

    def test_an_answer_is_no_ones_to_change(self) -> None:
        """Each asker gets a reply of its own, which is stamped as replies are."""
        self.autopilot.start()
        self.health().index = 5
        self.assertEqual(self.health().index, 0)

    def test_bugs(self) -> None:
        """A bug in one round is logged, and the next round comes."""
        self.answers["127.0.0.2:8300"] = ZeroDivisionError("a bug")
        self.autopilot.start()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.healthy(), "13")
        del self.answers["127.0.0.2:8300"]
        self.members["n1"] = None  # type: ignore[assignment]
        self.rounds(ROUND_S)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.gossip(member(1, server=True))
        servers, self.servers = self.servers, None  # type: ignore[assignment]
        self.rounds(ROUND_S)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.servers = servers
        self.rounds(ROUND_S)
        self.assertEqual(self.healthy(), "123")


class StoredTests(Base):
    def test_first(self) -> None:
        """A leader stores what its settings say, unless something is stored."""
        self.autopilot.start()
        row = self.store.autopilot.row
        assert row is not None
        self.assertEqual(
            (row.cleanup_dead_servers, row.last_contact_threshold, row.max_trailing_logs, row.min_quorum),
            (True, 200_000_000, 250, 0),
        )
        self.assertEqual((row.server_stabilization_time, row.create_index), (10_000_000_000, 1))
        self.configure(min_quorum=3)
        self.autopilot.stop()
        self.autopilot.start()
        self.assertEqual(self.store.autopilot.row.min_quorum, 3)  # type: ignore[union-attr]
        self.assertEqual(self.index, 2)

    def test_again(self) -> None:
        """What could not be stored is tried again in the next round."""
        self.refusal = LeadershipLost()
        self.autopilot.start()
        self.assertIsNone(self.store.autopilot.row)
        self.refusal = ZeroDivisionError("a bug")
        self.rounds(ROUND_S)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.refusal = None
        self.rounds(ROUND_S)
        self.assertIsNotNone(self.store.autopilot.row)

    def test_settings(self) -> None:
        """Those kept for Consul Enterprise come along."""
        row = stored(
            Settings(redundancy_zone_tag="z", disable_upgrade_migration=True, upgrade_version_tag="v")
        )
        self.assertEqual((row.redundancy_zone_tag, row.disable_upgrade_migration), ("z", True))
        self.assertEqual(row.upgrade_version_tag, "v")

    def test_answers(self) -> None:
        """How contacts are written."""
        for text, seconds in (("0", 0.0), ("12.5ms", 0.0125), ("never", None), ("", None), ("x", None)):
            found = stats_of(RaftStats(last_contact=text, last_term=1, last_index=2))
            self.assertEqual(found, Stats(seconds, 1, 2))


class PromotionTests(Base):
    def test_after_a_while(self) -> None:
        """A new server gets its vote when it has been healthy for long enough."""
        self.joins(4)
        self.autopilot.start()
        self.rounds(STABLE_S - ROUND_S)
        self.assertEqual(self.changes, [])
        self.rounds(ROUND_S)
        self.assertEqual(self.changes, [ChangeConfiguration(ChangeKind.ADD_VOTER, "id4", "127.0.0.4:8300")])

    def test_a_setback(self) -> None:
        """Each time it is not well the time begins anew."""
        self.joins(4)
        self.autopilot.start()
        for _ in range(5):
            self.rounds(STABLE_S - ROUND_S)
            self.answers["127.0.0.4:8300"] = NotSent("no route")
            self.rounds(ROUND_S)
            del self.answers["127.0.0.4:8300"]
            self.rounds(ROUND_S)
        self.assertEqual(self.changes, [])

    def test_wants_none(self) -> None:
        """A server that is to stay a nonvoter does."""
        self.joins(4, nonvoter="1")
        self.autopilot.start()
        self.rounds(3 * STABLE_S)
        self.assertEqual(self.changes, [])

    def test_not_now(self) -> None:
        """While another change is under way it has to wait."""
        self.joins(4)
        self.busy = True
        self.autopilot.start()
        self.rounds(2 * STABLE_S)
        self.busy = False
        self.rounds(ROUND_S)
        self.assertEqual(len(self.changes), 1)


class RemovalTests(Base):
    def test_failed(self) -> None:
        """A server that is dead is made to leave, once."""
        self.autopilot.start()
        self.dies(3)
        self.rounds(STABLE_S)
        self.assertEqual(self.forced, [])
        self.rounds(ROUND_S)
        self.assertEqual((self.forced, self.changes), (["n3"], []))
        self.gossip(member(3, Status.LEFT, server=True))
        self.rounds(STABLE_S)
        self.assertEqual(self.forced, ["n3"])

    def test_flapping(self) -> None:
        """One that comes and goes is left alone."""
        self.autopilot.start()
        for _ in range(10):
            self.dies(3)
            self.rounds(STABLE_S - ROUND_S)
            self.gossip(member(3, server=True))
            self.rounds(ROUND_S)
        self.assertEqual((self.forced, self.changes), ([], []))

    def test_gossip_errs(self) -> None:
        """So is one that answers, whatever gossip says."""
        self.autopilot.start()
        self.gossip(member(3, Status.FAILED, server=True))
        del self.members["n2"]
        self.rounds(3 * STABLE_S)
        self.assertEqual((self.forced, self.changes), ([], []))

    def test_unknown(self) -> None:
        """One that gossip does not know, and that does not answer, goes out of the configuration."""
        self.servers += [Server(f"id{number}", f"127.0.0.{number}:8300") for number in (4, 5)]
        self.gossip(member(4, server=True))
        self.answers["127.0.0.5:8300"] = NotSent("no route")
        self.autopilot.start()
        self.rounds(STABLE_S)
        self.assertEqual(
            self.changes, [ChangeConfiguration(ChangeKind.REMOVE_SERVER, "id5", "127.0.0.5:8300")]
        )
        self.assertEqual(self.forced, [])

    def test_too_many(self) -> None:
        """Of three no two are removed, and that is said once, not in each round."""
        self.autopilot.start()
        said: list[str] = []
        self.patch(self.autopilot, "_log", _Log(said))
        self.dies(2)
        self.dies(3)
        self.rounds(3 * STABLE_S)
        self.assertEqual(said, ["not removing dead servers: too many dead servers: 2/3"])
        self.gossip(member(2, server=True))
        self.rounds(ROUND_S)
        self.assertEqual(self.forced, ["n3"])

    def test_min_quorum(self) -> None:
        """``MinQuorum`` is obeyed, and so is ``CleanupDeadServers``."""
        self.autopilot.start()
        self.configure(min_quorum=3)
        self.dies(3)
        self.rounds(2 * STABLE_S)
        self.configure(cleanup_dead_servers=False)
        self.rounds(2 * STABLE_S)
        self.assertEqual(self.forced, [])
        self.configure()
        self.rounds(ROUND_S)
        self.assertEqual(self.forced, ["n3"])

    def test_never_itself(self) -> None:
        """Whatever gossip says of this server, or if it says nothing."""
        self.autopilot.start()
        self.gossip(member(1, Status.FAILED, server=True))
        self.rounds(2 * STABLE_S)
        del self.members["n1"]
        self.rounds(2 * STABLE_S)
        self.assertEqual((self.forced, self.changes), ([], []))

    def test_members_beyond(self) -> None:
        """Failed servers that are in no configuration, or are in it under another name, go too."""
        self.gossip(member(8, Status.FAILED, server=True))
        self.gossip(member(9, Status.FAILED, server=True, id="id2"))
        self.gossip(member(7, Status.FAILED))
        self.autopilot.start()
        self.rounds(STABLE_S)
        self.assertEqual((self.forced, self.changes), (["n8", "n9"], []))
        self.assertTrue(self.health().healthy)

    def test_gossip_refuses(self) -> None:
        """What cannot be done now is tried again."""
        self.autopilot.start()
        self.refusal = Refused("gossip has ended")
        self.dies(3)
        self.rounds(STABLE_S + 2 * ROUND_S)
        self.assertEqual(self.forced, ["n3", "n3"])


class _Log:
    """Keeps what is said at level warn."""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    def warn(self, text: str, **fields: Any) -> None:
        self._said.append(text.format(**fields))

    def info(self, text: str, **fields: Any) -> None:
        """Not looked at."""
