"""The members command. Texts and requests are those of the reference."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.support import run


def member(name: str, status: int, address: str = "10.0.0.1", **tags: str) -> dict[str, Any]:
    return {"Name": name, "Addr": address, "Port": 8301, "Status": status, "Tags": tags}


MEMBERS = [
    member("b", 3, "::1", role="node", dc="dc1", vsn="2", build="1.8.7:abc"),
    member("d", 1, role="consul", dc="dc2", vsn="2", build="0.7.5:'21f2d5a"),
    member("e", 2, role="node", dc="dc1", segment="s"),
    member("a", 0, role="x"),
    member("c", 4, role="node", dc="dc1", segment=""),
]


class MembersTests(SynchronousTestCase):
    def members(self, *arguments: str, answer: object = MEMBERS, status: int = 200) -> Any:
        return run("members", *arguments, answers=[(status, answer)])

    def test_standard(self) -> None:
        """By segment and name; servers are in all segments."""
        result = self.members()
        self.assertEqual(
            result.out,
            "Node  Address        Status   Type     Build  Protocol  DC   Segment\n"
            "d     10.0.0.1:8301  alive    server   0.7.5  2         dc2  <all>\n"
            "a     10.0.0.1:8301  none     unknown                        \n"
            "b     [::1]:8301     left     client   1.8.7  2         dc1  <default>\n"
            "c     10.0.0.1:8301  failed   client   < 0.3            dc1  <default>\n"
            "e     10.0.0.1:8301  leaving  client   < 0.3            dc1  s\n",
        )
        self.assertEqual(result.lines, ["GET /v1/agent/members?segment=_all"])

    def test_detailed(self) -> None:
        """All tags by name."""
        lines = self.members("-detailed", answer=MEMBERS[:2]).out.splitlines()
        self.assertEqual(lines[0], "Node  Address        Status  Tags")
        self.assertEqual(
            lines[1],
            "d     10.0.0.1:8301  alive   build=0.7.5:'21f2d5a,dc=dc2,role=consul,segment=<all>,vsn=2",
        )

    def test_pool_and_segment(self) -> None:
        """What is asked of the agent."""
        self.assertEqual(self.members("-wan").lines, ["GET /v1/agent/members?segment=_all&wan=1"])
        self.assertEqual(self.members("-segment=s").lines, ["GET /v1/agent/members?segment=s"])

    def test_status(self) -> None:
        """An expression that may match a part of the word."""
        out = self.members("-status=lea|fail").out
        self.assertEqual([line[0] for line in out.splitlines()[1:]], ["c", "e"])
        result = self.members("-status=nobody")
        self.assertEqual((result.status, result.out, result.err), (2, "", ""))
        result = self.members("-status=(")
        self.assertEqual(result.status, 1)
        reason = "error parsing regexp: missing closing ): `(`"
        self.assertEqual(result.err, f"Failed to compile status regexp: {reason}\n")

    def test_nobody(self) -> None:
        """No members at all end like none that match."""
        self.assertEqual(self.members(answer=None).status, 2)

    def test_unknown_status(self) -> None:
        """A number that is none of serf's."""
        self.assertIn("unknown", self.members(answer=[member("a", 9, role="node")]).out)

    def test_errors(self) -> None:
        """The agent's reason."""
        result = self.members(status=500, answer=b"boom")
        self.assertEqual(
            (result.status, result.err),
            (1, "Error retrieving members: Unexpected response code: 500 (boom)\n"),
        )
