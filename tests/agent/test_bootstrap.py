"""The first configuration (specs of Raft, section 7)."""

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.bootstrap import Bootstrap
from pyconsul.agent.servers import ServerRecord
from pyconsul.errors import Unreachable
from pyconsul.raft.configuration import NONVOTER, Configuration


def server(number: int, **changes: object) -> ServerRecord:
    facts = {
        "id": f"id{number}",
        "name": f"s{number}",
        "address": f"127.0.0.{number}:8300",
        "datacenter": "dc1",
        "expect": 3,
        "bootstrap": False,
        "nonvoter": False,
        "alive": True,
    }
    facts.update(changes)
    return ServerRecord(**facts)  # type: ignore[arg-type]


class BootstrapTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.servers = [server(3), server(1), server(2)]
        self.empty = True
        self.peers: dict[str, Deferred[list[str]]] = {}
        self.asked: list[str] = []
        self.written: list[Configuration] = []
        self.bootstrap = Bootstrap(
            3, lambda: self.servers, lambda: self.empty, self.ask, self.written.append, self.clock
        )

    def ask(self, address: str) -> Deferred[list[str]]:
        self.asked.append(address)
        return self.peers.pop(address, None) or succeed([])

    def test_writes_when_all_are_there(self) -> None:
        """With the expected number found, all write the same servers in the same order, once."""
        self.bootstrap.look()
        self.bootstrap.look()
        self.assertEqual([[s.id for s in c.servers] for c in self.written], [["id1", "id2", "id3"]])

    def test_waits(self) -> None:
        """Too few, or some that are not alive or have no vote: wait."""
        self.servers = self.servers[:2]
        self.bootstrap.look()
        self.servers = [*self.servers, server(2, alive=False), server(4, nonvoter=True)]
        self.bootstrap.look()
        self.assertEqual((self.written, self.asked), ([], []))
        self.servers.append(server(2))
        self.bootstrap.look()
        self.assertEqual({s.id: s.suffrage for s in self.written[0].servers}["id4"], NONVOTER)

    def test_conflicting_expect(self) -> None:
        """All must expect the same number."""
        self.servers[0] = server(3, expect=5)
        self.bootstrap.look()
        self.assertEqual(self.written, [])

    def test_a_server_in_bootstrap_mode(self) -> None:
        """Beside a server in bootstrap mode this is over."""
        self.servers.append(server(4, bootstrap=True, expect=0))
        self.bootstrap.look()
        self.servers.pop()
        self.bootstrap.look()
        self.assertEqual(self.written, [])

    def test_a_cluster_exists(self) -> None:
        """If any server has peers, there is a cluster to join."""
        self.peers["127.0.0.2:8300"] = succeed(["127.0.0.9:8300"])
        self.bootstrap.look()
        self.bootstrap.look()
        self.assertEqual((self.written, len(self.asked)), ([], 3))

    def test_a_log_that_is_not_empty(self) -> None:
        """A server with a history never bootstraps."""
        self.empty = False
        self.bootstrap.look()
        self.empty = True
        self.bootstrap.look()
        self.assertEqual((self.written, self.asked), ([], []))

    def test_asks_again(self) -> None:
        """A server that cannot be asked yet is asked again, later and later."""
        self.peers["127.0.0.2:8300"] = fail(Unreachable("x"))
        self.bootstrap.look()
        self.bootstrap.look()
        self.assertEqual(len(self.asked), 3)
        self.peers["127.0.0.2:8300"] = fail(Unreachable("x"))
        self.clock.advance(1.0)
        self.assertEqual(len(self.asked), 6)
        self.clock.advance(1.9)
        self.assertEqual(self.written, [])
        self.clock.advance(0.2)
        self.assertEqual(len(self.written), 1)

    def test_stop(self) -> None:
        """An agent that ends asks no more, and an answer that comes then changes nothing."""
        late: Deferred[list[str]] = Deferred()
        self.peers["127.0.0.2:8300"] = late
        self.bootstrap.look()
        self.bootstrap.stop()
        late.callback([])
        self.assertEqual(self.written, [])
