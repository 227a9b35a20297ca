/** Lent buffers: bytes that are written and read in place arrive as they were sent, and every page comes back. */

import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import type { LinkOptions } from "../../src/init/link_options.ts";
import { EAGAIN, EBADF, EINVAL, ENOTCONN, EOPNOTSUPP, EPIPE } from "../../src/uapi/errno.ts";
import {
  AF_INET,
  MSG_OOB,
  MSG_PEEK,
  SHUT_WR,
  SO_RCVTIMEO,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
} from "../../src/uapi/socket.ts";
import { Pair } from "./pair.ts";

function bytes(view: Uint8Array | number): Uint8Array {
  if (typeof view === "number") throw new Error(`no view but ${view}`);
  return view;
}

/** Sends `size` bytes through windows of up to `n`, every third piece by send(); reads every third by recv(). */
async function transfer(pair: Pair, tx: number, rx: number, size: number, n: number): Promise<void> {
  const { a, b, kernel } = pair;
  const sent = createHash("sha256");
  const got = createHash("sha256");
  const buffer = new Uint8Array(n);
  let x = 1;
  const fill = (to: Uint8Array): void => {
    for (let i = 0; i < to.length; i++) {
      x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
      to[i] = x >>> 24;
    }
    sent.update(to);
  };
  let made = 0;
  let received = 0;
  let turn = 0;
  for (let idle = 0; received < size; ) {
    let moved = false;
    while (made < size) {
      const view = a.sys.reserve(tx, Math.min(n, size - made));
      if (view === -EAGAIN) break;
      const window = bytes(view);
      expect(window.length).toBeGreaterThan(0);
      if (++turn % 3 === 0) {
        // Not committed: it never leaves.
        window.fill(0xee);
        const own = buffer.subarray(0, 1 + (turn % 7));
        const few = own.subarray(0, Math.min(own.length, size - made));
        const before = x;
        fill(few);
        const done = a.sys.send(tx, few, few.length, 0);
        if (done !== few.length) throw new Error(`send: ${done} after ${before}`);
        made += done;
      } else {
        fill(window);
        expect(a.sys.commit(tx, window.length, 0)).toBe(window.length);
        made += window.length;
      }
      moved = true;
    }
    for (;;) {
      const view = b.sys.peek(rx);
      if (view === -EAGAIN) break;
      const piece = bytes(view);
      expect(piece.length).toBeGreaterThan(0);
      if (++turn % 3 === 0) {
        const done = b.sys.recv(rx, buffer, Math.min(n, 100), 0);
        got.update(buffer.subarray(0, done));
        received += done;
      } else {
        const part = turn % 2 === 0 ? piece.length : Math.ceil(piece.length / 2);
        got.update(piece.subarray(0, part));
        expect(b.sys.consume(rx, part)).toBe(part);
        received += part;
      }
      moved = true;
    }
    idle = moved ? 0 : idle + 1;
    if (idle > 10_000) throw new Error(`stalled after ${received} of ${size} bytes`);
    await kernel.advance(moved ? 0.1 : 1);
  }
  expect(got.digest("hex")).toBe(sent.digest("hex"));
}

const links: [string, LinkOptions, number][] = [
  ["veth with offloads", {}, 32768],
  ["veth without offloads", { offload: false }, 32768],
  ["veth without offloads and GRO", { offload: false, gro: false }, 10_000],
  ["rtl819x: no scatter-gather", { driver: "rtl819x" }, 5000],
  ["2% loss", { delay: "2ms", loss: 0.02 }, 32768],
  ["crumbs", {}, 7],
];

describe("a transfer through lent buffers", () => {
  it.each(links)("%s", async (_, link, n) => {
    const pair = await Pair.create(link, 5);
    const [tx, rx] = await pair.connect();
    await transfer(pair, tx, rx, n < 100 ? 20_000 : 1 << 20, n);
    expect(pair.a.sys.shutdown(tx, SHUT_WR)).toBe(0);
    await pair.kernel.advance(100);
    expect(bytes(pair.b.sys.peek(rx))).toHaveLength(0);
    // What is reserved when the socket is closed goes with it.
    pair.b.sys.reserve(rx, 100);
    await pair.finish([pair.a, tx], [pair.b, rx]);
  });
});

describe("the answers of", () => {
  it("reserve and commit", async () => {
    const pair = await Pair.create();
    const { sys } = pair.a;
    const [tx, rx] = await pair.connect();
    expect(sys.reserve(99, 10)).toBe(-EBADF);
    expect(sys.commit(99, 10, 0)).toBe(-EBADF);
    const dgram = sys.socket(AF_INET, SOCK_DGRAM, 0);
    expect([sys.reserve(dgram, 10), sys.commit(dgram, 0, 0)]).toEqual([-EOPNOTSUPP, -EOPNOTSUPP]);
    const fresh = sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    expect(sys.reserve(fresh, 10)).toBe(-EPIPE);
    expect([0, -1, Number.NaN].map((n) => sys.reserve(tx, n))).toEqual([-EINVAL, -EINVAL, -EINVAL]);
    expect(sys.commit(tx, 1, 0)).toBe(-EINVAL);
    expect(bytes(sys.reserve(tx, 1e9)).length).toBe(32768);
    expect(sys.commit(tx, 32769, 0)).toBe(-EINVAL);
    expect([sys.commit(tx, 0, 0), sys.commit(tx, 1, MSG_PEEK)]).toEqual([0, -EINVAL]);
    // One window in two commits; a new one forgets what was left of the old one.
    bytes(sys.reserve(tx, 4)).set([1, 2, 3, 4]);
    expect([sys.commit(tx, 1, 0), sys.commit(tx, 2, 0), sys.commit(tx, 2, 0)]).toEqual([1, 2, -EINVAL]);
    bytes(sys.reserve(tx, 1)).set([9]);
    expect(sys.commit(tx, 1, 0)).toBe(1);
    await pair.kernel.advance(100);
    const got = new Uint8Array(10);
    expect(pair.b.sys.recv(rx, got, 10, 0)).toBe(4);
    expect([...got.subarray(0, 4)]).toEqual([1, 2, 3, 9]);
    sys.shutdown(tx, SHUT_WR);
    expect(sys.reserve(tx, 1)).toBe(-EPIPE);
    await pair.finish([pair.a, tx], [pair.b, rx], [pair.a, dgram], [pair.a, fresh]);
  });

  it("peek and consume", async () => {
    const pair = await Pair.create();
    const { a, b, kernel } = pair;
    const [tx, rx] = await pair.connect();
    const fresh = b.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    const dgram = b.sys.socket(AF_INET, SOCK_DGRAM, 0);
    expect([b.sys.peek(99), b.sys.consume(99, 1)]).toEqual([-EBADF, -EBADF]);
    expect([b.sys.peek(dgram), b.sys.consume(dgram, 1)]).toEqual([-EOPNOTSUPP, -EOPNOTSUPP]);
    expect([b.sys.peek(fresh), b.sys.peek(rx), b.sys.consume(rx, 1)]).toEqual([-ENOTCONN, -EAGAIN, -EAGAIN]);
    expect([b.sys.consume(rx, -1), b.sys.consume(rx, 0)]).toEqual([-EINVAL, 0]);
    // An urgent byte is not shown: the piece before it ends there, and the next one begins behind it.
    a.sys.send(tx, new Uint8Array([1, 2]), 2, 0);
    a.sys.send(tx, new Uint8Array([3, 66]), 2, MSG_OOB);
    a.sys.send(tx, new Uint8Array([4, 5]), 2, 0);
    await kernel.advance(100);
    const seen: number[] = [];
    for (let view = b.sys.peek(rx); view !== -EAGAIN; view = b.sys.peek(rx)) {
      seen.push(...bytes(view));
      b.sys.consume(rx, bytes(view).length);
    }
    expect(seen).toEqual([1, 2, 3, 4, 5]);
    await pair.finish([a, tx], [b, rx], [b, fresh], [b, dgram]);
  });

  it("the forms that wait", async () => {
    const pair = await Pair.create();
    const { a, b, kernel } = pair;
    const [tx, rx] = await pair.connect();
    for (const [host, fd] of [
      [a, tx],
      [b, rx],
    ] as const)
      host.sys.fcntl(fd, 4, 0);
    const later = b.sys.peekAsync(rx);
    bytes(await a.sys.reserveAsync(tx, 5)).set([1, 2, 3, 4, 5]);
    a.sys.commit(tx, 5, 0);
    await kernel.advance(10);
    expect([...bytes(await later)]).toEqual([1, 2, 3, 4, 5]);
    expect(b.sys.consume(rx, 5)).toBe(5);
    b.sys.setsockopt(rx, SOL_SOCKET, SO_RCVTIMEO, { tvSec: 0, tvUsec: 50_000 });
    const none = b.sys.peekAsync(rx);
    await kernel.advance(100);
    expect(await none).toBe(-EAGAIN);
    expect([await a.sys.reserveAsync(99, 5), await b.sys.peekAsync(99)]).toEqual([-EBADF, -EBADF]);
    // The buffer is full: there is room when the peer has read.
    let waiting: Promise<Uint8Array | number> | null = null;
    for (let i = 0; i < 10_000 && waiting === null; i++) {
      const view = a.sys.reserve(tx, 32768);
      if (view === -EAGAIN) waiting = a.sys.reserveAsync(tx, 10);
      else a.sys.commit(tx, bytes(view).length, 0);
    }
    expect(waiting).not.toBeNull();
    for (let i = 0; i < 300; i++) {
      for (let view = b.sys.peek(rx); typeof view !== "number" && view.length > 0; view = b.sys.peek(rx))
        b.sys.consume(rx, view.length);
      await kernel.advance(1);
    }
    expect(bytes((await waiting) as Uint8Array).length).toBe(10);
    const ended = b.sys.peekAsync(rx);
    a.sys.shutdown(tx, SHUT_WR);
    await kernel.advance(100);
    const last = bytes(await ended);
    expect(last).toHaveLength(0);
    await pair.finish([a, tx], [b, rx]);
  });
});
