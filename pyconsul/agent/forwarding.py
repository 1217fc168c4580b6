"""Getting a request to the server that can answer it, and trying again while that is safe.

Source: specs of Consul's RPC, section 4, "Forwarding": without a leader, retry with jitter until
``rpc_hold_timeout`` is over; a call that may have been made is repeated only if it is a read.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from pyconsul.endpoints.base import Method
from pyconsul.errors import NoLeader, NoServers, NotSent, PyconsulError, Unreachable
from pyconsul.interfaces import RpcTransport

JITTER_FRACTION = 16
CALL_TIMEOUT_S = 30.0
BLOCKING_GRACE_S = 10.0
DEFAULT_QUERY_TIME_S = 300.0

encode = msgspec.msgpack.Encoder().encode


def blocking_time_s(request: Any, default_s: float = DEFAULT_QUERY_TIME_S, max_s: float = 600.0) -> float:
    """For how long a blocking read may wait, without its random extra."""
    asked = getattr(request, "max_query_time", 0)
    wait_s: float = asked / 1e9 if asked > 0 else default_s
    return min(wait_s, max_s)


class Forwarder:
    """Calls an endpoint elsewhere.

    :param hold_s: how long to go on without a leader or server (``performance.rpc_hold_timeout``).
    """

    def __init__(self, transport: RpcTransport, clock: IReactorTime, rng: Random, hold_s: float) -> None:
        self._transport = transport
        self._clock = clock
        self._rng = rng
        self._hold_s = hold_s
        self._decoders: dict[Any, Callable[[bytes], Any]] = {}

    def call(self, address: str, method: Method, request: Any) -> Deferred[Any]:
        """One attempt; fires with the reply struct."""
        timeout_s = CALL_TIMEOUT_S
        if getattr(request, "min_query_index", 0):
            wait_s = blocking_time_s(request)
            timeout_s = wait_s + wait_s / JITTER_FRACTION + BLOCKING_GRACE_S
        answer: Deferred[Any] = self._transport.call(address, method.name, encode(request), timeout_s)
        decode = self._decoders.get(method.reply)
        if decode is None:
            decode = self._decoders[method.reply] = msgspec.msgpack.Decoder(method.reply).decode
        answer.addCallback(decode)
        return answer

    def persist(
        self,
        attempt: Callable[[], Any],
        *,
        is_read: bool,
        failed: Callable[[Exception], None] = lambda e: None,
    ) -> Deferred[Any]:
        """Make attempts until one gives an answer or an error that trying again cannot mend.

        :param attempt: gives the reply or a Deferred of it, or raises.
        :param failed: told of each failure, so that the next attempt may choose another server.
        """
        return _Persistence(self._clock, self._rng, self._hold_s, attempt, is_read, failed).begin()


class _Persistence:
    __slots__ = (
        "_attempt",
        "_call",
        "_clock",
        "_failed",
        "_inner",
        "_is_read",
        "_pause_s",
        "_result",
        "_rng",
        "_until",
    )

    def __init__(
        self,
        clock: IReactorTime,
        rng: Random,
        hold_s: float,
        attempt: Callable[[], Any],
        is_read: bool,
        failed: Callable[[Exception], None],
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._attempt = attempt
        self._is_read = is_read
        self._failed = failed
        self._until = clock.seconds() + hold_s
        self._pause_s = hold_s / JITTER_FRACTION
        self._result: Deferred[Any] = Deferred(self._cancel)
        self._inner: Deferred[Any] | None = None
        self._call: Any = None

    def begin(self) -> Deferred[Any]:
        self._try()
        return self._result

    def _cancel(self, _: object) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._inner is not None:
            self._inner.cancel()

    def _try(self) -> None:
        self._call = None
        try:
            answer = self._attempt()
        except PyconsulError as error:
            self._again(error)
            return
        if isinstance(answer, Deferred):
            self._inner = answer
            answer.addCallbacks(self._answered, self._failure)
        else:
            self._result.callback(answer)

    def _answered(self, answer: Any) -> None:
        self._inner = None
        if not self._result.called:
            self._result.callback(answer)

    def _failure(self, failure: Failure) -> None:
        self._inner = None
        if self._result.called:
            return
        if isinstance(failure.value, PyconsulError):
            self._again(failure.value)
        else:
            self._result.errback(failure)

    def _again(self, error: PyconsulError) -> None:
        self._failed(error)
        mendable = isinstance(error, NoLeader | NoServers | NotSent) or (
            self._is_read and isinstance(error, Unreachable)
        )
        if not mendable or self._clock.seconds() >= self._until:
            if isinstance(error, NotSent):
                error = NoLeader()
            self._result.errback(error)
            return
        pause_s = self._pause_s * (0.5 + self._rng.random())
        self._call = self._clock.callLater(
            min(pause_s, self._until - self._clock.seconds() + 0.001), self._try
        )
