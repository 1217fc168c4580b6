"""The client for programs that run a Twisted reactor: the same calls, answered by Deferreds."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from OpenSSL import SSL
from twisted.internet import ssl
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, HTTPConnectionPool, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from pyconsul.client.blocking import BODY_MAX_BYTES, CONNECT_TIMEOUT_S
from pyconsul.client.call import Answer, Call, Response, ResponseError, TransportError
from pyconsul.client.endpoint import Endpoint
from pyconsul.errors import ConfigurationError, PyconsulError

T = TypeVar("T")
CONNECTIONS_MAX = 16


class Client:
    """Performs calls over a pool of connections.

    :param reactor: the one that runs.
    :param endpoint: where the agent is; what the environment says if not given.
    :param agent: Twisted's HTTP agent, to exchange it in tests.
    """

    def __init__(self, reactor: Any, endpoint: Endpoint | None = None, agent: IAgent | None = None) -> None:
        self.endpoint = endpoint or Endpoint.from_environment(os.environ)
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = CONNECTIONS_MAX
        self._agent: Any = agent or self._make_agent()

    def _make_agent(self) -> IAgent:
        end = self.endpoint
        if end.unix_path:
            made: IAgent = Agent.usingEndpointFactory(
                self._reactor, _UnixEndpoints(self._reactor, end.unix_path), self._pool
            )
            return made
        policy = _Policy(end) if end.scheme == "https" else _Policy(None)
        return Agent(self._reactor, policy, CONNECT_TIMEOUT_S, pool=self._pool)

    def close(self) -> Deferred[None]:
        """Close the connections that are idle."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed

    def do(self, call: Call[T]) -> Deferred[T]:
        """Perform a call; its value. Fails like ``pyconsul.client.blocking.Client.do`` raises."""
        return self.response(call).addCallback(call.decode)

    def ask(self, call: Call[T]) -> Deferred[Answer[T]]:
        """Perform a call; its value and the index to wait on."""
        return self.response(call).addCallback(lambda found: Answer(call.decode(found), found.headers))

    def response(self, call: Call[Any]) -> Deferred[Response]:
        """Perform a call; the answer as it came. It may be cancelled."""
        try:
            sent = self._send(call)
        except PyconsulError as error:
            return fail(error)
        found: Deferred[Response] = sent.addCallback(_collected)
        found.addTimeout(call.timeout_s, self._reactor, lambda _, __: self._late(call))
        found.addErrback(self._failed, call)
        return found

    def _send(self, call: Call[Any]) -> Deferred[IResponse]:
        headers = Headers()
        for name, value in self.endpoint.headers(call):
            if name != "Content-Length":  # Twisted writes its own
                headers.addRawHeader(name, value)
        body = _Body(call.body) if call.body else None
        sent: Deferred[IResponse] = self._agent.request(
            call.method.encode(), self.endpoint.url(call).encode(), headers, body
        )
        return sent

    def _late(self, call: Call[Any]) -> Any:
        raise TransportError("timed out waiting for the answer")

    def _failed(self, failure: Failure, call: Call[Any]) -> Any:
        """What went wrong, as our own error."""
        if failure.check(PyconsulError) and not failure.check(TransportError):
            return failure
        reasons = getattr(failure.value, "reasons", None)
        reason = reasons[0].getErrorMessage() if reasons else failure.getErrorMessage()
        where = f'{call.method.capitalize()} "{self.endpoint.url(call)}"'
        raise TransportError(f"{where}: {reason}") from None


def _collected(response: Any) -> Deferred[Response]:
    """The whole answer, once its body is there."""
    headers = {
        name.decode("latin-1").lower(): values[-1].decode("latin-1")
        for name, values in response.headers.getAllRawHeaders()
    }

    def cancel(_: Deferred[bytes]) -> None:
        collector.abort()

    collector = _Collector()
    collector.done = Deferred(cancel)
    response.deliverBody(collector)
    return collector.done.addCallback(
        lambda body: Response(response.code, response.phrase.decode("latin-1"), headers, body)
    )


class _Collector(Protocol):
    """Gathers a body up to the limit."""

    done: Deferred[bytes]

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > BODY_MAX_BYTES:
            self._end(lambda: self.done.errback(ResponseError("the answer is too long")))
            self.abort()
        else:
            self._parts.append(data)

    def connectionLost(self, reason: Failure | None = None) -> None:
        if reason is not None and reason.check(ResponseDone, PotentialDataLoss):
            self._end(lambda: self.done.callback(b"".join(self._parts)))
        else:
            self._end(lambda: self.done.errback(ResponseError("unexpected EOF")))

    def abort(self) -> None:
        """Break the connection."""
        transport: Any = self.transport
        stop = getattr(transport, "abortConnection", None) or getattr(transport, "stopProducing", None)
        if stop is not None:
            stop()

    def _end(self, how: Callable[[], None]) -> None:
        if not self.done.called:
            how()


@implementer(IBodyProducer)
class _Body:
    """A request body that is there as a whole."""

    def __init__(self, data: bytes) -> None:
        self._data, self.length = data, len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write everything at once."""
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to hold back."""

    def resumeProducing(self) -> None:
        """Nothing is left to write."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""


@implementer(IAgentEndpointFactory)
class _UnixEndpoints:
    """Every address is the same socket file."""

    def __init__(self, reactor: Any, path: str) -> None:
        self._reactor, self._path = reactor, path

    def endpointForURI(self, uri: URI) -> UNIXClientEndpoint:
        """The socket file."""
        return UNIXClientEndpoint(self._reactor, self._path, timeout=CONNECT_TIMEOUT_S)


@implementer(IPolicyForHTTPS)
class _Policy:
    """TLS with the certificates of an ``Endpoint``."""

    def __init__(self, endpoint: Endpoint | None) -> None:
        self._endpoint = endpoint

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        """How to connect to the agent; raises ``ConfigurationError`` for files that are no use."""
        end = self._endpoint or Endpoint()
        try:
            mine = _own_certificate(end)
            if not end.verify:
                return ssl.CertificateOptions() if mine is None else mine.options()
            trust = _trust_root(end)
        except (OSError, SSL.Error, ValueError) as error:
            raise ConfigurationError(f"Error in TLS files: {error}") from None
        name = end.server_name or hostname.decode("ascii")
        return ssl.optionsForClientTLS(name, trust, mine)


def _own_certificate(end: Endpoint) -> ssl.PrivateCertificate | None:
    if not end.client_cert:
        return None
    pem = _read(end.client_cert) + b"\n" + (_read(end.client_key) if end.client_key else b"")
    mine: ssl.PrivateCertificate = ssl.PrivateCertificate.loadPEM(pem)
    return mine


def _trust_root(end: Endpoint) -> Any:
    paths = [end.ca_file] if end.ca_file else []
    if end.ca_path:
        paths += [entry.path for entry in os.scandir(end.ca_path) if entry.is_file()]
    if not paths:
        return ssl.platformTrust()
    mark = b"-----BEGIN CERTIFICATE-----"
    pems = [mark + part for path in paths for part in _read(path).split(mark)[1:]]
    return ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(pem) for pem in pems])


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
