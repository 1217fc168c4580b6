"""Whatever is done to the log and whenever the power goes: what was reported durable is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.raft.messages import Entry
from pyconsul.storage.raft_storage import RecoveredLog, SegmentedStorage
from pyconsul.testing.disk import SimDisk

SEEDS = 1200
LIVES = 4
CALLS_PER_LIFE = 25


@dataclass(frozen=True)
class State:
    """What the storage was told, up to one call.

    :ivar base: index and term of the entry after which the log began.
    :ivar entries: everything since, whether compacted or not.
    :ivar kept: compaction may have dropped what lies before this index.
    """

    base: tuple[int, int] = (0, 0)
    entries: tuple[Entry, ...] = ()
    kept: int = 1
    term: int = 0
    voted_for: str = ""

    @property
    def last_index(self) -> int:
        return self.base[0] + len(self.entries)

    def term_at(self, index: int) -> int:
        return self.base[1] if index == self.base[0] else self.entries[index - self.base[0] - 1].term

    def allows(self, recovered: RecoveredLog, entries: Sequence[Entry]) -> bool:
        """Whether ``entries`` are a prefix of this log, but for what may have been compacted."""
        first = recovered.first_index
        start = first - self.base[0] - 1
        return (
            start >= 0
            and recovered.last_index <= self.last_index
            and first <= max(self.kept, self.base[0] + 1)
            and recovered.snapshot_term == self.term_at(first - 1)
            and self.entries[start : start + len(entries)] == tuple(entries)
        )


class Run:
    """One server's disk through some lives, beside a list of what it was told."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.clock = Clock()
        self.disk = SimDisk(self.clock, Random(seed + 1))
        self.states = [State()]
        self.persisted = 0
        self.cuts = 0
        self.storage: SegmentedStorage

    def live(self) -> None:
        """Start, check what is there, do things, end in some way."""
        self._start()
        for _ in range(self.rng.randrange(CALLS_PER_LIFE)):
            self._call()
            if self.rng.random() < 0.3:
                self.clock.advance(self.rng.choice((0.0005, 0.002, 0.3)))
        end = self.rng.random()
        if end < 0.1:
            self.storage.close()
            self.disk.close()
            self.persisted = len(self.states) - 1
        else:
            self.disk.crash(power_cut=end < 0.85)

    def _start(self) -> None:
        while self.rng.random() < 0.2:  # power cuts while it starts
            storage = self._storage()
            self.disk.cut_short(storage.recover, self.rng.randrange(20))
            self.disk.crash()
        self.disk.attach(self.clock)
        self.storage = self._storage()
        recovered = self.storage.recover()
        self._check(recovered)
        if self.rng.random() < 0.3:  # what was found counts, even if nothing was done since
            self.disk.crash()
            self.storage = self._storage()
            again = self.storage.recover()
            assert again == recovered, (again, recovered)
        self.cuts += len(self.storage.notes)
        self.storage.persisted = self._persisted
        self.storage.failed = self._failed

    def _storage(self) -> SegmentedStorage:
        return SegmentedStorage(self.disk, self.rng, segment_bytes=self.rng.choice((256, 1024)))

    def _persisted(self, seq: int) -> None:
        assert self.persisted < seq < len(self.states), (self.persisted, seq)
        self.persisted = seq

    def _failed(self, seq: int, error: BaseException) -> None:
        raise error

    # ------------------------------------------------------------ calls

    def _call(self) -> None:
        state = self.states[-1]
        dice = self.rng.random()
        seq = len(self.states)
        if dice < 0.6:
            entries = self._entries(state)
            self.states.append(replace(state, entries=state.entries + tuple(entries)))
            self.storage.append(seq, entries)
        elif dice < 0.75:
            vote = self.rng.choice(("", "a", "b"))
            self.states.append(replace(state, term=state.term + 1, voted_for=vote))
            self.storage.save_state(seq, state.term + 1, vote)
        elif dice < 0.88:
            lowest = max(state.kept, state.base[0] + 1)
            first = self.rng.randrange(max(lowest, state.last_index - 8), state.last_index + 2)
            left = state.entries[: first - state.base[0] - 1]
            self.states.append(replace(state, entries=left))
            self.storage.truncate(seq, first)
        elif dice < 0.97:
            kept = self.rng.randrange(state.kept, max(state.kept, state.last_index) + 1)
            self.states[-1] = replace(state, kept=kept)
            first_index = self.storage.compact(kept)
            assert first_index <= max(kept, state.base[0] + 1)
        else:
            base = (state.last_index + self.rng.randrange(5), state.term)
            self.states.append(replace(state, base=base, entries=(), kept=base[0] + 1))
            self.storage.reset(seq, *base)
        self._read()

    def _entries(self, state: State) -> list[Entry]:
        first = state.last_index + 1
        return [
            Entry(state.term, first + place, self.rng.randrange(3), self._data())
            for place in range(self.rng.choice((1, 1, 2, 5)))
        ]

    def _data(self) -> bytes:
        size = self.rng.choice((0, 1, 30, 30, 200))
        if self.rng.random() < 0.2:  # somebody writes values that look like the log
            active = self.storage._log._segments[-1].file
            return active.read(size, self.rng.randrange(64))
        return self.rng.randbytes(size)

    def _read(self) -> None:
        """What was written can be read at once."""
        state = self.states[-1]
        lowest = max(state.kept, state.base[0] + 1)
        if state.last_index < lowest:
            return
        first = self.rng.randrange(lowest, state.last_index + 1)
        end = self.rng.randrange(first, state.last_index + 1) + 1
        found = self.storage.read(first, end, 1 << 20)
        start = first - state.base[0] - 1
        assert tuple(found) == state.entries[start : start + end - first], (first, end, found)

    # ------------------------------------------------------------ checking

    def _check(self, recovered: RecoveredLog) -> None:
        entries: list[Entry] = []
        if recovered.last_index >= recovered.first_index:
            entries = self.storage.read(recovered.first_index, recovered.last_index + 1, 1 << 30)
        assert list(recovered.terms) == [entry.term for entry in entries]
        assert recovered.snapshot_index == recovered.first_index - 1
        assert recovered.term >= (recovered.terms[-1] if recovered.terms else recovered.snapshot_term)
        told = self.states[self.persisted :]
        log = self._find(recovered, entries, told)
        votes = [(state.term, state.voted_for) for state in told]
        mine = (recovered.term, recovered.voted_for)
        assert mine in votes or (mine[0] > votes[0][0] and not mine[1]), (mine, votes)
        found = log.entries[: recovered.last_index - log.base[0]]
        self.states = [State(log.base, found, recovered.first_index, recovered.term, recovered.voted_for)]
        self.persisted = 0

    def _find(self, recovered: RecoveredLog, entries: list[Entry], told: list[State]) -> State:
        """The call whose log this is a prefix of, with all that had to be durable by then."""
        durable = told[0].last_index
        for state in told:
            durable = min(durable, state.last_index)
            if state.base[0] > durable:
                durable = state.base[0]
            if state.allows(recovered, entries) and recovered.last_index >= durable:
                return state
        raise AssertionError(f"{recovered} with {entries} is none of {told}")


class CrashTests(SynchronousTestCase):
    def test_random_lives(self) -> None:
        """Section 8 of the Raft specs: crashes with loss of what was not synced, at any moment."""
        cuts = 0
        for seed in range(SEEDS):
            run = Run(seed)
            try:
                for _ in range(LIVES):
                    run.live()
            except BaseException as error:
                raise AssertionError(f"seed {seed}") from error
            cuts += run.cuts
        self.assertGreater(cuts, SEEDS // 10)  # torn ends do come up
