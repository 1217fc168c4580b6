"""How long suspicions last."""

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.swim.suspicion import Suspicion, suspicion_for


class SuspicionTests(SynchronousTestCase):
    def test_confirmations_shorten_the_timeout(self) -> None:
        """Each confirmation moves the deadline from max towards min."""
        suspicion = Suspicion(min_s=2.0, max_s=30.0, k=2, started=100.0)
        self.assertEqual(suspicion.deadline(), 130.0)
        suspicion.confirmed_by |= {"b", "c"}
        self.assertEqual(suspicion.deadline(), 102.0)

    def test_formula_in_between(self) -> None:
        """Source: specs of gossip, section 9: max - ln(c+1)/ln(k+1) * (max - min), whole milliseconds."""
        suspicion = Suspicion(min_s=2.0, max_s=30.0, k=3, started=0.0, accuser="a")
        deadlines = [suspicion.deadline()]
        for accuser in "bcd":
            self.assertTrue(suspicion.confirm(accuser))
            deadlines.append(suspicion.deadline())
        self.assertEqual(deadlines, [30.0, 16.0, 7.810, 2.0])

    def test_who_confirms(self) -> None:
        """The accuser does not, nobody does twice, and nobody once there are enough."""
        suspicion = Suspicion(2.0, 30.0, 2, 0.0, "a")
        self.assertFalse(suspicion.confirm("a"))
        self.assertTrue(suspicion.confirm("b"))
        self.assertFalse(suspicion.confirm("b"))
        self.assertTrue(suspicion.confirm("c"))
        self.assertFalse(suspicion.confirm("d"))

    def test_small_pools_wait_the_shortest_time(self) -> None:
        """With nobody to confirm, k is 0 and max plays no part."""
        suspicion = suspicion_for(3, 4, 6, 1.0, 10.0, "a")
        self.assertEqual((suspicion.k, suspicion.deadline()), (0, 14.0))
        self.assertFalse(suspicion.confirm("b"))

    def test_larger_pools(self) -> None:
        suspicion = suspicion_for(4, 4, 6, 1.0, 0.0, "a")
        self.assertEqual((suspicion.k, suspicion.min_s, suspicion.max_s), (2, 4.0, 24.0))
        suspicion = suspicion_for(150, 4, 6, 1.0, 0.0, "a")
        self.assertAlmostEqual(suspicion.min_s, 4 * 2.176)
        self.assertEqual(suspicion_for(0, 4, 6, 1.0, 0.0, "a").min_s, 4.0)
