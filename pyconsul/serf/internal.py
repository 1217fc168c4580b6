"""Answers to the queries that members ask each other unseen: pings, keys, who owns a name."""

from __future__ import annotations

from collections.abc import Callable

from pyconsul.serf import keys
from pyconsul.serf.events import KeyringChanged, KeyringSaved
from pyconsul.serf.keys import KeyResponse
from pyconsul.serf.messages import Query, QueryResponse
from pyconsul.serf.names import CONFLICT, answer_about
from pyconsul.serf.queries import INTERNAL, RESPONSE_SIZE_MAX, Queries
from pyconsul.serf.roster import Roster
from pyconsul.swim.context import Context

PING = INTERNAL + "ping"

_SAVING_MAX = 64
"""Changes of the keyring that wait for the disk; further ones are answered with an error."""


class InternalQueries:
    """Answers these queries.

    :param saves_keys: somebody saves the keyring and says so by ``KeyringSaved``.
    """

    def __init__(self, context: Context, roster: Roster, saves_keys: bool) -> None:
        self._ctx = context
        self._roster = roster
        self._saves_keys = saves_keys
        self._saving: dict[int, tuple[Query, KeyResponse]] = {}
        self._token = 0
        self.queries: Queries
        """Set once it exists: each of the two needs the other."""
        self._answers: dict[str, Callable[[Query], None]] = {
            PING: lambda query: None,  # the ack, if it was asked for, is all
            CONFLICT: self._conflict,
            **dict.fromkeys(keys.NAMES, self._keys),
        }

    def answer(self, query: Query) -> bool:
        """Answer a query; tells whether its name is known."""
        answer = self._answers.get(query.name)
        if answer is not None:
            answer(query)
        return answer is not None

    # ------------------------------------------------------------ keys

    def _keys(self, query: Query) -> None:
        if self._saves_keys and len(self._saving) >= _SAVING_MAX:
            self._respond(query, KeyResponse(False, "too many changes of the keyring at a time"))
            return
        response, changed = keys.perform(self._ctx.layers.keyring, query.name, query.payload)
        if not changed:
            if response.message:
                self._ctx.problem(f"query '{query.name}': {response.message}", notable=True)
            self._respond(query, response)
            return
        self._token += 1
        if self._saves_keys:
            self._saving[self._token] = query, response
        else:
            self._respond(query, response)
        self._ctx.emit(KeyringChanged(self._token))

    def saved(self, event: KeyringSaved) -> None:
        """What was changed is on the disk, or will not get there."""
        found = self._saving.pop(event.token, None)
        if found is not None:
            query, response = found
            self._respond(query, KeyResponse(False, event.error) if event.error else response)

    def _respond(self, query: Query, response: KeyResponse) -> None:
        def fits(payload: bytes) -> bool:
            answer = QueryResponse(query.ltime, query.number, self._ctx.name, 0, payload)
            return len(answer.encode()) <= RESPONSE_SIZE_MAX

        self.queries.respond(query, keys.shortened(response, fits))

    # ------------------------------------------------------------ names

    def _conflict(self, query: Query) -> None:
        """Say who we know by a name; about ourselves nobody has to believe us."""
        name = query.payload.decode("utf-8", "replace")
        if name == self._ctx.name:
            return
        record = self._roster.records.get(name)
        self.queries.respond(query, answer_about(record.member if record is not None else None))
