/** The life of a sock, its accounts and its wait queue. */

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { SKB_DESTRUCTOR_WFREE } from "../../../assembly/layout.ts";
import { poolFree, poolSetLimit } from "../../../src/mm/pool.ts";
import {
  copyToIter,
  msgIterAdvance,
  msgIterCopyTo,
  msgIterInitVec,
  msgIterRevert,
} from "../../../src/net/core/iov_iter.ts";
import type { Net } from "../../../src/net/core/net_namespace.ts";
import {
  allocPage,
  allocSkb,
  getPage,
  kfreeSkb,
  pageRefs,
  putPage,
  skbDestructorNames,
  skbSk,
  skbTruesize,
  skSlots,
} from "../../../src/net/core/skbuff.ts";
import type { Proto } from "../../../src/net/core/sock.ts";
import {
  addWaitQueue,
  ErrBox,
  Msghdr,
  PageFrag,
  removeWaitQueue,
  SOCK_BINDADDR_LOCK,
  SOCK_BINDPORT_LOCK,
  SOCK_SNDBUF_LOCK,
  Sock,
  Socket,
  SS_UNCONNECTED,
  skAlloc,
  skbPageFragRefill,
  skbSetOwnerR,
  skbSetOwnerW,
  skCloneLock,
  skForcedMemSchedule,
  skFree,
  skMemCharge,
  skMemReclaim,
  skMemReclaimFinal,
  skMemUncharge,
  skPageFragRefill,
  skRmemSchedule,
  skWmemSchedule,
  sockAllocSendSkb,
  sockGraft,
  sockHold,
  sockInitData,
  sockPut,
  socksInUse,
} from "../../../src/net/core/sock.ts";
import {
  skStreamMemoryFree,
  skStreamMinWspace,
  skStreamWriteSpace,
  skStreamWspace,
} from "../../../src/net/core/stream.ts";
import { TcpSock } from "../../../src/net/ipv4/tcp_sock.ts";
import { EAGAIN, EPIPE } from "../../../src/uapi/errno.ts";
import { EPOLLIN, EPOLLOUT } from "../../../src/uapi/poll.ts";
import type { TestHost } from "../machine.ts";
import { testHost } from "../machine.ts";

let h: TestHost;
let net: Net;
let limits = [10, 20, 30];
const proto: Proto = {
  name: "TEST",
  symbol: "test_prot",
  alloc: () => new TcpSock(),
  close() {},
  sendmsg: () => 0,
  recvmsg: () => 0,
  hash: () => 0,
  unhash() {},
  getPort: () => 0,
  maxHeader: 0,
  sysctlMem: () => limits,
  sysctlRmem0: () => 4096,
  sysctlWmem0: () => 4096,
};

beforeEach(() => {
  h = testHost();
  ({ net } = h);
  limits = [10, 20, 30];
  h.kernel.enter();
});
afterEach(() => {
  h.kernel.exit();
  h.close();
  expect(socksInUse()).toBe(0);
  expect(poolFree()).toMatchObject({ skbs: 0, buffers: 0 });
});

function sock(type = 1): [Sock, Socket] {
  const s = new Socket(net, type);
  const sk = skAlloc(net, 2, proto) as Sock;
  sockInitData(s, sk);
  return [sk, s];
}

describe("life", () => {
  test("a sock outlives its owner while skbs of it are in flight", () => {
    const [sk] = sock();
    let destroyed = 0;
    sk.skDestruct = () => destroyed++;
    const { slot } = sk;
    expect(skSlots.get(slot)).toBe(sk);
    const skb = allocSkb(100);
    skbSetOwnerW(skb, sk);
    expect(skbSk(skb)).toBe(sk);
    expect(sk.skWmemAlloc).toBe(1 + skbTruesize(skb));
    sockHold(sk);
    sockPut(sk);
    sockPut(sk);
    expect([destroyed, sk.skWmemAlloc]).toEqual([0, skbTruesize(skb)]);
    kfreeSkb(skb);
    expect(destroyed).toBe(1);
    expect(skSlots.get(slot)).toBeNull();
  });

  test("write_space runs while the sock still lives", () => {
    const [sk] = sock(2);
    const seen: number[] = [];
    sk.skWriteSpace = (s) => seen.push(s.skWmemAlloc);
    const skb = allocSkb(100);
    skbSetOwnerW(skb, sk);
    skFree(sk);
    kfreeSkb(skb);
    expect(seen).toEqual([1]);
    expect(skbDestructorNames[SKB_DESTRUCTOR_WFREE]).toBe("sock_wfree");
  });

  test("a clone has its own structs and accounts, and the rest of its listener", () => {
    const [sk, s] = sock();
    const tp = sk as TcpSock;
    tp.rxOpt.userMss = 1000;
    tp.icskAck.pingpong = 2;
    tp.skRcvbuf = 77777;
    tp.skUserlocks = SOCK_SNDBUF_LOCK | SOCK_BINDPORT_LOCK | SOCK_BINDADDR_LOCK;
    tp.rttMin[2] = 5;
    tp.keepaliveTime = 42;
    tp.skErr = 5;
    tp.skTskey = 4;
    const child = skCloneLock(sk) as TcpSock;
    expect(child).toBeInstanceOf(TcpSock);
    expect(child.rxOpt).not.toBe(tp.rxOpt);
    expect([child.rxOpt.userMss, child.icskAck.pingpong, child.rttMin[2]]).toEqual([1000, 2, 5]);
    expect([child.skRcvbuf, child.keepaliveTime, child.skErr, child.skTskey]).toEqual([77777, 42, 0, 0]);
    expect(child.skUserlocks).toBe(SOCK_SNDBUF_LOCK | SOCK_BINDADDR_LOCK);
    expect([child.skRefcnt, child.skWmemAlloc, child.skSocket]).toEqual([2, 1, null]);
    expect(child.slot).not.toBe(sk.slot);
    expect(child.skReceiveQueue).not.toBe(sk.skReceiveQueue);
    const s2 = new Socket(net, 1);
    expect(s2.state).toBe(SS_UNCONNECTED);
    sockGraft(child, s2);
    expect([s2.sk, child.skSocket]).toEqual([child, s2]);
    sockPut(child);
    sockPut(child);
    s.sk = null;
    sockPut(sk);
  });

  test("sock_alloc_send_skb", () => {
    const [sk] = sock(2);
    const err = new ErrBox();
    sk.skSndbuf = 2000;
    const skbs: number[] = [];
    for (;;) {
      const skb = sockAllocSendSkb(sk, 100, err);
      if (skb === 0) break;
      skbs.push(skb);
    }
    expect(err.value).toBe(-EAGAIN);
    expect(sk.skNoSpace).toBe(true);
    expect(skbs.length * skbTruesize(skbs[0] as number)).toBeGreaterThanOrEqual(2000);
    for (const skb of skbs) kfreeSkb(skb);
    sk.skErr = 111;
    expect([sockAllocSendSkb(sk, 100, err), err.value, sk.skErr]).toEqual([0, -111, 0]);
    sk.skShutdown = 2;
    expect([sockAllocSendSkb(sk, 100, err), err.value]).toEqual([0, -EPIPE]);
    sockPut(sk);
  });
});

describe("memory accounts", () => {
  test("whole pages are reserved, used and given back", () => {
    const [sk] = sock();
    const mem = sk.skProtMem;
    expect(skWmemSchedule(sk, 5000)).toBe(true);
    expect([sk.skForwardAlloc, mem?.allocated]).toEqual([8192, 2]);
    skMemCharge(sk, 5000);
    expect(skWmemSchedule(sk, 3000)).toBe(true);
    expect(mem?.allocated).toBe(2);
    skMemUncharge(sk, 5000);
    // Uncharging reclaims.
    expect([sk.skForwardAlloc, mem?.allocated]).toEqual([0, 0]);
    skForcedMemSchedule(sk, 1);
    expect(mem?.allocated).toBe(1);
    skMemReclaim(sk);
    expect(mem?.allocated).toBe(0);
    expect(mem?.sockets).toBe(1);
    sockPut(sk);
    expect(mem?.sockets).toBe(0);
  });

  test("pressure begins and ends; above the limit everybody has a minimum", () => {
    const [sk] = sock();
    const mem = sk.skProtMem;
    expect(skRmemSchedule(sk, 0, 15 * 4096)).toBe(true);
    expect(mem?.pressure).toBe(false);
    skMemCharge(sk, 15 * 4096);
    sk.skRmemAlloc = 15 * 4096;
    expect(skRmemSchedule(sk, 0, 10 * 4096)).toBe(true);
    expect(mem?.pressure).toBe(true);
    skMemCharge(sk, 10 * 4096);
    sk.skRmemAlloc = 25 * 4096;
    expect(skRmemSchedule(sk, 0, 10 * 4096)).toBe(false);
    expect(mem?.allocated).toBe(25);
    // Another sock, that has nothing: above the hard limit not even that one gets any.
    const [sk2] = sock();
    expect(skRmemSchedule(sk2, 0, 4096)).toBe(true);
    skMemCharge(sk2, 4096);
    expect(skRmemSchedule(sk2, 0, 30 * 4096)).toBe(false);
    // A sender whose buffer is full already waits for itself: it is not refused, but its buffer shrinks.
    sk2.skWmemQueued = 50_000;
    sk2.skSndbuf = 50_000;
    expect(skWmemSchedule(sk2, 10 * 4096)).toBe(true);
    expect(sk2.skSndbuf).toBe(25_000);
    sk2.skWmemQueued = 0;
    sk.skRmemAlloc = 0;
    skMemUncharge(sk, 25 * 4096);
    expect(mem?.pressure).toBe(true);
    skMemUncharge(sk2, 4096);
    skMemReclaimFinal(sk2);
    expect([mem?.allocated, mem?.pressure]).toEqual([0, false]);
    sockPut(sk);
    sockPut(sk2);
  });

  test("a received skb gives back what it was charged", () => {
    const [sk] = sock();
    const skb = allocSkb(100);
    expect(skRmemSchedule(sk, skb, skbTruesize(skb))).toBe(true);
    skbSetOwnerR(skb, sk);
    expect([sk.skRmemAlloc, sk.skForwardAlloc]).toEqual([skbTruesize(skb), 4096 - skbTruesize(skb)]);
    kfreeSkb(skb);
    expect([sk.skRmemAlloc, sk.skForwardAlloc, sk.skProtMem?.allocated]).toEqual([0, 0, 0]);
    sockPut(sk);
  });

  test("streams: who may write, and when a writer is woken", () => {
    const [sk, s] = sock();
    const woken: number[] = [];
    addWaitQueue(s, { mask: EPOLLOUT, wake: (e) => woken.push(e & EPOLLOUT) });
    sk.skSndbuf = 30_000;
    sk.skWmemQueued = 30_000;
    expect([skStreamMemoryFree(sk), skStreamWspace(sk), skStreamMinWspace(sk)]).toEqual([false, 0, 15_000]);
    sk.skNoSpace = true;
    sk.skWmemQueued = 25_000;
    skStreamWriteSpace(sk);
    expect(sk.skNoSpace).toBe(true);
    sk.skWmemQueued = 20_000;
    skStreamWriteSpace(sk);
    expect(sk.skNoSpace).toBe(false);
    h.kernel.exit();
    h.kernel.run();
    expect(woken).toEqual([EPOLLOUT]);
    h.kernel.enter();
    sk.skWmemQueued = 0;
    sockPut(sk);
  });
});

describe("page frags", () => {
  test("32 KiB at a time; used again from the start when nobody else holds it", () => {
    const frag = new PageFrag();
    expect(skbPageFragRefill(32, frag)).toBe(true);
    expect([frag.size, frag.offset]).toEqual([32768, 0]);
    const { page } = frag;
    frag.offset = 1000;
    expect(skbPageFragRefill(32, frag)).toBe(true);
    expect([frag.page, frag.offset]).toEqual([page, 0]);
    getPage(page);
    frag.offset = 32767;
    expect(skbPageFragRefill(32, frag)).toBe(true);
    expect(frag.page).not.toBe(page);
    expect(pageRefs(page)).toBe(1);
    putPage(page);
    putPage(frag.page);
  });

  test("one page for the machine, given back with the last sock", () => {
    const [a] = sock();
    const [b] = sock();
    expect(a.pageFrag).toBe(b.pageFrag);
    expect(skPageFragRefill(a)).toBe(true);
    expect(poolFree().buffers).toBe(1);
    sockPut(a);
    expect(poolFree().buffers).toBe(1);
    sockPut(b);
    expect(poolFree().buffers).toBe(0);
  });

  test("no memory: memory pressure, and a smaller send buffer", () => {
    const [sk] = sock();
    const hoard: number[] = [];
    poolSetLimit(4);
    for (let p = allocPage(4096); p !== 0; p = allocPage(4096)) hoard.push(p);
    sk.skSndbuf = 100_000;
    expect(skPageFragRefill(sk)).toBe(false);
    expect(sk.skProtMem?.pressure).toBe(true);
    expect(sk.skSndbuf).toBe(4608);
    // A small page will do.
    putPage(hoard.pop() as number);
    expect(skPageFragRefill(sk)).toBe(true);
    expect(sk.pageFrag.size).toBe(4096);
    for (const p of hoard) putPage(p);
    poolSetLimit(0);
    sockPut(sk);
  });
});

describe("the wait queue", () => {
  test("in order; one exclusive waiter an event; waiters may come and go meanwhile", () => {
    const [sk, s] = sock();
    const seen: string[] = [];
    const waiter = (name: string, mask: number, exclusive = false) => ({
      mask,
      exclusive,
      wake(): void {
        seen.push(name);
        if (name === "once") removeWaitQueue(s, once);
        if (name === "adds" && seen.length < 10) addWaitQueue(s, waiter("late", EPOLLIN));
      },
    });
    const once = waiter("once", EPOLLIN);
    addWaitQueue(s, once);
    addWaitQueue(s, waiter("out", EPOLLOUT));
    addWaitQueue(s, waiter("ex1", EPOLLIN, true));
    addWaitQueue(s, waiter("adds", EPOLLIN));
    addWaitQueue(s, waiter("ex2", EPOLLIN, true));
    sk.skDataReady(sk);
    sk.skDataReady(sk);
    expect(seen).toEqual([]);
    h.kernel.exit();
    expect(seen).toEqual([]);
    // Nobody runs inside of the kernel's context, and two events wake once.
    h.kernel.run();
    expect(seen).toEqual(["once", "ex1", "adds"]);
    h.kernel.enter();
    sk.skStateChange(sk);
    h.kernel.exit();
    h.kernel.run();
    expect(seen.slice(3)).toEqual(["out", "ex1", "adds", "late"]);
    h.kernel.enter();
    sockPut(sk);
  });
});

describe("iterators", () => {
  test("copy from and to several buffers, advance, revert", () => {
    const msg = new Msghdr();
    msgIterInitVec(msg, [new Uint8Array([1, 2, 3]), new Uint8Array(0), new Uint8Array([4, 5, 6, 7])]);
    expect(msg.count).toBe(7);
    const page = allocPage(512);
    const bytes = (n: number): number[] => {
      const out = new Msghdr();
      msgIterInitVec(out, [new Uint8Array(n)]);
      expect(copyToIter(page, n + 5, out)).toBe(n);
      return [...(out.iov[0] as Uint8Array)];
    };
    expect(msgIterCopyTo(page, msg, 5)).toBe(0);
    expect(bytes(5)).toEqual([1, 2, 3, 4, 5]);
    msgIterRevert(msg, 3);
    expect(msg.count).toBe(5);
    msgIterAdvance(msg, 1);
    expect(msgIterCopyTo(page, msg, 4)).toBe(0);
    expect(bytes(4)).toEqual([4, 5, 6, 7]);
    expect(msgIterCopyTo(page, msg, 1)).toBeLessThan(0);
    putPage(page);
  });
});
