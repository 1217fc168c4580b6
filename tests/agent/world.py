"""Agents in one process, for the tests of whole agents."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from pyconsul.agent.client import ClientAgent
from pyconsul.agent.environment import Environment
from pyconsul.agent.server import ServerAgent
from pyconsul.config.groups import Performance
from pyconsul.config.schema import AgentConfig
from pyconsul.interfaces import RaftStorage
from pyconsul.storage.memory import MemoryStorage
from pyconsul.testing.clock import NodeClock, SimClock
from pyconsul.testing.network import Conditions, SimNetwork, Stack
from pyconsul.testing.transports import GossipSocket, RaftSocket, RpcSocket

STEADY = Conditions(delay_s=0.001, jitter_s=0.0, tail=0.0)


def node_id(number: int) -> str:
    """The UUID of the node ``n<number>``."""
    return f"00000000-0000-4000-8000-{number:012}"


class World:
    """Agents in one process, on virtual time and a network that loses nothing.

    :param wan: whether servers are in the pool of all datacenters.
    """

    def __init__(self, wan: bool = False) -> None:
        self.wan = wan
        self.clock = SimClock()
        self.network = SimNetwork(self.clock, Random(1), STEADY)
        self.stacks: dict[str, Stack] = {}
        self.clocks: dict[str, NodeClock] = {}
        self.agents: list[ServerAgent | ClientAgent] = []

    def environment(self, number: int, server: bool = True) -> Environment:
        """The world as the node ``n<number>`` at 10.0.0.<number> sees it."""
        ip = f"10.0.0.{number}"
        clock = NodeClock(self.clock)
        stack = self.network.plug(ip, clock)
        self.clocks[ip], self.stacks[ip] = clock, stack
        return Environment(
            clock=clock,
            rng=Random(number),
            wall_time=lambda: 1_700_000_000.0,
            rpc_transport=RpcSocket(stack),
            gossip_transport=GossipSocket(stack),
            raft_transport=RaftSocket(stack, node_id(number)) if server else None,
            wan_transport=GossipSocket(stack, 8302) if server and self.wan else None,
        )

    def server(self, number: int, storage: RaftStorage | None = None, **settings: Any) -> ServerAgent:
        """A server, not yet started; Raft's timers are the shortest that Consul allows."""
        agent = ServerAgent(
            self.config(number, server=True, **settings),
            self.environment(number),
            node_id(number),
            storage or MemoryStorage(),
        )
        self.agents.append(agent)
        return agent

    def client(self, number: int, **settings: Any) -> ClientAgent:
        """A client agent, not yet started."""
        config = self.config(number, server=False, **settings)
        agent = ClientAgent(config, self.environment(number, False), node_id(number))
        self.agents.append(agent)
        return agent

    def config(self, number: int, **settings: Any) -> AgentConfig:
        """The configuration of a node."""
        facts: dict[str, Any] = {
            "node_name": f"n{number}",
            "advertise_addr": f"10.0.0.{number}",
            "performance": Performance(raft_multiplier=1),
            "disable_coordinates": True,  # so that nothing is written unless a test does
        }
        return AgentConfig(**(facts | settings))

    @property
    def leader(self) -> ServerAgent | None:
        """The server that leads and is ready, if any."""
        servers = [agent for agent in self.agents if isinstance(agent, ServerAgent)]
        return next((agent for agent in servers if agent.raft.ready), None)

    def cluster(self, servers: int = 3, **settings: Any) -> list[ServerAgent]:
        """Servers that found each other and have a leader, which comes first."""
        made = [
            self.server(number, bootstrap_expect=servers, retry_join=("10.0.0.1", "10.0.0.2"), **settings)
            for number in range(1, servers + 1)
        ]
        for agent in made:
            agent.startService()
        self.until(lambda: any(agent.raft.ready for agent in made))
        self.until(lambda: all(agent.raft.leader_address for agent in made))
        self.run_for(3.0)
        return sorted(made, key=lambda agent: not agent.raft.ready)

    def run_for(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.run_until(self.clock.now + seconds)

    def until(self, condition: Callable[[], object], within_s: float = 60.0) -> None:
        """Let time pass until something holds."""
        end = self.clock.now + within_s
        while not condition():
            assert self.clock.now < end, "it does not come true"
            self.run_for(0.05)

    def kill(self, agent: ServerAgent | ClientAgent) -> None:
        """End a process without a word."""
        ip = agent.config.advertise_addr
        self.clocks[ip].kill()
        self.network.unplug(self.stacks[ip])
        self.agents.remove(agent)

    def stop(self) -> None:
        """End everything."""
        for agent in self.agents:
            if agent.running:
                agent.stopService()
