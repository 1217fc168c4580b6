"""Every message survives the way over the wire, and old senders are understood."""

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.raft.configuration import Configuration, Server, decode
from pyconsul.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    Heartbeat,
    HeartbeatResponse,
    Message,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)

EXAMPLES: list[Message] = [
    RequestVote(3, 10, 2, True, False, "a:8300"),
    RequestVoteResponse(3, True, True),
    AppendEntries(3, 10, 2, 9, [Entry(3, 11, 0, b"\x00data")], "a:8300"),
    AppendEntriesResponse(3, False, 0, 10, 8, 2),
    Heartbeat(3, 9, 77, "a:8300"),
    HeartbeatResponse(3, 77, 9, 11),
    TimeoutNow(3),
]


class MessageTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        for message in EXAMPLES:
            data = msgspec.msgpack.encode(message)
            self.assertEqual(msgspec.msgpack.decode(data, type=Message), message)

    def test_tags_are_for_ever(self) -> None:
        """A message starts with its tag, as an array."""
        tags = [msgspec.msgpack.decode(msgspec.msgpack.encode(message))[0] for message in EXAMPLES]
        self.assertEqual(tags, [1, 2, 3, 4, 5, 6, 7])

    def test_missing_tail_takes_defaults(self) -> None:
        """Fields are only ever added at the end, with a default."""
        short = msgspec.msgpack.encode([6, 3, 77])
        self.assertEqual(msgspec.msgpack.decode(short, type=Message), HeartbeatResponse(3, 77, 0, 0))


class ConfigurationTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        configuration = Configuration([Server("a", "a:8300"), Server("b", "b:8300", 1)])
        self.assertEqual(decode(configuration.encode()), configuration)

    def test_problems(self) -> None:
        """Ids and addresses are unique and not empty, and somebody votes (specs, section 6)."""
        a, b = Server("a", "a:1"), Server("b", "b:1")
        for servers, problem in (
            ([a, b], ""),
            ([a, Server("", "c:1")], "empty ID in configuration"),
            ([a, Server("c", "")], "empty address in configuration for server c"),
            ([a, Server("a", "c:1")], "found duplicate ID in configuration: a"),
            ([a, Server("c", "a:1")], "found duplicate address in configuration: a:1"),
            ([Server("c", "c:1", 1)], "need at least one voter in configuration"),
            ([], "need at least one voter in configuration"),
        ):
            self.assertEqual(Configuration(servers).problem(), problem)
