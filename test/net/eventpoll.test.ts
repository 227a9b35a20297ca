/** epoll(7). Expected answers are those that Linux 6.18 gives to the same calls. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Net } from "../../src/net/core/net_namespace.ts";
import type { EpollEvent } from "../../src/net/eventpoll.ts";
import { sysEpollCreate, sysEpollCreate1, sysEpollCtl, sysEpollWait } from "../../src/net/eventpoll.ts";
import { sysBind, sysClose, sysDup, sysPoll, sysRecv, sysSend, sysSendto, sysSocket } from "../../src/net/socket.ts";
import { sysEpollWaitAsync } from "../../src/net/syscalls_async.ts";
import { errnoName } from "../../src/uapi/errno.ts";
import {
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLLET,
  EPOLLEXCLUSIVE,
  EPOLLIN,
  EPOLLONESHOT,
  EPOLLOUT,
  POLLIN,
} from "../../src/uapi/poll.ts";
import type { TestHost } from "./machine.ts";
import { testHost } from "./machine.ts";

let h: TestHost;
let net: Net;
let a: number;
let b: number;
let ep: number;
const to = { family: 2, addr: 0x7f000001, port: 1000 };
beforeEach(() => {
  h = testHost();
  ({ net } = h);
  a = sysSocket(net, 2, 2, 0);
  sysBind(net, a, to);
  b = sysSocket(net, 2, 2, 0);
  ep = sysEpollCreate1(net, 0);
});
afterEach(() => h.close());

const said = (ret: number): number | string => (ret < 0 ? errnoName(ret) : ret);
const ctl = (op: number, fd: number, events: number, epfd = ep): number | string =>
  said(sysEpollCtl(net, epfd, op, fd, { events, data: fd }));
const send = (): number => sysSendto(net, b, new Uint8Array(1), 1, 0, to);
const recv = (): number => sysRecv(net, a, new Uint8Array(9), 9, 0);
function wait(epfd = ep, max = 8): [unknown, number][] {
  const events: EpollEvent[] = [];
  const n = sysEpollWait(net, epfd, events, max);
  expect(n).toBe(events.length);
  return events.map((e) => [e.data, e.events]);
}

test("level-triggered: reported while it is so", () => {
  expect(ctl(EPOLL_CTL_ADD, a, EPOLLIN)).toBe(0);
  expect(wait()).toEqual([]);
  send();
  send();
  expect([wait(), wait()]).toEqual([[[a, EPOLLIN]], [[a, EPOLLIN]]]);
  recv();
  expect(wait()).toEqual([[a, EPOLLIN]]);
  recv();
  expect(wait()).toEqual([]);
});

test("edge-triggered: reported once an event", () => {
  ctl(EPOLL_CTL_ADD, a, EPOLLIN | EPOLLET);
  expect(wait()).toEqual([]);
  send();
  expect([wait(), wait()]).toEqual([[[a, EPOLLIN]], []]);
  send();
  expect([wait(), wait()]).toEqual([[[a, EPOLLIN]], []]);
  recv();
  expect(wait()).toEqual([]);
  // What is up when the interest changes counts as an event.
  ctl(EPOLL_CTL_MOD, a, EPOLLIN | EPOLLOUT | EPOLLET);
  expect([wait(), wait()]).toEqual([[[a, EPOLLIN | EPOLLOUT]], []]);
});

test("EPOLLONESHOT: disarmed until it is modified", () => {
  ctl(EPOLL_CTL_ADD, a, EPOLLIN | EPOLLONESHOT);
  send();
  expect([wait(), wait()]).toEqual([[[a, EPOLLIN]], []]);
  send();
  expect(wait()).toEqual([]);
  ctl(EPOLL_CTL_MOD, a, EPOLLIN | EPOLLONESHOT);
  expect(wait()).toEqual([[a, EPOLLIN]]);
});

test("busy files take turns", () => {
  const fds = [0, 1, 2].map((i) => {
    const fd = sysSocket(net, 2, 2, 0);
    sysBind(net, fd, { ...to, port: 2000 + i });
    ctl(EPOLL_CTL_ADD, fd, EPOLLIN);
    sysSendto(net, b, new Uint8Array(1), 1, 0, { ...to, port: 2000 + i });
    return fd;
  });
  const turns = [0, 1, 2, 3].map(() => wait(ep, 2).map(([fd]) => fds.indexOf(fd as number)));
  expect(turns).toEqual([
    [0, 1],
    [2, 0],
    [1, 2],
    [0, 1],
  ]);
});

test("what is refused", () => {
  ctl(EPOLL_CTL_ADD, a, EPOLLIN);
  expect(ctl(EPOLL_CTL_ADD, a, EPOLLIN)).toBe("EEXIST");
  expect(ctl(EPOLL_CTL_DEL, b, 0)).toBe("ENOENT");
  expect(ctl(EPOLL_CTL_MOD, b, EPOLLIN)).toBe("ENOENT");
  expect(ctl(EPOLL_CTL_ADD, ep, EPOLLIN)).toBe("EINVAL");
  expect(ctl(EPOLL_CTL_ADD, 999, EPOLLIN)).toBe("EBADF");
  expect(ctl(EPOLL_CTL_ADD, b, EPOLLIN, 999)).toBe("EBADF");
  expect(ctl(EPOLL_CTL_ADD, b, EPOLLIN, a)).toBe("EINVAL");
  expect(ctl(9, a, EPOLLIN)).toBe("EINVAL");
  expect(ctl(EPOLL_CTL_MOD, a, EPOLLIN | EPOLLEXCLUSIVE)).toBe("EINVAL");
  expect(ctl(EPOLL_CTL_ADD, b, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT)).toBe("EINVAL");
  expect(ctl(EPOLL_CTL_ADD, b, EPOLLIN | EPOLLEXCLUSIVE)).toBe(0);
  expect(ctl(EPOLL_CTL_MOD, b, EPOLLIN)).toBe("EINVAL");
  expect(said(sysEpollWait(net, ep, [], 0))).toBe("EINVAL");
  expect(said(sysEpollWait(net, a, [], 1))).toBe("EINVAL");
  expect(said(sysEpollWait(net, 999, [], 1))).toBe("EBADF");
  expect(said(sysEpollCreate1(net, 1))).toBe("EINVAL");
  expect(said(sysEpollCreate(net, 0))).toBe("EINVAL");
  expect(said(sysSend(net, ep, new Uint8Array(1), 1, 0))).toBe("ENOTSOCK");
});

test("an instance can be watched by another, in no circle", () => {
  ctl(EPOLL_CTL_ADD, a, EPOLLIN);
  const outer = sysEpollCreate1(net, 0);
  expect(ctl(EPOLL_CTL_ADD, ep, EPOLLIN, outer)).toBe(0);
  expect(wait(outer)).toEqual([]);
  send();
  expect(wait(outer)).toEqual([[ep, EPOLLIN]]);
  recv();
  expect(wait(outer)).toEqual([]);
  send();
  expect(wait(outer)).toEqual([[ep, EPOLLIN]]);
  expect(ctl(EPOLL_CTL_ADD, outer, EPOLLIN)).toBe("ELOOP");
  const p = { fd: outer, events: POLLIN, revents: 0 };
  expect(sysPoll(net, [p])).toBe(1);
});

test("an item goes with the file, not with the descriptor", () => {
  ctl(EPOLL_CTL_ADD, a, EPOLLIN);
  send();
  const d = sysDup(net, a);
  sysClose(net, a);
  expect(wait()).toEqual([[a, EPOLLIN]]);
  sysClose(net, d);
  expect(wait()).toEqual([]);
});

test("closing the instance leaves no trace in the sockets", () => {
  ctl(EPOLL_CTL_ADD, a, EPOLLIN);
  const d = sysEpollCreate1(net, 0);
  ctl(EPOLL_CTL_ADD, a, EPOLLIN, d);
  sysClose(net, ep);
  sysClose(net, d);
  const file = net.files.get(a);
  expect(file?.fEp.size).toBe(0);
  expect(file?.fOp.waitCallbacks(file)).toEqual([]);
  expect(send()).toBe(1);
});

describe("waiting", () => {
  test("until something comes", async () => {
    ctl(EPOLL_CTL_ADD, a, EPOLLIN);
    const events: EpollEvent[] = [];
    const waiting = sysEpollWaitAsync(net, ep, events, 8, -1);
    await Promise.resolve();
    send();
    expect(await waiting).toBe(1);
    expect(events).toEqual([{ data: a, events: EPOLLIN }]);
  });

  test("at most the timeout", async () => {
    ctl(EPOLL_CTL_ADD, a, EPOLLIN);
    const t = h.clock.t;
    let done = -1;
    const waiting = sysEpollWaitAsync(net, ep, [], 8, 20).then((n) => {
      done = n;
    });
    await Promise.resolve();
    h.advance(19_000);
    await new Promise((resolve) => setImmediate(resolve));
    expect(done).toBe(-1);
    h.advance(2_000);
    await waiting;
    expect(done).toBe(0);
    expect(h.clock.t - t).toBe(21_000);
  });

  test("EPOLLEXCLUSIVE: one instance is woken, plain ones always", async () => {
    const eps = [0, 1, 2].map(() => sysEpollCreate1(net, 0));
    ctl(EPOLL_CTL_ADD, a, EPOLLIN | EPOLLEXCLUSIVE, eps[0]);
    ctl(EPOLL_CTL_ADD, a, EPOLLIN | EPOLLEXCLUSIVE, eps[1]);
    ctl(EPOLL_CTL_ADD, a, EPOLLIN, eps[2]);
    const woken: number[] = [];
    const waits = eps.map((epfd, i) =>
      sysEpollWaitAsync(net, epfd, [], 8, 50).then((n) => {
        if (n > 0) woken.push(i);
      }),
    );
    await Promise.resolve();
    send();
    await new Promise((resolve) => setImmediate(resolve));
    expect(woken.sort()).toEqual([0, 2]);
    recv();
    h.advance(100_000);
    await Promise.all(waits);
  });
});
