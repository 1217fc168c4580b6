"""Regular expressions out of events and queries, in the syntax that Consul's users write (RE2).

Anybody in the pool may send one, so matching takes time in proportion to expression and text and
no more (Thompson's construction, 1968; Pike's simulation), which ``re`` cannot promise. Steps that were
taken are remembered, so a text much like others costs one look-up a character. What the
tests of characters look like is in ``pyconsul.regexp.characters``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from pyconsul.errors import PyconsulError
from pyconsul.regexp.characters import Test, any_character, bracket, escaped, is_word, literal

STATES_MAX = 2000
STEPS_MAX = 200_000
DEPTH_MAX = 100
REPEAT_MAX = 1000
KNOWN_MAX = 4096
SETS_STATES_MAX = 100_000

_Tree: TypeAlias = "tuple[Any, ...]"
"""``("test", test)``, ``("at", place)``, ``("each", trees)``, ``("any", trees)``,
``("group", tree, number)`` or ``("repeat", tree, least, most, greedy)``, where ``most`` is -1 for no
limit."""

_BEGIN, _MATCH = 0, -1
"""The number of the set of states to begin with, and what stands for a match."""

_BEGINNING, _NEWLINE, _WORD, _OTHER = range(4)
"""What stands before a place, as far as any test of places can tell."""

_NOTHING: _Tree = ("each", ())
_TEST, _AT, _SPLIT, _GO, _FOUND, _MARK = range(6)


class BadExpression(PyconsulError):
    """No regular expression; the text is what Consul says of it."""

    def __init__(self, reason: str, where: str) -> None:
        super().__init__(f"error parsing regexp: {reason}: `{where}`")


class Expression:
    """A regular expression.

    :raises BadExpression: if ``text`` is none.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        parser = _Parser(text)
        self._program = _Compiler(text).program(parser.parse())
        self._groups = parser.groups
        self._sets: list[tuple[int, ...]] = [(0,)]
        self._numbers: dict[tuple[int, ...], int] = {(0,): _BEGIN}
        self._known: dict[tuple[int, int, str], int] = {}

    def search(self, text: str) -> bool:
        """Whether it matches anywhere in ``text``. A pair that needs too many steps does not."""
        known = self._known
        steps = 0
        states, before = _BEGIN, _BEGINNING
        for place in range(len(text) + 1):
            character = text[place : place + 1]
            following = known.get((states, before, character))
            if following is None:
                following, cost = self._step(self._sets[states], text, place)
                steps += cost
                if steps > STEPS_MAX:
                    return False
                known[states, before, character] = following
            if following == _MATCH:
                self._forget_many()
                return True
            states = following
            before = _NEWLINE if character == "\n" else _WORD if is_word(character) else _OTHER
        self._forget_many()
        return False

    def _step(self, states: tuple[int, ...], text: str, place: int) -> tuple[int, int]:
        """The number of the set of states after one more character, and how many were looked at.

        Places are told apart by the character before and the one after alone, so the outcome holds
        wherever these and ``states`` are the same.
        """
        program = self._program
        reached = _reachable(program, states, text, place)
        character = text[place : place + 1]
        following: dict[int, None] = {}
        for state in reached:
            kind, what, _ = program[state]
            if kind == _FOUND:
                return _MATCH, len(reached)
            if kind == _TEST and character and what(character):
                following[state + 1] = None
        found = (*following, 0)
        number = self._numbers.setdefault(found, len(self._sets))
        if number == len(self._sets):
            self._sets.append(found)
        return number, len(reached)

    def _forget_many(self) -> None:
        """Start anew once too much is remembered."""
        if len(self._known) > KNOWN_MAX or len(self._sets) * len(self._program) > SETS_STATES_MAX:
            self._known.clear()
            del self._sets[1:]
            self._numbers = {(0,): _BEGIN}

    def find(self, text: str) -> list[str] | None:
        """What it matches first in ``text``: the whole, then each group, empty where it took no part.

        ``None`` if it does not match, or if that would take too many steps.
        """
        program = self._program
        steps = 0
        found: _Marks | None = None
        threads: list[tuple[int, _Marks]] = []
        for place in range(len(text) + 1):
            if found is None:
                threads.append((0, (place, *(-1,) * (2 * self._groups))))
            if not threads:
                break
            threads, taken = _advanced(program, threads, text, place)
            steps += taken
            if steps > STEPS_MAX:
                return None
            character = text[place : place + 1]
            following: list[tuple[int, _Marks]] = []
            for state, marks in threads:
                kind, what, _ = program[state]
                if kind == _FOUND:
                    found = (*marks, place)
                    break  # the threads behind this one are worse
                if character and what(character):
                    following.append((state + 1, marks))
            threads = following
        if found is None:
            return None
        pairs = zip(found[1:-1:2], found[2:-1:2], strict=True)
        return [text[found[0] : found[-1]], *(text[begin:end] if end >= 0 else "" for begin, end in pairs)]


_Marks: TypeAlias = "tuple[int, ...]"
"""Where the match begins, then where each group began and ended; -1: it did not yet."""
_Program: TypeAlias = "Sequence[tuple[int, Any, int]]"


def _reachable(program: _Program, states: Sequence[int], text: str, place: int) -> dict[int, None]:
    """The states that are reached from ``states`` without another character, these included."""
    found: dict[int, None] = {}
    waiting = list(states)
    while waiting:
        state = waiting.pop()
        if state in found:
            continue
        found[state] = None
        kind, what, other = program[state]
        if kind == _GO:
            waiting.append(what)
        elif kind == _SPLIT:
            waiting += (what, other)
        elif kind == _MARK or (kind == _AT and what(text, place)):
            waiting.append(state + 1)
    return found


def _advanced(
    program: _Program, threads: Sequence[tuple[int, _Marks]], text: str, place: int
) -> tuple[list[tuple[int, _Marks]], int]:
    """The threads that wait for a character or have found, the best first, and what it took to find them."""
    reached: list[tuple[int, _Marks]] = []
    seen: set[int] = set()
    steps = 0
    waiting = [*reversed(threads)]
    while waiting:
        state, marks = waiting.pop()
        if state in seen:
            continue
        seen.add(state)
        steps += 1
        kind, what, other = program[state]
        if kind == _GO:
            waiting.append((what, marks))
        elif kind == _SPLIT:
            waiting += ((other, marks), (what, marks))
        elif kind == _MARK:
            steps += len(marks) // 8
            waiting.append((state + 1, (*marks[:what], place, *marks[what + 1 :])))
        elif kind == _AT:
            if what(text, place):
                waiting.append((state + 1, marks))
        else:
            reached.append((state, marks))
    return reached, steps


# ---------------------------------------------------------------- places


def _at_start(text: str, place: int) -> bool:
    return place == 0


def _at_end(text: str, place: int) -> bool:
    return place == len(text)


def _at_line_start(text: str, place: int) -> bool:
    return place == 0 or text[place - 1] == "\n"


def _at_line_end(text: str, place: int) -> bool:
    return place == len(text) or text[place] == "\n"


def _at_boundary(text: str, place: int) -> bool:
    before = place > 0 and is_word(text[place - 1])
    return before != (place < len(text) and is_word(text[place]))


def _off_boundary(text: str, place: int) -> bool:
    return not _at_boundary(text, place)


_PLACES: dict[str, Callable[[str, int], bool]] = {
    "A": _at_start, "z": _at_end, "b": _at_boundary, "B": _off_boundary,
}  # fmt: skip


# ---------------------------------------------------------------- text to tree


class _Parser:
    """Reads an expression from left to right.

    :ivar groups: how many were met so far whose text is kept.
    """

    def __init__(self, text: str) -> None:
        self.groups = 0
        self._text = text
        self._place = 0
        self._depth = 0
        self._flags: frozenset[str] = frozenset()

    def parse(self) -> _Tree:
        tree = self._alternatives()
        if self._place < len(self._text):
            raise BadExpression("unexpected )", self._text)
        return tree

    def _rest(self) -> str:
        return self._text[self._place :]

    def _take(self, token: str) -> bool:
        if self._text.startswith(token, self._place):
            self._place += len(token)
            return True
        return False

    def _alternatives(self) -> _Tree:
        flags = self._flags
        found = [self._sequence()]
        while self._take("|"):
            found.append(self._sequence())
        self._flags = flags
        return found[0] if len(found) == 1 else ("any", tuple(found))

    def _sequence(self) -> _Tree:
        found: list[_Tree] = []
        while self._place < len(self._text) and self._text[self._place] not in "|)":
            began = self._place
            if self._text[began] in "*+?":
                raise BadExpression("missing argument to repetition operator", self._text[began])
            found.append(self._repeated(self._atom()))
        return found[0] if len(found) == 1 else ("each", tuple(found))

    def _repeated(self, tree: _Tree) -> _Tree:
        before = ""
        while (bounds := self._bounds()) is not None:
            least, most, greedy, operator = bounds
            if before:
                raise BadExpression("invalid nested repetition operator", before + operator)
            before = operator
            tree = ("repeat", tree, least, most, greedy)
            if operator[0] == "{" and not _is_within(tree, REPEAT_MAX):
                raise BadExpression("invalid repeat count", operator)
        return tree

    def _bounds(self) -> tuple[int, int, bool, str] | None:
        """The repetition operator that stands here: least, most, whether greedy, how it is written."""
        began = self._place
        if self._take("*"):
            bounds = 0, -1
        elif self._take("+"):
            bounds = 1, -1
        elif self._take("?"):
            bounds = 0, 1
        elif self._rest()[:1] == "{" and (counted := self._counted()) is not None:
            bounds = counted
        else:
            return None
        greedy = self._take("?") == ("U" in self._flags)
        return *bounds, greedy, self._text[began : self._place]

    def _counted(self) -> tuple[int, int] | None:
        """``{n}``, ``{n,}`` or ``{n,m}``; ``None`` if the brace stands for itself."""
        inside, closed, _ = self._rest()[1:].partition("}")
        first, comma, second = inside.partition(",")
        if not closed or not _is_number(first) or (second and not _is_number(second)):
            return None
        least = int(first[:9])
        most = int(second[:9]) if second else -1 if comma else least
        written = f"{{{inside}}}"
        if least > REPEAT_MAX or most > REPEAT_MAX or 0 <= most < least:
            raise BadExpression("invalid repeat count", written)
        self._place += len(written)
        return least, most

    def _atom(self) -> _Tree:
        if self._take("("):
            return self._group()
        if self._take("["):
            return self._class()
        if self._take("."):
            return ("test", any_character(newline="s" in self._flags))
        if self._take("^"):
            return ("at", _at_line_start if "m" in self._flags else _at_start)
        if self._take("$"):
            return ("at", _at_line_end if "m" in self._flags else _at_end)
        if self._take("\\"):
            return self._escape()
        character = self._text[self._place]
        self._place += 1
        return self._literal(character)

    def _literal(self, character: str) -> _Tree:
        return ("test", literal(character, "i" in self._flags))

    def _group(self) -> _Tree:
        began = self._place - 1
        outer = self._flags
        number = 0
        if not self._take("?") or self._text.startswith("P<", self._place):
            number = self.groups = self.groups + 1
        if self._text[self._place - 1] == "?" and not self._opened(began):
            return _NOTHING  # flags for what follows
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise BadExpression("expression nests too deeply", self._text)
        tree = self._alternatives()
        self._depth -= 1
        if not self._take(")"):
            raise BadExpression("missing closing )", self._text)
        self._flags = outer
        return ("group", tree, number) if number else tree

    def _opened(self, began: int) -> bool:
        """Read what follows ``(?``; tells whether a group begins there."""
        if self._take("P<"):
            name, closed, _ = self._rest().partition(">")
            if not closed or not (name and all(map(is_word, name))):
                raise BadExpression("invalid named capture", self._text[began:])
            self._place += len(name) + 1
            return True
        flags, negated = set(self._flags), False
        while self._place < len(self._text):
            character = self._text[self._place]
            self._place += 1
            if character in "imsU":
                (flags.discard if negated else flags.add)(character)
            elif character == "-" and not negated:
                negated = True
            elif character in ":)":
                self._flags = frozenset(flags)
                return character == ":"
            else:
                break
        raise BadExpression("invalid or unsupported Perl syntax", self._text[began : self._place])

    def _class(self) -> _Tree:
        try:
            test, self._place = bracket(self._text, self._place, "i" in self._flags)
        except ValueError as error:
            reason, where = error.args
            raise BadExpression(reason, where) from None
        return ("test", test)

    def _escape(self) -> _Tree:
        following = self._rest()[:1]
        if not following:
            raise BadExpression("trailing backslash at end of expression", "")
        if following in _PLACES:
            self._place += 1
            return ("at", _PLACES[following])
        if following == "Q":
            quoted, _, _ = self._rest()[1:].partition("\\E")
            self._place = min(len(self._text), self._place + len(quoted) + 3)
            return ("each", tuple(self._literal(character) for character in quoted))
        try:
            found, self._place = escaped(self._text, self._place)
        except ValueError as error:
            reason, where = error.args
            raise BadExpression(reason, where) from None
        return self._literal(found) if isinstance(found, str) else ("test", found)


def _is_within(tree: _Tree, limit: int) -> bool:
    """Whether counts within counts come to no more than ``limit`` in all."""
    if tree[0] == "repeat":
        _, part, least, most, _ = tree
        count = max(1, least if most < 0 else most)
        return count <= limit and _is_within(part, limit // count)
    if tree[0] == "group":
        return _is_within(tree[1], limit)
    return tree[0] not in ("each", "any") or all(_is_within(part, limit) for part in tree[1])


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


# ---------------------------------------------------------------- tree to program


class _Compiler:
    """Lays a tree out as states."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._states: list[tuple[int, Any, int]] = []
        self._work = 0

    def program(self, tree: _Tree) -> _Program:
        self._add(tree)
        self._state(_FOUND, None)
        return self._states

    def _state(self, kind: int, what: Test | Callable[[str, int], bool] | int | None, other: int = 0) -> int:
        self._states.append((kind, what, other))
        return len(self._states) - 1

    def _add(self, tree: _Tree) -> None:
        self._work += 1
        if len(self._states) > STATES_MAX or self._work > 2 * STATES_MAX:
            raise BadExpression("expression too large", self._text)
        kind = tree[0]
        if kind == "test":
            self._state(_TEST, tree[1])
        elif kind == "at":
            self._state(_AT, tree[1])
        elif kind == "each":
            for part in tree[1]:
                self._add(part)
        elif kind == "any":
            self._add_any(tree[1])
        elif kind == "group":
            self._state(_MARK, 2 * tree[2] - 1)
            self._add(tree[1])
            self._state(_MARK, 2 * tree[2])
        else:
            self._add_repeat(*tree[1:])

    def _add_any(self, trees: Sequence[_Tree]) -> None:
        leaving = []
        for tree in trees[:-1]:
            split = self._state(_SPLIT, 0)
            self._add(tree)
            leaving.append(self._state(_GO, 0))
            self._states[split] = (_SPLIT, split + 1, len(self._states))
        self._add(trees[-1])
        for state in leaving:
            self._states[state] = (_GO, len(self._states), 0)

    def _add_repeat(self, tree: _Tree, least: int, most: int, greedy: bool) -> None:
        for _ in range(least):
            self._add(tree)
        if most < 0:
            split = self._state(_SPLIT, 0)
            self._add(tree)
            self._state(_GO, split)
            self._branch(split, greedy)
            return
        splits = []
        for _ in range(most - least):
            splits.append(self._state(_SPLIT, 0))
            self._add(tree)
        for split in splits:
            self._branch(split, greedy)

    def _branch(self, split: int, greedy: bool) -> None:
        """Let ``split`` lead on or to here, the better way first."""
        ways = (split + 1, len(self._states)) if greedy else (len(self._states), split + 1)
        self._states[split] = (_SPLIT, *ways)


def matches(expression: str, text: str) -> bool:
    """Whether ``expression``, a stranger's, matches in ``text``; one that is none does not."""
    try:
        return Expression(expression).search(text)
    except BadExpression:
        return False
