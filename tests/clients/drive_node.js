// Everything that the npm package `consul` offers, against two agents.
//
// node drive_node.js PACKAGE SERVER CLIENT: the folder of the package, the address of a server, which is
// alone, and that of a client agent. Prints a line for each group of calls, `ok` or what went wrong; a
// method that nothing has called is at fault, too.

"use strict";

const assert = require("assert");
const [folder, serverIp, agentIp] = process.argv.slice(2);
const Consul = require(folder);

const LATER = new Set(["acl"]); // answered once there are access control lists
const called = new Set();
const known = new Set();

// Note which methods are called, by group.
function watched(part, group) {
  for (const name of Object.keys(part)) {
    if (part[name] && typeof part[name] === "object" && !["consul", "_opts"].includes(name)) {
      watched(part[name], `${group}.${name}`);
    }
  }
  for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(part))) {
    if (name === "constructor" || typeof part[name] !== "function") continue;
    const method = part[name];
    known.add(`${group}.${name}`);
    part[name] = function (...given) {
      called.add(`${group}.${name}`);
      return method.apply(part, given);
    };
  }
}

function make(host) {
  const consul = new Consul({ host });
  for (const group of [
    "agent", "catalog", "event", "health", "kv", "query", "session", "status", "transaction",
  ]) {
    watched(consul[group], group);
  }
  return consul;
}

async function eventually(probe, withinMs = 60000) {
  const until = Date.now() + withinMs;
  for (;;) {
    let answer;
    try {
      answer = await probe();
    } catch (error) {
      if (Date.now() > until) throw error;
    }
    if (answer) return answer;
    if (Date.now() > until) throw new Error(`not in time: ${probe}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const groups = {
  async status({ server, agent }) {
    assert.strictEqual(await server.status.leader(), `${serverIp}:8300`);
    assert.deepStrictEqual(await agent.status.peers(), [`${serverIp}:8300`]);
  },

  async kv({ server, agent }) {
    assert.strictEqual(await agent.kv.set("node/a", "one"), true);
    assert.strictEqual(await agent.kv.set({ key: "node/b", value: "two", flags: 7 }), true);
    const found = await server.kv.get("node/b");
    assert.deepStrictEqual([found.Key, found.Value, found.Flags], ["node/b", "two", 7]);
    assert.strictEqual(await server.kv.get("node/none"), undefined);
    assert.strictEqual(String(await agent.kv.get({ key: "node/a", raw: true })), "one");
    const all = await agent.kv.get({ key: "node/", recurse: true });
    assert.deepStrictEqual(all.map((row) => row.Value), ["one", "two"]);
    assert.deepStrictEqual(await agent.kv.keys("node/"), ["node/a", "node/b"]);
    assert.deepStrictEqual(await server.kv.keys({ key: "no", separator: "/" }), ["node/"]);
    assert.ok(!(await agent.kv.set({ key: "node/b", value: "x", cas: "0" }))); // false is lost on the way
    assert.strictEqual(
      await agent.kv.set({ key: "node/b", value: "x", cas: String(found.ModifyIndex) }),
      true,
    );
    assert.strictEqual((await agent.kv.get({ key: "node/b", stale: true })).Value, "x");
    assert.strictEqual((await server.kv.get({ key: "node/b", consistent: true })).Value, "x");
    assert.strictEqual(await agent.kv.del("node/a"), true);
    assert.strictEqual(await agent.kv.delete({ key: "node/", recurse: true }), true);
    assert.strictEqual(await agent.kv.get("node/b"), undefined);
  },

  async transaction({ agent }) {
    const value = Buffer.from("t").toString("base64");
    const { Results, Errors } = await agent.transaction.create([
      { KV: { Verb: "set", Key: "txn/a", Value: value } },
      { KV: { Verb: "get", Key: "txn/a" } },
    ]);
    assert.strictEqual(Errors, null);
    assert.strictEqual(Results[1].KV.Value, value);
    await assert.rejects(
      agent.transaction.create([{ KV: { Verb: "get", Key: "txn/none" } }]),
      (error) => error.statusCode === 409,
    );
  },

  async session({ server, agent }) {
    const { ID } = await agent.session.create({ name: "node", ttl: "60s", lockdelay: "1s" });
    assert.strictEqual((await server.session.info(ID)).Name, "node");
    assert.strictEqual((await server.session.get({ id: ID })).TTL, "60s");
    assert.deepStrictEqual((await agent.session.node("c1")).map((row) => row.ID), [ID]);
    assert.ok((await server.session.list()).some((row) => row.ID === ID));
    assert.strictEqual((await agent.session.renew(ID))[0].ID, ID);
    assert.strictEqual(await agent.kv.set({ key: "lock", value: "v", acquire: ID }), true);
    assert.strictEqual((await server.kv.get("lock")).Session, ID);
    assert.strictEqual(await agent.kv.set({ key: "lock", value: "v", release: ID }), true);
    await agent.session.destroy(ID);
    assert.strictEqual(await server.session.info(ID), undefined);
  },

  async agent({ server, agent }) {
    const self = await agent.agent.self();
    assert.strictEqual(self.Config.NodeName, "c1");
    const members = await agent.agent.members();
    assert.deepStrictEqual(members.map((member) => member.Name).sort(), ["c1", "s1"]);
    assert.deepStrictEqual((await server.agent.members({ wan: true })).length, 1);
    await agent.agent.join(serverIp);
    await agent.agent.reload();
    await agent.agent.maintenance({ enable: true, reason: "tea" });
    assert.strictEqual((await agent.agent.checks())._node_maintenance.Notes, "tea");
    await agent.agent.maintenance(false);
    assert.deepStrictEqual(await agent.agent.services(), {});
    await assert.rejects(agent.agent.forceLeave("nobody"), /No node found/);
  },

  async "agent.service"({ server, agent }) {
    await agent.agent.service.register({
      name: "web",
      id: "web1",
      tags: ["v1"],
      port: 80,
      address: "192.0.2.7",
      meta: { a: "b" },
      check: { ttl: "100s", notes: "n" },
    });
    const { web1 } = await agent.agent.service.list();
    assert.deepStrictEqual([web1.Service, web1.Port, web1.Tags], ["web", 80, ["v1"]]);
    await agent.agent.service.maintenance({ id: "web1", enable: true, reason: "r" });
    assert.ok((await agent.agent.checks())["_service_maintenance:web1"]);
    await agent.agent.service.maintenance({ id: "web1", enable: false });
    await eventually(async () => (await server.catalog.service.nodes("web")).length === 1);
  },

  async "agent.check"({ server, agent }) {
    await agent.agent.check.register({ name: "c", ttl: "100s", serviceid: "web1", notes: "x" });
    const statusOf = async () =>
      (await server.health.checks("web")).find((check) => check.CheckID === "c")?.Status;
    for (const [method, status] of [["pass", "passing"], ["warn", "warning"], ["fail", "critical"]]) {
      await agent.agent.check[method]({ id: "c", note: method });
      assert.strictEqual((await agent.agent.check.list()).c.Status, status);
      await eventually(async () => (await statusOf()) === status);
    }
    await agent.agent.check.pass("service:web1");
    await agent.agent.check.deregister("c");
    assert.strictEqual((await agent.agent.check.list()).c, undefined);
    await eventually(async () => (await statusOf()) === undefined);
  },

  async catalog({ server, agent }) {
    assert.deepStrictEqual(await agent.catalog.datacenters(), ["dc1"]);
    await server.catalog.register({
      node: "outside",
      address: "192.0.2.9",
      service: { service: "db", id: "db1", tags: ["m"], port: 5432 },
      check: { node: "outside", checkid: "up", name: "up", status: "passing" },
    });
    for (const nodes of [await agent.catalog.nodes(), await server.catalog.node.list()]) {
      assert.deepStrictEqual(nodes.map((node) => node.Node).sort(), ["c1", "outside", "s1"]);
    }
    for (const services of [await agent.catalog.services(), await agent.catalog.service.list()]) {
      assert.deepStrictEqual(services, { consul: [], db: ["m"], web: ["v1"] });
    }
    const [db] = await agent.catalog.service.nodes({ service: "db", tag: "m" });
    assert.deepStrictEqual([db.Address, db.ServicePort], ["192.0.2.9", 5432]);
    assert.ok((await agent.catalog.node.services("outside")).Services.db1);
    assert.deepStrictEqual(await agent.catalog.connect.nodes("db"), []);
    await server.catalog.deregister({ node: "outside", serviceid: "db1" });
    await server.catalog.deregister("outside");
    assert.strictEqual((await agent.catalog.nodes()).length, 2);
  },

  async health({ server, agent }) {
    const checks = await agent.health.node("c1");
    assert.ok(checks.some((check) => check.CheckID === "serfHealth"));
    const find = () => agent.health.service({ service: "web", passing: true, near: "_agent" });
    const [web] = await eventually(async () => ((await find()).length ? find() : null));
    assert.deepStrictEqual([web.Node.Node, web.Service.ID, web.Checks.length], ["c1", "web1", 2]);
    assert.strictEqual((await server.health.checks({ service: "web" })).length, 1);
    assert.ok((await server.health.state("any")).length >= 3);
    await agent.agent.service.deregister("web1");
    await eventually(async () => !(await server.catalog.services()).web);
  },

  async query({ server, agent }) {
    const { ID } = await agent.query.create({
      name: "q",
      service: { service: "consul", onlypassing: true },
      dns: { ttl: "7s" },
    });
    assert.strictEqual((await server.query.get(ID)).Name, "q");
    await agent.query.update({ query: ID, name: "q2", service: { service: "consul" } });
    assert.deepStrictEqual((await server.query.list()).map((query) => query.Name), ["q2"]);
    assert.strictEqual((await agent.query.execute("q2")).Nodes[0].Service.Port, 8300);
    await assert.rejects(agent.query.explain({ query: "none" }), /not found|Query not found/i);
    await agent.query.explain("q2"); // the package takes the answer for a list
    await agent.query.destroy(ID);
    assert.deepStrictEqual(await server.query.list(), []);
  },

  async event({ server, agent }) {
    const fired = await agent.event.fire({ name: "deploy", payload: "53", node: "s1" });
    assert.strictEqual(fired.Name, "deploy");
    const mine = (rows) => rows.filter((event) => event.ID === fired.ID);
    const [seen] = await eventually(async () => {
      const rows = mine(await server.event.list("deploy"));
      return rows.length ? rows : null;
    });
    assert.strictEqual(String(seen.Payload), "53");
  },

  // A watch is a loop of blocking queries: it tells each change once, and ends when told to.
  async watch({ agent }) {
    await agent.kv.set("watched", "0");
    const watch = agent.watch({ method: agent.kv.get, options: { key: "watched", wait: "5s" } });
    const seen = [];
    const done = new Promise((resolve, reject) => {
      watch.on("error", reject);
      watch.on("change", (data) => {
        seen.push(data.Value);
        if (data.Value === "3") watch.end();
        else agent.kv.set("watched", String(Number(data.Value) + 1)).catch(reject);
      });
      watch.on("end", resolve);
    });
    assert.strictEqual(watch.isRunning(), true);
    await done;
    assert.deepStrictEqual(seen, ["0", "1", "2", "3"]);
    assert.ok(watch.updateTime());
    assert.strictEqual(watch.isRunning(), false);
  },
};

async function main() {
  const both = { server: make(serverIp), agent: make(agentIp) };
  await eventually(async () => (await both.agent.agent.members()).length === 2);
  await eventually(async () => (await both.server.catalog.nodes()).length === 2);
  let failed = false;
  for (const [name, group] of Object.entries(groups)) {
    try {
      await group(both);
      console.log(`${name}: ok`);
    } catch (error) {
      failed = true;
      console.log(`${name}: ${error.stack}`);
    }
  }
  const parts = Object.keys(both.server).filter(
    (name) => both.server[name] && both.server[name].consul === both.server && !LATER.has(name),
  );
  const missed = [...known].filter((name) => !called.has(name));
  missed.push(...parts.filter((part) => ![...known].some((name) => name.startsWith(`${part}.`))));
  console.log(missed.length ? `not called: ${missed.join(", ")}` : "all called: ok");
  for (const consul of Object.values(both)) consul.destroy();
  process.exitCode = failed || missed.length ? 1 : 0;
}

main();
