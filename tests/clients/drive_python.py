"""Everything that a Python client of Consul's offers, against two agents.

Run as a program of its own where ``py-consul`` or ``python-consul`` can be imported (both are the
module ``consul``), with the addresses of a server, which is alone, and of a client agent, and the
gossip key. Prints a line for each group of calls, ``ok`` or the traceback; a method that nothing has
called is at fault, too.
"""

from __future__ import annotations

import base64
import importlib
import inspect
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

consul: Any = importlib.import_module("consul")
GROUPS = (
    "kv", "txn", "catalog", "health", "session", "agent", "event", "query", "coordinate", "status",
    "operator", "snapshot",
)  # fmt: skip
SECOND_KEY = base64.b64encode(bytes(range(16))).decode()
Group = Callable[["Both"], None]


class Both:
    """A client of each agent. :ivar called: names of the methods that were called, with their group."""

    def __init__(self, server: str, agent: str, key: str) -> None:
        self.called: set[str] = set()
        self.ips = server, agent
        self.key = key
        self.at_server, self.at_agent = (consul.Consul(host=ip) for ip in self.ips)
        self.names = {
            name
            for group in GROUPS
            if (part := getattr(self.at_server, group, None)) is not None
            for name in self._watch(part, group)
        }
        self._watch(self.at_agent.agent, "agent")
        for group in GROUPS:
            setattr(self, group, getattr(self.at_server, group, None))

    def _watch(self, part: Any, group: str) -> list[str]:
        names = []
        for name, method in inspect.getmembers(part):
            if name.startswith("_") or name == "connect" and group == "agent":
                continue
            if inspect.ismethod(method):
                names.append(f"{group}.{name}")
                setattr(part, name, self._noted(names[-1], method))
            elif group == "agent" and name in ("service", "check", "token"):
                names += self._watch(method, f"{group}.{name}")
        return names

    def _noted(self, name: str, method: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            self.called.add(name)
            return method(*arguments, **named)

        return call

    def has(self, name: str) -> bool:
        """Whether this library has the method."""
        return name in self.names


def eventually(probe: Callable[[], Any], within_s: float = 60.0) -> Any:
    """The first true answer."""
    until = time.monotonic() + within_s
    while True:
        try:
            answer = probe()
        except consul.ConsulException:  # not there yet
            answer = None
        if answer:
            return answer
        assert time.monotonic() < until, "not in time"
        time.sleep(0.05)


def refused(call: Callable[[], Any], text: str = "") -> None:
    """The agent refuses, and the library says why."""
    try:
        call()
    except consul.ConsulException as error:
        assert text in str(error), error
    else:
        raise AssertionError("it was not refused")


def kv(c: Any) -> None:
    index, row = c.kv.get("lib/none")
    assert row is None and int(index) > 0
    assert c.kv.put("lib/a", "text", flags=7) is True
    assert c.kv.put("lib/b", b"\x00\xff") is True
    index, row = c.kv.get("lib/a")
    assert (row["Value"], row["Flags"], row["Key"]) == (b"text", 7, "lib/a")
    assert c.kv.get("lib/b")[1]["Value"] == b"\x00\xff"
    assert [r["Key"] for r in c.kv.get("lib/", recurse=True)[1]] == ["lib/a", "lib/b"]
    c.kv.put("lib/d/e", None)
    assert c.kv.get("lib/d/e")[1]["Value"] is None
    assert c.kv.get("lib/", keys=True, separator="/")[1] == ["lib/a", "lib/b", "lib/d/"]
    assert c.kv.put("lib/a", "x", cas=0) is False
    assert c.kv.put("lib/a", "x", cas=row["ModifyIndex"]) is True
    assert c.kv.delete("lib/a", cas=1) is False
    for consistency in ("default", "consistent", "stale"):
        assert c.kv.get("lib/a", consistency=consistency, dc="dc1")[1]["Value"] == b"x"
    index = c.kv.get("lib/a")[0]
    later = threading.Timer(0.2, consul.Consul(host=c.ips[0]).kv.put, ("lib/a", "woken"))
    later.start()
    assert c.kv.get("lib/a", index=index, wait="10s")[1]["Value"] == b"woken"
    assert c.kv.delete("lib/a") is True
    assert c.kv.delete("lib/", recurse=True) is True
    assert c.kv.get("lib/", recurse=True)[1] is None


def txn(c: Any) -> None:
    value = base64.b64encode(b"v").decode()
    done = c.txn.put([
        {"KV": {"Verb": "set", "Key": "t/a", "Value": value}},
        {"KV": {"Verb": "get", "Key": "t/a"}},
    ])  # fmt: skip
    assert [r["KV"]["Key"] for r in done["Results"]] == ["t/a", "t/a"] and not done["Errors"]
    try:  # one of the libraries raises, the other shows what went wrong
        failed = c.txn.put([{"KV": {"Verb": "check-not-exists", "Key": "t/a"}}])
    except consul.ConsulException as error:
        assert "t/a" in str(error)
    else:
        assert failed["Errors"]


def catalog(c: Any) -> None:
    service = {"Service": "cat", "ID": "cat1", "Tags": ["x", "y"], "Port": 8000}
    check = {"Node": "n1", "CheckID": "service:cat1", "Name": "c", "Status": "passing", "ServiceID": "cat1"}
    newer = {"node_meta": {"a": "b"}} if c.has("catalog.connect") else {}
    assert c.catalog.register("n1", "10.1.1.1", service, check, dc="dc1", **newer) is True
    if c.has("catalog.connect"):
        places = {"lan": "10.1.1.2"}
        assert c.catalog.register("n2", "10.1.1.2", skip_node_update=False, tagged_addresses=places)
        assert c.catalog.connect("nobody")[1] == []
    assert c.catalog.datacenters() == ["dc1"]
    assert "n1" in [n["Node"] for n in c.catalog.nodes(near="_agent", consistency="consistent")[1]]
    assert c.catalog.nodes(node_meta={"no": "such"})[1] == []
    assert sorted(c.catalog.services(dc="dc1")[1]["cat"]) == ["x", "y"]
    index, rows = c.catalog.service("cat", tag="x")
    assert [(r["Node"], r["ServicePort"]) for r in rows] == [("n1", 8000)]
    assert c.catalog.service("cat", index=index, wait="50ms")[1] == rows
    assert c.catalog.node("n1")[1]["Services"]["cat1"]["Port"] == 8000
    assert c.catalog.node("none")[1] is None
    if c.has("catalog.gateway_services"):
        c.catalog.gateway_services("gate")  # null, or nothing, without a mesh
        assert len(c.catalog.nodes(filter_expr='Node == "n1"')[1]) == 1
    assert c.catalog.deregister("n1", check_id="service:cat1") is True
    assert c.catalog.deregister("n1", service_id="cat1") is True
    assert c.catalog.deregister("n1", dc="dc1") is True
    assert c.catalog.node("n1")[1] is None


def health(c: Any) -> None:
    service = {"Service": "hea", "ID": "hea1", "Tags": ["x"], "Port": 1}
    check = {"Node": "h1", "CheckID": "hc", "Name": "c", "Status": "warning", "ServiceID": "hea1"}
    c.catalog.register("h1", "10.1.1.3", service, check)
    index, rows = c.health.service("hea", tag="x", near="h1", dc="dc1")
    assert [r["Service"]["ID"] for r in rows] == ["hea1"]
    assert c.health.service("hea", passing=True)[1] == []
    assert c.health.service("hea", index=index, wait="50ms")[1] == rows
    assert [r["CheckID"] for r in c.health.checks("hea")[1]] == ["hc"]
    assert "hc" in [r["CheckID"] for r in c.health.state("warning")[1]]
    assert len(c.health.state("any")[1]) > 1
    assert [r["Status"] for r in c.health.node("h1")[1]] == ["warning"]
    if c.has("health.connect"):
        assert c.health.connect("nobody")[1] == []
        assert c.health.service("hea", filter_expr='Checks.Status == "critical"')[1] == []
    if c.has("health.ingress"):
        try:
            assert c.health.ingress("nobody")[1] == []
        except consul.ConsulException as error:  # an ingress gateway is a thing of the mesh
            assert "Missing index header" in str(error), error
    c.catalog.deregister("h1")


def session(c: Any) -> None:
    name = c.agent.self()["Config"]["NodeName"]
    made = c.session.create("s", node=name, checks=["serfHealth"], lock_delay=0, behavior="delete", ttl=30)
    assert c.kv.put("lock/a", "mine", acquire=made) is True
    assert c.kv.get("lock/a")[1]["Session"] == made
    other = c.session.create()
    assert c.kv.put("lock/a", "other", acquire=other) is False
    assert {s["ID"] for s in c.session.list()[1]} == {made, other}
    assert {s["ID"] for s in c.session.node(name)[1]} == {made, other}
    assert c.session.info(made)[1]["Behavior"] == "delete"
    assert c.session.renew(made)["TTL"] == "30s"
    assert c.kv.put("lock/a", "free", release=made) is True
    assert c.kv.put("lock/a", "mine", acquire=made) is True
    assert c.session.destroy(made) is True
    assert c.kv.get("lock/a")[1] is None
    assert c.session.destroy(other) is True and c.session.list()[1] == []
    assert c.session.info(made)[1] is None
    refused(lambda: c.session.renew(made), made)


def agent(c: Any) -> None:
    a = c.agent
    assert a.self()["Config"]["Datacenter"] == "dc1"
    check = consul.Check
    assert a.service.register(
        "web", "web1", "10.2.2.2", 80, ["t"], check=check.ttl("10s"), enable_tag_override=True,
        **({"meta": {"m": "1"}, "weights": {"Passing": 2, "Warning": 1}} if c.has("agent.reload") else {}),
    )  # fmt: skip
    assert a.services()["web1"]["Port"] == 80 and a.services()["web1"]["EnableTagOverride"] is True
    assert a.checks()["service:web1"]["Status"] == "critical"
    for call, status in (("ttl_warn", "warning"), ("ttl_fail", "critical"), ("ttl_pass", "passing")):
        assert getattr(a.check, call)("service:web1", notes="note") is True
        assert a.checks()["service:web1"]["Status"] == status
        assert a.checks()["service:web1"]["Output"] == "note"
    eventually(lambda: len(c.health.service("web", passing=True)[1]) == 1)
    assert a.service.maintenance("web1", "true", "why") is True
    assert a.checks()["_service_maintenance:web1"]["Notes"] == "why"
    assert a.service.maintenance("web1", "false") is True
    url = f"http://{c.ips[0]}:8500/v1/status/leader"
    assert a.check.register("up", check.http(url, "1s", timeout="1s", deregister="10m")) is True
    assert a.check.register("port", check.tcp(c.ips[0], 8500, "1s"), check_id="p", notes="n") is True
    assert a.check.register("of", check.ttl("5s"), service_id="web1") is True
    eventually(lambda: {a.checks()["up"]["Status"], a.checks()["p"]["Status"]} == {"passing"}, 20)
    assert a.checks()["of"]["ServiceName"] == "web"
    for name in ("up", "p", "of"):
        assert a.check.deregister(name) is True
    assert a.maintenance("true", "node") is True and "_node_maintenance" in a.checks()
    assert a.maintenance("false") is True and "_node_maintenance" not in a.checks()
    if c.has("agent.service_definition"):
        assert a.service_definition("web1")["Meta"] == {"m": "1"}
        assert list(a.services(filter_expr='Service == "no"')) == []
    assert a.service.deregister("web1") is True and "web1" not in a.services()
    if c.has("agent.reload"):
        assert a.reload() is True
        assert a.metrics()["Gauges"]
        refused(lambda: a.metrics(format_prometheus=True), "Prometheus is not enabled")


def tokens(c: Any) -> None:
    if not c.has("agent.token.set"):
        return
    refused(lambda: c.agent.token.set("default", ""))  # ACLs are off
    for kind in ("default", "agent", "agent_recovery", "replication", "config_file_service_registration"):
        refused(lambda kind=kind: getattr(c.agent.token, f"set_{kind}")(""))  # type: ignore[misc]


def members(c: Any) -> None:
    a, other = c.agent, c.at_agent.agent
    if not c.has("agent.leave"):  # the library asks as one did before Consul 1.0
        refused(lambda: a.join(c.ips[1]), "method GET not allowed")
        refused(lambda: a.force_leave("nobody-there"), "method GET not allowed")
        assert len(a.members()) == 1
        return
    assert a.join(c.ips[1]) is True
    refused(lambda: a.join("127.0.0.255"))
    eventually(lambda: len(a.members()) == 2)
    assert len(a.members(wan=True)) == 1
    refused(lambda: a.force_leave("nobody-there"), "No node found")

    def watch_log() -> None:
        with suppress(Exception):  # the library has its own ways to say that the stream has ended
            other.monitor(loglevel="debug")

    monitor = threading.Thread(target=watch_log, daemon=True)
    monitor.start()
    time.sleep(0.3)
    assert other.leave() is True
    eventually(lambda: {m["Status"] for m in a.members()} == {1, 3})
    monitor.join(10)
    assert not monitor.is_alive()


def event(c: Any) -> None:
    fired = c.event.fire("deploy", "1609030", node=".*")
    assert fired["Name"] == "deploy" and fired["NodeFilter"] == ".*"
    index, events = eventually(lambda: c.event.list("deploy") if c.event.list("deploy")[1] else None)
    assert events[0]["ID"] == fired["ID"] and events[0]["Payload"] == b"1609030"
    if c.has("catalog.connect"):  # the other library fails before it asks
        assert c.event.list("deploy", index=index, wait="50ms")[1] == events
    assert c.event.list("other")[1] == []


def query(c: Any) -> None:
    made = c.query.create("web", "q1", onlypassing=True, tags=["a"], ttl="10s", nearestn=0)["ID"]
    assert [q["Name"] for q in c.query.list()] == ["q1"]
    assert c.query.update(made, "web2", "q2", ttl="5s") is True
    [row] = c.query.get(made)
    assert (row["Name"], row["Service"]["Service"], row["DNS"]["TTL"]) == ("q2", "web2", "5s")
    c.catalog.register("q1", "10.1.1.4", {"Service": "web2", "ID": "w", "Port": 5})
    found = c.query.execute("q2", near="_agent", limit=1)
    assert [n["Node"]["Node"] for n in found["Nodes"]] == ["q1"]
    refused(lambda: c.query.execute(made), "by name, not by ID")  # the library makes each a template
    template = c.query.create("t-${name.suffix}", "geo", regexp="^geo(.*)$")["ID"]
    assert c.query.explain("geo-x")["Query"]["ID"] == template
    assert c.query.delete(made) is True and c.query.delete(template) is True
    assert c.query.list() == []
    refused(lambda: c.query.create("web", "q", session="0123"))
    c.catalog.deregister("q1")


def coordinate(c: Any) -> None:
    assert [area["Datacenter"] for area in c.coordinate.datacenters()] == ["dc1"]
    name = c.agent.self()["Config"]["NodeName"]
    if c.has("coordinate.update"):
        coord = {"Adjustment": 0.0, "Error": 1.0, "Height": 1e-4, "Vec": [0.5] + [0.0] * 7}
        assert c.coordinate.update(name, coord) is True
        rows = eventually(lambda: c.coordinate.node(name)[1], 20)
        assert rows[0]["Node"] == name
    rows = eventually(lambda: c.coordinate.nodes(consistency="stale")[1], 30)
    assert name in [row["Node"] for row in rows]


def status(c: Any) -> None:
    assert c.status.leader() == f"{c.ips[0]}:8300"
    assert c.status.peers() == [f"{c.ips[0]}:8300"]


def operator(c: Any) -> None:
    [server] = c.operator.raft_config()["Servers"]
    assert (server["Address"], server["Leader"], server["Voter"]) == (f"{c.ips[0]}:8300", True, True)
    if not c.has("operator.autopilot_health"):
        return
    o = c.operator
    refused(lambda: o.raft_remove_peer(address="10.9.9.9:8300"), "10.9.9.9:8300")
    refused(lambda: o.raft_remove_peer(peer_id="01234567-0123-0123-0123-0123456789ab"))
    refused(lambda: o.raft_transfer_leader())
    found = o.autopilot_configuration()
    assert o.update_autopilot_configuration(max_trailing_logs=300, cas=found["ModifyIndex"] + 99) is False
    assert o.update_autopilot_configuration(
        cleanup_dead_servers=True, last_contact_threshold="300ms", max_trailing_logs=300, min_quorum=0,
        server_stabilization_time="11s", redundancy_zone_tag="", disable_upgrade_migration=False,
        upgrade_version_tag="",
    )  # fmt: skip
    assert o.autopilot_configuration(dc="dc1")["MaxTrailingLogs"] == 300
    assert o.autopilot_health()["Servers"][0]["Leader"] is True
    assert c.key in o.keyring_list(relay_factor=0)[0]["Keys"]
    assert o.keyring_install(SECOND_KEY) and o.keyring_use(SECOND_KEY) and o.keyring_use(c.key)
    assert o.keyring_remove(SECOND_KEY, relay_factor=0) is True
    assert SECOND_KEY not in o.keyring_list(local_only=True)[0]["Keys"]
    try:  # newer than Consul 1.8
        assert o.usage()["Usage"]
    except (consul.ConsulException, TypeError):
        pass


def snapshot(c: Any) -> None:
    if c.snapshot is None:
        return
    c.kv.put("snap/a", "before")
    saved = c.at_server.snapshot.save()
    c.kv.put("snap/a", "after")
    assert c.at_server.snapshot.restore(saved) is True
    assert c.kv.get("snap/a")[1]["Value"] == b"before"


def everything(c: Any) -> None:
    assert not c.names - c.called, f"never called: {sorted(c.names - c.called)}"


ALL: tuple[Group, ...] = (
    status, kv, txn, catalog, health, session, agent, tokens, event, query, coordinate, operator, snapshot,
    members, everything,
)  # fmt: skip


def main(server: str, agent: str, key: str) -> int:
    """Run all groups; the status is how many failed."""
    both = Both(server, agent, key)
    failed = 0
    for group in ALL:
        try:
            group(both)
        except Exception:
            failed += 1
            print(f"{group.__name__}: {traceback.format_exc()}")
        else:
            print(f"{group.__name__}: ok")
    return failed


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
