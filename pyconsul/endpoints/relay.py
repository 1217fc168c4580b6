"""HTTP.*: reads answered for another agent, just as they would be over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyconsul.endpoints.base import node
from pyconsul.structs.relay import RelayReply, RelayRequest


class Relay:
    """What other agents pass on.

    :param read: gives the reply or a Deferred of it.
    """

    def __init__(self, read: Callable[[RelayRequest], Any]) -> None:
        self._read = read

    @node("HTTP.Read", RelayRequest, RelayReply)
    def read(self, request: RelayRequest) -> Any:
        """Answers with their JSON; each read asks for the permissions that it asks for otherwise."""
        return self._read(request)
