"""From rows to records: the parts that whole questions (``tests.net.test_dns_responder``) do not show."""

from collections import Counter
from random import Random

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.dns import answers, wire
from pyconsul.dns.settings import DnsSettings
from pyconsul.dns.wire import Query, Reply
from pyconsul.dns.zone import Zone
from pyconsul.structs.catalog import CheckServiceNode, Node, Weights
from tests.dns.fakes import row


def query(type_: int = wire.A, *, tcp: bool = True, edns: int = 0) -> Query:
    return Query(id=1, question=b"\3web\0\0\1\0\1", labels=["web"], type=type_, tcp=tcp, edns_size=edns)


def many(count: int) -> list[CheckServiceNode]:
    return [row(f"n{at}", f"10.0.{at // 250}.{at % 250}", port=1000 + at) for at in range(count)]


def reply(rows: list[CheckServiceNode], ask: Query, rng: Random | None = None, **settings: object) -> Reply:
    zone = Zone(DnsSettings(**settings))  # type: ignore[arg-type]
    return answers.service_reply(zone, ask, rows, 0, rng or Random(1), 0)


class ShuffleTests(SynchronousTestCase):
    def test_every_row_once(self) -> None:
        rows = list(range(50))
        taken = list(answers.shuffled(rows, Random(3)))
        self.assertEqual(sorted(taken), rows)
        self.assertNotEqual(taken, rows)
        self.assertEqual(rows, list(range(50)))

    def test_every_row_comes_first_equally_often(self) -> None:
        rng = Random(4)
        first = Counter(next(answers.shuffled("abcde", rng)) for _ in range(5000))
        self.assertEqual(set(first), set("abcde"))
        self.assertTrue(all(850 < count < 1150 for count in first.values()), first)


class LimitTests(SynchronousTestCase):
    def test_udp(self) -> None:
        """``udp_answer_limit`` up to 512 bytes, for any type; noted as cut only if there was more."""
        for type_ in (wire.A, wire.SRV, wire.ANY):
            found = reply(many(4), query(type_, tcp=False))
            self.assertEqual((len(found.answers), found.cut), (3, True))
            found = reply(many(3), query(type_, tcp=False, edns=512))
            self.assertEqual((len(found.answers), found.cut), (3, False))
            self.assertEqual(len(reply(many(9), query(type_, tcp=False, edns=513)).answers), 9)
            self.assertEqual(len(reply(many(9), query(type_)).answers), 9)
            self.assertEqual(len(reply(many(9), query(type_, tcp=False), udp_answer_limit=0).answers), 9)

    def test_metadata_goes_first(self) -> None:
        """Where instances are left out, the metadata of those that are told is, too."""
        for edns, types in ((0, {wire.A}), (1232, {wire.A, wire.TXT})):
            found = reply(
                [row(f"n{at}", port=at, meta={"a": "b"}) for at in range(4)],
                query(wire.SRV, tcp=False, edns=edns),
            )
            self.assertEqual({record.type for record in found.additional}, types)

    def test_addresses(self) -> None:
        """``a_record_limit`` on any transport, but not for SRV; what it leaves out is not cut."""
        found = reply(many(9), query(), a_record_limit=4)
        self.assertEqual((len(found.answers), found.cut), (4, False))
        self.assertEqual(len(reply(many(9), query(wire.ANY), a_record_limit=4).answers), 4)
        self.assertEqual(len(reply(many(9), query(wire.SRV), a_record_limit=4).answers), 9)
        self.assertEqual(len(reply(many(9), query(tcp=False), a_record_limit=4).answers), 3)

    def test_no_more_than_could_fit(self) -> None:
        """Nobody builds thousands of records for 600 bytes."""
        self.assertEqual(len(reply(many(5000), query(tcp=False, edns=600)).answers), 600 // 16)
        self.assertEqual(len(reply(many(5000), query(wire.SRV, tcp=False, edns=600)).answers), 600 // 40)

    def test_another_order_each_time(self) -> None:
        rng = Random(9)
        orders = {tuple(r.data for r in reply(many(4), query(), rng).answers) for _ in range(200)}
        self.assertEqual(len(orders), 24)

    def test_an_order_that_is_kept(self) -> None:
        zone = Zone(DnsSettings())
        found = answers.service_reply(zone, query(), many(9), 0, None, 0)
        self.assertEqual([record.data[3] for record in found.answers], list(range(9)))


class HealthTests(SynchronousTestCase):
    def test_critical_instances_are_left_out(self) -> None:
        """Whether it is the service's check or the node's."""
        rows = [row("a", "10.0.0.1", status="critical"), row("b", "10.0.0.2", node_status="critical")]
        self.assertEqual(reply(rows, query()).code, wire.NXDOMAIN)
        rows.append(row("c", "10.0.0.3", status="warning"))
        self.assertEqual([r.data for r in reply(rows, query()).answers], [b"\x0a\0\0\3"])
        self.assertEqual(reply(rows, query(), only_passing=True).code, wire.NXDOMAIN)
        self.assertEqual(reply(rows, query(wire.SRV), only_passing=True).code, wire.NXDOMAIN)
        self.assertEqual(reply(rows[:2], query(wire.SRV)).code, wire.NXDOMAIN)

    def test_other_states(self) -> None:
        """A prepared query may let all through; a critical instance has no weight then."""
        rows = [row("a", "10.0.0.1", status="critical", port=1), row("b", "10.0.0.2", port=2)]
        zone = Zone(DnsSettings(only_passing=True))
        for type_ in (wire.A, wire.SRV):
            found = answers.service_reply(zone, query(type_), rows, 0, None, 0, answers.WHATEVER)
            self.assertEqual(len(found.answers), 2)
        self.assertEqual([record.data[3] for record in found.answers], [0, 1])

    def test_weights(self) -> None:
        """SRV weights follow the state; without weights it is 1."""
        rows = [
            row("a", "10.0.0.1", weights=Weights(7, 3), port=1),
            row("b", "10.0.0.2", weights=Weights(7, 3), port=2, status="warning"),
            row("c", "10.0.0.3", weights=Weights(7, 3), port=3, node_status="warning"),
        ]
        found = reply(rows, query(wire.SRV))
        self.assertEqual({r.data[5]: r.data[3] for r in found.answers}, {1: 7, 2: 3, 3: 3})
        bare = CheckServiceNode(rows[0].node, replace(rows[0].service, weights=None), [])
        self.assertEqual(reply([bare], query(wire.SRV)).answers[0].data[3], 1)


class DistinctTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        rows = [row("a", "10.0.0.1", port=1), row("a", "10.0.0.1", port=2), row("b", "10.0.0.2")]
        self.assertEqual(len(reply(rows, query()).answers), 2)

    def test_targets(self) -> None:
        """A target comes once for each port, and its address once."""
        rows = [row("a", "10.0.0.1", port=1), row("a", "10.0.0.1", port=1), row("a", "10.0.0.1", port=2)]
        found = reply(rows, query(wire.SRV))
        self.assertEqual((len(found.answers), len(found.additional)), (2, 1))

    def test_metadata(self) -> None:
        """Once for each node, though it is told under the node's own name for all its addresses."""
        rows = [row("a", address="10.0.0.5", meta={"k": "v"}), row("a", port=2, meta={"k": "v"})]
        found = reply(rows, query(wire.SRV))
        texts = [record for record in found.additional if record.type == wire.TXT]
        self.assertEqual(len(texts), 1)
        self.assertEqual(texts[0].owner, wire.name_bytes("a.node.dc1.consul"))
        self.assertEqual(len(reply(rows, query(wire.SRV), additional_node_meta_txt=False).additional), 2)


class OddDataTests(SynchronousTestCase):
    """A catalog may hold what DNS has no form for."""

    def test_names(self) -> None:
        """No SRV record leads to a node whose name is none; its address can still be given."""
        rows = [row("x" * 64, "10.0.0.1"), row("a..b", "10.0.0.2")]
        self.assertEqual(len(reply(rows, query()).answers), 2)
        found = reply(rows, query(wire.SRV))
        self.assertEqual((found.code, list(found.answers), len(found.authority)), (wire.NOERROR, [], 1))

    def test_hosts(self) -> None:
        for host in ("a..b", ".", "x" * 64):
            rows = [row("a", "10.0.0.1", address=host)]
            self.assertEqual(list(reply(rows, query()).answers), [], host)
            if host != ".":
                self.assertEqual(list(reply(rows, query(wire.SRV)).answers), [], host)

    def test_a_node(self) -> None:
        zone = Zone(DnsSettings())
        found = answers.node_reply(zone, query(), Node(node="n", address="a..b"))
        self.assertEqual((list(found.answers), found.follow), ([], ""))

    def test_servers(self) -> None:
        """The zone names no server that is critical, or that has no address or name."""
        rows = [
            row("a", "10.0.0.1", status="critical"),
            row("b", "host.test"),
            row("x" * 64, "10.0.0.1"),
            row("d", "10.0.0.4"),
        ]
        found = answers.zone_reply(Zone(DnsSettings()), query(wire.NS), rows, Random(1), 0)
        self.assertEqual([r.target for r in found.answers], [wire.name_bytes("d.node.dc1.consul")])
        found = answers.zone_reply(Zone(DnsSettings()), query(wire.NS), many(9), Random(1), 0)
        self.assertEqual((len(found.answers), len(found.additional)), (3, 3))

    def test_metadata(self) -> None:
        """Long values come in pieces, empty ones as an empty piece."""
        records = answers.meta_records(b"", {"k": "v" * 300, "rfc1035-a": "", "RFC1035-b": "x"}, 0)
        self.assertEqual(records[0].data, b"\xff" + b"k=" + b"v" * 253 + b"\x2f" + b"v" * 47)
        self.assertEqual([r.data for r in records[1:]], [b"\0", b"\1x"])
        self.assertEqual(answers.meta_records(b"", None, 0), [])

    def test_ports_and_weights_out_of_range(self) -> None:
        """Registered with a warning only; the record holds 16 bits."""
        found = reply([row(port=99999, weights=Weights(70000, 1))], query(wire.SRV))
        self.assertEqual(found.answers[0].data, b"\0\1\x11\x70\x86\x9f")


class ZoneTests(SynchronousTestCase):
    def test_service_ttl(self) -> None:
        """Exact name, longest prefix, anything, nothing; without regard to case."""
        zone = Zone(DnsSettings(service_ttl_s={"web": 5, "web*": 6, "we*": 8, "*": 9}))
        ttls = [zone.service_ttl(name) for name in ("WEB", "webx", "wex", "db")]
        self.assertEqual(ttls, [5, 6, 8, 9])
        self.assertEqual(Zone(DnsSettings(service_ttl_s={"web": 5})).service_ttl("db"), 0)
        self.assertEqual(Zone(DnsSettings()).service_ttl("web"), 0)

    def test_contains(self) -> None:
        zone = Zone(DnsSettings(domain="Corp.Test", alt_domain="alt."))
        for name, inside in (
            ("a.corp.test", True), ("A.CORP.TEST.", True), ("x.alt", True), ("corp.test", True),
            ("notcorp.test", False), ("test", False), ("", False),
        ):  # fmt: skip
            self.assertEqual(zone.contains(name), inside, name)

    def test_memory_is_bounded(self) -> None:
        """Names and addresses are remembered, but not without end."""
        zone = Zone(DnsSettings())
        self.assertEqual(zone.packed("10.0.0.1"), b"\x0a\0\0\1")
        for at in range(20000):
            zone.packed(f"h{at}")
            zone.node_name(f"n{at}", "dc1")
        self.assertLessEqual(len(zone._addresses), 16384)
        self.assertLessEqual(len(zone._names), 16384)
        self.assertEqual(zone.packed("2001:db8::1"), bytes.fromhex("20010db8" + "0" * 23 + "1"))

    def test_serial(self) -> None:
        """32 bits of it."""
        self.assertEqual(Zone(DnsSettings()).soa(2**32 + 7).data[-20:-16], b"\0\0\0\7")
