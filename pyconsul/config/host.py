"""What configuration asks of the machine: its name, its addresses, and templates over them."""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
import sys
from collections.abc import Sequence

from msgspec import Struct, field

from pyconsul.config.places import Mistake

_TEMPLATE = re.compile(r'\{\{\s*(\w+)(?:\s+"([^"]*)")?\s*\}\}')
_SIOCGIFADDR = 0x8915


def _interfaces() -> list[tuple[str, str]]:
    """Interfaces and their first IPv4 address, in the order of the system; Linux only, else empty."""
    if sys.platform != "linux":
        return []
    import fcntl

    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # this one has no IPv4 address
                continue
            found.append((name, socket.inet_ntoa(answer[20:24])))
    return found


class Host(Struct, frozen=True):
    """The machine, as far as settings depend on it.

    :ivar interfaces: pairs of an interface's name and an IPv4 address of it.
    """

    name: str = field(default_factory=socket.gethostname)
    interfaces: Sequence[tuple[str, str]] = field(default_factory=_interfaces)

    def private(self) -> list[str]:
        """Addresses that other machines of the site may reach us at."""
        return [
            text
            for _, text in self.interfaces
            if (address := ipaddress.ip_address(text)).is_private
            and not address.is_loopback
            and not address.is_link_local
        ]

    def public(self) -> list[str]:
        """Addresses that anybody may reach us at."""
        return [text for _, text in self.interfaces if ipaddress.ip_address(text).is_global]

    def expand(self, text: str, key: str) -> str:
        """``text`` with its address templates filled in.

        ``{{ GetPrivateIP }}``, ``{{ GetPublicIP }}`` and ``{{ GetInterfaceIP "NAME" }}`` are known.
        Raises ``Mistake`` for others, and when there is no such address.
        """

        def fill(found: re.Match[str]) -> str:
            function, argument = found.groups()
            if function == "GetPrivateIP":
                choice = self.private()
            elif function == "GetPublicIP":
                choice = self.public()
            elif function == "GetInterfaceIP" and argument is not None:
                choice = [address for name, address in self.interfaces if name == argument]
            else:
                raise Mistake(f"{key}: unknown address template {found[0]}", key)
            if not choice:
                raise Mistake(f"{key}: no address for template {found[0]}", key)
            return choice[0]

        filled = _TEMPLATE.sub(fill, text)
        if "{{" in filled:
            raise Mistake(f"{key}: cannot parse address template {text}", key)
        return filled
