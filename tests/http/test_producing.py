"""What answers that go on have in common."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.http.producing import Producer


class Request:
    """As much of a request as is needed."""

    def __init__(self) -> None:
        self.producers: list[Any] = []
        self.gone: Deferred[None] = Deferred()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producers.append((producer, streaming))

    def notifyFinish(self) -> Deferred[None]:
        return self.gone


class Counting(Producer):
    written = stopped = 0

    def go_on(self) -> None:
        self.written += 1

    def stopProducing(self) -> None:
        self.stopped += 1


class ProducerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.request = Request()
        self.producer = Counting(self.request)  # type: ignore[arg-type]
        self.producer.listen()
        self.producer.register()

    def test_registered(self) -> None:
        """As one that is told when to pause."""
        self.assertEqual(self.request.producers, [(self.producer, True)])

    def test_pauses(self) -> None:
        """It goes on once it may."""
        self.producer.pauseProducing()
        self.assertEqual((self.producer.paused, self.producer.written), (True, 0))
        self.producer.resumeProducing()
        self.assertEqual((self.producer.paused, self.producer.written), (False, 1))

    def test_the_client_goes(self) -> None:
        """It is stopped and done, once."""
        self.request.gone.errback(Failure(ConnectionDone()))
        self.assertEqual(self.producer.stopped, 1)
        self.successResultOf(self.producer.done)
        self.producer.finish()

    def test_cancelled(self) -> None:
        """Whoever waits for its end does not want it any more."""
        self.producer.done.addErrback(lambda _: None)
        self.producer.done.cancel()
        self.assertEqual(self.producer.stopped, 1)

    def test_base(self) -> None:
        """What each kind has to say for itself."""
        bare = Producer(self.request)  # type: ignore[arg-type]
        self.assertRaises(NotImplementedError, bare.go_on)
        self.assertRaises(NotImplementedError, bare.stopProducing)
