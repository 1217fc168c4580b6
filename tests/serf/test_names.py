"""Two nodes with one name."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from pyconsul.interfaces import Address
from pyconsul.serf.events import NameLost
from pyconsul.serf.members import Status, decode_owner, encode_member
from pyconsul.serf.messages import Query, QueryResponse
from pyconsul.serf.names import CONFLICT
from pyconsul.swim.core import VERSIONS
from pyconsul.swim.messages import Alive
from pyconsul.swim.timing import LAN
from pyconsul.swim.wire import DecodeError
from tests.serf.fixture import SerfTestCase
from tests.swim.fixture import ME, addr_of, address_of

THEIRS = address_of("x")


class AskedTests(SerfTestCase):
    def ask(self, name: bytes) -> bytes | None:
        """What we answer when asked who owns a name; ``None`` if nothing."""
        number = hash(name) & 0xFF
        query = Query(1, number, addr_of("a"), 7946, "a", timeout_ns=10**9, name=CONFLICT, payload=name)
        packets = [effect.packet for effect in self.user(query) if hasattr(effect, "packet")]
        return QueryResponse.decode(packets[0][2:]).payload if packets else None

    def test_whom_we_know(self) -> None:
        self.alive("b", colour="blue")
        answer = self.ask(b"b")
        assert answer is not None
        self.assertEqual(answer[0], 6)
        self.assertEqual(decode_owner(answer[1:]), (("10.0.1.98", 7946), Status.ALIVE))
        self.assertEqual(answer[1:], encode_member(self.core.roster.records["b"].member))
        self.assertEqual(self.ask(b"nobody"), b"\x06\xc0")
        self.assertIsNone(self.ask(b"me"))
        self.assertRaises(DecodeError, decode_owner, b"\xc0")


class VoteTests(SerfTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.begin(resolve_conflicts=True)

    def begin(self, **more: Any) -> None:
        self.core = self.make(self.layers, **more)
        self.core.start(0.0, {})
        self.alive("a")

    def conflict(self) -> list[Any]:
        """Another node says it is called as we are."""
        return self.gossip(Alive(5, "me", addr_of("x"), 7946, b"", VERSIONS))

    def question(self) -> Query:
        """The next question to the others, which comes within half a minute."""
        for _ in range(320):
            if len(self.core.query_queue):
                break
            self.advance(0.1)
        parts, _ = self.core.query_queue.take(100_000, 2, 1)
        (query,) = [Query.decode(part[2:]) for part in parts]
        return query

    def vote(self, *owners: Address | None, status: Status = Status.ALIVE) -> list[Any]:
        """The effects of what members know by our name; ``None`` is nobody."""
        query = self.question()
        self.assertEqual((query.name, query.payload), ("_serf_conflict", b"me"))
        for number, owner in enumerate(owners):
            record = b"\xc0"
            if owner is not None:
                known = self.core.roster.records["me"].member
                record = encode_member(replace(known, addr=owner[0], port=owner[1], status=status))
            self.user(QueryResponse(query.ltime, query.number, f"n{number}", 0, b"\x06" + record))
        self.user(QueryResponse(query.ltime, query.number, "odd", 0, b"\x05"))
        return self.advance(4.0)

    def lose(self) -> list[Any]:
        return self.vote(ME, THEIRS, THEIRS)

    def test_reported(self) -> None:
        """As Consul has it: nobody is asked."""
        self.begin()
        text = (
            "Node name conflicts with another node at 10.0.1.120:7946. Names must be unique! "
            "(Resolution enabled: false)"
        )
        self.assertEqual(self.problems(self.conflict()), [text])
        self.assertEqual(len(self.core.query_queue), 0)

    def test_won(self) -> None:
        self.assertIn("(Resolution enabled: true)", self.problems(self.conflict())[0])
        self.conflict()  # one vote at a time
        effects = self.vote(ME, ME, THEIRS, None)
        self.assertIn("majority in name conflict resolution [2 / 3]", self.problems(effects))
        self.assertNotIn(NameLost(), effects)

    def test_nobody_else(self) -> None:
        """With nobody to ask, or if the other one is known to be gone, we stay."""
        for status, owners in (
            (Status.ALIVE, ()),
            (Status.FAILED, (THEIRS, THEIRS)),
            (Status.LEFT, (THEIRS,)),
        ):
            self.begin(resolve_conflicts=True)
            self.conflict()
            effects = self.vote(*owners, status=status)
            self.assertIn("majority in name conflict resolution [0 / 0]", self.problems(effects))

    def test_lost(self) -> None:
        """Only if the others stay with it: they are asked every half minute."""
        self.conflict()
        effects = self.lose()
        text = (
            "minority in name conflict resolution [1 / 3]: most members know the node at 10.0.1.120:7946 "
            "as 'me'; this one ends in 120 s"
        )
        self.assertIn(text, self.problems(effects))
        for _ in range(4):
            self.assertNotIn(NameLost(), effects)
            effects = self.lose()
        text = (
            "minority in name conflict resolution, quitting [1 / 3]: most members know the node at "
            "10.0.1.120:7946 as 'me'"
        )
        self.assertIn(text, self.problems(effects))
        self.assertEqual(effects.count(NameLost()), 1)

    def test_they_think_better(self) -> None:
        """The other one was our own former address, and is found dead meanwhile."""
        self.conflict()
        self.lose()
        self.assertNotIn(NameLost(), self.vote(ME, ME))
        self.advance(300.0)
        self.conflict()
        self.assertIn("this one ends in 120 s", self.problems(self.lose())[-1])

    def test_without_patience(self) -> None:
        """As serf has it."""
        self.timing = replace(LAN, name_patience_s=0.0)
        self.begin(resolve_conflicts=True)
        self.conflict()
        self.assertIn(NameLost(), self.lose())
