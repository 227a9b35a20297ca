/**
 * Calls that wait, against what Linux 6.18 answered to the same ones, and when: blocking_calls.linux.json. The call begins at 0, the events
 * happen at their times (milliseconds); the answer is a result or an error's name and the time, to 50 ms, or "waits" if there
 * was none after 400 ms. Descriptors are as in socket_calls.test.ts, but blocking.
 */

import { readFileSync } from "node:fs";
import { afterEach, expect, test } from "vitest";
import { sysPipe } from "../../src/fs/pipe.ts";
import { poolFree } from "../../src/mm/pool.ts";
import type { SockAddr } from "../../src/net/core/sock.ts";
import { socksInUse } from "../../src/net/core/sock.ts";
import {
  sysAccept,
  sysBind,
  sysClose,
  sysConnect,
  sysGetsockname,
  sysListen,
  sysSend,
  sysSetsockopt,
  sysShutdown,
  sysSocket,
  sysWrite,
} from "../../src/net/socket.ts";
import {
  sysAcceptAsync,
  sysPollAsync,
  sysReadAsync,
  sysRecvAsync,
  sysSpliceAsync,
} from "../../src/net/syscalls_async.ts";
import { errnoName } from "../../src/uapi/errno.ts";
import {
  AF_INET,
  SO_LINGER,
  SO_RCVLOWAT,
  SO_RCVTIMEO,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
} from "../../src/uapi/socket.ts";
import type { TestHost } from "./machine.ts";
import { testHost } from "./machine.ts";

interface Case {
  readonly name: string;
  readonly options: readonly (readonly [fd: string, option: string, value: number])[];
  readonly call: readonly [op: string, ...args: readonly (string | number)[]];
  readonly events: readonly (readonly [ms: number, op: string, ...args: readonly (string | number)[]])[];
  readonly answer: readonly (string | number)[];
}
const linux = JSON.parse(readFileSync(new URL("./blocking_calls.linux.json", import.meta.url), "utf8")) as Case[];

let h: TestHost;
let fds: Record<string, number>;

function setUp(): void {
  h = testHost();
  const { net } = h;
  const bound = (fd: number): SockAddr => {
    const addr = { family: AF_INET, addr: 0x7f000001, port: 0 };
    sysBind(net, fd, addr);
    sysGetsockname(net, fd, addr);
    return addr;
  };
  const l = sysSocket(net, AF_INET, SOCK_STREAM, 0);
  const c = sysSocket(net, AF_INET, SOCK_STREAM, 0);
  const u = sysSocket(net, AF_INET, SOCK_DGRAM, 0);
  const v = sysSocket(net, AF_INET, SOCK_DGRAM, 0);
  const addr = bound(l);
  sysListen(net, l, 5);
  sysConnect(net, c, addr);
  h.advance(1000);
  const s = sysAccept(net, l, null);
  const [ua, va] = [bound(u), bound(v)];
  sysConnect(net, u, va);
  sysConnect(net, v, ua);
  const ends: number[] = [];
  sysPipe(net, ends);
  fds = { l, c, s, u, v, r: ends[0] as number, w: ends[1] as number };
}
afterEach(() => {
  h.close();
  h.advance(300_000_000);
  expect(socksInUse()).toBe(0);
  expect(poolFree()).toMatchObject({ skbs: 0, buffers: 0 });
});

const said = (ret: number): number | string => (ret < 0 ? errnoName(ret) : ret);

/** Starts a call that may wait. */
async function begin([op, ...args]: Case["call"]): Promise<number | string> {
  const { net } = h;
  const fd = (i: number): number => fds[args[i] as string] as number;
  const num = (i: number): number => args[i] as number;
  switch (op) {
    case "recv":
      return said(await sysRecvAsync(net, fd(0), new Uint8Array(num(1)), num(1), num(2)));
    case "accept":
      return said(await sysAcceptAsync(net, fd(0), null));
    case "splice":
      return said(await sysSpliceAsync(net, fd(0), null, fd(1), null, num(2), num(3)));
    case "pread":
      return said(await sysReadAsync(net, fd(0), new Uint8Array(num(1)), num(1)));
    case "poll": {
      const p = { fd: fd(0), events: num(1), revents: 0 };
      await sysPollAsync(net, [p], num(2));
      return p.revents;
    }
    default:
      throw new RangeError(op);
  }
}

function event([, op, name, ...args]: Case["events"][number]): void {
  const { net } = h;
  const fd = fds[name as string] as number;
  const num = (i: number): number => args[i] as number;
  if (op === "send") sysSend(net, fd, new Uint8Array(num(0)), num(0), num(1));
  else if (op === "shutdown") sysShutdown(net, fd, num(0));
  else if (op === "pwrite") sysWrite(net, fd, new Uint8Array(num(0)), num(0));
  else {
    expect(["close", "reset"]).toContain(op);
    if (op === "reset") sysSetsockopt(net, fd, SOL_SOCKET, SO_LINGER, { onoff: 1, linger: 0 });
    sysClose(net, fd);
  }
}

test.each(linux.map((c): [string, Case] => [c.name, c]))("%s", async (_, c) => {
  setUp();
  for (const [name, option, value] of c.options) {
    const fd = fds[name] as number;
    if (option === "SO_RCVLOWAT") sysSetsockopt(h.net, fd, SOL_SOCKET, SO_RCVLOWAT, value);
    else sysSetsockopt(h.net, fd, SOL_SOCKET, SO_RCVTIMEO, { tvSec: 0, tvUsec: value * 1000 });
  }
  const start = h.clock.t;
  let answer: (string | number)[] = ["waits"];
  void begin(c.call).then((result) => {
    answer = [result, Math.round((h.clock.t - start) / 50_000) * 50];
  });
  const events = [...c.events];
  for (let ms = 0; ms < 400 && answer.length === 1; ms++) {
    while (events[0]?.[0] === ms) event(events.shift() as Case["events"][number]);
    await new Promise((resolve) => setImmediate(resolve));
    h.advance(1000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(answer).toEqual(c.answer);
});
