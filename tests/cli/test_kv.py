"""The kv commands. Texts and requests are those of the reference (specs, section 3)."""

import base64
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.support import run


def row(key: str, value: bytes | None, **more: Any) -> dict[str, Any]:
    encoded = None if value is None else base64.b64encode(value).decode()
    return {
        "Key": key,
        "Value": encoded,
        "Flags": 0,
        "LockIndex": 0,
        "CreateIndex": 3,
        "ModifyIndex": 4,
        **more,
    }


class PutTests(SynchronousTestCase):
    def put(self, *arguments: str, answer: object = b"true", **options: Any) -> Any:
        return run("kv", "put", *arguments, answers=[(200, answer)], **options)

    def test_put(self) -> None:
        """A value, no value, and one that looks like a flag."""
        for arguments, body in ((("k", "v"), b"v"), (("k",), b""), (("k", "-5"), b"-5")):
            result = self.put(*arguments)
            self.assertEqual(
                (result.status, result.out, result.err), (0, "Success! Data written to: k\n", "")
            )
            self.assertEqual((result.lines, result.bodies), (["PUT /v1/kv/k"], [body]))

    def test_sources(self) -> None:
        """Standard input, a file, and what only looks like one."""
        self.assertEqual(self.put("k", "-", stdin=b"in\n").bodies, [b"in\n"])
        path = Path(self.mktemp())
        path.write_bytes(b"file\n")
        self.assertEqual(self.put("k", f"@{path}").bodies, [b"file\n"])
        self.assertEqual(self.put("k", "\\@x").bodies, [b"\\@x"])
        result = self.put("k", "@nofile")
        self.assertEqual(
            (result.status, result.err, result.lines),
            (1, "Error! Failed to read file: open nofile: no such file or directory\n", []),
        )

    def test_base64(self) -> None:
        """Decoded before it is sent; like the reference, junk becomes an empty value."""
        self.assertEqual(self.put("-base64", "k", "aGk=").bodies, [b"hi"])
        result = self.put("-base64", "k", "not*base64")
        self.assertEqual((result.status, result.bodies), (0, [b""]))
        self.assertIn("Error! Cannot base 64 decode data: illegal base64 data", result.err)

    def test_flags(self) -> None:
        """Flags and datacenter go along; a session alone does not."""
        result = self.put("-flags=3", "-session=s", "-datacenter=d", "k", "v")
        self.assertEqual(result.lines, ["PUT /v1/kv/k?flags=3&dc=d"])

    def test_cas(self) -> None:
        """Only if the index is right."""
        done = self.put("-cas", "-modify-index=3", "-flags=2", "k", "v")
        self.assertEqual((done.status, done.lines), (0, ["PUT /v1/kv/k?cas=3&flags=2"]))
        result = self.put("-cas", "-modify-index=3", "k", "v", answer=b"false")
        self.assertEqual((result.status, result.err), (1, "Error! Did not write to k: CAS failed\n"))
        for arguments in (("-cas", "k"), ("-cas", "-modify-index=0", "k", "v")):
            result = self.put(*arguments)
            self.assertEqual(
                (result.status, result.err, result.lines), (1, "Must specify -modify-index with -cas!\n", [])
            )

    def test_locks(self) -> None:
        """Taking and giving up."""
        for word, line in (("acquire", "Lock acquired on"), ("release", "Lock released on")):
            result = self.put(f"-{word}", "-session=s", "k", "v")
            self.assertEqual(
                (result.out, result.lines), (f"Success! {line}: k\n", [f"PUT /v1/kv/k?{word}=s"])
            )
            result = self.put(f"-{word}", "-session=s", "k", "v", answer=b"false")
            self.assertEqual((result.status, result.err), (1, f"Error! Did not {word} lock\n"))
            result = self.put(f"-{word}", "k", "v")
            self.assertEqual(result.err, "Error! Missing -session (required with -acquire and -release)\n")

    def test_precedence(self) -> None:
        """The first of cas, acquire and release counts."""
        result = self.put("-cas", "-acquire", "-modify-index=3", "-session=d", "k", "v")
        self.assertEqual(result.lines, ["PUT /v1/kv/k?cas=3"])
        result = self.put("-acquire", "-session=s", "-release", "k", "v")
        self.assertEqual(result.out, "Success! Lock acquired on: k\n")

    def test_not_done(self) -> None:
        """A plain write that says false was still made."""
        self.assertEqual(self.put("k", "v", answer=b"false").status, 0)

    def test_errors(self) -> None:
        """Arguments, keys and answers that are wrong."""
        for arguments, text in (
            ((), "Error! Missing KEY argument\n"),
            (("a", "b", "c"), "Error! Too many arguments (expected 1 or 2, got 3)\n"),
            (("/a", "v"), "Error! Failed writing data: Invalid key. Key must not begin with a '/': /a\n"),
        ):
            result = self.put(*arguments)
            self.assertEqual((result.status, result.err), (1, text))
        result = run("kv", "put", "k", "v", answers=[(500, b"boom")])
        self.assertEqual(result.err, "Error! Failed writing data: Unexpected response code: 500 (boom)\n")
        result = run("kv", "put", "-cas", "-modify-index=3", "k", "v", answers=[(500, b"boom")])
        self.assertEqual(result.err, "Error! Did not write to k: Unexpected response code: 500 (boom)\n")


class GetTests(SynchronousTestCase):
    def get(self, *arguments: str, answer: object = b"", status: int = 200) -> Any:
        return run("kv", "get", *arguments, answers=[(status, answer)])

    def test_value(self) -> None:
        """The value and a newline, whatever bytes it has."""
        result = self.get("/k", answer=b"v\n")
        self.assertEqual((result.status, result.out, result.lines), (0, "v\n\n", ["GET /v1/kv/k?raw"]))

    def test_missing(self) -> None:
        """No entry, no key, too many keys."""
        for flags in ((), ("-detailed",)):
            result = self.get(*flags, "nope", status=404)
            self.assertEqual((result.status, result.err), (1, "Error! No key exists at: nope\n"))
        self.assertEqual(self.get().err, "Error! Missing KEY argument\n")
        self.assertEqual(self.get("").err, "Error! Missing KEY argument\n")
        self.assertEqual(self.get("a", "-h").err, "Too many arguments (expected 1, got 2)\n")

    def test_base64(self) -> None:
        """The value as base64."""
        self.assertEqual(self.get("-base64", "k", answer=[row("k", b"\xff")]).out, "/w==\n")

    def test_detailed(self) -> None:
        """All that is known, in two columns."""
        rows = [row("a", b"v", Flags=7, LockIndex=2, Session="s")]
        expected = (
            "CreateIndex      3\nFlags            7\nKey              a\nLockIndex        2\n"
            "ModifyIndex      4\nSession          s\nValue            v\n"
        )
        self.assertEqual(self.get("-detailed", "a", answer=rows).out, expected)
        self.assertIn("Value            dg==\n", self.get("-detailed", "-base64", "a", answer=rows).out)

    def test_recurse(self) -> None:
        """Key and value on a line; details with an empty line between them."""
        rows = [row("a", b"1"), row("b", None)]
        result = self.get("-recurse", "/", answer=rows)
        self.assertEqual((result.out, result.lines), ("a:1\nb:\n", ["GET /v1/kv/?recurse"]))
        self.assertEqual(self.get("-recurse", "-base64", "x", answer=rows).out, "a:MQ==\nb:\n")
        first, _, second = self.get("-recurse", "-detailed", "x", answer=rows).out.partition("\n\n")
        self.assertTrue(first.endswith("Value            1"))
        self.assertTrue(second.endswith("Session          -\nValue\n"))
        self.assertEqual(self.get("-recurse", "x", status=404).out, "")

    def test_keys(self) -> None:
        """Keys alone, cut at the separator."""
        result = self.get("-keys", "x/", answer=["x/a", "x/b/"])
        self.assertEqual((result.out, result.lines), ("x/a\nx/b/\n", ["GET /v1/kv/x/?keys&separator=%2F"]))
        self.assertEqual(self.get("-keys", "-separator=", answer=[]).lines, ["GET /v1/kv/?keys"])
        self.assertEqual(self.get("-keys", "x", status=404).status, 0)

    def test_options(self) -> None:
        """Datacenter and staleness."""
        result = self.get("-datacenter=d", "-stale", "k")
        self.assertEqual(result.lines, ["GET /v1/kv/k?raw&dc=d&stale"])

    def test_errors(self) -> None:
        """The status alone, as Consul has it here."""
        result = self.get("k", status=500, answer=b"No path to datacenter")
        self.assertEqual(
            (result.status, result.err), (1, "Error querying Consul agent: Unexpected response code: 500\n")
        )


class DeleteTests(SynchronousTestCase):
    def delete(self, *arguments: str, answer: object = b"true", status: int = 200) -> Any:
        return run("kv", "delete", *arguments, answers=[(status, answer)])

    def test_delete(self) -> None:
        """One entry, or all below a prefix."""
        result = self.delete("/k")
        self.assertEqual((result.out, result.lines), ("Success! Deleted key: k\n", ["DELETE /v1/kv/k"]))
        result = self.delete("-recurse", "k/")
        self.assertEqual(
            (result.out, result.lines),
            ("Success! Deleted keys with prefix: k/\n", ["DELETE /v1/kv/k/?recurse"]),
        )
        self.assertEqual(self.delete("-recurse").lines, ["DELETE /v1/kv/?recurse"])

    def test_cas(self) -> None:
        """Only if the index is right."""
        result = self.delete("-cas", "-modify-index=2", "k")
        self.assertEqual((result.status, result.lines), (0, ["DELETE /v1/kv/k?cas=2"]))
        result = self.delete("-cas", "-modify-index=2", "k", answer=b"false")
        self.assertEqual((result.status, result.err), (1, "Error! Did not delete key k: CAS failed\n"))
        self.assertEqual(self.delete("-cas", "k").err, "Must specify -modify-index with -cas!\n")
        self.assertEqual(self.delete("-recurse", "-cas", "k").err, "Must specify -modify-index with -cas!\n")
        for flags, text in (
            (("-recurse", "-cas", "-modify-index=2"), "Cannot specify both -cas and -recurse!\n"),
            (("-modify-index=2",), "Cannot specify -modify-index without -cas!\n"),
        ):
            result = self.delete(*flags, "k")
            self.assertEqual((result.status, result.err, result.lines), (1, text, []))

    def test_errors(self) -> None:
        """Arguments and answers that are wrong."""
        for arguments in ((), ("",)):
            self.assertEqual(self.delete(*arguments).err, "Error! Missing KEY argument\n")
        self.assertEqual(self.delete("a", "b").err, "Too many arguments (expected 1, got 2)\n")
        reason = "Unexpected response code: 500 (boom)\n"
        for flags, text in (
            ((), "Error deleting key k"),
            (("-recurse",), "Error! Did not delete prefix k"),
            (("-cas", "-modify-index=2"), "Error! Did not delete key k"),
        ):
            self.assertEqual(self.delete(*flags, "k", answer=b"boom", status=500).err, f"{text}: {reason}")


class ExportTests(SynchronousTestCase):
    def test_export(self) -> None:
        """JSON with tabs."""
        rows = [row("a", b"1", Flags=7), row("b", None)]
        result = run("kv", "export", "/a", answers=[(200, rows)])
        self.assertEqual(
            result.out,
            '[\n\t{\n\t\t"key": "a",\n\t\t"flags": 7,\n\t\t"value": "MQ=="\n\t},\n'
            '\t{\n\t\t"key": "b",\n\t\t"flags": 0,\n\t\t"value": ""\n\t}\n]\n',
        )
        self.assertEqual(result.lines, ["GET /v1/kv/a?recurse"])

    def test_nothing(self) -> None:
        """No entries are an empty list."""
        self.assertEqual(run("kv", "export", answers=[(404, b"")]).out, "[]\n")
        self.assertEqual(run("kv", "export", "a", "b").err, "Too many arguments (expected 1, got 2)\n")


class ImportTests(SynchronousTestCase):
    def test_import(self) -> None:
        """Each entry is written, whichever way the data comes."""
        data = b'[{"key":"a","flags":7,"value":"MQ=="},{"key":"b"}]'
        path = Path(self.mktemp())
        path.write_bytes(data)
        for argument in (data.decode(), "-", f"@{path}"):
            result = run("kv", "import", argument, stdin=data, answers=[(200, b"true")] * 2)
            self.assertEqual((result.status, result.out), (0, "Imported: a\nImported: b\n"))
            self.assertEqual(result.lines, ["PUT /v1/kv/a?flags=7", "PUT /v1/kv/b"])
            self.assertEqual(result.bodies, [b"1", b""])

    def test_names_in_any_case(self) -> None:
        """As Go reads them; what it does not know is passed over."""
        result = run("kv", "import", '[{"Key":"a","FLAGS":3,"Value":"MQ==","x":1}]', answers=[(200, b"true")])
        self.assertEqual((result.lines, result.bodies), (["PUT /v1/kv/a?flags=3"], [b"1"]))

    def test_errors(self) -> None:
        """What is no export."""
        for data, text in (
            ("junk", "Cannot unmarshal data: invalid character"),
            ("{}", "Cannot unmarshal data: json: not a list of entries"),
            ("[1]", "Cannot unmarshal data: json: not a list of entries"),
            ('[{"key":1}]', "Cannot unmarshal data: json: key is not a str"),
            ('[{"key":"z","flags":"x"}]', "Cannot unmarshal data: json: flags is not a int"),
            ('[{"key":"z","flags":-1}]', "Cannot unmarshal data: json: -1 is no number of 64 bits"),
            ('[{"key":"z","value":"!!"}]', "Error base 64 decoding value for key z: illegal base64 data"),
            ('[{"key":"z","value":"\u00e9"}]', "Error base 64 decoding value for key z: illegal base64 data"),
            ('[{"key":"/z"}]', "Error! Failed writing data for key /z: Invalid key."),
        ):
            result = run("kv", "import", data)
            self.assertEqual((result.status, result.lines), (1, []))
            self.assertTrue(result.err.startswith(text), result.err)
        self.assertEqual(run("kv", "import").err, "Error! Missing DATA argument\n")
        self.assertEqual(run("kv", "import", "a", "b").err, "Error! Too many arguments (expected 1, got 2)\n")
        result = run("kv", "import", '[{"key":"a"}]', answers=[(500, b"boom")])
        self.assertEqual(
            result.err, "Error! Failed writing data for key a: Unexpected response code: 500 (boom)\n"
        )
