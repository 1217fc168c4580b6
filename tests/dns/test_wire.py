"""Messages as bytes."""

import struct
from random import Random

from twisted.names import dns as names_dns
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.dns import wire
from pyconsul.dns.wire import Query, Record, Reply, encode, fit, name_bytes, parse_query
from tests.dns.fakes import question, read

SUBNET = struct.pack("!HHHBB", 8, 7, 1, 24, 9) + b"\x0a\1\2"


def query(name: str = "web.service.consul", type_: str = "A", **more: object) -> Query:
    tcp = bool(more.pop("tcp", False))
    found = parse_query(question(name, type_, **more), tcp)  # type: ignore[arg-type]
    assert found is not None
    return found


def addresses(count: int) -> list[Record]:
    return [Record(b"", wire.A, 5, bytes((10, 0, at // 256, at % 256))) for at in range(count)]


def services(count: int) -> Reply:
    """SRV records with address and metadata of each target."""
    targets = [name_bytes(f"node-{at}.node.dc1.consul") for at in range(count)]
    answers = [
        Record(b"", wire.SRV, 0, struct.pack("!HHH", 1, 1, 80 + at), t) for at, t in enumerate(targets)
    ]
    additional = []
    for target in targets:
        additional += [Record(target, wire.A, 0, b"\x0a\0\0\1"), Record(target, wire.TXT, 0, b"\3k=v")]
    return Reply(answers=answers, additional=additional)


class NameTests(SynchronousTestCase):
    def test_names(self) -> None:
        self.assertEqual(name_bytes("ab.c."), b"\2ab\1c\0")
        self.assertEqual(name_bytes("."), b"\0")

    def test_what_is_no_name(self) -> None:
        """Empty and overlong labels, and names above 255 bytes."""
        for text in ("a..b", ".a", "x" * 64, ".".join(["x" * 60] * 5)):
            self.assertRaises(ValueError, name_bytes, text)


class ParseTests(SynchronousTestCase):
    def test_a_question(self) -> None:
        data = question("WEB.service.consul", "SRV", ident=7, flags=0x0110)
        found = parse_query(data)
        assert found is not None
        self.assertEqual(found.labels, ["WEB", "service", "consul"])
        self.assertEqual((found.id, found.type, found.class_, found.flags), (7, 33, 1, 0x0110))
        self.assertEqual(found.question, data[12:])
        self.assertEqual((found.edns_size, found.subnet, found.size_max), (0, b"", 512))

    def test_the_root(self) -> None:
        self.assertEqual(query(".").labels, [])

    def test_bytes_that_are_no_text(self) -> None:
        data = question("xx.consul").replace(b"\2xx", b"\2\xff\xfe")
        found = parse_query(data)
        assert found is not None
        self.assertEqual(found.labels, ["��", "consul"])

    def test_edns(self) -> None:
        """The size that the client takes, and its subnet, which is answered with scope 0."""
        found = query(edns=1232, options=struct.pack("!HH", 10, 2) + b"ab" + SUBNET)
        self.assertEqual((found.edns_size, found.size_max), (1232, 1232))
        self.assertEqual(found.subnet, SUBNET[:7] + b"\0" + SUBNET[8:])
        self.assertEqual(query(edns=100).size_max, 512)
        self.assertEqual(query(edns=100, tcp=True).size_max, 65535)

    def test_options_cut_short(self) -> None:
        for size in range(len(SUBNET)):
            self.assertEqual(wire.subnet_answer(SUBNET[:size]), b"")
        answered = wire.subnet_answer(SUBNET)
        self.assertEqual(wire.only_there(answered), answered[:7] + b"\x18" + answered[8:])
        self.assertEqual(wire.only_there(b""), b"")
        self.assertEqual(wire.subnet_address(SUBNET[:8]), "")
        self.assertEqual(wire.subnet_address(SUBNET), "10.1.2.0")
        self.assertEqual(wire.subnet_address(b"\0\x08\0\x07\0\2\x18\0\x20\1"), "2001::")
        self.assertEqual(wire.subnet_address(b"\0\x08\0\x07\0\3\x18\0\x20\1"), "")

    def test_everything_else_is_left_to_others(self) -> None:
        """Responses, other opcodes, other numbers of records, pointers, what is cut short."""
        good = question("web.service.consul", edns=512)
        for data in (
            b"",
            good[:2] + b"\x81" + good[3:],
            good[:2] + b"\x29" + good[3:],
            good[:5] + b"\0" + good[6:],
            good[:5] + b"\2" + good[6:],
            good[:7] + b"\1" + good[8:],
            good[:9] + b"\1" + good[10:],
            good[:11] + b"\2" + good[12:],
            good[:12] + b"\xc0\x0c" + good[14:],
            good[:12] + b"\x40" + good[13:],
            good.replace(b"\0\x29\2\0", b"\0\x10\2\0"),
            good[:-11] + b"\1" + good[-10:],
        ):
            self.assertIsNone(parse_query(data), data)
        for size in range(len(good)):
            self.assertIsNone(parse_query(good[:size]), size)

    def test_a_name_that_never_ends(self) -> None:
        self.assertIsNone(parse_query(question("a")[:12] + b"\x3f" + b"x" * 4000))
        self.assertIsNone(parse_query(question("a")[:12] + (b"\x3f" + b"x" * 63) * 5 + b"\0\0\1\0\1"))

    def test_noise(self) -> None:
        """Whatever comes, there is a question or there is none."""
        rng = Random(5)
        good = question("web.service.consul", "SRV", edns=1232, options=SUBNET)
        for _ in range(3000):
            data = bytearray(good)
            for _ in range(rng.randrange(1, 6)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            parse_query(bytes(data[: rng.randrange(len(data) + 1)]))

    def test_an_answer_without_anything(self) -> None:
        self.assertEqual(
            wire.bare_answer(question("a", flags=0x2910), wire.NOTIMP), b"\x12\x34\xa9\4" + bytes(8)
        )


class EncodeTests(SynchronousTestCase):
    def test_flags(self) -> None:
        """RD and CD are copied, the rest is ours."""
        data = encode(query(flags=0x0130), Reply(code=wire.NXDOMAIN, recursion_available=True))
        self.assertEqual(data[2:4], b"\x85\x93")
        data = encode(query(flags=0), Reply(authoritative=False, cut=True))
        self.assertEqual(data[2:4], b"\x82\x00")

    def test_edns_is_answered_in_kind(self) -> None:
        found = read(encode(query(edns=1400, options=SUBNET), Reply()))
        self.assertEqual((found["edns"], found["options"][7]), (1400, 0))
        self.assertEqual(read(encode(query(), Reply()))["edns"], 0)
        self.assertEqual(read(encode(query(edns=1400), Reply(edns=False)))["edns"], 0)

    def test_every_type(self) -> None:
        """twisted.names reads what is written, with compression and without."""
        zone = name_bytes("consul")
        node = name_bytes("n1.node.dc1.consul")
        numbers = name_bytes("ns.consul") + name_bytes("hm.consul") + struct.pack("!5I", 1, 2, 3, 4, 5)
        reply = Reply(
            answers=[
                Record(b"", wire.A, 1, b"\x0a\0\0\1"),
                Record(b"", wire.AAAA, 2, bytes(15) + b"\1"),
                Record(b"", wire.SRV, 3, struct.pack("!HHH", 1, 2, 3), node),
                Record(b"", wire.CNAME, 4, b"", node),
                Record(b"", wire.CNAME, 4, b"", name_bytes("other.dc1.consul")),
                Record(b"", wire.PTR, 4, b"", name_bytes("service.consul")),
                Record(node, wire.SRV, 3, struct.pack("!HHH", 1, 2, 3), zone),
            ],
            authority=[Record(zone, wire.NS, 5, b"", node), Record(zone, wire.SOA, 6, numbers)],
            additional=[Record(node, wire.TXT, 7, b"\3k=v\1w"), Record(b"", wire.TXT, 7, b"\0")],
        )
        expected = {
            "answer": [
                "web.service.consul 1 A 10.0.0.1",
                "web.service.consul 2 AAAA ::1",
                "web.service.consul 3 SRV 1 2 3 n1.node.dc1.consul",
                "web.service.consul 4 CNAME n1.node.dc1.consul",
                "web.service.consul 4 CNAME other.dc1.consul",
                "web.service.consul 4 PTR service.consul",
                "n1.node.dc1.consul 3 SRV 1 2 3 consul",
            ],
            "authority": ["consul 5 NS n1.node.dc1.consul", "consul 6 SOA ns.consul hm.consul 1 2 3 4 5"],
            "additional": ["n1.node.dc1.consul 7 TXT k=vw", "web.service.consul 7 TXT "],
        }
        whole = read(encode(query(), reply, compress=False))
        short = read(encode(query(), reply))
        for section, lines in expected.items():
            self.assertEqual(whole[section], lines)
            self.assertEqual(short[section], lines)
        self.assertLess(short["size"], whole["size"] - 150)

    def test_nothing_points_beyond_what_a_pointer_can_hold(self) -> None:
        """Names behind 16 KiB are written in full."""
        reply = services(1500)
        found = read(encode(query("web.service.consul", "SRV", tcp=True), reply))
        self.assertGreater(found["size"], 65535)
        self.assertEqual(found["answer"][-1], "web.service.consul 0 SRV 1 1 1579 node-1499.node.dc1.consul")
        self.assertEqual(found["additional"][-2], "node-1499.node.dc1.consul 0 A 10.0.0.1")


class FitTests(SynchronousTestCase):
    def test_what_fits_stays(self) -> None:
        data = fit(query(edns=1232), Reply(answers=addresses(20)))
        self.assertEqual(len(read(data)["answer"]), 20)

    def test_answers_are_cut_from_the_end(self) -> None:
        """As many as fit, and not one less; TC only if wanted."""
        for mark, flags in ((False, "qr aa rd"), (True, "qr aa tc rd")):
            found = read(fit(query(), Reply(answers=addresses(100)), mark_cut=mark))
            self.assertEqual(found["flags"], flags)
            self.assertEqual(len(found["answer"]), (512 - 36) // 16)
            self.assertLessEqual(found["size"], 512)

    def test_metadata_goes_before_answers(self) -> None:
        found = read(fit(query(type_="SRV"), services(7), mark_cut=True))
        self.assertEqual(len(found["answer"]), 7)
        self.assertEqual(len(found["additional"]), 7)
        self.assertNotIn("tc", found["flags"])

    def test_additional_records_go_with_their_answers(self) -> None:
        for compress in (True, False):
            found = read(fit(query(type_="SRV", edns=600), services(40), compress))
            self.assertLessEqual(found["size"], 600)
            targets = [line.split()[-1] for line in found["answer"]]
            self.assertGreater(len(targets), 3)
            self.assertEqual([line.split()[0] for line in found["additional"]], targets)

    def test_tcp(self) -> None:
        found = read(fit(query(tcp=True), Reply(answers=addresses(5000))))
        self.assertEqual(len(found["answer"]), (65535 - 36) // 16)

    def test_nothing_left_is_always_marked(self) -> None:
        """One record that is too long: without the TC bit, the client would take the answer as empty."""
        long = Record(b"", wire.TXT, 0, (b"\xff" + b"x" * 255) * 3)
        found = read(fit(query(type_="TXT"), Reply(answers=[long])))
        self.assertEqual((found["answer"], found["flags"]), ([], "qr aa tc rd"))

    def test_a_limit_that_was_kept_to(self) -> None:
        """What was cut for another reason is marked if that is wanted."""
        self.assertIn("tc", read(fit(query(), Reply(answers=addresses(3), cut=True), mark_cut=True))["flags"])
        self.assertNotIn("tc", read(fit(query(), Reply(answers=addresses(3), cut=True)))["flags"])

    def test_an_authority_that_does_not_fit(self) -> None:
        reply = Reply(authority=[Record(b"", wire.TXT, 0, (b"\xff" + b"x" * 255) * 3)])
        found = read(fit(query(), reply))
        self.assertEqual(found["authority"], [])

    def test_answers_are_read_by_twisted(self) -> None:
        """A message of ours decodes without rest."""
        message = names_dns.Message()
        message.fromStr(fit(query(type_="SRV", edns=4096), services(10)))
        self.assertEqual((len(message.answers), len(message.additional)), (10, 21))
