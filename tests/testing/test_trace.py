from twisted.trial.unittest import SynchronousTestCase

from pyconsul.testing.trace import FLUSH_AT, Trace


def digest(numbers: list[float]) -> str:
    trace = Trace()
    for number in numbers:
        trace.note(number)
    return trace.digest()


class TraceTests(SynchronousTestCase):
    def test_same(self) -> None:
        """The same numbers give the same digest, however often it is asked for."""
        numbers = [float(n) for n in range(FLUSH_AT + 5)]
        trace = Trace()
        for number in numbers:
            trace.note(number)
            if number == 7.0:
                trace.digest()
        self.assertEqual(trace.digest(), digest(numbers))
        self.assertEqual(len(trace.digest()), 32)

    def test_different(self) -> None:
        """Another number or another order gives another digest."""
        self.assertNotEqual(digest([1.0, 2.0]), digest([2.0, 1.0]))
        self.assertNotEqual(digest([1.0, 2.0]), digest([1.0, 2.0 + 2.0**-40]))
