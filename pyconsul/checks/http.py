"""Checks that make an HTTP request. Texts and headers are those that Consul 1.8.7 was seen to send."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from pyconsul.checks.definition import CheckType
from pyconsul.checks.dialing import dial, dial_problem
from pyconsul.checks.exchange import Broken, Exchange, Reply, is_token, request_bytes
from pyconsul.checks.outcome import Outcome
from pyconsul.checks.tls import CheckTls
from pyconsul.structs.catalog import CRITICAL, PASSING, WARNING

USER_AGENT = "Consul Health Check"
ACCEPT = "text/plain, text/*, */*"
REDIRECTS_MAX = 10
TOO_MANY_REQUESTS = 429
SEE_OTHER = (301, 302, 303)
REDIRECTS = (*SEE_OTHER, 307, 308)
PORTS = {"http": 80, "https": 443}
SAFE = "%/:=&?~#+!$,;'@()*[]"
SECRET = ("authorization", "cookie", "www-authenticate")
"""Headers that do not follow a redirect to another host."""


class Place(NamedTuple):
    """What a URL means: where to connect, what to ask for, and what to call the host."""

    scheme: str
    host: str
    port: int
    netloc: str
    target: str
    credentials: str


def place(url: str) -> Place:
    """Take a URL apart.

    :raises ValueError: in Go's words.
    """
    if "://" not in url:
        colon = ":" in url.partition("/")[0]
        why = "first path segment in URL cannot contain colon" if colon else "missing protocol scheme"
        if url.startswith(":"):
            why = "missing protocol scheme"
        raise ValueError(f'parse "{url}": {why}')
    parts = urlsplit(quote(url, safe=SAFE))
    credentials, _, netloc = parts.netloc.rpartition("@")
    try:
        port = parts.port
    except ValueError as error:
        number = netloc.rpartition(":")[2]
        if number.isdigit():
            raise ValueError(f'{_verb("GET")} "{url}": dial tcp: address {number}: invalid port') from error
        raise ValueError(f'parse "{url}": invalid port ":{number}" after host') from error
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(
        parts.scheme.lower(),
        parts.hostname or "",
        port or PORTS.get(parts.scheme.lower(), 0),
        netloc,
        target,
        unquote(credentials),
    )


def _verb(method: str) -> str:
    return method[:1].upper() + method[1:].lower()


class HttpProbe:
    """2xx is passing, 429 warning, anything else critical. Redirects are followed.

    As in Consul a body that ends early, or not in time, changes nothing: the code has been heard.
    """

    def __init__(self, definition: CheckType, reactor: Any, tls: CheckTls) -> None:
        self._definition = definition
        self._reactor = reactor
        self._tls = tls
        self._problem = ""
        try:
            self._place: Place | None = place(definition.target)
        except ValueError as error:
            self._place, self._problem = None, str(error)
        if not is_token(definition.method):
            self._problem = f'net/http: invalid method "{definition.method}"'
        elif odd := [name for name in definition.header if not is_token(name)]:
            self._problem = self._failed(f'net/http: invalid header field name "{odd[0]}"')
        self._exchange: Exchange | None = None

    def run(self) -> Deferred[Outcome]:
        """Ask."""
        self._exchange = None
        if self._problem or self._place is None:
            return succeed(Outcome(CRITICAL, self._problem))
        return Deferred.fromCoroutine(self._ask(self._place))

    def timed_out(self) -> Outcome:
        """No answer, or not all of it."""
        if self._exchange is not None and self._exchange.reply is not None:
            return self._outcome(self._exchange.reply)
        why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        return Outcome(CRITICAL, self._failed(why))

    async def _ask(self, where: Place) -> Outcome:
        definition = self._definition
        method, body = definition.method, definition.body.encode()
        url, referer, first = definition.target, "", where
        for _ in range(REDIRECTS_MAX):
            try:
                reply = await self._exchanged(where, method, body, referer, where.netloc == first.netloc)
            except Broken as broken:
                return Outcome(CRITICAL, self._failed(str(broken), url))
            if not definition.redirects or reply.code not in REDIRECTS:
                return self._outcome(reply)
            if not reply.location:
                return Outcome(CRITICAL, self._failed(f"{reply.code} response missing Location header", url))
            referer = "" if where.scheme == "https" else f"{where.scheme}://{where.netloc}{where.target}"
            url = urljoin(url, reply.location)
            try:
                where = place(url)
            except ValueError as error:
                return Outcome(CRITICAL, self._failed(str(error), url))
            if reply.code in SEE_OTHER and method not in ("GET", "HEAD"):
                method, body = "GET", b""
        return Outcome(CRITICAL, self._failed(f"stopped after {REDIRECTS_MAX} redirects", url))

    async def _exchanged(self, where: Place, method: str, body: bytes, referer: str, home: bool) -> Reply:
        """One request and its answer; raises ``Broken``."""
        definition = self._definition
        if where.scheme not in PORTS:
            raise Broken(f'unsupported protocol scheme "{where.scheme}"')
        if not where.host:
            raise Broken("http: no Host in request URL")
        request = request_bytes(method, where.target, self._headers(where, referer, home), body)
        exchange = Exchange(request, method == "HEAD", definition.output_bytes_max)
        try:
            creator = None
            if where.scheme == "https":
                name = definition.tls_server_name or where.host
                creator = self._tls.creator(name, verify=not definition.tls_skip_verify)
            await dial(self._reactor, where.host, where.port, exchange, creator)
        except Exception as error:
            why = dial_problem(Failure(error), f"{where.host}:{where.port}")
            raise Broken(why or str(error) or type(error).__name__) from None
        self._exchange = exchange
        return await exchange.done

    def _headers(self, where: Place, referer: str, home: bool) -> dict[str, list[str]]:
        """Those of the definition, with defaults for what it leaves out.

        :param home: this is still the host that the definition names.
        """
        given = self._definition.header
        names = {name.lower() for name in given}
        host = next((given[name][:1] for name in given if name.lower() == "host"), []) if home else []
        headers = {"Host": host or [where.netloc]}
        for name, default in (("User-Agent", USER_AGENT), ("Accept", ACCEPT), ("Referer", referer)):
            if default and name.lower() not in names:
                headers[name] = [default]
        if where.credentials and "authorization" not in names:
            headers["Authorization"] = [f"Basic {b64encode(where.credentials.encode()).decode()}"]
        for name, values in given.items():
            lower = name.lower()
            if lower not in ("host", "content-length", "connection") and (home or lower not in SECRET):
                headers[name] = list(values)
        return headers

    def _outcome(self, reply: Reply) -> Outcome:
        definition = self._definition
        code = reply.code
        status = f"{code} {reply.phrase}".rstrip()
        output = f"HTTP {definition.method} {definition.target}: {status} Output: {reply.body.text()}"
        if 200 <= code < 300:
            return Outcome(PASSING, output)
        return Outcome(WARNING if code == TOO_MANY_REQUESTS else CRITICAL, output)

    def _failed(self, why: str, url: str = "") -> str:
        return f'{_verb(self._definition.method)} "{url or self._definition.target}": {why}'
