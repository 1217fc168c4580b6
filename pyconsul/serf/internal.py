"""The queries that members ask each other without anybody knowing: pings, keys, who owns a name."""

from __future__ import annotations

from collections.abc import Callable

from pyconsul.interfaces import Address
from pyconsul.serf import keys, messages
from pyconsul.serf.events import KeyringChanged, KeyringSaved, NameLost, StartQuery
from pyconsul.serf.keys import KeyResponse
from pyconsul.serf.members import decode_place, encode_member
from pyconsul.serf.messages import Query, QueryResponse
from pyconsul.serf.queries import INTERNAL, RESPONSE_SIZE_MAX, Queries
from pyconsul.serf.roster import Roster
from pyconsul.swim.context import Context
from pyconsul.swim.wire import DecodeError

PING = INTERNAL + "ping"
CONFLICT = INTERNAL + "conflict"

_CONFLICT_RESPONSE = bytes((messages.CONFLICT_RESPONSE,))
_NOBODY = _CONFLICT_RESPONSE + b"\xc0"
_SAVING_MAX = 64
"""Changes of the keyring that wait for the disk; further ones are answered with an error."""


class InternalQueries:
    """Answers these queries, and asks who owns this node's name.

    :param saves_keys: somebody saves the keyring and says so by ``KeyringSaved``.
    """

    def __init__(self, context: Context, roster: Roster, saves_keys: bool) -> None:
        self._ctx = context
        self._roster = roster
        self._saves_keys = saves_keys
        self._saving: dict[int, tuple[Query, KeyResponse]] = {}
        self._token = 0
        self._asking = False
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
        answer = _NOBODY if record is None else _CONFLICT_RESPONSE + encode_member(record.member)
        self.queries.respond(query, answer)

    def resolve(self, place: Address) -> None:
        """Another node uses our name: let all others say whom they know by it, us at ``place`` or it."""
        if self._asking:
            return
        self._asking = True
        votes: list[bool] = []

        def answered(response: QueryResponse) -> None:
            vote = _vote(response, place)
            if vote is not None:
                votes.append(vote)

        def ended(error: str) -> None:
            self._asking = False
            ours, majority = sum(votes), len(votes) // 2 + 1
            if ours >= majority or error:
                self._ctx.problem(
                    f"majority in name conflict resolution [{ours} / {len(votes)}]", notable=True
                )
                return
            self._ctx.problem(
                f"minority in name conflict resolution, quitting [{ours} / {len(votes)}]", notable=True
            )
            self._ctx.emit(NameLost())

        name = self._ctx.name.encode()
        self.queries.ask(StartQuery(token=0, name=CONFLICT, payload=name), answered, ended)


def _vote(response: QueryResponse, place: Address) -> bool | None:
    """Whether who answers knows us by our name; ``None`` if it says nothing of use."""
    payload = response.payload or b""
    if response.is_ack or payload[:1] != _CONFLICT_RESPONSE:
        return None
    try:
        return decode_place(payload[1:]) == place
    except DecodeError:
        return None
