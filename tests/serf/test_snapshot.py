"""What a member's file says, and going on from it."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.serf import snapshot
from pyconsul.serf.core import SerfCore
from pyconsul.serf.events import UserEventReceived
from pyconsul.serf.messages import UserEvent
from pyconsul.serf.snapshot import Previous, replay
from pyconsul.swim.events import PacketReceived
from pyconsul.swim.layers import Layers
from pyconsul.swim.timing import LAN
from tests.swim.fixture import ME

FILE = """\
alive: c1 127.0.41.1:8301
# a comment
alive: two words [::1]:8301
alive: c2 127.0.41.2:8301
coordinate: {"Vec": []}
not-alive: c1
clock: 7
event-clock: 3
event-clock: 4
query-clock: 1
"""


class ReplayTests(SynchronousTestCase):
    def test_later_lines_count(self) -> None:
        alive = {"two words": "[::1]:8301", "c2": "127.0.41.2:8301"}
        self.assertEqual(replay(FILE), Previous(alive, 7, 4, 1))

    def test_after_a_leave(self) -> None:
        """Everything is forgotten, unless this node is to go back."""
        left = FILE + "leave\n"
        self.assertEqual(replay(left), Previous())
        self.assertEqual(replay(left, rejoin_after_leave=True), replay(FILE))
        self.assertEqual(replay(left + "alive: x 1.2.3.4:5\n").alive, {"x": "1.2.3.4:5"})

    def test_what_cannot_be_read(self) -> None:
        lines = [
            "what", "alive: name", "alive:  1.2.3.4:5", "alive: a 1.2.3.4", "clock: x", "clock: -1",
            "clock: 99999999999999999999", "event-clock: ", "clo",
        ]  # fmt: skip
        found = replay("\n".join(lines))
        self.assertEqual(found, Previous(problems=lines))
        self.assertEqual(len(replay("odd\n" * 100).problems), 10)

    def test_bound(self) -> None:
        text = "".join(f"alive: n{n} 1.2.3.4:5\n" for n in range(snapshot.ALIVE_MAX + 10))
        self.assertEqual(len(replay(text).alive), snapshot.ALIVE_MAX)

    def test_written_and_read(self) -> None:
        found = replay(FILE)
        text = snapshot.whole(found.alive, (found.clock, found.event_clock, found.query_clock))
        self.assertEqual(replay(text), found)
        self.assertTrue(text.endswith("clock: 7\nevent-clock: 4\nquery-clock: 1\n"))
        self.assertEqual(list(snapshot.clock_lines((1, 2, 3), (1, 5, 3))), ["event-clock: 5\n"])
        self.assertEqual(snapshot.alive_line("a\nb", "1.2.3.4:5") + snapshot.gone_line("a\nb"), "")

    def test_length(self) -> None:
        self.assertFalse(snapshot.is_too_long(128 * 1024, 0))
        self.assertTrue(snapshot.is_too_long(128 * 1024 + 1, 0))
        self.assertFalse(snapshot.is_too_long(200_000, 1000))
        self.assertTrue(snapshot.is_too_long(256_001, 1000))


class ResumeTests(SynchronousTestCase):
    def test_nothing_is_heard_twice(self) -> None:
        core = SerfCore(
            "me", ME, LAN, Layers(lambda size: bytes(size)), Random(1), previous=Previous({}, 7, 4, 2)
        )
        core.start(0.0, {})
        clocks = core.member_clock, core.event_clock, core.query_clock
        self.assertEqual([clock.time() for clock in clocks], [8, 5, 3])

        def heard(ltime: int) -> bool:
            packet = b"\x08" + UserEvent(ltime, "e").encode()
            effects = core.handle(0.0, PacketReceived(packet, ME))
            return any(isinstance(effect, UserEventReceived) for effect in effects)

        self.assertEqual([heard(4), heard(5)], [False, True])
        self.assertEqual(core.queries.recent.min_time, 3)
