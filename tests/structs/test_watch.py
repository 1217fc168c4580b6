"""Watches: definitions, and what is delivered."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.errors import ConfigurationError, Refused
from pyconsul.structs.watch import Follower, Parameters, Watch, parse


def watch(**given: Any) -> Watch:
    parameters = Parameters(given)
    found = parse(parameters)
    parameters.finish()
    return found


class ParseTests(SynchronousTestCase):
    def test_targets(self) -> None:
        for given, target in (
            ({"type": "key", "key": "a b/c"}, "/v1/kv/a%20b/c"),
            ({"type": "key", "key": "/a"}, "/v1/kv/a"),
            ({"type": "keyprefix", "prefix": "a/"}, "/v1/kv/a/?recurse="),
            ({"type": "services"}, "/v1/catalog/services"),
            ({"type": "nodes", "datacenter": "dc2"}, "/v1/catalog/nodes?dc=dc2"),
            ({"type": "service", "service": "web"}, "/v1/health/service/web"),
            (
                {"type": "service", "service": "a/b", "tag": ["x", "y"], "passingonly": "true"},
                "/v1/health/service/a%2Fb?tag=x&tag=y&passing=1",
            ),
            (
                {"type": "service", "service": "web", "tag": "x", "stale": True},
                "/v1/health/service/web?tag=x&stale=",
            ),
            ({"type": "checks"}, "/v1/health/state/any"),
            ({"type": "checks", "state": "passing"}, "/v1/health/state/passing"),
            ({"type": "checks", "service": "web"}, "/v1/health/checks/web"),
            ({"type": "event"}, "/v1/event/list"),
            ({"type": "event", "name": "deploy"}, "/v1/event/list?name=deploy"),
        ):
            self.assertEqual(watch(**given).target(0), target)
        self.assertEqual(watch(type="services").target(7), "/v1/catalog/services?index=7")
        self.assertEqual(watch(type="event", name="x").target(7), "/v1/event/list?name=x&index=7")
        self.assertEqual(watch(type="services", token="t").token, "t")

    def test_refused(self) -> None:
        for given, text in (
            ({}, "Watch type must be specified"),
            ({"type": "zzz"}, "Unsupported watch type: zzz"),
            ({"type": "key"}, "Must specify a single key to watch"),
            ({"type": "keyprefix"}, "Must specify a single prefix to watch"),
            ({"type": "service"}, "Must specify a single service to watch"),
            ({"type": "checks", "service": "a", "state": "passing"}, "Cannot specify service and state"),
            ({"type": "nodes", "key": "x"}, "Invalid parameters: [key]"),
            ({"type": "key", "key": 1}, "Expecting key to be a string"),
            (
                {"type": "service", "service": "a", "passingonly": "zz"},
                "Expecting passingonly to be a boolean",
            ),
            (
                {"type": "service", "service": "a", "tag": 1},
                "Expecting tag to be a string or a list of strings",
            ),
        ):
            error = self.assertRaises(ConfigurationError, watch, **given)
            self.assertEqual(str(error), text)


ENTRY = {"LockIndex": 0, "Key": "a", "Flags": 0, "Value": "MQ==", "CreateIndex": 5, "ModifyIndex": 6}
SHOWN = b'{"Key":"a","CreateIndex":5,"ModifyIndex":6,"LockIndex":0,"Flags":0,"Value":"MQ==","Session":""}'


class FollowerTests(SynchronousTestCase):
    def test_key(self) -> None:
        follower = Follower(watch(type="key", key="a"))
        self.assertEqual(follower.answered(404, 4, b""), b"null")
        self.assertEqual(follower.answered(200, 6, json.dumps([ENTRY]).encode()), SHOWN)
        self.assertEqual(follower.target(), "/v1/kv/a?index=6")

    def test_prefix(self) -> None:
        follower = Follower(watch(type="keyprefix", prefix="a"))
        self.assertEqual(follower.answered(200, 6, json.dumps([ENTRY]).encode()), b"[" + SHOWN + b"]")
        self.assertEqual(follower.answered(404, 9, b""), b"null")

    def test_nothing_new(self) -> None:
        """The same index, or another with the same data, is no news."""
        follower = Follower(watch(type="services"))
        self.assertEqual(follower.answered(200, 3, b"{}"), b"{}")
        self.assertIsNone(follower.answered(200, 3, b"{}"))
        self.assertIsNone(follower.answered(200, 8, b"{}"))
        self.assertEqual(follower.index, 8)

    def test_index_that_falls(self) -> None:
        follower = Follower(watch(type="services"))
        follower.answered(200, 30, b"{}")
        self.assertEqual(follower.answered(200, 2, b'{"a":[]}'), b'{"a":[]}')
        self.assertEqual(follower.index, 0)
        self.assertIsNone(follower.answered(200, 2, b'{"a":[]}'))
        self.assertEqual(follower.index, 2)

    def test_refused(self) -> None:
        follower = Follower(watch(type="services"))
        for status, body in ((500, b"No cluster leader"), (404, b"")):
            error = self.assertRaises(Refused, follower.answered, status, 0, body)
            self.assertEqual(str(error), f"Unexpected response code: {status} ({body.decode()})")
        self.assertEqual(follower.index, 0)

    def test_no_index(self) -> None:
        """What there is can be told, but not what comes: to ask again at once would be no waiting."""
        follower = Follower(watch(type="services"))
        self.assertEqual(follower.answered(200, 0, b"{}"), b"{}")
        self.assertRaises(Refused, follower.answered, 200, 0, b"{}")

    def test_events(self) -> None:
        """Only those that have not been delivered; their index is no number that grows."""
        first, second, third = ({"ID": name} for name in "abc")

        def answered(index: int, *events: dict[str, str]) -> Any:
            found = follower.answered(200, index, json.dumps(events).encode())
            return None if found is None else json.loads(found)

        follower = Follower(watch(type="event"))
        self.assertEqual(answered(50), [])
        self.assertEqual(answered(70, first), [first])
        self.assertEqual(answered(20, first, second), [second])
        self.assertEqual(follower.index, 20)
        self.assertIsNone(answered(21, first, second))
        self.assertEqual(answered(22, third), [third])
