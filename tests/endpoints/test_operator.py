"""Operator.* and Status.*: what each method asks of the server, and what it puts into the log."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.endpoints.base import Answered, Registry
from pyconsul.endpoints.operator import Operator
from pyconsul.endpoints.status import Status, StatusRequest
from pyconsul.errors import BadRequest, NoLeader, Refused
from pyconsul.raft.events import ChangeConfiguration, ChangeKind
from pyconsul.structs.operator import (
    AutopilotConfig,
    AutopilotSetConfigRequest,
    OperatorHealthReply,
    RaftRemovePeerRequest,
    RaftServer,
    RaftStats,
    RaftStatsRequest,
    TransferLeaderReply,
    TransferLeaderRequest,
)
from pyconsul.structs.query import DCSpecificRequest, Empty
from tests.state.replica import Replica

WAITING = DCSpecificRequest(min_query_index=5)


def server(number: int) -> RaftServer:
    return RaftServer(
        id=f"id{number}",
        node=f"n{number}",
        address=f"192.0.2.{number}:8300",
        leader=number == 1,
        protocol_version="3",
        voter=True,
    )


class OperatorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.replica = Replica()
        self.changes: list[ChangeConfiguration] = []
        self.targets: list[str] = []
        self.outcome: Deferred[None] = succeed(None)
        self.health: OperatorHealthReply | None = OperatorHealthReply(healthy=True, failure_tolerance=1)
        self.operator = Operator(
            self.replica.store.autopilot,
            AutopilotConfig(max_trailing_logs=9),
            lambda: [server(1), server(2)],
            self.change,
            self.transfer,
            lambda: self.health,
        )

    def change(self, change: ChangeConfiguration) -> Deferred[Any]:
        self.changes.append(change)
        return self.outcome

    def transfer(self, target: str) -> Deferred[None]:
        self.targets.append(target)
        return self.outcome

    def reply(self, answered: Answered) -> Any:
        return self.successResultOf(answered.reply)

    def test_declarations(self) -> None:
        """The names on the wire, their kinds, and what a token needs for them."""
        methods = {
            method.name: (method.kind, method.permission) for method in Registry([self.operator]).methods()
        }
        self.assertEqual(
            methods,
            {
                "Operator.RaftGetConfiguration": ("read", "operator:read"),
                "Operator.RaftRemovePeerByAddress": ("write", "operator:write"),
                "Operator.RaftRemovePeerByID": ("write", "operator:write"),
                "Operator.TransferLeader": ("write", "operator:write"),
                "Operator.AutopilotGetConfiguration": ("read", "operator:read"),
                "Operator.AutopilotSetConfiguration": ("write", "operator:write"),
                "Operator.ServerHealth": ("read", "operator:read"),
            },
        )

    def test_configuration(self) -> None:
        """The servers; nobody waits for a change of them."""
        read = self.operator.raft_configuration(WAITING)
        self.assertEqual([row.id for row in read.reply.servers], ["id1", "id2"])
        self.assertEqual((read.index, WAITING.min_query_index), (0, 0))

    def test_remove(self) -> None:
        """By address or by id; the change names both."""
        wanted = ChangeConfiguration(ChangeKind.REMOVE_SERVER, "id2", "192.0.2.2:8300")
        request = RaftRemovePeerRequest(address="192.0.2.2:8300")
        self.assertEqual(self.reply(self.operator.remove_by_address(request)), Empty())
        self.assertEqual(self.reply(self.operator.remove_by_id(RaftRemovePeerRequest(id="id2"))), Empty())
        self.assertEqual(self.changes, [wanted, wanted])

    def test_remove_none(self) -> None:
        """There has to be such a server, and Raft has to agree."""
        for call, request, text in (
            (self.operator.remove_by_address, RaftRemovePeerRequest(address="x"), 'address "x"'),
            (self.operator.remove_by_id, RaftRemovePeerRequest(id="192.0.2.2:8300"), 'id "192.0.2.2:8300"'),
            (self.operator.remove_by_id, RaftRemovePeerRequest(), 'id ""'),
        ):
            error = self.assertRaises(Refused, call, request)
            self.assertEqual(str(error), f"{text} was not found in the Raft configuration")
        self.assertEqual(self.changes, [])
        self.outcome = fail(Refused("need at least one voter in configuration"))
        self.failureResultOf(self.operator.remove_by_id(RaftRemovePeerRequest(id="id2")).reply, Refused)

    def test_transfer(self) -> None:
        """To a server that there is, or to any."""
        for target in ("", "id2"):
            answered = self.operator.transfer_leader(TransferLeaderRequest(id=target))
            self.assertEqual(self.reply(answered), TransferLeaderReply(True))
        self.assertEqual(self.targets, ["", "id2"])
        self.assertRaises(Refused, self.operator.transfer_leader, TransferLeaderRequest(id="id3"))
        self.outcome = fail(Refused("leadership transfer timeout"))
        self.failureResultOf(self.operator.transfer_leader(TransferLeaderRequest()).reply, Refused)

    def test_autopilot(self) -> None:
        """The stored configuration, or what holds until there is one."""
        request = DCSpecificRequest(min_query_index=5)
        read = self.operator.autopilot_configuration(request)
        self.assertEqual((read.index, read.reply.max_trailing_logs, request.min_query_index), (0, 9, 0))
        config = AutopilotConfig(min_quorum=3)
        command = self.operator.set_autopilot_configuration(AutopilotSetConfigRequest(config=config))
        self.assertIs(self.replica.apply(command), True)
        read = self.operator.autopilot_configuration(request)
        self.assertEqual((read.index, read.reply.min_quorum, read.reply.modify_index), (1, 3, 1))
        self.assertEqual((read.reply.max_trailing_logs, read.watch), (0, (("autopilot",),)))

    def test_set_autopilot(self) -> None:
        """With ``cas`` it depends on the index; numbers that cannot be are refused."""
        for index, done in ((0, False), (1, False)):
            config = AutopilotConfig(modify_index=index)
            request = AutopilotSetConfigRequest(config=config, cas=True)
            command = self.operator.set_autopilot_configuration(request)
            self.assertIs(self.replica.apply(command), done)
        for config in (AutopilotConfig(min_quorum=-1), AutopilotConfig(max_trailing_logs=-1)):
            request = AutopilotSetConfigRequest(config=config)
            self.assertRaises(BadRequest, self.operator.set_autopilot_configuration, request)

    def test_health(self) -> None:
        """Only who leads can tell."""
        request = DCSpecificRequest(min_query_index=5)
        self.assertIs(self.operator.server_health(request).reply, self.health)
        self.assertEqual(request.min_query_index, 0)
        self.health = None
        self.assertRaises(NoLeader, self.operator.server_health, request)


class StatusTests(SynchronousTestCase):
    def test_all(self) -> None:
        """Each is answered from what this server knows."""
        known = RaftStats(last_contact="0", last_term=2, last_index=17)
        status = Status(lambda: "192.0.2.1:8300", lambda: ["192.0.2.1:8300"], lambda: known)
        methods = {method.name: method for method in Registry([status]).methods()}
        self.assertEqual({method.kind for method in methods.values()}, {"node"})
        self.assertIs(methods["Status.RaftStats"].call(RaftStatsRequest()), known)
        self.assertIs(methods["Status.Ping"].call(StatusRequest()), True)
        self.assertEqual(methods["Status.Leader"].call(StatusRequest()), "192.0.2.1:8300")
        self.assertEqual(methods["Status.Peers"].call(StatusRequest()), ["192.0.2.1:8300"])
