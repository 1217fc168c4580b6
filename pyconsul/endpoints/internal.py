"""Internal.*: what agents ask servers that is about gossip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from pyconsul.endpoints.base import node
from pyconsul.structs.event import EventFireRequest, EventFireResponse
from pyconsul.structs.keyring import KeyringRequest, KeyringResponses


class Internal:
    """Events and keys.

    :param fire: sends a user event through the LAN pool; raises ``PyconsulError`` if it is too large.
    :param keyring: does an operation on the keys of this server's pools.
    """

    def __init__(
        self,
        fire: Callable[[str, bytes], None],
        keyring: Callable[[KeyringRequest], Deferred[KeyringResponses]],
    ) -> None:
        self._fire = fire
        self._keyring = keyring

    @node("Internal.EventFire", EventFireRequest, EventFireResponse, "event:write")
    def event_fire(self, request: EventFireRequest) -> EventFireResponse:
        """Send a user event to everybody in this datacenter.

        :raises PyconsulError: if it is too large.
        """
        self._fire(request.name, request.payload or b"")
        return EventFireResponse(known_leader=True)

    @node("Internal.KeyringOperation", KeyringRequest, KeyringResponses, "keyring:write")
    def keyring_operation(self, request: KeyringRequest) -> Any:
        """List or change the keys of all members of this server's pools, and of other datacenters'."""
        return self._keyring(request)
