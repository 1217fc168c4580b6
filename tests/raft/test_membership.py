"""Configurations: how one follows from another, and which is in force (dissertation, chapter 4)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.raft.configuration import NONVOTER, VOTER, Configuration, Server
from pyconsul.raft.events import ChangeConfiguration, ChangeKind
from pyconsul.raft.membership import Membership, changed
from tests.raft.single import configuration


class ChangeTests(SynchronousTestCase):
    """Specs of Consul's Raft, section 6."""

    def change(self, kind: ChangeKind, server: str, address: str = "") -> list[tuple[str, str, int]]:
        result = changed(configuration("ab", "c"), ChangeConfiguration(kind, server, address))
        return [(server.id, server.address, server.suffrage) for server in result.servers]

    def test_add_voter(self) -> None:
        """Adds, promotes, or updates the address; the order stays."""
        a, b, c = ("a", "a:8300", VOTER), ("b", "b:8300", VOTER), ("c", "c:8300", NONVOTER)
        self.assertEqual(self.change(ChangeKind.ADD_VOTER, "d", "d:1"), [a, b, c, ("d", "d:1", VOTER)])
        self.assertEqual(self.change(ChangeKind.ADD_VOTER, "c", "c:8300"), [a, b, ("c", "c:8300", VOTER)])
        self.assertEqual(self.change(ChangeKind.ADD_VOTER, "a", "a:9"), [("a", "a:9", VOTER), b, c])

    def test_add_nonvoter(self) -> None:
        """Adds, or updates the address; it takes no vote away."""
        a, b, c = ("a", "a:8300", VOTER), ("b", "b:8300", VOTER), ("c", "c:8300", NONVOTER)
        self.assertEqual(self.change(ChangeKind.ADD_NONVOTER, "d", "d:1"), [a, b, c, ("d", "d:1", NONVOTER)])
        self.assertEqual(self.change(ChangeKind.ADD_NONVOTER, "a", "a:9"), [("a", "a:9", VOTER), b, c])
        self.assertEqual(self.change(ChangeKind.ADD_NONVOTER, "c", "c:9"), [a, b, ("c", "c:9", NONVOTER)])

    def test_demote_and_remove(self) -> None:
        a, b, c = ("a", "a:8300", VOTER), ("b", "b:8300", VOTER), ("c", "c:8300", NONVOTER)
        self.assertEqual(self.change(ChangeKind.DEMOTE_VOTER, "b"), [a, ("b", "b:8300", NONVOTER), c])
        self.assertEqual(self.change(ChangeKind.DEMOTE_VOTER, "x"), [a, b, c])
        self.assertEqual(self.change(ChangeKind.REMOVE_SERVER, "b"), [a, c])
        self.assertEqual(self.change(ChangeKind.REMOVE_SERVER, "x"), [a, b, c])


class MembershipTests(SynchronousTestCase):
    def test_none(self) -> None:
        membership = Membership()
        self.assertEqual((membership.index, membership.latest), (0, Configuration()))
        self.assertFalse(membership.may_campaign("a"))
        self.assertEqual(membership.address_of("a"), "")

    def test_in_force_when_appended(self) -> None:
        membership = Membership([(1, configuration("abc"))])
        membership.append(5, configuration("abcd", "e"))
        self.assertEqual(
            (membership.index, membership.voters, membership.quorum), (5, ("a", "b", "c", "d"), 3)
        )
        self.assertEqual(membership.address_of("e"), "e:8300")

    def test_falls_back_when_cut_off(self) -> None:
        """Paper, 5.3 and specs section 4: a configuration goes with its entry."""
        membership = Membership([(1, configuration("abc"))])
        membership.append(5, configuration("abcd"))
        self.assertFalse(membership.truncate(6))
        self.assertEqual(membership.index, 5)
        self.assertTrue(membership.truncate(5))
        self.assertEqual((membership.index, membership.voters), (1, ("a", "b", "c")))
        self.assertTrue(membership.truncate(1))
        self.assertEqual((membership.index, membership.voters), (0, ()))

    def test_who_may_campaign(self) -> None:
        """A voter; and who loses its vote, as long as that may still be undone (4.2.2)."""
        membership = Membership([(1, configuration("abc", "n"))])
        membership.append(5, configuration("ab", "cn"))
        self.assertTrue(membership.may_campaign("a"))
        self.assertTrue(membership.may_campaign("c"))
        self.assertFalse(membership.may_campaign("n"))
        membership.commit(4)
        self.assertTrue(membership.may_campaign("c"))
        membership.commit(5)
        self.assertFalse(membership.may_campaign("c"))

    def test_server_objects(self) -> None:
        """A server without suffrage on the wire is a voter."""
        self.assertEqual(Server("a", "a:1").suffrage, VOTER)
