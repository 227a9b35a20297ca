/**
 * The byte budget, counted: what a transfer costs in copies, sums, calls, buffers and timers, in virtual time, where every
 * run of one source counts the same on every machine.
 */

import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Host, LinkOptions, NetDevice, SkbuffKernel } from "../src/index.ts";
import type { SockAddr } from "../src/net/core/sock.ts";
import { EAGAIN, errnoName } from "../src/uapi/errno.ts";
import { AF_INET, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM } from "../src/uapi/socket.ts";
import type { Build } from "./stack.ts";

const MIB: number = 1 << 20;
const WINDOW = 32768;

/** Counter by name, per MiB or per operation. */
export type Counters = Record<string, number>;
/** Counters by case. */
export type CountersByCase = Record<string, Counters>;

type MemStats = () => {
  bytesCopied: number;
  bytesSummed: number;
  skbAlloc: number;
  skbClone: number;
  bufAlloc: number;
};

/** Two hosts in virtual time and what they have cost so far. */
class Hosts {
  readonly kernel: SkbuffKernel;
  readonly a: Host;
  readonly b: Host;
  readonly to: SockAddr;
  readonly #devs: readonly NetDevice[];
  readonly #memStats: MemStats;
  #calls = 0;
  #listener = -1;

  static async create(build: Build, link: LinkOptions): Promise<Hosts> {
    const pool = (await import(pathToFileURL(join(build.dir, "src/mm/pool.js")).href)) as { memStats: MemStats };
    const kernel = await build.createKernel({ clock: "virtual", autoAdvance: false, seed: 1, memoryBytes: 64 << 20 });
    return new Hosts(kernel, link, pool.memStats);
  }

  private constructor(kernel: SkbuffKernel, link: LinkOptions, memStats: MemStats) {
    this.kernel = kernel;
    this.a = kernel.netns("a");
    this.b = kernel.netns("b");
    this.#devs = kernel.link(this.a, this.b, { subnet: "10.0.0.0/24", ...link });
    this.#memStats = memStats;
    const wasm = kernel.core.machine.wasm as unknown as Record<string, (...args: number[]) => number>;
    for (const [name, fn] of Object.entries(wasm)) {
      wasm[name] = (...args): number => {
        this.#calls++;
        return fn(...args);
      };
    }
    this.to = { family: AF_INET, addr: this.b.primaryAddress(), port: 7 };
  }

  counters(): Counters {
    const { core } = this.kernel;
    core.enter();
    const m = this.#memStats();
    core.exit();
    return {
      "bytes copied": m.bytesCopied,
      "bytes summed": m.bytesSummed,
      "wasm calls": this.#calls,
      "skbs made": m.skbAlloc + m.skbClone,
      "buffers made": m.bufAlloc,
      "timers armed": core.timers.armed,
      "packets sent": this.#devs[0].stats.txPackets + this.#devs[1].stats.txPackets,
    };
  }

  async wait(): Promise<void> {
    const { core } = this.kernel;
    await this.kernel.advance(Math.min(100, Math.max(0.001, (core.nextDeadline() - core.now) / 1000)));
  }

  async connect(): Promise<[tx: number, rx: number]> {
    const { a, b } = this;
    if (this.#listener < 0) {
      this.#listener = must(b.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
      must(b.sys.bind(this.#listener, { ...this.to, addr: 0 }));
      must(b.sys.listen(this.#listener, 16));
    }
    const tx = must(a.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    a.sys.connect(tx, this.to);
    for (;;) {
      const rx = b.sys.accept4(this.#listener, null, SOCK_NONBLOCK);
      if (rx >= 0) return [tx, rx];
      await this.wait();
    }
  }
}

function must(n: number): number {
  if (n < 0) throw new Error(errnoName(-n));
  return n;
}

type OpenTransfer = (h: Hosts) => Promise<(amount: number) => Promise<void>>;

/** A transfer of `size` bytes on every call: `give(left)` and `take()` return the bytes moved, or -EAGAIN. */
function bulk(
  open: (h: Hosts, tx: number, rx: number) => { give(left: number): number; take(): number },
): OpenTransfer {
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

const plain: OpenTransfer = bulk((h, tx, rx) => {
  const [out, inn] = [new Uint8Array(4 * WINDOW), new Uint8Array(4 * WINDOW)];
  return {
    give: (left) => h.a.sys.send(tx, out, Math.min(left, out.length), 0),
    take: () => h.b.sys.recv(rx, inn, inn.length, 0),
  };
});

const lent: OpenTransfer = bulk((h, tx, rx) => ({
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
function each(open: (h: Hosts) => Promise<(i: number) => Promise<void>>): OpenTransfer {
  return async (h) => {
    const once = await open(h);
    return async (count) => {
      for (let i = 0; i < count; i++) await once(i);
    };
  };
}

async function exchange(h: Hosts, tx: number, rx: number): Promise<void> {
  const byte = new Uint8Array(1);
  must(h.a.sys.send(tx, byte, 1, 0));
  while (h.b.sys.recv(rx, byte, 1, 0) === -EAGAIN) await h.wait();
  must(h.b.sys.send(rx, byte, 1, 0));
  while (h.a.sys.recv(tx, byte, 1, 0) === -EAGAIN) await h.wait();
}

const datagram: OpenTransfer = each(async (h) => {
  const rx = must(h.b.sys.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
  must(h.b.sys.bind(rx, { ...h.to, addr: 0 }));
  const tx = must(h.a.sys.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
  must(h.a.sys.connect(tx, h.to));
  const bytes = new Uint8Array(64);
  return async () => {
    must(h.a.sys.send(tx, bytes, 64, 0));
    while (h.b.sys.recv(rx, bytes, 64, 0) === -EAGAIN) await h.wait();
  };
});

const pingPong: OpenTransfer = each(async (h) => {
  const [tx, rx] = await h.connect();
  return () => exchange(h, tx, rx);
});

const connection: OpenTransfer = each(async (h) => async () => {
  const [tx, rx] = await h.connect();
  await exchange(h, tx, rx);
  must(h.b.sys.close(rx));
  must(h.a.sys.close(tx));
});

/** name, link, what is run, warm-up, amount, and how much of it one unit of the counters is. */
const CASES: readonly [string, LinkOptions, OpenTransfer, number, number, number][] = [
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

/** Counts every case in `build`. */
export async function countersOf(build: Build): Promise<CountersByCase> {
  const all: CountersByCase = {};
  for (const [name, link, open, warm, amount, unit] of CASES) {
    const h = await Hosts.create(build, link);
    // An older build that lends no buffers: the case is not counted.
    if (open === lent && typeof h.a.sys.reserve !== "function") {
      h.kernel.close();
      continue;
    }
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

/** A counter that is another than it was. `undefined`: not counted. */
export interface Move {
  readonly name: string;
  readonly counter: string;
  readonly was: number | undefined;
  readonly is: number | undefined;
}

/** What has moved from `was` to `is`. */
export function movedCounters(was: CountersByCase, is: CountersByCase): Move[] {
  const moves: Move[] = [];
  for (const name of new Set([...Object.keys(was), ...Object.keys(is)])) {
    for (const counter of Object.keys({ ...was[name], ...is[name] })) {
      const move = { name, counter, was: was[name]?.[counter], is: is[name]?.[counter] };
      if (move.was !== move.is) moves.push(move);
    }
  }
  return moves;
}

export function formatMove({ name, counter, was, is }: Move): string {
  const ratio = was !== undefined && was > 0 && is !== undefined ? ` (x ${(is / was).toFixed(3)})` : "";
  return `${name}: ${counter}: was ${was ?? "not counted"}, is ${is ?? "not counted"}${ratio}`;
}
