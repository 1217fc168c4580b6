"""``DebugConfig`` of ``/v1/agent/self``."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.debug_config import HIDDEN, debug_config, name_of
from pyconsul.config.groups import Addresses, Limits, Ports, Telemetry
from pyconsul.config.schema import AgentConfig
from pyconsul.config.setting import declared

KEY = "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s="

CONSULS = """
ACLDatacenter ACLDefaultPolicy ACLDisabledTTL ACLsEnabled ACLToken ACLTokenTTL AdvertiseAddrLAN
AllowWriteHTTPFrom AutoEncryptAllowTLS AutopilotLastContactThreshold BindAddr Bootstrap BootstrapExpect
CAFile CheckOutputMaxSize CheckUpdateInterval Checks ClientAddrs ConnectCAProvider ConnectEnabled
ConsulRaftElectionTimeout DNSARecordLimit DNSAddrs DNSAllowStale DNSDomain DNSMaxStale DNSNodeTTL DNSPort
DNSRecursors DNSSOA DNSServiceTTL DNSUDPAnswerLimit DataDir Datacenter DefaultQueryTime DevMode
DisableKeyringFile DisableRemoteExec DiscardCheckOutput EnableDebug EnableLocalScriptChecks
EnableRemoteScriptChecks EnableUI EncryptKey EncryptVerifyIncoming ExposeMaxPort GRPCAddrs GRPCPort
GossipLANProbeInterval GossipWANSuspicionMult HTTPAddrs HTTPBlockEndpoints HTTPMaxConnsPerClient HTTPPort
HTTPResponseHeaders HTTPSAddrs HTTPSPort HTTPUseCache KVMaxValueSize KeyFile LeaveDrainTime LeaveOnTerm
Logging MaxQueryTime NodeID NodeMeta NodeName PidFile PrimaryDatacenter RPCAdvertiseAddr RPCBindAddr
RPCHoldTimeout RPCMaxBurst RPCProtocol RPCRateLimit RaftProtocol RaftSnapshotThreshold ReconnectTimeoutLAN
RejoinAfterLeave RetryJoinIntervalLAN RetryJoinLAN RetryJoinMaxAttemptsLAN Revision SegmentName
SerfAllowedCIDRsLAN SerfBindAddrLAN SerfPortLAN ServerMode ServerPort Services SessionTTLMin SkipLeaveOnInt
StartJoinAddrsLAN TLSCipherSuites TLSMinVersion TaggedAddresses Telemetry TranslateWANAddrs TxnMaxReqLen
UIContentPath UnixSocketMode VerifyIncomingHTTPS VerifyServerHostname Version Watches
"""
"""Names that Consul 1.8.7 shows."""


class DebugConfigTests(SynchronousTestCase):
    def show(self, **settings: Any) -> dict[str, Any]:
        return debug_config(replace(AgentConfig(), **settings), "the-id", {"lan": "192.0.2.1"})

    def test_names(self) -> None:
        """Those of Consul, sorted; no two settings share one."""
        shown = self.show()
        wanted = set(CONSULS.split())
        self.assertEqual(wanted - shown.keys(), set())
        self.assertEqual(list(shown), sorted(shown))
        names = [name_of(item.path) for item in declared(AgentConfig())]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(name_of("some_group.new_id"), "SomeGroup.NewID")

    def test_lists(self) -> None:
        """What files have as one text or with signs."""
        filters = Telemetry(prefix_filter=("+a", "-b", "+c"))
        shown = self.show(telemetry=filters, tls_cipher_suites="A, B", primary_datacenter="dc9")
        self.assertEqual(shown["Telemetry"]["AllowedPrefixes"], ["a", "c"])
        self.assertEqual(shown["Telemetry"]["BlockedPrefixes"], ["b"])
        self.assertEqual((shown["TLSCipherSuites"], shown["ACLDatacenter"]), (["A", "B"], "dc9"))
        self.assertEqual(self.show()["TLSCipherSuites"], [])

    def test_values(self) -> None:
        """Durations are texts, lists are lists, groups are objects; all of it can be written as JSON."""
        shown = self.show(recursors=("192.0.2.1",), ports=Ports(http=-1, grpc=8502), dev=True)
        self.assertEqual((shown["RetryJoinIntervalLAN"], shown["DNSRecursors"]), ("30s", ["192.0.2.1"]))
        self.assertEqual((shown["DNSMaxStale"], shown["RPCRateLimit"]), ("87600h0m0s", -1))
        self.assertEqual((shown["Telemetry"]["MetricsPrefix"], shown["DNSSOA"]["Retry"]), ("consul", 600))
        self.assertEqual((shown["Logging"]["LogLevel"], shown["NodeID"]), ("INFO", "the-id"))
        self.assertEqual(shown["TaggedAddresses"], {"lan": "192.0.2.1"})
        self.assertEqual((shown["HTTPAddrs"], shown["GRPCAddrs"]), ([], ["tcp://127.0.0.1:8502"]))
        self.assertEqual(shown["DNSAddrs"], ["tcp://127.0.0.1:8600", "udp://127.0.0.1:8600"])
        self.assertEqual((shown["DevMode"], shown["ConsulRaftElectionTimeout"]), (True, "52ms"))
        self.assertEqual((shown["AEInterval"], shown["CheckReapInterval"]), ("1m0s", "30s"))
        self.assertEqual(shown["ConsulCoordinateUpdatePeriod"], "100ms")
        msgspec.json.encode(shown)
        infinite = self.show(limits=Limits(rpc_rate=float("inf")))
        self.assertEqual(infinite["RPCRateLimit"], -1)

    def test_scripts(self) -> None:
        """Who allows scripts from anywhere allows those in files."""
        for everywhere, local in ((True, False), (False, True), (False, False)):
            shown = self.show(enable_script_checks=everywhere, enable_local_script_checks=local)
            self.assertEqual(shown["EnableLocalScriptChecks"], everywhere or local)

    def test_sockets(self) -> None:
        """Sockets stand as they are given."""
        shown = self.show(addresses=Addresses(http=("unix:///run/x", "192.0.2.1")))
        self.assertEqual(shown["HTTPAddrs"], ["unix:///run/x", "tcp://192.0.2.1:8500"])

    def test_roles(self) -> None:
        """What depends on the role unless it is set."""
        for server, leave, skip in ((False, True, False), (True, False, True)):
            shown = self.show(server=server)
            self.assertEqual((shown["LeaveOnTerm"], shown["SkipLeaveOnInt"]), (leave, skip))
        shown = self.show(server=True, leave_on_terminate=True, skip_leave_on_interrupt=False)
        self.assertEqual((shown["LeaveOnTerm"], shown["SkipLeaveOnInt"]), (True, False))

    def test_secrets(self) -> None:
        """Keys and tokens are hidden wherever they stand, and whether there are any."""
        shown = self.show(
            encrypt=KEY,
            services=({"name": "web", "token": "deadbeef", "check": {"Token": "deadbeef", "ttl": "1s"}},),
            checks=({"name": "c", "header": {"X-Consul-Token": ["deadbeef"]}, "token": ""},),
            dns_config=AgentConfig().dns_config,
        )
        self.assertEqual(shown["EncryptKey"], HIDDEN)
        text = msgspec.json.encode(shown).decode()
        self.assertNotIn(KEY, text)
        self.assertNotIn("deadbeef", text)
        self.assertEqual(
            shown["Services"], [{"name": "web", "token": HIDDEN, "check": {"Token": HIDDEN, "ttl": "1s"}}]
        )
        self.assertEqual(shown["Checks"][0]["token"], "")
        self.assertEqual(self.show()["EncryptKey"], HIDDEN)
