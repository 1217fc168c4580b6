"""A network of the test's own, whose hosts can be cut off: namespaces on a bridge. Needs root and Linux."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable


def need_networks() -> str | None:
    """A reason to skip where such networks cannot be made."""
    if not shutil.which("ip") or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "needs root and the ip command"
    name = f"pc{os.getpid()}t"
    probe = subprocess.run(["ip", "link", "add", name, "type", "bridge"], capture_output=True, check=False)
    subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)
    return None if probe.returncode == 0 else "may not make networks"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True, timeout=60)


class Network:
    """Hosts 198.18.n.2 and so on (addresses for tests, RFC 2544), which this process reaches, too.

    :param add_cleanup: of the test.
    """

    def __init__(self, add_cleanup: Callable[..., object]) -> None:
        number = os.getpid() % 250
        self._prefix = f"pc{os.getpid()}"
        self._bridge = f"{self._prefix}b"
        self._block = f"198.18.{number}"
        self._add_cleanup = add_cleanup
        add_cleanup(self._remove, "link", "del", self._bridge)
        # With an address of its own. Else it takes the lowest of its ports' and another when that port is cut
        # off, and answers to this process get lost for as long as it has nothing to send to the others.
        address = ":".join(["02", "00", *(f"{byte:02x}" for byte in os.getpid().to_bytes(4, "big"))])
        _ip("link", "add", self._bridge, "address", address, "type", "bridge")
        _ip("addr", "add", f"{self._block}.1/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")

    def host(self, number: int) -> str:
        """Make a host; its address."""
        namespace, port = f"{self._prefix}n{number}", f"{self._prefix}p{number}"
        self._add_cleanup(self._remove, "netns", "del", namespace)
        self._add_cleanup(self._remove, "link", "del", port)
        _ip("netns", "add", namespace)
        _ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        inside = ("-n", namespace)
        _ip(*inside, "addr", "add", f"{self._block}.{number}/24", "dev", "eth0")
        _ip(*inside, "link", "set", "eth0", "up")
        _ip(*inside, "link", "set", "lo", "up")
        _ip("link", "set", port, "up")
        self.heal(number)
        return f"{self._block}.{number}"

    def command(self, number: int) -> list[str]:
        """What to put before a command that is to run on a host."""
        return ["ip", "netns", "exec", f"{self._prefix}n{number}"]

    def hardware_address(self) -> str:
        """Where hosts send what is for this process."""
        with open(f"/sys/class/net/{self._bridge}/address", encoding="ascii") as file:
            return file.read().strip()

    def cut(self, number: int) -> None:
        """Nothing comes to a host or from it any more, and nobody is told."""
        _ip("link", "set", f"{self._prefix}p{number}", "nomaster")

    def heal(self, number: int) -> None:
        """Let it take part again."""
        _ip("link", "set", f"{self._prefix}p{number}", "master", self._bridge)

    def _remove(self, *arguments: str) -> None:
        subprocess.run(["ip", *arguments], capture_output=True, check=False, timeout=60)
