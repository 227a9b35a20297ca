/** Packet sockets on the loopback device. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CAP_NET_RAW } from "../../../src/kernel/capability.ts";
import { poolFree } from "../../../src/mm/pool.ts";
import type { NetDevice } from "../../../src/net/core/dev.ts";
import { devClose, devGetByName, devOpen } from "../../../src/net/core/dev.ts";
import type { Net } from "../../../src/net/core/net_namespace.ts";
import type { SockAddr } from "../../../src/net/core/sock.ts";
import { ErrBox, Msghdr, socksInUse } from "../../../src/net/core/sock.ts";
import { packetInit } from "../../../src/net/packet/af_packet.ts";
import {
  sysBind,
  sysConnect,
  sysGetsockname,
  sysGetsockopt,
  sysRecv,
  sysRecvfrom,
  sysRecvmsg,
  sysSendto,
  sysSetsockopt,
  sysSocket,
} from "../../../src/net/socket.ts";
import { errnoName } from "../../../src/uapi/errno.ts";
import { PACKET_HOST, PACKET_OUTGOING } from "../../../src/uapi/if.ts";
import { ETH_P_ALL, ETH_P_ARP, ETH_P_IP } from "../../../src/uapi/if_ether.ts";
import {
  PACKET_ADD_MEMBERSHIP,
  PACKET_AUXDATA,
  PACKET_DROP_MEMBERSHIP,
  PACKET_IGNORE_OUTGOING,
  PACKET_MR_PROMISC,
  PACKET_STATISTICS,
} from "../../../src/uapi/if_packet.ts";
import {
  AF_INET,
  AF_PACKET,
  SO_RCVBUF,
  SOCK_DGRAM,
  SOCK_PACKET,
  SOCK_RAW,
  SOCK_STREAM,
  SOL_PACKET,
} from "../../../src/uapi/socket.ts";
import type { TestHost } from "../machine.ts";
import { testHost } from "../machine.ts";

packetInit();

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

const said = (ret: number): number | string => (ret < 0 ? errnoName(ret) : ret);
const sll = (protocol: number, ifindex = 1, lladdr?: Uint8Array): SockAddr => ({
  family: AF_PACKET,
  addr: 0,
  port: 0,
  ifindex,
  protocol,
  ...(lladdr === undefined ? {} : { lladdr }),
});
const blank = (): SockAddr => ({ family: 0, addr: 0, port: 0 });

/** Sends a UDP datagram of `len` bytes to 127.0.0.1:1000, where somebody is. */
let rx = -1;
function traffic(len: number): void {
  rx = sysSocket(net, AF_INET, SOCK_DGRAM, 0);
  sysBind(net, rx, { family: AF_INET, addr: 0x7f000001, port: 1000 });
  more(len);
}
function more(len: number): void {
  const tx = sysSocket(net, AF_INET, SOCK_DGRAM, 0);
  expect(sysSendto(net, tx, new Uint8Array(len), len, 0, { family: AF_INET, addr: 0x7f000001, port: 1000 })).toBe(len);
}
function recv(fd: number): Uint8Array | string {
  const buf = new Uint8Array(2000);
  const n = sysRecv(net, fd, buf, 2000, 0);
  return n < 0 ? errnoName(n) : buf.slice(0, n);
}

describe("socket", () => {
  test.each([
    [SOCK_RAW, "ok"],
    [SOCK_DGRAM, "ok"],
    [SOCK_STREAM, "ESOCKTNOSUPPORT"],
  ])("type %i: %s", (type, expected) => {
    const fd = sysSocket(net, AF_PACKET, type, ETH_P_ALL);
    expect(fd >= 0 ? "ok" : errnoName(fd)).toBe(expected);
  });

  test("SOCK_PACKET of AF_INET is one; CAP_NET_RAW", () => {
    expect(sysSocket(net, AF_INET, SOCK_PACKET, ETH_P_ALL)).toBeGreaterThan(2);
    net.capsDropped.add(CAP_NET_RAW);
    expect(said(sysSocket(net, AF_PACKET, SOCK_RAW, ETH_P_ALL))).toBe("EPERM");
  });

  test("what is refused", () => {
    const fd = sysSocket(net, AF_PACKET, SOCK_RAW, 0);
    expect(said(sysBind(net, fd, sll(ETH_P_ALL, 9)))).toBe("ENODEV");
    expect(said(sysBind(net, fd, { ...sll(ETH_P_ALL), family: AF_INET }))).toBe("EINVAL");
    expect(said(sysConnect(net, fd, sll(ETH_P_ALL)))).toBe("EOPNOTSUPP");
    expect(said(sysSendto(net, fd, new Uint8Array(60), 60, 0, null))).toBe("ENXIO");
    expect(said(sysSendto(net, fd, new Uint8Array(13), 13, 0, sll(ETH_P_IP)))).toBe("EINVAL");
    expect(said(sysSendto(net, fd, new Uint8Array(66000), 66000, 0, sll(ETH_P_IP)))).toBe("EMSGSIZE");
  });
});

describe("seeing", () => {
  test("ETH_P_ALL: every frame, out and in, with its link header", () => {
    const fd = sysSocket(net, AF_PACKET, SOCK_RAW, ETH_P_ALL);
    traffic(10);
    const buf = new Uint8Array(100);
    const seen: (number | undefined)[] = [];
    for (let i = 0; i < 2; i++) {
      const from = blank();
      expect(sysRecvfrom(net, fd, buf, 100, 0, from)).toBe(14 + 20 + 8 + 10);
      expect(from).toMatchObject({ family: AF_PACKET, ifindex: 1, protocol: ETH_P_IP, hatype: 772 });
      seen.push(from.pkttype);
      expect((buf[12]! << 8) | buf[13]!).toBe(ETH_P_IP);
      expect(buf[14]).toBe(0x45);
    }
    expect(seen).toEqual([PACKET_OUTGOING, PACKET_HOST]);
    expect(recv(fd)).toBe("EAGAIN");
    expect(recv(rx)).toHaveLength(10);
  });

  test("SOCK_DGRAM: without the link header", () => {
    const fd = sysSocket(net, AF_PACKET, SOCK_DGRAM, ETH_P_ALL);
    traffic(10);
    for (let i = 0; i < 2; i++) {
      const p = recv(fd) as Uint8Array;
      expect(p).toHaveLength(38);
      expect(p[0]).toBe(0x45);
    }
  });

  test("one protocol: what comes in of it", () => {
    const ip = sysSocket(net, AF_PACKET, SOCK_RAW, ETH_P_IP);
    const arp = sysSocket(net, AF_PACKET, SOCK_RAW, ETH_P_ARP);
    const none = sysSocket(net, AF_PACKET, SOCK_RAW, 0);
    traffic(10);
    expect([recv(ip), recv(ip)].map((p) => p.length)).toEqual([52, 6]);
    expect([recv(arp), recv(none)]).toEqual(["EAGAIN", "EAGAIN"]);
    // bind() gives a socket its protocol and device.
    expect(sysBind(net, none, sll(ETH_P_IP))).toBe(0);
    const name = blank();
    sysGetsockname(net, none, name);
    expect(name).toMatchObject({ family: AF_PACKET, ifindex: 1, protocol: ETH_P_IP });
    more(10);
    expect(recv(none)).toHaveLength(52);
  });

  test("PACKET_IGNORE_OUTGOING", () => {
    const fd = sysSocket(net, AF_PACKET, SOCK_RAW, ETH_P_ALL);
    expect(sysSetsockopt(net, fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)).toBe(0);
    traffic(10);
    expect([recv(fd), recv(fd)].map((p) => p.length)).toEqual([52, 6]);
  });

  test("PACKET_AUXDATA, and truncation", () => {
    const fd = sysSocket(net, AF_PACKET, SOCK_RAW, ETH_P_ALL);
    sysSetsockopt(net, fd, SOL_PACKET, PACKET_AUXDATA, 1);
    traffic(10);
    const msg = new Msghdr();
    msg.iov = [new Uint8Array(20)];
    msg.control = [];
    expect(sysRecvmsg(net, fd, msg, 0)).toBe(20);
    expect(msg.flags & 0x20).toBe(0x20);
    // The checksum of a frame that goes out is left to the device.
    expect(msg.control).toEqual([
      {
        level: SOL_PACKET,
        type: PACKET_AUXDATA,
        data: { tpStatus: 9, tpLen: 52, tpSnaplen: 52, tpMac: 0, tpNet: 14 },
      },
    ]);
  });

  test("a full receive buffer, PACKET_STATISTICS", () => {
    const fd = sysSocket(net, AF_PACKET, SOCK_RAW, ETH_P_ALL);
    sysSetsockopt(net, fd, 1, SO_RCVBUF, 2304);
    traffic(10);
    for (let i = 0; i < 9; i++) more(10);
    let n = 0;
    while (typeof recv(fd) !== "string") n++;
    const err = new ErrBox();
    const stats = sysGetsockopt(net, fd, SOL_PACKET, PACKET_STATISTICS, err);
    expect(stats).toEqual({ tpPackets: 20, tpDrops: 20 - n });
    expect(sysGetsockopt(net, fd, SOL_PACKET, PACKET_STATISTICS, err)).toEqual({ tpPackets: 0, tpDrops: 0 });
  });
});

describe("sending", () => {
  test("a frame of one's own", () => {
    traffic(1);
    recv(rx);
    const sniff = sysSocket(net, AF_PACKET, SOCK_RAW, ETH_P_ALL);
    more(5);
    const frame = recv(sniff) as Uint8Array;
    expect(recv(rx)).toHaveLength(5);
    recv(sniff);
    // The same once more. It is shown to other packet sockets, but not, on its way out, to the one that sent it.
    expect(sysSendto(net, sniff, frame, frame.length, 0, sll(0))).toBe(frame.length);
    const again = [recv(sniff), recv(sniff)].map((p) => p.length);
    expect(again).toEqual([frame.length, 6]);
  });

  test("SOCK_DGRAM: the device makes the link header", () => {
    const fd = sysSocket(net, AF_PACKET, SOCK_DGRAM, 0);
    const sniff = sysSocket(net, AF_PACKET, SOCK_RAW, ETH_P_ALL);
    const to = new Uint8Array([2, 0, 0, 0, 0, 9]);
    expect(sysSendto(net, fd, new Uint8Array([1, 2, 3]), 3, 0, sll(0x88b5, 1, to))).toBe(3);
    const p = recv(sniff) as Uint8Array;
    expect([...p.slice(0, 6)]).toEqual([...to]);
    expect([...p.slice(12)]).toEqual([0x88, 0xb5, 1, 2, 3]);
  });
});

describe("the device", () => {
  const lo = (): NetDevice => devGetByName(net, "lo") as NetDevice;
  const inKernel = (fn: () => void): void => {
    h.kernel.enter();
    fn();
    h.kernel.exit();
  };

  test("goes down: ENETDOWN once, and nothing until it is up again", () => {
    const fd = sysSocket(net, AF_PACKET, SOCK_RAW, 0);
    sysBind(net, fd, sll(ETH_P_ALL));
    inKernel(() => devClose(lo()));
    expect([recv(fd), recv(fd)]).toEqual(["ENETDOWN", "EAGAIN"]);
    expect(said(sysSendto(net, fd, new Uint8Array(60), 60, 0, sll(ETH_P_IP)))).toBe("ENETDOWN");
    inKernel(() => devOpen(lo()));
    traffic(10);
    expect(recv(fd)).toHaveLength(52);
  });

  test("promiscuous while somebody wants it", () => {
    const fd = sysSocket(net, AF_PACKET, SOCK_RAW, ETH_P_ALL);
    const mreq = { ifindex: 1, type: PACKET_MR_PROMISC };
    expect(sysSetsockopt(net, fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, mreq)).toBe(0);
    expect(lo().promiscuity).toBe(1);
    expect(sysSetsockopt(net, fd, SOL_PACKET, PACKET_DROP_MEMBERSHIP, mreq)).toBe(0);
    expect(lo().promiscuity).toBe(0);
    expect(said(sysSetsockopt(net, fd, SOL_PACKET, PACKET_DROP_MEMBERSHIP, mreq))).toBe("EADDRNOTAVAIL");
    expect(said(sysSetsockopt(net, fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, { ...mreq, ifindex: 9 }))).toBe("ENODEV");
  });
});
