"""``raft/peers.json``: the servers that an operator wants after an outage that took the majority.

Source: specs of the surface, "peers.json"; specs of Consul's Raft, section 7. The file is either a list
of ``"ip:port"`` or a list of objects with ``id``, ``address`` and ``non_voter``; Consul takes the first
up to Raft protocol 2 only and the second from 3 on only, here the file itself tells.

All that this server has, committed or not, becomes a snapshot with the new configuration, and a server
that starts from such a one drops its log. A crash on the way leaves the file, so that the next start
does it all again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from pyconsul.errors import ConfigurationError
from pyconsul.interfaces import Disk, RaftStorage, Recovered
from pyconsul.log import make_logger
from pyconsul.raft.configuration import NONVOTER, VOTER, Configuration, Server, decode
from pyconsul.raft.messages import CONFIGURATION, NOOP, Entry
from pyconsul.raft.snapshot import SnapshotInfo
from pyconsul.storage.snapshots import SnapshotFiles
from pyconsul.storage.snapshotting import Machine

PEERS, INFO = "peers.json", "peers.info"
FILE_BYTES_MAX = 1024 * 1024
READ_BYTES = 1024 * 1024
_KEYS = ("id", "address", "non_voter")

EXPLANATION = b"""\
How to bring servers back after an outage that took most of them for good
=========================================================================

While most servers are alive nothing of this is needed: remove a dead one with
"operator raft remove-peer", or let Autopilot do it.

1. Stop all servers that are left.
2. Write a file peers.json into this folder, the same on each of them, with the
   servers that are left and no others. Make sure that those you leave out are
   gone and never come back with their old data.
3. Start them. Each reads the file, logs that it does, and removes it. Together
   they elect a leader, and new servers may join.

The file is a list of the servers' nodes and addresses:

[
  {"id": "<node ID>", "address": "10.0.0.1:8300", "non_voter": false},
  {"id": "<node ID>", "address": "10.0.0.2:8300"}
]

A node ID is what the file node-id in a server's data folder holds; non_voter is
for servers that must not vote, and may be left out.

A list of addresses will do, too, if the servers had these addresses before:

["10.0.0.1:8300", "10.0.0.2:8300"]

This file, peers.info, says that the server was started before: without it a
peers.json is removed unread, so that one in a fresh folder does no harm.
"""


class PeersFile:
    """``peers.json`` and ``peers.info`` in ``folder``, which is there. All methods block for the disk."""

    def __init__(self, disk: Disk, folder: str) -> None:
        self._disk = disk
        self._folder = folder
        self._log = make_logger("agent.server")

    def read(self) -> bytes | None:
        """What the operator wrote, if anything; at the very first start that is removed instead."""
        names = self._disk.list(self._folder)
        is_there = PEERS in names
        if INFO not in names:
            if is_there:
                self.remove()
                self._log.info("deleted peers.json file (see peers.info for details)")
            self._explain()
            return None
        if not is_there:
            return None
        file = self._disk.open(f"{self._folder}/{PEERS}")
        try:
            return file.read(FILE_BYTES_MAX + 1, 0)
        finally:
            file.close()

    def remove(self) -> None:
        """It was taken, or must not be."""
        self._disk.remove(f"{self._folder}/{PEERS}")
        self._disk.sync_folder(self._folder)

    def _explain(self) -> None:
        path = f"{self._folder}/{INFO}"
        temporary = f"{path}.new"
        file = self._disk.open(temporary, create=True)
        try:
            file.truncate(0)
            file.write((EXPLANATION,), 0)
            file.sync()
        finally:
            file.close()
        self._disk.rename(temporary, path)
        self._disk.sync_folder(self._folder)


# ---------------------------------------------------------------- what it says


class Peers(Struct):
    """What ``peers.json`` says.

    :ivar servers: in its order; without ids if it has only addresses.
    :ivar ignored: keys that mean nothing.
    """

    servers: list[Server]
    ignored: list[str]


def parse(data: bytes) -> Peers:
    """Read the file. Raises ``ValueError`` with the reason if it is not what it should be."""
    if len(data) > FILE_BYTES_MAX:
        raise ValueError(f"has more than {FILE_BYTES_MAX} bytes")
    try:
        rows = msgspec.json.decode(data)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None
    if not isinstance(rows, list):
        raise ValueError("is not a list of servers")
    peers = Peers([], [])
    for number, row in enumerate(rows, 1):
        if isinstance(row, str):
            peers.servers.append(Server("", _address(row)))
        elif isinstance(row, dict):
            peers.servers.append(_server(row, number, peers.ignored))
        else:
            raise ValueError(f"entry {number} is neither an address nor an object")
    kinds = {type(row) for row in rows}
    if len(kinds) > 1:
        raise ValueError("has both addresses (Raft protocol 2) and objects with ids (Raft protocol 3)")
    if kinds != {str}:
        _check(Configuration(peers.servers))
    return peers


def _server(row: dict[str, Any], number: int, ignored: list[str]) -> Server:
    """One object; as in Consul the case of keys does not matter, and what is unknown is left out."""
    values: dict[str, Any] = {}
    for key, value in row.items():
        if key.lower() in _KEYS:
            values[key.lower()] = value
        else:
            ignored.append(key)
    server_id, address = values.get("id", ""), values.get("address", "")
    nonvoter = values.get("non_voter", False)
    if not isinstance(server_id, str) or not isinstance(address, str):
        raise ValueError(f"id and address of entry {number} have to be texts")
    if not isinstance(nonvoter, bool):
        raise ValueError(f"non_voter of entry {number} has to be true or false")
    suffrage = NONVOTER if nonvoter else VOTER
    return Server(server_id, _address(address) if address else "", suffrage)


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} is not an address with a port, such as 10.0.0.1:8300")
    return text


def _check(configuration: Configuration) -> None:
    problem = configuration.problem()
    if problem:
        raise ValueError(problem)


def with_ids(servers: Sequence[Server], ids: Mapping[str, str]) -> Configuration:
    """The configuration of servers that are known by their addresses only.

    One that is unknown gets its address as its id: it counts, as the operator says that it will be
    there, and the leader puts the real id in its place once gossip shows it. But a majority has to be
    known, or no leader could ever be elected.

    :raises ValueError: if that is not so, or they make no configuration.
    """
    configuration = Configuration([Server(ids.get(s.address, s.address), s.address) for s in servers])
    _check(configuration)
    unknown = [server.address for server in servers if server.address not in ids]
    if len(unknown) * 2 >= len(servers):
        raise ValueError(
            f"nothing is known of {', '.join(unknown)}, as no earlier configuration has these addresses; "
            "write objects with id and address instead"
        )
    return configuration


# ---------------------------------------------------------------- recovery


class ReplayMachine(Machine, Protocol):
    """A state machine that can be brought to where the log ends."""

    def apply(self, entry: Entry) -> Any:
        """Apply the next entry."""
        ...


class ConfigurationRecovery:
    """Gives one server the configuration that ``peers.json`` has. Blocks for the disk.

    :param files: the snapshots. :param server: this server, as gossip will show it.
    """

    def __init__(
        self,
        peers: PeersFile,
        files: SnapshotFiles,
        storage: RaftStorage,
        machine: ReplayMachine,
        server: Server,
    ) -> None:
        self._log = make_logger("agent.server")
        self._peers = peers
        self._files = files
        self._storage = storage
        self._machine = machine
        self._server = server

    def run(self, found: Recovered, snapshot: SnapshotInfo | None, ms: int) -> SnapshotInfo | None:
        """Do it if the file is there: the snapshot that is all that this server has, then.

        :param snapshot: what the machine has. :param found: the log, which goes on from there.
        :param ms: the time, for the snapshot's name.
        :raises ConfigurationError: if the file cannot be used; nothing was changed.
        """
        data = self._peers.read()
        if data is None:
            return None
        self._log.info("found peers.json file, recovering Raft configuration...")
        try:
            peers = parse(data)
            configuration = self._configuration(peers, found, snapshot)
        except ValueError as error:
            raise ConfigurationError(
                f"recovery failed to parse peers.json: {error} (raft/peers.json in the data folder)"
            ) from None
        info = self._write(configuration, found, ms)
        self._peers.remove()
        self._log.info("deleted peers.json file after successful recovery")
        if peers.ignored:
            self._log.warn(
                "peers.json: ignored unknown keys: {keys}", keys=", ".join(sorted({*peers.ignored}))
            )
        if all(server.id != self._server.id for server in configuration.servers):
            self._log.warn("peers.json does not name this server, which takes part in no election now")
        return info

    def _configuration(self, peers: Peers, found: Recovered, snapshot: SnapshotInfo | None) -> Configuration:
        """The new configuration; on the way the machine becomes what the log makes of it."""
        if not found.last_index:
            raise ValueError("this server has no Raft state to recover, probably it never was in a cluster")
        old = [] if snapshot is None else [snapshot.configuration]
        old += self._replay(1 if snapshot is None else snapshot.index + 1, found)
        if all(server.id for server in peers.servers) and peers.servers:
            return Configuration(peers.servers)
        ids = {server.address: server.id for configuration in old for server in configuration.servers}
        ids[self._server.address] = self._server.id
        return with_ids(peers.servers, ids)

    def _replay(self, first: int, found: Recovered) -> list[Configuration]:
        """Apply the log; the configurations in it."""
        machine = self._machine
        configurations: list[Configuration] = []
        while first <= found.last_index:
            for entry in self._storage.read(first, found.last_index + 1, READ_BYTES):
                if entry.kind == CONFIGURATION:
                    configurations.append(decode(entry.data))
                machine.apply(entry)
                first = entry.index + 1
        if not machine.is_whole:  # a user's restore that was under way, and now never ends
            machine.apply(Entry(found.term, found.last_index, NOOP, b""))
        return configurations

    def _write(self, configuration: Configuration, found: Recovered, ms: int) -> SnapshotInfo:
        """Make a snapshot of the machine that counts more than all others."""
        index = found.last_index
        term = found.terms[-1] if found.terms else found.snapshot_term
        ms = max([ms, *(name.ms + 1 for name in self._files.names())])
        draft = self._files.draft()
        for data in self._machine.slices():
            draft.write(data)
        info = SnapshotInfo(index, term, configuration, index, 0, 0, by_hand=True)
        info = draft.publish(info, ms)[1]
        self._files.prune()
        return info
