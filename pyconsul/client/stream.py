"""Streams of changes (``/v1/stream``), which only pyconsul's agents have.

``changes`` goes on for ever: it connects again when a connection breaks, from where it was.
"""

from __future__ import annotations

from pyconsul.client.call import Call, nothing, quote_path
from pyconsul.errors import PyconsulError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from pyconsul.client.blocking import Client

SILENCE_S = 60.0
"""Agents say something every 15 seconds."""
PAUSE_S, PAUSE_MAX_S = 0.5, 15.0
EVENT_MAX_BYTES = 256 * 1024 * 1024


class Event:
    """What a stream tells.

    :ivar kind: ``reset``: forget what you had; ``change``; empty for a sign of life.
    :ivar id: where to go on after it, if it tells.
    :ivar data: ``Changed``, ``Deleted`` and for keys ``DeletedPrefixes``, of which the deletions come
        first; empty for a sign of life.
    """

    __slots__ = ("data", "id", "kind")

    def __init__(self, kind: str, id: str | None, data: dict[str, Any]) -> None:
        self.kind, self.id, self.data = kind, id, data


def kv(prefix: str, **options: object) -> Call[None]:
    """All entries whose keys start with ``prefix``. ``options`` are parameters, as in ``stale=True``."""
    return _call(f"kv/{quote_path(prefix)}", options)


def health(service: str, **options: object) -> Call[None]:
    """The instances of a service with their checks."""
    return _call(f"health/service/{quote_path(service)}", options)


def nodes(**options: object) -> Call[None]:
    """All nodes."""
    return _call("catalog/nodes", options)


def services(**options: object) -> Call[None]:
    """The names of all services with their tags."""
    return _call("catalog/services", options)


def service(name: str, **options: object) -> Call[None]:
    """The instances of a service."""
    return _call(f"catalog/service/{quote_path(name)}", options)


def _call(path: str, options: dict[str, object]) -> Call[None]:
    return Call("GET", f"/v1/stream/{path}", nothing, tuple(options.items()), timeout_s=SILENCE_S)


def events(pieces: Iterable[bytes]) -> Iterator[Event]:
    """The events in a stream that comes in ``pieces`` of any size.

    Raises ``PyconsulError`` for one that is too long or makes no sense.
    """
    import json

    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) > EVENT_MAX_BYTES:
            raise PyconsulError("an event of the stream is too long")
        while (end := held.find(b"\n\n")) >= 0:
            kind, ident, data = "", None, b""
            for line in bytes(held[:end]).split(b"\n"):
                name, _, value = line.partition(b": ")
                if name == b"event":
                    kind = value.decode()
                elif name == b"id":
                    ident = value.decode()
                elif name == b"data":
                    data += value
            del held[: end + 2]
            try:
                yield Event(kind, ident, json.loads(data) if data else {})
            except ValueError:
                raise PyconsulError("an event of the stream is no JSON") from None


def changes(
    client: Client, call: Call[None], *, since: str = "", sleep: Callable[[float], object] | None = None
) -> Iterator[Event]:
    """The events of a stream for ever, signs of life left out.

    :param since: the ``id`` of the last event that was taken, to go on there.
    :param sleep: waits between attempts; ``time.sleep`` by default.

    Raises ``PyconsulError`` if the very first attempt fails, or if the agent refuses later.
    """
    from pyconsul.client.call import TransportError, UnexpectedResponse

    if sleep is None:
        import time

        sleep = time.sleep
    pause_s, begun = PAUSE_S, False
    while True:
        try:
            for event in events(client.stream(call.with_query([("index", since or None)]))):
                pause_s, begun = PAUSE_S, True
                since = event.id if event.id is not None else since
                if event.kind:
                    yield event
        except UnexpectedResponse as error:
            if not begun or error.status < 500:
                raise
        except TransportError:
            if not begun:
                raise
        sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_MAX_S)
