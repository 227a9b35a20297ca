/** The IP layer under real sockets: three hosts in a row, a - r - b, driven by system calls. */

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { SkbuffKernel } from "../../../src/init/create.ts";
import { createKernel } from "../../../src/init/create.ts";
import type { Host } from "../../../src/init/host.ts";
import type { SockExtendedErr } from "../../../src/net/core/errqueue.ts";
import type { Cmsg, SockAddr } from "../../../src/net/core/sock.ts";
import { ErrBox, Msghdr } from "../../../src/net/core/sock.ts";
import type { InPktinfo } from "../../../src/net/ipv4/ip_sockglue.ts";
import {
  EADDRNOTAVAIL,
  EAGAIN,
  ECONNREFUSED,
  EHOSTUNREACH,
  EINVAL,
  EMSGSIZE,
  ENOPROTOOPT,
  ENOTCONN,
  EPERM,
} from "../../../src/uapi/errno.ts";
import {
  IP_ADD_MEMBERSHIP,
  IP_BIND_ADDRESS_NO_PORT,
  IP_DROP_MEMBERSHIP,
  IP_FREEBIND,
  IP_HDRINCL,
  IP_LOCAL_PORT_RANGE,
  IP_MINTTL,
  IP_MTU,
  IP_MTU_DISCOVER,
  IP_MULTICAST_IF,
  IP_MULTICAST_LOOP,
  IP_MULTICAST_TTL,
  IP_OPTIONS,
  IP_PKTINFO,
  IP_PMTUDISC_DO,
  IP_PMTUDISC_DONT,
  IP_PMTUDISC_PROBE,
  IP_PMTUDISC_WANT,
  IP_PROTOCOL,
  IP_RECVERR,
  IP_RECVFRAGSIZE,
  IP_RECVOPTS,
  IP_RECVTOS,
  IP_RECVTTL,
  IP_TOS,
  IP_TRANSPARENT,
  IP_TTL,
  IPPROTO_ICMP,
  IPPROTO_IP,
} from "../../../src/uapi/in.ts";
import { IP_DF, IP_MF } from "../../../src/uapi/ip.ts";
import {
  IPSTATS_MIB_FRAGCREATES,
  IPSTATS_MIB_FRAGOKS,
  IPSTATS_MIB_OUTNOROUTES,
  IPSTATS_MIB_REASMOKS,
} from "../../../src/uapi/linux_mib.ts";
import {
  AF_INET,
  MSG_ERRQUEUE,
  MSG_MORE,
  SO_BROADCAST,
  SO_EE_ORIGIN_ICMP,
  SO_EE_ORIGIN_LOCAL,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOCK_STREAM,
  SOL_SOCKET,
} from "../../../src/uapi/socket.ts";
import { pattern } from "./fake.ts";

const A = 0x0a000001; // a, on 10.0.0.0/24
const RA = 0x0a000002; // r's side of it
const RB = 0x0a000102; // r's side of 10.0.1.0/24
const B = 0x0a000101; // b
const ROUTER_MTU = 1500;

let kernel: SkbuffKernel;
let a: Host;
let r: Host;
let b: Host;

beforeEach(async () => {
  kernel = await createKernel({ clock: "virtual", autoAdvance: false, seed: 1 });
  a = kernel.netns("a");
  r = kernel.netns("r");
  b = kernel.netns("b");
  kernel.link(a, r, { subnet: "10.0.0.0/24", mtu: ROUTER_MTU });
  kernel.link(b, r, { subnet: "10.0.1.0/24", mtu: ROUTER_MTU });
  a.ip("route add default via 10.0.0.2");
  b.ip("route add default via 10.0.1.2");
  r.sysctl("net.ipv4.ip_forward=1");
});
afterEach(() => {
  kernel.close();
});

function udp(host: Host, port = 0, addr = 0): number {
  const fd = host.sys.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  expect(fd).toBeGreaterThanOrEqual(0);
  if (port !== 0) expect(host.sys.bind(fd, { family: AF_INET, addr, port })).toBe(0);
  return fd;
}

function sendto(host: Host, fd: number, data: Uint8Array, addr: number, port: number, flags = 0): number {
  return host.sys.sendto(fd, data, data.length, flags, { family: AF_INET, addr, port });
}

interface Got {
  n: number;
  data: Uint8Array;
  from: SockAddr;
  control: Cmsg[];
  flags: number;
}

function recv(host: Host, fd: number, flags = 0): Got {
  const msg = new Msghdr();
  const buf = new Uint8Array(70000);
  msg.iov = [buf];
  msg.name = { family: 0, addr: 0, port: 0 };
  msg.control = [];
  const n = host.sys.recvmsg(fd, msg, flags);
  return { n, data: buf.slice(0, Math.max(0, n)), from: msg.name, control: msg.control, flags: msg.flags };
}

function opt(host: Host, fd: number, name: number, value: number | Uint8Array | object): number {
  return host.sys.setsockopt(fd, IPPROTO_IP, name, value);
}
function getopt(host: Host, fd: number, name: number): unknown {
  const err = new ErrBox();
  const v = host.sys.getsockopt(fd, IPPROTO_IP, name, err);
  return err.value < 0 ? err.value : v;
}

/** Packets that a host sees at a hook: [protocol, length, flags and offset]. */
function watch(
  host: Host,
  hook: "postrouting" | "prerouting" | "forward",
): { protocol: number; length: number; frag: number; ttl: number; tos: number }[] {
  const seen: { protocol: number; length: number; frag: number; ttl: number; tos: number }[] = [];
  host.ns.nf.add({
    hook,
    fn: (p) => void seen.push({ protocol: p.protocol, length: p.length, frag: p.fragOff, ttl: p.ttl, tos: p.tos }),
  });
  return seen;
}

describe("ping", () => {
  it("through a router, and traceroute by IP_TTL and IP_RECVERR", async () => {
    const fd = a.sys.socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_ICMP);
    expect(fd).toBeGreaterThanOrEqual(0);
    const req = new Uint8Array(64);
    req.set([8, 0, 0xf7, 0xfd, 0, 1, 0, 1]);
    expect(sendto(a, fd, req, B, 0)).toBe(64);
    await kernel.advance(10);
    const { n, data, from } = recv(a, fd);
    expect([n, from.addr, data[8], data[20]]).toEqual([84, B, 63, 0]);

    const probe = udp(a);
    expect(opt(a, probe, IP_RECVERR, 1)).toBe(0);
    const hops: (number | undefined)[] = [];
    for (let ttl = 1; ttl <= 2; ttl++) {
      expect(opt(a, probe, IP_TTL, ttl)).toBe(0);
      expect(sendto(a, probe, pattern(12), B, 33434)).toBe(12);
      await kernel.advance(10);
      const got = recv(a, probe, MSG_ERRQUEUE);
      expect(got.data).toEqual(pattern(12));
      expect(got.from).toMatchObject({ addr: B, port: 33434 });
      expect(got.flags & MSG_ERRQUEUE).toBe(MSG_ERRQUEUE);
      const ee = got.control.find((c) => c.type === IP_RECVERR)?.data as SockExtendedErr;
      expect(ee.eeOrigin).toBe(SO_EE_ORIGIN_ICMP);
      hops.push(ee.offender, ee.eeType, ee.eeCode, ee.eeErrno);
    }
    expect(hops).toEqual([RA, 11, 0, EHOSTUNREACH, B, 3, 3, ECONNREFUSED]);
    expect(recv(a, probe, MSG_ERRQUEUE).n).toBe(-EAGAIN);
  });
});

describe("datagrams longer than the path", () => {
  it.each([1472, 1473, 2960, 8000, 40000, 65507])("%i bytes arrive whole", async (n) => {
    const rx = udp(b, 5000);
    const tx = udp(a);
    const data = pattern(n);
    expect(sendto(a, tx, data, B, 5000)).toBe(n);
    await kernel.advance(10);
    const got = recv(b, rx);
    expect(got.n).toBe(n);
    expect(got.data).toEqual(data);
    const frags = Math.ceil((n + 8) / 1480);
    expect(a.ns.mib.ip[IPSTATS_MIB_FRAGCREATES]).toBe(frags > 1 ? frags : 0);
    expect(a.ns.mib.ip[IPSTATS_MIB_FRAGOKS]).toBe(frags > 1 ? 1 : 0);
    expect(b.ns.mib.ip[IPSTATS_MIB_REASMOKS]).toBe(frags > 1 ? 1 : 0);
  });

  it("one byte too many is -EMSGSIZE", () => {
    expect(sendto(a, udp(a), new Uint8Array(65508), B, 5000)).toBe(-EMSGSIZE);
  });

  it("corked pieces make one datagram", async () => {
    const rx = udp(b, 5000);
    const tx = udp(a);
    const data = pattern(6000);
    const cuts = [0, 3, 1001, 1480, 1490, 5000, 6000];
    for (let i = 0; i + 1 < cuts.length; i++) {
      const piece = data.slice(cuts[i], cuts[i + 1]);
      expect(sendto(a, tx, piece, B, 5000, i + 2 < cuts.length ? MSG_MORE : 0)).toBe(piece.length);
    }
    await kernel.advance(10);
    expect(recv(b, rx).data).toEqual(data);
  });

  it("IP_RECVFRAGSIZE tells how large the fragments were", async () => {
    const rx = udp(b, 5000);
    expect(opt(b, rx, IP_RECVFRAGSIZE, 1)).toBe(0);
    sendto(a, udp(a), pattern(4000), B, 5000);
    await kernel.advance(10);
    expect(recv(b, rx).control).toEqual([{ level: IPPROTO_IP, type: IP_RECVFRAGSIZE, data: 1500 }]);
  });
});

describe("path MTU discovery (RFC 1191)", () => {
  beforeEach(() => {
    r.ip("link set eth1 mtu 1280");
  });

  it("a datagram with DF is refused by the router, and the next ones fit", async () => {
    const rx = udp(b, 5000);
    const tx = udp(a);
    expect(a.sys.connect(tx, { family: AF_INET, addr: B, port: 5000 })).toBe(0);
    expect(opt(a, tx, IP_RECVERR, 1)).toBe(0);
    expect(opt(a, tx, IP_MTU_DISCOVER, IP_PMTUDISC_DO)).toBe(0);
    expect(getopt(a, tx, IP_MTU)).toBe(1500);
    expect(a.sys.send(tx, pattern(1400), 1400, 0)).toBe(1400);
    await kernel.advance(10);
    expect(recv(b, rx).n).toBe(-EAGAIN);
    const got = recv(a, tx, MSG_ERRQUEUE);
    expect(got.control.find((c) => c.type === IP_RECVERR)?.data).toMatchObject({
      eeErrno: EMSGSIZE,
      eeInfo: 1280,
      offender: RA,
    });
    expect(getopt(a, tx, IP_MTU)).toBe(1280);

    // This host knows now: it refuses itself, and says so.
    expect(a.sys.send(tx, pattern(1400), 1400, 0)).toBe(-EMSGSIZE);
    const own = recv(a, tx, MSG_ERRQUEUE);
    expect(own.control.find((c) => c.type === IP_RECVERR)?.data).toMatchObject({
      eeErrno: EMSGSIZE,
      eeOrigin: SO_EE_ORIGIN_LOCAL,
      eeInfo: 1280,
    });
    expect(own.from).toMatchObject({ addr: B, port: 5000 });
    expect(a.sys.send(tx, pattern(1252), 1252, 0)).toBe(1252);
    await kernel.advance(10);
    expect(recv(b, rx).n).toBe(1252);
  });

  it("WANT sends DF while it fits, and fragments after", async () => {
    const rx = udp(b, 5000);
    const tx = udp(a);
    const seen = watch(a, "postrouting");
    sendto(a, tx, pattern(1400), B, 5000);
    await kernel.advance(10);
    expect(recv(b, rx).n).toBe(-EAGAIN);
    sendto(a, tx, pattern(1400), B, 5000);
    await kernel.advance(10);
    expect(recv(b, rx).data).toEqual(pattern(1400));
    expect(seen.map((p) => [p.length, p.frag])).toEqual([
      [1428, IP_DF],
      [1428, 0],
    ]);
  });

  it("DONT lets the router fragment", async () => {
    const rx = udp(b, 5000);
    const tx = udp(a);
    expect(opt(a, tx, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)).toBe(0);
    const seen = watch(b, "prerouting");
    sendto(a, tx, pattern(1400), B, 5000);
    await kernel.advance(10);
    expect(recv(b, rx).data).toEqual(pattern(1400));
    expect(seen.map((p) => [p.length, p.frag & IP_MF])).toEqual([
      [1276, IP_MF],
      [172, 0],
    ]);
  });

  it("PROBE ignores what was learnt", async () => {
    const tx = udp(a);
    a.sys.connect(tx, { family: AF_INET, addr: B, port: 5000 });
    opt(a, tx, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
    expect(a.sys.send(tx, pattern(1400), 1400, 0)).toBe(1400);
    await kernel.advance(10);
    // The ICMP message is an error of the connected socket; it is reported once, and doesn't stop the next one.
    expect(a.sys.send(tx, pattern(1400), 1400, 0)).toBe(-EMSGSIZE);
    expect(a.sys.send(tx, pattern(1400), 1400, 0)).toBe(1400);
  });

  it("TCP gets through", async () => {
    const l = b.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    b.sys.bind(l, { family: AF_INET, addr: 0, port: 80 });
    b.sys.listen(l, 1);
    const c = a.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    a.sys.connect(c, { family: AF_INET, addr: B, port: 80 });
    await kernel.advance(10);
    const s = b.sys.accept4(l, null, SOCK_NONBLOCK);
    expect(s).toBeGreaterThanOrEqual(0);
    const data = pattern(30000);
    expect(a.sys.send(c, data, data.length, 0)).toBeGreaterThan(0);
    await kernel.advance(3000);
    const buf = new Uint8Array(60000);
    expect(b.sys.recv(s, buf, buf.length, 0)).toBe(30000);
    expect(buf.slice(0, 30000)).toEqual(data);
    expect(getopt(a, c, IP_MTU)).toBe(1280);
  });
});

describe("control messages", () => {
  it("IP_PKTINFO, IP_RECVTTL, IP_RECVTOS, IP_RECVOPTS tell; IP_TTL, IP_TOS, IP_PKTINFO ask", async () => {
    const rx = udp(b, 5000);
    for (const o of [IP_PKTINFO, IP_RECVTTL, IP_RECVTOS, IP_RECVOPTS]) expect(opt(b, rx, o, 1)).toBe(0);
    const tx = udp(a);
    expect(opt(a, tx, IP_OPTIONS, Uint8Array.of(0x94, 4, 0, 0))).toBe(0);
    a.ip("addr add 10.0.0.77/24 dev eth0");
    const msg = new Msghdr();
    msg.iov = [pattern(5)];
    msg.name = { family: AF_INET, addr: B, port: 5000 };
    msg.control = [
      { level: IPPROTO_IP, type: IP_TTL, data: 9 },
      { level: IPPROTO_IP, type: IP_TOS, data: 0x28 },
      { level: IPPROTO_IP, type: IP_PKTINFO, data: { ipiIfindex: 0, ipiSpecDst: 0x0a00004d, ipiAddr: 0 } },
    ];
    expect(a.sys.sendmsg(tx, msg, 0)).toBe(5);
    await kernel.advance(10);
    const got = recv(b, rx);
    expect(got.from.addr).toBe(0x0a00004d);
    const eth0 = b.ns.devByName.get("eth0");
    const info: InPktinfo = { ipiIfindex: eth0?.ifindex as number, ipiSpecDst: B, ipiAddr: B };
    expect(got.control).toEqual([
      { level: IPPROTO_IP, type: IP_PKTINFO, data: info },
      { level: IPPROTO_IP, type: IP_TTL, data: 8 },
      { level: IPPROTO_IP, type: IP_TOS, data: 0x28 },
      { level: IPPROTO_IP, type: IP_RECVOPTS, data: Uint8Array.of(0x94, 4, 0, 0) },
    ]);
  });

  it.each<[number, unknown]>([
    [IP_TTL, 0],
    [IP_TTL, 256],
    [IP_TOS, 256],
    [IP_TOS, -1],
    [IP_PROTOCOL, 0],
    [IP_PKTINFO, 7],
    [IP_MTU, 1500],
  ])("%i: %j is -EINVAL", (type, data) => {
    const msg = new Msghdr();
    msg.iov = [pattern(5)];
    msg.name = { family: AF_INET, addr: B, port: 5000 };
    msg.control = [{ level: IPPROTO_IP, type, data }];
    expect(a.sys.sendmsg(udp(a), msg, 0)).toBe(-EINVAL);
  });
});

describe("options", () => {
  it.each<[string, number, number | Uint8Array, number | [number | Uint8Array]]>([
    ["IP_TTL", IP_TTL, 7, [7]],
    ["IP_TTL default", IP_TTL, -1, [64]],
    ["IP_TTL 0", IP_TTL, 0, -EINVAL],
    ["IP_TTL 256", IP_TTL, 256, -EINVAL],
    ["IP_TTL as a byte", IP_TTL, Uint8Array.of(9), [9]],
    ["IP_TTL as bytes", IP_TTL, Uint8Array.of(10, 0, 0, 0), [10]],
    ["IP_TTL of nothing", IP_TTL, new Uint8Array(0), -EINVAL],
    ["IP_TOS", IP_TOS, 0x2b, [0x2b]],
    ["IP_MINTTL", IP_MINTTL, 255, [255]],
    ["IP_MINTTL 256", IP_MINTTL, 256, -EINVAL],
    ["IP_MTU_DISCOVER", IP_MTU_DISCOVER, 5, [5]],
    ["IP_MTU_DISCOVER 6", IP_MTU_DISCOVER, 6, -EINVAL],
    ["IP_RECVERR", IP_RECVERR, 1, [1]],
    ["IP_FREEBIND", IP_FREEBIND, 1, [1]],
    ["IP_TRANSPARENT", IP_TRANSPARENT, 1, [1]],
    ["IP_BIND_ADDRESS_NO_PORT", IP_BIND_ADDRESS_NO_PORT, 1, [1]],
    ["IP_HDRINCL", IP_HDRINCL, 1, -ENOPROTOOPT],
    ["IP_MULTICAST_TTL", IP_MULTICAST_TTL, -1, [1]],
    ["IP_MULTICAST_TTL 256", IP_MULTICAST_TTL, 256, -EINVAL],
    ["IP_MULTICAST_LOOP", IP_MULTICAST_LOOP, 0, [0]],
    ["IP_LOCAL_PORT_RANGE", IP_LOCAL_PORT_RANGE, 1000 | (2000 << 16), [1000 | (2000 << 16)]],
    ["IP_LOCAL_PORT_RANGE backwards", IP_LOCAL_PORT_RANGE, 2000 | (1000 << 16), -EINVAL],
    ["IP_OPTIONS", IP_OPTIONS, Uint8Array.of(7, 7, 4, 0, 0, 0, 0, 0), [Uint8Array.of(7, 7, 4, 0, 0, 0, 0, 0)]],
    ["IP_OPTIONS none", IP_OPTIONS, new Uint8Array(0), [new Uint8Array(0)]],
    ["IP_OPTIONS too long", IP_OPTIONS, new Uint8Array(41), -EINVAL],
    ["an option that there isn't", 200, 1, -ENOPROTOOPT],
  ])("%s", (_what, name, value, want) => {
    const fd = udp(a);
    if (typeof want === "number") expect(opt(a, fd, name, value)).toBe(want);
    else {
      expect(opt(a, fd, name, value)).toBe(0);
      expect(getopt(a, fd, name)).toEqual(want[0]);
    }
  });

  it("IP_MTU of an unconnected socket is -ENOTCONN; IP_MTU_DISCOVER begins as ip_no_pmtu_disc says", () => {
    expect(getopt(a, udp(a), IP_MTU)).toBe(-ENOTCONN);
    expect(getopt(a, udp(a), IP_MTU_DISCOVER)).toBe(IP_PMTUDISC_WANT);
    a.sysctl("net.ipv4.ip_no_pmtu_disc=1");
    expect(getopt(a, udp(a), IP_MTU_DISCOVER)).toBe(IP_PMTUDISC_DONT);
  });

  it("a stream's ECN bits are TCP's", () => {
    const fd = a.sys.socket(AF_INET, SOCK_STREAM, 0);
    expect(opt(a, fd, IP_TOS, 0x2b)).toBe(0);
    expect(getopt(a, fd, IP_TOS)).toBe(0x28);
  });

  it("IP_TTL and IP_TOS are on the wire", async () => {
    const seen = watch(a, "postrouting");
    const fd = udp(a);
    opt(a, fd, IP_TTL, 5);
    opt(a, fd, IP_TOS, 0x10);
    sendto(a, fd, pattern(3), B, 9);
    await kernel.advance(10);
    expect(seen[0]).toMatchObject({ ttl: 5, tos: 0x10 });
  });

  it("a record route option is filled in on the way, by each host", async () => {
    const rx = udp(b, 5000);
    opt(b, rx, IP_RECVOPTS, 1);
    const tx = udp(a);
    opt(a, tx, IP_OPTIONS, Uint8Array.of(7, 15, 4, ...new Array(12).fill(0), 0));
    expect(sendto(a, tx, pattern(3), B, 5000)).toBe(3);
    await kernel.advance(10);
    const addr = (x: number): number[] => [x >>> 24, (x >>> 16) & 255, (x >>> 8) & 255, x & 255];
    const got = recv(b, rx);
    expect(got.n).toBe(3);
    expect(got.control[0]?.data).toEqual(Uint8Array.of(7, 15, 16, ...addr(A), ...addr(RB), ...addr(B), 0));
  });
});

describe("no way", () => {
  it("no route", () => {
    a.ip("route del default");
    expect(sendto(a, udp(a), pattern(1), 0x08080808, 53)).toBe(-101);
    expect(a.ns.mib.ip[IPSTATS_MIB_OUTNOROUTES]).toBe(1);
  });

  it("a refused port, to a connected socket", async () => {
    const fd = udp(a);
    a.sys.connect(fd, { family: AF_INET, addr: B, port: 9 });
    a.sys.send(fd, pattern(1), 1, 0);
    await kernel.advance(10);
    expect(a.sys.send(fd, pattern(1), 1, 0)).toBe(-ECONNREFUSED);
  });

  it("an output hook's drop is the sender's -EPERM", () => {
    a.ns.nf.add({ hook: "output", fn: (p) => (p.dport === 53 ? "drop" : "accept") });
    expect(sendto(a, udp(a), pattern(1), B, 53)).toBe(-EPERM);
    expect(sendto(a, udp(a), pattern(1), B, 54)).toBe(1);
  });

  it("a packet that waits in a queue goes on when it may", async () => {
    const rx = udp(b, 5000);
    a.ns.nf.add({ hook: "output", fn: () => ({ queue: 1 }) });
    const waiting: { accept(): number }[] = [];
    a.ns.nf.queue(1, (p) => waiting.push(p));
    expect(sendto(a, udp(a), pattern(4), B, 5000)).toBe(4);
    await kernel.advance(10);
    expect(recv(b, rx).n).toBe(-EAGAIN);
    expect(waiting[0]?.accept()).toBe(0);
    await kernel.advance(10);
    expect(recv(b, rx).data).toEqual(pattern(4));
  });
});

describe("packets that change at the output hook", () => {
  beforeEach(() => {
    // Whatever is marked goes out by another door.
    kernel.link(a, r, { subnet: "10.0.9.0/24" });
    a.ip("route add default via 10.0.9.2 table 7");
    a.ip("rule add fwmark 7 table 7");
  });

  it.each(["filter", "route"] as const)("a mark, type %s", async (type) => {
    const out: (string | undefined)[] = [];
    a.ns.nf.add({ hook: "output", type, fn: (p) => void (p.mark = p.dport === 53 ? 7 : 0) });
    a.ns.nf.add({ hook: "postrouting", fn: (p) => void out.push(p.out?.name) });
    const fd = udp(a);
    sendto(a, fd, pattern(1), B, 53);
    sendto(a, fd, pattern(1), B, 54);
    await kernel.advance(10);
    expect(out).toEqual(type === "route" ? ["eth1", "eth0"] : ["eth0", "eth0"]);
  });

  it("a mark that a queue sets", async () => {
    const out: (string | undefined)[] = [];
    a.ns.nf.add({ hook: "output", fn: () => ({ queue: 1 }) });
    a.ns.nf.queue(1, (p) => void p.accept({ mark: 7 }));
    a.ns.nf.add({ hook: "postrouting", fn: (p) => void out.push(p.out?.name) });
    sendto(a, udp(a), pattern(1), B, 53);
    await kernel.advance(10);
    expect(out).toEqual(["eth1"]);
  });
});

describe("groups", () => {
  const GROUP = 0xe1020304;

  it("a member hears the group, and the sender too if it is one and IP_MULTICAST_LOOP is on", async () => {
    const rx = udp(r, 5000);
    const own = udp(a, 5000);
    const tx = udp(a);
    expect(opt(r, rx, IP_ADD_MEMBERSHIP, { multiaddr: GROUP, address: RA })).toBe(0);
    expect(opt(a, own, IP_ADD_MEMBERSHIP, { multiaddr: GROUP, address: A })).toBe(0);
    expect(opt(a, tx, IP_MULTICAST_IF, A)).toBe(0);
    expect(sendto(a, tx, pattern(3), GROUP, 5000)).toBe(3);
    await kernel.advance(10);
    expect([recv(r, rx).n, recv(a, own).n]).toEqual([3, 3]);
    opt(a, tx, IP_MULTICAST_LOOP, 0);
    sendto(a, tx, pattern(4), GROUP, 5000);
    await kernel.advance(10);
    expect([recv(r, rx).n, recv(a, own).n]).toEqual([4, -EAGAIN]);
    // ttl 0 stays at home.
    opt(a, tx, IP_MULTICAST_LOOP, 1);
    opt(a, tx, IP_MULTICAST_TTL, 0);
    sendto(a, tx, pattern(5), GROUP, 5000);
    await kernel.advance(10);
    expect([recv(r, rx).n, recv(a, own).n]).toEqual([-EAGAIN, 5]);
    expect(opt(r, rx, IP_DROP_MEMBERSHIP, { multiaddr: GROUP, address: RA })).toBe(0);
    expect(opt(r, rx, IP_DROP_MEMBERSHIP, { multiaddr: GROUP, address: RA })).toBe(-EADDRNOTAVAIL);
  });

  it("broadcasts reach everybody on the link, the sender included", async () => {
    const rx = udp(r, 5000);
    const own = udp(a, 5000);
    const tx = udp(a);
    expect(a.sys.setsockopt(tx, SOL_SOCKET, SO_BROADCAST, 1)).toBe(0);
    expect(sendto(a, tx, pattern(3), 0x0a0000ff, 5000)).toBe(3);
    await kernel.advance(10);
    expect([recv(r, rx).n, recv(a, own).n]).toEqual([3, 3]);
  });
});
