"""A MultiService for each role, and the one function that makes it; ``Agent`` is for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyconsul.agent.embedding import Agent

__all__ = ["Agent"]


def __getattr__(name: str) -> Any:
    """Import ``Agent`` when it is asked for: the modules here do without it."""
    if name == "Agent":
        from pyconsul.agent.embedding import Agent

        return Agent
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
