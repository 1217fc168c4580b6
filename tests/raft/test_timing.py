"""Specs of Consul's Raft, section 1."""

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import ConfigurationError
from pyconsul.raft.timing import Timing


class TimingTests(SynchronousTestCase):
    def test_multiplier_scales_three_timeouts(self) -> None:
        """Consul's default multiplier is 5; the commit timeout is not scaled."""
        self.assertEqual(Timing.scaled(), Timing(5.0, 5.0, 2.5, 0.05))
        self.assertEqual(Timing.scaled(1), Timing(1.0, 1.0, 0.5, 0.05))
        self.assertEqual(Timing.scaled(10).leader_lease_timeout_s, 5.0)

    def test_multiplier_is_bounded(self) -> None:
        for multiplier in (0, 11, -1):
            with self.assertRaises(ConfigurationError):
                Timing.scaled(multiplier)

    def test_dev(self) -> None:
        """-dev: 35 ms, 52 ms, 20 ms."""
        self.assertEqual(Timing.dev(), Timing(0.035, 0.052, 0.020, 0.05))

    def test_order_of_timeouts(self) -> None:
        """5 ms <= lease <= heartbeat <= election."""
        for heartbeat, election, lease in ((1.0, 0.5, 0.5), (1.0, 1.0, 1.5), (1.0, 1.0, 0.004)):
            with self.assertRaises(ConfigurationError):
                Timing(heartbeat, election, lease)

    def test_limits_are_positive(self) -> None:
        for limits in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
            with self.assertRaises(ConfigurationError):
                Timing(1.0, 1.0, 0.5, 0.05, *limits)
