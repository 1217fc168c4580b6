"""Klein is loaded once, in a thread where there is a reactor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.http import loading
from pyconsul.http.loading import Loading
from tests.http.fakes import Client, FakeAgent, site


class Reactor(Clock):
    """As much of one as threads need; what they ask for is done in ``turn``."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Callable[[], None]] = []

    def callFromThread(self, function: Callable[[], None]) -> None:
        self.asked.append(function)

    def turn(self) -> None:
        asked, self.asked = self.asked, []
        for function in asked:
            function()


class LoadingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.started: list[Callable[[], None]] = []
        self.patch(loading, "Thread", self.thread)
        self.loaded = 0
        self.patch(Loading, "_load", self.load)

    def thread(self, target: Callable[[], None], name: str, daemon: bool) -> LoadingTests:
        self.started.append(target)
        return self

    def start(self) -> None:
        self.assertTrue(self.started)

    def load(self, *_: Any) -> None:
        self.loaded += 1

    def loading(self, clock: Clock) -> Loading:
        return Loading(site(FakeAgent()).surface, clock)

    def test_in_a_thread(self) -> None:
        """All that need it wait, in order; from then on nobody does."""
        reactor, called = Reactor(), []
        road = self.loading(reactor)
        for number in range(3):
            road.then(lambda number=number: called.append(number))  # type: ignore[misc]
        self.assertEqual((called, self.loaded, len(self.started)), ([], 0, 1))
        self.started[0]()
        self.assertEqual((called, self.loaded), ([], 1))
        reactor.turn()
        road.then(lambda: called.append(3))
        self.assertEqual((called, self.loaded, len(self.started)), ([0, 1, 2, 3], 1, 1))

    def test_without_a_reactor(self) -> None:
        """It is loaded on the spot."""
        called: list[int] = []
        for number in range(2):
            self.loading(Clock()).then(lambda: called.append(number))  # noqa: B023
        self.assertEqual((called, self.loaded), ([0, 1], 2))

    def test_fails(self) -> None:
        """Who waits goes on, and finds out."""
        reactor, called = Reactor(), []
        self.patch(Loading, "_load", lambda _: 1 / 0)
        road = self.loading(reactor)
        road.then(lambda: called.append(1))
        self.assertRaises(ZeroDivisionError, self.started[0])
        reactor.turn()
        self.assertEqual(called, [1])

    def test_clients(self) -> None:
        """Others are served meanwhile; who went away is forgotten; what came since is answered in order."""
        reactor = Reactor()
        served = site(FakeAgent(), reactor)
        slow, gone, other = (Client(served) for _ in range(3))
        self.assertEqual([slow.get("/v1/nope"), gone.get("/v1/nope")], [b"", b""])
        self.assertEqual(slow.get("/v1/status/leader"), b"")
        self.assertIn(b" 200 OK", other.get("/v1/status/leader"))
        gone.lose()
        self.started[0]()
        reactor.turn()
        self.assertRegex(slow.received(), rb"(?s)^HTTP/1.1 404.*HTTP/1.1 200 OK")
        self.assertEqual(gone.received(), b"")
