"""Batch.*: writes of another agent, many at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyconsul.endpoints.base import node
from pyconsul.structs.batch import BatchReply, BatchRequest


class Batch:
    """What other agents pass on.

    :param apply: gives the reply or a Deferred of it.
    """

    def __init__(self, apply: Callable[[BatchRequest], Any]) -> None:
        self._apply = apply

    @node("Batch.Apply", BatchRequest, BatchReply)
    def apply(self, request: BatchRequest) -> Any:
        """What became of each write; each asks for the permissions that it asks for otherwise."""
        return self._apply(request)
