// What the benchmarks of this folder run: transfers between two hosts of one kernel, system call by system call, so that
// nothing but the stack is timed. A `stack` is a built library: several builds can be loaded into one process, which is
// the only way to compare them on a machine whose speed wanders.

import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const EAGAIN = 11;
const EINPROGRESS = 115;
const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 2048;
const SHUT_WR = 1;
const TCP_NODELAY = 1;
const IPPROTO_TCP = 6;

/** Loads the build in `dir`. */
export async function loadStack(dir) {
  const { createKernel } = await import(pathToFileURL(join(resolve(dir), "src/index.js")).href);
  return { dir, createKernel };
}

function must(result, call) {
  if (result < 0) throw new Error(`${call}: errno ${-result}`);
  return result;
}

/** Two hosts, joined by a link with `link` options. */
export class Pair {
  #port = 7000;

  static async create(stack, link = {}) {
    const kernel = await stack.createKernel();
    const a = kernel.netns("a");
    const b = kernel.netns("b");
    kernel.link(a, b, { subnet: "10.0.0.0/24", ...link });
    return new Pair(kernel, a, b);
  }

  constructor(kernel, a, b) {
    this.kernel = kernel;
    this.a = a.sys;
    this.b = b.sys;
    this.addressB = b.primaryAddress();
  }

  close() {
    this.kernel.close();
  }

  /** Runs the kernel until `done()`. Nothing sleeps: a benchmark's CPU has nothing better to do. */
  #until(done) {
    const deadline = performance.now() + 10_000;
    while (!done()) {
      this.kernel.core.run();
      if (performance.now() > deadline) throw new Error("nothing has moved for ten seconds");
    }
  }

  listen(port) {
    const fd = must(this.b.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    must(this.b.bind(fd, { family: AF_INET, addr: 0, port }), "bind");
    must(this.b.listen(fd, 128), "listen");
    return fd;
  }

  connect(listener, port) {
    const client = must(this.a.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    const err = this.a.connect(client, { family: AF_INET, addr: this.addressB, port });
    if (err !== -EINPROGRESS) must(err, "connect");
    let server = -EAGAIN;
    this.#until(() => {
      server = this.b.accept4(listener, null, SOCK_NONBLOCK);
      if (server !== -EAGAIN) must(server, "accept4");
      return server >= 0;
    });
    return [client, server];
  }

  /** `bytes` from a to b over one connection. Returns milliseconds. */
  bulk(bytes, chunk = 256 * 1024) {
    const port = this.#port++;
    const listener = this.listen(port);
    const [tx, rx] = this.connect(listener, port);
    const out = new Uint8Array(chunk);
    const inn = new Uint8Array(chunk);
    const { a, b } = this;
    let left = bytes;
    let received = 0;
    const started = performance.now();
    while (received < bytes) {
      let moved = false;
      while (left > 0) {
        const n = a.send(tx, out, left < chunk ? left : chunk, 0);
        if (n === -EAGAIN) break;
        left -= must(n, "send");
        moved = true;
      }
      for (;;) {
        const n = b.recv(rx, inn, chunk, 0);
        if (n === -EAGAIN) break;
        if (must(n, "recv") === 0) throw new Error("the connection has ended early");
        received += n;
        moved = true;
        if (received >= bytes) break;
      }
      if (!moved) this.kernel.core.run();
    }
    const ms = performance.now() - started;
    a.shutdown(tx, SHUT_WR);
    b.close(rx);
    a.close(tx);
    b.close(listener);
    this.kernel.core.run();
    return ms;
  }

  /** `count` datagrams of `size` bytes from a to b, `burst` at a time. Returns milliseconds. */
  datagrams(count, size = 64, burst = 32) {
    const port = this.#port++;
    const { a, b } = this;
    const rx = must(b.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), "socket");
    must(b.bind(rx, { family: AF_INET, addr: 0, port }), "bind");
    const tx = must(a.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), "socket");
    must(a.connect(tx, { family: AF_INET, addr: this.addressB, port }), "connect");
    const out = new Uint8Array(size);
    const inn = new Uint8Array(size);
    let received = 0;
    const started = performance.now();
    while (received < count) {
      for (let i = 0; i < burst; i++) must(a.send(tx, out, size, 0), "send");
      for (let i = 0; ; i++) {
        const n = b.recv(rx, inn, size, 0);
        if (n === -EAGAIN) break;
        must(n, "recv");
        received++;
      }
    }
    const ms = performance.now() - started;
    a.close(tx);
    b.close(rx);
    return ms;
  }

  /** `count` times one byte there and one byte back over one connection. Returns milliseconds. */
  pingPong(count) {
    const port = this.#port++;
    const listener = this.listen(port);
    const [tx, rx] = this.connect(listener, port);
    const { a, b } = this;
    const on = 1;
    a.setsockopt(tx, IPPROTO_TCP, TCP_NODELAY, on);
    b.setsockopt(rx, IPPROTO_TCP, TCP_NODELAY, on);
    const one = new Uint8Array(1);
    const buffer = new Uint8Array(16);
    const started = performance.now();
    for (let i = 0; i < count; i++) {
      must(a.send(tx, one, 1, 0), "send");
      while (b.recv(rx, buffer, 16, 0) === -EAGAIN) this.kernel.core.run();
      must(b.send(rx, one, 1, 0), "send");
      while (a.recv(tx, buffer, 16, 0) === -EAGAIN) this.kernel.core.run();
    }
    const ms = performance.now() - started;
    b.close(rx);
    a.close(tx);
    b.close(listener);
    this.kernel.core.run();
    return ms;
  }

  /** `count` connections that are made, accepted and closed, the server first (so that ports are free again). */
  connections(count) {
    const port = this.#port++;
    const listener = this.listen(port);
    const { a, b } = this;
    const started = performance.now();
    for (let i = 0; i < count; i++) {
      const [tx, rx] = this.connect(listener, port);
      b.close(rx);
      a.close(tx);
    }
    const ms = performance.now() - started;
    b.close(listener);
    this.kernel.core.run();
    return ms;
  }
}

const GBIT = "Gbit/s";
const MIB = 1 << 20;

/** name, unit, link options, a run of about `scale` times a tenth of a second; value from what it returns. */
export const CASES = [
  { name: "rtl819x", unit: GBIT, link: { driver: "rtl819x" }, run: (p, s) => gbit(p, 32 * MIB * s) },
  { name: "veth-frames", unit: GBIT, link: { driver: "veth", offload: false }, run: (p, s) => gbit(p, 32 * MIB * s) },
  { name: "veth-offload", unit: GBIT, link: { driver: "veth" }, run: (p, s) => gbit(p, 128 * MIB * s) },
  {
    name: "udp-64",
    unit: "datagrams/s",
    link: { driver: "veth" },
    run: (p, s) => rate(50_000 * s, (n) => p.datagrams(n)),
  },
  {
    name: "tcp-pingpong",
    unit: "round trips/s",
    link: { driver: "veth" },
    run: (p, s) => rate(10_000 * s, (n) => p.pingPong(n)),
  },
  {
    name: "tcp-connect",
    unit: "connections/s",
    link: { driver: "veth" },
    run: (p, s) => rate(2_000 * s, (n) => p.connections(n)),
  },
];

function gbit(pair, bytes) {
  return (bytes * 8) / pair.bulk(Math.round(bytes)) / 1e6;
}

function rate(count, run) {
  const n = Math.max(1, Math.round(count));
  return (n * 1000) / run(n);
}

export function median(values) {
  const v = [...values].sort((x, y) => x - y);
  const mid = v.length >> 1;
  return v.length % 2 === 1 ? v[mid] : (v[mid - 1] + v[mid]) / 2;
}

/** The median of `values` and its 95% interval, by resampling with a fixed seed. */
export function bootstrapMedian(values, rounds = 2000, seed = 1) {
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
  const medians = [];
  const sample = new Array(values.length);
  for (let r = 0; r < rounds; r++) {
    for (let i = 0; i < sample.length; i++) sample[i] = values[Math.floor(random() * values.length)];
    medians.push(median(sample));
  }
  medians.sort((x, y) => x - y);
  return {
    median: median(values),
    low: medians[Math.floor(rounds * 0.025)],
    high: medians[Math.ceil(rounds * 0.975) - 1],
  };
}

/** Alternates two runs, each time in another order, and returns the ratios of their times (second over first). */
export function alternate(pairs, first, second) {
  const ratios = [];
  for (let i = 0; i < pairs; i++) {
    if (i % 2 === 0) {
      const x = first();
      ratios.push(second() / x);
    } else {
      const y = second();
      ratios.push(y / first());
    }
  }
  return ratios;
}
