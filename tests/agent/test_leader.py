"""What a leader makes of gossip: the catalog's rows and the Raft configuration."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.leader import RECONCILE_INTERVAL_S, RETRY_S, UNKNOWN_S, LeaderDuties
from pyconsul.errors import LeadershipLost, PyconsulError, Refused
from pyconsul.raft.configuration import NONVOTER, Configuration, Server
from pyconsul.raft.events import ChangeConfiguration, ChangeKind
from pyconsul.raft.membership import changed
from pyconsul.serf.members import Member, Status
from pyconsul.state import commands
from pyconsul.state.fsm import FSM
from pyconsul.state.store import Store
from pyconsul.structs.catalog import (
    DeregisterRequest,
    HealthCheck,
    NodeService,
    RegisterRequest,
)
from tests.agent.fixture import member

ADD, REMOVE = ChangeKind.ADD_NONVOTER, ChangeKind.REMOVE_SERVER
OTHER_ID = "0e243a1c-1e48-7a28-0dfb-191c86364e28"


class Base(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = Store()
        self.fsm = FSM(self.store)
        self.index = 1
        self.slow = False
        self.refusal: Exception | None = None
        self.writes: list[tuple[bytes, Deferred[Any]]] = []
        self.written = 0
        self.members: dict[str, Member] = {}
        self.configuration = Configuration([Server("id1", "127.0.0.1:8300")])
        self.changes: list[tuple[ChangeConfiguration, Deferred[Any]]] = []
        self.duties = LeaderDuties(
            server_id="id1",
            version="1",
            datacenter="dc1",
            store=self.store,
            members=lambda: self.members.values(),
            configuration=lambda: self.configuration,
            propose=self.propose,
            change=self.change,
            clock=self.clock,
        )
        self.gossip(member(1, server=True))

    def gossip(self, *members: Member) -> None:
        """What the pool shows from now on, though nobody is told."""
        for found in members:
            self.members[found.name] = found

    def event(self, found: Member, reaped: bool = False) -> None:
        """Gossip reports a change."""
        if reaped:
            self.members.pop(found.name, None)
        else:
            self.gossip(found)
        self.duties.member_changed(found, reaped)

    def propose(self, command: bytes) -> Deferred[Any]:
        self.written += 1
        done: Deferred[Any] = Deferred()
        self.writes.append((command, done))
        if not self.slow:
            self.apply()
        return done

    def apply(self) -> None:
        """Let the oldest write be applied, or refused."""
        command, done = self.writes.pop(0)
        if self.refusal is not None:
            done.errback(self.refusal)
        else:
            self.index += 1
            result = self.fsm.apply(self.index, command)
            if isinstance(result, PyconsulError):
                done.errback(result)
            else:
                done.callback(result)

    def change(self, change: ChangeConfiguration) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.changes.append((change, done))
        return done

    def commit(self) -> tuple[ChangeKind, str]:
        """Let the change under way be committed; gives what it was."""
        change, done = self.changes.pop(0)
        self.configuration = changed(self.configuration, change)
        done.callback(None)
        return change.kind, change.server

    def register(self, name: str, serf: bool = False, **more: Any) -> None:
        """Somebody registers a node."""
        check = HealthCheck(node=name, check_id="serfHealth", name="x", status="passing") if serf else None
        request = RegisterRequest(node=name, address="192.0.2.9", check=check, **more)
        self.index += 1
        self.fsm.apply(self.index, commands.encode_register(request))

    def status(self, name: str) -> str | None:
        """The state that the catalog shows of a member, if any."""
        check = self.store.catalog.node_check(name, "serfHealth")
        return None if check is None else check.status

    def nodes(self) -> list[str]:
        return [row.node for row in self.store.catalog.nodes()]


class CatalogTests(Base):
    def test_members_are_registered(self) -> None:
        """A node, its serfHealth check, and for a server the consul service."""
        self.gossip(member(2))
        self.duties.start()
        self.assertEqual(self.nodes(), ["n1", "n2"])
        row = self.store.catalog.node("n2")
        assert row is not None
        self.assertEqual((row.id, row.address, row.datacenter), ("id2", "127.0.0.2", "dc1"))
        check = self.store.catalog.node_check("n2", "serfHealth")
        assert check is not None
        self.assertEqual(
            (check.name, check.status, check.output),
            ("Serf Health Status", "passing", "Agent alive and reachable"),
        )
        self.assertIsNone(self.store.catalog.service_of("n2", "consul"))
        service = self.store.catalog.service_of("n1", "consul")
        assert service is not None
        self.assertEqual((service.service, service.port, service.tags), ("consul", 8300, []))
        self.assertEqual(
            service.meta,
            {
                "version": "9.9.9",
                "raft_version": "3",
                "serf_protocol_current": "2",
                "serf_protocol_max": "5",
                "serf_protocol_min": "1",
                "non_voter": "false",
            },
        )

    def test_unchanged(self) -> None:
        """What is as it should be costs no write, however often it is looked at."""
        self.gossip(member(2), member(3, server=True))
        self.duties.start()
        self.assertEqual(self.written, 3)
        self.event(member(2))
        self.clock.advance(RECONCILE_INTERVAL_S)
        self.assertEqual(self.written, 3)

    def test_failed_and_back(self) -> None:
        """A failure turns the check critical and leaves the rest alone; a return turns it back."""
        self.register("n2", tagged_addresses={"lan": "192.0.2.2"}, node_meta={"rack": "7"})
        self.duties.start()
        self.event(member(2))
        self.event(member(2, Status.FAILED))
        check = self.store.catalog.node_check("n2", "serfHealth")
        assert check is not None
        self.assertEqual((check.status, check.output), ("critical", "Agent not live or unreachable"))
        self.event(member(2, Status.FAILED))
        written = self.written
        self.event(member(2, Status.FAILED))
        self.assertEqual(self.written, written)
        self.event(member(2))
        self.assertEqual(self.status("n2"), "passing")
        row = self.store.catalog.node("n2")
        assert row is not None
        self.assertEqual((row.tagged_addresses, row.meta), ({"lan": "192.0.2.2"}, {"rack": "7"}))

    def test_failed_and_unknown(self) -> None:
        """A member that fails before it was registered is not news."""
        self.duties.start()
        self.event(member(2, Status.FAILED))
        self.assertEqual(self.nodes(), ["n1"])

    def test_new_facts(self) -> None:
        """Another address, id, port or version is written."""
        self.gossip(member(2, server=True))
        self.duties.start()
        for found in (
            replace(member(2, server=True), addr="127.0.0.9"),
            member(2, Status.FAILED, server=True),
            member(2, server=True, id=OTHER_ID),
            member(2, server=True, id=OTHER_ID, port="8301"),
            member(2, server=True, id=OTHER_ID, port="8301", build="9.9.10:"),
        ):
            written = self.written
            self.event(found)
            self.assertEqual(self.written, written + 1)
        service = self.store.catalog.service_of("n2", "consul")
        assert service is not None and service.meta is not None
        self.assertEqual((service.port, service.meta["version"]), (8301, "9.9.10"))

    def test_rebuilt(self) -> None:
        """A node with a new id takes over the name of one that nobody saw fail, though its check passes."""
        self.gossip(member(2, server=True))
        self.duties.start()
        self.event(member(2, server=True, id=OTHER_ID))
        row = self.store.catalog.node("n2")
        assert row is not None
        self.assertEqual((row.id, self.status("n2"), self.nodes()), (OTHER_ID, "passing", ["n1", "n2"]))
        written = self.written
        self.duties.reconcile()
        self.assertEqual(self.written, written)

    def test_rebuilt_and_refused(self) -> None:
        """What could not be written is tried again in the next round."""
        self.gossip(member(2))
        self.duties.start()
        self.refusal = Refused("no")
        self.event(member(2, id=OTHER_ID))
        self.refusal = None
        self.clock.advance(RECONCILE_INTERVAL_S)
        row = self.store.catalog.node("n2")
        assert row is not None
        self.assertEqual((row.id, self.status("n2")), (OTHER_ID, "passing"))

    def test_left(self) -> None:
        """A member that left goes with all it had; one that is only about to leave stays."""
        self.gossip(member(2))
        self.duties.start()
        self.register("n2", service=NodeService(id="web", service="web"))
        self.event(member(2, Status.LEAVING))
        self.assertEqual(self.status("n2"), "passing")
        self.event(member(2, Status.LEFT))
        self.assertEqual(self.nodes(), ["n1"])
        self.event(member(2, Status.LEFT))
        self.assertEqual(self.nodes(), ["n1"])

    def test_reaped(self) -> None:
        """A member that gossip forgets goes as well."""
        self.gossip(member(2))
        self.duties.start()
        self.event(member(2, Status.FAILED))
        self.event(member(2, Status.FAILED), reaped=True)
        self.assertEqual(self.nodes(), ["n1"])

    def test_this_server_stays(self) -> None:
        """A leader never deregisters itself; that is for the next one."""
        self.duties.start()
        self.event(member(1, Status.LEFT, server=True))
        self.duties.member_changed(member(1, Status.LEFT, server=True), True)
        self.assertEqual(self.nodes(), ["n1"])

    def test_changes_while_writing(self) -> None:
        """Only one write per member is on its way; what happened meanwhile is looked at after it."""
        self.slow = True
        self.duties.start()
        self.event(member(2))
        self.event(member(2, Status.FAILED))
        self.event(member(2))
        self.event(member(2, Status.FAILED))
        self.assertEqual(len(self.writes), 2)
        self.apply()
        self.apply()
        self.assertEqual(self.status("n2"), "passing")
        self.apply()
        self.assertEqual((self.status("n2"), self.writes), ("critical", []))

    def test_reaped_while_writing(self) -> None:
        """Even if what happened is that the member is gone."""
        self.slow = True
        self.duties.start()
        self.event(member(2))
        self.event(member(2, Status.FAILED), reaped=True)
        while self.writes:
            self.apply()
        self.assertEqual(self.nodes(), ["n1"])

    def test_refused(self) -> None:
        """What could not be written is tried again with the next full round."""
        self.refusal = Refused("Node name n2 is reserved")
        self.duties.start()
        self.event(member(2))
        self.refusal = None
        self.assertEqual(self.nodes(), [])
        self.clock.advance(RECONCILE_INTERVAL_S)
        self.assertEqual(self.nodes(), ["n1", "n2"])

    def test_a_bug_in_writing(self) -> None:
        """A bug is logged, and the member may be written later."""
        self.refusal = ZeroDivisionError("a bug")
        self.duties.start()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.refusal = None
        self.event(self.members["n1"])
        self.assertEqual(self.nodes(), ["n1"])

    def test_a_bug_in_a_round(self) -> None:
        """The next round comes all the same."""
        self.members["n1"] = None  # type: ignore[assignment]
        self.duties.start()
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.gossip(member(1, server=True))
        self.clock.advance(RECONCILE_INTERVAL_S)
        self.assertEqual(self.nodes(), ["n1"])

    def test_stop(self) -> None:
        """Who does not lead does nothing, and can start again."""
        self.event(member(2))
        self.duties.start()
        self.duties.start()
        self.duties.stop()
        self.duties.stop()
        self.event(member(3))
        self.clock.advance(RECONCILE_INTERVAL_S)
        self.assertEqual(self.nodes(), ["n1", "n2"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.duties.start()
        self.assertEqual(self.nodes(), ["n1", "n2", "n3"])

    def test_deposed_while_writing(self) -> None:
        """A write that is lost with leadership is the next leader's to make."""
        self.slow = True
        self.duties.start()
        self.event(member(2))
        self.event(member(2, Status.FAILED))
        self.duties.stop()
        self.refusal = LeadershipLost()
        self.apply()
        self.refusal = None
        self.apply()
        self.assertEqual((self.nodes(), self.writes), (["n2"], []))


class UnknownTests(Base):
    """Nodes with serfHealth that gossip does not know."""

    def setUp(self) -> None:
        super().setUp()
        self.register("gone", serf=True)
        self.register("external")

    def rounds(self, seconds: float) -> None:
        self.clock.pump([RECONCILE_INTERVAL_S] * int(seconds / RECONCILE_INTERVAL_S))

    def test_goes_in_the_end(self) -> None:
        """Reaped under an earlier leader; what somebody registered by hand stays."""
        self.duties.start()
        self.rounds(UNKNOWN_S - RECONCILE_INTERVAL_S)
        self.assertEqual(self.nodes(), ["external", "gone", "n1"])
        self.rounds(RECONCILE_INTERVAL_S)
        self.assertEqual(self.nodes(), ["external", "n1"])

    def test_not_by_a_new_leader(self) -> None:
        """A server that was just started knows nobody; it must not take live nodes out."""
        for _ in range(3):
            self.duties.start()
            self.rounds(UNKNOWN_S - RECONCILE_INTERVAL_S)
            self.duties.stop()
        self.assertIn("gone", self.nodes())

    def test_shows_up(self) -> None:
        """A member that gossip finds, if only for a moment, begins anew; case does not matter."""
        self.duties.start()
        self.rounds(UNKNOWN_S - RECONCILE_INTERVAL_S)
        found = replace(member(7, Status.FAILED), name="GONE")
        self.gossip(found)
        self.rounds(RECONCILE_INTERVAL_S)
        del self.members["GONE"]
        self.rounds(UNKNOWN_S - RECONCILE_INTERVAL_S)
        self.assertIn("GONE", self.nodes())

    def test_gossip_is_cut_off(self) -> None:
        """While gossip shows none of the other servers it proves nothing."""
        self.configuration = Configuration(
            [*self.configuration.servers, Server("id2", "127.0.0.2:8300"), Server("id3", "127.0.0.3:8300")]
        )
        self.duties.start()
        self.rounds(3 * UNKNOWN_S)
        self.assertIn("gone", self.nodes())
        self.gossip(member(2, Status.FAILED, server=True))
        self.rounds(UNKNOWN_S)
        self.assertIn("gone", self.nodes())
        self.rounds(RECONCILE_INTERVAL_S)
        self.assertNotIn("gone", self.nodes())

    def test_gossip_has_ended(self) -> None:
        """A pool that shows nobody at all is none to go by."""
        self.members.clear()
        self.duties.start()
        self.rounds(3 * UNKNOWN_S)
        self.assertIn("gone", self.nodes())


class ConfigurationTests(Base):
    def test_one_at_a_time(self) -> None:
        """Alive servers are added, each when the one before is committed; clients are not."""
        self.gossip(member(2, server=True), member(3, server=True), member(4))
        self.duties.start()
        self.assertEqual(len(self.changes), 1)
        self.event(member(2, server=True))
        self.assertEqual(len(self.changes), 1)
        self.assertEqual(self.commit(), (ADD, "id2"))
        self.assertEqual(self.commit(), (ADD, "id3"))
        self.assertEqual(self.changes, [])
        self.assertEqual(
            [server.address for server in self.configuration.servers],
            ["127.0.0.1:8300", "127.0.0.2:8300", "127.0.0.3:8300"],
        )

    def test_who_is_not_added(self) -> None:
        """Servers that are not alive, or of another datacenter."""
        self.duties.start()
        for status in (Status.FAILED, Status.LEAVING, Status.LEFT):
            self.event(member(2, status, server=True))
        self.event(member(3, server=True, dc="dc2"))
        self.assertEqual(self.changes, [])

    def test_nonvoter(self) -> None:
        """A server that wants no vote gets none, and keeps to that with a new address."""
        self.duties.start()
        self.event(member(2, server=True, nonvoter="1"))
        self.assertEqual(self.commit(), (ADD, "id2"))
        self.assertEqual(self.configuration.servers[1].suffrage, NONVOTER)
        self.event(replace(member(2, server=True), addr="127.0.0.9"))
        self.assertEqual(self.commit(), (ADD, "id2"))
        self.assertEqual(self.configuration.servers[1].address, "127.0.0.9:8300")

    def with_servers(self, *numbers: int) -> None:
        self.configuration = Configuration(
            [Server(f"id{number}", f"127.0.0.{number}:8300") for number in numbers]
        )
        self.gossip(*(member(number, server=True) for number in numbers))
        self.duties.start()
        self.assertEqual(self.changes, [])

    def test_left(self) -> None:
        """A server that left is removed; one that failed may come back."""
        self.with_servers(1, 2, 3)
        self.event(member(2, Status.FAILED, server=True))
        self.assertEqual(self.changes, [])
        self.event(member(2, Status.LEFT, server=True))
        self.assertEqual(self.commit(), (REMOVE, "id2"))
        self.assertEqual(self.changes, [])

    def test_reaped(self) -> None:
        """So is one that gossip forgets, even if that has to wait for another change."""
        self.with_servers(1, 2, 3)
        self.event(member(4, server=True))
        self.event(member(2, Status.FAILED, server=True))
        self.event(member(2, Status.FAILED, server=True), reaped=True)
        self.assertEqual(self.commit(), (ADD, "id4"))
        self.assertEqual(self.commit(), (REMOVE, "id2"))
        self.assertEqual((self.changes, self.duties._reaped), ([], {}))

    def test_reaped_and_back(self) -> None:
        """Unless it is there again by then."""
        self.with_servers(1, 2, 3)
        self.event(member(4, server=True))
        self.event(member(2, Status.FAILED, server=True), reaped=True)
        self.event(member(2, server=True))
        self.assertEqual(self.commit(), (ADD, "id4"))
        self.assertEqual(self.changes, [])

    def test_removals_come_first(self) -> None:
        """Servers that are gone make a majority harder to get."""
        self.with_servers(1, 2, 3)
        self.gossip(member(4, server=True))
        self.event(member(3, Status.LEFT, server=True))
        self.assertEqual([self.commit(), self.commit()], [(REMOVE, "id3"), (ADD, "id4")])

    def test_own_id_stays(self) -> None:
        """A leader does not remove itself, whatever gossip says of it."""
        self.with_servers(1, 2, 3)
        self.event(member(1, Status.LEFT, server=True))
        self.event(member(1, Status.LEFT, server=True), reaped=True)
        self.assertEqual(self.changes, [])

    def test_renamed(self) -> None:
        """A node that left under one name and came back under another is not removed, ever again."""
        self.with_servers(1, 2)
        self.gossip(replace(member(2, server=True), name="new"))
        self.event(member(2, Status.LEFT, server=True))
        self.assertEqual(self.changes, [])
        self.clock.advance(RECONCILE_INTERVAL_S)
        self.assertEqual(self.changes, [])

    def test_new_address(self) -> None:
        """A server that moved is written under its new address."""
        self.with_servers(1, 2)
        self.event(replace(member(2, server=True), addr="127.0.0.9"))
        self.assertEqual(self.commit(), (ADD, "id2"))
        self.assertEqual(self.configuration.servers[1].address, "127.0.0.9:8300")

    def test_reinstalled(self) -> None:
        """A new id at an old address: the old one goes first."""
        self.with_servers(1, 2)
        self.event(member(2, server=True, id="fresh"))
        self.assertEqual(self.commit(), (REMOVE, "id2"))
        self.assertEqual(self.commit(), (ADD, "fresh"))

    def test_claims_our_address(self) -> None:
        """Nobody gets this server removed by giving its address for his own."""
        self.with_servers(1, 2)
        self.event(replace(member(9, server=True), addr="127.0.0.1"))
        self.assertEqual(self.changes, [])
        self.event(member(3, server=True))
        self.assertEqual(self.commit(), (ADD, "id3"))

    def test_same_id_twice(self) -> None:
        """Of two that are alive under one id the one that is in force stays where it is."""
        self.with_servers(1, 2)
        self.event(replace(member(2, server=True), name="copy", addr="127.0.0.9"))
        self.clock.advance(RECONCILE_INTERVAL_S)
        self.assertEqual(self.changes, [])

    def test_same_address_twice(self) -> None:
        """So does the one of two that are alive at one address; others are not held up by that."""
        self.with_servers(1, 2)
        self.event(member(3, server=True, id="other"))
        self.assertEqual(self.commit(), (ADD, "other"))
        self.event(replace(member(9, server=True), addr="127.0.0.3"))
        self.assertEqual(self.changes, [])
        self.event(member(4, server=True))
        self.assertEqual(self.commit(), (ADD, "id4"))

    def test_two_in_bootstrap_mode(self) -> None:
        """A second server in bootstrap mode leads a datacenter of its own: it is not let in."""
        self.gossip(member(1, server=True, bootstrap="1"))
        self.duties.start()
        self.event(member(2, server=True, bootstrap="1"))
        self.assertEqual(self.changes, [])
        self.event(member(3, server=True))
        self.assertEqual(self.commit(), (ADD, "id3"))
        self.event(member(2, server=True))
        self.assertEqual(self.commit(), (ADD, "id2"))

    def test_changes_for_others(self) -> None:
        """Autopilot's changes go the same way, one at a time, and only while this server leads."""
        wanted = ChangeConfiguration(ChangeKind.ADD_VOTER, "id2", "127.0.0.2:8300")
        self.assertFalse(self.duties.change(wanted))
        self.with_servers(1, 2)
        self.assertTrue(self.duties.change(wanted))
        self.assertFalse(self.duties.change(wanted))
        self.event(member(3, server=True))
        self.assertEqual(self.commit(), (ChangeKind.ADD_VOTER, "id2"))
        self.assertEqual(self.commit(), (ADD, "id3"))

    def test_retry(self) -> None:
        """A change that is not possible yet is tried again, by one timer however much happens."""
        self.duties.start()
        for _ in range(3):
            self.event(member(2, server=True))
            self.changes.pop()[1].errback(Refused("not committed yet"))
        self.assertEqual(len(self.clock.getDelayedCalls()), 2)  # that one, and the next full round
        self.clock.advance(RETRY_S)
        self.assertEqual(self.commit(), (ADD, "id2"))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_a_bug_in_changing(self) -> None:
        """A bug is logged; the next event tries again."""
        self.duties.start()
        self.event(member(2, server=True))
        self.changes.pop()[1].errback(ZeroDivisionError("a bug"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.event(member(2, server=True))
        self.assertEqual(self.commit(), (ADD, "id2"))

    def test_stopped_while_changing(self) -> None:
        """The end of leadership ends this as well, the timer included."""
        for error in (LeadershipLost(), PyconsulError("x")):
            self.duties.start()
            self.event(member(2, server=True))
            self.event(member(3, Status.FAILED, server=True), reaped=True)
            self.duties.stop()
            self.changes.pop()[1].errback(error)
            self.assertEqual((self.changes, self.duties._reaped), ([], {}))
        self.duties.start()
        self.changes.pop()[1].errback(Refused("not yet"))
        self.duties.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_of_clients(self) -> None:
        """Changes of clients cost no look at all servers."""
        self.duties.start()
        self.gossip(member(2, server=True))
        self.event(member(3))
        self.assertEqual(self.changes, [])


class DeregisterTests(Base):
    def test_request(self) -> None:
        """The whole node is deregistered, in this datacenter."""
        self.gossip(member(2))
        self.duties.start()
        self.slow = True
        self.event(member(2, Status.LEFT))
        expected = commands.encode_deregister(DeregisterRequest(datacenter="dc1", node="n2"))
        self.assertEqual(self.writes[0][0], expected)
