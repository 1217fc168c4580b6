"""Writes that another agent has to make: passed on with all others of a turn of the reactor, in one call.

A call of its own for each write costs both agents more than the write itself. One call is answered when
all its writes are done; since they go into the log together, that is at about the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pyconsul.agent.forwarding import Forwarder, encode, from_afar
from pyconsul.endpoints.base import Method, declarations
from pyconsul.endpoints.batch import Batch
from pyconsul.errors import NoLeader, NotSent, PyconsulError, Unreachable, from_code
from pyconsul.interfaces import Later, Waiter
from pyconsul.log import make_logger
from pyconsul.structs.batch import BatchReply, BatchRequest

WRITES_MAX = 256
BYTES_MAX = 1024 * 1024
HOPS_MAX = 1
"""A client asks any server, which may have to ask the leader."""

(APPLY,) = declarations(Batch)
_log = make_logger("agent.rpc")


class _Passed(msgspec.Struct):
    """One write that is passed on, and who waits for its reply.

    :ivar body: the request as MessagePack.
    """

    method: Method
    request: Any
    body: bytes
    waiter: Waiter


class Batches:
    """Passes writes on.

    :param where: the address to ask now; empty if there is none.
    :param again: makes one write in the usual way, since nothing was done about it.
    :param failed: told of an address that could not be asked.
    :param hops: how often what is passed on was passed on before.
    """

    def __init__(
        self,
        forwarder: Forwarder,
        where: Callable[[], str],
        again: Callable[[Method, Any], Deferred[Any]],
        failed: Callable[[str], None] = lambda address: None,
        hops: int = 0,
    ) -> None:
        self._forwarder = forwarder
        self._where = where
        self._again = again
        self._failed = failed
        self._hops = hops
        self._gathering: list[_Passed] = []
        self._decoders: dict[Any, Callable[[bytes], Any]] = {}

    def submit(self, method: Method, request: Any, waiter: Waiter) -> None:
        """Have a write made; ``waiter`` is told of its reply."""
        if not self._gathering:
            self._forwarder.clock.callLater(0, self._turn_ends)
        self._gathering.append(_Passed(method, request, encode(request), waiter))

    def _turn_ends(self) -> None:
        """Send what has come, in as many calls as that takes."""
        gathered, self._gathering = self._gathering, []
        begin = size = 0
        for end, one in enumerate(gathered):
            size += len(one.body)
            if end > begin and (end - begin == WRITES_MAX or size > BYTES_MAX):
                self._send(gathered[begin:end])
                begin, size = end, len(one.body)
        self._send(gathered[begin:])

    def _send(self, passed: list[_Passed]) -> None:
        address = self._where()
        if not address:
            for one in passed:
                self._make(one)
            return
        writes = [(one.method.name, one.body) for one in passed]
        called = self._forwarder.call(address, APPLY, BatchRequest(writes=writes, hops=self._hops))
        called.addCallbacks(self._answered, self._not_answered, (passed,), errbackArgs=(passed, address))

    def _make(self, one: _Passed) -> None:
        self._again(one.method, one.request).addCallbacks(one.waiter.callback, one.waiter.errback)

    def _answered(self, reply: BatchReply, passed: list[_Passed]) -> None:
        missing = len(passed) - len(reply.outcomes)
        outcomes = reply.outcomes + [("", "no word of what became of a write")] * missing
        for one, outcome in zip(passed, outcomes, strict=False):
            if isinstance(outcome, bytes):
                self._done(one, outcome)
                continue
            error = from_code(*outcome)
            if isinstance(error, NoLeader):
                self._make(one)
            else:
                one.waiter.errback(from_afar(error))

    def _done(self, one: _Passed, body: bytes) -> None:
        kind = one.method.reply
        decode = self._decoders.get(kind)
        if decode is None:
            decode = self._decoders[kind] = msgspec.msgpack.Decoder(kind).decode
        try:
            reply = decode(body)
        except msgspec.MsgspecError as error:
            one.waiter.errback(PyconsulError(f"cannot decode the reply of {one.method.name}: {error}"))
        else:
            one.waiter.callback(reply)

    def _not_answered(self, failure: Failure, passed: list[_Passed], address: str) -> None:
        """Nothing came. What may have been done must not be done again."""
        if failure.check(Unreachable):
            self._failed(address)
        for one in passed:
            if failure.check(NotSent, NoLeader):
                self._make(one)
            else:
                one.waiter.errback(failure)


class PassedWrites:
    """The side of who is asked.

    :param begin: begins one write: endpoint, request, who waits, and how often it was passed on.
    """

    def __init__(self, begin: Callable[[str, bytes, Waiter, int], Any]) -> None:
        self._begin = begin

    def apply(self, request: BatchRequest) -> BatchReply | Deferred[BatchReply]:
        """The endpoint ``Batch.Apply``."""
        writes = request.writes[:WRITES_MAX]
        outcomes = _Outcomes(len(writes))
        for number, (name, body) in enumerate(writes):
            outcome = _Outcome(outcomes, number)
            try:
                reply = self._begin(name, body, outcome, request.hops)
            except Exception as error:
                outcome.errback(error)
                continue
            if isinstance(reply, Later):
                continue
            if isinstance(reply, Deferred):
                reply.addCallbacks(outcome.callback, outcome.errback)
            else:
                outcome.callback(reply)
        return outcomes.reply()


class _Outcomes:
    """What becomes of the writes of one call."""

    __slots__ = ("_found", "_left", "_waiting")

    def __init__(self, count: int) -> None:
        self._found: list[bytes | tuple[str, str]] = [b""] * count
        self._left = count
        self._waiting: Deferred[BatchReply] | None = None

    def tell(self, number: int, outcome: bytes | tuple[str, str]) -> None:
        """One is known; the last makes the reply."""
        self._found[number] = outcome
        self._left -= 1
        if not self._left and self._waiting is not None:
            self._waiting.callback(BatchReply(outcomes=self._found))

    def reply(self) -> BatchReply | Deferred[BatchReply]:
        """The reply, now or when all are known."""
        if not self._left:
            return BatchReply(outcomes=self._found)
        self._waiting = Deferred()
        return self._waiting


class _Outcome:
    """Who waits for one of them."""

    __slots__ = ("_number", "_outcomes")

    def __init__(self, outcomes: _Outcomes, number: int) -> None:
        self._outcomes = outcomes
        self._number = number

    def callback(self, reply: Any) -> None:
        """It is done."""
        self._outcomes.tell(self._number, encode(reply))

    def errback(self, error: Any) -> None:
        """It is not, or nobody knows."""
        if isinstance(error, Failure):
            error = error.value
        if not isinstance(error, PyconsulError):
            _log.failure("a bug in a write that was passed on", failure=Failure(error))
            error = PyconsulError("internal error")
        self._outcomes.tell(self._number, (error.code, str(error)))
