/** Fast Open between two hosts over good and bad links: whatever becomes of SYNs and cookies, the bytes arrive once. */

import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import type { LinkOptions } from "../../src/init/link_options.ts";
import type { Net } from "../../src/net/core/net_namespace.ts";
import { EAGAIN, EINPROGRESS } from "../../src/uapi/errno.ts";
import {
  LINUX_MIB_TCPFASTOPENACTIVE,
  LINUX_MIB_TCPFASTOPENACTIVEFAIL,
  LINUX_MIB_TCPFASTOPENCOOKIEREQD,
  LINUX_MIB_TCPFASTOPENPASSIVE,
  LINUX_MIB_TCPFASTOPENPASSIVEALTKEY,
} from "../../src/uapi/linux_mib.ts";
import { AF_INET, MSG_FASTOPEN, SHUT_WR, SOCK_NONBLOCK, SOCK_STREAM, SOL_TCP } from "../../src/uapi/socket.ts";
import { TCP_FASTOPEN, TCP_FASTOPEN_CONNECT } from "../../src/uapi/tcp.ts";
import { Pair } from "./pair.ts";

const PORT = 5000;

function bytesOf(n: number, seed: number): Uint8Array {
  const out = new Uint8Array(n);
  let x = seed;
  for (let i = 0; i < n; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    out[i] = x >>> 24;
  }
  return out;
}

interface Served {
  fd: number;
  queue: Uint8Array[];
  eof: boolean;
  shut: boolean;
}

/** An echo server on b, driven by steps, and clients on a that send, shut down, and compare what comes back. */
class Echo {
  readonly pair: Pair;
  readonly listener: number;
  readonly #open: Served[] = [];

  constructor(pair: Pair) {
    this.pair = pair;
    const { b } = pair;
    this.listener = b.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    expect(b.sys.bind(this.listener, { family: AF_INET, addr: 0, port: PORT })).toBe(0);
    expect(b.sys.listen(this.listener, 64)).toBe(0);
    expect(b.sys.setsockopt(this.listener, SOL_TCP, TCP_FASTOPEN, 64)).toBe(0);
  }

  /** Accepts, reads and answers what there is, also before a handshake is over. */
  serve(): void {
    const { b } = this.pair;
    for (let fd = b.sys.accept4(this.listener, null, SOCK_NONBLOCK); fd >= 0; ) {
      this.#open.push({ fd, queue: [], eof: false, shut: false });
      fd = b.sys.accept4(this.listener, null, SOCK_NONBLOCK);
    }
    const buf = new Uint8Array(65536);
    for (let i = this.#open.length - 1; i >= 0; i--) {
      const c = this.#open[i] as Served;
      for (let n = 1; n > 0 && !c.eof; ) {
        n = b.sys.recv(c.fd, buf, buf.length, 0);
        if (n > 0) c.queue.push(buf.slice(0, n));
        else if (n !== -EAGAIN) c.eof = true;
      }
      while (c.queue.length > 0) {
        const head = c.queue[0] as Uint8Array;
        const n = b.sys.send(c.fd, head, head.length, 0);
        if (n <= 0) break;
        if (n === head.length) c.queue.shift();
        else c.queue[0] = head.slice(n);
      }
      if (c.eof && c.queue.length === 0 && !c.shut) {
        expect(b.sys.shutdown(c.fd, SHUT_WR)).toBe(0);
        c.shut = true;
      }
    }
  }

  /** The client has everything. (Earlier, a close() would leave the server an orphan, which soon gives up.) */
  done(): void {
    for (const c of this.#open.splice(0)) this.pair.b.sys.close(c.fd);
  }

  async step(): Promise<void> {
    const { kernel } = this.pair;
    const next = kernel.core.nextDeadline();
    await kernel.advance(Math.max(0.001, Math.min(50, (next - kernel.now) / 1000)));
    this.serve();
  }

  /** One connection: sends `data` with Fast Open, compares the echo. Returns virtual milliseconds. */
  async exchange(data: Uint8Array, deferred: boolean): Promise<number> {
    const { a, b, kernel } = this.pair;
    const began = kernel.now;
    const peer = { family: AF_INET, addr: b.primaryAddress(), port: PORT };
    const fd = a.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    let sent = 0;
    if (deferred) {
      expect(a.sys.setsockopt(fd, SOL_TCP, TCP_FASTOPEN_CONNECT, 1)).toBe(0);
      expect([0, -EINPROGRESS]).toContain(a.sys.connect(fd, peer));
    } else {
      const n = a.sys.sendto(fd, data, data.length, MSG_FASTOPEN, peer);
      expect(n === -EINPROGRESS || n > 0, `sendto: ${n}`).toBe(true);
      sent = Math.max(0, n);
    }
    const got = createHash("sha256");
    const buf = new Uint8Array(65536);
    let received = 0;
    let shut = false;
    for (;;) {
      while (sent < data.length) {
        const rest = data.subarray(sent);
        const n = a.sys.send(fd, rest, rest.length, 0);
        if (n === -EAGAIN) break;
        expect(n).toBeGreaterThan(0);
        sent += n;
      }
      // Not in SYN-SENT: that would give the connection up.
      if (sent === data.length && !shut && received > 0) {
        expect(a.sys.shutdown(fd, SHUT_WR)).toBe(0);
        shut = true;
      }
      const n = a.sys.recv(fd, buf, buf.length, 0);
      if (n === 0) break;
      if (n > 0) {
        got.update(buf.subarray(0, n));
        received += n;
        continue;
      }
      expect(n).toBe(-EAGAIN);
      await this.step();
      if (kernel.now - began > 3600e6) throw new Error(`stalled after ${received} of ${data.length} bytes`);
    }
    expect(received).toBe(data.length);
    expect(got.digest("hex")).toBe(createHash("sha256").update(data).digest("hex"));
    expect(a.sys.close(fd)).toBe(0);
    this.done();
    return (kernel.now - began) / 1000;
  }
}

async function echo(link: LinkOptions, seed: number): Promise<Echo> {
  const pair = await Pair.create(link, seed);
  for (const host of [pair.a, pair.b]) host.sysctl("net.ipv4.tcp_fastopen=3");
  pair.b.sysctl("net.ipv4.tcp_fastopen_key=1-2-3-4");
  return new Echo(pair);
}

const ext = (net: Net, mib: number): number => net.mib.linux[mib] ?? 0;

describe("Fast Open on both sides", () => {
  it("saves a round trip, from the second connection on", async () => {
    const e = await echo({ delay: "50ms" }, 1);
    const { a, b } = e.pair;
    const data = bytesOf(1000, 1);
    const times: number[] = [];
    for (let i = 0; i < 3; i++) times.push(await e.exchange(data, i === 2));
    // ARP, the handshake, the echo, the FIN and its answer: four round trips, then two.
    expect(times.map((ms) => Math.round(ms / 100))).toEqual([4, 2, 2]);
    expect(ext(b.ns, LINUX_MIB_TCPFASTOPENCOOKIEREQD)).toBe(1);
    expect(ext(a.ns, LINUX_MIB_TCPFASTOPENACTIVE)).toBe(2);
    expect(ext(b.ns, LINUX_MIB_TCPFASTOPENPASSIVE)).toBe(2);
    expect(a.ip("tcp_metrics show")).toMatch(/ fo_mss 1460 fo_cookie [0-9a-f]{16} source /);
    await e.pair.finish([b, e.listener]);
  }, 60_000);

  const bad: [string, LinkOptions, number][] = [
    ["10% loss", { delay: "5ms", loss: 0.1 }, 11],
    ["30% loss", { delay: "2ms", loss: 0.3 }, 12],
    ["reordering and duplicates", { delay: "5ms", jitter: "4ms", reorder: 0.2, duplicate: 0.2, loss: 0.05 }, 13],
    ["corruption, a card without offloads", { delay: "2ms", corrupt: 0.1, offload: false }, 14],
    ["a small MTU", { mtu: 576, delay: "2ms", loss: 0.1 }, 15],
  ];
  it.each(bad)(
    "%s: nothing is lost or doubled, and fallbacks happen",
    async (_name, link, seed) => {
      const e = await echo(link, seed);
      const { a, b } = e.pair;
      for (let i = 0; i < 60; i++) {
        const size = [1, 300, 1400, 1460, 5000, 40_000][i % 6] as number;
        await e.exchange(bytesOf(size, seed * 1000 + i), i % 3 === 2);
      }
      // Some opened fast, and some had to fall back.
      expect(ext(a.ns, LINUX_MIB_TCPFASTOPENACTIVE)).toBeGreaterThan(20);
      expect(ext(a.ns, LINUX_MIB_TCPFASTOPENACTIVEFAIL)).toBeGreaterThan(0);
      expect(ext(b.ns, LINUX_MIB_TCPFASTOPENPASSIVE)).toBeGreaterThan(20);
      await e.pair.finish([b, e.listener]);
    },
    120_000,
  );

  it("a server that changes its key, and one that gives Fast Open up, in the middle of it", async () => {
    const e = await echo({ delay: "5ms", loss: 0.05 }, 21);
    const { a, b } = e.pair;
    const some = async (n: number): Promise<number> => {
      const before = ext(a.ns, LINUX_MIB_TCPFASTOPENACTIVE);
      for (let i = 0; i < n; i++) await e.exchange(bytesOf(700, i + 1), i % 2 === 1);
      return ext(a.ns, LINUX_MIB_TCPFASTOPENACTIVE) - before;
    };
    expect(await some(10)).toBeGreaterThan(4);
    // A new key, with the old one as its backup: the cookie is replaced on the way.
    b.sysctl("net.ipv4.tcp_fastopen_key=5-6-7-8,1-2-3-4");
    expect(await some(10)).toBeGreaterThan(4);
    expect(ext(b.ns, LINUX_MIB_TCPFASTOPENPASSIVEALTKEY)).toBeGreaterThan(0);
    // A new one without: one more round trip brings the new cookie.
    b.sysctl("net.ipv4.tcp_fastopen_key=9-a-b-c");
    expect(await some(10)).toBeGreaterThan(4);
    b.sysctl("net.ipv4.tcp_fastopen=1");
    expect(await some(5)).toBe(0);
    await e.pair.finish([b, e.listener]);
  }, 60_000);
});
