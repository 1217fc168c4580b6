"""Servers as their tags show them, and which of them a client asks."""

from __future__ import annotations

from random import Random

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.servers import ServerChoice, by_id, parse, raft_servers, servers_of
from pyconsul.raft.configuration import NONVOTER, Configuration, Server
from pyconsul.serf.members import Member, Status
from tests.agent.fixture import member


class ParseTests(SynchronousTestCase):
    def parsed(self, **tags: str) -> object:
        return parse(member(1, Status.ALIVE, True, **tags))

    def test_server(self) -> None:
        """All that the tags tell."""
        record = parse(member(1, server=True, expect="3", bootstrap="1", nonvoter="1"))
        assert record is not None
        self.assertEqual(
            (record.id, record.name, record.address, record.datacenter),
            ("id1", "n1", "127.0.0.1:8300", "dc1"),
        )
        self.assertEqual(
            (record.expect, record.bootstrap, record.nonvoter, record.alive), (3, True, True, True)
        )

    def test_states(self) -> None:
        """Only a member that is alive is alive."""
        for status in Status:
            record = parse(member(1, status, server=True))
            assert record is not None
            self.assertEqual(record.alive, status is Status.ALIVE)

    def test_ipv6(self) -> None:
        """An address of version 6 stands in brackets."""
        record = parse(replace(member(1, server=True), addr="fe80::1"))
        assert record is not None
        self.assertEqual(record.address, "[fe80::1]:8300")

    def test_others(self) -> None:
        """Clients, and whatever has no id or port that makes sense; anybody may write tags."""
        self.assertIsNone(parse(member(1)))
        self.assertIsNone(parse(Member("x", "127.0.0.1", 1, {}, Status.ALIVE, 1, 5, 2, 2, 5, 4)))
        for port in ("", "x", "-1", "0", "65536", "²", "٣", "9" * 5000, " 8300", "8300.0"):
            self.assertIsNone(self.parsed(port=port), port)
        self.assertIsNone(self.parsed(id=""))

    def test_odd_expect(self) -> None:
        """A number of servers that makes no sense counts as none."""
        for expect in ("", "x", "²", "-3", "9" * 5000):
            record = parse(member(1, server=True, expect=expect))
            assert record is not None
            self.assertEqual(record.expect, 0)

    def test_datacenter(self) -> None:
        """Only the servers of one datacenter, dead ones included."""
        members = [
            member(1, server=True),
            member(2, Status.FAILED, server=True),
            member(3),
            member(4, server=True, dc="dc2"),
        ]
        self.assertEqual([record.name for record in servers_of(members, "dc1")], ["n1", "n2"])

    def test_versions(self) -> None:
        """What operators are told; tags may lack it."""
        record = parse(member(1, Status.FAILED, True, build="1.2.3:abc"))
        assert record is not None
        self.assertEqual((record.status, record.version, record.raft_version), (Status.FAILED, "1.2.3", "3"))
        record = parse(member(1, server=True, build="", raft_vsn=""))
        assert record is not None
        self.assertEqual((record.version, record.raft_version), ("", ""))


class OperatorViewTests(SynchronousTestCase):
    def test_by_id(self) -> None:
        """A server that was renamed is what it is now."""
        old = replace(member(2, Status.LEFT, True), name="old")
        older = replace(member(2, Status.FAILED, True), name="older")
        for members in ([old, older, member(2, server=True)], [member(2, server=True), older, old]):
            found = by_id(servers_of([*members, member(1, server=True)], "dc1"))
            self.assertEqual({key: record.name for key, record in found.items()}, {"id1": "n1", "id2": "n2"})
        self.assertEqual(by_id(servers_of([old, older], "dc1"))["id2"].name, "older")

    def test_raft_servers(self) -> None:
        """The configuration in its order; gossip gives names, if it knows the servers."""
        configuration = Configuration(
            [Server("id2", "127.0.0.2:8300"), Server("gone", "127.0.0.9:8300", NONVOTER)]
        )
        one, two = raft_servers(configuration, "id2", servers_of([member(2, server=True)], "dc1"))
        self.assertEqual((one.id, one.node, one.address), ("id2", "n2", "127.0.0.2:8300"))
        self.assertEqual((one.leader, one.voter, one.protocol_version), (True, True, "3"))
        self.assertEqual(
            (two.node, two.leader, two.voter, two.protocol_version), ("(unknown)", False, False, "")
        )


class ChoiceTests(SynchronousTestCase):
    def test_none(self) -> None:
        """Without servers there is none to call, and none to fail."""
        choice = ServerChoice(Random(1))
        self.assertIsNone(choice.current())
        choice.failed("a")
        choice.update([])
        self.assertIsNone(choice.current())

    def test_rotation(self) -> None:
        """One until it fails, then the next; in the end all had their turn."""
        choice = ServerChoice(Random(1))
        choice.update(["a", "b", "c"])
        seen = []
        for _ in range(3):
            current = choice.current()
            assert current is not None
            self.assertEqual(choice.current(), current)
            seen.append(current)
            choice.failed(current)
        self.assertEqual(sorted(seen), ["a", "b", "c"])
        self.assertEqual(choice.current(), seen[0])

    def test_late_failure(self) -> None:
        """The failure of a server that is not used any more moves only that one."""
        choice = ServerChoice(Random(1))
        choice.update(["a", "b", "c"])
        first = choice.current()
        assert first is not None
        choice.failed(first)
        second = choice.current()
        choice.failed(first)
        choice.failed("unknown")
        self.assertEqual(choice.current(), second)

    def test_the_only_one(self) -> None:
        """With one server there is nothing to choose."""
        choice = ServerChoice(Random(1))
        choice.update(["a"])
        choice.failed("a")
        self.assertEqual(choice.current(), "a")

    def test_update(self) -> None:
        """Servers that stay keep their order; one that is gone is not used."""
        choice = ServerChoice(Random(1))
        choice.update(["a", "b", "c"])
        order = list(choice._order)
        choice.update(reversed(order))
        self.assertEqual(choice._order, order)
        choice.update(order[1:])
        self.assertEqual(choice._order, order[1:])
        choice.update([])
        self.assertIsNone(choice.current())

    def test_spread(self) -> None:
        """Clients do not all choose the same server."""
        chosen = set()
        for seed in range(20):
            choice = ServerChoice(Random(seed))
            choice.update(["a", "b", "c"])
            chosen.add(choice.current())
        self.assertEqual(chosen, {"a", "b", "c"})
