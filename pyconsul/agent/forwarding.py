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
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from pyconsul.agent.doubts import PING_TIMEOUT_S
from pyconsul.endpoints.base import Method
from pyconsul.endpoints.declared import DeclaredMethods
from pyconsul.errors import NoLeader, NoServers, NotSent, PyconsulError, Unreachable, from_code
from pyconsul.interfaces import RpcTransport

JITTER_FRACTION = 16
CALL_TIMEOUT_S = 30.0
PAUSING_MAX = 20_000
BLOCKING_GRACE_S = 10.0
QUERY_TIMES_S = (300.0, 600.0)
"""``default_query_time`` and ``max_query_time`` unless they are configured."""

FROM_AFAR = "rpc error making call: "

encode = msgspec.msgpack.Encoder(enc_hook=list).encode  # of what comes in lists


def blocking_time_s(
    request: Any, default_s: float = QUERY_TIMES_S[0], max_s: float = QUERY_TIMES_S[1]
) -> float:
    """For how long a blocking read may wait, without its random extra."""
    asked = getattr(request, "max_query_time", 0)
    wait_s: float = asked / 1e9 if asked > 0 else default_s
    return min(wait_s, max_s)


def _due_s(wait_s: float) -> float:
    """After how long a blocking read has to be answered."""
    return wait_s + wait_s / JITTER_FRACTION + BLOCKING_GRACE_S


def shared_time_s(wait_s: float) -> float:
    """How much longer than ``wait_s`` a blocking read waits at least, so that others may join it."""
    return wait_s / JITTER_FRACTION / 2


class Forwarder:
    """Calls an endpoint elsewhere.

    :param hold_s: how long to go on without a leader or server (``performance.rpc_hold_timeout``).
    :param times: the default and the longest wait of blocking reads, in seconds.
    """

    def __init__(
        self,
        transport: RpcTransport,
        clock: IReactorTime,
        rng: Random,
        hold_s: float,
        times: tuple[float, float] = QUERY_TIMES_S,
    ) -> None:
        self._transport = transport
        self.clock = clock
        self.rng = rng
        self.hold_s = hold_s
        self._times = times
        self._decoders: dict[Any, Callable[[bytes], Any]] = {}
        self.pausing: dict[_Persistence, None] = {}  # in order, so that a simulation repeats
        self.stopped = False

    def call(
        self, address: str, method: Method, request: Any, timeout_s: float = CALL_TIMEOUT_S
    ) -> Deferred[Any]:
        """One attempt; fires with the reply struct."""
        if getattr(request, "min_query_index", 0):
            timeout_s = _due_s(blocking_time_s(request, *self._times))
        answer: Deferred[Any] = self._transport.call(address, method.name, encode(request), timeout_s)
        decode = self._decoders.get(method.reply)
        if decode is None:
            decode = self._decoders[method.reply] = msgspec.msgpack.Decoder(method.reply).decode
        answer.addCallbacks(_decoded, _failed_afar, (decode, method.name))
        return answer

    def ping(self, address: str) -> Deferred[bool]:
        """Ask the server at ``address`` whether it lives."""
        method = DeclaredMethods()["Status.Ping"]
        return self.call(address, method, method.request(), PING_TIMEOUT_S)

    def abandon(self, address: str) -> None:
        """Expect no answer of a server that failed; see ``RpcTransport.abandon``."""
        self._transport.abandon(address)

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
        return _Persistence(self, lambda _: attempt(), is_read, failed, 0.0).begin()

    def persist_with(
        self,
        request: Any,
        attempt: Callable[[Any], Any],
        *,
        is_read: bool,
        failed: Callable[[Exception], None] = lambda e: None,
    ) -> Deferred[Any]:
        """The same; ``attempt`` is given ``request``, with what is left of its wait if it is a blocking read.

        Such a read may still go on elsewhere when the server at which it waited fails long after it began.
        """
        if not getattr(request, "min_query_index", 0):
            return self.persist(lambda: attempt(request), is_read=is_read, failed=failed)

        def again(left_s: float) -> Any:
            return attempt(msgspec.structs.replace(request, max_query_time=max(1, int(left_s * 1e9))))

        return _Persistence(self, again, is_read, failed, blocking_time_s(request, *self._times)).begin()

    def hurry(self) -> None:
        """There is a leader or a server now: let everybody who pauses try at once."""
        for persistence in list(self.pausing):
            persistence.hurry()

    def stop(self) -> None:
        """Pause for nobody any more: who waits makes a last attempt."""
        self.stopped = True
        self.hurry()


def from_afar(error: PyconsulError) -> PyconsulError:
    """The error as one that was made elsewhere, which Consul says of it, too."""
    if isinstance(error, Unreachable | NoLeader):
        return error
    return from_code(error.code, FROM_AFAR + str(error))


def _failed_afar(failure: Failure) -> Failure:
    error = failure.value
    return Failure(from_afar(error)) if isinstance(error, PyconsulError) else failure


def _decoded(reply: bytes, decode: Callable[[bytes], Any], name: str) -> Any:
    try:
        return decode(reply)
    except msgspec.MsgspecError as error:
        raise PyconsulError(f"cannot decode the reply of {name}: {error}") from None


class _Persistence:
    """One request and its attempts."""

    __slots__ = (
        "_attempt", "_call", "_due", "_failed", "_forwarder", "_inner", "_is_read", "_result", "_tried",
        "_until", "_waits_until",
    )  # fmt: skip

    def __init__(
        self,
        forwarder: Forwarder,
        attempt: Callable[[float], Any],
        is_read: bool,
        failed: Callable[[Exception], None],
        wait_s: float,
    ) -> None:
        self._forwarder = forwarder
        self._attempt = attempt
        self._is_read = is_read
        self._failed = failed
        self._tried = forwarder.clock.seconds()
        self._until = self._tried + forwarder.hold_s
        self._waits_until = self._tried + wait_s
        self._due = self._tried + _due_s(wait_s) if wait_s else 0.0
        self._result: Deferred[Any] = Deferred(self._cancel)
        self._inner: Deferred[Any] | None = None
        self._call: IDelayedCall | None = None

    def begin(self) -> Deferred[Any]:
        self._try()
        return self._result

    def hurry(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._try()

    def _cancel(self, _: object) -> None:
        self._forwarder.pausing.pop(self, None)
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._inner is not None:
            self._inner.cancel()

    def _try(self) -> None:
        self._call = None
        self._forwarder.pausing.pop(self, None)
        self._tried = now = self._forwarder.clock.seconds()
        try:
            answer = self._attempt(max(0.0, self._waits_until - now))
        except PyconsulError as error:
            self._again(error)
            return
        except Exception:  # a bug, but whoever waits has to hear of it
            self._result.errback()
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
        forwarder = self._forwarder
        now = forwarder.clock.seconds()
        if now - self._tried >= forwarder.hold_s and now < self._due:
            self._until = now + forwarder.hold_s  # it waited at a server that fails only now
        left_s = self._until - now
        hopeless = forwarder.stopped or len(forwarder.pausing) >= PAUSING_MAX
        if not mendable or left_s <= 0 or hopeless:
            if isinstance(error, NotSent):
                error = NoLeader()
            self._result.errback(error)
            return
        pause_s = forwarder.hold_s / JITTER_FRACTION * (0.5 + forwarder.rng.random())
        forwarder.pausing[self] = None
        self._call = forwarder.clock.callLater(min(pause_s, left_s + 0.001), self._try)
