"""The interfaces of the machine, and what the kernel says of them."""

import ipaddress
import socket
import struct
import sys

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.config import interfaces as module
from pyconsul.config.interfaces import default_interface, interface, interfaces, parsed

LINUX = None if sys.platform == "linux" else "only on Linux"
ROUTES = """Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth1 00000000 010200C0 0003 0 0 100 00000000 0 0 0
eth0 00000000 010200C0 0003 0 0 5 00000000 0 0 0
eth2 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0
short
"""


def attribute(kind: int, data: bytes) -> bytes:
    size = 4 + len(data)
    return struct.pack("=HH", size, kind) + data + bytes(-size % 4)


def message(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body


def address(text: str, number: int, kind: int = 2) -> bytes:
    """The kernel tells of an address."""
    one = ipaddress.ip_interface(text)
    family = socket.AF_INET if one.version == 4 else socket.AF_INET6
    head = struct.pack("=BBBBI", family, one.network.prefixlen, 0, 0, number)
    return message(20, head + attribute(3, b"lbl\0") + attribute(kind, one.packed))


class InterfacesTests(SynchronousTestCase):
    def test_this_machine(self) -> None:
        """It has a loopback interface."""
        (loopback,) = [one for one in interfaces() if one.text == "127.0.0.1"]
        self.assertEqual(loopback.address.network.prefixlen, 8)
        self.assertLessEqual({"up", "loopback"}, loopback.flags)

    test_this_machine.skip = LINUX  # type: ignore[attr-defined]

    def test_elsewhere(self) -> None:
        """Of other systems nothing is known."""
        self.patch(sys, "platform", "other")
        self.assertEqual(interfaces(), [])

    def test_no_answer(self) -> None:
        """A kernel that does not tell is no reason to fail."""

        def refuse(*arguments: object) -> None:
            raise PermissionError

        self.patch(socket, "socket", refuse)
        self.assertEqual(list(module._addresses()), [])

    test_no_answer.skip = LINUX  # type: ignore[attr-defined]

    def test_interface_that_went(self) -> None:
        self.assertEqual(module._flags("no-such-one"), frozenset())

    test_interface_that_went.skip = LINUX  # type: ignore[attr-defined]

    def test_texts(self) -> None:
        one = interface("eth0", "10.0.0.5/8", "broadcast")
        self.assertEqual((one.name, one.text, one.flags), ("eth0", "10.0.0.5", {"up", "broadcast"}))


class AnswerTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        answer = address("10.0.0.5/8", 2) + message(99, b"what") + address("fd00::5/64", 3, kind=1)
        found, more = parsed(answer)
        self.assertEqual(
            found, [(2, ipaddress.ip_interface("10.0.0.5/8")), (3, ipaddress.ip_interface("fd00::5/64"))]
        )
        self.assertTrue(more)

    def test_end(self) -> None:
        for end in (message(3), message(2), struct.pack("=IHHII", 3, 20, 0, 0, 0)):
            found, more = parsed(address("10.0.0.5/8", 2) + end + address("10.0.0.6/8", 2))
            self.assertEqual((len(found), more), (1, False))

    def test_odd_ones(self) -> None:
        """Neither other families, nor messages without an address, nor damaged attributes."""
        of_other = message(20, struct.pack("=BBBBI", 99, 8, 0, 0, 1) + attribute(1, b"1234"))
        without = message(20, struct.pack("=BBBBI", socket.AF_INET, 8, 0, 0, 1))
        damaged = message(20, struct.pack("=BBBBI", socket.AF_INET, 8, 0, 0, 1) + struct.pack("=HH", 0, 1))
        self.assertEqual(parsed(of_other + without + damaged), ([], True))


class DefaultTests(SynchronousTestCase):
    def test_lowest_metric(self) -> None:
        path = self.mktemp()
        with open(path, "w", encoding="ascii") as file:
            file.write(ROUTES)
        self.patch(module, "_ROUTES", path)
        self.assertEqual(default_interface(), "eth0")

    def test_none(self) -> None:
        path = self.mktemp()
        self.patch(module, "_ROUTES", path)
        self.assertEqual(default_interface(), "")
        with open(path, "w", encoding="ascii") as file:
            file.write(ROUTES.splitlines()[0])
        self.assertEqual(default_interface(), "")
