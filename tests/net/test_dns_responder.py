"""Whole questions. The expected answers are those of Consul 1.8.7 for the same catalog."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.dns.settings import DnsSettings, Soa
from pyconsul.dns.wire import A, Record, name_bytes, parse_query
from pyconsul.errors import BadRequest, NoLeader, Refused
from pyconsul.net.dns_recursors import Recursors
from pyconsul.net.dns_responder import Answer, Responder
from pyconsul.structs.catalog import Node, Weights
from tests.dns.fakes import FakeAgent, question, read, row

Found: TypeAlias = tuple[str, str, list[str], list[str], list[str]]
"""Code, flags and the three sections."""

SOA = "consul 0 SOA ns.consul hostmaster.consul 1700000000 3600 600 86400 0"
NO_NAME: Found = ("NXDOMAIN", "qr aa rd", [], [SOA], [])
NOTHING: Found = ("NOERROR", "qr aa rd", [], [SOA], [])
EMPTY: Found = ("NOERROR", "qr aa rd", [], [], [])
META = {"consul-network-segment": ""}
SIX = "7.7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"


def catalog() -> FakeAgent:
    rows = [
        row("n1", "192.0.2.9", "consul", port=8300, meta=META),
        row("a", "192.0.2.1", tags=("blue", "v1", "x.y"), meta={"role": "db", "rfc1035-x": "plain"}),
        row("b", "192.0.2.2", tags=("green", "v1"), port=8080, address="198.51.100.2", weights=Weights(7, 3)),
        row("c", "192.0.2.3", "named", port=81, address="host.example.test"),
        row("d", "2001:db8::d", "six", port=66),
        row("e", "192.0.2.5", "inner", port=70, address="Named2.service.consul"),
        row("f", "192.0.2.6", "named2", port=71),
        row("f", "192.0.2.6", "loop", port=72, address="loop.service.consul"),
        row("g", "www.example.test", "hosted", meta={"k": "v"}),
    ]
    nodes = [r.node for r in rows] + [Node(node="rev6", address="2001:DB8:0::77", datacenter="dc1")]
    return FakeAgent(rows, nodes)


def responder(agent: Any, through: Any = None, **settings: Any) -> Responder:
    through = Recursors(None, Clock(), Random(0)) if through is None else through
    return Responder(agent, DnsSettings(**settings), through, Random(7), lambda: 1_700_000_000.9)


class FakeRecursors(Recursors):
    """Knows one host and one answer."""

    def __init__(self, found: bytes | None = b"\0\0\x81\x80" + bytes(8)) -> None:
        super().__init__(None, Clock(), Random(0))
        self.found = found
        self.asked: list[tuple[bytes, bool]] = []

    def ask(self, data: bytes, tcp: bool) -> Deferred[bytes | None]:
        self.asked.append((data, tcp))
        return succeed(self.found and data[:2] + self.found[2:])

    def records(self, host: str, type_: int) -> Deferred[list[Record]]:
        return succeed([Record(name_bytes(host), A, 60, b"\x0a\1\1\1")] if type_ == A else [])


class Case(SynchronousTestCase):
    agent: FakeAgent

    def setUp(self) -> None:
        self.agent = catalog()
        self.responder = responder(self.agent)

    def bytes(self, name: str, type_: str = "A", tcp: bool = True, **more: Any) -> bytes:
        data = question(name, type_, **more)
        query = parse_query(data, tcp)
        assert query is not None
        answer = self.responder.answer(query, data)
        if isinstance(answer, Deferred):
            self.agent.flush()
            answer = self.successResultOf(answer)
        assert isinstance(answer, Answer)
        return answer.data

    def ask(
        self, name: str, type_: str = "A", **more: Any
    ) -> tuple[str, str, list[str], list[str], list[str]]:
        found = read(self.bytes(name, type_, **more))
        self.assertEqual(found["id"], 0x1234)
        return (
            found["rcode"],
            found["flags"],
            sorted(found["answer"]),
            sorted(found["authority"]),
            sorted(found["additional"]),
        )

    def expect(
        self, name: str, type_: str, answer: list[str], additional: list[str] | None = None, **more: Any
    ) -> None:
        """NOERROR with these records."""
        expected: Found = ("NOERROR", "qr aa rd", sorted(answer), [], sorted(additional or []))
        self.assertEqual(self.ask(name, type_, **more), expected, (name, type_))


class GoldenTests(Case):
    def test_nodes(self) -> None:
        a = "a.node.consul 0 "
        texts = [a + "TXT role=db", a + "TXT plain"]
        self.expect("a.node.consul", "A", [a + "A 192.0.2.1"], texts)
        self.expect("a.node.consul", "A", [a + "A 192.0.2.1"], texts, tcp=False)
        self.expect("a.node.consul", "ANY", [a + "A 192.0.2.1", *texts])
        self.expect("a.node.consul", "TXT", texts)
        self.expect("a.node.consul", "AAAA", [], texts)
        self.expect("d.node.consul", "AAAA", ["d.node.consul 0 AAAA 2001:db8::d"])
        self.expect(
            "N1.Node.DC1.CONSUL",
            "A",
            ["N1.Node.DC1.CONSUL 0 A 192.0.2.9"],
            ["N1.Node.DC1.CONSUL 0 TXT consul-network-segment="],
        )
        for type_ in ("SRV", "MX", "PTR", "CNAME"):
            self.assertEqual(self.ask("a.node.consul", type_), EMPTY)
            self.assertEqual(self.ask("none.node.dc9.consul", type_), EMPTY)
        self.assertEqual(self.ask("d.node.consul", "A"), EMPTY)
        self.assertEqual(self.ask("none.node.consul"), NO_NAME)
        self.assertEqual(self.ask("a.node.dc9.consul"), NO_NAME)

    def test_a_node_by_host_name(self) -> None:
        cname = "g.node.consul 0 CNAME www.example.test"
        text = "g.node.consul 0 TXT k=v"
        self.expect("g.node.consul", "A", [cname], [text])
        self.expect("g.node.consul", "AAAA", [cname], [text])
        self.expect("g.node.consul", "ANY", [cname, text])
        self.expect("g.node.consul", "TXT", [text])

    def test_service_addresses(self) -> None:
        for name in ("web.service.consul", "WEB.service.dc1.consul", "v1.web.service.consul"):
            both = [f"{name} 0 A 192.0.2.1", f"{name} 0 A 198.51.100.2"]
            for type_ in ("A", "ANY", "TXT"):
                self.expect(name, type_, both)
            for type_ in ("AAAA", "CNAME", "MX"):
                self.assertEqual(self.ask(name, type_), NOTHING)
        self.expect("BLUE.web.service.consul", "A", ["BLUE.web.service.consul 0 A 192.0.2.1"])
        self.expect("x.y.web.service.consul", "A", ["x.y.web.service.consul 0 A 192.0.2.1"])
        self.expect("six.service.consul", "AAAA", ["six.service.consul 0 AAAA 2001:db8::d"])
        for name in ("none.service.consul", "none.web.service.consul", "web.service.dc9.consul"):
            for type_ in ("A", "SRV"):
                self.assertEqual(self.ask(name, type_), NO_NAME)

    def test_srv(self) -> None:
        for name in ("web.service.consul", "_web._tcp.service.consul", "_web._v1.dc1.consul"):
            self.expect(
                name,
                "SRV",
                [
                    f"{name} 0 SRV 1 1 80 a.node.dc1.consul",
                    f"{name} 0 SRV 1 7 8080 c6336402.addr.dc1.consul",
                ],
                [
                    "a.node.dc1.consul 0 A 192.0.2.1",
                    "a.node.dc1.consul 0 TXT role=db",
                    "a.node.dc1.consul 0 TXT plain",
                    "c6336402.addr.dc1.consul 0 A 198.51.100.2",
                ],
            )
        self.expect(
            "six.service.consul",
            "SRV",
            ["six.service.consul 0 SRV 1 1 66 d.node.dc1.consul"],
            ["d.node.dc1.consul 0 AAAA 2001:db8::d"],
        )
        self.expect("named.service.consul", "SRV", ["named.service.consul 0 SRV 1 1 81 host.example.test"])
        self.expect(
            "hosted.service.consul",
            "SRV",
            ["hosted.service.consul 0 SRV 1 1 80 www.example.test"],
            ["g.node.dc1.consul 0 TXT k=v"],
        )

    def test_host_names(self) -> None:
        """A CNAME; what it leads to follows if that is ours."""
        for type_ in ("A", "AAAA", "ANY", "MX", "CNAME"):
            self.expect("named.service.consul", type_, ["named.service.consul 0 CNAME host.example.test"])
        inner = "inner.service.consul 0 CNAME Named2.service.consul"
        self.expect("inner.service.consul", "A", [inner, "Named2.service.consul 0 A 192.0.2.6"])
        self.expect("inner.service.consul", "CNAME", [inner])
        self.agent.rows.append(row("h", "192.0.2.7", "outer", address="named.service.consul"))
        outer = "outer.service.consul 0 CNAME named.service.consul"
        self.expect("outer.service.consul", "A", [outer, "named.service.consul 0 CNAME host.example.test"])
        self.expect("loop.service.consul", "A", ["loop.service.consul 0 CNAME loop.service.consul"] * 2)

    def test_the_mesh_and_what_there_is_not(self) -> None:
        for name in (
            "web.connect.consul", "web.ingress.consul", "web.virtual.consul", "x.query.consul",
            "_x._tcp.query.consul", "consul", "x.consul", "service.consul", "a.b.c.consul",
        ):  # fmt: skip
            self.assertEqual(self.ask(name), NO_NAME, name)

    def test_addresses(self) -> None:
        for type_ in ("A", "AAAA", "SRV"):
            self.expect("c0000201.addr.dc9.consul", type_, ["c0000201.addr.dc9.consul 0 A 192.0.2.1"])
        self.assertEqual(self.ask("zz.addr.consul"), EMPTY)

    def test_the_zone(self) -> None:
        server = ["consul 0 NS n1.node.dc1.consul"]
        address = ["n1.node.dc1.consul 0 A 192.0.2.9"]
        for name in ("consul", "web.service.consul"):
            self.expect(name, "NS", server, address)
            self.assertEqual(self.ask(name, "SOA"), ("NOERROR", "qr aa rd", [SOA], server, address))
        self.assertEqual(self.ask("consul", "AXFR"), ("NOTIMP", "qr aa rd", [], [], []))

    def test_reverse(self) -> None:
        one = "1.2.0.192.in-addr.arpa"
        for type_ in ("PTR", "ANY", "A"):
            self.expect(one, type_, [one + " 0 PTR a.node.dc1.consul"])
        own = "2.100.51.198.in-addr.arpa"
        self.expect(own, "PTR", [own + " 0 PTR web.service.dc1.consul"])
        self.expect(SIX, "PTR", [SIX + " 0 PTR rev6.node.dc1.consul"])
        for name, target in ((one, "a.node.dc1.consul"), (own, "web.service.dc1.consul")):
            found = self.ask(name, "SOA")  # whoever asks for an SOA gets that of the domain, too
            self.assertEqual(found, ("NOERROR", "qr aa rd", [f"{name} 0 PTR {target}"], [SOA], []))
        for name in ("79.2.0.192.in-addr.arpa", "in-addr.arpa", "x.2.0.192.in-addr.arpa"):
            self.assertEqual(self.ask(name, "PTR"), ("SERVFAIL", "qr rd ra", [], [], []))

    def test_outside(self) -> None:
        """Refused, and without EDNS."""
        found = read(self.bytes("www.example.test", "A", edns=1232))
        self.assertEqual((found["rcode"], found["flags"], found["edns"]), ("REFUSED", "qr rd", 0))

    def test_classes(self) -> None:
        """Only the internet has nodes and services; Consul 1.8.7 answers any class."""
        self.assertEqual(self.ask("a.node.consul", class_=3)[:2], ("REFUSED", "qr rd"))
        self.assertEqual(self.ask("a.node.consul", class_=255)[0], "NOERROR")

    def test_what_is_not_asked_to_recurse(self) -> None:
        self.assertEqual(self.ask("none.node.consul", flags=0)[1], "qr aa")


class ClientAgentGoldenTests(GoldenTests):
    """All of that again with an agent that gives Deferreds."""

    def setUp(self) -> None:
        super().setUp()
        self.agent.deferred = True


class SettingsTests(Case):
    def test_domains(self) -> None:
        """The second domain is answered as asked; what an answer leads to is in the first."""
        self.responder = responder(self.agent, domain="corp.test", alt_domain="alt.test", soa=Soa(min_ttl=60))
        soa = "corp.test 60 SOA ns.corp.test hostmaster.corp.test 1700000000 3600 600 86400 60"
        self.expect(
            "consul.service.alt.test",
            "SRV",
            ["consul.service.alt.test 0 SRV 1 1 8300 n1.node.dc1.corp.test"],
            ["n1.node.dc1.corp.test 0 A 192.0.2.9", "n1.node.dc1.corp.test 0 TXT consul-network-segment="],
        )
        self.assertEqual(self.ask("x.node.alt.test"), ("NXDOMAIN", "qr aa rd", [], [soa], []))
        self.assertEqual(self.ask("a.node.consul")[0], "REFUSED")

    def test_ttls(self) -> None:
        self.responder = responder(self.agent, node_ttl_s=12, service_ttl_s={"web": 30, "*": 5})
        self.expect("d.node.consul", "AAAA", ["d.node.consul 12 AAAA 2001:db8::d"])
        self.expect("c0000201.addr.consul", "A", ["c0000201.addr.consul 12 A 192.0.2.1"])
        self.expect("green.web.service.consul", "A", ["green.web.service.consul 30 A 198.51.100.2"])
        self.expect(
            "six.service.consul",
            "SRV",
            ["six.service.consul 5 SRV 1 1 66 d.node.dc1.consul"],
            ["d.node.dc1.consul 5 AAAA 2001:db8::d"],
        )

    def test_metadata(self) -> None:
        """Without additional texts they are still answers to who asks for them."""
        self.responder = responder(self.agent, additional_node_meta_txt=False)
        self.expect("g.node.consul", "A", ["g.node.consul 0 CNAME www.example.test"])
        self.expect("g.node.consul", "TXT", ["g.node.consul 0 TXT k=v"])

    def test_truncation(self) -> None:
        self.agent.rows = [row(f"n{at}", f"10.0.0.{at}") for at in range(9)]
        found = self.ask("web.service.consul", tcp=False)
        self.assertEqual((found[1], len(found[2])), ("qr aa rd", 3))
        self.responder = responder(self.agent, udp_answer_limit=2, a_record_limit=4, enable_truncate=True)
        found = self.ask("web.service.consul", tcp=False)
        self.assertEqual((found[1], len(found[2])), ("qr aa tc rd", 2))
        found = self.ask("web.service.consul", edns=4096, tcp=False)
        self.assertEqual((found[1], len(found[2])), ("qr aa rd", 4))
        self.assertEqual(len(self.ask("web.service.consul", "SRV")[2]), 9)

    def test_compression(self) -> None:
        self.responder = responder(self.agent, disable_compression=True)
        self.assertEqual(self.bytes("six.service.consul", "SRV").count(b"\3dc1\6consul\0"), 2)

    def test_new_settings(self) -> None:
        """They count from then on."""
        self.responder.configure(DnsSettings(node_ttl_s=3))
        self.expect("d.node.consul", "AAAA", ["d.node.consul 3 AAAA 2001:db8::d"])


class ConsistencyTests(Case):
    def test_what_is_asked(self) -> None:
        """Stale reads of the named datacenter, with the tag as a filter."""
        self.ask("v1.web.service.DC1.consul")
        method, request = self.agent.asked[-1]
        self.assertEqual(method, "Health.ServiceNodes")
        self.assertEqual(
            (request.service_tags, request.tag_filter, request.datacenter), (["v1"], True, "dc1")
        )
        self.assertTrue(request.allow_stale)
        self.ask("web.service.consul")
        request = self.agent.asked[-1][1]
        self.assertEqual((request.service_tags, request.tag_filter, request.datacenter), (None, False, ""))

    def test_a_server_too_far_behind(self) -> None:
        """The leader is asked instead."""
        for deferred in (False, True):
            self.agent.deferred = deferred
            self.responder = responder(self.agent, max_stale_s=5.0)
            self.agent.last_contact = 5_000_000_000
            self.ask("d.node.consul", "AAAA")
            self.assertEqual(self.agent.asked[-1][1].allow_stale, True)
            self.agent.last_contact += 1
            count = len(self.agent.asked)
            self.ask("d.node.consul", "AAAA")
            self.assertEqual(len(self.agent.asked), count + 2)
            self.assertEqual(self.agent.asked[-1][1].allow_stale, False)

    def test_no_stale_reads(self) -> None:
        self.responder = responder(self.agent, allow_stale=False)
        for name in ("a.node.consul", "web.service.consul", "1.2.0.192.in-addr.arpa"):
            self.ask(name)
            self.assertFalse(self.agent.asked[-1][1].allow_stale)

    def test_failures(self) -> None:
        """No leader is SERVFAIL, and so is a bug, which is logged."""
        for deferred in (False, True):
            self.agent.deferred = deferred
            self.agent.error = NoLeader()
            for name in (
                "a.node.consul",
                "web.service.consul",
                "consul.query.consul",
                "1.2.0.192.in-addr.arpa",
            ):
                self.assertEqual(self.ask(name), ("SERVFAIL", "qr aa rd", [], [], []), name)
            self.agent.error = ZeroDivisionError()
            self.assertEqual(self.ask("a.node.consul")[0], "SERVFAIL")
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_server_that_knows_no_service_addresses(self) -> None:
        """PTR then knows nodes only."""
        for deferred in (False, True):
            self.agent = catalog()
            self.agent.deferred = deferred
            self.agent.refused = "Catalog.ServiceNodes"
            self.responder = responder(self.agent)
            self.assertEqual(self.ask("2.100.51.198.in-addr.arpa", "PTR")[0], "SERVFAIL")
            self.assertEqual(self.ask("1.2.0.192.in-addr.arpa", "PTR")[0], "NOERROR")

    def test_reverse_of_a_name_that_is_none(self) -> None:
        """A service whose name DNS has no form for stands for nothing."""
        self.agent.rows.append(row("h", "192.0.2.7", "x" * 64, address="198.51.100.9"))
        self.assertEqual(self.ask("9.100.51.198.in-addr.arpa", "PTR")[0], "SERVFAIL")


class PreparedQueryTests(Case):
    def reply(self, ttl: str = "10s") -> Any:
        rows = [row("b", "192.0.2.2", status="warning"), row("a"), row("c", "192.0.2.3", status="critical")]
        return SimpleNamespace(nodes=rows, dns=SimpleNamespace(ttl=ttl), service="web", last_contact=0)

    def test_answers(self) -> None:
        """In the order in which the query gives them, with its TTL or else the service's."""
        self.agent.queries = {"near": self.reply(), "plain": self.reply("")}
        self.responder = responder(
            self.agent, service_ttl_s={"web": 4}, node_name="n1", segment="s", only_passing=True
        )
        for deferred in (False, True):
            self.agent.deferred = deferred
            found = read(self.bytes("near.query.consul"))
            lines = [f"near.query.consul 10 A 192.0.2.{last}" for last in (2, 1, 3)]
            self.assertEqual(found["answer"], lines)
            self.expect("_plain._tcp.query.dc1.consul", "A", [
                f"_plain._tcp.query.dc1.consul 4 A 192.0.2.{last}" for last in (1, 2, 3)
            ])  # fmt: skip
        request = self.agent.asked[-1][1]
        self.assertEqual((request.query_id_or_name, request.datacenter), ("plain", "dc1"))
        self.assertEqual((request.agent.node, request.agent.segment), ("n1", "s"))
        self.assertEqual((request.source.node, request.source.ip), ("", ""))

    def test_client(self) -> None:
        """Where the question came from, or the subnet that a resolver tells."""
        self.agent.queries = {"near": self.reply()}
        data = question("near.query.consul")
        for subnet, address in ((b"", "192.0.2.7"), (b"\0\x08\0\x07\0\1\x18\0\x0a\1\2", "10.1.2.0")):
            query = parse_query(data)
            assert query is not None
            query.peer, query.subnet = "192.0.2.7", subnet
            self.responder.answer(query, data)
            self.assertEqual(self.agent.asked[-1][1].source.ip, address)
            self.assertEqual(query.subnet[7:8], subnet[6:7])  # the answer may be another elsewhere
            query.labels, query.subnet = ["none", "query", "consul"], subnet
            self.responder.answer(query, data)
            self.assertEqual(query.subnet, subnet)  # there is no such query anywhere

    def test_unknown(self) -> None:
        self.agent.queries = {"gone": BadRequest("Query not found"), "odd": Refused("other")}
        for deferred in (False, True):
            self.agent.deferred = deferred
            self.assertEqual(self.ask("none.query.consul"), NO_NAME)
            self.assertEqual(self.ask("gone.query.consul"), NO_NAME)
            self.assertEqual(self.ask("odd.query.consul")[0], "SERVFAIL")


class RecursorTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.recursors = FakeRecursors()
        self.responder = responder(self.agent, self.recursors, recursors=("10.0.0.53",))

    def test_names_of_others(self) -> None:
        """The message goes out as it came, the answer comes back as it is."""
        self.assertEqual(self.bytes("www.example.test"), b"\x12\x34\x81\x80" + bytes(8))
        self.assertEqual(self.recursors.asked, [(question("www.example.test"), True)])
        self.bytes("79.2.0.192.in-addr.arpa", "PTR", tcp=False)
        self.assertEqual(self.recursors.asked[1], (question("79.2.0.192.in-addr.arpa", "PTR"), False))

    def test_nobody_answers(self) -> None:
        self.recursors.found = None
        self.assertEqual(self.ask("www.example.test"), ("SERVFAIL", "qr rd ra", [], [], []))

    def test_our_own(self) -> None:
        """RA says that others' names could be asked for; CNAMEs to them are followed."""
        self.assertEqual(self.ask("none.node.consul")[:2], ("NXDOMAIN", "qr aa rd ra"))
        found = self.ask("named.service.consul")
        self.assertEqual(
            found[2], ["host.example.test 60 A 10.1.1.1", "named.service.consul 0 CNAME host.example.test"]
        )
        self.assertEqual(self.recursors.asked, [])

    def test_several_steps(self) -> None:
        """Through names of ours to one of theirs."""
        self.agent.rows.append(row("h", "192.0.2.7", "outer", address="named.service.consul"))
        self.assertEqual(len(self.ask("outer.service.consul")[2]), 3)

    def test_many_steps(self) -> None:
        """They end."""
        for at in range(12):
            self.agent.rows.append(row(f"s{at}", "192.0.2.7", f"s{at}", address=f"s{at + 1}.service.consul"))
        self.assertEqual(len(self.ask("s0.service.consul")[2]), 9)

    def test_a_step_that_fails(self) -> None:
        """What is known is answered."""
        for error in (NoLeader(), ZeroDivisionError()):
            agent = catalog()
            self.agent = agent
            reply = agent._reply
            agent._reply = lambda method, request, reply=reply, error=error: (  # type: ignore[misc,method-assign]
                reply(method, request) if request.service_name == "inner" else _raise(error)
            )
            self.responder = responder(agent)
            self.expect("inner.service.consul", "A", ["inner.service.consul 0 CNAME Named2.service.consul"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


def _raise(error: Exception) -> Any:
    raise error


class RemakeTests(Case):
    def test_answers_can_be_made_again(self) -> None:
        """In another order, without asking."""
        data = question("web.service.consul", "SRV")
        query = parse_query(data)
        assert query is not None
        answer = self.responder.answer(query, data)
        assert isinstance(answer, Answer) and answer.make is not None
        asked = len(self.agent.asked)
        orders = {tuple(read(answer.make())["answer"]) for _ in range(50)}
        self.assertEqual(len(orders), 2)
        self.assertEqual(len(self.agent.asked), asked)
