"""``/v1/agent/host``."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from pyconsul.agent.host import describe_host

FILES = {
    "proc/meminfo": "MemTotal: 1000 kB\nMemFree: 400 kB\nBuffers: 50 kB\nCached: 100 kB\n"
    "SReclaimable: 10 kB\nHugePages_Total: 3\n",
    "proc/cpuinfo": "processor\t: 0\nvendor_id\t: V\ncpu MHz\t: 2600.5\ncache size\t: 512 KB\n"
    "flags\t: fpu sse\n\nprocessor\t: 1\n\nHardware\t: none\n",
    "proc/stat": "cpu 1\nbtime 1700000000\n",
    "proc/uptime": "11900.25 3.0\n",
    "etc/os-release": 'ID=ubuntu\nID_LIKE="debian other"\nVERSION_ID="12.1"\n',
    "etc/machine-id": "ABC\n",
}


class HostTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = self.mktemp()
        for name, text in FILES.items():
            path = Path(self.root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def test_host(self) -> None:
        """What the system says, by Consul's names."""
        found = describe_host(lambda: 1.5, self.root)
        self.assertEqual(found["CollectionTime"], 1_500_000_000)
        self.assertIsNone(found["Errors"])
        memory = found["Memory"]
        self.assertEqual((memory["total"], memory["cached"]), (1_024_000, 112_640))
        self.assertEqual((memory["used"], memory["usedPercent"]), (450_560, 44.0))
        self.assertEqual((memory["hugepagestotal"], memory["swapfree"]), (3, 0))
        first, second = found["CPU"]
        self.assertEqual((first["vendorId"], first["mhz"], first["cacheSize"]), ("V", 2600.5, 512))
        self.assertEqual((first["flags"], second["cpu"], second["flags"]), (["fpu", "sse"], 1, []))
        host = found["Host"]
        self.assertEqual((host["bootTime"], host["uptime"]), (1_700_000_000, 11900))
        self.assertEqual((host["platform"], host["platformFamily"]), ("ubuntu", "debian"))
        self.assertEqual((host["platformVersion"], host["hostid"]), ("12.1", "abc"))
        self.assertGreater(found["Disk"]["total"], 0)
        msgspec.json.encode(found)

    def test_missing(self) -> None:
        """What the system does not say is null, and named."""
        os.unlink(Path(self.root, "proc/meminfo"))
        Path(self.root, "proc/cpuinfo").write_text("processor: x\n")
        Path(self.root, "proc/stat").write_text("")
        found = describe_host(lambda: 1.0, self.root)
        self.assertEqual((found["Memory"], found["CPU"], found["Host"]), (None, None, None))
        self.assertEqual([line.partition(":")[0] for line in found["Errors"]], ["memory", "cpu", "host"])

    def test_no_id(self) -> None:
        """A machine may have nothing that tells it from others."""
        os.unlink(Path(self.root, "etc/machine-id"))
        self.assertEqual(describe_host(lambda: 1.0, self.root)["Host"]["hostid"], "")
