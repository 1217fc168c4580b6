"""An HTTP server with answers prepared, for tests of what asks an agent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from types import TracebackType

ADDRESS = "127.0.24.20"


def response(status: int = 200, body: bytes = b"", headers: str = "", reason: str = "X") -> bytes:
    """The bytes of an answer with a length."""
    return f"HTTP/1.1 {status} {reason}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


class CannedServer:
    """Gives each request the next answer; ``None`` as an answer closes the connection instead.

    :ivar requests: what came, each as a whole.
    """

    def __init__(self, answers: Sequence[bytes | None], listener: socket.socket | None = None) -> None:
        self.requests: list[bytes] = []
        self._answers = list(answers)
        self._listener = listener or socket.create_server((ADDRESS, 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """``host:port``."""
        host, port = self._listener.getsockname()[:2]
        return f"{host}:{port}"

    def __enter__(self) -> CannedServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and wait for the thread."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self._thread.join(5)

    @property
    def lines(self) -> list[str]:
        """The request lines, without the version."""
        return [request.split(b"\r\n")[0].rpartition(b" ")[0].decode() for request in self.requests]

    @property
    def bodies(self) -> list[bytes]:
        """The bodies of the requests."""
        return [request.partition(b"\r\n\r\n")[2] for request in self.requests]

    def header(self, name: str, number: int = 0) -> str | None:
        """A header of a request, ``None`` if it is not there."""
        for line in self.requests[number].partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]:
            if line.lower().startswith(name.lower() + ": "):
                return line.partition(": ")[2]
        return None

    def _serve(self) -> None:
        while self._answers:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    while self._answers and self._one(connection):
                        pass
                except OSError:
                    pass

    def _one(self, connection: socket.socket) -> bool:
        """Answer one request; whether the connection goes on."""
        request = b""
        while b"\r\n\r\n" not in request:
            data = connection.recv(65536)
            if not data:
                return False
            request += data
        head, _, body = request.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        while len(body) < length:
            body += connection.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + body)
        answer = self._answers.pop(0)
        if answer is None:
            return False
        connection.sendall(answer)
        head = answer.partition(b"\r\n\r\n")[0].lower()
        framed = b"content-length" in head or b"chunked" in head
        return framed and b"connection: close" not in head
