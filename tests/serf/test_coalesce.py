"""Events held back for a while."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.serf.coalesce import HELD_MAX, member_events, user_events
from pyconsul.serf.members import FAILED, JOIN, LEAVE, UPDATE, Member, MemberEvent, Status
from pyconsul.serf.messages import UserEvent


def member(name: str, kind: str) -> MemberEvent:
    return MemberEvent(kind, Member(name, "127.0.0.1", 1, {}, Status.ALIVE, 1, 5, 2, 2, 5, 4))


class UserEventTests(SynchronousTestCase):
    def test_the_latest_of_each_name(self) -> None:
        gathered = user_events()
        old, new = UserEvent(1, "deploy", b"1", True), UserEvent(2, "deploy", b"2", True)
        same, other = UserEvent(2, "deploy", b"3", True), UserEvent(1, "other", b"", True)
        for event in (new, old, same, other):
            self.assertEqual(gathered.take(0.0, event), [])
        newer = UserEvent(9, "other", b"9", True)
        gathered.take(0.0, newer)
        self.assertEqual(gathered.flush(), [new, same, newer])
        self.assertEqual((gathered.flush(), gathered.deadline()), ([], None))

    def test_not_allowed(self) -> None:
        event = UserEvent(1, "deploy", b"1", False)
        gathered = user_events()
        self.assertEqual((gathered.take(0.0, event), gathered.deadline()), ([event], None))

    def test_when(self) -> None:
        """Once it is quiet, or at the end of the period."""
        gathered = user_events(period_s=3.0, quiescent_s=1.0)
        for now, deadline in ((10.0, 11.0), (10.9, 11.9), (11.8, 12.8), (12.7, 13.0)):
            gathered.take(now, UserEvent(int(now * 10), "x", b"", True))
            self.assertAlmostEqual(gathered.deadline() or 0.0, deadline)

    def test_bound(self) -> None:
        gathered = user_events()
        for number in range(HELD_MAX):
            self.assertEqual(gathered.take(0.0, UserEvent(1, f"n{number}", b"", True)), [])
        self.assertEqual(len(gathered.take(0.0, UserEvent(1, "last", b"", True))), HELD_MAX + 1)


class MemberEventTests(SynchronousTestCase):
    def test_what_happened_last(self) -> None:
        gathered = member_events()
        for kind in (JOIN, FAILED, JOIN):
            self.assertEqual(gathered.take(0.0, member("a", kind)), [])
        gathered.take(0.0, member("b", LEAVE))
        self.assertEqual(gathered.flush(), [member("a", JOIN), member("b", LEAVE)])

    def test_not_told_again(self) -> None:
        """A member that failed and came back within the period is no news; updates always are."""
        gathered = member_events()
        for kinds, told in (
            ((JOIN,), [JOIN]),
            ((FAILED, JOIN), []),
            ((UPDATE,), [UPDATE]),
            ((UPDATE,), [UPDATE]),
        ):
            for kind in kinds:
                gathered.take(0.0, member("a", kind))
            self.assertEqual([event.kind for event in gathered.flush()], told)

    def test_what_was_told_is_bounded(self) -> None:
        gathered = member_events()
        for number in range(2 * HELD_MAX + 1):
            gathered.take(0.0, member(f"n{number}", JOIN))
            gathered.flush()
        gathered.take(0.0, member("n0", JOIN))
        self.assertEqual(len(gathered.flush()), 1)  # forgotten that it was told
        gathered.take(0.0, member("n9000", JOIN))
