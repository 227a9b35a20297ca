/** UDP over the loopback device. Expected answers are those that Linux 6.18 gives to the same calls. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { poolFree } from "../../../src/mm/pool.ts";
import type { NetDevice } from "../../../src/net/core/dev.ts";
import { devGetByName, devSetFeature, NETIF_F_HW_CSUM } from "../../../src/net/core/dev.ts";
import type { Net } from "../../../src/net/core/net_namespace.ts";
import type { Cmsg, SockAddr } from "../../../src/net/core/sock.ts";
import { ErrBox, Msghdr, socksInUse } from "../../../src/net/core/sock.ts";
import { UdpTable } from "../../../src/net/ipv4/udp.lookup.ts";
import {
  sockfdSocket,
  sysBind,
  sysClose,
  sysConnect,
  sysGetpeername,
  sysGetsockname,
  sysGetsockopt,
  sysIoctl,
  sysPoll,
  sysRecv,
  sysRecvfrom,
  sysRecvmsg,
  sysSend,
  sysSendmsg,
  sysSendto,
  sysSetsockopt,
  sysShutdown,
  sysSocket,
} from "../../../src/net/socket.ts";
import { errnoName } from "../../../src/uapi/errno.ts";
import {
  IP_ADD_MEMBERSHIP,
  IP_MTU_DISCOVER,
  IP_MULTICAST_ALL,
  IP_PKTINFO,
  IP_PMTUDISC_DO,
  IP_RECVERR,
  IP_RECVTOS,
  IP_RECVTTL,
  IP_TOS,
  IP_TTL,
} from "../../../src/uapi/in.ts";
import {
  UDP_MIB_CSUMERRORS,
  UDP_MIB_INDATAGRAMS,
  UDP_MIB_INERRORS,
  UDP_MIB_NOPORTS,
  UDP_MIB_OUTDATAGRAMS,
  UDP_MIB_RCVBUFERRORS,
  UDP_MIB_SNDBUFERRORS,
} from "../../../src/uapi/linux_mib.ts";
import {
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLRDHUP,
  POLLRDNORM,
  POLLWRBAND,
  POLLWRNORM,
} from "../../../src/uapi/poll.ts";
import {
  AF_INET,
  AF_UNSPEC,
  MSG_ERRQUEUE,
  MSG_MORE,
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  MSG_ZEROCOPY,
  SO_BINDTODEVICE,
  SO_BROADCAST,
  SO_NO_CHECK,
  SO_PEEK_OFF,
  SO_RCVBUF,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SO_RXQ_OVFL,
  SO_SNDBUF,
  SO_TIMESTAMP,
  SO_TIMESTAMPING,
  SO_ZEROCOPY,
  SOCK_DGRAM,
  SOL_SOCKET,
  SOL_UDP,
} from "../../../src/uapi/socket.ts";
import { SIOCINQ, SIOCOUTQ } from "../../../src/uapi/sockios.ts";
import { UDP_CORK, UDP_ENCAP, UDP_GRO, UDP_SEGMENT } from "../../../src/uapi/udp.ts";
import type { TestHost } from "../machine.ts";
import { testHost } from "../machine.ts";

const LO = 0x7f000001;
const SOL_IP = 0;

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

const at = (port: number, addr = LO): SockAddr => ({ family: AF_INET, addr, port });
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function udp(port = -1, addr = LO): number {
  const fd = sysSocket(net, AF_INET, SOCK_DGRAM, 0);
  if (port >= 0) expect(sysBind(net, fd, at(port, addr))).toBe(0);
  return fd;
}
function portOf(fd: number): number {
  const name = at(0);
  expect(sysGetsockname(net, fd, name)).toBe(0);
  return name.port;
}
/** The number of bytes, or the errno's name. */
const said = (ret: number): number | string => (ret < 0 ? errnoName(ret) : ret);
const sendto = (fd: number, data: string | number, port: number, flags = 0, addr = LO): number | string => {
  const buf = typeof data === "string" ? bytes(data) : new Uint8Array(data);
  return said(sysSendto(net, fd, buf, buf.length, flags, at(port, addr)));
};
const send = (fd: number, text: string): number | string => said(sysSend(net, fd, bytes(text), text.length, 0));
/** What came, as text, or the errno's name. */
function recv(fd: number, size = 100, flags = 0): string {
  const buf = new Uint8Array(size);
  const n = sysRecv(net, fd, buf, size, flags);
  return n < 0 ? errnoName(n) : new TextDecoder().decode(buf.slice(0, Math.min(n, size)));
}
const setsockopt = (fd: number, level: number, opt: number, val: number | string | object): number | string =>
  said(sysSetsockopt(net, fd, level, opt, val));
function getsockopt(fd: number, level: number, opt: number): unknown {
  const err = new ErrBox();
  const value = sysGetsockopt(net, fd, level, opt, err);
  return err.value < 0 ? errnoName(err.value) : value;
}
function recvmsg(
  fd: number,
  size: number,
  flags = 0,
): { n: number | string; data: string; flags: number; msg: Msghdr } {
  const msg = new Msghdr();
  msg.iov = [new Uint8Array(size)];
  msg.control = [];
  msg.name = at(0);
  const n = sysRecvmsg(net, fd, msg, flags);
  const data = new TextDecoder().decode((msg.iov[0] as Uint8Array).slice(0, Math.max(0, Math.min(n, size))));
  return { n: said(n), data, flags: msg.flags, msg };
}
const poll = (fd: number): number => {
  const p = { fd, events: 0x7fff, revents: 0 };
  sysPoll(net, [p]);
  return p.revents;
};
const mib = (field: number): number => net.mib.udp[field] as number;

describe("sending and receiving", () => {
  test("there and back, with addresses", () => {
    const a = udp(1000);
    const b = udp();
    expect(sendto(b, "hello", 1000)).toBe(5);
    const from = at(0, 0);
    const buf = new Uint8Array(100);
    expect(sysRecvfrom(net, a, buf, 100, 0, from)).toBe(5);
    expect(from).toEqual(at(portOf(b)));
    expect(recv(a)).toBe("EAGAIN");
    expect(said(sysSendto(net, a, bytes("back"), 4, 0, from))).toBe(4);
    expect(recv(b)).toBe("back");
    expect(mib(UDP_MIB_INDATAGRAMS)).toBe(2);
    expect(mib(UDP_MIB_OUTDATAGRAMS)).toBe(2);
  });

  test.each([0, 1, 7, 64, 1000, 1472, 1473, 9000, 32768, 65507])("%i bytes arrive as they were sent", (size) => {
    const a = udp(1000);
    const b = udp();
    setsockopt(a, SOL_SOCKET, SO_RCVBUF, 500000);
    const out = new Uint8Array(size + 3);
    for (let i = 0; i < size; i++) out[i] = (i * 7 + (i >> 8)) & 255;
    expect(sysSendto(net, b, out, size, 0, at(1000))).toBe(size);
    const inn = new Uint8Array(size + 1);
    expect(sysRecv(net, a, inn, size + 1, 0)).toBe(size);
    expect(Buffer.compare(inn.subarray(0, size), out.subarray(0, size))).toBe(0);
  });

  test("gathered from and scattered to several buffers", () => {
    const a = udp(1000);
    const b = udp();
    const tx = new Msghdr();
    tx.iov = [bytes("ab"), new Uint8Array(0), bytes("cdefg"), bytes("h")];
    tx.name = at(1000);
    expect(sysSendmsg(net, b, tx, 0)).toBe(8);
    const rx = new Msghdr();
    rx.iov = [new Uint8Array(3), new Uint8Array(0), new Uint8Array(1), new Uint8Array(10)];
    expect(sysRecvmsg(net, a, rx, 0)).toBe(8);
    expect(rx.iov.map((v) => new TextDecoder().decode(v).replaceAll("\0", ""))).toEqual(["abc", "", "d", "efgh"]);
  });

  test("what a send refuses", () => {
    const a = udp();
    expect(send(a, "x")).toBe("EDESTADDRREQ");
    expect(sendto(a, "x", 0)).toBe("EINVAL");
    expect(sendto(a, "x", 9, MSG_OOB)).toBe("EOPNOTSUPP");
    expect(sendto(a, 65508, 9)).toBe("EMSGSIZE");
    expect(sendto(a, 65536, 9)).toBe("EMSGSIZE");
    expect(said(sysSendto(net, a, bytes("x"), 1, 0, { family: 10, addr: LO, port: 9 }))).toBe("EAFNOSUPPORT");
    expect(sendto(a, "x", 9, 0, 0x08080808)).toBe("ENETUNREACH");
    expect(sendto(a, "x", 9, 0, 0x7fffffff)).toBe("EACCES"); // 127.255.255.255
    expect(setsockopt(a, SOL_SOCKET, SO_BROADCAST, 1)).toBe(0);
    expect(sendto(a, "x", 9, 0, 0x7fffffff)).toBe(1);
  });

  test("AF_UNSPEC is taken for AF_INET in a destination", () => {
    const a = udp(1000);
    expect(said(sysSendto(net, udp(), bytes("x"), 1, 0, { family: AF_UNSPEC, addr: LO, port: 1000 }))).toBe(1);
    expect(recv(a)).toBe("x");
  });

  test("an empty datagram is one", () => {
    const a = udp(1000);
    expect(sendto(udp(), "", 1000)).toBe(0);
    expect(poll(a) & POLLIN).toBe(POLLIN);
    expect(recv(a)).toBe("");
    expect(recv(a)).toBe("EAGAIN");
  });

  test("MSG_PEEK, MSG_TRUNC", () => {
    const a = udp(1000);
    const b = udp();
    sendto(b, "abcdef", 1000);
    sendto(b, "gh", 1000);
    expect(recvmsg(a, 3, MSG_PEEK)).toMatchObject({ n: 3, data: "abc", flags: MSG_TRUNC });
    expect(recvmsg(a, 3, MSG_PEEK | MSG_TRUNC)).toMatchObject({ n: 6, data: "abc", flags: MSG_TRUNC });
    expect(recvmsg(a, 3, MSG_TRUNC)).toMatchObject({ n: 6, data: "abc", flags: MSG_TRUNC });
    expect(recvmsg(a, 3)).toMatchObject({ n: 2, data: "gh", flags: 0 });
    expect(recvmsg(a, 3).n).toBe("EAGAIN");
  });

  test("SO_PEEK_OFF walks through the queue", () => {
    const a = udp(1000);
    const b = udp();
    expect(setsockopt(a, SOL_SOCKET, SO_PEEK_OFF, 0)).toBe(0);
    sendto(b, "abcdef", 1000);
    sendto(b, "gh", 1000);
    const peeks = [2, 2, 2, 2, 2].map((n) => [recv(a, n, MSG_PEEK), getsockopt(a, SOL_SOCKET, SO_PEEK_OFF)]);
    expect(peeks).toEqual([
      ["ab", 2],
      ["cd", 4],
      ["ef", 6],
      ["gh", 8],
      ["EAGAIN", 8],
    ]);
    expect(recv(a)).toBe("abcdef");
    expect(getsockopt(a, SOL_SOCKET, SO_PEEK_OFF)).toBe(2);
    expect(recv(a, 2, MSG_PEEK)).toBe("EAGAIN");
    expect(recv(a)).toBe("gh");
    expect(getsockopt(a, SOL_SOCKET, SO_PEEK_OFF)).toBe(0);
  });

  test("SIOCINQ is the next datagram's length, SIOCOUTQ what is in flight", () => {
    const a = udp(1000);
    const b = udp();
    sendto(b, "12345", 1000);
    sendto(b, "123", 1000);
    expect(sysIoctl(net, a, SIOCINQ)).toBe(5);
    expect(sysIoctl(net, b, SIOCOUTQ)).toBe(0);
  });
});

describe("connect(2)", () => {
  test("fixes the peer: others are not heard, getpeername() tells", () => {
    const a = udp(1000);
    const b = udp(1001);
    const c = udp(1002);
    expect(said(sysConnect(net, a, at(1001)))).toBe(0);
    expect(sendto(c, "no", 1000)).toBe(2);
    expect(sendto(b, "yes", 1000)).toBe(3);
    expect(recv(a)).toBe("yes");
    expect(recv(a)).toBe("EAGAIN");
    const peer = at(0, 0);
    expect(sysGetpeername(net, a, peer)).toBe(0);
    expect(peer).toEqual(at(1001));
    expect(send(a, "x")).toBe(1);
    expect(recv(b)).toBe("x");
    // A destination goes before the peer.
    expect(sendto(a, "z", 1002)).toBe(1);
    expect(recv(c)).toBe("z");
  });

  test("gives a port and an address", () => {
    const a = udp();
    expect(said(sysConnect(net, a, at(9)))).toBe(0);
    const name = at(0, 0);
    sysGetsockname(net, a, name);
    expect(name.addr).toBe(LO);
    expect(name.port).toBeGreaterThanOrEqual(32768);
    expect(name.port).toBeLessThanOrEqual(60999);
  });

  test("AF_UNSPEC takes it back, and the port with it unless it was bound", () => {
    const none = { family: AF_UNSPEC, addr: 0, port: 0 };
    const a = udp();
    sysConnect(net, a, at(9));
    expect(said(sysConnect(net, a, none))).toBe(0);
    const name = at(1, 1);
    sysGetsockname(net, a, name);
    expect(name).toEqual(at(0, 0));
    expect(said(sysGetpeername(net, a, name))).toBe("ENOTCONN");
    const b = udp(1000, 0);
    sysConnect(net, b, at(9));
    sysGetsockname(net, b, name);
    expect(name).toEqual(at(1000));
    sysConnect(net, b, none);
    sysGetsockname(net, b, name);
    expect(name).toEqual(at(1000, 0));
    expect(sendto(a, "x", 1000)).toBe(1);
    expect(recv(b)).toBe("x");
  });

  test("can be changed", () => {
    const a = udp(1000);
    const b = udp(1001);
    const c = udp(1002);
    sysConnect(net, a, at(1001));
    sysConnect(net, a, at(1002));
    send(a, "x");
    expect(recv(b)).toBe("EAGAIN");
    expect(recv(c)).toBe("x");
    sendto(c, "y", 1000);
    expect(recv(a)).toBe("y");
  });

  test("many connected sockets on one port: each gets its own", () => {
    const n = 50;
    const servers: number[] = [];
    const clients: number[] = [];
    for (let i = 0; i < n; i++) {
      const s = sysSocket(net, AF_INET, SOCK_DGRAM, 0);
      setsockopt(s, SOL_SOCKET, SO_REUSEADDR, 1);
      expect(sysBind(net, s, at(1000))).toBe(0);
      const c = udp(2000 + i);
      expect(sysConnect(net, s, at(2000 + i))).toBe(0);
      expect(sysConnect(net, c, at(1000))).toBe(0);
      servers.push(s);
      clients.push(c);
    }
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < n; i++) send(clients[i] as number, `to ${i}`);
      for (let i = 0; i < n; i++) expect(recv(servers[i] as number)).toBe(`to ${i}`);
    }
  });
});

describe("errors that come back (RFC 1122 §4.1.3.3)", () => {
  test("a connected socket hears that nobody listens", () => {
    const a = udp();
    sysConnect(net, a, at(9));
    expect([send(a, "x"), send(a, "x"), send(a, "y"), recv(a), recv(a)]).toEqual([
      1,
      "ECONNREFUSED",
      1,
      "ECONNREFUSED",
      "EAGAIN",
    ]);
    expect(mib(UDP_MIB_NOPORTS)).toBe(2);
  });

  test("an unconnected one does not", () => {
    const a = udp();
    expect([sendto(a, "x", 9), sendto(a, "x", 9), recv(a)]).toEqual([1, 1, "EAGAIN"]);
  });

  test("IP_RECVERR: the error, and what it was about, in the error queue", () => {
    const a = udp();
    expect(setsockopt(a, SOL_IP, IP_RECVERR, 1)).toBe(0);
    expect(sendto(a, "hello", 9)).toBe(5);
    expect(poll(a)).toBe(POLLERR | POLLOUT | POLLWRNORM | POLLWRBAND);
    expect(recv(a)).toBe("ECONNREFUSED");
    expect(recv(a)).toBe("EAGAIN");
    // The queue outlives the error.
    expect(poll(a) & POLLERR).toBe(POLLERR);
    const got = recvmsg(a, 100, MSG_ERRQUEUE);
    expect(got).toMatchObject({ n: 5, data: "hello" });
    expect(got.flags & MSG_ERRQUEUE).toBe(MSG_ERRQUEUE);
    expect(got.msg.name).toEqual(at(9));
    expect(got.msg.control).toEqual([
      {
        level: SOL_IP,
        type: IP_RECVERR,
        data: { eeErrno: 111, eeOrigin: 2, eeType: 3, eeCode: 3, eeInfo: 0, eeData: 0, offender: LO },
      },
    ]);
    expect(recvmsg(a, 100, MSG_ERRQUEUE).n).toBe("EAGAIN");
  });

  test("IP_PMTUDISC_DO: what is too long for the link is not sent, and IP_RECVERR says what would be", () => {
    const a = udp();
    (net.loopbackDev as NetDevice).mtu = 1500;
    setsockopt(a, SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
    expect(sendto(a, 1472, 9)).toBe(1472);
    setsockopt(a, SOL_IP, IP_RECVERR, 1);
    expect(sendto(a, 1473, 9)).toBe("EMSGSIZE");
    const got = recvmsg(a, 10, MSG_ERRQUEUE);
    expect(got.msg.control?.[0]?.data).toMatchObject({ eeErrno: 90, eeOrigin: 1, eeInfo: 1500 });
  });
});

describe("corking", () => {
  test("MSG_MORE: several sends, one datagram", () => {
    const a = udp(1000);
    const b = udp();
    expect([sendto(b, "aa", 1000, MSG_MORE), sendto(b, "bb", 1000, MSG_MORE)]).toEqual([2, 2]);
    expect(recv(a)).toBe("EAGAIN");
    expect(sendto(b, "cc", 1000)).toBe(2);
    expect([recv(a), recv(a)]).toEqual(["aabbcc", "EAGAIN"]);
  });

  test("UDP_CORK", () => {
    const a = udp(1000);
    const b = udp();
    expect(setsockopt(b, SOL_UDP, UDP_CORK, 1)).toBe(0);
    sendto(b, "aa", 1000);
    sendto(b, "bb", 1000);
    expect(recv(a)).toBe("EAGAIN");
    expect(getsockopt(b, SOL_UDP, UDP_CORK)).toBe(1);
    expect(setsockopt(b, SOL_UDP, UDP_CORK, 0)).toBe(0);
    expect(recv(a)).toBe("aabb");
  });

  test("a corked socket goes on with its peer", () => {
    const a = udp(1000);
    const b = udp();
    sysConnect(net, b, at(1000));
    expect(said(sysSend(net, b, bytes("x"), 1, MSG_MORE))).toBe(1);
    expect(send(b, "y")).toBe(1);
    expect(recv(a)).toBe("xy");
    expect(send(b, "z")).toBe(1);
    expect(recv(a)).toBe("z");
  });

  test("what became too long is thrown away", () => {
    const a = udp(1000);
    const b = udp();
    setsockopt(b, SOL_SOCKET, SO_SNDBUF, 500000);
    setsockopt(a, SOL_SOCKET, SO_RCVBUF, 500000);
    expect(sendto(b, 65000, 1000, MSG_MORE)).toBe(65000);
    expect(sendto(b, 1000, 1000, MSG_MORE)).toBe("EMSGSIZE");
    expect(sendto(b, "x", 1000)).toBe(1);
    expect(recv(a)).toBe("x");
  });

  test("close() with something corked leaks nothing", () => {
    const b = udp();
    expect(sendto(b, 3000, 1000, MSG_MORE)).toBe(3000);
    expect(sysClose(net, b)).toBe(0);
    expect(socksInUse()).toBe(0);
  });
});

describe("UDP_SEGMENT and UDP_GRO", () => {
  test("one send, many datagrams", () => {
    const a = udp(1000);
    const b = udp();
    expect(setsockopt(b, SOL_UDP, UDP_SEGMENT, 100)).toBe(0);
    const out = new Uint8Array(350).map((_, i) => i);
    expect(sysSendto(net, b, out, 350, 0, at(1000))).toBe(350);
    const inn = new Uint8Array(1000);
    for (const [start, size] of [
      [0, 100],
      [100, 100],
      [200, 100],
      [300, 50],
    ] as const) {
      expect(sysRecv(net, a, inn, 1000, 0)).toBe(size);
      expect(inn.slice(0, size)).toEqual(out.slice(start, start + size));
    }
    expect(recv(a)).toBe("EAGAIN");
  });

  test("at most 128", () => {
    const a = udp(1000);
    const b = udp();
    setsockopt(a, SOL_SOCKET, SO_RCVBUF, 1000000);
    setsockopt(b, SOL_UDP, UDP_SEGMENT, 100);
    expect(sendto(b, 12801, 1000)).toBe("EINVAL");
    expect(sendto(b, 12800, 1000)).toBe(12800);
    let n = 0;
    while (recv(a) !== "EAGAIN") n++;
    expect(n).toBe(128);
  });

  test("a receiver with UDP_GRO gets the super-packet, and the size of its parts", () => {
    const a = udp(1000);
    const b = udp();
    setsockopt(b, SOL_UDP, UDP_SEGMENT, 100);
    expect(setsockopt(a, SOL_UDP, UDP_GRO, 1)).toBe(0);
    expect(sendto(b, 350, 1000)).toBe(350);
    const got = recvmsg(a, 1000);
    expect(got.n).toBe(350);
    expect(got.msg.control).toEqual([{ level: SOL_UDP, type: UDP_GRO, data: 100 }]);
  });

  test("as a control message", () => {
    const a = udp(1000);
    const tx = new Msghdr();
    tx.iov = [new Uint8Array(250)];
    tx.name = at(1000);
    tx.control = [{ level: SOL_UDP, type: UDP_SEGMENT, data: 200 }];
    const b = udp();
    expect(sysSendmsg(net, b, tx, 0)).toBe(250);
    const buf = new Uint8Array(300);
    expect([sysRecv(net, a, buf, 300, 0), sysRecv(net, a, buf, 300, 0)]).toEqual([200, 50]);
    tx.control = [{ level: SOL_UDP, type: 9, data: 200 }];
    expect(said(sysSendmsg(net, b, tx, 0))).toBe("EINVAL");
  });

  test("options that are refused", () => {
    const b = udp();
    expect(setsockopt(b, SOL_UDP, UDP_SEGMENT, -1)).toBe("EINVAL");
    expect(setsockopt(b, SOL_UDP, UDP_SEGMENT, 65536)).toBe("EINVAL");
    expect(setsockopt(b, SOL_UDP, UDP_ENCAP, 1)).toBe("ENOPROTOOPT");
    expect(setsockopt(b, SOL_UDP, 5, 1)).toBe("ENOPROTOOPT");
    expect(getsockopt(b, SOL_UDP, 5)).toBe("ENOPROTOOPT");
    expect(getsockopt(b, SOL_UDP, UDP_CORK)).toBe(0);
  });
});

describe("checksums", () => {
  const lo = (): NetDevice => devGetByName(net, "lo") as NetDevice;
  /** Without the device's help the stack sums in software, both ways. */
  function software(): void {
    h.kernel.enter();
    devSetFeature(lo(), NETIF_F_HW_CSUM, false);
    h.kernel.exit();
  }

  test.each([0, 1, 63, 64, 1001, 40000])("in software, %i bytes", (size) => {
    software();
    const a = udp(1000);
    const b = udp();
    setsockopt(a, SOL_SOCKET, SO_RCVBUF, 500000);
    const out = new Uint8Array(size).map((_, i) => i * 31);
    expect(sysSendto(net, b, out, size, 0, at(1000))).toBe(size);
    const inn = new Uint8Array(size);
    expect(sysRecv(net, a, inn, size, 0)).toBe(size);
    expect(Buffer.compare(inn, out)).toBe(0);
    expect(mib(UDP_MIB_CSUMERRORS)).toBe(0);
  });

  test("none (SO_NO_CHECK)", () => {
    const a = udp(1000);
    const b = udp();
    setsockopt(b, SOL_SOCKET, SO_NO_CHECK, 1);
    expect(sendto(b, "x", 1000)).toBe(1);
    expect(recv(a)).toBe("x");
  });

  test("corked in odd pieces", () => {
    software();
    const a = udp(1000);
    const b = udp();
    for (const piece of ["a", "bcd", "ef", "ghijk"]) sendto(b, piece, 1000, MSG_MORE);
    sendto(b, "l", 1000);
    expect(recv(a)).toBe("abcdefghijkl");
  });
});

describe("memory", () => {
  test("a full receive buffer drops, and says so", () => {
    const a = udp(1000);
    const b = udp();
    setsockopt(a, SOL_SOCKET, SO_RCVBUF, 2304);
    setsockopt(a, SOL_SOCKET, SO_RXQ_OVFL, 1);
    for (let i = 0; i < 50; i++) expect(sendto(b, "x".repeat(64), 1000)).toBe(64);
    const sk = sockfdSocket(net, a)?.sk;
    let n = 0;
    while (recv(a) !== "EAGAIN") n++;
    expect(n).toBeGreaterThan(2);
    expect(n).toBeLessThan(10);
    expect(sk?.skDrops).toBe(50 - n);
    expect(mib(UDP_MIB_RCVBUFERRORS)).toBe(50 - n);
    expect(mib(UDP_MIB_INERRORS)).toBe(50 - n);
    // Everything read: the buffer is free again, and the next datagram tells how many are missing.
    expect(sk?.skRmemAlloc).toBe(0);
    sendto(b, "y", 1000);
    expect(recvmsg(a, 10).msg.control).toEqual([{ level: SOL_SOCKET, type: SO_RXQ_OVFL, data: 50 - n }]);
  });

  test("a socket that closes gives back what nobody read", () => {
    const a = udp(1000);
    const b = udp();
    for (let i = 0; i < 100; i++) sendto(b, 100, 1000);
    const mem = sockfdSocket(net, a)?.sk?.skProtMem;
    expect(mem?.allocated).toBeGreaterThan(0);
    sysClose(net, a);
    expect(mem?.allocated).toBe(0);
    expect(mem?.sockets).toBe(1);
  });

  test("net.ipv4.udp_mem limits all sockets together", () => {
    expect(net.sysctlTable.get("net.ipv4.udp_mem")?.set("4 8 16")).toBe(0);
    net.sysctlTable.get("net.ipv4.udp_rmem_min")?.set("4096");
    const b = udp();
    const socks = Array.from({ length: 20 }, (_, i) => udp(1000 + i));
    for (let k = 0; k < 20; k++) for (let i = 0; i < 20; i++) sendto(b, 1000, 1000 + i);
    const mem = sockfdSocket(net, b)?.sk?.skProtMem;
    // The limit, and the minimum that everybody gets.
    expect(mem?.allocated).toBeLessThanOrEqual(16 + 20 * 2);
    expect(mem?.pressure).toBe(true);
    // A socket that was read keeps a page at hand; one that is closed keeps nothing.
    for (const fd of socks) while (recv(fd) !== "EAGAIN");
    expect(mem?.allocated).toBeLessThanOrEqual(20);
    for (const fd of socks) sysClose(net, fd);
    expect(mem?.allocated).toBe(0);
    expect(mem?.pressure).toBe(false);
  });

  test("a full send buffer: EAGAIN, and POLLOUT when it has drained", () => {
    const b = udp();
    setsockopt(b, SOL_SOCKET, SO_SNDBUF, 2304);
    // Held in a corked datagram.
    expect(sendto(b, 4000, 1000, MSG_MORE)).toBe(4000);
    expect(poll(b) & POLLOUT).toBe(0);
    const c = sysSocket(net, AF_INET, SOCK_DGRAM, 0);
    expect(poll(c) & POLLOUT).toBe(POLLOUT);
    expect(mib(UDP_MIB_SNDBUFERRORS)).toBe(0);
  });
});

describe("who gets a datagram", () => {
  test("the most specific binding", () => {
    const any = udp(1000, 0);
    const lo = udp(-1);
    setsockopt(any, SOL_SOCKET, SO_REUSEADDR, 1);
    setsockopt(lo, SOL_SOCKET, SO_REUSEADDR, 1);
    expect(sysBind(net, lo, at(1000))).toBe(0);
    const b = udp(2000);
    sendto(b, "specific", 1000);
    expect([recv(any), recv(lo)]).toEqual(["EAGAIN", "specific"]);
    sendto(b, "other address", 1000, 0, 0x7f000002);
    expect([recv(any), recv(lo)]).toEqual(["other address", "EAGAIN"]);
    // Bound to the device beats unbound.
    const dev = sysSocket(net, AF_INET, SOCK_DGRAM, 0);
    setsockopt(dev, SOL_SOCKET, SO_REUSEADDR, 1);
    setsockopt(dev, SOL_SOCKET, SO_BINDTODEVICE, "lo");
    expect(sysBind(net, dev, at(1000))).toBe(0);
    sendto(b, "device", 1000);
    expect([recv(any), recv(lo), recv(dev)]).toEqual(["EAGAIN", "EAGAIN", "device"]);
    // Connected beats all.
    const conn = sysSocket(net, AF_INET, SOCK_DGRAM, 0);
    setsockopt(conn, SOL_SOCKET, SO_REUSEADDR, 1);
    expect(sysBind(net, conn, at(1000))).toBe(0);
    sysConnect(net, conn, at(2000));
    sendto(b, "connected", 1000);
    expect([recv(any), recv(lo), recv(dev), recv(conn)]).toEqual(["EAGAIN", "EAGAIN", "EAGAIN", "connected"]);
  });

  test("SO_REUSEPORT spreads connections, and keeps each together", () => {
    const group = Array.from({ length: 4 }, () => {
      const fd = sysSocket(net, AF_INET, SOCK_DGRAM, 0);
      setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1);
      expect(sysBind(net, fd, at(1000))).toBe(0);
      return fd;
    });
    expect(said(sysBind(net, sysSocket(net, AF_INET, SOCK_DGRAM, 0), at(1000)))).toBe("EADDRINUSE");
    const owner = new Map<number, number>();
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 64; i++) {
        const b = round === 0 ? udp(3000 + i) : -1;
        const from = round === 0 ? b : (clients[i] as number);
        if (round === 0) clients.push(b);
        sendto(from, `${i}`, 1000);
        const got = group.findIndex((fd) => recv(fd) === `${i}`);
        expect(got).toBeGreaterThanOrEqual(0);
        if (round === 0) owner.set(i, got);
        else expect(got).toBe(owner.get(i));
      }
    }
    for (let g = 0; g < 4; g++) expect([...owner.values()].filter((o) => o === g).length).toBeGreaterThan(4);
  });
  const clients: number[] = [];

  test("multicast: every socket that joined, and a copy each", () => {
    const group = 0xe0000105; // 224.0.1.5
    const socks = [0, 1, 2].map(() => {
      const fd = sysSocket(net, AF_INET, SOCK_DGRAM, 0);
      setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
      expect(sysBind(net, fd, at(1000, 0))).toBe(0);
      return fd;
    });
    const mreq = { multiaddr: group, address: LO };
    for (const fd of socks.slice(0, 2)) expect(setsockopt(fd, SOL_IP, IP_ADD_MEMBERSHIP, mreq)).toBe(0);
    // Linux's default: a socket hears every group that the host has joined, its own or not.
    expect(setsockopt(socks[2] as number, SOL_IP, IP_MULTICAST_ALL, 0)).toBe(0);
    const b = udp(2000);
    setsockopt(b, SOL_IP, 32, { address: LO }); // IP_MULTICAST_IF
    expect(sendto(b, "all", 1000, 0, group)).toBe(3);
    expect(socks.map((fd) => recv(fd))).toEqual(["all", "all", "EAGAIN"]);
  });

  test("broadcast: every socket of the port", () => {
    const socks = [0, 1].map(() => {
      const fd = sysSocket(net, AF_INET, SOCK_DGRAM, 0);
      setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
      expect(sysBind(net, fd, at(1000, 0))).toBe(0);
      return fd;
    });
    const b = udp(2000);
    setsockopt(b, SOL_SOCKET, SO_BROADCAST, 1);
    expect(sendto(b, "all", 1000, 0, 0x7fffffff)).toBe(3);
    expect(socks.map((fd) => recv(fd))).toEqual(["all", "all"]);
  });

  test("the table grows, and empties", () => {
    const fds = Array.from({ length: 300 }, (_, i) => udp(10000 + i));
    expect(net.udpTable.count).toBe(300);
    expect(net.udpTable.mask).toBeGreaterThanOrEqual(255);
    const b = udp();
    for (let i = 0; i < 300; i++) sendto(b, `${i}`, 10000 + i);
    for (let i = 0; i < 300; i++) expect(recv(fds[i] as number)).toBe(`${i}`);
    for (const fd of fds) sysClose(net, fd);
    expect(net.udpTable.count).toBe(1);
    expect(net.udpTable).toBeInstanceOf(UdpTable);
  });

  test("ephemeral ports are random, in range, and run out", () => {
    net.sysctlTable.get("net.ipv4.ip_local_port_range")?.set("40000 40009");
    const ports = Array.from({ length: 10 }, () => {
      const fd = udp();
      expect(sysBind(net, fd, at(0))).toBe(0);
      return portOf(fd);
    });
    expect([...ports].sort()).toEqual(Array.from({ length: 10 }, (_, i) => 40000 + i));
    expect(said(sysBind(net, udp(), at(0)))).toBe("EADDRINUSE");
    expect(sendto(udp(), "x", 9)).toBe("EAGAIN");
  });
});

describe("control messages", () => {
  test("IP_PKTINFO, IP_RECVTTL, IP_RECVTOS", () => {
    const w = udp(1000, 0);
    for (const opt of [IP_PKTINFO, IP_RECVTTL, IP_RECVTOS]) expect(setsockopt(w, SOL_IP, opt, 1)).toBe(0);
    const b = udp();
    setsockopt(b, SOL_IP, IP_TOS, 0x10);
    sendto(b, "pi", 1000, 0, 0x7f000005);
    expect(recvmsg(w, 10).msg.control).toEqual([
      { level: SOL_IP, type: IP_PKTINFO, data: { ipiIfindex: 1, ipiSpecDst: 0x7f000005, ipiAddr: 0x7f000005 } },
      { level: SOL_IP, type: IP_TTL, data: 64 },
      { level: SOL_IP, type: IP_TOS, data: 0x10 },
    ]);
  });

  test("IP_PKTINFO of a send picks the source", () => {
    const w = udp(1000);
    const b = udp();
    const via = (ipiSpecDst: number): Cmsg[] => [
      { level: SOL_IP, type: IP_PKTINFO, data: { ipiIfindex: 0, ipiSpecDst, ipiAddr: 0 } },
    ];
    const tx = new Msghdr();
    tx.iov = [bytes("x")];
    tx.name = at(1000);
    tx.control = via(0x7f000005);
    expect(sysSendmsg(net, b, tx, 0)).toBe(1);
    expect(recvmsg(w, 10).msg.name?.addr).toBe(0x7f000005);
    tx.control = via(0x08080808);
    expect(said(sysSendmsg(net, b, tx, 0))).toBe("ENETUNREACH");
  });

  test("SO_TIMESTAMP: when the packet came, not when it was read", () => {
    const a = udp(1000);
    setsockopt(a, SOL_SOCKET, SO_TIMESTAMP, 1);
    sendto(udp(), "x", 1000);
    const came = h.clock.realtime();
    h.advance(5_000_000);
    expect(recvmsg(a, 10).msg.control).toEqual([
      {
        level: SOL_SOCKET,
        type: SO_TIMESTAMP,
        data: { tvSec: Math.floor(came / 1e6), tvUsec: came % 1e6 },
      },
    ]);
  });

  test("SO_TIMESTAMPING: when a datagram was queued and sent, in the error queue", () => {
    udp(1000);
    const b = udp();
    // TX_SOFTWARE | SOFTWARE | OPT_ID | TX_SCHED | OPT_TSONLY
    expect(setsockopt(b, SOL_SOCKET, SO_TIMESTAMPING, 2 | 16 | 128 | 256 | 2048)).toBe(0);
    sendto(b, "xyz", 1000);
    sendto(b, "xyz", 1000);
    const now = h.clock.realtime();
    const got = [0, 1, 2, 3].map(() => recvmsg(b, 100, MSG_ERRQUEUE));
    expect(recvmsg(b, 100, MSG_ERRQUEUE).n).toBe("EAGAIN");
    const none = { tvSec: 0, tvNsec: 0 };
    const ts = [{ tvSec: Math.floor(now / 1e6), tvNsec: (now % 1e6) * 1000 }, none, none];
    expect(got.map((g) => [g.n, g.msg.control])).toEqual(
      [
        [1, 0],
        [0, 0],
        [1, 1],
        [0, 1],
      ].map(([eeInfo, eeData]) => [
        0,
        [
          { level: SOL_SOCKET, type: SO_TIMESTAMPING, data: { ts } },
          {
            level: SOL_IP,
            type: IP_RECVERR,
            data: { eeErrno: 42, eeOrigin: 4, eeType: 0, eeCode: 0, eeInfo, eeData },
          },
        ],
      ]),
    );
    // With the payload: the whole frame.
    setsockopt(b, SOL_SOCKET, SO_TIMESTAMPING, 2 | 16);
    sendto(b, "xyz", 1000);
    const full = recvmsg(b, 100, MSG_ERRQUEUE);
    expect(full.n).toBe(14 + 20 + 8 + 3);
    expect(full.data.endsWith("xyz")).toBe(true);
  });

  test("MSG_ZEROCOPY: one notification for sends in a row, and that they were copied", () => {
    udp(1000);
    const b = udp();
    sysConnect(net, b, at(1000));
    setsockopt(b, SOL_SOCKET, SO_ZEROCOPY, 1);
    expect(sysSend(net, b, new Uint8Array(3000), 3000, MSG_ZEROCOPY)).toBe(3000);
    expect(sysSend(net, b, new Uint8Array(1), 1, MSG_ZEROCOPY)).toBe(1);
    const got = recvmsg(b, 10, MSG_ERRQUEUE);
    expect(got.n).toBe(0);
    expect(got.msg.control).toEqual([
      {
        level: SOL_IP,
        type: IP_RECVERR,
        data: { eeErrno: 0, eeOrigin: 5, eeType: 0, eeCode: 1, eeInfo: 0, eeData: 1 },
      },
    ]);
    expect(recvmsg(b, 10, MSG_ERRQUEUE).n).toBe("EAGAIN");
  });

  test("no room for control messages: MSG_CTRUNC", () => {
    const a = udp(1000);
    setsockopt(a, SOL_SOCKET, SO_TIMESTAMP, 1);
    sendto(udp(), "x", 1000);
    const msg = new Msghdr();
    msg.iov = [new Uint8Array(1)];
    expect(sysRecvmsg(net, a, msg, 0)).toBe(1);
    expect(msg.flags).toBe(0x8);
  });
});

describe("shutdown and poll", () => {
  test("what is up", () => {
    const a = udp(1000);
    const b = udp();
    const out = POLLOUT | POLLWRNORM | POLLWRBAND;
    expect(poll(a)).toBe(out);
    sendto(b, "x", 1000);
    expect(poll(a)).toBe(out | POLLIN | POLLRDNORM);
    recv(a);
    expect(poll(a)).toBe(out);
    sysConnect(net, a, at(portOf(b)));
    expect(said(sysShutdown(net, a, 0))).toBe(0);
    expect(recv(a)).toBe("EAGAIN");
    expect(poll(a)).toBe(out | POLLIN | POLLRDNORM | POLLRDHUP);
    expect(said(sysShutdown(net, a, 2))).toBe(0);
    expect(poll(a)).toBe(out | POLLIN | POLLRDNORM | POLLRDHUP | POLLHUP);
    expect(send(a, "x")).toBe("EPIPE");
  });
});
