import { describe, expect, it } from "vitest";
import {
  CHECKSUM_COMPLETE,
  CHECKSUM_NONE,
  CHECKSUM_PARTIAL,
  CHECKSUM_UNNECESSARY,
  MAX_SKB_FRAGS,
  SKB_DATA_LEN,
  SKB_DESTRUCTOR_EFREE,
  SKB_LEN,
  SKB_NFCT,
  SKB_TRUESIZE,
  UARG_REFCNT,
} from "../../../assembly/layout.ts";
import { BugError } from "../../../src/kernel/bug.ts";
import { dv, machine, u8, u32 } from "../../../src/mm/mem.ts";
import type { NetDevice } from "../../../src/net/core/dev.ts";
import type { DstEntry } from "../../../src/net/core/dst.ts";
import {
  __skbChecksumComplete,
  __skbHeaderRelease,
  allocPage,
  allocSkb,
  allocSkbWithFrags,
  consumeSkb,
  copySkbRefs,
  csumAdd,
  csumFold,
  csumPartial,
  csumTcpUdpMagic,
  csumTcpUdpNofold,
  getPage,
  kfreeSkb,
  kfreeSkbList,
  netdevAllocSkb,
  netdevAllocSkbIpAlign,
  netdevSlots,
  poolFree,
  poolInUse,
  poolSetLimit,
  pskbExpandHead,
  pskbMayPull,
  pskbTrim,
  pskbTrimRcsum,
  putPage,
  registerNfctHooks,
  registerSkbDestructor,
  registerUargDone,
  SkBuffHead,
  skbAddData,
  skbAddRxFrag,
  skbAppend,
  skbBytes,
  skbChecksumComplete,
  skbChecksumHelp,
  skbClone,
  skbCloned,
  skbCondense,
  skbCopy,
  skbCopyBits,
  skbCopyFromUser,
  skbCopyToUser,
  skbCow,
  skbCowHead,
  skbCsum,
  skbData,
  skbDataLen,
  skbDequeue,
  skbDequeueTail,
  skbDev,
  skbDst,
  skbDstDrop,
  skbDstSet,
  skbEnsureWritable,
  skbExpandHead,
  skbFragPage,
  skbFragSize,
  skbGet,
  skbHead,
  skbHeaderCloned,
  skbHeaderPointer,
  skbHeadroom,
  skbInsert,
  skbIpSummed,
  skbLen,
  skbLinearize,
  skbMacHeader,
  skbNetworkHeader,
  skbNext,
  skbNrFrags,
  skbOrphan,
  skbPadto,
  skbPartialCsumSet,
  skbPeek,
  skbPeekTail,
  skbPrev,
  skbPull,
  skbPullRcsum,
  skbPush,
  skbPut,
  skbPutPadto,
  skbQueueAfter,
  skbQueueBefore,
  skbQueueHead,
  skbQueuePurge,
  skbQueueSpliceInit,
  skbQueueSpliceTailInit,
  skbQueueTail,
  skbReallocHeadroom,
  skbReserve,
  skbResetMacHeader,
  skbResetNetworkHeader,
  skbResetTransportHeader,
  skbSetCsum,
  skbSetDestructor,
  skbSetDev,
  skbSetFragList,
  skbSetIpSummed,
  skbSetNetworkHeader,
  skbSetNext,
  skbSetTransportHeader,
  skbSetUarg,
  skbShareCheck,
  skbShared,
  skbShift,
  skbSk,
  skbTailroom,
  skbTransportHeader,
  skbTransportOffset,
  skbTrim,
  skbTruesize,
  skbTryCoalesce,
  skbUnlink,
  skbUnshare,
  skbUsers,
} from "../../../src/net/core/skbuff.ts";
import { Random, rfc1071, SEED, withMachine } from "../../mm/util.ts";

withMachine();

/** A linear skb with `headroom` and these bytes. */
function skbOf(bytes: ArrayLike<number>, headroom = 64): number {
  const skb = allocSkb(headroom + bytes.length);
  skbReserve(skb, headroom);
  u8.set(bytes as number[], skbPut(skb, bytes.length));
  return skb;
}
/** An skb whose bytes are frags of 4K pages, `size` in each. */
function skbPaged(bytes: Uint8Array, size: number): number {
  const skb = allocSkb(0);
  for (let i = 0, at = 0; at < bytes.length; i++, at += size) {
    const page = allocPage(4096);
    const part = bytes.subarray(at, at + size);
    u8.set(part, page);
    skbAddRxFrag(skb, i, page, 0, part.length, 4096);
  }
  return skb;
}
/** Hangs `list` (an array of skbs) on the frag list of `skb`. */
function hang(skb: number, list: number[]): void {
  for (let i = 0; i < list.length; i++) {
    const one = list[i] as number;
    skbSetNext(one, list[i + 1] ?? 0);
    u32[(skb + SKB_LEN) >>> 2] += skbLen(one);
    u32[(skb + SKB_DATA_LEN) >>> 2] += skbLen(one);
    u32[(skb + SKB_TRUESIZE) >>> 2] += skbTruesize(one);
  }
  skbSetFragList(skb, list[0] ?? 0);
}
const random = new Random(SEED);

describe("lists", () => {
  function order(list: SkBuffHead): number[] {
    const out: number[] = [];
    let prev = 0;
    for (let skb = skbPeek(list); skb !== 0; skb = skbNext(skb)) {
      expect(skbPrev(skb)).toBe(prev);
      out.push(skb);
      prev = skb;
    }
    expect(skbPeekTail(list)).toBe(prev);
    expect(list.qlen).toBe(out.length);
    return out;
  }

  it("insert and remove at every place", () => {
    const list = new SkBuffHead();
    const [a, b, c, d, e, f] = Array.from({ length: 6 }, () => allocSkb(0)) as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    expect(skbDequeue(list)).toBe(0);
    expect(skbDequeueTail(list)).toBe(0);
    skbQueueTail(list, b);
    skbQueueHead(list, a);
    skbAppend(b, d, list);
    skbInsert(d, c, list);
    skbQueueAfter(list, d, e);
    skbQueueBefore(list, 0, f);
    expect(order(list)).toEqual([a, b, c, d, e, f]);
    skbUnlink(c, list);
    skbUnlink(a, list);
    skbUnlink(f, list);
    expect(order(list)).toEqual([b, d, e]);
    skbQueueAfter(list, 0, a);
    skbQueueBefore(list, a, c);
    expect(order(list)).toEqual([c, a, b, d, e]);
    expect(skbDequeueTail(list)).toBe(e);
    expect(skbDequeue(list)).toBe(c);
    expect(skbNext(c) | skbPrev(c) | skbNext(e) | skbPrev(e)).toBe(0);
    for (const skb of [c, e, f]) kfreeSkb(skb);
    skbQueuePurge(list);
    expect(order(list)).toEqual([]);
  });

  it("splice", () => {
    const one = new SkBuffHead();
    const two = new SkBuffHead();
    const skbs = Array.from({ length: 6 }, () => allocSkb(0));
    const [a, b, c, d, e, f] = skbs as [number, number, number, number, number, number];
    skbQueueTail(one, b);
    skbQueueTail(one, c);
    skbQueueTail(two, d);
    skbQueueSpliceTailInit(two, one);
    expect(order(one)).toEqual([b, c, d]);
    expect(order(two)).toEqual([]);
    skbQueueSpliceTailInit(two, one);
    skbQueueSpliceInit(two, one);
    skbQueueTail(two, a);
    skbQueueSpliceInit(two, one);
    expect(order(one)).toEqual([a, b, c, d]);
    skbQueueTail(two, e);
    skbQueueTail(two, f);
    const three = new SkBuffHead();
    skbQueueSpliceInit(two, three);
    skbQueueSpliceTailInit(three, one);
    expect(order(one)).toEqual([a, b, c, d, e, f]);
    skbQueuePurge(one);
  });
});

describe("life and death", () => {
  it("a clone sees the data until the last of both is freed", () => {
    const skb = skbOf([1, 2, 3]);
    const clone = skbClone(skb);
    expect([skbCloned(skb), skbCloned(clone)]).toEqual([true, true]);
    expect(poolFree().buffers).toBe(1);
    kfreeSkb(skb);
    expect(skbCloned(clone)).toBe(false);
    expect([...skbBytes(clone)]).toEqual([1, 2, 3]);
    kfreeSkb(clone);
  });

  it("skbGet keeps the sk_buff itself", () => {
    const skb = skbOf([1]);
    expect(skbGet(skb)).toBe(skb);
    expect(skbShared(skb)).toBe(true);
    const own = skbShareCheck(skb);
    expect(own).not.toBe(skb);
    expect(skbUsers(skb)).toBe(1);
    expect(skbShareCheck(own)).toBe(own);
    const mine = skbUnshare(own);
    expect(skbCloned(mine)).toBe(false);
    kfreeSkb(mine);
    kfreeSkb(skb);
  });

  it("freeing twice is a bug that is seen", () => {
    const skb = skbOf([1]);
    kfreeSkb(skb);
    expect(() => kfreeSkb(skb)).toThrow(BugError);
    expect(() => kfreeSkb(0)).not.toThrow();
    consumeSkb(0);
    kfreeSkbList(0);
  });

  it("poolInUse names leaks by where they began", () => {
    const a = skbOf([1, 2]);
    const b = skbClone(a);
    const c = skbOf([3]);
    const leaks = poolInUse();
    expect(leaks.map(({ skb, len }) => [skb, len])).toEqual([
      [a, 2],
      [b, 2],
      [c, 1],
    ]);
    expect(leaks[0]?.origin).toBe(leaks[1]?.origin);
    kfreeSkbList(a);
    kfreeSkb(b);
    kfreeSkb(c);
  });

  it("runs destructors once, when the owner lets go", () => {
    const seen: number[] = [];
    registerSkbDestructor(SKB_DESTRUCTOR_EFREE, "test_free", (skb) => void seen.push(skb));
    const a = skbOf([1]);
    skbSetDestructor(a, SKB_DESTRUCTOR_EFREE);
    const clone = skbClone(a);
    kfreeSkb(clone);
    expect(seen).toEqual([]); // a clone has no owner
    skbOrphan(a);
    kfreeSkb(a);
    expect(seen).toEqual([a]);
    const b = skbOf([1]);
    skbSetDestructor(b, SKB_DESTRUCTOR_EFREE);
    skbGet(b);
    kfreeSkb(b);
    expect(seen).toEqual([a]);
    kfreeSkbList(b);
    expect(seen).toEqual([a, b]);
  });

  it("frees frag lists at any depth, with their destructors, whoever shares them", () => {
    const seen: number[] = [];
    registerSkbDestructor(SKB_DESTRUCTOR_EFREE, "test_free", (skb) => void seen.push(skb));
    for (const how of [kfreeSkb, kfreeSkbList]) {
      let inner = skbOf([0]);
      for (let depth = 0; depth < 500; depth++) {
        const outer = skbOf([depth & 255]);
        const sibling = skbOf([1, 2]);
        skbSetDestructor(sibling, SKB_DESTRUCTOR_EFREE);
        hang(outer, [inner, sibling]);
        inner = outer;
      }
      seen.length = 0;
      how(inner);
      expect(seen.length).toBe(500);
      expect(poolInUse()).toEqual([]);
    }
    // pskb_expand_head of a clone shares the list: each holder counts once.
    const top = skbOf([9]);
    hang(top, [skbOf([1]), skbOf([2]), skbOf([3])]);
    const clone = skbClone(top);
    expect(pskbExpandHead(clone, 10, 0)).toBe(0);
    expect(pskbTrim(clone, 2)).toBe(0);
    expect([...skbBytes(top)]).toEqual([9, 1, 2, 3]);
    expect([...skbBytes(clone)]).toEqual([9, 1]);
    kfreeSkb(top);
    expect([...skbBytes(clone)]).toEqual([9, 1]);
    kfreeSkb(clone);
  });

  it("completes a zero-copy notifier when the data goes, not before", () => {
    const done: number[] = [];
    registerUargDone((slot) => void done.push(slot));
    const uarg = skbOf([]);
    const skb = skbOf([1, 2]);
    skbSetUarg(skb, uarg);
    u32[(uarg + UARG_REFCNT) >>> 2] = 1;
    const clone = skbClone(skb);
    kfreeSkb(skb);
    expect(done).toEqual([]);
    kfreeSkbList(clone);
    expect(done).toEqual([uarg]);
    registerUargDone(() => {});
    kfreeSkb(uarg);
  });

  it("counts conntrack references along", () => {
    let refs = 0;
    registerNfctHooks(
      () => void refs++,
      () => void refs--,
    );
    const skb = skbOf([1]);
    u32[(skb + SKB_NFCT) >>> 2] = 3;
    refs = 1;
    const clone = skbClone(skb);
    const copy = skbCopy(skb);
    expect(refs).toBe(3);
    for (const one of [skb, clone, copy]) kfreeSkb(one);
    expect(refs).toBe(0);
    registerNfctHooks(
      () => {},
      () => {},
    );
  });

  it("allocation failure gives 0 and leaves nothing behind", () => {
    const skb = skbOf(random.bytes(1000));
    const clone = skbClone(skb);
    poolSetLimit(2);
    const pages: number[] = [];
    for (let page = allocPage(2048); page !== 0; page = allocPage(2048)) pages.push(page);
    const before = poolFree();
    expect(allocSkb(1000)).toBe(0);
    expect(skbCopy(skb)).toBe(0);
    expect(skbReallocHeadroom(skb, 1000)).toBe(0);
    expect(skbCow(clone, 10)).toBe(-12);
    expect(pskbExpandHead(skb, 10, 0)).toBe(-12);
    expect(skbEnsureWritable(clone, 10)).toBe(-12);
    expect(poolFree()).toEqual(before);
    for (const page of pages) putPage(page);
    poolSetLimit(0);
    expect(skbBytes(skb)).toEqual(skbBytes(clone));
    kfreeSkb(skb);
    kfreeSkb(clone);
  });
});

describe("side tables", () => {
  const dev = { slot: 0 } as NetDevice;
  it("devices by slot", () => {
    dev.slot = netdevSlots.alloc(dev);
    expect(dev.slot).toBeGreaterThan(0);
    const skb = netdevAllocSkb(dev, 100);
    expect(skbDev(skb)).toBe(dev);
    expect(skbHeadroom(skb)).toBe(64);
    skbSetDev(skb, null);
    expect(skbDev(skb)).toBe(null);
    expect(skbSk(skb)).toBe(null);
    kfreeSkb(skb);
    const aligned = netdevAllocSkbIpAlign(dev, 100);
    expect((skbData(aligned) + 14) % 4).toBe(0);
    kfreeSkb(aligned);
    netdevSlots.free(dev.slot);
    expect(machine.devs.size).toBe(0);
    expect(netdevSlots.get(dev.slot)).toBe(null);
    expect(netdevSlots.alloc(dev)).toBe(dev.slot);
  });

  it("a route goes along with copies and is gone after the free", () => {
    const dst = {} as DstEntry;
    const skb = skbOf([1]);
    expect(skbDst(skb)).toBe(null);
    skbDstDrop(skb);
    skbDstSet(skb, null);
    skbDstSet(skb, dst);
    const others = [skbClone(skb), skbCopy(skb)];
    for (const other of others) expect(skbDst(other)).toBe(dst);
    for (const one of [skb, ...others]) kfreeSkb(one);
    const again = skbOf([1]);
    expect(skbDst(again)).toBe(null);
    copySkbRefs(again, again);
    kfreeSkb(again);
  });
});

describe("room", () => {
  it("put, push, pull, trim move data and tail", () => {
    const skb = allocSkb(100);
    skbReserve(skb, 20);
    const at = skbPut(skb, 10);
    expect(at).toBe(skbHead(skb) + 20);
    expect(skbPush(skb, 20)).toBe(skbHead(skb));
    expect(skbLen(skb)).toBe(30);
    expect(() => skbPush(skb, 1)).toThrow(BugError);
    expect(skbPull(skb, 5)).toBe(skbHead(skb) + 5);
    expect(skbPull(skb, 26)).toBe(0);
    skbTrim(skb, 100);
    expect(skbLen(skb)).toBe(25);
    skbTrim(skb, 4);
    expect(skbLen(skb)).toBe(4);
    expect(() => skbPut(skb, skbTailroom(skb) + 1)).toThrow(BugError);
    skbPut(skb, skbTailroom(skb));
    kfreeSkb(skb);
  });

  it("headers move with the head", () => {
    const skb = skbOf(random.bytes(54));
    skbResetMacHeader(skb);
    skbSetNetworkHeader(skb, 14);
    skbSetTransportHeader(skb, 34);
    const clone = skbClone(skb);
    expect(skbPartialCsumSet(clone, 34, 16)).toBe(true);
    for (const make of [() => skbReallocHeadroom(clone, 300), () => skbCopy(clone)]) {
      const n = make();
      expect(skbMacHeader(n)).toBe(skbData(n));
      expect(skbNetworkHeader(n)).toBe(skbData(n) + 14);
      expect(skbTransportHeader(n)).toBe(skbData(n) + 34);
      expect(skbTransportOffset(n)).toBe(34);
      expect(skbChecksumHelp(n)).toBe(0);
      expect(dv.getUint16(skbData(n) + 50)).toBe(rfc1071(skbBytes(clone, 34)) || 0xffff);
      kfreeSkb(n);
    }
    const kept = skbHead(skb);
    const grown = skbExpandHead(clone, 200);
    expect(grown).toBe(clone);
    expect(skbHeadroom(grown)).toBeGreaterThanOrEqual(200);
    expect(skbHead(skb)).toBe(kept);
    kfreeSkb(skb);
    kfreeSkb(grown);
  });

  it("a header that was released may be written by its clone", () => {
    const skb = skbOf(random.bytes(100));
    __skbHeaderRelease(skb);
    const clone = skbClone(skb);
    expect(skbCloned(clone)).toBe(true);
    expect(skbHeaderCloned(clone)).toBe(false);
    const head = skbHead(clone);
    expect(skbCowHead(clone, 0)).toBe(0);
    expect(skbHead(clone)).toBe(head); // no copy
    const second = skbClone(clone);
    expect(skbHeaderCloned(clone)).toBe(true);
    kfreeSkb(second);
    kfreeSkb(clone);
    expect(skbCloned(skb)).toBe(false);
    kfreeSkb(skb);
    // The other order.
    const a = skbOf([1]);
    __skbHeaderRelease(a);
    const b = skbClone(a);
    kfreeSkb(a);
    expect(skbCloned(b)).toBe(false);
    expect(skbHeaderCloned(b)).toBe(false);
    kfreeSkb(b);
  });

  it("pads with zeros", () => {
    for (const make of [() => skbOf([1, 2, 3]), () => skbPaged(Uint8Array.of(1, 2, 3), 2)]) {
      const skb = make();
      expect(skbPutPadto(skb, 60)).toBe(0);
      expect([...skbBytes(skb)]).toEqual([1, 2, 3, ...new Array<number>(57).fill(0)]);
      expect(skbPadto(skb, 500)).toBe(0);
      expect(skbLen(skb)).toBe(60);
      kfreeSkb(skb);
    }
    const clone = skbClone(skbOf([1, 2, 3]));
    expect(skbPutPadto(clone, 400)).toBe(0);
    expect(skbBytes(clone)[399]).toBe(0);
    kfreeSkb(clone);
    for (const { skb } of poolInUse()) kfreeSkb(skb);
  });

  it("carries 64 KiB and more, linear or in frags", () => {
    const bytes = random.bytes(65000);
    const skb = skbOf(bytes, 100);
    expect(skbBytes(skb)).toEqual(bytes);
    expect(skbCow(skb, 200)).toBe(0);
    expect(skbBytes(skb)).toEqual(bytes);
    kfreeSkb(skb);
    const big = allocSkbWithFrags(100, 70000);
    expect(skbLen(big)).toBe(70000);
    expect(skbNrFrags(big)).toBe(3);
    u8[skbFragPage(big, 2)] = 7;
    expect(skbLinearize(big)).toBe(-12);
    const copy = skbCopy(big); // no buffer holds it: the copy is in pages too
    expect(skbDataLen(copy)).toBe(70000);
    expect(skbBytes(copy)).toEqual(skbBytes(big));
    expect(skbFragPage(copy, 0)).not.toBe(skbFragPage(big, 0));
    kfreeSkb(copy);
    kfreeSkb(big);
    expect(allocSkbWithFrags(0, 18 * 32768)).toBe(0);
  });
});

describe("bytes", () => {
  it("to and from user memory, across all parts", () => {
    const bytes = random.bytes(3000);
    const skb = skbOf(bytes.subarray(0, 100));
    for (let i = 0; i < 3; i++) {
      const page = allocPage(4096);
      u8.set(bytes.subarray(100 + i * 500, 600 + i * 500), page + 11);
      skbAddRxFrag(skb, i, page, 11, 500, 4096);
    }
    hang(skb, [skbOf(bytes.subarray(1600, 2000)), skbPaged(bytes.subarray(2000), 300)]);
    expect(skbBytes(skb)).toEqual(bytes);
    const out = new Uint8Array(2100);
    expect(skbCopyToUser(skb, 50, out, 100, 2000)).toBe(0);
    expect(out.subarray(100)).toEqual(bytes.subarray(50, 2050));
    expect(skbCopyToUser(skb, 2000, out, 0, 1001)).toBe(-14);
    expect(skbCopyToUser(skb, 0, out, 200, 2000)).toBe(-14);
    expect(skbHeaderPointer(skb, 10, 20, machine.staging)).toBe(skbData(skb) + 10);
    expect(skbHeaderPointer(skb, 90, 20, machine.staging)).toBe(machine.staging);
    expect(u8[machine.staging + 15]).toBe(bytes[105]);
    expect(skbHeaderPointer(skb, 2990, 20, machine.staging)).toBe(0);
    expect(pskbMayPull(skb, 1700)).toBe(true);
    expect(skbBytes(skb)).toEqual(bytes);
    expect(skbCopyBits(skb, 0xfffffff0, machine.staging, 0x20)).toBe(-14);
    kfreeSkb(skb);
    const made = allocSkb(100);
    skbCopyFromUser(made, bytes, 5, 30);
    skbSetIpSummed(made, CHECKSUM_NONE);
    expect([...skbBytes(made)]).toEqual([...bytes.subarray(5, 35)]);
    kfreeSkb(made);
  });

  it("skbAddData keeps the sum of what is there, at odd lengths too", () => {
    const bytes = random.bytes(300);
    const skb = allocSkb(400);
    skbAddData(skb, bytes, 0, 3);
    skbAddData(skb, bytes, 3, 100);
    skbAddData(skb, bytes, 103, 197);
    expect(csumFold(skbCsum(skb))).toBe(rfc1071(bytes));
    kfreeSkb(skb);
  });
});

describe("coalescing", () => {
  it("takes a head along as a frag, and copies what fits", () => {
    const to = skbOf([1, 2, 3]);
    const small = skbOf([4, 5]);
    expect(skbTryCoalesce(to, small)).toBe(0);
    kfreeSkb(small);
    const bytes = random.bytes(1400);
    const from = skbOf(bytes);
    const head = skbHead(from);
    const truesize = skbTruesize(from) - 256;
    expect(skbTryCoalesce(to, from)).toBe(truesize);
    kfreeSkb(from);
    expect(skbFragPage(to, 0)).toBe(head);
    expect([...skbBytes(to)]).toEqual([1, 2, 3, 4, 5, ...bytes]);
    // A clone's head is not taken.
    const cloned = skbOf(random.bytes(1400));
    const clone = skbClone(cloned);
    expect(skbTryCoalesce(to, cloned)).toBe(-1);
    expect(skbTryCoalesce(clone, cloned)).toBe(-1);
    for (const skb of [to, cloned, clone]) kfreeSkb(skb);
  });

  it("merges frags that follow each other, whether the other skb is a clone or not", () => {
    for (const cloned of [false, true]) {
      const page = allocPage(4096);
      const bytes = random.bytes(3000);
      u8.set(bytes, page);
      const [a, b] = [0, 1].map((i) => {
        const skb = allocSkb(0);
        getPage(page);
        skbAddRxFrag(skb, 0, page, i * 1500, 1500, 2000);
        return skb;
      }) as [number, number];
      const clone = cloned ? skbClone(b) : 0;
      expect(skbTryCoalesce(a, b)).toBe(2000);
      kfreeSkb(b);
      expect(skbNrFrags(a)).toBe(1);
      expect(skbBytes(a)).toEqual(bytes);
      kfreeSkb(a);
      if (cloned) expect(skbBytes(clone)).toEqual(bytes.subarray(1500));
      kfreeSkb(clone);
      putPage(page);
    }
  });

  it("stops at MAX_SKB_FRAGS", () => {
    const to = skbOf(random.bytes(200), 0);
    let n = 0;
    for (;;) {
      const from = skbOf(random.bytes(1000));
      const delta = skbTryCoalesce(to, from);
      kfreeSkb(from);
      if (delta < 0) break;
      n++;
    }
    expect(n).toBe(MAX_SKB_FRAGS);
    expect(skbLen(to)).toBe(200 + 1000 * MAX_SKB_FRAGS);
    const more = skbPaged(random.bytes(100), 100);
    expect(skbShift(to, more, 100)).toBe(0);
    kfreeSkb(more);
    kfreeSkb(to);
  });

  it("skbCondense gives the pages of a short packet back", () => {
    const skb = skbPaged(random.bytes(90), 45);
    const bytes = skbBytes(skb);
    expect(skbTruesize(skb)).toBe(768 + 2 * 4096);
    skbCondense(skb);
    expect(skbDataLen(skb)).toBe(0);
    expect(skbTruesize(skb)).toBe(768);
    expect(skbBytes(skb)).toEqual(bytes);
    kfreeSkb(skb);
  });

  it("skbShift keeps clones whole", () => {
    const bytes = random.bytes(2000);
    const a = skbPaged(bytes.subarray(0, 1000), 400);
    const b = skbPaged(bytes.subarray(1000), 400);
    const clones = [skbClone(a), skbClone(b)];
    expect(skbShift(a, b, 500)).toBe(500);
    expect(skbBytes(a)).toEqual(bytes.subarray(0, 1500));
    expect(skbBytes(b)).toEqual(bytes.subarray(1500));
    expect(skbBytes(clones[0] as number)).toEqual(bytes.subarray(0, 1000));
    expect(skbBytes(clones[1] as number)).toEqual(bytes.subarray(1000));
    expect(skbFragSize(b, 0)).toBe(300);
    for (const skb of [a, b, ...clones]) kfreeSkb(skb);
  });
});

describe("checksums of skbs", () => {
  it("skbChecksumHelp finishes CHECKSUM_PARTIAL, in the frags too", () => {
    const payload = random.bytes(1001);
    const skb = skbOf([...new Array<number>(34).fill(9), ...random.bytes(20)]);
    const page = allocPage(4096);
    u8.set(payload, page + 1);
    skbAddRxFrag(skb, 0, page, 1, 1001, 4096);
    const th = skbData(skb) + 34;
    const seed = ~csumTcpUdpMagic(0x0a000001, 0x0a000002, 1021, 6, 0) & 0xffff;
    dv.setUint16(th + 16, seed);
    expect(skbPartialCsumSet(skb, 34, 16)).toBe(true);
    expect(skbIpSummed(skb)).toBe(CHECKSUM_PARTIAL);
    const clone = skbClone(skb);
    expect(skbChecksumHelp(clone)).toBe(0);
    expect(skbIpSummed(clone)).toBe(CHECKSUM_NONE);
    expect(dv.getUint16(th + 16)).toBe(seed); // the original is untouched
    skbPull(clone, 34);
    skbResetTransportHeader(clone);
    const pseudo = csumTcpUdpNofold(0x0a000001, 0x0a000002, 1021, 6, 0);
    skbSetCsum(clone, pseudo);
    expect(skbChecksumComplete(clone)).toBe(0);
    expect(skbIpSummed(clone)).toBe(CHECKSUM_UNNECESSARY); // and need not be looked at again
    skbSetIpSummed(clone, CHECKSUM_NONE);
    skbSetCsum(clone, csumAdd(pseudo, 1));
    expect(skbChecksumComplete(clone)).not.toBe(0);
    expect(skbIpSummed(clone)).toBe(CHECKSUM_COMPLETE);
    expect(skbPartialCsumSet(skb, 34, 30)).toBe(false);
    kfreeSkb(skb);
    kfreeSkb(clone);
  });

  it("a COMPLETE sum follows pull and trim", () => {
    const bytes = random.bytes(501);
    const skb = skbOf(bytes);
    skbSetIpSummed(skb, CHECKSUM_COMPLETE);
    skbSetCsum(skb, csumPartial(skbData(skb), 501, 0));
    expect(skbPullRcsum(skb, 14)).toBe(skbData(skb));
    expect(pskbTrimRcsum(skb, 333)).toBe(0);
    expect(csumFold(skbCsum(skb))).toBe(rfc1071(bytes.subarray(14, 347)));
    const sum = skbCsum(skb);
    skbSetCsum(skb, 0);
    expect(__skbChecksumComplete(skb)).toBe(rfc1071(bytes.subarray(14, 347)));
    expect(csumFold(csumAdd(sum, 0))).toBe(csumFold(skbCsum(skb)));
    skbResetNetworkHeader(skb);
    kfreeSkb(skb);
  });
});
