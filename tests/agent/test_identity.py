"""Node ids and addresses."""

import os
import stat
import uuid
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.identity import (
    BOOT_ID,
    FIRMWARE_ID,
    MACHINE_ID,
    advertised_address,
    machine_id,
    node_id,
)
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
        """A configured id wins over the one that is kept, and takes its place only as long as it is given."""
        folder = self.mktemp()
        chosen = "0e243a1c-1e48-7a28-0dfb-191c86364e28"
        self.assertEqual(node_id(chosen.upper(), folder, Random(1)), chosen)
        self.assertFalse(os.path.exists(folder))
        kept = node_id("", folder, Random(1))
        self.assertEqual(node_id(chosen, folder, Random(1), "machine"), chosen)
        self.assertEqual(node_id("", folder, Random(1)), kept)

    def test_of_the_machine(self) -> None:
        """The same for the same machine, as Consul makes it; what is kept wins."""
        machine = "3d1219c7-c4c5-404a-aa1f-6d2a48adfda4"
        made = "333a158e-0d38-e425-ad6a-b7db4732c648"
        folder = self.mktemp()
        self.assertEqual(node_id("", "", Random(1), machine), made)
        self.assertEqual(node_id("", folder, Random(2), machine), made)
        self.assertEqual(node_id("", folder, Random(2), "another"), made)

    def test_without_a_folder(self) -> None:
        """A -dev agent keeps nothing."""
        self.assertNotEqual(node_id("", "", Random(1)), node_id("", "", Random(2)))

    def test_rubbish(self) -> None:
        """What is not a UUID is refused, and the message says where it stands."""
        for text, why in (
            ("x", "uuid string is wrong length"),
            ("1111111122223333444455555555555f", "uuid string is wrong length"),
            ("111111112-222-3333-4444-555555555555", "uuid is improperly formatted"),
            ("11111111-2222-3333-4444-5555555555zz", "encoding/hex: invalid byte: U+007A 'z'"),
            ("11111111-2222-3333-4444-55555555555-", "encoding/hex: invalid byte: U+002D '-'"),
        ):
            error = self.assertRaises(ConfigurationError, node_id, text, "", Random(1))
            self.assertEqual(str(error), f"failed to setup node ID: specified NodeID is invalid: {why}")
        folder = self.mktemp()
        path = os.path.join(folder, "node-id")
        os.makedirs(folder)
        with open(path, "w") as file:
            file.write("junk")
        error = self.assertRaises(ConfigurationError, node_id, "", folder, Random(1))
        why = "uuid string is wrong length"
        self.assertEqual(str(error), f"failed to setup node ID: NodeID in {path} is invalid: {why}")
        os.unlink(path)
        os.mkdir(path)
        error = self.assertRaises(ConfigurationError, node_id, "", folder, Random(1))
        self.assertEqual(str(error), f"failed to setup node ID: read {path}: is a directory")


class MachineIdTests(SynchronousTestCase):
    def test_sources(self) -> None:
        """The firmware's id wins over the system's, and that over the one of this boot."""
        root = self.mktemp()
        self.assertEqual(machine_id(root), "")
        for path, content, found in (
            (BOOT_ID, "B5DC98FC-a4ab-4f35-97d2-c5a66d2407a5\n", "b5dc98fc-a4ab-4f35-97d2-c5a66d2407a5"),
            (MACHINE_ID, "short\n", "b5dc98fc-a4ab-4f35-97d2-c5a66d2407a5"),
            (MACHINE_ID, "3D1219c7c4c5404aaa1f6d2a48adfda4\n", "3d1219c7-c4c5-404a-aa1f-6d2a48adfda4"),
            (FIRMWARE_ID, "\n", "3d1219c7-c4c5-404a-aa1f-6d2a48adfda4"),
            (FIRMWARE_ID, "Not Specified\nmore", "not specified"),
        ):
            path = os.path.join(root, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(content)
            self.assertEqual(machine_id(root), found)


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
