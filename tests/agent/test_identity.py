"""Node ids and addresses."""

import os
import stat
import uuid
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.identity import advertised_address, node_id
from pyconsul.errors import ConfigurationError


class NodeIdTests(SynchronousTestCase):
    def test_made_once_and_kept(self) -> None:
        """A new node gets a random id, which its data folder keeps, readable by its owner alone."""
        folder = self.mktemp()
        first = node_id("", folder, Random(1))
        self.assertEqual(uuid.UUID(first).version, 4)
        self.assertEqual(node_id("", folder, Random(2)), first)
        path = os.path.join(folder, "node-id")
        with open(path) as file:
            self.assertEqual(file.read(), first)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)

    def test_configured(self) -> None:
        """A configured id wins and is kept."""
        folder = self.mktemp()
        chosen = "0e243a1c-1e48-7a28-0dfb-191c86364e28"
        self.assertEqual(node_id(chosen.upper(), folder, Random(1)), chosen)
        self.assertEqual(node_id("", folder, Random(1)), chosen)

    def test_without_a_folder(self) -> None:
        """A -dev agent keeps nothing."""
        self.assertNotEqual(node_id("", "", Random(1)), node_id("", "", Random(2)))

    def test_rubbish(self) -> None:
        """What is not a UUID is refused, and the message says where it stands."""
        error = self.assertRaises(ConfigurationError, node_id, "x", "", Random(1))
        self.assertIn("node_id: 'x' is not a UUID", str(error))
        folder = self.mktemp()
        os.makedirs(folder)
        with open(os.path.join(folder, "node-id"), "w") as file:
            file.write("junk")
        error = self.assertRaises(ConfigurationError, node_id, "", folder, Random(1))
        self.assertIn("node-id: 'junk' is not a UUID", str(error))


class AddressTests(SynchronousTestCase):
    def test_order(self) -> None:
        """The advertised address wins over the one bound to."""
        self.assertEqual(advertised_address("127.0.0.3", "127.0.0.2"), "127.0.0.3")
        self.assertEqual(advertised_address("", "127.0.0.2"), "127.0.0.2")
        self.assertEqual(advertised_address("::1", "0.0.0.0"), "::1")

    def test_refused(self) -> None:
        """Nobody can be reached at a wildcard, and names are not addresses."""
        error = self.assertRaises(ConfigurationError, advertised_address, "0.0.0.0", "127.0.0.1")
        self.assertEqual(str(error), "Advertise address cannot be 0.0.0.0, :: or [::]")
        error = self.assertRaises(ConfigurationError, advertised_address, "", "nohost")
        self.assertIn("bind_addr: 'nohost'", str(error))
