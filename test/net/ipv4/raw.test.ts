/** Raw and ping sockets over the loopback device. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { poolFree } from "../../../src/mm/pool.ts";
import type { Net } from "../../../src/net/core/net_namespace.ts";
import type { SockAddr } from "../../../src/net/core/sock.ts";
import { Msghdr, socksInUse } from "../../../src/net/core/sock.ts";
import {
  sysBind,
  sysClose,
  sysConnect,
  sysGetsockname,
  sysIoctl,
  sysRecv,
  sysRecvfrom,
  sysRecvmsg,
  sysSend,
  sysSendto,
  sysSetsockopt,
  sysSocket,
} from "../../../src/net/socket.ts";
import { errnoName } from "../../../src/uapi/errno.ts";
import { ICMP_DEST_UNREACH, ICMP_ECHO, ICMP_ECHOREPLY, ICMP_FILTER } from "../../../src/uapi/icmp.ts";
import { IP_HDRINCL, IP_RECVERR, IPPROTO_ICMP, IPPROTO_RAW, IPPROTO_UDP } from "../../../src/uapi/in.ts";
import { AF_INET, MSG_ERRQUEUE, SOCK_DGRAM, SOCK_RAW, SOL_RAW } from "../../../src/uapi/socket.ts";
import { SIOCINQ } from "../../../src/uapi/sockios.ts";
import type { TestHost } from "../machine.ts";
import { testHost } from "../machine.ts";

const LO = 0x7f000001;
let h: TestHost;
let net: Net;
beforeEach(() => {
  h = testHost();
  ({ net } = h);
});
afterEach(() => {
  h.close();
  expect(socksInUse()).toBe(0);
  expect(poolFree()).toMatchObject({ skbs: 0, buffers: 0 });
});

const at = (port = 0, addr = LO): SockAddr => ({ family: AF_INET, addr, port });
const said = (ret: number): number | string => (ret < 0 ? errnoName(ret) : ret);
const raw = (protocol: number): number => sysSocket(net, AF_INET, SOCK_RAW, protocol);

/** The next packet, or the errno's name. */
function recv(fd: number, size = 2000): Uint8Array | string {
  const buf = new Uint8Array(size);
  const n = sysRecv(net, fd, buf, size, 0);
  return n < 0 ? errnoName(n) : buf.slice(0, n);
}
function packet(fd: number): Uint8Array {
  const got = recv(fd);
  if (typeof got === "string") throw new Error(got);
  return got;
}
/** RFC 1071. */
function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] as number) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
function echo(id: number, seq: number, text = "ping"): Uint8Array {
  const b = new Uint8Array(8 + text.length);
  b.set([ICMP_ECHO, 0, 0, 0, id >> 8, id & 255, seq >> 8, seq & 255]);
  b.set(new TextEncoder().encode(text), 8);
  const sum = checksum(b);
  b[2] = sum >> 8;
  b[3] = sum & 255;
  return b;
}

describe("raw sockets", () => {
  test("get whole packets of their protocol, send the rest of one", () => {
    const a = raw(200);
    const b = raw(200);
    expect(sysSendto(net, b, new Uint8Array([1, 2, 3]), 3, 0, at())).toBe(3);
    const buf = new Uint8Array(100);
    const from = at(7, 0);
    expect(sysRecvfrom(net, a, buf, 100, 0, from)).toBe(23);
    expect(from).toEqual(at(0));
    expect(buf[0]).toBe(0x45);
    expect(buf[9]).toBe(200);
    expect(checksum(buf.slice(0, 20))).toBe(0);
    expect([...buf.slice(20, 23)]).toEqual([1, 2, 3]);
    // The sender hears itself.
    expect(packet(b)).toHaveLength(23);
    expect(sysIoctl(net, b, SIOCINQ)).toBe(0);
  });

  test("nobody has the protocol: ICMP protocol unreachable", () => {
    const b = raw(201);
    sysSetsockopt(net, b, 0, IP_RECVERR, 1);
    // A raw socket of the protocol is somebody, so look from outside of it: bound elsewhere.
    expect(sysBind(net, b, at(0, 0x7f000007))).toBe(0);
    expect(sysSendto(net, b, new Uint8Array(8), 8, 0, at())).toBe(8);
    expect(recv(b)).toBe("ENOPROTOOPT");
    const msg = new Msghdr();
    msg.iov = [new Uint8Array(100)];
    msg.control = [];
    expect(sysRecvmsg(net, b, msg, MSG_ERRQUEUE)).toBe(8);
    expect(msg.control[0]?.data).toMatchObject({ eeErrno: 92, eeOrigin: 2, eeType: ICMP_DEST_UNREACH, eeCode: 2 });
  });

  test("bind and connect narrow what is heard", () => {
    const bound = raw(200);
    const connected = raw(200);
    expect(sysBind(net, bound, at(0, 0x7f000002))).toBe(0);
    expect(sysConnect(net, connected, at(0, 0x7f000003))).toBe(0);
    const b = raw(200);
    sysSendto(net, b, new Uint8Array(1), 1, 0, at());
    expect([recv(bound), recv(connected)]).toEqual(["EAGAIN", "EAGAIN"]);
    sysSendto(net, b, new Uint8Array(1), 1, 0, at(0, 0x7f000002));
    expect(packet(bound)).toHaveLength(21);
    expect(said(sysBind(net, b, at(0, 0x08080808)))).toBe("EADDRNOTAVAIL");
    expect(said(sysSend(net, b, new Uint8Array(1), 1, 0))).toBe("EDESTADDRREQ");
    expect(said(sysSendto(net, b, new Uint8Array(1), 1, 0, { ...at(), family: 10 }))).toBe("EAFNOSUPPORT");
  });

  test("a raw UDP socket sees what the UDP socket gets", () => {
    const sniff = raw(IPPROTO_UDP);
    const a = sysSocket(net, AF_INET, SOCK_DGRAM, 0);
    sysBind(net, a, at(1000));
    sysSendto(net, sysSocket(net, AF_INET, SOCK_DGRAM, 0), new Uint8Array([9]), 1, 0, at(1000));
    const p = packet(sniff);
    expect(p).toHaveLength(29);
    expect((p[22]! << 8) | p[23]!).toBe(1000);
    expect(packet(a)).toEqual(new Uint8Array([9]));
  });

  test("a full receive buffer", () => {
    const a = raw(200);
    const b = raw(201);
    sysSetsockopt(net, a, 1, 8, 2304); // SO_RCVBUF
    const c = raw(200);
    sysClose(net, c);
    const tx = raw(200);
    for (let i = 0; i < 20; i++) sysSendto(net, tx, new Uint8Array(10), 10, 0, at());
    let n = 0;
    while (typeof recv(a) !== "string") n++;
    expect(n).toBeGreaterThan(1);
    expect(n).toBeLessThan(10);
    expect(recv(b)).toBe("EAGAIN");
  });

  test("IP_HDRINCL: one's own header; what it leaves 0 is filled in", () => {
    const a = raw(200);
    const b = raw(IPPROTO_RAW);
    const p = new Uint8Array(24);
    p.set([0x45, 0x10, 0, 0, 0, 0, 0x40, 0, 33, 200, 0, 0, 0, 0, 0, 0, 127, 0, 0, 1, 1, 2, 3, 4]);
    expect(sysSendto(net, b, p, 24, 0, at())).toBe(24);
    const got = packet(a);
    expect(got).toHaveLength(24);
    expect(got[1]).toBe(0x10);
    expect((got[2]! << 8) | got[3]!).toBe(24);
    expect(got[8]).toBe(33);
    expect([...got.slice(12, 16)]).toEqual([127, 0, 0, 1]);
    expect(checksum(got.slice(0, 20))).toBe(0);
    // IPPROTO_RAW sends only.
    expect(recv(b)).toBe("EAGAIN");
    expect(said(sysSendto(net, b, p, 19, 0, at()))).toBe("EINVAL");
    p[0] = 0x4f;
    expect(said(sysSendto(net, b, p, 24, 0, at()))).toBe("EINVAL");
    const c = raw(200);
    expect(sysSetsockopt(net, c, 0, IP_HDRINCL, 1)).toBe(0);
    p[0] = 0x45;
    expect(sysSendto(net, c, p, 24, 0, at())).toBe(24);
    expect(packet(a)).toHaveLength(24);
  });

  test("ICMP: echo from a raw socket, ICMP_FILTER", () => {
    const a = raw(IPPROTO_ICMP);
    const filtered = raw(IPPROTO_ICMP);
    expect(sysSetsockopt(net, filtered, SOL_RAW, ICMP_FILTER, 1 << ICMP_ECHO)).toBe(0);
    expect(said(sysSetsockopt(net, raw(200), SOL_RAW, ICMP_FILTER, 1))).toBe("EOPNOTSUPP");
    const ping = echo(77, 1);
    expect(sysSendto(net, a, ping, ping.length, 0, at())).toBe(12);
    const types = (fd: number): number[] => {
      const out: number[] = [];
      for (let p = recv(fd); typeof p !== "string"; p = recv(fd)) out.push(p[20] as number);
      return out;
    };
    expect(types(a)).toEqual([ICMP_ECHO, ICMP_ECHOREPLY]);
    expect(types(filtered)).toEqual([ICMP_ECHOREPLY]);
  });
});

describe("ping sockets", () => {
  let fd: number;
  beforeEach(() => {
    net.sysctlTable.get("net.ipv4.ping_group_range")?.set("0 0");
    fd = sysSocket(net, AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
    expect(fd).toBeGreaterThan(2);
  });

  test("echo and reply; the identifier is the port", () => {
    const ping = echo(0, 5, "0123456");
    expect(sysSendto(net, fd, ping, ping.length, 0, at())).toBe(15);
    const name = at();
    sysGetsockname(net, fd, name);
    expect(name.port).toBeGreaterThan(0);
    const from = at(9, 0);
    const buf = new Uint8Array(100);
    expect(sysRecvfrom(net, fd, buf, 100, 0, from)).toBe(15);
    expect(from).toEqual(at(0));
    const reply = buf.slice(0, 15);
    expect(reply[0]).toBe(ICMP_ECHOREPLY);
    expect((reply[4]! << 8) | reply[5]!).toBe(name.port);
    expect(reply[7]).toBe(5);
    expect(checksum(reply)).toBe(0);
    expect(new TextDecoder().decode(reply.slice(8))).toBe("0123456");
    expect(recv(fd)).toBe("EAGAIN");
  });

  test("only replies to one's own identifier are heard", () => {
    const other = sysSocket(net, AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
    expect(sysBind(net, fd, at(4242))).toBe(0);
    // Ping sockets are born with SO_REUSEADDR.
    expect(sysSetsockopt(net, other, 1, 2, 0)).toBe(0);
    expect(said(sysBind(net, other, at(4242)))).toBe("EADDRINUSE");
    expect(sysBind(net, other, at(4243))).toBe(0);
    expect(said(sysBind(net, other, at(4244)))).toBe("EINVAL");
    sysConnect(net, fd, at());
    const ping = echo(0, 1);
    expect(sysSend(net, fd, ping, ping.length, 0)).toBe(12);
    expect(packet(fd)).toHaveLength(12);
    expect(recv(other)).toBe("EAGAIN");
  });

  test("a long one, in fragments", () => {
    (net.loopbackDev as { mtu: number }).mtu = 1500;
    const ping = echo(0, 1, "x".repeat(4001));
    expect(sysSendto(net, fd, ping, ping.length, 0, at())).toBe(4009);
    const buf = new Uint8Array(5000);
    expect(sysRecv(net, fd, buf, 5000, 0)).toBe(4009);
    expect(checksum(buf.slice(0, 4009))).toBe(0);
  });

  test("what is refused", () => {
    expect(said(sysSendto(net, fd, new Uint8Array(7), 7, 0, at()))).toBe("EINVAL");
    expect(said(sysSendto(net, fd, new Uint8Array(8), 8, 0, at()))).toBe("EINVAL"); // no echo request
    expect(said(sysSend(net, fd, echo(0, 1), 12, 0))).toBe("EDESTADDRREQ");
    expect(said(sysBind(net, fd, at(1, 0x08080808)))).toBe("EADDRNOTAVAIL");
    expect(said(sysSendto(net, fd, echo(0, 1), 12, 0, at(0, 0x08080808)))).toBe("ENETUNREACH");
  });
});
