"""Simulated worlds, fakes and real-process fixtures, for our tests and yours.

``World`` is whole servers in virtual time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyconsul.testing.world import World

__all__ = ["World"]


def __getattr__(name: str) -> Any:
    """Import ``World`` when it is asked for: the other modules here do without agents."""
    if name == "World":
        from pyconsul.testing.world import World

        return World
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
