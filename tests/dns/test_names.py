"""What a name stands for (specs of DNS, section 1; checked against Consul 1.8.7)."""

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.dns import names
from pyconsul.dns.names import Lookup, understand
from pyconsul.dns.wire import AAAA, ANY, AXFR, NS, SOA, SRV, TXT, A

DOMAINS = [["consul"], ["alt", "test"]]


def ask(name: str, type_: int = A) -> Lookup:
    return understand(name.split(".") if name else [], type_, DOMAINS)


class UnderstandTests(SynchronousTestCase):
    def test_services(self) -> None:
        """``[TAG.]SERVICE.service[.DC]``; a tag may hold dots, and keywords may be in capitals."""
        self.assertEqual(ask("web.service.consul"), Lookup("service", "web"))
        self.assertEqual(ask("WEB.Service.Dc1.CONSUL"), Lookup("service", "WEB", "", "Dc1"))
        self.assertEqual(ask("blue.web.service.consul"), Lookup("service", "web", "blue"))
        self.assertEqual(ask("a.b.web.service.alt.test"), Lookup("service", "web", "a.b"))

    def test_rfc2782(self) -> None:
        """``_SERVICE._TAG``, where ``_tcp`` is no tag; without ``.service`` for SRV alone."""
        self.assertEqual(ask("_web._tcp.service.consul"), Lookup("service", "web"))
        self.assertEqual(ask("_web._TCP.service.dc2.consul"), Lookup("service", "web", "", "dc2"))
        self.assertEqual(ask("_web._blue.service.consul"), Lookup("service", "web", "blue"))
        self.assertEqual(ask("_web._tcp.consul", SRV), Lookup("service", "web"))
        self.assertEqual(ask("_web._v1.dc2.consul", SRV), Lookup("service", "web", "v1", "dc2"))
        self.assertEqual(ask("_web._tcp.consul", A), Lookup("malformed"))
        self.assertEqual(ask("_web._.service.consul"), Lookup("service", "web"))
        self.assertEqual(ask("_._blue.service.consul"), Lookup("service", "_blue", "_"))
        self.assertEqual(ask("_web.tcp.service.consul"), Lookup("service", "tcp", "_web"))
        self.assertEqual(ask("x._web._tcp.consul", SRV), Lookup("malformed"))

    def test_nodes(self) -> None:
        """A node's name may hold dots; types that nodes do not have are not looked up."""
        for type_ in (A, AAAA, TXT, ANY):
            self.assertEqual(ask("n1.node.consul", type_), Lookup("node", "n1"))
        self.assertEqual(ask("n1.site.node.dc2.consul"), Lookup("node", "n1.site", "", "dc2"))
        self.assertEqual(ask("n1.node.consul", SRV).kind, names.NODE_EMPTY)

    def test_the_keyword_nearest_to_the_domain_counts(self) -> None:
        self.assertEqual(ask("web.service.node.consul"), Lookup("node", "web.service"))
        self.assertEqual(ask("service.service.consul"), Lookup("service", "service"))

    def test_queries(self) -> None:
        self.assertEqual(ask("geo.db.query.consul"), Lookup("query", "geo.db"))
        self.assertEqual(ask("_geo._tcp.query.dc2.consul", SRV), Lookup("query", "geo", "", "dc2"))

    def test_the_mesh(self) -> None:
        self.assertEqual(ask("web.connect.consul"), Lookup("connect", "web"))
        self.assertEqual(ask("web.ingress.dc2.consul"), Lookup("ingress", "web", "", "dc2"))

    def test_addresses(self) -> None:
        """8 or 32 hexadecimal digits; what looks similar is malformed, anything else has no address."""
        self.assertEqual(ask("c0000201.addr.consul"), Lookup("address", address=b"\xc0\0\2\1"))
        self.assertEqual(ask("C0000201.addr.dc9.consul"), Lookup("address", address=b"\xc0\0\2\1"))
        six = "20010db8" + "0" * 23 + "5"
        self.assertEqual(ask(f"{six}.addr.consul").address, bytes.fromhex(six))
        for odd in ("zz", "c00002", "c000020111", "c000 201", "١٢٣٤٥٦٧٨"):
            self.assertEqual(ask(f"{odd}.addr.consul"), Lookup("address"))
        for wrong in ("zzzzzzzz", "c000020g", "c00002011", "c000-201", "g" * 32):
            self.assertEqual(ask(f"{wrong}.addr.consul"), Lookup("malformed"))
        self.assertEqual(ask("x.c0000201.addr.consul"), Lookup("malformed"))

    def test_malformed(self) -> None:
        """No such form of name, or nothing in front of the keyword."""
        for name in (
            "consul", "x.consul", "service.consul", "node.consul", "query.consul", "addr.consul",
            "a.b.c.consul", "n1.unknown.consul", "web.service.x.dc1.consul", "web.virtual.consul",
        ):  # fmt: skip
            self.assertEqual(ask(name), Lookup("malformed"), name)

    def test_the_zone(self) -> None:
        """SOA and NS are about the zone, whatever name below it is asked."""
        for name in ("consul", "web.service.consul", "alt.test"):
            self.assertEqual(ask(name, SOA), Lookup("zone"))
            self.assertEqual(ask(name, NS), Lookup("zone"))
        self.assertEqual(ask("consul", AXFR), Lookup("unsupported"))

    def test_outside(self) -> None:
        for name in ("", "example.test", "consul.example", "notconsul", "test"):
            self.assertEqual(ask(name), Lookup("outside"), name)

    def test_reverse(self) -> None:
        """An address backwards; what is no whole address has none."""
        self.assertEqual(ask("77.2.0.192.in-addr.arpa"), Lookup("reverse", "192.0.2.77"))
        six = ".".join(reversed("20010db8" + "0" * 22 + "77"))
        self.assertEqual(ask(six + ".IP6.arpa"), Lookup("reverse", "2001:db8::77"))
        for name in (
            "in-addr.arpa", "2.0.192.in-addr.arpa", "x.2.0.192.in-addr.arpa", "300.2.0.192.in-addr.arpa",
            "07.2.0.192.in-addr.arpa", "1.2.ip6.arpa", six.replace("7", "g") + ".ip6.arpa",
        ):  # fmt: skip
            self.assertEqual(ask(name), Lookup("reverse", ""), name)
