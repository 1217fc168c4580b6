"""/v1/operator/."""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace

from pyconsul.errors import NoLeader, Refused
from pyconsul.http.operator import PREFIX
from pyconsul.structs.operator import OperatorHealthReply, TransferLeaderReply
from tests.http.fakes import NODE, meta
from tests.http.test_kv import Base


class RaftTests(Base):
    def test_configuration(self) -> None:
        status, body = self.ask("/v1/operator/raft/configuration?stale&dc=dc1")
        self.assertEqual(status, 200)
        self.assertEqual(
            json.loads(body),
            {
                "Servers": [
                    {
                        "ID": NODE.id,
                        "Node": "n1",
                        "Address": "192.0.2.1:8300",
                        "Leader": True,
                        "ProtocolVersion": "3",
                        "Voter": True,
                    }
                ],
                "Index": 0,
            },
        )
        method, request = self.asked()
        self.assertEqual((method, request.allow_stale), ("Operator.RaftGetConfiguration", True))
        self.assertNotIn(b"X-Consul-Index", self.head)

    def test_remove_peer(self) -> None:
        """One of id and address, no more and no less."""
        self.assertEqual(self.ask("/v1/operator/raft/peer?id=x&token=t", "DELETE"), (200, b""))
        method, request = self.asked()
        self.assertEqual((method, request.id, request.token), ("Operator.RaftRemovePeerByID", "x", "t"))
        self.assertEqual(self.ask("/v1/operator/raft/peer?address=a:1", "DELETE"), (200, b""))
        method, request = self.asked()
        self.assertEqual((method, request.address), ("Operator.RaftRemovePeerByAddress", "a:1"))
        for query, text in (
            ("", b"Must specify either ?id with the server's ID or ?address with IP:port of peer to remove"),
            ("?id=a&address=b", b"Must specify only one of ?id or ?address"),
        ):
            answer = self.ask("/v1/operator/raft/peer" + query, "DELETE")
            self.assertEqual(answer, (400, b"Bad request: " + text))
        self.agent.replies["Operator.RaftRemovePeerByID"] = Refused('id "x" was not found')
        self.assertEqual(self.ask("/v1/operator/raft/peer?id=x", "DELETE"), (500, b'id "x" was not found'))

    def test_transfer(self) -> None:
        for method in ("PUT", "POST"):
            answer = self.ask("/v1/operator/raft/transfer-leader?id=x", method)
            self.assertEqual(answer, (200, b'{"Success":true}'))
            name, request = self.asked()
            self.assertEqual((name, request.id), ("Operator.TransferLeader", "x"))
        self.agent.replies["Operator.TransferLeader"] = TransferLeaderReply(False)
        answer = self.ask("/v1/operator/raft/transfer-leader", "PUT")
        self.assertEqual(answer, (200, b'{"Success":false}'))

    def test_methods(self) -> None:
        for target, allowed in (
            ("raft/configuration", b"OPTIONS,GET"),
            ("raft/peer", b"OPTIONS,DELETE"),
            ("raft/transfer-leader", b"OPTIONS,POST,PUT"),
            ("autopilot/configuration", b"OPTIONS,GET,PUT"),
            ("autopilot/health", b"OPTIONS,GET"),
            ("autopilot/state", b"OPTIONS,GET"),
        ):
            self.assertEqual(self.ask("/v1/operator/" + target, "OPTIONS")[0], 200)
            self.assertIn(b"Allow: " + allowed + b"\r\n", self.head)


class ConfigurationTests(Base):
    target = "/v1/operator/autopilot/configuration"

    def test_get(self) -> None:
        """Durations as Go writes them, fields in Consul's order."""
        self.assertEqual(
            self.ask(self.target),
            (
                200,
                b'{"CleanupDeadServers":true,"LastContactThreshold":"200ms","MaxTrailingLogs":250,'
                b'"MinQuorum":0,"ServerStabilizationTime":"10s","RedundancyZoneTag":"",'
                b'"DisableUpgradeMigration":false,"UpgradeVersionTag":"","CreateIndex":4,"ModifyIndex":9}',
            ),
        )

    def put(self, body: Any, query: str = "") -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self.ask(self.target + query, "PUT", data)
        self.assertEqual(answer, (200, b"true"))
        method, request = self.asked()
        self.assertEqual(method, "Operator.AutopilotSetConfiguration")
        return request

    def test_put(self) -> None:
        """What is not given is zero; durations are text or nanoseconds; indexes do not matter."""
        request = self.put(
            {
                "CleanupDeadServers": True, "LastContactThreshold": "500ms", "MaxTrailingLogs": 100,
                "MinQuorum": 3, "ServerStabilizationTime": "5s", "RedundancyZoneTag": "z",
                "DisableUpgradeMigration": True, "UpgradeVersionTag": "u", "CreateIndex": 4, "ModifyIndex": 5,
            },
            "?token=t&dc=dc1",
        )  # fmt: skip
        config = request.config
        self.assertEqual((request.cas, request.token, request.datacenter), (False, "t", "dc1"))
        self.assertEqual((config.cleanup_dead_servers, config.last_contact_threshold), (True, 500_000_000))
        self.assertEqual((config.max_trailing_logs, config.min_quorum), (100, 3))
        self.assertEqual(config.server_stabilization_time, 5_000_000_000)
        self.assertEqual((config.redundancy_zone_tag, config.upgrade_version_tag), ("z", "u"))
        self.assertEqual((config.disable_upgrade_migration, config.modify_index), (True, 0))
        for body in (b"null", b"{}"):
            config = self.put(body).config
            self.assertEqual((config.cleanup_dead_servers, config.last_contact_threshold), (False, 0))
        for value, found in ((5, 5), (1.5, 1), ("-5s", -5_000_000_000), (None, 0)):
            config = self.put({"lastcontactthreshold": value}).config
            self.assertEqual(config.last_contact_threshold, found)

    def test_cas(self) -> None:
        request = self.put({}, "?cas=7")
        self.assertEqual((request.cas, request.config.modify_index), (True, 7))
        self.assertEqual((self.put({}, "?cas=0").cas, self.put({}).cas), (True, False))
        for value in ("", "x", "-1"):
            self.assertEqual(
                self.ask(f"{self.target}?cas={value}", "PUT", b"{}"),
                (
                    400,
                    b"Bad request: Error parsing cas value: strconv.ParseUint: "
                    b'parsing "%b": invalid syntax' % value.encode(),
                ),
            )
        self.agent.replies["Operator.AutopilotSetConfiguration"] = False
        self.assertEqual(self.ask(self.target + "?cas=7", "PUT", b"{}"), (200, b"false"))

    def test_bad_bodies(self) -> None:
        """What Consul says of them, as far as it is not the words of Go's decoder."""
        for body, text in (
            (b"", "EOF"),
            (b"{", "unexpected EOF"),
            (b'{"X":1}', 'json: unknown field "X"'),
            (b'{"LastContactThreshold":"5"}', 'time: missing unit in duration "5"'),
            (b'{"LastContactThreshold":1e300}', "duration out of range: 1e+300"),
            (b'{"LastContactThreshold":true}', "json: cannot unmarshal bool"),
            (
                b'{"MaxTrailingLogs":-1}',
                "json: cannot unmarshal number -1 into Go struct field "
                "AutopilotConfiguration.MaxTrailingLogs of type uint64",
            ),
            (b'{"MinQuorum":-1}', "json: cannot unmarshal number -1"),
            (b"[]", "json: cannot unmarshal array"),
        ):
            status, answer = self.ask(self.target, "PUT", body)
            self.assertEqual(status, 400)
            self.assertTrue(answer.decode().startswith(PREFIX + text), answer)
        self.assertEqual(self.agent.asked, [])


class HealthTests(Base):
    def test_healthy(self) -> None:
        status, body = self.ask("/v1/operator/autopilot/health?stale")
        self.assertEqual(status, 200)
        self.assertEqual(
            json.loads(body),
            {
                "Healthy": True,
                "FailureTolerance": 0,
                "Servers": [
                    {
                        "ID": NODE.id, "Name": "n1", "Address": "192.0.2.1:8300", "SerfStatus": "alive",
                        "Version": "1.2.3", "Leader": True, "LastContact": "0s", "LastTerm": 2,
                        "LastIndex": 7, "Healthy": True, "Voter": True,
                        "StableSince": "2026-11-18T11:06:40Z",
                    }
                ],
            },
        )  # fmt: skip
        self.assertFalse(self.asked()[1].allow_stale)

    def with_servers(self, **facts: Any) -> None:
        known: OperatorHealthReply = self.agent.replies["Operator.ServerHealth"]
        other = replace(known.servers[0], id="x", leader=False, **facts)
        servers = [known.servers[0], other]
        self.agent.replies["Operator.ServerHealth"] = OperatorHealthReply(servers=servers, **meta())

    def test_unhealthy(self) -> None:
        """Another status, the same body."""
        self.with_servers(healthy=False, last_contact=-1, serf_status=4)
        status, body = self.ask("/v1/operator/autopilot/health")
        found = json.loads(body)
        self.assertEqual((status, found["Healthy"]), (429, False))
        row = found["Servers"][1]
        self.assertEqual((row["SerfStatus"], row["LastContact"], row["Healthy"]), ("failed", "-1ns", False))
        self.with_servers(serf_status=77)
        self.assertIn(b'"SerfStatus":"unknown"', self.ask("/v1/operator/autopilot/health")[1])

    def test_state(self) -> None:
        """By id, with the roles; always 200."""
        self.with_servers(voter=False)
        status, body = self.ask("/v1/operator/autopilot/state")
        found = json.loads(body)
        self.assertEqual((status, found["Healthy"], found["Leader"]), (200, False, NODE.id))
        self.assertEqual(found["Voters"], [NODE.id])
        roles = {server_id: row["Status"] for server_id, row in found["Servers"].items()}
        self.assertEqual(roles, {NODE.id: "leader", "x": "non-voter"})
        self.with_servers()
        found = json.loads(self.ask("/v1/operator/autopilot/state")[1])
        self.assertEqual(found["Servers"]["x"]["Status"], "voter")

    def test_no_leader(self) -> None:
        self.agent.replies["Operator.ServerHealth"] = NoLeader()
        for target in ("health", "state"):
            answer = self.ask(f"/v1/operator/autopilot/{target}")
            self.assertEqual(answer, (500, b"No cluster leader"))
