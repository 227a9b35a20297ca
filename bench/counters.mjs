// The byte budget, counted: what a transfer costs in copies, sums, calls, buffers and timers, in virtual time, where every run
// of one source counts the same on every machine.
//
//   node bench/counters.mjs            print them
//   node bench/counters.mjs --check    compare with bench/counters.json; exit 1 and name what has moved
//   node bench/counters.mjs --update   write bench/counters.json
//
// A counter that moves is no mistake: look whether it moved for the reason that you think, run --update, and commit the file
// with the change. Needs a build (npm run build).
import { readFileSync, writeFileSync } from "node:fs";
import { createKernel } from "../dist/src/index.js";
import { memStats } from "../dist/src/mm/pool.js";

const FILE = new URL("counters.json", import.meta.url);
const MIB = 1 << 20;
const [EAGAIN, AF_INET, STREAM, DGRAM, NONBLOCK, WINDOW] = [11, 2, 1, 2, 2048, 32768];

/** Two hosts in virtual time and what they have cost so far. */
class Hosts {
  static async create(link) {
    const h = new Hosts();
    h.kernel = await createKernel({ clock: "virtual", autoAdvance: false, seed: 1, memoryBytes: 64 << 20 });
    [h.a, h.b] = [h.kernel.netns("a"), h.kernel.netns("b")];
    h.devs = h.kernel.link(h.a, h.b, { subnet: "10.0.0.0/24", ...link });
    h.calls = 0;
    const { wasm } = h.kernel.core.machine;
    for (const [name, fn] of Object.entries(wasm)) {
      wasm[name] = (...args) => {
        h.calls++;
        return fn(...args);
      };
    }
    h.to = { family: AF_INET, addr: h.b.primaryAddress(), port: 7 };
    return h;
  }

  counters() {
    const { core } = this.kernel;
    core.enter();
    const m = memStats();
    core.exit();
    return {
      "bytes copied": m.bytesCopied,
      "bytes summed": m.bytesSummed,
      "wasm calls": this.calls,
      "skbs made": m.skbAlloc + m.skbClone,
      "buffers made": m.bufAlloc,
      "timers armed": core.timers.armed,
      "packets sent": this.devs[0].stats.txPackets + this.devs[1].stats.txPackets,
    };
  }

  async wait() {
    const { core } = this.kernel;
    await this.kernel.advance(Math.min(100, Math.max(0.001, (core.nextDeadline() - core.now) / 1000)));
  }

  async connect() {
    const { a, b } = this;
    if (this.listener === undefined) {
      this.listener = must(b.sys.socket(AF_INET, STREAM | NONBLOCK, 0));
      must(b.sys.bind(this.listener, { ...this.to, addr: 0 }));
      must(b.sys.listen(this.listener, 16));
    }
    const tx = must(a.sys.socket(AF_INET, STREAM | NONBLOCK, 0));
    a.sys.connect(tx, this.to);
    for (;;) {
      const rx = b.sys.accept4(this.listener, null, NONBLOCK);
      if (rx >= 0) return [tx, rx];
      await this.wait();
    }
  }
}

function must(n) {
  if (n < 0) throw new Error(`errno ${-n}`);
  return n;
}

/** A transfer of `size` bytes on every call: `give(left)` and `take()` return the bytes moved, or -EAGAIN. */
function bulk(open) {
  return async (h) => {
    const [tx, rx] = await h.connect();
    const { give, take } = open(h, tx, rx);
    return async (size) => {
      for (let sent = 0, got = 0; got < size; ) {
        let moved = false;
        for (let n = 0; sent < size && (n = give(size - sent)) !== -EAGAIN; moved = true) sent += must(n);
        for (let n = 0; got < size && (n = take()) !== -EAGAIN; moved = true) got += must(n);
        if (!moved) await h.wait();
      }
    };
  };
}

const plain = bulk((h, tx, rx) => {
  const [out, inn] = [new Uint8Array(4 * WINDOW), new Uint8Array(4 * WINDOW)];
  return {
    give: (left) => h.a.sys.send(tx, out, Math.min(left, out.length), 0),
    take: () => h.b.sys.recv(rx, inn, inn.length, 0),
  };
});

const lent = bulk((h, tx, rx) => ({
  give(left) {
    const view = h.a.sys.reserve(tx, Math.min(left, WINDOW));
    return typeof view === "number" ? view : h.a.sys.commit(tx, view.length, 0);
  },
  take() {
    const view = h.b.sys.peek(rx);
    return typeof view === "number" ? view : h.b.sys.consume(rx, view.length);
  },
}));

/** Something that is done `count` times, one at a time. */
function each(open) {
  return async (h) => {
    const once = await open(h);
    return async (count) => {
      for (let i = 0; i < count; i++) await once(i);
    };
  };
}

async function exchange(h, tx, rx) {
  const byte = new Uint8Array(1);
  must(h.a.sys.send(tx, byte, 1, 0));
  while (h.b.sys.recv(rx, byte, 1, 0) === -EAGAIN) await h.wait();
  must(h.b.sys.send(rx, byte, 1, 0));
  while (h.a.sys.recv(tx, byte, 1, 0) === -EAGAIN) await h.wait();
}

const datagram = each(async (h) => {
  const rx = must(h.b.sys.socket(AF_INET, DGRAM | NONBLOCK, 0));
  must(h.b.sys.bind(rx, { ...h.to, addr: 0 }));
  const tx = must(h.a.sys.socket(AF_INET, DGRAM | NONBLOCK, 0));
  must(h.a.sys.connect(tx, h.to));
  const bytes = new Uint8Array(64);
  return async () => {
    must(h.a.sys.send(tx, bytes, 64, 0));
    while (h.b.sys.recv(rx, bytes, 64, 0) === -EAGAIN) await h.wait();
  };
});

const pingPong = each(async (h) => {
  const [tx, rx] = await h.connect();
  return () => exchange(h, tx, rx);
});

const connection = each(async (h) => async () => {
  const [tx, rx] = await h.connect();
  await exchange(h, tx, rx);
  must(h.b.sys.close(rx));
  must(h.a.sys.close(tx));
});

/** name, link, what is run, warm-up, amount, and how much of it one unit of the counters is. */
const CASES = [
  ["veth", {}, plain, MIB, 8 * MIB, MIB],
  ["veth-lent", {}, lent, MIB, 8 * MIB, MIB],
  ["frames", { offload: false }, plain, MIB, 8 * MIB, MIB],
  ["frames-lent", { offload: false }, lent, MIB, 8 * MIB, MIB],
  ["frames-no-gro", { offload: false, gro: false }, plain, MIB, 4 * MIB, MIB],
  ["rtl819x", { driver: "rtl819x" }, plain, MIB, 4 * MIB, MIB],
  ["rtl819x-gso", { driver: "rtl819x", gso: true, gro: true }, plain, MIB, 4 * MIB, MIB],
  ["udp64", {}, datagram, 10, 100, 1],
  ["pingpong", {}, pingPong, 10, 100, 1],
  ["connect", {}, connection, 10, 100, 1],
];

async function measure() {
  const all = {};
  for (const [name, link, open, warm, amount, unit] of CASES) {
    const h = await Hosts.create(link);
    const run = await open(h);
    await run(warm);
    const before = h.counters();
    await run(amount);
    const after = h.counters();
    h.kernel.close();
    const per = amount / unit;
    all[name] = Object.fromEntries(
      Object.keys(after).map((key) => [key, Math.round(((after[key] - before[key]) / per) * 1000) / 1000]),
    );
  }
  return all;
}

const now = await measure();
const text = `${JSON.stringify(now, null, 2)}\n`;
const option = process.argv[2];
if (option === "--update") writeFileSync(FILE, text);
else if (option !== "--check") process.stdout.write(text);
else {
  const was = JSON.parse(readFileSync(FILE, "utf8"));
  let moved = 0;
  for (const name of new Set([...Object.keys(was), ...Object.keys(now)])) {
    for (const key of Object.keys({ ...was[name], ...now[name] })) {
      const [x, y] = [was[name]?.[key], now[name]?.[key]];
      if (x === y) continue;
      moved++;
      const ratio = x > 0 && y !== undefined ? ` (x ${(y / x).toFixed(3)})` : "";
      console.log(`${name}: ${key}: was ${x ?? "not counted"}, is ${y ?? "not counted"}${ratio}`);
    }
  }
  if (moved > 0) {
    console.log(`${moved} counters have moved. If the change is meant to move them: node bench/counters.mjs --update`);
    process.exitCode = 1;
  } else console.log("bench counters: as in bench/counters.json");
}
