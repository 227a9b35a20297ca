/** Which socket() calls there are, files, and the calls that refuse. The expected answers are Linux 6.18's. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CAP_NET_BIND_SERVICE, CAP_NET_RAW } from "../../src/kernel/capability.ts";
import { poolFree } from "../../src/mm/pool.ts";
import { ErrBox, socksInUse } from "../../src/net/core/sock.ts";
import {
  INET_PROTOSW_PERMANENT,
  inetDgramOps,
  inetRegisterProtosw,
  inetSockrawOps,
  inetStreamOps,
  inetsw,
  inetUnregisterProtosw,
} from "../../src/net/ipv4/af_inet.ts";
import { tcpSendmsg } from "../../src/net/ipv4/tcp.ts";
import { udpProt } from "../../src/net/ipv4/udp.ts";
import {
  netFamilies,
  sockfdSocket,
  sockRegister,
  sysAccept,
  sysBind,
  sysClose,
  sysConnect,
  sysDup,
  sysFcntl,
  sysGetpeername,
  sysGetsockname,
  sysGetsockopt,
  sysIoctl,
  sysListen,
  sysPoll,
  sysRecv,
  sysSend,
  sysSetsockopt,
  sysShutdown,
  sysSocket,
} from "../../src/net/socket.ts";
import { errnoName } from "../../src/uapi/errno.ts";
import { F_DUPFD, F_GETFD, F_GETFL, F_SETFL, O_NONBLOCK, O_RDWR } from "../../src/uapi/fcntl.ts";
import { IPPROTO_UDP } from "../../src/uapi/in.ts";
import { POLLHUP, POLLIN, POLLNVAL, POLLOUT } from "../../src/uapi/poll.ts";
import { AF_INET, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM } from "../../src/uapi/socket.ts";
import { FIONBIO, SIOCINQ, SIOCOUTQ } from "../../src/uapi/sockios.ts";
import type { TestHost } from "./machine.ts";
import { testHost } from "./machine.ts";

let h: TestHost;
beforeEach(() => {
  h = testHost();
});
afterEach(() => {
  h.close();
  expect(socksInUse()).toBe(0);
  expect(poolFree()).toMatchObject({ skbs: 0, buffers: 0 });
});

/** "ok" for a descriptor or 0, else the errno's name. */
function said(ret: number): string {
  return ret >= 0 ? "ok" : errnoName(ret);
}

describe("socket(2)", () => {
  // family, type, protocol: as `socket()` of Linux 6.18 answers them to root.
  test.each([
    [2, 1, 0, "ok"],
    [2, 1, 6, "ok"],
    [2, 1, 17, "EPROTONOSUPPORT"],
    [2, 2, 0, "ok"],
    [2, 2, 17, "ok"],
    [2, 2, 6, "EPROTONOSUPPORT"],
    [2, 2, 1, "EACCES"], // net.ipv4.ping_group_range is empty
    [2, 3, 0, "EPROTONOSUPPORT"],
    [2, 3, 6, "ok"],
    [2, 3, 255, "ok"],
    [2, 3, 1, "ok"],
    [2, 4, 0, "ESOCKTNOSUPPORT"],
    [2, 5, 0, "ESOCKTNOSUPPORT"],
    [2, 5, 132, "ESOCKTNOSUPPORT"],
    [2, 6, 0, "ESOCKTNOSUPPORT"],
    [2, 11, 0, "EINVAL"],
    [2, 0, 0, "ESOCKTNOSUPPORT"],
    [2, -1, 0, "EINVAL"],
    [2, 1, -1, "EINVAL"],
    [2, 1, 263, "EINVAL"],
    [2, 1, 300, "EINVAL"],
    [2, 3, 256, "ok"],
    [0, 1, 0, "EAFNOSUPPORT"],
    [-1, 1, 0, "EAFNOSUPPORT"],
    [45, 1, 0, "EAFNOSUPPORT"],
    [46, 1, 0, "EAFNOSUPPORT"],
    [200, 1, 0, "EAFNOSUPPORT"],
    [2, 1 | SOCK_NONBLOCK, 0, "ok"],
    [2, 1 | SOCK_CLOEXEC, 0, "ok"],
    [2, 257, 0, "EINVAL"],
    [2, 65537, 0, "EINVAL"],
  ])("socket(%i, %i, %i) = %s", (family, type, protocol, expected) => {
    expect(said(sysSocket(h.net, family, type, protocol))).toBe(expected);
  });

  test("raw sockets need CAP_NET_RAW", () => {
    h.net.capsDropped.add(CAP_NET_RAW);
    expect(said(sysSocket(h.net, 2, 3, 6))).toBe("EPERM");
  });

  test("ping sockets: who is in net.ipv4.ping_group_range", () => {
    expect(h.net.sysctlTable.get("net.ipv4.ping_group_range")?.set("0 10")).toBe(0);
    expect(said(sysSocket(h.net, 2, 2, 1))).toBe("ok");
  });

  test("the entry picks both tables of pointers", () => {
    const stream = sockfdSocket(h.net, sysSocket(h.net, 2, 1, 0));
    expect(stream?.ops).toBe(inetStreamOps);
    expect(stream?.sk?.skProt.symbol).toBe("tcp_prot");
    // sock->ops->sendmsg of a stream is tcp_sendmsg itself.
    expect(inetStreamOps.sendmsg).toBe(tcpSendmsg);
    const dgram = sockfdSocket(h.net, sysSocket(h.net, 2, 2, 0));
    expect(dgram?.ops).toBe(inetDgramOps);
    expect(dgram?.sk?.skProt.symbol).toBe("udp_prot");
    const raw = sockfdSocket(h.net, sysSocket(h.net, 2, 3, 47));
    expect(raw?.ops).toBe(inetSockrawOps);
    expect(raw?.sk?.skProtocol).toBe(47);
  });

  test("inet_register_protosw: permanent entries come first and can't be overridden", () => {
    const mine = { type: SOCK_DGRAM, protocol: 200, prot: udpProt, ops: inetDgramOps, flags: 0 };
    const perm = { ...mine, protocol: IPPROTO_UDP };
    expect(said(inetRegisterProtosw(perm))).toBe("EPERM");
    expect(said(inetRegisterProtosw({ ...mine, type: 99 }))).toBe("EINVAL");
    expect(inetRegisterProtosw(mine)).toBe(0);
    const list = inetsw[SOCK_DGRAM] ?? [];
    expect((list[0]?.flags ?? 0) & INET_PROTOSW_PERMANENT).not.toBe(0);
    expect(list[1]).toBe(mine);
    expect(said(sysSocket(h.net, 2, 2, 200))).toBe("ok");
    expect(inetUnregisterProtosw(mine)).toBe(0);
    expect(said(sysSocket(h.net, 2, 2, 200))).toBe("EPROTONOSUPPORT");
    expect(said(inetUnregisterProtosw(list[0] as typeof mine))).toBe("EPERM");
  });

  test("sock_register", () => {
    const inet = netFamilies[2];
    expect(inet?.symbol).toBe("inet_family_ops");
    expect(said(sockRegister({ ...(inet as NonNullable<typeof inet>), family: 46 }))).toBe("ENOBUFS");
    expect(said(sockRegister({ ...(inet as NonNullable<typeof inet>) }))).toBe("EEXIST");
  });
});

describe("descriptors", () => {
  test("the lowest free number from 3 up", () => {
    const { net } = h;
    expect(sysSocket(net, 2, 2, 0)).toBe(3);
    expect(sysSocket(net, 2, 2, 0)).toBe(4);
    expect(sysSocket(net, 2, 2, 0)).toBe(5);
    expect(sysClose(net, 4)).toBe(0);
    expect(sysClose(net, 3)).toBe(0);
    expect(sysDup(net, 5)).toBe(3);
    expect(sysFcntl(net, 5, F_DUPFD, 10)).toBe(10);
    expect(sysSocket(net, 2, 2, 0)).toBe(4);
    expect(sysSocket(net, 2, 2, 0)).toBe(6);
    net.files.rlimitNofile = 7;
    expect(said(sysSocket(net, 2, 2, 0))).toBe("EMFILE");
  });

  test("a socket lives as long as one of its descriptors", () => {
    const { net } = h;
    const a = sysSocket(net, 2, 2, 0);
    const b = sysDup(net, a);
    expect(sysClose(net, a)).toBe(0);
    expect(said(sysClose(net, a))).toBe("EBADF");
    expect(sysBind(net, b, { family: 2, addr: 0, port: 7 })).toBe(0);
    expect(sysClose(net, b)).toBe(0);
    expect(socksInUse()).toBe(0);
  });

  test("O_NONBLOCK: socket(2), fcntl(2), FIONBIO", () => {
    const { net } = h;
    const fd = sysSocket(net, 2, 2 | SOCK_NONBLOCK, 0);
    expect(sysFcntl(net, fd, F_GETFL)).toBe(O_RDWR | O_NONBLOCK);
    expect(sysFcntl(net, fd, F_SETFL, 0)).toBe(0);
    expect(sockfdSocket(net, fd)?.nonblock).toBe(false);
    expect(sysIoctl(net, fd, FIONBIO, 1)).toBe(0);
    expect(sysFcntl(net, fd, F_GETFL)).toBe(O_RDWR | O_NONBLOCK);
    expect(sysFcntl(net, fd, F_GETFD)).toBe(0);
    expect(said(sysFcntl(net, 99, F_GETFL))).toBe("EBADF");
    expect(said(sysFcntl(net, fd, 12345))).toBe("EINVAL");
    expect(said(sysIoctl(net, fd, 12345))).toBe("ENOTTY");
    expect(sysIoctl(net, fd, SIOCINQ)).toBe(0);
    expect(sysIoctl(net, fd, SIOCOUTQ)).toBe(0);
  });

  test("EBADF everywhere", () => {
    const { net } = h;
    const addr = { family: 2, addr: 0, port: 0 };
    const buf = new Uint8Array(4);
    const err = new ErrBox();
    sysGetsockopt(net, 9, 1, 2, err);
    const all = [
      sysBind(net, 9, addr),
      sysListen(net, 9, 1),
      sysAccept(net, 9, null),
      sysConnect(net, 9, addr),
      sysGetsockname(net, 9, addr),
      sysGetpeername(net, 9, addr),
      sysShutdown(net, 9, 0),
      sysSend(net, 9, buf, 4, 0),
      sysRecv(net, 9, buf, 4, 0),
      sysSetsockopt(net, 9, 1, 2, 1),
      err.value,
      sysClose(net, 9),
      sysDup(net, 9),
      sysIoctl(net, 9, SIOCINQ),
    ];
    expect(all.map(said)).toEqual(all.map(() => "EBADF"));
    const fds = [
      { fd: 9, events: POLLIN, revents: 0 },
      { fd: -1, events: POLLIN, revents: 7 },
    ];
    expect(sysPoll(net, fds)).toBe(1);
    expect(fds.map((p) => p.revents)).toEqual([POLLNVAL, 0]);
  });
});

describe("calls that a socket refuses", () => {
  const any = { family: AF_INET, addr: 0, port: 0 };

  test("datagrams have no listen and accept", () => {
    const fd = sysSocket(h.net, 2, 2, 0);
    expect(said(sysListen(h.net, fd, 1))).toBe("EOPNOTSUPP");
    expect(said(sysAccept(h.net, fd, null))).toBe("EOPNOTSUPP");
    expect(said(sysShutdown(h.net, fd, 2))).toBe("ENOTCONN");
    expect(said(sysShutdown(h.net, fd, 3))).toBe("EINVAL");
    expect(said(sysShutdown(h.net, fd, -1))).toBe("EINVAL");
    expect(said(sysGetpeername(h.net, fd, { ...any }))).toBe("ENOTCONN");
    expect(sysGetsockname(h.net, fd, { ...any })).toBe(0);
  });

  test("bind", () => {
    const { net } = h;
    const lo = 0x7f000001;
    const a = sysSocket(net, 2, 2, 0);
    const b = sysSocket(net, 2, 2, 0);
    expect(said(sysBind(net, a, { family: 10, addr: 0, port: 80 }))).toBe("EAFNOSUPPORT");
    expect(said(sysBind(net, a, { family: 0, addr: lo, port: 80 }))).toBe("EAFNOSUPPORT");
    expect(said(sysBind(net, a, { family: 2, addr: 0x08080808, port: 80 }))).toBe("EADDRNOTAVAIL");
    expect(sysBind(net, a, { family: 0, addr: 0, port: 80 })).toBe(0);
    expect(said(sysBind(net, a, { family: 2, addr: 0, port: 81 }))).toBe("EINVAL");
    expect(said(sysBind(net, b, { family: 2, addr: lo, port: 80 }))).toBe("EADDRINUSE");
    expect(sysBind(net, b, { family: 2, addr: lo, port: 81 })).toBe(0);
    const name = { ...any };
    expect(sysGetsockname(net, b, name)).toBe(0);
    expect(name).toEqual({ family: 2, addr: lo, port: 81 });
    net.capsDropped.add(CAP_NET_BIND_SERVICE);
    const c = sysSocket(net, 2, 1, 0);
    expect(said(sysBind(net, c, { family: 2, addr: 0, port: 1023 }))).toBe("EACCES");
    expect(sysBind(net, c, { family: 2, addr: 0, port: 1024 })).toBe(0);
  });

  test("bind to foreign addresses: IP_FREEBIND, net.ipv4.ip_nonlocal_bind", () => {
    const { net } = h;
    const foreign = { family: 2, addr: 0x08080808, port: 80 };
    const a = sysSocket(net, 2, 2, 0);
    expect(sysSetsockopt(net, a, 0, 15, 1)).toBe(0); // IP_FREEBIND
    expect(sysBind(net, a, foreign)).toBe(0);
    expect(net.sysctlTable.get("net.ipv4.ip_nonlocal_bind")?.set("1")).toBe(0);
    expect(sysBind(net, sysSocket(net, 2, 1, 0), foreign)).toBe(0);
  });

  test("a stream that is not connected", () => {
    const { net } = h;
    const fd = sysSocket(net, 2, SOCK_STREAM, 0);
    const buf = new Uint8Array(1);
    expect(said(sysSend(net, fd, buf, 1, 0))).toBe("EPIPE");
    expect(said(sysRecv(net, fd, buf, 1, 0))).toBe("ENOTCONN");
    expect(said(sysAccept(net, fd, null))).toBe("EINVAL");
    const p = { fd, events: POLLIN | POLLOUT, revents: 0 };
    expect(sysPoll(net, [p])).toBe(1);
    expect(p.revents).toBe(POLLOUT | POLLHUP);
    // shutdown() fails, but readers see the end all the same.
    expect(said(sysShutdown(net, fd, 2))).toBe("ENOTCONN");
    expect(sysPoll(net, [p])).toBe(1);
    expect(p.revents).toBe(POLLIN | POLLOUT | POLLHUP);
  });

  test("listen", () => {
    const { net } = h;
    const fd = sysSocket(net, 2, SOCK_STREAM, 0);
    expect(sysListen(net, fd, -1)).toBe(0);
    // Bound to a port of its own, and the backlog cut to somaxconn.
    const sk = sockfdSocket(net, fd)?.sk;
    expect(sk?.skMaxAckBacklog).toBe(4096);
    expect(sk?.skcNum).toBeGreaterThanOrEqual(32768);
    expect(sysListen(net, fd, 5)).toBe(0);
    expect(sk?.skMaxAckBacklog).toBe(5);
    expect(said(sysAccept(net, fd, null))).toBe("EAGAIN");
    expect(said(sysConnect(net, fd, { family: 2, addr: 0x7f000001, port: 1 }))).toBe("EISCONN");
  });
});
