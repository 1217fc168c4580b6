"""Long sequences that come in short lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar

T = TypeVar("T")


class Lists(Sequence[T]):
    """Many rows as they were at one time, looked up only when they are wanted.

    A turn of the reactor should not take long, so who has much to do with each row goes by ``lists``.
    To index one costs as much as to go through all.
    """

    __slots__ = ()

    def lists(self) -> Iterator[list[T]]:
        """The rows in order, in lists of which none is empty and none takes long to make or to encode."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self.lists())

    def __getitem__(self, at: Any) -> Any:
        return [*self][at]
