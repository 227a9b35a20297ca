/** The blocking calls: who wakes whom, timeouts in the machine's time, partial counts. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sysPipe } from "../../src/fs/pipe.ts";
import { poolFree } from "../../src/mm/pool.ts";
import type { Net } from "../../src/net/core/net_namespace.ts";
import type { SockAddr } from "../../src/net/core/sock.ts";
import { socksInUse } from "../../src/net/core/sock.ts";
import {
  sysAccept,
  sysBind,
  sysClose,
  sysConnect,
  sysGetsockname,
  sysListen,
  sysPoll,
  sysRecv,
  sysSend,
  sysSendto,
  sysSetsockopt,
  sysShutdown,
  sysSocket,
  sysWrite,
} from "../../src/net/socket.ts";
import {
  sysAcceptAsync,
  sysCloseAsync,
  sysConnectAsync,
  sysPollAsync,
  sysRecvAsync,
  sysRecvfromAsync,
  sysSendAsync,
  sysSpliceAsync,
} from "../../src/net/syscalls_async.ts";
import { errnoName } from "../../src/uapi/errno.ts";
import { POLLIN } from "../../src/uapi/poll.ts";
import {
  MSG_DONTWAIT,
  MSG_PEEK,
  MSG_WAITALL,
  SO_LINGER,
  SO_RCVLOWAT,
  SO_RCVTIMEO,
  SO_SNDBUF,
  SO_SNDTIMEO,
  SO_TIMESTAMPING,
  SOCK_NONBLOCK,
  SOL_SOCKET,
} from "../../src/uapi/socket.ts";
import type { TestHost } from "./machine.ts";
import { testHost } from "./machine.ts";

const LO = 0x7f000001;
let h: TestHost;
let net: Net;
beforeEach(() => {
  h = testHost();
  ({ net } = h);
});
afterEach(() => {
  h.close();
  h.advance(300_000_000);
  expect(socksInUse()).toBe(0);
  expect(poolFree()).toMatchObject({ skbs: 0, buffers: 0 });
});

const at = (port: number, addr = LO): SockAddr => ({ family: 2, addr, port });
const said = (ret: number): number | string => (ret < 0 ? errnoName(ret) : ret);

/** Lets promises settle and the machine run, until `promise` settles or `us` microseconds have passed. */
async function within(us: number, promise: Promise<number>): Promise<number | string> {
  let result: number | string = "still waiting";
  void promise.then((n) => {
    result = said(n);
  });
  const end = h.clock.t + us;
  for (;;) {
    await new Promise((resolve) => setImmediate(resolve));
    if (result !== "still waiting" || h.clock.t >= end) return result;
    h.advance(Math.min(1000, end - h.clock.t));
  }
}

describe("the error queue", () => {
  /** A connection over lo, both ends blocking. */
  async function pair(): Promise<[number, number]> {
    const l = sysSocket(net, 2, 1, 0);
    sysBind(net, l, at(5000));
    sysListen(net, l, 1);
    const c = sysSocket(net, 2, 1, 0);
    sysConnect(net, c, at(5000));
    h.advance(1000);
    return [c, sysAccept(net, l, null)];
  }
  /** SND and ACK stamps of every write: the queue is not empty while the calls below wait. */
  const STAMPS = 0x2 | 0x10 | 0x80 | 0x200 | 0x800;

  test("does not end the wait of a read", async () => {
    const [c, s] = await pair();
    sysSetsockopt(net, c, SOL_SOCKET, SO_TIMESTAMPING, STAMPS);
    expect(sysSend(net, c, new Uint8Array(10), 10, 0)).toBe(10);
    h.advance(50_000);
    const fds = [{ fd: c, events: 0, revents: 0 }];
    expect(sysPoll(net, fds)).toBe(1);
    const read = sysRecvAsync(net, c, new Uint8Array(10), 10, 0);
    expect(await within(50_000, read)).toBe("still waiting");
    sysSend(net, s, new Uint8Array(3), 3, 0);
    expect(await within(50_000, read)).toBe(3);
  });

  test("does not end the wait of a write, nor of a splice", async () => {
    const [c, s] = await pair();
    sysSetsockopt(net, c, SOL_SOCKET, SO_TIMESTAMPING, STAMPS);
    sysSetsockopt(net, c, SOL_SOCKET, SO_SNDBUF, 5000);
    expect(sysSend(net, c, new Uint8Array(10), 10, 0)).toBe(10);
    h.advance(50_000);
    const len = 4_000_000;
    const write = sysSendAsync(net, c, new Uint8Array(len), len, 0);
    expect(await within(50_000, write)).toBe("still waiting");
    const fds: number[] = [];
    sysPipe(net, fds);
    sysWrite(net, fds[1] as number, new Uint8Array(10), 10);
    const splice = sysSpliceAsync(net, fds[0] as number, null, c, null, 10, 0);
    expect(await within(50_000, splice)).toBe("still waiting");
    const buf = new Uint8Array(100_000);
    let got = 0;
    for (let i = 0; i < 2000 && got < len + 20; i++) {
      got += Math.max(0, sysRecv(net, s, buf, buf.length, 0));
      await within(1000, new Promise<number>(() => {}));
    }
    expect(got).toBe(len + 20);
    expect(await within(1000, write)).toBe(len);
    expect(await within(1000, splice)).toBe(10);
  });
});

function udp(port: number, flags = 0): number {
  const fd = sysSocket(net, 2, 2 | flags, 0);
  sysBind(net, fd, at(port));
  return fd;
}

async function stream(): Promise<[number, number]> {
  const l = sysSocket(net, 2, 1, 0);
  sysBind(net, l, at(80));
  expect(sysListen(net, l, 5)).toBe(0);
  const c = sysSocket(net, 2, 1, 0);
  expect(await within(1e6, sysConnectAsync(net, c, at(80)))).toBe(0);
  const s = (await within(1e6, sysAcceptAsync(net, l, null))) as number;
  expect(s).toBeGreaterThan(2);
  sysClose(net, l);
  return [c, s];
}

describe("datagrams", () => {
  test("a receive waits for one", async () => {
    const a = udp(1000);
    const b = udp(1001);
    const buf = new Uint8Array(10);
    const from = at(0, 0);
    const waiting = sysRecvfromAsync(net, a, buf, 10, 0, from);
    expect(await within(5000, waiting)).toBe("still waiting");
    sysSendto(net, b, new Uint8Array([7, 8]), 2, 0, at(1000));
    expect(await waiting).toBe(2);
    expect(from).toEqual(at(1001));
    expect([...buf.slice(0, 2)]).toEqual([7, 8]);
  });

  test("those who wait are served in turn", async () => {
    const a = udp(1000);
    const b = udp(1001);
    const got: number[] = [];
    const bufs = [0, 1, 2].map(() => new Uint8Array(1));
    const waits = bufs.map((buf) => sysRecvAsync(net, a, buf, 1, 0).then((n) => got.push(n)));
    for (const v of [1, 2, 3]) sysSendto(net, b, new Uint8Array([v]), 1, 0, at(1000));
    await Promise.all(waits);
    expect(bufs.map((buf) => buf[0]).sort()).toEqual([1, 2, 3]);
    expect(got).toEqual([1, 1, 1]);
  });

  test("MSG_DONTWAIT and O_NONBLOCK don't", async () => {
    const buf = new Uint8Array(1);
    expect(said(await sysRecvAsync(net, udp(1000), buf, 1, MSG_DONTWAIT))).toBe("EAGAIN");
    expect(said(await sysRecvAsync(net, udp(1001, SOCK_NONBLOCK), buf, 1, 0))).toBe("EAGAIN");
  });

  test("SO_RCVTIMEO", async () => {
    const a = udp(1000);
    sysSetsockopt(net, a, SOL_SOCKET, SO_RCVTIMEO, { tvSec: 1, tvUsec: 500_000 });
    const t = h.clock.t;
    expect(await within(1e7, sysRecvAsync(net, a, new Uint8Array(1), 1, 0))).toBe("EAGAIN");
    expect(h.clock.t - t).toBe(1_500_000);
  });

  test("shutdown ends a wait with 0, close with EBADF, an ICMP error with itself", async () => {
    const a = udp(1000);
    sysConnect(net, a, at(9));
    const one = sysRecvAsync(net, a, new Uint8Array(1), 1, 0);
    sysSend(net, a, new Uint8Array(1), 1, 0);
    expect(await within(1000, one)).toBe("ECONNREFUSED");
    const two = sysRecvAsync(net, a, new Uint8Array(1), 1, 0);
    expect(await within(1000, two)).toBe("still waiting");
    sysShutdown(net, a, 0);
    expect(await within(1000, two)).toBe(0);
    const b = udp(1001);
    const three = sysRecvAsync(net, b, new Uint8Array(1), 1, 0);
    await within(1000, three);
    sysClose(net, b);
    expect(await within(1000, three)).toBe("EBADF");
    expect(said(await sysRecvAsync(net, 99, new Uint8Array(1), 1, 0))).toBe("EBADF");
  });

  test("poll with a timeout", async () => {
    const a = udp(1000);
    const b = udp(1001);
    const fds = [a, b].map((fd) => ({ fd, events: POLLIN, revents: 0 }));
    const t = h.clock.t;
    expect(await within(1e6, sysPollAsync(net, fds, 30))).toBe(0);
    expect(h.clock.t - t).toBe(30_000);
    const waiting = sysPollAsync(net, fds, -1);
    expect(await within(1000, waiting)).toBe("still waiting");
    sysSendto(net, a, new Uint8Array(1), 1, 0, at(1001));
    expect(await waiting).toBe(1);
    expect(fds.map((p) => p.revents)).toEqual([0, POLLIN]);
  });
});

describe("streams", () => {
  test("connect, accept, send, receive, the end", async () => {
    const [c, s] = await stream();
    const buf = new Uint8Array(100);
    const reading = sysRecvAsync(net, s, buf, 100, 0);
    expect(await within(5000, reading)).toBe("still waiting");
    expect(await within(1e6, sysSendAsync(net, c, new Uint8Array([1, 2, 3]), 3, 0))).toBe(3);
    expect(await within(1e6, reading)).toBe(3);
    const end = sysRecvAsync(net, s, buf, 100, 0);
    sysShutdown(net, c, 1);
    expect(await within(1e6, end)).toBe(0);
    sysClose(net, c);
    sysClose(net, s);
  });

  test("connect to nobody: ECONNREFUSED", async () => {
    const c = sysSocket(net, 2, 1, 0);
    expect(await within(1e6, sysConnectAsync(net, c, at(81)))).toBe("ECONNREFUSED");
  });

  test("a non-blocking connect says EINPROGRESS, and EALREADY when asked again", async () => {
    const c = sysSocket(net, 2, 1 | SOCK_NONBLOCK, 0);
    // Nobody is there to answer.
    net.sysctlTable.get("net.ipv4.ip_nonlocal_bind")?.set("1");
    h.kernel.enter();
    const err = sysConnect(net, c, at(80, 0x7f000009));
    const again = sysConnect(net, c, at(80, 0x7f000009));
    h.kernel.exit();
    expect([said(err), said(again)]).toEqual(["EINPROGRESS", "EALREADY"]);
  });

  test("SO_SNDTIMEO ends a connect with EINPROGRESS", async () => {
    const l = sysSocket(net, 2, 1, 0);
    sysBind(net, l, at(80));
    sysListen(net, l, 1);
    // The accept queue (backlog 1) holds two connections; the next SYN is not answered.
    const cs = [0, 1, 2].map(() => sysSocket(net, 2, 1, 0));
    for (const c of cs) sysSetsockopt(net, c, SOL_SOCKET, SO_SNDTIMEO, { tvSec: 0, tvUsec: 300_000 });
    const got = [];
    for (const c of cs) got.push(await within(2e6, sysConnectAsync(net, c, at(80))));
    expect(got).toEqual([0, 0, "EINPROGRESS"]);
    for (const c of cs) sysClose(net, c);
    sysClose(net, l);
  });

  test("accept waits, and SO_RCVTIMEO ends it", async () => {
    const l = sysSocket(net, 2, 1, 0);
    sysBind(net, l, at(80));
    sysListen(net, l, 5);
    sysSetsockopt(net, l, SOL_SOCKET, SO_RCVTIMEO, { tvSec: 0, tvUsec: 50_000 });
    expect(await within(1e6, sysAcceptAsync(net, l, null))).toBe("EAGAIN");
    sysSetsockopt(net, l, SOL_SOCKET, SO_RCVTIMEO, { tvSec: 0, tvUsec: 0 });
    const peer = at(0, 0);
    const accepting = sysAcceptAsync(net, l, peer);
    expect(await within(5000, accepting)).toBe("still waiting");
    const c = sysSocket(net, 2, 1, 0);
    sysConnect(net, c, at(80));
    const s = (await within(1e6, accepting)) as number;
    const name = at(0, 0);
    sysGetsockname(net, c, name);
    expect(peer).toEqual(name);
    expect(said(sysAccept(net, l, null))).toBe("EAGAIN");
    for (const fd of [c, s, l]) sysClose(net, fd);
  });

  test("a send of much waits for the reader, and takes all of it", async () => {
    const [c, s] = await stream();
    const size = 3_000_000;
    const out = new Uint8Array(size).map((_, i) => i * 13 + (i >> 9));
    const sending = sysSendAsync(net, c, out, size, 0);
    const inn = new Uint8Array(size);
    let got = 0;
    while (got < size) {
      const n = await within(1e6, sysRecvAsync(net, s, inn.subarray(got), size - got, 0));
      expect(n).toBeGreaterThan(0);
      got += n as number;
    }
    expect(await within(1e6, sending)).toBe(size);
    expect(Buffer.compare(inn, out)).toBe(0);
    sysClose(net, c);
    sysClose(net, s);
  });

  test("SO_SNDTIMEO: what was taken counts", async () => {
    const [c, s] = await stream();
    sysSetsockopt(net, c, SOL_SOCKET, SO_SNDTIMEO, { tvSec: 0, tvUsec: 100_000 });
    sysSetsockopt(net, c, SOL_SOCKET, SO_SNDBUF, 20_000);
    const n = await within(1e6, sysSendAsync(net, c, new Uint8Array(10_000_000), 10_000_000, 0));
    expect(n).toBeGreaterThan(0);
    expect(n).toBeLessThan(10_000_000);
    expect(await within(1e6, sysSendAsync(net, c, new Uint8Array(1000), 1000, 0))).toBe("EAGAIN");
    sysClose(net, c);
    sysClose(net, s);
  });

  test("MSG_WAITALL and SO_RCVLOWAT wait for more", async () => {
    const [c, s] = await stream();
    const buf = new Uint8Array(10);
    const all = sysRecvAsync(net, s, buf, 10, MSG_WAITALL);
    sysSend(net, c, new Uint8Array([1, 2, 3, 4]), 4, 0);
    expect(await within(50_000, all)).toBe("still waiting");
    sysSend(net, c, new Uint8Array([5, 6, 7, 8, 9, 10, 11]), 7, 0);
    expect(await within(50_000, all)).toBe(10);
    expect([...buf]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    sysSetsockopt(net, s, SOL_SOCKET, SO_RCVLOWAT, 3);
    const low = sysRecvAsync(net, s, buf, 10, 0);
    expect(await within(50_000, low)).toBe("still waiting");
    // The mark counts what is unread; the first byte was read already. So Linux waits on, too.
    sysSend(net, c, new Uint8Array(2), 2, 0);
    expect(await within(50_000, low)).toBe("still waiting");
    sysSend(net, c, new Uint8Array(1), 1, 0);
    expect(await within(50_000, low)).toBe(4);
    // The end comes first: what there was counts.
    const rest = sysRecvAsync(net, s, buf, 10, MSG_WAITALL);
    sysSend(net, c, new Uint8Array(2), 2, 0);
    await within(5000, rest);
    sysShutdown(net, c, 1);
    expect(await within(50_000, rest)).toBe(2);
    sysClose(net, c);
    sysClose(net, s);
  });

  test("MSG_PEEK with MSG_WAITALL looks until there is enough", async () => {
    const [c, s] = await stream();
    const buf = new Uint8Array(4);
    const peek = sysRecvAsync(net, s, buf, 4, MSG_PEEK | MSG_WAITALL);
    sysSend(net, c, new Uint8Array([1, 2]), 2, 0);
    expect(await within(50_000, peek)).toBe("still waiting");
    sysSend(net, c, new Uint8Array([3, 4]), 2, 0);
    expect(await within(50_000, peek)).toBe(4);
    expect([...buf]).toEqual([1, 2, 3, 4]);
    expect(sysRecv(net, s, buf, 4, 0)).toBe(4);
    sysClose(net, c);
    sysClose(net, s);
  });

  test("a reset: the bytes that came before it count, then the error", async () => {
    const [c, s] = await stream();
    const buf = new Uint8Array(10);
    const all = sysRecvAsync(net, s, buf, 10, MSG_WAITALL);
    sysSend(net, c, new Uint8Array(4), 4, 0);
    await within(5000, all);
    sysSetsockopt(net, c, SOL_SOCKET, SO_LINGER, { onoff: 1, linger: 0 });
    sysClose(net, c);
    expect(await within(50_000, all)).toBe(4);
    expect(said(sysRecv(net, s, buf, 10, 0))).toBe("ECONNRESET");
    sysClose(net, s);
  });

  test("a lingering close waits for the acknowledgement", async () => {
    const [c, s] = await stream();
    sysSetsockopt(net, c, SOL_SOCKET, SO_LINGER, { onoff: 1, linger: 2 });
    sysSend(net, c, new Uint8Array(10), 10, 0);
    const t = h.clock.t;
    expect(await within(5e6, sysCloseAsync(net, c))).toBe(0);
    expect(h.clock.t - t).toBeLessThan(1_000_000);
    sysClose(net, s);
  });
});
