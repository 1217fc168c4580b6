"""Reads that come by HTTP and are answered elsewhere: passed on as they are, many in one call.

To decode, ask, decode the reply and encode it again costs a client agent several times what it costs
the server to answer. So a target that was asked for before, and whose answer depended on nothing but
the target and the store, is sent to the server as it came, with all others of this turn of the reactor.
What comes back is the body, ready to be sent on. Anything but a plain answer makes the agent ask in the
usual way, which knows what to do about errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.python.failure import Failure

from pyconsul.agent.forwarding import Forwarder
from pyconsul.endpoints.base import declarations
from pyconsul.endpoints.relay import Relay
from pyconsul.errors import Unreachable
from pyconsul.http.facts import Facts
from pyconsul.structs.relay import Relayed, RelayReply, RelayRequest

if TYPE_CHECKING:
    from pyconsul.http.answer import Answer
    from pyconsul.http.surface import Surface
    from pyconsul.interfaces import Agent

TARGETS_MAX = 256
REPLY_BYTES_MAX = 4 * 1024 * 1024

(READ,) = declarations(Relay)


class Batch:
    """The reads of one turn of the reactor."""

    __slots__ = ("_waiting", "sent")

    def __init__(self) -> None:
        self.sent = False
        self._waiting: dict[bytes, Deferred[Relayed | None]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def takes(self, waited_s: float) -> bool:
        """Whether who asks now for the same as another may have the same answer: it is not asked yet."""
        return not self.sent

    def add(self, target: bytes) -> Deferred[Relayed | None]:
        """Ask for ``target``, which is not asked for in this batch."""
        answer = self._waiting[target] = Deferred()
        return answer

    def __contains__(self, target: bytes) -> bool:
        return target in self._waiting

    @property
    def targets(self) -> list[bytes]:
        """What is asked for, in order."""
        return list(self._waiting)

    def answered(self, reply: RelayReply) -> None:
        """Tell each what came for it."""
        answers = reply.answers
        for number, waiting in enumerate(self._waiting.values()):
            waiting.callback(answers[number] if number < len(answers) else None)

    def failed(self) -> None:
        """Nothing came: each is to be asked in the usual way."""
        self.answered(RelayReply(answers=[]))


class Relaying:
    """Passes reads on.

    :param where: the address to ask now; empty if there is none.
    :param failed: told of an address that could not be asked.
    """

    def __init__(
        self,
        forwarder: Forwarder,
        where: Callable[[], str],
        failed: Callable[[str], None] = lambda address: None,
    ) -> None:
        self._forwarder = forwarder
        self._where = where
        self._failed = failed
        self._batch: Batch | None = None

    def relay(self, target: bytes) -> tuple[Batch, Deferred[Relayed | None]] | None:
        """See ``pyconsul.interfaces.Agent``."""
        batch = self._batch
        if batch is None:
            if not self._where():
                return None
            batch = self._batch = Batch()
            self._forwarder.clock.callLater(0, self._send, batch)
        elif target in batch:  # by a client that is answered in a way of its own
            return None
        answer = batch.add(target)
        if len(batch) >= TARGETS_MAX:
            self._send(batch)
        return batch, answer

    def _send(self, batch: Batch) -> None:
        if batch.sent:
            return
        self._batch = None
        batch.sent = True
        address = self._where()
        if not address:
            batch.failed()
            return
        called = self._forwarder.call(address, READ, RelayRequest(targets=batch.targets))
        called.addCallbacks(batch.answered, self._not_answered, errbackArgs=(batch, address))

    def _not_answered(self, failure: Failure, batch: Batch, address: str) -> None:
        if failure.check(Unreachable):
            self._failed(address)
        batch.failed()


class RelayedReads:
    """A server's side: answers as its HTTP interface would if nothing were configured for that.

    :param make_surface: makes that interface when it is first needed.
    """

    def __init__(self, agent: Agent, make_surface: Callable[[Agent], Surface]) -> None:
        self._agent = agent
        self._make_surface = make_surface
        self._surface: Surface | None = None
        self._facts = Facts([(b"Host", b"agent")])

    def read(self, request: RelayRequest) -> RelayReply | Deferred[RelayReply]:
        """The endpoint ``HTTP.Read``."""
        surface = self._surface
        if surface is None:
            surface = self._surface = self._make_surface(self._agent)
        answers = [surface.get(target, self._facts) for target in request.targets[:TARGETS_MAX]]
        if not any(isinstance(answer, Deferred) for answer in answers):
            return _reply(answers)
        every = [answer if isinstance(answer, Deferred) else succeed(answer) for answer in answers]
        return DeferredList(every).addCallback(lambda results: _reply([answer for _, answer in results]))


def _reply(answers: list[Any]) -> RelayReply:
    """The plain ones among ``answers``, as far as they are not too much for one reply."""
    relayed: list[Relayed | None] = []
    size = 0
    for answer in answers:
        plain = _plain(answer)
        size += 0 if plain is None else len(plain.body)
        relayed.append(plain if size <= REPLY_BYTES_MAX else None)
    return RelayReply(answers=relayed)


def _plain(answer: Answer) -> Relayed | None:
    if answer.status != 200 or answer.index < 0 or answer.long is not None:
        return None
    return Relayed(
        answer.body,
        answer.content_type,
        answer.index,
        answer.known_leader,
        answer.last_contact_ms,
        answer.consistency,
        answer.headers,
    )
