"""What a block of request headers says to us, worked out once per distinct block.

Clients send the same header block again and again, byte for byte. So the channel remembers what
llhttp made of it, and a request whose block is known needs no parser (see ``channel``).
"""

from __future__ import annotations

from collections.abc import Sequence

from pyconsul.late_patterns import compile_late

IDENTITY, GZIP, OTHER = 0, 1, -1
"""Which kept rendering of an answer a client may be sent; ``OTHER``: none, make one."""

_KNOWN = (b"keep-alive", b"close")
NAMESPACE_HEADER = b"x-consul-namespace"
_NO_SECONDS = compile_late(rb"(?:^|,)\s*(?:max-age|stale-if-error)=(?![+-]?[0-9]{1,18}\s*(?:,|$))")


class Facts:
    """The meaning of one header block.

    :ivar headers: as received, for the slow road; names in their original spelling.
    :ivar token: of ``X-Consul-Token``, else of ``Authorization: Bearer``; never to be logged.
    :ivar gzip: whether the client takes gzip.
    :ivar fresh: ``Cache-Control`` asks for an answer that is not kept.
    :ivar cache_fault: ``Cache-Control`` has seconds that are no number.
    :ivar plain: the answer depends on method, target and body alone, but for its rendering.
    :ivar variant: ``IDENTITY``, ``GZIP`` or ``OTHER``.
    :ivar problem: why the headers cannot be accepted; empty if they can.
    """

    __slots__ = (
        "cache_fault", "chunked", "expects_continue", "fresh", "gzip", "headers", "hosts", "keep", "length",
        "minor", "namespace", "odd", "plain", "problem", "status", "token", "variant",
    )  # fmt: skip

    def __init__(self, headers: Sequence[tuple[bytes, bytes]], minor: int = 1, keep: bool = True) -> None:
        self.headers = headers
        self.minor = minor
        self.keep = keep
        self.token = ""
        self.namespace = False
        self.gzip = False
        self.fresh = False
        self.cache_fault = False
        self.length = 0
        self.chunked = False
        self.expects_continue = False
        self.odd = False
        self.problem = ""
        self.status = 400
        self.hosts = 0
        self._learn()
        self.plain = not (self.token or self.fresh or self.namespace or self.cache_fault)
        self.variant = (GZIP if self.gzip else IDENTITY) if self.plain and keep and minor == 1 else OTHER

    def _learn(self) -> None:
        bearer = ""
        for name, value in self.headers:
            name = name.lower()
            if name == b"host":
                self.hosts += 1
            elif name == b"x-consul-token":
                self.token = self.token or value.decode("utf-8", "replace").strip()
            elif name == b"authorization":
                bearer = bearer or _bearer(value)
            elif name == b"accept-encoding":
                self.gzip = self.gzip or _takes_gzip(value)
            elif name == b"cache-control":
                value = value.lower()
                self.fresh = b"max-age=0" in value or b"no-cache" in value or b"must-revalidate" in value
                self.cache_fault = _NO_SECONDS.search(value) is not None
            elif name == NAMESPACE_HEADER:
                self.namespace = True
            elif name == b"content-length":
                self.length = int(value)
            elif name == b"transfer-encoding":
                self.chunked = self.odd = True
            elif name == b"expect":
                self.odd = True
                self.expects_continue = value.strip().lower() == b"100-continue"
                if not self.expects_continue:
                    self.problem, self.status = "417 Expectation Failed", 417
            elif name == b"upgrade" or name == b"connection" and value.strip().lower() not in _KNOWN:
                self.odd = True
        self.token = self.token or bearer
        if self.minor == 1 and self.hosts != 1:
            count = "too many Host headers" if self.hosts else "missing required Host header"
            self.problem = f"400 Bad Request: {count}"

    @property
    def accept(self) -> str:
        """``Accept``, as given; empty if it is not."""
        values = (value for name, value in self.headers if name.lower() == b"accept")
        return next(values, b"").decode("latin-1")

    @property
    def repeatable(self) -> bool:
        """Whether a request with the same block may be read without llhttp."""
        return not self.odd and not self.problem and self.minor == 1


def _bearer(value: bytes) -> str:
    scheme, _, rest = value.decode("utf-8", "replace").strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else ""


def _takes_gzip(value: bytes) -> bool:
    for coding in value.lower().split(b","):
        name, _, parameters = coding.partition(b";")
        if name.strip() == b"gzip":
            weight = parameters.replace(b" ", b"").removeprefix(b"q=")
            return weight not in (b"0", b"0.0", b"0.00", b"0.000")
    return False
