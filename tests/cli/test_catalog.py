"""The catalog commands. Texts and requests are those of the reference."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.support import run

NODES: list[dict[str, Any]] = [
    {
        "ID": "01234567-89ab", "Node": "b", "Address": "10.0.0.1", "Datacenter": "d",
        "Meta": {"z": "1", "a": "2"}, "TaggedAddresses": {"wan": "1", "lan": "2"},
    },
    {"Node": "a", "Address": "10.0.0.22", "Datacenter": "d", "Meta": None},
]  # fmt: skip


class CatalogTests(SynchronousTestCase):
    def catalog(self, *arguments: str, answer: object = (), status: int = 200) -> Any:
        return run("catalog", *arguments, answers=[(status, answer)])

    def test_datacenters(self) -> None:
        """One name a line."""
        result = self.catalog("datacenters", answer=["dc1", "dc2"])
        self.assertEqual((result.out, result.lines), ("dc1\ndc2\n", ["GET /v1/catalog/datacenters"]))
        result = self.catalog("datacenters", "-datacenter=dc9", "-stale", answer=["dc1"])
        self.assertEqual((result.status, result.lines), (0, ["GET /v1/catalog/datacenters"]))
        self.assertEqual(self.catalog("datacenters", "x").err, "Too many arguments (expected 0, got 1)\n")

    def test_nodes(self) -> None:
        """In the order given, with short ids."""
        result = self.catalog("nodes", answer=NODES)
        self.assertEqual(
            result.out,
            "Node  ID        Address    DC\nb     01234567  10.0.0.1   d\na               10.0.0.22  d\n",
        )
        self.assertEqual(result.lines, ["GET /v1/catalog/nodes"])

    def test_detailed(self) -> None:
        """Whole ids, addresses and metadata."""
        lines = self.catalog("nodes", "-detailed", answer=NODES).out.splitlines()
        self.assertEqual(lines[0], "Node  ID             Address    DC  TaggedAddresses  Meta")
        self.assertEqual(lines[1], "b     01234567-89ab  10.0.0.1   d   lan=2, wan=1     a=2, z=1")

    def test_filters(self) -> None:
        """What is asked of the agent."""
        result = self.catalog(
            "nodes", "-near=_agent", "-filter=f", "-node-meta=a=b", "-node-meta=c=d", answer=NODES
        )
        self.assertEqual(
            result.lines, ["GET /v1/catalog/nodes?near=_agent&filter=f&node-meta=a%3Ab&node-meta=c%3Ad"]
        )

    def test_metadata_without_a_value(self) -> None:
        """It is said before anything is asked."""
        for what in ("nodes", "services"):
            result = self.catalog(what, "-node-meta=rack")
            self.assertEqual((result.status, result.lines), (1, []))
            self.assertIn('invalid value "rack" for flag -node-meta: Missing "=" value in', result.err)

    def test_nodes_of_a_service(self) -> None:
        """Each node once, however many instances it has."""
        rows = [{**NODES[0], "NodeMeta": {"a": "2"}}, {**NODES[0]}]
        result = self.catalog("nodes", "-service=w", answer=rows)
        self.assertEqual(len(result.out.splitlines()), 2)
        self.assertEqual(result.lines, ["GET /v1/catalog/service/w"])

    def test_no_nodes(self) -> None:
        """Nothing found is said, and is no failure."""
        result = self.catalog("nodes", answer=[])
        text = "No nodes match the given query - try expanding your search.\n"
        self.assertEqual((result.status, result.out, result.err), (0, "", text))

    def test_services(self) -> None:
        """Names by name; with tags on demand."""
        services = {"web": ["b", "a"], "consul": []}
        result = self.catalog("services", "-node-meta=a=b", answer=services)
        self.assertEqual(
            (result.out, result.lines), ("consul\nweb\n", ["GET /v1/catalog/services?node-meta=a%3Ab"])
        )
        out = self.catalog("services", "-tags", answer=services).out
        self.assertEqual(out, "consul      \nweb         a,b\n")
        self.assertEqual(self.catalog("services", "-tags", answer={"consul": []}).out, "consul\n")

    def test_services_of_a_node(self) -> None:
        """The instances of one node, gathered by name."""
        node = {
            "Services": {
                "1": {"Service": "web", "Tags": ["x"]},
                "2": {"Service": "web", "Tags": ["y"]},
                "3": {"Service": "db", "Tags": None},
            }
        }
        result = self.catalog("services", "-node=n", "-tags", answer=node)
        self.assertEqual(
            (result.out, result.lines), ("db       \nweb      x,y\n", ["GET /v1/catalog/node/n"])
        )

    def test_no_services(self) -> None:
        """Nothing found is said, and is no failure; an unknown node has none."""
        text = "No services match the given query - try expanding your search.\n"
        for arguments in ((), ("-node=n",)):
            result = self.catalog("services", *arguments, answer=None)
            self.assertEqual((result.status, result.out, result.err), (0, "", text))

    def test_errors(self) -> None:
        """The agent's reason, behind what was tried."""
        for arguments, text in (
            (("datacenters",), "Error listing datacenters"),
            (("nodes",), "Error listing nodes"),
            (("nodes", "-service=w"), "Error listing nodes for service"),
            (("services",), "Error listing services"),
            (("services", "-node=n"), "Error listing services for node"),
        ):
            result = self.catalog(*arguments, answer=b"boom", status=500)
            self.assertEqual(result.err, f"{text}: Unexpected response code: 500 (boom)\n")
        for name in ("nodes", "services"):
            self.assertEqual(self.catalog(name, "x").err, "Too many arguments (expected 0, got 1)\n")
