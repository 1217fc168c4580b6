"""Operator.*: Raft's configuration, leadership and Autopilot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import asdict
from twisted.internet.defer import Deferred

from pyconsul.endpoints.base import Answered, Read, read, write
from pyconsul.errors import BadRequest, NoLeader, Refused
from pyconsul.raft.events import ChangeConfiguration, ChangeKind
from pyconsul.state import commands
from pyconsul.state.autopilot import WATCH, AutopilotTable
from pyconsul.structs.operator import (
    AutopilotConfig,
    AutopilotConfigReply,
    AutopilotSetConfigRequest,
    OperatorHealthReply,
    RaftConfigurationReply,
    RaftRemovePeerRequest,
    RaftServer,
    TransferLeaderReply,
    TransferLeaderRequest,
)
from pyconsul.structs.query import DCSpecificRequest, Empty


class Operator:
    """What operators see and change. Nothing of it waits for changes, whatever its request says.

    :param defaults: what Autopilot goes by while nothing is stored.
    :param servers: the Raft configuration.
    :param change: changes it, on the leader; fires when that is committed.
    :param transfer: hands leadership over, to the server with this id or, if empty, to any.
    :param health: Autopilot's last findings; ``None`` if this server does not lead.
    """

    def __init__(
        self,
        table: AutopilotTable,
        defaults: AutopilotConfig,
        servers: Callable[[], list[RaftServer]],
        change: Callable[[ChangeConfiguration], Deferred[Any]],
        transfer: Callable[[str], Deferred[None]],
        health: Callable[[], OperatorHealthReply | None],
    ) -> None:
        self._table = table
        self._defaults = defaults
        self._servers = servers
        self._change = change
        self._transfer = transfer
        self._health = health

    # ------------------------------------------------------------ Raft

    @read("Operator.RaftGetConfiguration", DCSpecificRequest, RaftConfigurationReply, "operator:read")
    def raft_configuration(self, request: DCSpecificRequest) -> Read:
        """The servers of the latest configuration."""
        request.min_query_index = 0
        return Read(0, RaftConfigurationReply(servers=self._servers()), ())

    @write("Operator.RaftRemovePeerByAddress", RaftRemovePeerRequest, Empty, "operator:write")
    def remove_by_address(self, request: RaftRemovePeerRequest) -> Answered:
        """Take a server out of the configuration; one that is alive comes back by gossip.

        :raises Refused: if there is no such server.
        """
        found = [server for server in self._servers() if server.address == request.address]
        return self._remove(found, "address", request.address)

    @write("Operator.RaftRemovePeerByID", RaftRemovePeerRequest, Empty, "operator:write")
    def remove_by_id(self, request: RaftRemovePeerRequest) -> Answered:
        """The same by the server's id.

        :raises Refused: if there is no such server.
        """
        return self._remove(
            [server for server in self._servers() if server.id == request.id], "id", request.id
        )

    def _remove(self, found: list[RaftServer], what: str, value: str) -> Answered:
        if not found:
            raise _not_found(what, value)
        change = ChangeConfiguration(ChangeKind.REMOVE_SERVER, found[0].id, found[0].address)
        return Answered(self._change(change).addCallback(lambda _: Empty()))

    @write("Operator.TransferLeader", TransferLeaderRequest, TransferLeaderReply, "operator:write")
    def transfer_leader(self, request: TransferLeaderRequest) -> Answered:
        """Make another server the leader; answered once it has taken over.

        :raises Refused: if there is no server with this id.
        """
        if request.id and all(server.id != request.id for server in self._servers()):
            raise _not_found("id", request.id)
        return Answered(self._transfer(request.id).addCallback(lambda _: TransferLeaderReply(True)))

    # ------------------------------------------------------------ Autopilot

    @read("Operator.AutopilotGetConfiguration", DCSpecificRequest, AutopilotConfigReply, "operator:read")
    def autopilot_configuration(self, request: DCSpecificRequest) -> Read:
        """The stored configuration."""
        request.min_query_index = 0
        row = self._table.row or self._defaults
        return Read(row.modify_index, AutopilotConfigReply(**asdict(row)), (WATCH,))

    @write("Operator.AutopilotSetConfiguration", AutopilotSetConfigRequest, bool, "operator:write")
    def set_autopilot_configuration(self, request: AutopilotSetConfigRequest) -> bytes:
        """Replace it, perhaps only if it is still the same; the reply tells whether that was done.

        :raises BadRequest: for numbers below 0 of what is counted.
        """
        if request.config.max_trailing_logs < 0 or request.config.min_quorum < 0:
            raise BadRequest("MaxTrailingLogs and MinQuorum must not be negative")
        return commands.encode_autopilot(request.config, cas=request.cas)

    @read("Operator.ServerHealth", DCSpecificRequest, OperatorHealthReply, "operator:read")
    def server_health(self, request: DCSpecificRequest) -> Read:
        """How the servers are. Only the leader knows, so a stale read of another server fails.

        :raises NoLeader: if this server does not lead.
        """
        request.min_query_index = 0
        health = self._health()
        if health is None:
            raise NoLeader()
        return Read(0, health, ())


def _not_found(what: str, value: str) -> Refused:
    return Refused(f'{what} "{value}" was not found in the Raft configuration')
