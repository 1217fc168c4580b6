"""A client that waits. It speaks just as much HTTP/1.1 as an agent answers with."""

from __future__ import annotations

import _socket as socket  # the half that is in C; importing the other costs more than a request

from pyconsul.client.call import Answer, Call, Response, ResponseError, TransportError
from pyconsul.client.endpoint import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from ssl import SSLSocket
    from types import TracebackType
    from typing import Any, TypeVar

    T = TypeVar("T")

CONNECT_TIMEOUT_S = 10.0
HEAD_MAX_BYTES = 65536
BODY_MAX_BYTES = 1 << 30
_CHUNK = 65536


class Client:
    """Performs calls over one connection, which is kept for the next call. Not for several threads."""

    def __init__(self, endpoint: Endpoint | None = None) -> None:
        if endpoint is None:
            import os

            endpoint = Endpoint.from_environment(os.environ)
        self.endpoint = endpoint
        self._connection: _Connection | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def do(self, call: Call[T]) -> T:
        """Perform a call; its value.

        Raises ``UnexpectedResponse`` if the agent refuses, ``TransportError`` if it cannot be
        reached, ``ResponseError`` if its answer makes no sense.
        """
        return call.decode(self.response(call))

    def ask(self, call: Call[T]) -> Answer[T]:
        """Perform a call; its value and the index to wait on."""
        response = self.response(call)
        return Answer(call.decode(response), response.headers)

    def response(self, call: Call[Any]) -> Response:
        """Perform a call; the answer as it came."""
        reused = self._connection is not None
        try:
            return self._exchange(call)
        except _Stale:
            if not reused:
                raise self._failed(call, "EOF") from None
        try:  # the agent had closed the connection that we kept
            return self._exchange(call)
        except _Stale:
            raise self._failed(call, "EOF") from None

    def stream(self, call: Call[Any]) -> Iterator[bytes]:
        """Perform a call; the body piece by piece, as long as the agent sends.

        ``call.timeout_s`` counts for each piece. Raises like ``do``.
        """
        connection = self._connect(call)
        try:
            connection.set_timeout(call.timeout_s)
            connection.send(self._request(call))
            status, reason, headers = connection.head()
            if status != 200:
                call.decode(Response(status, reason, headers, b"".join(connection.body(headers))))
            yield from connection.body(headers)
        except (OSError, _Stale) as error:
            raise self._failed(call, _reason(error)) from None
        finally:
            connection.close()

    # ------------------------------------------------------------ one exchange

    def _exchange(self, call: Call[Any]) -> Response:
        connection = self._connection or self._connect(call)
        self._connection = None
        try:
            connection.set_timeout(call.timeout_s)
            connection.send(self._request(call))
            status, reason, headers = connection.head()
            body = b"".join(connection.body(headers, call.method == "HEAD" or status in (204, 304)))
        except TimeoutError:
            connection.close()
            raise self._failed(call, "timed out waiting for the answer") from None
        except (ConnectionError, BrokenPipeError):
            connection.close()
            raise _Stale from None
        except OSError as error:
            connection.close()
            raise self._failed(call, _reason(error)) from None
        except BaseException:
            connection.close()
            raise
        if connection.reusable(headers):
            self._connection = connection
        else:
            connection.close()
        return Response(status, reason, headers, body)

    def _request(self, call: Call[Any]) -> bytes:
        lines = [f"{call.method} {call.target()} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.endpoint.headers(call)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + call.body

    def _connect(self, call: Call[Any]) -> _Connection:
        end = self.endpoint
        try:
            plain = _opened(end)
            wire = _encrypted(plain, end) if end.scheme == "https" else plain
        except OSError as error:
            where = f"unix {end.unix_path}" if end.unix_path else f"tcp {end.host}:{end.port}"
            step = "" if hasattr(error, "library") else f"dial {where}: connect: "  # TLS comes after that
            raise self._failed(call, step + _reason(error)) from None
        return _Connection(wire)

    def _failed(self, call: Call[Any], reason: str) -> TransportError:
        return TransportError(f'{call.method.capitalize()} "{self.endpoint.url(call)}": {reason}')


def _opened(end: Endpoint) -> socket.socket:
    """A connected socket; raises ``OSError``."""
    if end.unix_path:
        return _connected(socket.AF_UNIX, end.unix_path)
    host = end.host.encode("ascii" if end.host.isascii() else "idna")  # a str would load the codec
    failure: OSError | None = None
    for family, _, _, _, address in socket.getaddrinfo(host, end.port, 0, socket.SOCK_STREAM):
        try:
            plain = _connected(family, address)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return plain
        except OSError as error:
            failure = error
    raise failure or OSError("no such host")


def _connected(family: int, address: Any) -> socket.socket:
    plain = socket.socket(family, socket.SOCK_STREAM)
    try:
        plain.settimeout(CONNECT_TIMEOUT_S)
        plain.connect(address)
    except BaseException:
        plain.close()
        raise
    return plain


def _encrypted(plain: socket.socket, end: Endpoint) -> SSLSocket:
    import socket as whole

    outer = whole.socket(fileno=plain.detach())
    outer.settimeout(CONNECT_TIMEOUT_S)
    try:
        return end.tls_context().wrap_socket(outer, server_hostname=end.server_name or end.host)
    except BaseException:
        outer.close()
        raise


class _Stale(Exception):
    """The connection ended before the answer began."""


def _reason(error: BaseException) -> str:
    number = getattr(error, "verify_code", 0)
    if number:  # the peer's certificate is not good
        if number in _UNKNOWN_AUTHORITY:
            return "x509: certificate signed by unknown authority"
        return f"x509: {str(getattr(error, 'verify_message', 'certificate is not valid')).rstrip('.')}"
    reason = getattr(error, "reason", None)
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return "http: server gave HTTP response to HTTPS client"
    if isinstance(reason, str) and "ALERT" in reason:
        return f"remote error: tls: {reason.partition('ALERT_')[2].lower().replace('_', ' ')}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).lower() or "EOF"


_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)
"""Numbers of OpenSSL's that all mean this."""


class _Connection:
    """A socket and what was read from it beyond what was asked for."""

    def __init__(self, wire: socket.socket | SSLSocket) -> None:
        self._socket = wire
        self._left = b""

    def set_timeout(self, seconds: float) -> None:
        self._socket.settimeout(seconds)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        self._socket.close()

    def head(self) -> tuple[int, str, dict[str, str]]:
        """Status, reason and headers of the next answer that is not an interim one."""
        while True:
            while (end := self._left.find(b"\r\n\r\n")) < 0:
                if len(self._left) > HEAD_MAX_BYTES:
                    raise ResponseError("the answer's head is too long")
                data = self._socket.recv(_CHUNK)
                if not data:
                    if self._left:
                        raise ResponseError("the answer ends in its head")
                    raise _Stale
                self._left += data
            head, self._left = self._left[:end].decode("latin-1"), self._left[end + 4 :]
            first, *lines = head.split("\r\n")
            version, _, rest = first.partition(" ")
            code, _, reason = rest.partition(" ")
            if not version.startswith("HTTP/1.") or not code.isdecimal():
                raise ResponseError("the answer is not HTTP")
            if int(code) >= 200:
                break
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return int(code), reason, headers

    def reusable(self, headers: dict[str, str]) -> bool:
        """Whether the next request may go over this connection."""
        framed = "content-length" in headers or "transfer-encoding" in headers
        return framed and headers.get("connection", "").lower() != "close"

    def body(self, headers: dict[str, str], empty: bool = False) -> Iterator[bytes]:
        """The body, piece by piece."""
        if empty:
            return
        if headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunked()
            return
        text = headers.get("content-length")
        if text is None:
            yield from self._to_the_end()
            return
        if not text.isdecimal() or int(text) > BODY_MAX_BYTES:
            raise ResponseError("the answer has no sensible length")
        yield from self._exactly(int(text))

    def _to_the_end(self) -> Iterator[bytes]:
        total = 0
        while data := self._some():
            total += len(data)
            if total > BODY_MAX_BYTES:
                raise ResponseError("the answer is too long")
            yield data

    def _some(self) -> bytes:
        if self._left:
            data, self._left = self._left, b""
            return data
        return self._socket.recv(_CHUNK)

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            data = self._some()
            if not data:
                raise ResponseError("unexpected EOF")
            if len(data) > size:
                data, self._left = data[:size], data[size:]
            size -= len(data)
            yield data

    def _line(self) -> bytes:
        while (end := self._left.find(b"\r\n")) < 0:
            if len(self._left) > HEAD_MAX_BYTES:
                raise ResponseError("a line of the answer is too long")
            data = self._socket.recv(_CHUNK)
            if not data:
                raise ResponseError("unexpected EOF")
            self._left += data
        line, self._left = self._left[:end], self._left[end + 2 :]
        return line

    def _chunked(self) -> Iterator[bytes]:
        while True:
            try:
                size = int(self._line().partition(b";")[0], 16)
            except ValueError:
                raise ResponseError("malformed chunk in the answer") from None
            if not 0 <= size <= BODY_MAX_BYTES:
                raise ResponseError("malformed chunk in the answer")
            if size == 0:
                while self._line():  # trailers
                    pass
                return
            yield from self._exactly(size)
            self._line()
