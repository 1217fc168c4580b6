"""Checks that ask a gRPC server for its health: ``grpc.health.v1.Health/Check`` over HTTP/2.

Source: the gRPC health checking protocol and "gRPC over HTTP2"; texts as Consul 1.8.7 was seen to say.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import unquote

from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pyconsul.checks.definition import CheckType
from pyconsul.checks.dialing import dial, dial_problem, split_address
from pyconsul.checks.exchange import Broken
from pyconsul.checks.http2 import ALPN, Http2
from pyconsul.checks.outcome import Outcome
from pyconsul.checks.tls import CheckTls
from pyconsul.structs.catalog import CRITICAL, PASSING

METHOD = "/grpc.health.v1.Health/Check"
SERVING = 1
ANSWER_BYTES_MAX = 64 * 1024
FRAME_HEAD_BYTES = 5
OK, UNKNOWN, UNAVAILABLE = 0, 2, 14
CODES = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
    "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange",
    "Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated",
)  # fmt: skip
NOT_SERVING_TEXT = "gRPC application didn't report service healthy"


class GrpcProbe:
    """Passing if the server, or the service after the slash, says that it is serving."""

    def __init__(self, definition: CheckType, reactor: Any, tls: CheckTls) -> None:
        self._definition = definition
        self._address, _, self._service = definition.target.partition("/")
        self._reactor = reactor
        self._tls = tls

    def run(self) -> Deferred[Outcome]:
        """Ask."""
        return Deferred.fromCoroutine(self._ask())

    def timed_out(self) -> Outcome:
        """No answer."""
        return Outcome(CRITICAL, "rpc error: code = DeadlineExceeded desc = context deadline exceeded")

    async def _ask(self) -> Outcome:
        definition = self._definition
        call: _Call | None = None
        try:
            host, port = split_address(self._address)
            call = _Call(self._address, "https" if definition.tls else "http", self._service)
            creator = None
            if definition.tls:
                name = definition.tls_server_name or host
                creator = self._tls.creator(name, verify=not definition.tls_skip_verify, protocols=ALPN)
            await dial(self._reactor, host, port, call, creator)
        except Exception as error:
            why = dial_problem(Failure(error), self._address) or f"dial tcp: {error}"
            desc = f'connection error: desc = "transport: Error while dialing {why}"'
            return Outcome(CRITICAL, rpc_error(UNAVAILABLE, desc))
        try:
            answer: Answer = await call.done
        except Broken as broken:
            return Outcome(CRITICAL, rpc_error(UNAVAILABLE, str(broken)))
        if answer.code != OK:
            return Outcome(CRITICAL, rpc_error(answer.code, answer.message))
        if serving_status(answer.body) != SERVING:
            return Outcome(CRITICAL, NOT_SERVING_TEXT)
        return Outcome(PASSING, f"gRPC check {definition.target}: success")


class Answer(NamedTuple):
    """Status, what was said about it, and the message."""

    code: int
    message: str
    body: bytes


class _Call(Http2):
    """One unary call."""

    def __init__(self, authority: str, scheme: str, service: str) -> None:
        super().__init__()
        self._authority = authority
        self._scheme = scheme
        self._message = health_request(service)
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    def begin(self) -> None:
        """Send the question on the first stream."""
        headers = [
            (":method", "POST"),
            (":scheme", self._scheme),
            (":path", METHOD),
            (":authority", self._authority),
            ("content-type", "application/grpc"),
            ("user-agent", "pyconsul"),
            ("te", "trailers"),
        ]
        self.h2.send_headers(1, headers)
        self.h2.send_data(1, self._message, end_stream=True)

    def heard(self, event: Any) -> None:
        """A piece of the answer."""
        if isinstance(event, ResponseReceived | TrailersReceived):
            headers: Any = event.headers  # text, as the connection is told to give it
            self._headers.update(headers)
        elif isinstance(event, DataReceived):
            self._body += event.data
            if len(self._body) > ANSWER_BYTES_MAX:
                self.fail(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
        elif isinstance(event, StreamReset):
            self.fail(f"stream terminated by RST_STREAM with error code: {int(event.error_code)}")
        elif isinstance(event, StreamEnded):
            self.succeed(self._answer())

    def _answer(self) -> Answer:
        found = self._headers
        status = found.get("grpc-status", "")
        if status.isascii() and status.isdigit():
            return Answer(int(status), unquote(found.get("grpc-message", "")), bytes(self._body))
        http_status = found.get(":status", "")
        text = f"unexpected HTTP status code received from server: {http_status}"
        if http_status == "200":
            text = "server closed the stream without sending trailers"
        return Answer(UNKNOWN, text, b"")


def rpc_error(code: int, desc: str) -> str:
    """An error in the words of gRPC for Go."""
    name = CODES[code] if code < len(CODES) else f"Code({code})"
    return f"rpc error: code = {name} desc = {desc}"


def health_request(service: str) -> bytes:
    """A framed ``HealthCheckRequest``: field 1 is the service's name."""
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    return b"\0" + len(message).to_bytes(4, "big") + message


def serving_status(body: bytes) -> int:
    """Field 1 of a framed ``HealthCheckResponse``; 0 (unknown) if it is not there or makes no sense."""
    message = body[FRAME_HEAD_BYTES:]
    compressed = body[:1] != b"\0"
    if compressed or len(body) < FRAME_HEAD_BYTES or len(message) != int.from_bytes(body[1:5], "big"):
        return 0
    return message[1] if len(message) >= 2 and message[0] == 0x08 and message[1] < 0x80 else 0


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
