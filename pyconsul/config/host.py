"""What configuration asks of the machine: its name, its addresses, its limits, and templates over them."""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import Struct, field

from pyconsul.config.interfaces import Interface, default_interface, interfaces
from pyconsul.config.places import Mistake

T = TypeVar("T", str, list[str])


def _files_max() -> int:
    """How many files a process may have open; 0 if that is not known."""
    if sys.platform == "win32":
        return 0
    import resource

    return max(0, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


class Host(Struct, frozen=True):
    """The machine, as far as settings depend on it.

    :ivar interfaces: gives all interfaces, each once for every address.
    :ivar default: gives the name of the interface that leads elsewhere; empty: none, or not known.
    :ivar files_max: gives how many files a process may have open; 0: not known.
    """

    name: str = field(default_factory=socket.gethostname)
    interfaces: Callable[[], Sequence[Interface]] = interfaces
    default: Callable[[], str] = default_interface
    files_max: Callable[[], int] = _files_max

    def private(self) -> list[str]:
        """IPv4 addresses that other machines of the site may reach us at."""
        return [
            str(ip)
            for ip in self._addresses(4)
            if ip.is_private and not ip.is_loopback and not ip.is_link_local
        ]

    def public(self, version: int = 4) -> list[str]:
        """Addresses that anybody may reach us at."""
        return [str(ip) for ip in self._addresses(version) if ip.is_global]

    def _addresses(self, version: int) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
        return [one.address.ip for one in self.interfaces() if one.address.version == version]

    def expanded(self, value: T, key: str) -> T:
        """A text or several with the address templates in them filled in (see ``templates``).

        A text of a list may become several, or none. Raises ``Mistake`` for a bad template.
        """
        if isinstance(value, str):
            return self._expand(value, key)
        found: list[str] = []
        for text in value:
            one = self._expand(text, key)
            found += [one] if one == text or one.startswith("provider=") else one.split()
        return found

    def _expand(self, text: str, key: str) -> str:
        if "{{" not in text:
            return text
        from pyconsul.config.templates import BadTemplate, Known, expand  # few have any

        try:
            return expand(text, Known(self.interfaces(), self.default()))
        except BadTemplate as error:
            raise Mistake(f"{key}: {error}", key) from None
