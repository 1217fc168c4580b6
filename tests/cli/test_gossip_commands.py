"""The commands about events, keys and distances."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.support import run

KEY, OTHER = "pUqJrVyVRj5jsiYEkM/tFQ==", "WWlGcrVWY3o9rOQoFYX/kg=="
WAN: dict[str, Any] = {
    "WAN": True,
    "Datacenter": "dc1",
    "Keys": {KEY: 3},
    "PrimaryKeys": {KEY: 3},
    "NumNodes": 3,
}
LAN: dict[str, Any] = {
    "WAN": False, "Datacenter": "dc1", "Segment": "", "Keys": {KEY: 4, OTHER: 2}, "PrimaryKeys": {KEY: 4},
    "NumNodes": 4,
}  # fmt: skip


class EventTests(SynchronousTestCase):
    def test_fired(self) -> None:
        result = run(
            "event",
            "-name=deploy",
            "-node=n.*",
            "-service=web",
            "-tag=v1",
            "v 2",
            answers=[(200, {"ID": "u"})],
        )
        self.assertEqual((result.status, result.out), (0, "Event ID: u\n"))
        self.assertEqual(result.lines, ["PUT /v1/event/fire/deploy?node=n.%2A&service=web&tag=v1"])
        self.assertEqual(result.bodies, [b"v 2"])

    def test_without_payload(self) -> None:
        result = run("event", "-name=deploy", answers=[(200, {"ID": "u"})])
        self.assertEqual((result.status, result.bodies), (0, [b""]))

    def test_refused_here(self) -> None:
        for arguments, why in (
            (["x"], "Event name must be specified\n\nUsage: "),
            (["-name=x", "a", "b"], "Too many command line arguments.\n\nUsage: "),
            (["-name=x", "-tag=t"], "Cannot provide tag filter without service filter.\n"),
            (
                ["-name=x", "-node=("],
                "Failed to compile node filter regexp: error parsing regexp: missing closing ): `(`\n",
            ),
        ):
            result = run("event", *arguments)
            self.assertEqual((result.status, result.lines), (1, []))
            self.assertTrue(result.err.startswith(why), result.err)

    def test_refused_there(self) -> None:
        result = run("event", "-name=x", answers=[(500, b"why")])
        self.assertEqual((result.status, result.out), (1, ""))
        self.assertEqual(result.err, "Error firing event: Unexpected response code: 500 (why)\n")


class KeyringTests(SynchronousTestCase):
    def test_list(self) -> None:
        result = run("keyring", "-list", answers=[(200, [WAN, LAN])])
        self.assertEqual(
            result.out,
            "==> Gathering installed encryption keys...\n\n"
            f"WAN:\n  {KEY} [3/3]\n\n"
            f"dc1 (LAN):\n  {OTHER} [2/4]\n  {KEY} [4/4]\n",
        )
        self.assertEqual((result.status, result.lines), (0, ["GET /v1/operator/keyring"]))

    def test_list_primary(self) -> None:
        result = run(
            "keyring",
            "-list-primary",
            "-local-only",
            "-relay-factor=2",
            answers=[(200, [LAN | {"Segment": "x"}])],
        )
        self.assertEqual(
            result.out,
            f"==> Gathering installed primary encryption keys...\n\ndc1 (LAN) [x]:\n  {KEY} [4/4]\n",
        )
        self.assertEqual(result.lines, ["GET /v1/operator/keyring?relay-factor=2&local-only=true"])

    def test_changes(self) -> None:
        for flag, method, said in (
            ("install", "POST", "Installing new"),
            ("use", "PUT", "Changing primary"),
            ("remove", "DELETE", "Removing"),
        ):
            result = run("keyring", f"-{flag}={KEY}", answers=[(200, b"")])
            self.assertEqual((result.status, result.out), (0, f"==> {said} gossip encryption key...\n"))
            self.assertEqual(result.lines, [f"{method} /v1/operator/keyring"])
            self.assertEqual(result.bodies, [f'{{"Key":"{KEY}"}}'.encode()])

    def test_failed(self) -> None:
        text = "1 error occurred:\n\t* why\n\n"
        for flag in ("-list", "-use=x"):
            result = run("keyring", flag, answers=[(500, text.encode())])
            self.assertEqual(result.status, 1)
            self.assertEqual(result.err, f"error: Unexpected response code: 500 ({text})\n")

    def test_refused_here(self) -> None:
        for arguments, why in (
            (["-list", "-install=x"], "Only a single action is allowed"),
            (["-list", "-list-primary"], "Only a single action is allowed"),
            (
                ["-list", "-relay-factor=9"],
                "Error parsing relay factor: Relay factor must be in range: [0, 5]",
            ),
            (
                ["-use=x", "-local-only"],
                "Error validating local-only: local-only can only be set for list requests",
            ),
        ):
            result = run("keyring", *arguments)
            self.assertEqual((result.status, result.err, result.lines), (1, why + "\n", []))

    def test_nothing_to_do(self) -> None:
        for arguments in ([], ["-use="]):
            result = run("keyring", *arguments)
            self.assertEqual(result.status, 1)
            self.assertTrue(result.err.startswith("Usage: pyconsul keyring"))


def place(node: str, far: float) -> dict[str, Any]:
    coordinate = {"Vec": [far] + [0.0] * 7, "Error": 1.0, "Adjustment": 0.0, "Height": 0.001}
    return {"Node": node, "Segment": "", "Coord": coordinate}


class RttTests(SynchronousTestCase):
    nodes = [place("n1", 0.0), place("n2", 0.01)]

    def test_two_nodes(self) -> None:
        result = run("rtt", "n1", "n2", answers=[(200, self.nodes)])
        self.assertEqual(
            (result.status, result.out), (0, "Estimated n1 <-> n2 rtt: 12.000 ms (using LAN coordinates)\n")
        )
        self.assertEqual(result.lines, ["GET /v1/coordinate/nodes"])

    def test_from_here(self) -> None:
        about = {"Config": {"NodeName": "n1", "Datacenter": "dc1"}}
        result = run("rtt", "n2", answers=[(200, about), (200, self.nodes)])
        self.assertEqual(result.out, "Estimated n2 <-> n1 rtt: 12.000 ms (using LAN coordinates)\n")
        centers = [{"Datacenter": "dc1", "AreaID": "wan", "Coordinates": self.nodes}]
        result = run("rtt", "-wan", "n2.dc1", answers=[(200, about), (200, centers)])
        self.assertEqual(result.out, "Estimated n2.dc1 <-> n1.dc1 rtt: 12.000 ms (using WAN coordinates)\n")

    def test_adjustments(self) -> None:
        """They count as long as the distance stays above nothing."""
        near = place("n2", 0.01)
        for adjustment, shown in ((-0.002, "10.000"), (-0.5, "12.000")):
            near["Coord"]["Adjustment"] = adjustment
            result = run("rtt", "n1", "n2", answers=[(200, [self.nodes[0], near])])
            self.assertIn(f"rtt: {shown} ms", result.out)

    def test_nobody(self) -> None:
        result = run("rtt", "n1", "nope", answers=[(200, self.nodes)])
        self.assertEqual((result.status, result.err), (1, 'Could not find a coordinate for node "nope"\n'))
        result = run("rtt", "-wan", "n1", "n2.dc1")
        self.assertEqual(result.err, "Node names must be specified as <node name>.<datacenter> with -wan\n")

    def test_arguments(self) -> None:
        for names in ([], ["a", "b", "c"]):
            result = run("rtt", *names)
            self.assertEqual(result.status, 1)
            self.assertTrue(result.err.startswith("One or two node names must be specified\n\nUsage: "))

    def test_failed(self) -> None:
        for answers, why in (
            ([(500, b"why")], "Unable to look up agent info"),
            ([(200, {}), (500, b"why")], "Error getting coordinates"),
        ):
            result = run("rtt", "n1", answers=answers)
            self.assertEqual(result.err, f"{why}: Unexpected response code: 500 (why)\n")
