/** TCP_REPAIR: a connection is taken apart on one socket and put together on another, and its peer notices nothing. */

import { describe, expect, it } from "vitest";
import { ErrBox } from "../../../src/net/core/sock.ts";
import type { TcpInfo } from "../../../src/net/ipv4/tcp_sockopt.ts";
import { EFBIG, EINVAL, EPERM } from "../../../src/uapi/errno.ts";
import { AF_INET, MSG_PEEK, SOCK_NONBLOCK, SOCK_STREAM, SOL_TCP } from "../../../src/uapi/socket.ts";
import {
  TCP_INFO,
  TCP_MAXSEG,
  TCP_NO_QUEUE,
  TCP_QUEUE_SEQ,
  TCP_RECV_QUEUE,
  TCP_REPAIR,
  TCP_REPAIR_OFF,
  TCP_REPAIR_OFF_NO_WP,
  TCP_REPAIR_ON,
  TCP_REPAIR_OPTIONS,
  TCP_REPAIR_QUEUE,
  TCP_REPAIR_WINDOW,
  TCP_SEND_QUEUE,
  TCP_TIMESTAMP,
  TCPOPT_MSS,
  TCPOPT_SACK_PERM,
  TCPOPT_TIMESTAMP,
  TCPOPT_WINDOW,
} from "../../../src/uapi/tcp.ts";
import { Pair } from "../../sim/pair.ts";

const BIG = 1 << 16;

function bytes(n: number, from: number): Uint8Array {
  return new Uint8Array(n).map((_, i) => (from + i) * 7);
}

interface Queue {
  readonly end: number;
  readonly data: Uint8Array;
}

/** What a checkpoint holds. */
interface Dump {
  readonly local: number;
  readonly receive: Queue;
  readonly send: Queue;
  readonly mss: number;
  readonly window: object;
  readonly timestamp: number;
  readonly sndWscale: number;
  readonly rcvWscale: number;
}

class Site {
  readonly pair: Pair;
  constructor(pair: Pair) {
    this.pair = pair;
  }

  get(fd: number, name: number): number {
    return this.pair.a.sys.getsockopt(fd, SOL_TCP, name, new ErrBox()) as number;
  }

  set(fd: number, name: number, value: number | object): number {
    return this.pair.a.sys.setsockopt(fd, SOL_TCP, name, value);
  }

  #queue(fd: number, which: number): Queue {
    expect(this.set(fd, TCP_REPAIR_QUEUE, which)).toBe(0);
    const end = this.get(fd, TCP_QUEUE_SEQ);
    const buf = new Uint8Array(BIG);
    const n = this.pair.a.sys.recv(fd, buf, BIG, MSG_PEEK);
    return { end, data: buf.subarray(0, Math.max(0, n)) };
  }

  /** Takes the connection apart and closes its socket, of which the peer hears nothing. */
  dump(fd: number): Dump {
    const sys = this.pair.a.sys;
    const name = { family: AF_INET, addr: 0, port: 0 };
    expect(sys.getsockname(fd, name)).toBe(0);
    const info = sys.getsockopt(fd, SOL_TCP, TCP_INFO, new ErrBox()) as unknown as TcpInfo;
    expect(this.set(fd, TCP_REPAIR, TCP_REPAIR_ON)).toBe(0);
    const dump: Dump = {
      local: name.port,
      receive: this.#queue(fd, TCP_RECV_QUEUE),
      send: this.#queue(fd, TCP_SEND_QUEUE),
      mss: this.get(fd, TCP_MAXSEG),
      window: sys.getsockopt(fd, SOL_TCP, TCP_REPAIR_WINDOW, new ErrBox()) as object,
      timestamp: this.get(fd, TCP_TIMESTAMP),
      sndWscale: info.sndWscale,
      rcvWscale: info.rcvWscale,
    };
    expect(sys.close(fd)).toBe(0);
    return dump;
  }

  restore(d: Dump): number {
    const { a, b } = this.pair;
    const fd = a.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    expect(this.set(fd, TCP_REPAIR, TCP_REPAIR_ON)).toBe(0);
    expect(a.sys.bind(fd, { family: AF_INET, addr: a.primaryAddress(), port: d.local })).toBe(0);
    this.set(fd, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE);
    expect(this.set(fd, TCP_QUEUE_SEQ, d.send.end - d.send.data.length)).toBe(0);
    this.set(fd, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE);
    expect(this.set(fd, TCP_QUEUE_SEQ, d.receive.end - d.receive.data.length)).toBe(0);
    expect(a.sys.connect(fd, { family: AF_INET, addr: b.primaryAddress(), port: 5000 })).toBe(0);
    const options = [
      { optCode: TCPOPT_MSS, optVal: d.mss },
      { optCode: TCPOPT_WINDOW, optVal: d.sndWscale | (d.rcvWscale << 16) },
      { optCode: TCPOPT_SACK_PERM, optVal: 0 },
      { optCode: TCPOPT_TIMESTAMP, optVal: 0 },
    ];
    expect(this.set(fd, TCP_REPAIR_OPTIONS, options)).toBe(0);
    expect(this.set(fd, TCP_TIMESTAMP, d.timestamp)).toBe(0);
    for (const [which, q] of [
      [TCP_RECV_QUEUE, d.receive],
      [TCP_SEND_QUEUE, d.send],
    ] as const) {
      this.set(fd, TCP_REPAIR_QUEUE, which);
      if (q.data.length > 0) expect(a.sys.send(fd, q.data, q.data.length, 0)).toBe(q.data.length);
      expect(this.get(fd, TCP_QUEUE_SEQ)).toBe(q.end);
    }
    expect(this.set(fd, TCP_REPAIR_WINDOW, d.window)).toBe(0);
    return fd;
  }
}

describe("a connection that moves", () => {
  it.each([TCP_REPAIR_OFF, TCP_REPAIR_OFF_NO_WP])("goes on as if nothing had happened (ended by %i)", async (off) => {
    const pair = await Pair.create({ delay: "20ms" });
    const site = new Site(pair);
    const [old, peer] = await pair.connect();
    const { a, b, kernel } = pair;
    // To read: 5,000 bytes. On their way: 3,000.
    b.sys.send(peer, bytes(5000, 0), 5000, 0);
    await kernel.advance(100);
    a.sys.send(old, bytes(3000, 0), 3000, 0);

    const dump = site.dump(old);
    expect(dump.receive.data).toEqual(bytes(5000, 0));
    expect(dump.send.data).toEqual(bytes(3000, 0));
    const frames = pair.devA.stats.txPackets;
    const fd = site.restore(dump);
    // Nothing of all that was sent.
    expect(pair.devA.stats.txPackets).toBe(frames);
    expect(site.set(fd, TCP_REPAIR, off)).toBe(0);
    expect(pair.devA.stats.txPackets - frames).toBe(off === TCP_REPAIR_OFF ? 1 : 0);

    const got = new Uint8Array(BIG);
    expect(a.sys.recv(fd, got, BIG, 0)).toBe(5000);
    expect(got.subarray(0, 5000)).toEqual(bytes(5000, 0));
    a.sys.send(fd, bytes(2000, 3000), 2000, 0);
    b.sys.send(peer, bytes(100, 5000), 100, 0);
    await kernel.advance(2000);
    expect(b.sys.recv(peer, got, BIG, 0)).toBe(5000);
    expect(got.subarray(0, 5000)).toEqual(bytes(5000, 0));
    expect(a.sys.recv(fd, got, BIG, 0)).toBe(100);
    expect(got.subarray(0, 100)).toEqual(bytes(100, 5000));
    await pair.finish([a, fd], [b, peer]);
  });
});

it("what TCP_REPAIR refuses", async () => {
  const pair = await Pair.create();
  const site = new Site(pair);
  const fd = pair.a.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  // Only under repair.
  expect(site.set(fd, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE)).toBe(-EPERM);
  expect(site.set(fd, TCP_TIMESTAMP, 1)).toBe(-EPERM);
  expect(site.set(fd, TCP_REPAIR_OPTIONS, [])).toBe(-EINVAL);
  expect(site.set(fd, TCP_REPAIR, 7)).toBe(-EINVAL);
  expect(site.set(fd, TCP_REPAIR, TCP_REPAIR_ON)).toBe(0);
  expect(site.get(fd, TCP_REPAIR)).toBe(1);
  expect(site.set(fd, TCP_REPAIR_QUEUE, 3)).toBe(-EINVAL);
  expect(site.get(fd, TCP_REPAIR_QUEUE)).toBe(TCP_NO_QUEUE);
  // No queue is chosen.
  expect(site.set(fd, TCP_QUEUE_SEQ, 1)).toBe(-EINVAL);
  // Not connected.
  expect(site.set(fd, TCP_REPAIR_OPTIONS, [])).toBe(-EPERM);
  expect(pair.a.sys.recv(fd, new Uint8Array(1), 1, 0)).toBe(-EPERM);
  expect(pair.a.sys.connect(fd, { family: AF_INET, addr: 0x0a000002, port: 9 })).toBe(0);
  expect(site.set(fd, TCP_REPAIR_OPTIONS, [{ optCode: TCPOPT_WINDOW, optVal: 15 }])).toBe(-EFBIG);
  expect(site.set(fd, TCP_REPAIR_OPTIONS, [{ optCode: TCPOPT_TIMESTAMP, optVal: 1 }])).toBe(-EINVAL);
  expect(site.set(fd, TCP_REPAIR_WINDOW, { sndWl1: 0, sndWnd: 2, maxWindow: 1, rcvWnd: 0, rcvWup: 0 })).toBe(-EINVAL);
  expect(pair.a.sys.send(fd, new Uint8Array(1), 1, 0)).toBe(-EINVAL);
  await pair.finish([pair.a, fd]);
});
