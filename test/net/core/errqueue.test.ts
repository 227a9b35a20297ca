/** The error queue: what its entries cost, what comes with a stamp, and that nothing is left behind. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CAP_NET_RAW } from "../../../src/kernel/capability.ts";
import { poolFree } from "../../../src/mm/pool.ts";
import type { Net } from "../../../src/net/core/net_namespace.ts";
import type { Cmsg, SockAddr } from "../../../src/net/core/sock.ts";
import { ErrBox, Msghdr, socksInUse } from "../../../src/net/core/sock.ts";
import {
  sysAccept,
  sysBind,
  sysClose,
  sysConnect,
  sysGetsockname,
  sysGetsockopt,
  sysListen,
  sysRecv,
  sysRecvmsg,
  sysSend,
  sysSendmsg,
  sysSetsockopt,
  sysSocket,
} from "../../../src/net/socket.ts";
import { EAGAIN, ENOBUFS } from "../../../src/uapi/errno.ts";
import { IP_PKTINFO, IPPROTO_IP } from "../../../src/uapi/in.ts";
import {
  SCM_TSTAMP_ACK,
  SCM_TSTAMP_SCHED,
  SCM_TSTAMP_SND,
  SOF_TIMESTAMPING_OPT_CMSG,
  SOF_TIMESTAMPING_OPT_ID,
  SOF_TIMESTAMPING_OPT_STATS,
  SOF_TIMESTAMPING_OPT_TSONLY,
  SOF_TIMESTAMPING_SOFTWARE,
  SOF_TIMESTAMPING_TX_ACK,
  SOF_TIMESTAMPING_TX_SCHED,
  SOF_TIMESTAMPING_TX_SOFTWARE,
} from "../../../src/uapi/net_tstamp.ts";
import {
  AF_INET,
  MSG_ERRQUEUE,
  MSG_MORE,
  MSG_ZEROCOPY,
  SCM_TIMESTAMPING_OPT_STATS,
  SO_EE_CODE_ZEROCOPY_COPIED,
  SO_EE_ORIGIN_ZEROCOPY,
  SO_MARK,
  SO_MEMINFO,
  SO_PRIORITY,
  SO_RCVBUF,
  SO_RCVMARK,
  SO_TIMESTAMPING,
  SO_ZEROCOPY,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
  SOL_SOCKET,
} from "../../../src/uapi/socket.ts";
import {
  TCP_NLA_BYTES_NOTSENT,
  TCP_NLA_BYTES_SENT,
  TCP_NLA_CA_STATE,
  TCP_NLA_DELIVERED,
  TCP_NLA_PACING_RATE,
  TCP_NLA_SND_CWND,
  TCP_NLA_TIMEOUT_REHASH,
  TCP_NLA_TTL,
} from "../../../src/uapi/tcp.ts";
import type { TestHost } from "../machine.ts";
import { testHost } from "../machine.ts";

let h: TestHost;
let net: Net;
/** The two ends of a connection over the loopback device. */
let c: number;
let s: number;
const lo = (port: number): SockAddr => ({ family: AF_INET, addr: 0x7f000001, port });

beforeEach(() => {
  h = testHost();
  ({ net } = h);
  const l = sysSocket(net, AF_INET, SOCK_STREAM, 0);
  const addr = lo(0);
  sysBind(net, l, addr);
  sysGetsockname(net, l, addr);
  sysListen(net, l, 1);
  c = sysSocket(net, AF_INET, SOCK_STREAM, 0);
  sysConnect(net, c, addr);
  h.advance(1000);
  s = sysAccept(net, l, null);
  expect(s).toBeGreaterThan(0);
});
afterEach(() => {
  h.close();
  h.advance(300_000_000);
  expect(socksInUse()).toBe(0);
  expect(poolFree()).toMatchObject({ skbs: 0, buffers: 0 });
});

const opt = (fd: number, name: number, value: number): number => sysSetsockopt(net, fd, SOL_SOCKET, name, value);
const send = (fd: number, len: number, flags = 0): number => sysSend(net, fd, new Uint8Array(len), len, flags);

/** The oldest entry of the error queue: its IP_RECVERR, everything that came with it, and its bytes. */
function err(fd: number): { ee: Record<string, number>; control: Cmsg[]; bytes: Uint8Array } | number {
  const msg = new Msghdr();
  const buf = new Uint8Array(2000);
  msg.iov = [buf];
  msg.control = [];
  const n = sysRecvmsg(net, fd, msg, MSG_ERRQUEUE);
  if (n < 0) return n;
  const ee = msg.control.find((m) => m.level === IPPROTO_IP && m.type === 11)?.data as Record<string, number>;
  return { ee, control: msg.control, bytes: buf.subarray(0, n) };
}
const entry = (fd: number): Exclude<ReturnType<typeof err>, number> => {
  const e = err(fd);
  if (typeof e === "number") throw new Error(`the error queue says ${e}`);
  return e;
};
const meminfo = (fd: number): number[] => sysGetsockopt(net, fd, SOL_SOCKET, SO_MEMINFO, new ErrBox()) as number[];
const OPTMEM = 6;

describe("MSG_ZEROCOPY", () => {
  test("a notification is charged to the socket until it is read, and there is a limit", () => {
    net.core.sysctlOptmemMax = 1000;
    opt(c, SO_ZEROCOPY, 1);
    expect(send(c, 10, MSG_ZEROCOPY)).toBe(10);
    h.advance(50_000);
    expect(meminfo(c)[OPTMEM]).toBeGreaterThan(0);
    expect(send(c, 10, MSG_ZEROCOPY)).toBe(-ENOBUFS);
    expect(entry(c).ee).toMatchObject({ eeOrigin: SO_EE_ORIGIN_ZEROCOPY, eeInfo: 0, eeData: 0 });
    expect(meminfo(c)[OPTMEM]).toBe(0);
    // What was refused has no number.
    expect(send(c, 10, MSG_ZEROCOPY)).toBe(10);
    h.advance(50_000);
    expect(entry(c).ee).toMatchObject({ eeInfo: 1, eeData: 1, eeCode: SO_EE_CODE_ZEROCOPY_COPIED });
  });

  test("the sender hears when its bytes are acknowledged, not when they are read", () => {
    opt(c, SO_ZEROCOPY, 1);
    expect(send(c, 30_000, MSG_ZEROCOPY)).toBe(30_000);
    h.advance(100_000);
    expect(entry(c).ee).toMatchObject({ eeInfo: 0, eeData: 0 });
    const buf = new Uint8Array(40_000).fill(1);
    expect(sysRecv(net, s, buf, 40_000, 0)).toBe(30_000);
    expect(buf.subarray(0, 30_000).every((b) => b === 0)).toBe(true);
  });

  test("the bytes are those of the call", () => {
    opt(c, SO_ZEROCOPY, 1);
    const msg = new Msghdr();
    const all = Uint8Array.from({ length: 60_001 }, (_, i) => (i * 7) & 255);
    // Pieces that follow each other in memory, ones that do not, and one of nothing.
    msg.iov = [
      all.subarray(0, 5000),
      all.subarray(5000, 5001),
      all.slice(5001, 9000),
      new Uint8Array(0),
      all.slice(9000),
    ];
    expect(sysSendmsg(net, c, msg, MSG_ZEROCOPY)).toBe(60_001);
    h.advance(200_000);
    const buf = new Uint8Array(60_001);
    expect(sysRecv(net, s, buf, 60_001, 0)).toBe(60_001);
    expect(buf).toEqual(all);
  });

  test("close() before anything is acknowledged leaves nothing behind", () => {
    opt(c, SO_ZEROCOPY, 1);
    expect(send(c, 1000, MSG_ZEROCOPY | MSG_MORE)).toBe(1000);
    expect(sysClose(net, c)).toBe(0);
  });

  test("a datagram tells of all its sends at once", () => {
    const u = sysSocket(net, AF_INET, SOCK_DGRAM, 0);
    sysConnect(net, u, lo(9));
    opt(u, SO_ZEROCOPY, 1);
    expect(send(u, 10, MSG_ZEROCOPY | MSG_MORE)).toBe(10);
    expect(send(u, 10, MSG_ZEROCOPY | MSG_MORE)).toBe(10);
    expect(err(u)).toBe(-EAGAIN);
    expect(send(u, 10, MSG_ZEROCOPY)).toBe(10);
    h.advance(1000);
    expect(entry(u).ee).toMatchObject({ eeOrigin: SO_EE_ORIGIN_ZEROCOPY, eeInfo: 0, eeData: 2 });
    expect(err(u)).toBe(-EAGAIN);
  });
});

/** The netlink attributes of SCM_TIMESTAMPING_OPT_STATS by type; 8 bytes as a bigint. */
function attributes(bytes: Uint8Array): Map<number, number | bigint> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const out = new Map<number, number | bigint>();
  let at = 0;
  while (at < bytes.length) {
    const len = view.getUint16(at, true);
    const type = view.getUint16(at + 2, true);
    const width = len - 4;
    out.set(
      type,
      width === 8
        ? view.getBigUint64(at + 4, true)
        : width === 4
          ? view.getUint32(at + 4, true)
          : width === 2
            ? view.getUint16(at + 4, true)
            : view.getUint8(at + 4),
    );
    at += (len + 3) & ~3;
  }
  expect(at).toBe(bytes.length);
  return out;
}

describe("SO_TIMESTAMPING", () => {
  const ALL = SOF_TIMESTAMPING_TX_SCHED | SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_TX_ACK;

  test("OPT_STATS: what the connection looks like at each stamp", () => {
    const flags = ALL | SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_ID;
    opt(c, SO_TIMESTAMPING, flags | SOF_TIMESTAMPING_OPT_TSONLY | SOF_TIMESTAMPING_OPT_STATS);
    send(c, 100);
    h.advance(50_000);
    const seen = [entry(c), entry(c), entry(c)].map(({ ee, control, bytes }) => {
      const stats = control.find((m) => m.level === SOL_SOCKET && m.type === SCM_TIMESTAMPING_OPT_STATS);
      expect(bytes).toEqual(stats?.data);
      return { info: ee["eeInfo"], attrs: attributes(stats?.data as Uint8Array) };
    });
    expect(seen.map((e) => e.info)).toEqual([SCM_TSTAMP_SCHED, SCM_TSTAMP_SND, SCM_TSTAMP_ACK]);
    const [sched, , ack] = seen as [(typeof seen)[0], unknown, (typeof seen)[0]];
    expect(ack.attrs.get(TCP_NLA_SND_CWND)).toBeGreaterThanOrEqual(10);
    expect(ack.attrs.get(TCP_NLA_BYTES_SENT)).toBe(100n);
    expect(ack.attrs.get(TCP_NLA_BYTES_NOTSENT)).toBe(0);
    expect(ack.attrs.get(TCP_NLA_CA_STATE)).toBe(0);
    expect(ack.attrs.get(TCP_NLA_TIMEOUT_REHASH)).toBe(0);
    expect(ack.attrs.get(TCP_NLA_PACING_RATE)).toBeGreaterThan(0n);
    expect(ack.attrs.get(TCP_NLA_DELIVERED)).toBeGreaterThan(sched.attrs.get(TCP_NLA_DELIVERED) as number);
    // Only an acknowledgment has come from somewhere.
    expect(ack.attrs.get(TCP_NLA_TTL)).toBe(64);
    expect(sched.attrs.has(TCP_NLA_TTL)).toBe(false);
  });

  test("OPT_CMSG: IP_PKTINFO says by which device the packet left", () => {
    sysSetsockopt(net, c, IPPROTO_IP, IP_PKTINFO, 1);
    const flags = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
    opt(c, SO_TIMESTAMPING, flags);
    send(c, 100);
    h.advance(50_000);
    expect(entry(c).control.some((m) => m.type === IP_PKTINFO && m.level === IPPROTO_IP)).toBe(false);
    opt(c, SO_TIMESTAMPING, flags | SOF_TIMESTAMPING_OPT_CMSG);
    send(c, 100);
    h.advance(50_000);
    const info = entry(c).control.find((m) => m.type === IP_PKTINFO && m.level === IPPROTO_IP);
    expect(info?.data).toMatchObject({ ipiIfindex: 1, ipiSpecDst: 0x7f000001 });
  });

  test("packets are given back to those only who may see them anyway", () => {
    net.core.sysctlTstampAllowData = 0;
    const flags = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
    opt(c, SO_TIMESTAMPING, flags);
    send(c, 100);
    h.advance(50_000);
    expect(entry(c).bytes.length).toBeGreaterThan(100);
    net.capsDropped.add(CAP_NET_RAW);
    send(c, 100);
    h.advance(50_000);
    expect(err(c)).toBe(-EAGAIN);
    opt(c, SO_TIMESTAMPING, flags | SOF_TIMESTAMPING_OPT_TSONLY);
    send(c, 100);
    h.advance(50_000);
    expect(entry(c).bytes.length).toBe(0);
    net.capsDropped.clear();
  });

  test("stamps that the receive buffer has no room for are lost", () => {
    opt(c, SO_TIMESTAMPING, SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY);
    opt(c, SO_RCVBUF, 1);
    for (let i = 0; i < 20; i++) {
      send(c, 10);
      h.advance(50_000);
    }
    let n = 0;
    while (typeof err(c) !== "number") n++;
    expect(n).toBeGreaterThan(0);
    expect(n).toBeLessThan(20);
  });

  test("a raw socket's packets are stamped, and a send may ask for itself", () => {
    const r = sysSocket(net, AF_INET, SOCK_RAW, 253);
    sysConnect(net, r, lo(0));
    opt(r, SO_TIMESTAMPING, SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_ID | SOF_TIMESTAMPING_OPT_TSONLY);
    send(r, 10);
    const msg = new Msghdr();
    msg.iov = [new Uint8Array(10)];
    msg.control = [{ level: SOL_SOCKET, type: SO_TIMESTAMPING, data: SOF_TIMESTAMPING_TX_SOFTWARE }];
    expect(sysSendmsg(net, r, msg, 0)).toBe(10);
    h.advance(1000);
    expect(entry(r).ee).toMatchObject({ eeInfo: SCM_TSTAMP_SND, eeData: 0 });
    expect(err(r)).toBe(-EAGAIN);
  });
});

describe("control messages of a send", () => {
  test.each([
    ["udp", SOCK_DGRAM, 0],
    ["raw", SOCK_RAW, 253],
  ] as const)("%s: SO_MARK and SO_PRIORITY are this packet's", (_, type, protocol) => {
    const u = sysSocket(net, AF_INET, type, protocol);
    const addr = lo(7000);
    sysBind(net, u, addr);
    sysConnect(net, u, addr);
    opt(u, SO_RCVMARK, 1);
    const msg = new Msghdr();
    msg.iov = [new Uint8Array(10)];
    msg.control = [
      { level: SOL_SOCKET, type: SO_MARK, data: 77 },
      { level: SOL_SOCKET, type: SO_PRIORITY, data: 3 },
    ];
    expect(sysSendmsg(net, u, msg, 0)).toBe(10);
    send(u, 10);
    h.advance(1000);
    const marks = [0, 1].map(() => {
      const got = new Msghdr();
      got.iov = [new Uint8Array(100)];
      got.control = [];
      expect(sysRecvmsg(net, u, got, 0)).toBeGreaterThan(0);
      return got.control.find((m) => m.type === SO_MARK)?.data;
    });
    expect(marks).toEqual([77, 0]);
  });
});
