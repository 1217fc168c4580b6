"""Checks that make an HTTP request."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    FileBodyProducer,
    HTTPConnectionPool,
    ResponseDone,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IPolicyForHTTPS
from zope.interface import implementer

from pyconsul.checks.definition import CheckType
from pyconsul.checks.outcome import Outcome, Tail
from pyconsul.checks.tcp import dial_problem
from pyconsul.structs.catalog import CRITICAL, PASSING, WARNING

USER_AGENT = "Consul Health Check"
ACCEPT = "text/plain, text/*, */*"
REDIRECTS_MAX = 10
TOO_MANY_REQUESTS = 429
_SEE_OTHER = (301, 302, 303)
_REDIRECTS = (*_SEE_OTHER, 307, 308)
_URL_SAFE = "%/:=&?~#+!$,;'@()*[]"
PORTS = {"http": 80, "https": 443}


class HttpProbe:
    """2xx is passing, 429 warning, anything else critical. Redirects are followed.

    :param agent: makes the requests; by default one without connections that are kept.
    """

    def __init__(self, definition: CheckType, reactor: Any, agent: IAgent | None = None) -> None:
        self._definition = definition
        if agent is None:
            policy = Unverified() if definition.tls_skip_verify else BrowserLikePolicyForHTTPS()
            agent = Agent(
                reactor,
                policy,
                connectTimeout=definition.timeout_s,
                pool=HTTPConnectionPool(reactor, persistent=False),
            )
        self._agent = agent

    def run(self) -> Deferred[Outcome]:
        """Ask."""
        definition = self._definition
        url = quote(definition.http, safe=_URL_SAFE)
        if not urlsplit(url).scheme or "://" not in url:
            text = f'parse "{definition.http}": missing protocol scheme'
            return succeed(Outcome(CRITICAL, text))
        return Deferred.fromCoroutine(self._ask(url, definition.method, definition.body.encode()))

    def timed_out(self) -> Outcome:
        """No answer, or not all of it."""
        return self._problem("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")

    async def _ask(self, url: str, method: str, body: bytes) -> Outcome:
        address = ""
        try:
            for _ in range(REDIRECTS_MAX):
                address = _address(url)
                response: Any = await self._request(url, method, body)
                location = response.headers.getRawHeaders(b"location")
                if response.code not in _REDIRECTS or not location:
                    return await self._outcome(response)
                response.deliverBody(_Unwanted())
                url = urljoin(url, location[0].decode("latin-1"))
                if response.code in _SEE_OTHER and method not in ("GET", "HEAD"):
                    method, body = "GET", b""
        except Exception as error:
            failure = Failure(error)
            return self._problem(dial_problem(failure, address) or _reason(error))
        return self._problem(f"stopped after {REDIRECTS_MAX} redirects")

    def _request(self, url: str, method: str, body: bytes) -> Deferred[Any]:
        request: Deferred[Any] = self._agent.request(
            method.encode(),
            url.encode(),
            request_headers(self._definition.header),
            FileBodyProducer(BytesIO(body)) if body else None,
        )
        return request

    async def _outcome(self, response: Any) -> Outcome:
        definition = self._definition
        tail = Tail(definition.output_bytes_max)
        done: Deferred[None] = Deferred(lambda _: body.abort())
        body = _Body(tail, done)
        response.deliverBody(body)
        await done
        code = response.code
        phrase = response.phrase.decode("latin-1")
        output = f"HTTP {definition.method} {definition.http}: {code} {phrase} Output: {tail.text()}"
        if 200 <= code < 300:
            return Outcome(PASSING, output)
        return Outcome(WARNING if code == TOO_MANY_REQUESTS else CRITICAL, output)

    def _problem(self, why: str) -> Outcome:
        definition = self._definition
        return Outcome(CRITICAL, f'{definition.method.capitalize()} "{definition.http}": {why}')


def request_headers(given: Mapping[str, list[str]]) -> Headers:
    """The headers of the definition, with defaults for those that it leaves out."""
    headers = Headers()
    for name, values in given.items():
        headers.setRawHeaders(name, list(values))
    for name, value in (("User-Agent", USER_AGENT), ("Accept", ACCEPT)):
        if not headers.hasHeader(name):
            headers.setRawHeaders(name, [value])
    return headers


def _address(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or PORTS.get(parts.scheme, 0)}"


def _reason(error: Exception) -> str:
    """What went wrong below HTTP."""
    reasons = getattr(error, "reasons", None)
    if reasons:
        inner = reasons[0].value
        return str(inner) or type(inner).__name__
    return str(error) or type(error).__name__


class _Body(Protocol):
    """Keeps the end of a body.

    :param done: fires when all of it has come.
    """

    def __init__(self, tail: Tail, done: Deferred[None]) -> None:
        self._tail = tail
        self._done: Deferred[None] | None = done

    def dataReceived(self, data: bytes) -> None:
        self._tail.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        done, self._done = self._done, None
        if done is None:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            done.callback(None)
        else:
            done.errback(reason)

    def abort(self) -> None:
        """Wait for no more of it."""
        self._done = None
        _close(self.transport)


class _Unwanted(Protocol):
    """Closes the connection instead of reading a body."""

    def connectionMade(self) -> None:
        _close(self.transport)


def _close(transport: Any) -> None:
    if transport is not None and hasattr(transport, "loseConnection"):
        transport.loseConnection()


@implementer(IPolicyForHTTPS)
class Unverified:
    """Takes any certificate, which is what ``tls_skip_verify`` asks for."""

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        """Makes connections to one host."""
        return _UnverifiedConnections(hostname)


@implementer(IOpenSSLClientConnectionCreator)
class _UnverifiedConnections:
    def __init__(self, hostname: bytes) -> None:
        self._hostname = hostname
        self._context = CertificateOptions(verify=False).getContext()

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_tlsext_host_name(self._hostname)
        return connection
