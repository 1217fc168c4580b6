"""Locks and semaphores, step by step, over a store in memory."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.client.call import Answer, Call, Response
from pyconsul.client.locks import LOCK_FLAGS, SEMAPHORE_FLAGS, Lock, LockConflict, Semaphore


class FakeStore:
    """A client whose agent has only keys: ``[value, flags, session, modify index]`` each."""

    def __init__(self) -> None:
        self.keys: dict[str, list[Any]] = {}
        self.index = 10
        self.before_write: list[Any] = []
        """Called once each, before a write is made."""

    def do(self, call: Call[Any]) -> Any:
        return call.decode(self._response(call))

    def ask(self, call: Call[Any]) -> Answer[Any]:
        response = self._response(call)
        return Answer(call.decode(response), response.headers)

    def _response(self, call: Call[Any]) -> Response:
        url = urlsplit(call.target())
        key = url.path.removeprefix("/v1/kv/")
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        if call.method == "GET":
            wanted = [k for k in sorted(self.keys) if k == key or ("recurse" in query and k.startswith(key))]
            body = json.dumps([self._row(k) for k in wanted]).encode()
            return Response(200 if wanted else 404, "", {"x-consul-index": str(self.index)}, body)
        if self.before_write:
            self.before_write.pop()()
        done = self._delete(key, query) if call.method == "DELETE" else self._put(key, query, call.body)
        return Response(200, "", {}, b"true" if done else b"false")

    def _row(self, key: str) -> dict[str, Any]:
        value, flags, session, modified = self.keys[key]
        row = {"Key": key, "Value": base64.b64encode(value).decode(), "Flags": flags, "ModifyIndex": modified}
        return row | ({"Session": session} if session else {})

    def _delete(self, key: str, query: dict[str, str]) -> bool:
        row = self.keys.get(key)
        if row is not None and "cas" in query and int(query["cas"]) != row[3]:
            return False
        self.keys.pop(key, None)
        return True

    def _put(self, key: str, query: dict[str, str], body: bytes) -> bool:
        old = self.keys.get(key, [b"", 0, "", 0])
        if "cas" in query and int(query["cas"]) != old[3]:
            return False
        holder = old[2]
        if "acquire" in query and holder not in ("", query["acquire"]):
            return False
        if "release" in query and holder != query["release"]:
            return False
        session = query.get("acquire", "" if "release" in query else holder)
        self.index += 1
        self.keys[key] = [body, int(query.get("flags", "0")), session, self.index]
        return True


class LockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client: Any = FakeStore()
        self.ours, self.theirs = Lock("p", "s1"), Lock("p", "s2")

    def test_taking_turns(self) -> None:
        self.assertIsNone(self.ours.take(self.client, 0))
        self.assertIsNone(self.ours.take(self.client, 0))
        self.assertEqual(self.theirs.take(self.client, 0), self.client.index)
        self.assertEqual(self.ours.holds(self.client, 0), self.client.index)
        self.assertIsNone(self.theirs.holds(self.client, 0))
        self.assertTrue(self.ours.release(self.client))
        self.assertEqual(self.client.keys, {})
        self.assertIsNone(self.ours.holds(self.client, 0))
        self.assertTrue(self.ours.release(self.client))

    def test_somebody_is_faster(self) -> None:
        """Between looking and taking, and between giving back and removing."""
        self.client.before_write = [lambda: self.theirs.take(self.client, 0)]
        self.assertEqual(self.ours.take(self.client, 0), 10)
        self.assertFalse(self.ours.release(self.client))
        self.assertEqual(self.client.keys["p/.lock"][2], "s2")

    def test_something_else(self) -> None:
        self.client.keys["p/.lock"] = [b"x", 1, "", 5]
        self.assertRaisesRegex(LockConflict, "not match lock use", self.ours.take, self.client, 0)
        self.assertTrue(self.ours.release(self.client))
        self.assertEqual(self.client.keys["p/.lock"], [b"x", 1, "", 5])

    def test_key(self) -> None:
        self.ours.take(self.client, 0)
        self.assertEqual(self.client.keys["p/.lock"][:3], [b"", LOCK_FLAGS, "s1"])


class SemaphoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client: Any = FakeStore()
        self.three = [Semaphore("p", f"s{number}", 2) for number in range(3)]

    def holders(self) -> list[str]:
        return list(json.loads(self.client.keys["p/.lock"][0])["Holders"])

    def test_places(self) -> None:
        """Two have one; the third gets that of one who gives it back, and the last removes all."""
        first, second, third = self.three
        for one in (first, second, first):
            self.assertIsNone(one.take(self.client, 0))
        self.assertEqual(third.take(self.client, 0), self.client.index)
        self.assertIsNone(third.holds(self.client, 0))
        self.assertFalse(first.release(self.client))
        self.assertIsNone(third.take(self.client, 0))
        self.assertEqual(self.holders(), ["s1", "s2"])
        self.assertEqual(self.client.keys["p/.lock"][1], SEMAPHORE_FLAGS)
        self.assertIsNotNone(third.holds(self.client, 0))
        self.assertFalse(second.release(self.client))
        self.assertTrue(third.release(self.client))
        self.assertEqual(self.client.keys, {})
        self.assertTrue(third.release(self.client))

    def test_who_is_gone(self) -> None:
        """A holder whose session has ended has lost its place, to whoever takes it."""
        first, second, third = self.three
        first.take(self.client, 0)
        second.take(self.client, 0)
        self.client.keys["p/s0"][2] = ""
        self.assertIsNone(first.holds(self.client, 0))
        self.assertIsNone(third.take(self.client, 0))
        self.assertEqual(self.holders(), ["s1", "s2"])

    def test_somebody_is_faster(self) -> None:
        """Then one looks again, at once."""
        first, second, _ = self.three
        self.client.before_write = [lambda: second.take(self.client, 0), lambda: None]
        self.assertEqual(first.take(self.client, 0), 0)
        self.assertIsNone(first.take(self.client, 0))
        self.client.before_write = [lambda: second.release(self.client)]
        self.assertTrue(first.release(self.client))
        self.assertEqual(self.client.keys, {})

    def test_conflicts(self) -> None:
        """Another limit, or other things under its name; nothing is left behind."""
        self.three[0].take(self.client, 0)
        for semaphore, reason in (
            (Semaphore("p", "x", 3), "limit conflict .lock: 2, local: 3."),
            (Semaphore("p", "x", 2), "not match semaphore use"),
            (Semaphore("p", "x", 2), "cannot be understood"),
        ):
            if "use" in reason:
                self.client.keys["p/.lock"][1] = LOCK_FLAGS
            elif "understood" in reason:
                self.client.keys["p/.lock"][:2] = [b"[]", SEMAPHORE_FLAGS]
            self.assertRaisesRegex(LockConflict, reason, semaphore.take, self.client, 0)
            self.assertNotIn("p/x", self.client.keys)
        self.client.keys["p/x"] = [b"", 0, "other", 5]
        self.assertRaisesRegex(LockConflict, "contender", Semaphore("p", "x", 2).take, self.client, 0)
