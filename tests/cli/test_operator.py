"""The operator commands. Texts and requests are those of the reference."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.support import run

SERVERS = {
    "Servers": [
        {"ID": "a-1", "Node": "one", "Address": "10.0.0.1:8300", "Leader": True, "ProtocolVersion": "3",
         "Voter": True},
        {"ID": "b-2", "Node": "(unknown)", "Address": "10.0.0.2:8300", "Leader": False,
         "ProtocolVersion": "", "Voter": False},
    ],
    "Index": 0,
}  # fmt: skip

CONFIG: dict[str, Any] = {
    "CleanupDeadServers": True, "LastContactThreshold": "200ms", "MaxTrailingLogs": 250, "MinQuorum": 0,
    "ServerStabilizationTime": "10s", "RedundancyZoneTag": "", "DisableUpgradeMigration": False,
    "UpgradeVersionTag": "", "CreateIndex": 4, "ModifyIndex": 9,
}  # fmt: skip


class RaftTests(SynchronousTestCase):
    def test_list_peers(self) -> None:
        """A table; also under the name that it had in Consul 0.7."""
        for arguments in (("list-peers",), ("-list-peers",)):
            result = run("operator", "raft", *arguments, answers=[(200, SERVERS)])
            self.assertEqual((result.status, result.err), (0, ""))
            self.assertEqual(
                result.out,
                "Node       ID   Address        State     Voter  RaftProtocol\n"
                "one        a-1  10.0.0.1:8300  leader    true   3\n"
                "(unknown)  b-2  10.0.0.2:8300  follower  false  <=1\n",
            )
            self.assertEqual(result.lines, ["GET /v1/operator/raft/configuration"])

    def test_stale(self) -> None:
        """Which works without a leader, while the plain one does not."""
        result = run("operator", "raft", "list-peers", "-stale", "-datacenter=d", answers=[(200, SERVERS)])
        self.assertEqual(result.lines, ["GET /v1/operator/raft/configuration?dc=d&stale"])
        result = run("operator", "raft", "list-peers", answers=[(500, b"No cluster leader")])
        self.assertEqual(
            (result.status, result.err),
            (
                1,
                "Error getting peers: Failed to retrieve raft configuration: "
                "Unexpected response code: 500 (No cluster leader)\n",
            ),
        )

    def test_remove_peer(self) -> None:
        """By address or by id."""
        for flag, value in (("address", "10.0.0.2:8300"), ("id", "b-2")):
            result = run("operator", "raft", "remove-peer", f"-{flag}={value}", answers=[(200, b"")])
            self.assertEqual((result.status, result.out), (0, f'Removed peer with {flag} "{value}"\n'))
            quoted = value.replace(":", "%3A")
            self.assertEqual(result.lines, [f"DELETE /v1/operator/raft/peer?{flag}={quoted}"])

    def test_remove_peer_errors(self) -> None:
        """Neither, both, or one that is not there."""
        for arguments, text in (
            ((), "an address or id is required for the peer to remove"),
            (("-id=a", "-address=b"), "cannot give both an address and id"),
        ):
            result = run("operator", "raft", "remove-peer", *arguments)
            self.assertEqual((result.status, result.err), (1, f"Error removing peer: {text}\n"))
            self.assertEqual(result.lines, [])
        result = run("operator", "raft", "remove-peer", "-id=a", answers=[(500, b"no")])
        self.assertEqual(result.err, "Error removing peer: Unexpected response code: 500 (no)\n")

    def test_transfer_leader(self) -> None:
        """To one server or to any."""
        for arguments, query in (((), ""), (("-id=b-2",), "?id=b-2")):
            result = run(
                "operator", "raft", "transfer-leader", *arguments, answers=[(200, {"Success": True})]
            )
            self.assertEqual((result.status, result.out), (0, "Success\n"))
            self.assertEqual(result.lines, ["PUT /v1/operator/raft/transfer-leader" + query])
        result = run("operator", "raft", "transfer-leader", answers=[(200, {"Success": False})])
        self.assertEqual((result.status, result.err), (1, "Error transferring leadership: it was not done\n"))


class AutopilotTests(SynchronousTestCase):
    def test_get_config(self) -> None:
        """One setting a line, as Go would write it."""
        result = run("operator", "autopilot", "get-config", "-stale", answers=[(200, CONFIG)])
        self.assertEqual((result.status, result.err), (0, ""))
        self.assertEqual(
            result.out.splitlines(),
            [
                "CleanupDeadServers = true",
                "LastContactThreshold = 200ms",
                "MaxTrailingLogs = 250",
                "MinQuorum = 0",
                "ServerStabilizationTime = 10s",
                'RedundancyZoneTag = ""',
                "DisableUpgradeMigration = false",
                'UpgradeVersionTag = ""',
            ],
        )
        self.assertEqual(result.lines, ["GET /v1/operator/autopilot/configuration?stale"])
        result = run("operator", "autopilot", "get-config", answers=[(500, b"boom")])
        self.assertEqual(
            result.err, "Error querying Autopilot configuration: Unexpected response code: 500 (boom)\n"
        )

    def set(self, *flags: str, answer: object = True, status: int = 200) -> Any:
        answers = [(200, CONFIG), (status, answer)]
        return run("operator", "autopilot", "set-config", *flags, answers=answers)

    def test_set_config(self) -> None:
        """What is given replaces what was read, if nobody was faster."""
        result = self.set(
            "-cleanup-dead-servers=false", "-last-contact-threshold=1s", "-max-trailing-logs=300",
            "-min-quorum=3", "-server-stabilization-time=1m", "-redundancy-zone-tag=z",
            "-disable-upgrade-migration", "-upgrade-version-tag=u", "-datacenter=d",
        )  # fmt: skip
        self.assertEqual((result.status, result.out), (0, "Configuration updated!\n"))
        self.assertEqual(
            result.lines,
            [
                "GET /v1/operator/autopilot/configuration?dc=d",
                "PUT /v1/operator/autopilot/configuration?dc=d&cas=9",
            ],
        )
        self.assertEqual(
            json.loads(result.bodies[-1]),
            {
                "CleanupDeadServers": False, "LastContactThreshold": "1s", "MaxTrailingLogs": 300,
                "MinQuorum": 3, "ServerStabilizationTime": "1m", "RedundancyZoneTag": "z",
                "DisableUpgradeMigration": True, "UpgradeVersionTag": "u", "CreateIndex": 4, "ModifyIndex": 9,
            },
        )  # fmt: skip
        self.assertEqual(json.loads(self.set().bodies[-1]), CONFIG)

    def test_somebody_was_faster(self) -> None:
        result = self.set("-min-quorum=3", answer=False)
        text = "Configuration could not be atomically updated, please try again\n"
        self.assertEqual((result.status, result.err), (1, text))
        result = self.set("-min-quorum=3", answer=b"boom", status=500)
        self.assertEqual(
            result.err, "Error setting Autopilot configuration: Unexpected response code: 500 (boom)\n"
        )

    def test_bad_values(self) -> None:
        """They are found before anything is asked."""
        for flag in ("-last-contact-threshold=abc", "-max-trailing-logs=-4", "-server-stabilization-time=5"):
            result = run("operator", "autopilot", "set-config", flag)
            name, _, value = flag.partition("=")
            self.assertEqual((result.status, result.lines), (1, []))
            self.assertTrue(result.err.startswith(f'invalid value "{value}" for flag {name}: '))


class GroupTests(SynchronousTestCase):
    def test_groups_in_groups(self) -> None:
        """Each level shows what is below it."""
        for arguments, below in (
            (("operator",), "autopilot"),
            (("operator", "raft"), "list-peers"),
            (("operator", "raft", "nope"), "transfer-leader"),
            (("operator", "autopilot"), "set-config"),
        ):
            result = run(*arguments)
            self.assertEqual((result.status, result.out), (1, ""))
            self.assertIn(f"\n    {below} ", result.err)
        result = run("operator", "raft", "-h")
        self.assertEqual((result.status, result.err), (0, ""))
        self.assertIn("Usage: pyconsul operator raft <subcommand>", result.out)
        self.assertNotIn("-list-peers", result.out.replace("    list-peers", ""))
