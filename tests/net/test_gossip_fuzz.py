"""Mutated packets and streams into whole pools, from the transport's protocols down.

``GOSSIP_MUTATIONS=1000000 python -m twisted.trial tests.net.test_gossip_fuzz`` runs as many as one likes;
``GOSSIP_SEED`` takes others.
"""

from __future__ import annotations

import gc
import os
import resource
from pathlib import Path
from random import Random

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.net.gossip import GossipPool
from pyconsul.swim.keyring import Keyring
from pyconsul.swim.layers import Layers
from pyconsul.swim.messages import Ping
from pyconsul.swim.stream import decode_stream, encode_stream
from pyconsul.swim.timing import LOCAL
from tests.mutation import mutated
from tests.net.gossip_target import Target
from tests.swim.captured import captured, layers_of

MUTATIONS = int(os.environ.get("GOSSIP_MUTATIONS", "20000"))
SEED = int(os.environ.get("GOSSIP_SEED", "1"))
GROWTH_MAX = 16 << 20
"""Bytes, whatever the number of mutations; what the bounds of queues and buffers add up to is less."""

KEY = b"k" * 16
WARM = 10_000
"""Mutations until modules, caches, queues and windows are full: from then on memory is watched."""
FILLED_MAX = 64 << 20
"""Bytes that it may have grown by until then, in a process that runs other tests too."""


def samples() -> tuple[list[bytes], list[bytes]]:
    """Captured packets and streams, without their encryption."""
    packets = [bytes.fromhex(record["packet_hex"]) for record in captured("udp-plain")]
    packets += [bytes.fromhex(record["plaintext_hex"]) for record in captured("udp-encrypted")]
    packets += [b"\x08" + bytes.fromhex(record["message_hex"]) for record in captured("serf-messages")]
    streams = []
    for record in captured("stream"):
        stream = bytes.fromhex(record["stream_hex"])
        streams.append(stream)
        if "encrypt" not in record["name"]:
            kind, body = decode_stream(layers_of(record), stream)
            streams.append(bytes((kind,)) + body)
    return packets, streams


def held() -> int:
    """Bytes of memory that this process has in use."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class FuzzTests(SynchronousTestCase):
    if not Path("/proc/self/statm").exists():
        skip = "memory is measured as Linux tells it"

    def _fuzz(self, keyring: Keyring | None, count: int) -> None:
        """Let ``count`` mutations in, one every 10 ms, a stream after every four packets."""
        rng = Random(SEED)
        reactor = MemoryReactorClock()
        target = Target(reactor, rng)
        layers = Layers(rng.randbytes, keyring)
        pool = GossipPool("me", target, reactor, rng, LOCAL, {"role": "node"}, keyring=keyring)
        packets, streams = samples()
        pool.start()
        answered = asked = 0
        begun = before = held()
        for number in range(count):
            if number == WARM:
                before = held()
            reactor.advance(0.01)
            if number % 100 == 0:
                pool.fire_event("load", rng.randbytes(9))
                pool.query("load", ack=True, timeout_s=1.0).addErrback(lambda _: None)
            if number % 5:
                sample = mutated(rng, rng.choice(rng.choice((packets, target.packets or packets))))
                if keyring and number % 2:
                    sample = layers.seal(sample, b"")
                target.datagram(sample)
            else:
                sample = mutated(rng, rng.choice(rng.choice((streams, target.streams or streams))))
                if keyring and number % 2:
                    sample = encode_stream(layers, sample)
                answered += target.stream(sample)
                asked += target.answers(sample)
        grown = held() - before
        print(
            f"{count} mutations, {'encrypted' if keyring else 'plain'}, seed {SEED}: memory grew by "
            f"{grown >> 10} KiB; {len(pool.members())} members, {answered} streams answered, {asked} asked"
        )
        self.assertLess(before - begun, FILLED_MAX)
        self.assertLess(grown, GROWTH_MAX if count > WARM else FILLED_MAX)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertGreater(min(answered, asked, len(pool.members()) - 1), 0)
        target.packets.clear()
        ping = Ping(1, "me").encode()
        target.datagram(layers.seal(ping, b"") if keyring else ping)
        self.assertEqual(len(target.packets), 1)
        pool.stop()
        self.assertEqual(target.opened_streams, 0)

    def test_plain(self) -> None:
        self._fuzz(None, MUTATIONS // 2)

    def test_encrypted(self) -> None:
        self._fuzz(Keyring([KEY]), MUTATIONS // 2)
