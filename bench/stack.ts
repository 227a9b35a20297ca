/**
 * Built libraries and transfers between two hosts of one kernel, system call by system call. Several builds can be loaded
 * into one process, which is the only way to compare them on a machine whose speed wanders.
 */

import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { LinkOptions, SkbuffKernel, Syscalls } from "../src/index.ts";
import { EAGAIN, EINPROGRESS, errnoName } from "../src/uapi/errno.ts";
import { IPPROTO_TCP } from "../src/uapi/in.ts";
import { AF_INET, SHUT_WR, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM } from "../src/uapi/socket.ts";
import { TCP_NODELAY } from "../src/uapi/tcp.ts";

/** A build of this library: its folder, and what a benchmark needs of it. */
export interface Build {
  readonly dir: string;
  readonly createKernel: typeof import("../src/index.ts").createKernel;
}

/** Loads the build in `dir` (a `dist/`). */
export async function loadBuild(dir: string): Promise<Build> {
  const full = resolve(dir);
  const library = (await import(pathToFileURL(join(full, "src/index.js")).href)) as Build;
  return { dir: full, createKernel: library.createKernel };
}

/** What a run moved, and the milliseconds it took: bytes or operations, by the unit of the case. */
export interface Sample {
  readonly ms: number;
  readonly amount: number;
}

/** Bytes that do not repeat within `length`, twice over: a window of `length` bytes starts anywhere in the first half. */
export function pattern(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(2 * length);
  let state = seed >>> 0;
  for (let i = 0; i < length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = bytes[i + length] = state & 0xff;
  }
  return bytes;
}

/** Compares what came with what was sent; the time that this takes is not the stack's. */
export class Verifier {
  readonly #pattern: Uint8Array;
  readonly #period: number;
  position = 0;
  /** Milliseconds spent comparing. */
  ms = 0;

  constructor(bytes: Uint8Array) {
    this.#pattern = bytes;
    this.#period = bytes.length / 2;
  }

  check(buffer: Uint8Array, length: number): void {
    const started = performance.now();
    let at = 0;
    while (at < length) {
      const from = this.position % this.#period;
      const n = Math.min(length - at, this.#period);
      if (Buffer.compare(buffer.subarray(at, at + n), this.#pattern.subarray(from, from + n)) !== 0)
        throw new Error(`what arrived is not what was sent, within ${n} bytes of byte ${this.position}`);
      at += n;
      this.position += n;
    }
    this.ms += performance.now() - started;
  }
}

function must(result: number, call: string): number {
  if (result < 0) throw new Error(`${call}: ${errnoName(-result)}`);
  return result;
}

const CHUNK: number = 256 * 1024;
/** The buffers of a lender: twice the largest window. */
const LENT: number = 64 * 1024;

/** Two hosts, joined by a link. */
export class Pair {
  readonly kernel: SkbuffKernel;
  readonly #a: Syscalls;
  readonly #b: Syscalls;
  readonly #addressB: number;
  readonly #pattern: Uint8Array = pattern(CHUNK);
  readonly #chunk: Uint8Array = new Uint8Array(CHUNK);
  #port = 7000;

  static async create(build: Build, link: LinkOptions = {}): Promise<Pair> {
    const kernel = await build.createKernel();
    kernel.link(kernel.netns("a"), kernel.netns("b"), { subnet: "10.0.0.0/24", ...link });
    return new Pair(kernel);
  }

  private constructor(kernel: SkbuffKernel) {
    this.kernel = kernel;
    this.#a = kernel.netns("a").sys;
    this.#b = kernel.netns("b").sys;
    this.#addressB = kernel.netns("b").primaryAddress();
  }

  close(): void {
    this.kernel.close();
  }

  /** Runs the kernel until `done()`. Nothing sleeps: a benchmark's CPU has nothing better to do. */
  #until(done: () => boolean): void {
    const deadline = performance.now() + 10_000;
    while (!done()) {
      this.kernel.core.run();
      if (performance.now() > deadline) throw new Error("nothing has moved for ten seconds");
    }
  }

  #listen(port: number): number {
    const fd = must(this.#b.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    must(this.#b.bind(fd, { family: AF_INET, addr: 0, port }), "bind");
    must(this.#b.listen(fd, 128), "listen");
    return fd;
  }

  #connect(listener: number, port: number): [client: number, server: number] {
    const client = must(this.#a.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
    const err = this.#a.connect(client, { family: AF_INET, addr: this.#addressB, port });
    if (err !== -EINPROGRESS) must(err, "connect");
    let server = -EAGAIN;
    this.#until(() => {
      server = this.#b.accept4(listener, null, SOCK_NONBLOCK);
      if (server !== -EAGAIN) must(server, "accept4");
      return server >= 0;
    });
    return [client, server];
  }

  /** `bytes` from a to b over one connection, from plain arrays into plain arrays. */
  bulk(bytes: number): Sample {
    const port = this.#port++;
    const listener = this.#listen(port);
    const [tx, rx] = this.#connect(listener, port);
    const out = this.#pattern;
    const inn = this.#chunk;
    const a = this.#a;
    const b = this.#b;
    const verifier = new Verifier(this.#pattern);
    let sent = 0;
    const started = performance.now();
    while (verifier.position < bytes) {
      let moved = false;
      while (sent < bytes) {
        const from = sent % CHUNK;
        const want = Math.min(CHUNK - from, bytes - sent);
        const n = a.send(tx, from === 0 ? out : out.subarray(from, CHUNK), want, 0);
        if (n === -EAGAIN) break;
        sent += must(n, "send");
        moved = true;
      }
      for (;;) {
        const n = b.recv(rx, inn, CHUNK, 0);
        if (n === -EAGAIN) break;
        if (must(n, "recv") === 0) throw new Error("the connection has ended early");
        verifier.check(inn, n);
        moved = true;
        if (verifier.position >= bytes) break;
      }
      if (!moved) this.kernel.core.run();
    }
    const ms = performance.now() - started - verifier.ms;
    must(a.shutdown(tx, SHUT_WR), "shutdown");
    b.close(rx);
    a.close(tx);
    b.close(listener);
    this.kernel.core.run();
    return { ms, amount: bytes };
  }

  /** `bytes` from a to b through lent buffers: one copy within the machine's memory on each side. */
  bulkLent(bytes: number): Sample {
    const port = this.#port++;
    const listener = this.#listen(port);
    const [tx, rx] = this.#connect(listener, port);
    const a = this.#a;
    const b = this.#b;
    const { wasm, u8 } = this.kernel.core.machine;
    const [source, target] = [wasm.allocPage(LENT), wasm.allocPage(LENT)];
    if (source === 0 || target === 0) throw new Error("the pool has no two pages");
    const data = pattern(LENT / 2);
    u8.set(data, source);
    const got = u8.subarray(target, target + LENT);
    const verifier = new Verifier(data);
    let sent = 0;
    const started = performance.now();
    while (verifier.position < bytes) {
      let moved = false;
      while (sent < bytes) {
        const view = a.reserve(tx, Math.min(LENT / 2, bytes - sent));
        if (view === -EAGAIN) break;
        if (typeof view === "number") throw new Error(`reserve: ${errnoName(-view)}`);
        wasm.memcpy(view.byteOffset, source + (sent % (LENT / 2)), view.length);
        sent += must(a.commit(tx, view.length, 0), "commit");
        moved = true;
      }
      for (;;) {
        const view = b.peek(rx);
        if (view === -EAGAIN) break;
        if (typeof view === "number") throw new Error(`peek: ${errnoName(-view)}`);
        if (view.length === 0 || view.length > LENT) throw new Error(`peek gave ${view.length} bytes`);
        wasm.memcpy(target, view.byteOffset, view.length);
        must(b.consume(rx, view.length), "consume");
        verifier.check(got, view.length);
        moved = true;
      }
      if (!moved) this.kernel.core.run();
    }
    const ms = performance.now() - started - verifier.ms;
    wasm.putPage(source);
    wasm.putPage(target);
    a.close(tx);
    b.close(rx);
    b.close(listener);
    this.kernel.core.run();
    return { ms, amount: bytes };
  }

  /** `count` datagrams of `size` bytes from a to b, `burst` at a time. */
  datagrams(count: number, size = 64, burst = 32): Sample {
    const port = this.#port++;
    const a = this.#a;
    const b = this.#b;
    const rx = must(b.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), "socket");
    must(b.bind(rx, { family: AF_INET, addr: 0, port }), "bind");
    const tx = must(a.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), "socket");
    must(a.connect(tx, { family: AF_INET, addr: this.#addressB, port }), "connect");
    const out = this.#pattern.slice(0, size);
    const inn = new Uint8Array(size);
    let received = 0;
    let sum = 0;
    const started = performance.now();
    while (received < count) {
      for (let i = 0; i < burst; i++) {
        out[i % size] = i;
        must(a.send(tx, out, size, 0), "send");
      }
      for (let i = 0; ; i++) {
        const n = b.recv(rx, inn, size, 0);
        if (n === -EAGAIN) break;
        if (must(n, "recv") !== size || inn[i % size] !== i) throw new Error("a datagram is not as it was sent");
        sum += inn[size - 1];
        received++;
      }
    }
    const ms = performance.now() - started;
    if (sum === 0 && size > burst) throw new Error("the datagrams came empty");
    a.close(tx);
    b.close(rx);
    return { ms, amount: received };
  }

  /** `count` times one byte there and one byte back over one connection. */
  pingPong(count: number): Sample {
    const port = this.#port++;
    const listener = this.#listen(port);
    const [tx, rx] = this.#connect(listener, port);
    const a = this.#a;
    const b = this.#b;
    must(a.setsockopt(tx, IPPROTO_TCP, TCP_NODELAY, 1), "setsockopt");
    must(b.setsockopt(rx, IPPROTO_TCP, TCP_NODELAY, 1), "setsockopt");
    const one = new Uint8Array(1);
    const buffer = new Uint8Array(16);
    const started = performance.now();
    for (let i = 0; i < count; i++) {
      one[0] = i;
      must(a.send(tx, one, 1, 0), "send");
      while (b.recv(rx, buffer, 16, 0) === -EAGAIN) this.kernel.core.run();
      must(b.send(rx, buffer, 1, 0), "send");
      while (a.recv(tx, buffer, 16, 0) === -EAGAIN) this.kernel.core.run();
      if (buffer[0] !== (i & 255)) throw new Error("the byte that came back is another");
    }
    const ms = performance.now() - started;
    b.close(rx);
    a.close(tx);
    b.close(listener);
    this.kernel.core.run();
    return { ms, amount: count };
  }

  /** `count` connections: made, a byte each way, closed, the server first (so that ports are free again). */
  connections(count: number): Sample {
    const port = this.#port++;
    const listener = this.#listen(port);
    const a = this.#a;
    const b = this.#b;
    const one = new Uint8Array(1);
    const buffer = new Uint8Array(1);
    const started = performance.now();
    for (let i = 0; i < count; i++) {
      const [tx, rx] = this.#connect(listener, port);
      one[0] = i;
      must(a.send(tx, one, 1, 0), "send");
      while (b.recv(rx, buffer, 1, 0) === -EAGAIN) this.kernel.core.run();
      must(b.send(rx, buffer, 1, 0), "send");
      while (a.recv(tx, buffer, 1, 0) === -EAGAIN) this.kernel.core.run();
      if (buffer[0] !== (i & 255)) throw new Error("the byte that came back is another");
      b.close(rx);
      a.close(tx);
    }
    const ms = performance.now() - started;
    b.close(listener);
    this.kernel.core.run();
    return { ms, amount: count };
  }
}
