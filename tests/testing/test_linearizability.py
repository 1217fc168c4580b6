from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.testing import linearizability
from pyconsul.testing.history import CAS, DELETE, GET, NEVER, PUT, STALE, History, Operation, show
from pyconsul.testing.linearizability import TooHard, check


class HistoryTests(SynchronousTestCase):
    def test_order(self) -> None:
        """Invocations and returns are numbered in the order in which they are seen."""
        history = History()
        put = history.invoke(1, PUT, "a", b"1")
        get = history.invoke(2, GET, "a")
        history.returned(get, b"1")
        self.assertEqual((put.invoked, get.invoked, get.returned, put.returned), (1, 2, 3, NEVER))
        self.assertEqual((len(history), [*history]), (2, [put, get]))

    def test_by_key(self) -> None:
        """Keys are apart, and what certainly was not done is left out."""
        history = History()
        a = history.invoke(1, PUT, "a", b"1")
        b = history.invoke(1, PUT, "b", b"2")
        history.not_done(history.invoke(1, PUT, "b", b"3"))
        self.assertEqual(history.by_key(), {"a": [a], "b": [b]})

    def test_show(self) -> None:
        """Operations read well."""
        history = History()
        cas = history.invoke(1, CAS, "a", b"2", b"1")
        get = history.invoke(2, GET, "a")
        history.returned(get, None)
        text = "[1..] client 1: cas a b'1' -> b'2': no answer\n[2..3] client 2: get a (consistent): None"
        self.assertEqual(show([cas, get]), text)


class CheckTests(SynchronousTestCase):
    """Histories as lines: ``client kind value [expected]`` begins, ``client = result`` ends an operation."""

    def history(self, *lines: str) -> History:
        history = History()
        running: dict[str, Operation] = {}
        for line in lines:
            client, what, *rest = line.split()
            values = [None if word == "-" else word.encode() for word in rest]
            if what == "=":
                result = {b"yes": True, b"no": False}.get(values[0] or b"", values[0])
                history.returned(running.pop(client), result)
            else:
                value, expected = [*values, None, None][:2]
                kind, mode = (GET, STALE) if what == "stale" else (what, "")
                running[client] = history.invoke(int(client), kind, "k", value, expected, mode)
        return history

    def good(self, *lines: str) -> None:
        self.assertIsNone(check(self.history(*lines)))

    def bad(self, *lines: str) -> None:
        self.assertIsNotNone(check(self.history(*lines)))

    def test_sequential(self) -> None:
        """One after the other, each sees what was before."""
        self.good(
            "1 get", "1 = -", "1 put a", "1 = yes", "2 get", "2 = a", "1 delete", "1 = yes", "2 get", "2 = -"
        )

    def test_stale(self) -> None:
        """A read of what was overwritten before it began."""
        self.bad("1 put a", "1 = yes", "1 put b", "1 = yes", "2 get", "2 = a")

    def test_lost(self) -> None:
        """An acknowledged write that nobody can see."""
        self.bad("1 put a", "1 = yes", "2 get", "2 = -")

    def test_from_nowhere(self) -> None:
        """A value that nobody wrote, or wrote only later."""
        self.bad("1 get", "1 = a")
        self.bad("1 get", "1 = a", "2 put a", "2 = yes")
        self.bad("1 get", "1 = a", "2 put a")

    def test_concurrent(self) -> None:
        """While a write is under way both values may be read, but not the old one after the new one."""
        self.good("1 put a", "2 get", "2 = -", "2 get", "2 = a", "1 = yes")
        self.bad("1 put a", "2 get", "2 = a", "2 get", "2 = -", "1 = yes")

    def test_two_writers(self) -> None:
        """Concurrent writes may come in either order, but all see the same one."""
        self.good("1 put a", "2 put b", "1 = yes", "2 = yes", "3 get", "3 = a")
        self.bad("1 put a", "2 put b", "1 = yes", "2 = yes", "3 get", "3 = a", "3 get", "3 = b")

    def test_cas(self) -> None:
        """A cas that was done saw what it expected; one that was not saw something else."""
        self.good("1 put a", "1 = yes", "1 cas b a", "1 = yes", "2 get", "2 = b")
        self.bad("1 put a", "1 = yes", "1 cas b x", "1 = yes")
        self.bad("1 put a", "1 = yes", "1 cas b a", "1 = no")
        self.good("1 put a", "1 = yes", "1 cas b a", "2 put c", "1 = no", "2 = yes")
        self.good("1 cas a -", "1 = yes", "2 cas b -", "2 = no", "3 get", "3 = a")

    def test_delete_cas(self) -> None:
        """It takes away what it expected, or there is nothing to take away; else it is not done."""
        self.good("1 put a", "1 = yes", "1 delete-cas - a", "1 = yes", "2 get", "2 = -")
        self.good("1 put a", "1 = yes", "1 delete-cas - x", "1 = no", "2 get", "2 = a")
        self.good("1 delete-cas - x", "1 = yes", "2 get", "2 = -")
        self.bad("1 delete-cas - x", "1 = no")
        self.bad("1 put a", "1 = yes", "1 delete-cas - x", "1 = yes")
        self.bad("1 put a", "1 = yes", "1 delete-cas - a", "1 = no")
        self.good("1 put a", "1 = yes", "1 delete-cas - a", "2 get", "2 = a", "2 get", "2 = -")
        self.bad("1 put a", "1 = yes", "1 delete-cas - x", "2 get", "2 = -")

    def test_what_a_stale_read_saw(self) -> None:
        """It may be old, but it was in effect when it was seen."""
        self.good("1 put a", "1 = yes", "1 put b", "1 = yes", "2 stale", "2 = a")
        self.good("1 put a", "2 stale", "2 = a", "2 get", "2 = a")
        self.bad("1 put a", "2 stale", "2 = a", "2 get", "2 = -")
        self.bad("1 put a", "2 stale", "2 = a", "2 get", "2 = -", "1 = yes")

    def test_two_winners(self) -> None:
        """Only one cas can replace one value."""
        self.bad("1 put a", "1 = yes", "1 cas b a", "2 cas c a", "1 = yes", "2 = yes")

    def test_unknown_outcome(self) -> None:
        """It may be in effect at once, later or never."""
        self.good("1 put a", "2 get", "2 = -", "2 get", "2 = a")
        self.good("1 put a", "2 get", "2 = -", "2 put b", "2 = yes", "3 get", "3 = a")
        self.good("1 put a", "2 put b", "2 = yes", "3 get", "3 = b")
        self.bad("1 put a", "2 get", "2 = a", "2 put b", "2 = yes", "3 get", "3 = b", "3 get", "3 = a")

    def test_unknown_and_unseen(self) -> None:
        """An unknown write that nobody saw may still explain why a cas was not done, or a delete a gap."""
        self.good("1 put a", "1 = yes", "2 put x", "1 cas b a", "1 = no")
        self.good("1 put a", "1 = yes", "2 delete", "1 get", "1 = -", "1 cas b -", "1 = yes")
        self.bad("1 put a", "1 = yes", "2 delete", "1 get", "1 = -", "1 get", "1 = a")
        self.good("1 put a", "1 = yes", "2 cas x a", "1 cas b a", "1 = no")
        self.bad("1 put a", "1 = yes", "2 cas x y", "1 cas b a", "1 = no")
        self.good("1 cas x -", "2 cas a -", "2 = no", "2 cas b -", "2 = no")

    def test_unknown_once(self) -> None:
        """It takes effect once at most: one unknown delete does not explain two gaps."""
        lines = ["1 delete", "2 put a", "2 = yes", "3 get", "3 = -", "2 put b", "2 = yes", "3 get", "3 = -"]
        self.bad(*lines)
        self.good("4 delete", *lines)
        self.bad(*lines[1:], "1 delete", "4 delete")

    def test_violation_text(self) -> None:
        """The report names the key and what cannot be explained."""
        violation = check(self.history("1 put a", "1 = yes", "2 get", "2 = -"))
        self.assertIn("not linearizable: key k, at [3..4] client 2: get k", str(violation))
        self.assertIn("client 1: put k b'a'", str(violation))

    def test_void(self) -> None:
        """What was certainly not done explains nothing."""
        history = self.history("1 put a", "2 get", "2 = a")
        history.not_done(history.operations[0])
        self.assertIsNotNone(check(history))

    def test_too_hard(self) -> None:
        """The work is bounded."""
        self.patch(linearizability, "CONFIGURATIONS_MAX", 100)
        puts = [f"{client} put v{client}" for client in range(12)]
        returns = [f"{client} = yes" for client in range(12)]
        self.assertRaises(TooHard, check, self.history(*puts, "20 get", "20 = never", *returns))


def take_effect(operation: Operation, store: dict[str, bytes | None]) -> bytes | bool | None:
    if operation.kind == GET:
        return store.get(operation.key)
    if operation.kind == CAS and store.get(operation.key) != operation.expected:
        return False
    store[operation.key] = operation.value
    return True


def generate(rng: Random, count: int, clients: int, keys: int, unknown: float) -> History:
    """A history that is linearizable: every operation takes effect somewhere while it is under way."""
    history = History()
    store: dict[str, bytes | None] = {}
    seen: dict[str, bytes | None] = {}
    running: dict[int, Operation] = {}
    done: dict[int, bytes | bool | None] = {}
    late: list[Operation] = []
    while len(history) < count or running:
        client = rng.randrange(clients)
        if late and rng.random() < 0.1:
            take_effect(late.pop(), store)
        if client not in running:
            if len(history) < count:
                key, kind = f"k{rng.randrange(keys)}", rng.choice([PUT, GET, GET, CAS, CAS, DELETE])
                value = b"%d" % len(history) if kind in (PUT, CAS) else None
                running[client] = history.invoke(
                    client, kind, key, value, seen.get(key) if kind == CAS else None
                )
        elif client not in done:
            if rng.random() < unknown:
                late.append(running.pop(client))
            else:
                done[client] = take_effect(running[client], store)
        else:
            operation, result = running.pop(client), done.pop(client)
            if rng.random() >= unknown:
                history.returned(operation, result)
                if operation.kind == GET:
                    seen[operation.key] = result  # type: ignore[assignment]
    return history


def search(operations: list[Operation], value: bytes | None) -> bool:
    """Whether some order explains the results; the definition, and as slow."""
    first_return = min((o.returned for o in operations), default=NEVER)
    if first_return == NEVER:
        return True
    for place, operation in enumerate(operations):
        if operation.invoked < first_return:
            store = {operation.key: value}
            result = take_effect(operation, store)
            if operation.returned == NEVER or result == operation.result:
                if search(operations[:place] + operations[place + 1 :], store[operation.key]):
                    return True
    return False


class GeneratedTests(SynchronousTestCase):
    def test_good(self) -> None:
        """No false alarm."""
        for seed in range(60):
            rng = Random(seed)
            history = generate(
                rng,
                rng.choice([10, 100]),
                rng.choice([2, 5, 8]),
                rng.choice([1, 3]),
                rng.choice([0, 0.05, 0.3]),
            )
            self.assertIsNone(check(history), f"seed {seed}")

    def test_against_the_definition(self) -> None:
        """Histories with falsified answers are judged as an exhaustive search judges them."""
        verdicts = {True: 0, False: 0}
        for seed in range(400):
            rng = Random(seed)
            history = generate(rng, rng.choice([5, 6, 7]), 3, 1, rng.choice([0, 0.2, 0.4]))
            values = [None, *(o.value for o in history if o.value)]
            for operation in history:
                if operation.returned != NEVER and rng.random() < 0.25:
                    if operation.kind == GET:
                        operation.result = rng.choice(values)
                    elif operation.kind == CAS:
                        operation.result = not operation.result
            expected = search([o for o in history if o.kind != GET or o.returned != NEVER], None)
            self.assertEqual(check(history) is None, expected, f"seed {seed}:\n{show(history)}")
            verdicts[expected] += 1
        self.assertTrue(min(verdicts.values()) > 50, verdicts)

    def test_long(self) -> None:
        """The time grows with the length, not faster: a hundred thousand operations are feasible."""
        history = generate(Random(1), 20_000, 10, 50, 0.01)
        self.assertIsNone(check(history))
        last = [o for o in history if o.kind == GET and o.returned != NEVER][-1]
        last.result = b"never written"
        violation = check(history)
        assert violation is not None
        self.assertIs(violation.at, last)
