"""A watch: what is looked at, and what its handler gets (specs of runtime, section 3).

A watch is a read that is repeated with the index of the answer before. Its texts are Consul's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlencode

from pyconsul.errors import ConfigurationError, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MISSING = b"null"
NO_EVENTS = b"[]"
RETRY_S = 5.0
RETRY_MAX_S = 180.0
ENTRY_FIELDS = ("Key", "CreateIndex", "ModifyIndex", "LockIndex", "Flags", "Value", "Session")

_Place = tuple[str, list[tuple[str, str]]]


class Watch:
    """What is looked at.

    :ivar path: quoted; ``query`` are the parameters besides those of every blocking read.
    :ivar token: sent with it, empty for the agent's own.
    """

    def __init__(self, kind: str, path: str, query: list[tuple[str, str]], token: str) -> None:
        self.kind, self.path, self.query, self.token = kind, path, query, token

    def target(self, index: int) -> str:
        """The request's target; with an ``index`` it is answered when there is something newer."""
        query = [*self.query, ("index", str(index))] if index else self.query
        return f"{self.path}?{urlencode(query)}" if query else self.path


def retry_wait_s(failures: int) -> float:
    """How long to wait after so many failures in a row."""
    return min(RETRY_S * failures**2, RETRY_MAX_S)


class Follower:
    """Where a watch has got to.

    :ivar index: of the newest answer; 0 to ask for whatever there is.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.index = 0
        self._delivered: bytes | None = None
        self._last_event = ""

    def target(self) -> str:
        """What to ask for next."""
        return self.watch.target(self.index)

    def answered(self, status: int, index: int, body: bytes) -> bytes | None:
        """Take an answer; what the handler is to get, as JSON, or ``None`` if that is nothing new.

        A key or prefix that does not exist is ``null``; a key is one entry and no list; events are
        those that have not been delivered yet.

        :raises Refused: if the agent did not answer with data.
        """
        kind = self.watch.kind
        if status == 404 and kind in ("key", "keyprefix"):
            body = MISSING
        elif status != 200:
            text = body.decode("utf-8", "replace").strip()
            raise Refused(f"Unexpected response code: {status} ({text})")
        if not index and self._delivered is not None:
            raise Refused("the agent's answer has no index to wait on")
        if index == self.index and index:
            return None
        # The index of events is no number that grows; any other that falls begins anew.
        self.index = index if index > self.index or kind == "event" else 0
        if kind in ("key", "keyprefix") and body != MISSING:
            entries = [_entry(entry) for entry in json.loads(body)]
            body = _encoded(entries[0] if kind == "key" else entries)
        elif kind == "event":
            body = _encoded(self._fresh(json.loads(body)))
            if body == NO_EVENTS and self._delivered is not None:
                return None
        if body == self._delivered:
            return None
        self._delivered = body
        return body

    def _fresh(self, events: list[Any]) -> list[Any]:
        names = [event["ID"] for event in events]
        seen, self._last_event = self._last_event, names[-1] if names else self._last_event
        return events[names.index(seen) + 1 :] if seen in names else events


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry with all its fields in the order that handlers know."""
    return {name: entry.get(name, "") for name in ENTRY_FIELDS}


def _encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class Parameters:
    """The values of a definition, taken out one by one, so that what is left over is wrong."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._left = dict(given)

    def text(self, name: str) -> str:
        """A text; empty if it is not given."""
        value = self._left.pop(name, "")
        if not isinstance(value, str):
            raise ConfigurationError(f"Expecting {name} to be a string")
        return value

    def flag(self, name: str) -> bool:
        """A truth value, given as such or as text."""
        value = self._left.pop(name, False)
        if isinstance(value, str):
            value = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}.get(
                value.lower()
            )
        if not isinstance(value, bool):
            raise ConfigurationError(f"Expecting {name} to be a boolean")
        return value

    def texts(self, name: str) -> list[str]:
        """One text or a list of them."""
        value = self._left.pop(name, [])
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list | tuple) or not all(isinstance(item, str) for item in values):
            raise ConfigurationError(f"Expecting {name} to be a string or a list of strings")
        return list(values)

    def take(self, name: str) -> Any:
        """Whatever it is; ``None`` if it is not given."""
        return self._left.pop(name, None)

    def finish(self) -> None:
        """Raise if something is left."""
        if self._left:
            raise ConfigurationError(f"Invalid parameters: [{' '.join(self._left)}]")


def _required(parameters: Parameters, name: str) -> str:
    value = parameters.text(name)
    if not value:
        raise ConfigurationError(f"Must specify a single {name} to watch")
    return value


def _key(parameters: Parameters) -> _Place:
    return "/v1/kv/" + quote(_required(parameters, "key").lstrip("/")), []


def _keyprefix(parameters: Parameters) -> _Place:
    return "/v1/kv/" + quote(_required(parameters, "prefix").lstrip("/")), [("recurse", "")]


def _service(parameters: Parameters) -> _Place:
    path = "/v1/health/service/" + quote(_required(parameters, "service"), "")
    query = [("tag", tag) for tag in parameters.texts("tag")]
    return path, query + ([("passing", "1")] if parameters.flag("passingonly") else [])


def _checks(parameters: Parameters) -> _Place:
    service, state = parameters.text("service"), parameters.text("state")
    if service and state:
        raise ConfigurationError("Cannot specify service and state")
    if service:
        return "/v1/health/checks/" + quote(service, ""), []
    return "/v1/health/state/" + quote(state or "any", ""), []


def _event(parameters: Parameters) -> _Place:
    name = parameters.text("name")
    return "/v1/event/list", [("name", name)] if name else []


KINDS: Mapping[str, Callable[[Parameters], _Place]] = {
    "key": _key,
    "keyprefix": _keyprefix,
    "services": lambda parameters: ("/v1/catalog/services", []),
    "nodes": lambda parameters: ("/v1/catalog/nodes", []),
    "service": _service,
    "checks": _checks,
    "event": _event,
}
"""Types of watches: each takes its parameters and gives path and query of what is read."""


def parse(parameters: Parameters) -> Watch:
    """The watch that these parameters define; they are used up, but for those that no watch has.

    :raises ConfigurationError: in Consul's words.
    """
    name = parameters.text("type")
    if not name:
        raise ConfigurationError("Watch type must be specified")
    place = KINDS.get(name)
    if place is None:
        raise ConfigurationError(f"Unsupported watch type: {name}")
    token, datacenter = parameters.text("token"), parameters.text("datacenter")
    stale = parameters.flag("stale")
    path, query = place(parameters)
    if datacenter:
        query.append(("dc", datacenter))
    if stale:
        query.append(("stale", ""))
    return Watch(name, path, query, token)
