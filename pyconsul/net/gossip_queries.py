"""The queries that an application of a pool has under way, and the answers it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from pyconsul.errors import PyconsulError, Unreachable
from pyconsul.log import make_logger
from pyconsul.serf.events import AnswerQuery, CloseQuery, QueryAnswered, QueryEnded, StartQuery
from pyconsul.serf.filters import nodes_filter, tag_filter
from pyconsul.serf.messages import Query, QueryResponse

AnswerHook: TypeAlias = Callable[[Query], "bytes | Deferred[bytes | None] | None"]
"""Gives the answer to a query, ``None`` for none; a Deferred may take until the query's deadline."""


class _Open(Struct):
    """A query under way."""

    done: Deferred[list[QueryResponse]]
    responses: list[QueryResponse]


def filters_of(nodes: Sequence[str], tags: Mapping[str, str]) -> list[bytes]:
    """The filters for members with one of these names, and with tags in which expressions match."""
    filters = [nodes_filter(nodes)] if nodes else []
    return filters + [tag_filter(tag, expression) for tag, expression in tags.items()]


class PoolQueries:
    """Between the Deferreds of an application and the events of the core.

    :param feed: has the core handle an event.
    """

    def __init__(self, feed: Callable[[Any], object]) -> None:
        self._log = make_logger("gossip")
        self._feed = feed
        self._open: dict[int, _Open] = {}
        self._token = 0

    def ask(self, name: str, payload: bytes, **options: Any) -> Deferred[list[QueryResponse]]:
        """Start a query; cancelling the Deferred ends it. ``options`` are those of ``StartQuery``."""
        self._token += 1
        token = self._token
        done: Deferred[list[QueryResponse]] = Deferred(lambda _: self._cancelled(token))
        self._open[token] = _Open(done, [])
        self._feed(StartQuery(token=token, name=name, payload=payload, **options))
        return done

    def _cancelled(self, token: int) -> None:
        self._open.pop(token, None)
        self._feed(CloseQuery(token))

    def answered(self, effect: QueryAnswered) -> None:
        """Somebody has answered."""
        found = self._open.get(effect.token)
        if found is not None:
            found.responses.append(effect.response)

    def ended(self, effect: QueryEnded) -> None:
        """Nobody will answer any more."""
        found = self._open.pop(effect.token, None)
        if found is None:
            return
        if effect.error:
            found.done.errback(PyconsulError(effect.error))
        else:
            found.done.callback(found.responses)

    def stop(self) -> None:
        """The pool ends."""
        waiting, self._open = self._open, {}
        for found in waiting.values():
            found.done.errback(Unreachable("shutting down"))

    # ------------------------------------------------------------ answers of ours

    def received(self, query: Query, hook: AnswerHook) -> None:
        """Let an application answer a query; its bugs are not gossip's."""
        try:
            answer = hook(query)
        except Exception:
            self._log.failure("a listener of gossip failed")
            return
        if isinstance(answer, Deferred):
            answer.addCallback(self._answer, query)
            answer.addErrback(self._failed, query)
        else:
            self._answer(answer, query)

    def _answer(self, answer: bytes | None, query: Query) -> None:
        if answer is not None:
            self._feed(AnswerQuery(query, answer))

    def _failed(self, failure: Failure, query: Query) -> None:
        if isinstance(failure.value, PyconsulError):
            self._log.warn("query {name}: {why}", name=query.name, why=failure.value)
        else:
            self._log.failure("a listener of gossip failed", failure=failure)
