"""The pool of the servers of all datacenters, as one server takes part in it.

A server is called ``NODE.DATACENTER`` there. It sees to it that all servers of its own datacenter are
in the pool too, so it is enough that one of each is joined. Source: specs of several datacenters,
section 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from pyconsul.agent.environment import Environment
from pyconsul.agent.keyring import WAN_FILE, KeyringFile
from pyconsul.agent.pool_timing import pool_timing
from pyconsul.agent.servers import is_server, join_address
from pyconsul.config.schema import AgentConfig
from pyconsul.interfaces import GossipTransport
from pyconsul.log import make_logger
from pyconsul.net.gossip import GossipPool, MemberEvent, Resolver
from pyconsul.net.networks import within
from pyconsul.serf.coordinates import CoordinateClient, NoCoordinates
from pyconsul.serf.members import Member, Status
from pyconsul.storage.gossip_snapshot import SnapshotFile
from pyconsul.structs.coordinate import Coordinate, DatacenterMap, NodeCoordinate
from pyconsul.swim.keyring import Keyring
from pyconsul.swim.timing import WAN

SNAPSHOT = "serf/remote.snapshot"
FLOOD_S = 60.0
"""How often a server looks whether all of its datacenter are in the pool."""


def wan_tags(lan: Mapping[str, str]) -> dict[str, str]:
    """What a server tells about itself here, made of what it tells in its own datacenter."""
    return {name: value for name, value in lan.items() if name != "wan_join_port"}


def _accept_member(member: Member) -> str | None:
    return None if is_server(member) else f"Member '{member.name}' is not a server"


class WanPool:
    """One server's place in the pool.

    :ivar pool: the pool itself.
    :param tags: what this server tells in its own datacenter.
    :param neighbours: the members of its own datacenter.
    :param on_event: called with each change of a member here.
    """

    def __init__(
        self,
        config: AgentConfig,
        environment: Environment,
        transport: GossipTransport,
        tags: Mapping[str, str],
        neighbours: Callable[[], Sequence[Member]],
        on_event: Callable[[MemberEvent], None],
        on_name_lost: Callable[[], None],
        keyring: Keyring | None,
        resolver: Resolver,
    ) -> None:
        self._log = make_logger("agent")
        self._clock = environment.clock
        self._datacenter: str = config.datacenter
        self._neighbours = neighbours
        self.coordinates = None if config.disable_coordinates else CoordinateClient(environment.rng)
        disk = environment.disk
        keeps_keys = keyring is not None and not config.disable_keyring_file
        self.pool = GossipPool(
            self.name_of(config.node_name),
            transport,
            environment.clock,
            environment.rng,
            pool_timing(WAN, config.gossip_wan, config.reconnect_timeout_wan),
            wan_tags(tags),
            keyring=keyring,
            verify_incoming=config.encrypt_verify_incoming,
            verify_outgoing=config.encrypt_verify_outgoing,
            accept_member=_accept_member,
            allowed=within(config.serf_wan_allowed_cidrs),
            on_event=on_event,
            on_name_lost=on_name_lost,
            resolve_conflicts=True,
            advertise=(config.advertise_addr_wan or config.advertise_addr, transport.address[1]),
            resolver=resolver,
            coordinates=self.coordinates or NoCoordinates(),
            save_keyring=KeyringFile(disk, WAN_FILE).save if disk is not None and keeps_keys else None,
            snapshot=(
                None
                if disk is None
                else SnapshotFile(disk, SNAPSHOT, environment.clock, config.rejoin_after_leave)
            ),
        )
        self._call: IDelayedCall | None = None
        self._flooding = self._flood_anew = False

    def name_of(self, node: str) -> str:
        """What a node of this datacenter is called in the pool."""
        return f"{node}.{self._datacenter}"

    # ------------------------------------------------------------ life

    def start(self) -> None:
        """Take part, and bring the servers of this datacenter along."""
        self.pool.start()
        self._flood_again()

    def stop(self) -> None:
        """End at once, without leaving."""
        self._flood_no_more()
        self.pool.stop()

    def tell(self, tags: Mapping[str, str]) -> None:
        """This server tells something else of itself in its own datacenter now, and so it does here."""
        self.pool.set_tags(wan_tags(tags))

    def leave(self) -> Deferred[None]:
        """Leave the pool; fires when the others should know."""
        self._flood_no_more()
        return self.pool.leave()

    # ------------------------------------------------------------ the servers of this datacenter

    def _flood_again(self) -> None:
        self._call = self._clock.callLater(FLOOD_S, self._flood_again)
        self.flood()

    def _flood_no_more(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def flood(self) -> None:
        """Join those servers of this datacenter that are not in the pool."""
        if self._call is None:
            return
        if self._flooding:
            self._flood_anew = True
            return
        missing = [
            address
            for member in self._neighbours()
            if member.status is Status.ALIVE and self.pool.member(self.name_of(member.name)) is None
            if (address := join_address(member)) is not None
        ]
        if missing:
            self._flooding = True
            self.pool.join(missing).addErrback(self._dry).addCallback(self._flooded)

    def _dry(self, failure: Failure) -> None:
        self._log.debug("cannot join servers of this datacenter: {why}", why=failure.getErrorMessage())

    def _flooded(self, _: object) -> None:
        anew, self._flooding, self._flood_anew = self._flood_anew, False, False
        if anew:
            self.flood()

    # ------------------------------------------------------------ distances

    def datacenters(self) -> list[str]:
        """All datacenters that have a server in the pool, the nearest first, this one before all."""
        far: dict[str, list[float]] = {self._datacenter: [0.0]}
        for member in self.pool.members():
            name = member.tags.get("dc", "")
            if member.status is not Status.LEFT and name != self._datacenter:
                far.setdefault(name, []).append(self._distance_s(member.name))
        medians = {name: sorted(times)[len(times) // 2] for name, times in far.items()}
        return sorted(medians, key=lambda name: (medians[name], name))

    def _distance_s(self, name: str) -> float:
        here, there = self._place(self.pool.name), self._place(name)
        return float("inf") if here is None or there is None else here.distance_to(there)

    def _place(self, name: str) -> Coordinate | None:
        """Where a member is, if that is known."""
        if self.coordinates is None:
            return None
        return self.coordinates.coordinate if name == self.pool.name else self.coordinates.peers.get(name)

    def maps(self) -> list[DatacenterMap]:
        """Where the servers of each datacenter are."""
        found: dict[str, list[NodeCoordinate]] = {}
        for member in self.pool.members():
            datacenter = member.tags.get("dc", "")
            place = self._place(member.name)
            if place is not None and member.status is not Status.LEFT:
                node = member.name.removesuffix(f".{datacenter}")
                found.setdefault(datacenter, []).append(NodeCoordinate(node=node, coord=place))
        return [
            DatacenterMap(datacenter=name, coordinates=sorted(rows, key=lambda row: row.node))
            for name, rows in sorted(found.items())
        ]
