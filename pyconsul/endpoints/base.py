"""How an endpoint is declared.

An endpoint is one method of one class in this package. ``@read`` and ``@write`` state everything
that the machinery around it needs: its name on the wire, request and reply structs, the
permission, and for reads nothing more, for they all may block. HTTP, AMP and in time Consul's own
RPC are thin doors to ``Registry``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from pyconsul.endpoints.filtering import filtered

F = TypeVar("F", bound=Callable[..., Any])


class Method(Struct, frozen=True):
    """The declaration of one endpoint.

    :ivar kind: ``read`` (of the store; may block, has the three consistency modes), ``write``
        (becomes a log command on the leader) or ``node`` (answered by any server from its own
        state, never forwarded).
    :ivar permission: what the token needs, as ``resource:access``; empty when nothing.
    """

    name: str
    kind: str
    request: type[Struct]
    reply: type[Any]
    permission: str
    call: Callable[..., Any]


class Read(Struct):
    """The outcome of one evaluation of a read.

    :ivar index: the index to wait on, at least 1 once sent.
    :ivar reply: the reply struct; its query metadata is filled in by the caller.
    :ivar watch: the keys of ``pyconsul.state.watches`` that change whenever this answer may; none if
        no keys stand for it, and then it is never kept.
    :ivar at_once: a blocking read is answered now, whatever the index.
    """

    index: int
    reply: Any
    watch: Sequence[Hashable]
    at_once: bool = False


class Answered(Struct):
    """What a write may give instead of a log command: the reply, for there is nothing to be written."""

    reply: Any


def _declare(
    kind: str, name: str, request: type[Struct], reply: type[Any], permission: str, rows: str = ""
) -> Callable[[F], F]:
    def mark(function: F) -> F:
        function.__endpoint__ = (kind, name, request, reply, permission, rows)  # type: ignore[attr-defined]
        return function

    return mark


def read(
    name: str, request: type[Struct], reply: type[Any], permission: str = "", *, rows: str = ""
) -> Callable[[F], F]:
    """Declare ``method(self, request) -> Read``, or a Deferred of one that is answered at once.

    :param rows: where in the reply the rows are that ``request.filter`` chooses from, as in
        ``node_services.services``; without it the request's filter means nothing.
    """
    return _declare("read", name, request, reply, permission, rows)


def write(name: str, request: type[Struct], reply: type[Any], permission: str = "") -> Callable[[F], F]:
    """Declare ``method(self, request) -> command``: checks the request on the leader, gives the log command.

    The reply is what applying the command returns. ``Answered`` is given where no command is needed.
    """
    return _declare("write", name, request, reply, permission)


def node(name: str, request: type[Struct], reply: type[Any], permission: str = "") -> Callable[[F], F]:
    """Declare ``method(self, request) -> reply``, answered by whichever server is asked."""
    return _declare("node", name, request, reply, permission)


def declarations(family: object) -> Iterator[Method]:
    """The endpoints of a family, given as its class or as an instance to call."""
    for attribute in dir(family):
        member = getattr(family, attribute)
        facts = getattr(member, "__endpoint__", None)
        if facts is not None:
            kind, name, request, reply, permission, rows = facts
            call = filtered(member, reply, rows.split(".")) if rows else member
            yield Method(name, kind, request, reply, permission, call)


class Registry:
    """All endpoints of a server by name.

    :ivar get: the declaration of a name, or ``None``.
    """

    def __init__(self, families: Iterable[object]) -> None:
        self._methods = {m.name: m for family in families for m in declarations(family)}
        self.get: Callable[[str], Method | None] = self._methods.get

    def methods(self) -> Iterable[Method]:
        """All of them."""
        return self._methods.values()
