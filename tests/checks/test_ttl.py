"""TTL checks."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.checks.definition import CheckType
from pyconsul.checks.ttl import TtlCheck


class TtlTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[tuple[str, str, str]] = []
        self.check = self.made()

    def made(self) -> TtlCheck:
        definition = CheckType(check_id="c", kind="ttl", ttl_s=10.0, output_bytes_max=20)
        return TtlCheck(definition, self.clock, lambda *what: self.told.append(what))

    def test_silence(self) -> None:
        self.check.start()
        self.clock.advance(9.9)
        self.assertEqual(self.told, [])
        self.clock.advance(0.1)
        self.assertEqual(self.told, [("c", "critical", "TTL expired")])
        self.clock.advance(100)
        self.assertEqual(len(self.told), 1)

    def test_reports(self) -> None:
        """Each is told and good for another TTL; what was said last is repeated at the end."""
        self.check.start()
        self.clock.advance(9)
        self.check.report("passing", "fine")
        self.clock.advance(9)
        self.check.report("warning", "")
        self.clock.advance(9)
        self.check.report("passing", "last words")
        self.clock.advance(10)
        self.assertEqual(
            self.told,
            [
                ("c", "passing", "fine"),
                ("c", "warning", ""),
                ("c", "passing", "last words"),
                ("c", "critical", "TTL expired (last output before timeout follows): last words"),
            ],
        )
        self.check.report("passing", "")
        self.assertEqual(self.check.remaining_s(), 10.0)
        self.clock.advance(10)
        self.assertEqual(self.told[-1], ("c", "critical", "TTL expired"))

    def test_long_output(self) -> None:
        self.check.report("passing", "0123456789" * 5)
        self.assertEqual(self.told[0][2], "01234567890123456789 ... (captured 20 of 50 bytes)")
        self.check.report("passing", "é" * 30)
        self.assertEqual(self.told[1][2], "é" * 10 + " ... (captured 20 of 60 bytes)")

    def test_stop(self) -> None:
        self.check.start()
        self.check.stop()
        self.check.stop()
        self.clock.advance(100)
        self.assertEqual((self.told, self.check.remaining_s()), ([], 0.0))

    def test_over_a_restart(self) -> None:
        """The report made before is good for what is left of its time, and never for longer."""
        self.check.start()
        self.check.report("passing", "before")
        self.clock.advance(6)
        remaining_s = self.check.remaining_s()
        self.check.stop()
        again = self.made()
        again.restore("before", remaining_s)
        again.start()
        self.clock.advance(4)
        self.assertEqual(
            self.told[1:], [("c", "critical", "TTL expired (last output before timeout follows): before")]
        )
        for left, expected in ((-5.0, 0.0), (99.0, 10.0)):
            again = self.made()
            again.restore("", left)
            again.start()
            self.assertEqual(again.remaining_s(), expected)
            again.stop()
