from __future__ import annotations

import msgspec
from msgspec import Struct
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import StorageDamaged
from pyconsul.state import image
from pyconsul.state.catalog import Registration
from pyconsul.state.store import Snapshot, Store
from pyconsul.structs.catalog import HealthCheck, NodeService
from pyconsul.structs.session import Session


class Part(Struct):
    numbers: list[int]
    names: dict[str, int]


class Whole(Struct):
    index: int
    part: Part
    label: str | None = None


def whole(count: int = 5) -> Whole:
    return Whole(7, Part([*range(count)], {f"n{n}": n for n in range(count)}), "x")


def decoded(data: bytes, kind: type[Struct] = Whole, step: int = 0) -> Struct:
    """What a stream gives that comes in pieces of ``step`` bytes."""
    decoder = image.Decoder(kind)
    for start in range(0, len(data), step or len(data) or 1):
        decoder.feed(data[start : start + (step or len(data))])
    return decoder.finish()


class ImageTests(SynchronousTestCase):
    def test_same_again(self) -> None:
        """A state comes back as it was, in whatever pieces it comes."""
        for count in (0, 1, 300):
            data = b"".join(image.encode(whole(count)))
            for step in (0, 1, 7):
                self.assertEqual(decoded(data, step=step), whole(count))

    def test_slices_are_bounded(self) -> None:
        """By rows and by bytes, but for a frame; every slice is whole frames."""
        state = whole(1000)
        for slices in (
            [*image.encode(state, rows_max=100)],
            [*image.encode(state, bytes_max=500)],
        ):
            self.assertGreater(len(slices), 10)
            decoder = image.Decoder(Whole)
            for data in slices:
                self.assertLess(len(data), 4_000)
                decoder.feed(data)
                self.assertEqual(decoder._rest, b"")
            self.assertEqual(decoder.finish(), state)

    def test_large_rows(self) -> None:
        """Frames hold fewer rows when these are large, also when that is not foreseen."""

        class Texts(Struct):
            rows: list[str]

        state = Texts(["s"] * 500 + ["l" * 200_000] * 20 + ["s"] * 500)
        slices = [*image.encode(state, bytes_max=1)]
        self.assertLess(max(map(len, slices)), 300_000)
        self.assertEqual(decoded(b"".join(slices), Texts), state)

    def test_rows_that_come_once(self) -> None:
        """A list may be anything that gives rows."""
        state = whole()
        state.part.numbers = iter([1, 2, 3])  # type: ignore[assignment]
        self.assertEqual(decoded(b"".join(image.encode(state))).part.numbers, [1, 2, 3])  # type: ignore[attr-defined]

    def test_damage(self) -> None:
        """What cannot be understood is told."""

        def frame(payload: bytes) -> bytes:
            return len(payload).to_bytes(4, "little") + payload

        pack = msgspec.msgpack.encode
        for data in (
            frame(pack(("other", 1))),
            frame(pack(("index", "text"))),
            frame(pack([])),
            frame(b""),
            frame(b"\x92"),
            frame(b"\x92\xa5index\xc1"),
            (1 << 30).to_bytes(4, "little"),
        ):
            self.assertRaises(StorageDamaged, image.Decoder(Whole).feed, data)
        data = b"".join(image.encode(whole()))
        self.assertRaises(StorageDamaged, decoded, data[:-1])
        self.assertRaises(StorageDamaged, decoded, b"")

    def test_what_is_not_there(self) -> None:
        """A single value may be missing if it has a default: the writer did not know it."""

        class Old(Struct):
            index: int
            part: Part

        data = b"".join(image.encode(Old(1, Part([], {}))))
        self.assertEqual(decoded(data), Whole(1, Part([], {})))

    def test_long_path(self) -> None:
        class Long(Struct):
            a_name_of_more_than_thirty_two_letters: int

        self.assertEqual(decoded(b"".join(image.encode(Long(3))), Long), Long(3))


class StoreTests(SynchronousTestCase):
    def test_store(self) -> None:
        """Every table of a store, as it was when the snapshot was taken."""
        store = Store()
        for number in range(1, 200):
            store.kv.set(number, f"k{number}", b"v" * number, number)
        store.kv.delete(200, "k1")
        store.kv.delete_tree(201, "k2")
        service = NodeService(id="web1", service="web", tags=["a"], meta={"x": "y"})
        check = HealthCheck(node="n", check_id="c", name="c", status="passing", service_id="web1")
        row = Registration("dc1", "", "n", "10.0.0.1", None, None, False, service, [check])
        store.catalog.register(202, row)
        session_id = "adf4238a-882b-9ddc-4a9d-5b6758e4159e"
        store.sessions.create(203, Session(id=session_id, node="n"))
        store.kv.lock(204, "locked", b"v", 0, session_id)
        store.index = 204
        digest = store.digest()
        slices = image.encode(store.snapshot(), rows_max=50)
        parts = [next(slices)]
        store.kv.set(300, "k50", b"later", 0)
        store.kv.delete(301, "k60")
        store.kv.set(302, "new", b"", 0)
        other = Store()
        other.restore(decoded(b"".join(parts + [*slices]), Snapshot))  # type: ignore[arg-type]
        self.assertEqual(other.digest(), digest)
        self.assertNotEqual(store.digest(), digest)
