"""Answers that go on for as long as their client listens, at its speed. They are Klein's alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from pyconsul.http.answer import Answer
from pyconsul.http.surface import Surface

if TYPE_CHECKING:
    from twisted.web.iweb import IRequest


def begin(surface: Surface, request: IRequest, answer: Answer) -> None:
    """Set the headers that ``answer`` would have, for a body that is still to come."""
    for name, value in surface.renderer.headers(answer):
        request.responseHeaders.setRawHeaders(name, [value])
    request.responseHeaders.removeHeader(b"Server")


@implementer(IPushProducer)
class Producer:
    """The body of such an answer.

    :ivar paused: the client reads more slowly than we write.
    :ivar endless: it may end anywhere, so that what was written is whole when the agent ends.
    :ivar done: fires when everything is written, or nobody is there to read it; cancelling it ends this.
    """

    endless = False

    def __init__(self, request: IRequest) -> None:
        self.request: Any = request
        self.paused = False
        self.done: Deferred[None] = Deferred(lambda _: self.stopProducing())

    def register(self) -> None:
        """Have the channel say when to write."""
        self.request.registerProducer(self, True)

    def listen(self) -> None:
        """Hear when the client goes away, which ends this."""
        self.request.notifyFinish().addErrback(self._client_gone)

    def finish(self) -> None:
        """Nothing more is written."""
        if not self.done.called:
            self.done.callback(None)

    def end(self) -> None:
        """The agent ends, and with it the answer, so that the client need not take that for a fault."""
        self.stopProducing()
        self.request.unregisterProducer()
        self.finish()

    def _client_gone(self, _: Failure) -> None:
        self.stopProducing()
        self.finish()

    def go_on(self) -> None:
        """Write what there is."""
        raise NotImplementedError

    def pauseProducing(self) -> None:
        """The client reads more slowly than we write."""
        self.paused = True

    def resumeProducing(self) -> None:
        """It has caught up."""
        self.paused = False
        self.go_on()

    def stopProducing(self) -> None:
        """Nobody reads on."""
        raise NotImplementedError
