"""One request as an endpoint sees it: parameters, token, body; nothing of the connection.

Everything is parsed when it is asked for. Most reads have no query string and pay nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias
from urllib.parse import unquote_plus

from msgspec import Struct

from pyconsul.errors import BadRequest, Refused
from pyconsul.late_patterns import compile_late
from pyconsul.structs.durations import parse_ns

if TYPE_CHECKING:
    from pyconsul.http.answer import Answer
    from pyconsul.http.cache import Kept
    from pyconsul.http.facts import Facts
    from pyconsul.interfaces import Joining, Waiter
    from pyconsul.structs.metrics import Durations

    Shape = Callable[[Any], Answer]

Body: TypeAlias = "bytes | BinaryIO"
"""Of a request: all of it, or the file that it is in."""
INDEX_MAX = (1 << 64) - 1
NO_PARAMETERS: Mapping[str, list[str]] = {}

_DIGITS = compile_late(r"[0-9]+", re.ASCII)
_BAD_ESCAPE = compile_late(rb"%(?![0-9A-Fa-f]{2})")
_TRUE = {"1", "t", "T", "TRUE", "true", "True"}
_FALSE = {"0", "f", "F", "FALSE", "false", "False"}
_NO_QUESTION = {"cached", "stale", "max_stale", "index", "wait", "pretty", "passing"}
NAMESPACES = "Namespaces are a Consul Enterprise feature"


def _not_asked(reply: Any) -> Answer:
    raise AssertionError("nothing was asked")


class Query(Struct, eq=False):
    """The parameters of one request.

    :ivar target: as received: path and query string.
    :ivar peer: the client's address in text form; empty for a UNIX socket.
    :ivar kept: the place for the answer, which is the read's watcher; ``None`` if it is not kept.
    :ivar rule: of the route that answers it.
    :ivar timing: of that route; told of the time since ``begun`` once there is an answer.
    :ivar may_keep: the answer depends on the target and the store alone (set by ``reads.read``).
    :ivar joining: says for how long others that ask the same may join; ``None``: nobody may.
    :ivar file: the body instead, from its beginning, if it was collected in a file (``Route.as_file``).
    :ivar has_parameters: there is a query string.
    :ivar waiter: who is told of a reply that comes later, and then makes it an answer with ``shape``;
        ``None`` if that takes a Deferred.
    """

    method: bytes
    target: bytes
    facts: Facts
    body: bytes
    peer: str = ""
    node_name: str = ""
    waiter: Waiter | None = None
    file: BinaryIO | None = None
    rule: str = ""
    timing: Durations | None = None
    begun: float = 0.0
    kept: Kept | None = None
    may_keep: bool = False
    joining: Joining | None = None
    shape: Shape = _not_asked
    has_parameters: bool = False
    _parameters: Mapping[str, list[str]] | None = None

    def __post_init__(self) -> None:
        if b"?" in self.target:
            self.has_parameters = True
        else:
            self._parameters = NO_PARAMETERS

    # ------------------------------------------------------------ parameters

    @property
    def parameters(self) -> Mapping[str, list[str]]:
        """All values by name, in the order given."""
        found = self._parameters
        return self.parse() if found is None else found

    def parse(self) -> Mapping[str, list[str]]:
        """The same; also called where nothing of it may be wanted, for a query string that is broken.

        :raises BadRequest: for a broken escape, once: there are no parameters then.
        """
        if self._parameters is None:
            self._parameters = NO_PARAMETERS
            self._parameters = parse_query(self.target.partition(b"?")[2])
        return self._parameters

    def has(self, name: str) -> bool:
        """Whether ``name`` is given, with any value or none."""
        return name in self.parameters

    def get(self, name: str) -> str:
        """The first value of ``name``, or an empty string."""
        values = self.parameters.get(name)
        return values[0] if values else ""

    def all(self, name: str) -> list[str]:
        """Every value of ``name``."""
        return self.parameters.get(name, [])

    def unsigned(self, name: str) -> int:
        """``name`` as an unsigned number of 64 bits; raises what Consul answers to anything else."""
        value = self.get(name)
        if not _DIGITS.fullmatch(value):
            raise Refused(f'strconv.ParseUint: parsing "{value}": invalid syntax')
        number = int(value[:100])
        if number > INDEX_MAX:
            raise Refused(f'strconv.ParseUint: parsing "{value}": value out of range')
        return number

    def flag(self, name: str) -> bool | None:
        """``name`` as a truth value: given bare counts as true; ``None`` if it is something else."""
        value = self.get(name)
        if value in _TRUE or (not value and self.has(name)):
            return True
        return False if value in _FALSE or not value else None

    @property
    def token(self) -> str:
        """The first token that is not empty: ``?token=``, ``X-Consul-Token``, Bearer."""
        return self.get("token") or self.facts.token

    @property
    def wants_pretty(self) -> bool:
        """``?pretty``, with any value; not of a query string that is broken."""
        try:
            return self.has_parameters and "pretty" in self.parameters
        except BadRequest:
            return False

    @property
    def wants_cached(self) -> bool:
        """``?cached``: an answer of this agent's cache will do."""
        return "cached" in self.parameters

    def question(self) -> str:
        """What Consul's cache goes by: not how consistent an answer has to be, nor how it is shown."""
        asked = sorted((name, values) for name, values in self.parameters.items() if name not in _NO_QUESTION)
        return f"{self.target.partition(b'?')[0].decode('latin-1')} {asked}"

    # ------------------------------------------------------------ what requests carry

    def options(self) -> dict[str, Any]:
        """Fields of ``QueryOptions`` and ``datacenter`` for a read, those that differ from their default.

        :raises BadRequest: for values that cannot be, or that contradict each other.
        """
        options: dict[str, Any] = {}
        if self.parameters or not self.facts.plain:
            self._reading(options)
        return options

    def _reading(self, options: dict[str, Any]) -> None:
        given = self.parameters
        if self.facts.cache_fault:
            raise BadRequest("Invalid Cache-Control header.")
        if token := self.token:
            options["token"] = token
        if "index" in given or "wait" in given:
            self._blocking(options)
        self._mode(options)
        if expression := self.get("filter"):
            options["filter"] = expression
        if datacenter := self.get("dc"):
            options["datacenter"] = datacenter

    def waiting(self) -> dict[str, Any]:
        """The fields of ``QueryOptions`` that say what to wait for and how long, and no others.

        :raises BadRequest: for values that cannot be.
        """
        options: dict[str, Any] = {}
        if self.has_parameters:
            self._blocking(options)
        return options

    def mode(self) -> dict[str, Any]:
        """The fields of ``QueryOptions`` that say how consistent an answer has to be, and no others.

        :raises BadRequest: if they contradict each other.
        """
        options: dict[str, Any] = {}
        if self.facts.cache_fault:
            raise BadRequest("Invalid Cache-Control header.")
        if self.has_parameters:
            self._mode(options)
        return options

    def _mode(self, options: dict[str, Any]) -> None:
        given = self.parameters
        stale, consistent = "stale" in given, "consistent" in given
        if "cached" in given and consistent:
            raise BadRequest("Cannot specify ?cached with ?consistent, conflicting semantics.")
        if limit := self.get("max_stale"):
            try:
                options["max_stale_duration"] = parse_ns(limit)
            except ValueError:
                raise BadRequest(f'Invalid max_stale value "{limit}"') from None
            stale = True
        if stale and consistent:
            raise BadRequest("Cannot specify ?stale with ?consistent, conflicting semantics.")
        if stale:
            options["allow_stale"] = True
        elif consistent:
            options["require_consistent"] = True

    def _blocking(self, options: dict[str, Any]) -> None:
        if wait := self.get("wait"):
            try:
                duration = parse_ns(wait)
            except ValueError:
                raise BadRequest("Invalid wait time") from None
            options["max_query_time"] = max(0, duration)
        if index := self.get("index"):
            if not _DIGITS.fullmatch(index) or len(index) > 20 or int(index) > INDEX_MAX:
                raise BadRequest("Invalid index")
            options["min_query_index"] = int(index)

    def write_options(self) -> dict[str, Any]:
        """``token`` and ``datacenter`` for a write, where given."""
        options: dict[str, Any] = {}
        if not self.has_parameters and not self.facts.token:
            return options
        if token := self.token:
            options["token"] = token
        if datacenter := self.get("dc"):
            options["datacenter"] = datacenter
        return options

    def node_meta(self) -> dict[str, str]:
        """``?node-meta=key:value``, repeated, as a mapping."""
        return {key: value for key, _, value in (pair.partition(":") for pair in self.all("node-meta"))}

    def near(self) -> str:
        """The node to sort by distance from, ``_agent`` being this one; empty for no sorting."""
        node = self.get("near")
        return self.node_name if node == "_agent" else node

    def refuse_namespace(self) -> None:
        """Raise if the request names a namespace, which only some endpoints mind."""
        if self.has_parameters and self.get("ns"):
            raise BadRequest(f'Bad request: Invalid query parameter: "ns" - {NAMESPACES}')
        if self.facts.namespace:
            raise BadRequest(f'Bad request: Invalid header: "X-Consul-Namespace" - {NAMESPACES}')


def parse_query(query: bytes) -> dict[str, list[str]]:
    """A query string by name; raises ``BadRequest`` for a broken escape."""
    if b"%" in query:
        broken = _BAD_ESCAPE.search(query)
        if broken:
            escape = query[broken.start() : broken.start() + 3].decode("latin-1")
            raise BadRequest(f'Bad request: invalid URL escape "{escape}"')
    parameters: dict[str, list[str]] = {}
    for pair in query.decode("utf-8", "replace").replace(";", "&").split("&"):
        if pair:
            name, _, value = pair.partition("=")
            parameters.setdefault(unquote_plus(name), []).append(unquote_plus(value))
    return parameters
