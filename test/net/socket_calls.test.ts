/**
 * Sequences of socket calls over the loopback device, against what Linux 6.18 answered to the same ones: socket_calls.linux.json. All
 * descriptors are non-blocking. `l` listens, `c` and `s` are the two ends of a connection, `u` and `v` datagram sockets that are
 * connected to each other, `n` a stream socket that is not connected, `r` and `w` a pipe, `f` a memory file of 5,000 bytes.
 * A step is a call with its arguments and its answer: a result, or the name of an error; recvmsg: [result, msg_flags, control
 * messages as [level, type] with their value if it is an int or an error].
 */

import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sysLseek, sysMemfdCreate } from "../../src/fs/memfd.ts";
import { sysPipe2 } from "../../src/fs/pipe.ts";
import { sysSendfile, sysSplice } from "../../src/fs/splice.ts";
import { poolFree } from "../../src/mm/pool.ts";
import type { Net } from "../../src/net/core/net_namespace.ts";
import type { Cmsg, SockAddr } from "../../src/net/core/sock.ts";
import { ErrBox, Msghdr, socksInUse } from "../../src/net/core/sock.ts";
import {
  sysAccept,
  sysBind,
  sysClose,
  sysConnect,
  sysFcntl,
  sysGetsockname,
  sysGetsockopt,
  sysIoctl,
  sysListen,
  sysPoll,
  sysRead,
  sysRecv,
  sysRecvmsg,
  sysSend,
  sysSetsockopt,
  sysShutdown,
  sysSocket,
  sysWrite,
} from "../../src/net/socket.ts";
import { errnoName } from "../../src/uapi/errno.ts";
import { F_SETFL, O_NONBLOCK } from "../../src/uapi/fcntl.ts";
import { IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP } from "../../src/uapi/in.ts";
import { AF_INET, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET } from "../../src/uapi/socket.ts";
import { SIOCATMARK, SIOCINQ, SIOCOUTQ, SIOCOUTQNSD } from "../../src/uapi/sockios.ts";
import type { TestHost } from "./machine.ts";
import { testHost } from "./machine.ts";

type Step = readonly [op: string, ...args: readonly unknown[]];
interface Case {
  readonly name: string;
  readonly steps: readonly Step[];
}
const linux = JSON.parse(readFileSync(new URL("./socket_calls.linux.json", import.meta.url), "utf8")) as Case[];

const IOCTLS: Readonly<Record<string, number>> = { SIOCINQ, SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK };
const OPTIONS: Readonly<Record<string, readonly [level: number, name: number]>> = {
  SO_PEEK_OFF: [SOL_SOCKET, 42],
  SO_OOBINLINE: [SOL_SOCKET, 10],
  SO_RCVLOWAT: [SOL_SOCKET, 18],
  SO_ERROR: [SOL_SOCKET, 4],
  SO_ZEROCOPY: [SOL_SOCKET, 60],
  SO_TIMESTAMPING: [SOL_SOCKET, 37],
  SO_TIMESTAMP: [SOL_SOCKET, 29],
  TCP_CORK: [IPPROTO_TCP, 3],
  TCP_INQ: [IPPROTO_TCP, 36],
  UDP_CORK: [IPPROTO_UDP, 1],
  IP_RECVERR: [IPPROTO_IP, 11],
};
/** What a step is asked for: all that poll(2) can tell. */
const POLL_ALL = 0x2047 | 0x100 | 0x40 | 0x80;
const SETTLE_US = 80_000;

let h: TestHost;
let net: Net;
let fds: Record<string, number>;
beforeEach(() => {
  h = testHost();
  ({ net } = h);
  const lo = (port: number): SockAddr => ({ family: AF_INET, addr: 0x7f000001, port });
  const any = (fd: number): SockAddr => {
    const addr = lo(0);
    expect(sysBind(net, fd, addr)).toBe(0);
    sysGetsockname(net, fd, addr);
    return addr;
  };
  const socket = (type: number): number => sysSocket(net, AF_INET, type, 0);
  const [l, c, u, v, n] = [SOCK_STREAM, SOCK_STREAM, SOCK_DGRAM, SOCK_DGRAM, SOCK_STREAM].map(socket) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const addr = any(l);
  sysListen(net, l, 5);
  sysConnect(net, c, addr);
  h.advance(1000);
  const s = sysAccept(net, l, null);
  const [ua, va] = [any(u), any(v)];
  sysConnect(net, u, va);
  sysConnect(net, v, ua);
  const ends: number[] = [];
  sysPipe2(net, ends, O_NONBLOCK);
  const f = sysMemfdCreate(net, "f", 0);
  sysWrite(net, f, new Uint8Array(5000), 5000);
  sysLseek(net, f, 0, 0);
  fds = { l, c, s, u, v, n, r: ends[0] as number, w: ends[1] as number, f };
  for (const fd of [l, c, s, u, v, n]) sysFcntl(net, fd, F_SETFL, O_NONBLOCK);
});
afterEach(() => {
  h.close();
  h.advance(300_000_000);
  expect(socksInUse()).toBe(0);
  expect(poolFree()).toMatchObject({ skbs: 0, buffers: 0 });
});

const said = (ret: number): number | string => (ret < 0 ? errnoName(ret) : ret);

/** Error queues' entries have six numbers, ints are told, of other structures only that they are there. */
function control({ level, type, data }: Cmsg): unknown[] {
  if (level === IPPROTO_IP && type === 11) {
    const ee = data as Record<string, number>;
    return [level, type, ["eeErrno", "eeOrigin", "eeType", "eeCode", "eeInfo", "eeData"].map((key) => ee[key])];
  }
  return typeof data === "number" ? [level, type, data] : [level, type];
}

function answer(op: string, args: readonly unknown[]): unknown {
  const fd = (i: number): number => fds[args[i] as string] as number;
  const num = (i: number): number => args[i] as number;
  switch (op) {
    case "settle":
      h.advance(SETTLE_US);
      return 0;
    case "send":
      return said(sysSend(net, fd(0), new Uint8Array(num(1)), num(1), num(2)));
    case "recv":
      return said(sysRecv(net, fd(0), new Uint8Array(num(1)), num(1), num(2)));
    case "recvmsg": {
      const msg = new Msghdr();
      msg.iov = (args[1] as number[]).map((len) => new Uint8Array(len));
      msg.control = num(3) !== 0 ? [] : null;
      const n = sysRecvmsg(net, fd(0), msg, num(2));
      return n < 0 ? said(n) : [n, msg.flags, (msg.control ?? []).map(control)];
    }
    case "opt":
      return said(sysSetsockopt(net, fd(0), ...(OPTIONS[args[1] as string] as [number, number]), num(2)));
    case "get": {
      const err = new ErrBox();
      const value = sysGetsockopt(net, fd(0), ...(OPTIONS[args[1] as string] as [number, number]), err);
      const flags = typeof value === "object" ? (value as { flags: number }).flags : value;
      return err.value < 0 ? said(err.value) : flags;
    }
    case "ioctl":
      return said(sysIoctl(net, fd(0), IOCTLS[args[1] as string] as number));
    case "poll": {
      const p = { fd: fd(0), events: POLL_ALL, revents: 0 };
      sysPoll(net, [p]);
      return p.revents;
    }
    case "shutdown":
      return said(sysShutdown(net, fd(0), num(1)));
    case "close":
      return said(sysClose(net, fd(0)));
    case "splice":
      return said(sysSplice(net, fd(0), null, fd(1), null, num(2), num(3)));
    case "pread":
      return said(sysRead(net, fd(0), new Uint8Array(num(1)), num(1)));
    case "pwrite":
      return said(sysWrite(net, fd(0), new Uint8Array(num(1)), num(1)));
    case "sendfile": {
      const offset = args[2] === null ? null : { value: num(2) };
      return said(sysSendfile(net, fd(0), fd(1), offset, num(3)));
    }
    default:
      throw new RangeError(op);
  }
}

describe("as Linux answers", () => {
  test.each(linux.map((c): [string, Case] => [c.name, c]))("%s", (_, { steps }) => {
    const seen = steps.map((step): unknown[] => [...step.slice(0, -1), answer(step[0], step.slice(1, -1))]);
    expect(seen).toEqual(steps);
  });
});
