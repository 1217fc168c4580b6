"""What tests with a network of their own rely on."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.cluster.networks import Network, need_networks


class NetworkTests(SynchronousTestCase):
    skip = need_networks()

    def test_its_address_stays(self) -> None:
        """Whoever is cut off, the others go on knowing where this process is."""
        network = Network(self.addCleanup)
        hosts = [network.host(number) for number in (2, 3)]
        self.assertEqual(len({host.rpartition(".")[0] for host in hosts}), 1)
        before = network.hardware_address()
        for number in (2, 3):
            network.cut(number)
            self.assertEqual(network.hardware_address(), before)
            network.heal(number)
            self.assertEqual(network.hardware_address(), before)
