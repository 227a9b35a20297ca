/**
 * Random sequences of skb operations against a model: every skb is an array of bytes, and must be just that after
 * every step, whatever shares its memory.
 */

import { describe, expect, it } from "vitest";
import { MAX_SKB_FRAGS, SKB_DATA_LEN, SKB_LEN, SKB_TRUESIZE } from "../../../assembly/layout.ts";
import { u8, u32 } from "../../../src/mm/mem.ts";
import {
  __pskbPullTail,
  allocPage,
  allocSkb,
  csumFold,
  getPage,
  kfreeSkb,
  kfreeSkbList,
  kfreeSkbPartial,
  pageRefs,
  pskbCopy,
  pskbExpandHead,
  pskbMayPull,
  pskbPull,
  pskbTrim,
  putPage,
  skbAddRxFrag,
  skbBytes,
  skbChecksum,
  skbClone,
  skbCloned,
  skbCopy,
  skbCopyExpand,
  skbCow,
  skbData,
  skbDataLen,
  skbDataref,
  skbEnd,
  skbFragList,
  skbFragPage,
  skbFragSize,
  skbHead,
  skbHeadlen,
  skbHeadroom,
  skbIpSummed,
  skbLen,
  skbLinearize,
  skbMorph,
  skbNext,
  skbNrFrags,
  skbPush,
  skbPut,
  skbReserve,
  skbSetFragList,
  skbSetNext,
  skbShift,
  skbSplit,
  skbStoreBits,
  skbTail,
  skbTailroom,
  skbTruesize,
  skbTryCoalesce,
  skbUnclone,
  skbUsers,
} from "../../../src/net/core/skbuff.ts";
import { Random, RUNS, rfc1071, SEED, withMachine } from "../../mm/util.ts";

withMachine();

interface Model {
  skb: number;
  bytes: number[];
}

/** Holds for every skb at any time. */
function checkShape(skb: number): void {
  expect(skbHead(skb)).toBeLessThanOrEqual(skbData(skb));
  expect(skbData(skb)).toBeLessThanOrEqual(skbTail(skb));
  expect(skbTail(skb)).toBeLessThanOrEqual(skbEnd(skb));
  expect(skbTail(skb) - skbData(skb)).toBe(skbHeadlen(skb));
  expect(skbNrFrags(skb)).toBeLessThanOrEqual(MAX_SKB_FRAGS);
  expect(skbUsers(skb)).toBeGreaterThan(0);
  expect(skbDataref(skb)).toBeGreaterThan(0);
  let rest = skbDataLen(skb);
  for (let i = 0; i < skbNrFrags(skb); i++) {
    expect(skbFragSize(skb, i)).toBeGreaterThan(0);
    expect(pageRefs(skbFragPage(skb, i))).toBeGreaterThan(0);
    rest -= skbFragSize(skb, i);
  }
  for (let list = skbFragList(skb); list !== 0; list = skbNext(list)) {
    checkShape(list);
    rest -= skbLen(list);
  }
  expect(rest).toBe(0);
}

function checkBytes({ skb, bytes }: Model, what: string): void {
  checkShape(skb);
  expect(skbLen(skb), what).toBe(bytes.length);
  const got = skbBytes(skb);
  for (let i = 0; i < bytes.length; i++) {
    if (got[i] !== bytes[i]) expect.fail(`${what}: byte ${i} of ${bytes.length} is ${got[i]}, not ${bytes[i]}`);
  }
}

function linear(random: Random, max: number): Model {
  const headroom = random.below(200);
  const n = random.below(max);
  const skb = allocSkb(headroom + n + random.below(200));
  skbReserve(skb, headroom);
  const bytes = random.bytes(n);
  u8.set(bytes, skbPut(skb, n));
  return { skb, bytes: [...bytes] };
}

/** `pages` are open ones that the next frag may go on in, as a socket's page frag. */
function paged(random: Random, open: { page: number; off: number }): Model {
  const model = random.below(2) === 0 ? linear(random, 100) : { skb: allocSkb(128), bytes: [] };
  const n = 1 + random.below(5);
  for (let i = 0; i < n; i++) {
    const size = 1 + random.below(700);
    if (open.page === 0 || open.off + size > 4096) {
      if (open.page !== 0) putPage(open.page);
      open.page = allocPage(4096);
      open.off = 0;
    }
    getPage(open.page);
    const bytes = random.bytes(size);
    u8.set(bytes, open.page + open.off);
    skbAddRxFrag(model.skb, i, open.page, open.off, size, size);
    model.bytes.push(...bytes);
    open.off += size + (random.below(3) === 0 ? 5 : 0);
  }
  return model;
}

/** Hangs linear and paged skbs on a new one's frag list. */
function listed(random: Random, open: { page: number; off: number }): Model {
  const model = paged(random, open);
  let list = 0;
  for (let i = random.below(4); i >= 0; i--) {
    const part = random.below(2) === 0 ? linear(random, 300) : paged(random, open);
    if (part.bytes.length === 0) {
      kfreeSkb(part.skb);
      continue;
    }
    skbSetNext(part.skb, list);
    list = part.skb;
  }
  skbSetFragList(model.skb, list);
  for (let skb = list; skb !== 0; skb = skbNext(skb)) {
    model.bytes.push(...skbBytes(skb));
    u32[(model.skb + SKB_LEN) >>> 2] += skbLen(skb);
    u32[(model.skb + SKB_DATA_LEN) >>> 2] += skbLen(skb);
    u32[(model.skb + SKB_TRUESIZE) >>> 2] += skbTruesize(skb);
  }
  return model;
}

function run(seed: number, steps: number): void {
  const random = new Random(seed);
  const open = { page: 0, off: 0 };
  const all: Model[] = [];
  const done = new Map<string, number>();
  for (let step = 0; step < steps; step++) {
    const op = random.below(22);
    const i = all.length === 0 ? -1 : random.below(all.length);
    const j = all.length === 0 ? -1 : random.below(all.length);
    const a = all[i] as Model;
    const b = all[j] as Model;
    let what = "";
    const touched: Model[] = [];
    const add = (model: Model): void => {
      all.push(model);
      touched.push(model);
    };
    if (i < 0 || (op < 4 && all.length < 24)) {
      what = "alloc";
      add(
        op === 0
          ? linear(random, 1500)
          : op === 1
            ? paged(random, open)
            : op === 2
              ? listed(random, open)
              : linear(random, 60),
      );
    } else if (op < 6 || all.length >= 24) {
      what = "free";
      if (random.below(2) === 0) kfreeSkb(a.skb);
      else kfreeSkbList(a.skb);
      all.splice(i, 1);
    } else if (op === 6) {
      what = "skbClone";
      add({ skb: skbClone(a.skb), bytes: [...a.bytes] });
      expect(skbCloned(a.skb)).toBe(true);
    } else if (op === 7) {
      what = "skbCopy";
      const skb = random.below(2) === 0 ? skbCopy(a.skb) : skbCopyExpand(a.skb, random.below(300), random.below(300));
      expect(skbDataLen(skb)).toBe(0);
      expect(skbCloned(skb)).toBe(false);
      add({ skb, bytes: [...a.bytes] });
    } else if (op === 8) {
      what = "pskbCopy";
      add({ skb: pskbCopy(a.skb), bytes: [...a.bytes] });
    } else if (op === 9) {
      what = "push";
      const n = random.below(60);
      expect(skbCow(a.skb, n)).toBe(0);
      expect(skbHeadroom(a.skb)).toBeGreaterThanOrEqual(n);
      expect(skbCloned(a.skb)).toBe(false);
      const bytes = random.bytes(n);
      u8.set(bytes, skbPush(a.skb, n));
      a.bytes.unshift(...bytes);
    } else if (op === 10) {
      what = "pull";
      const n = random.below(a.bytes.length + 20);
      const at = pskbPull(a.skb, n);
      expect(at !== 0).toBe(n <= a.bytes.length);
      if (at !== 0) a.bytes.splice(0, n);
    } else if (op === 11) {
      what = "mayPull";
      const n = random.below(a.bytes.length + 2);
      expect(pskbMayPull(a.skb, n)).toBe(n <= a.bytes.length);
      if (n <= a.bytes.length) expect(skbHeadlen(a.skb)).toBeGreaterThanOrEqual(n);
    } else if (op === 12) {
      what = "trim";
      const n = random.below(a.bytes.length + 10);
      expect(pskbTrim(a.skb, n)).toBe(0);
      if (n < a.bytes.length) a.bytes.length = n;
    } else if (op === 13) {
      what = "expandHead";
      const room = skbHeadroom(a.skb);
      const n = random.below(100);
      expect(pskbExpandHead(a.skb, n, random.below(100))).toBe(0);
      expect(skbHeadroom(a.skb)).toBe(room + n);
      expect(skbCloned(a.skb)).toBe(false);
    } else if (op === 14) {
      what = "linearize";
      expect(skbLinearize(a.skb)).toBe(0);
      expect(skbDataLen(a.skb)).toBe(0);
    } else if (op === 15) {
      if (skbFragList(a.skb) !== 0) continue;
      what = "split";
      expect(skbUnclone(a.skb)).toBe(0);
      const n = random.below(a.bytes.length + 1);
      const skb1 = allocSkb(Math.max(0, skbHeadlen(a.skb) - n));
      skbSplit(a.skb, skb1, n);
      add({ skb: skb1, bytes: a.bytes.splice(n) });
    } else if (op === 16) {
      if (i === j) continue;
      what = "shift";
      const n = random.below(b.bytes.length + 1);
      const can = skbHeadlen(b.skb) === 0 && skbFragList(a.skb) === 0 && skbFragList(b.skb) === 0 && n > 0;
      // Bytes go behind a's frags: that is its end only if nothing linear is... which is always so without a frag list.
      const moved = skbShift(a.skb, b.skb, n);
      if (moved !== 0) {
        expect(can).toBe(true);
        expect(moved).toBe(n);
        a.bytes.push(...b.bytes.splice(0, n));
        expect(skbIpSummed(a.skb)).toBe(3);
      } else if (can) {
        expect(skbNrFrags(a.skb) + skbNrFrags(b.skb)).toBeGreaterThan(MAX_SKB_FRAGS);
      }
      touched.push(b);
    } else if (op === 17 || op === 18) {
      if (i === j) continue;
      what = "coalesce";
      const before = skbTruesize(a.skb) + skbTruesize(b.skb);
      const room = skbTailroom(a.skb);
      const wasCloned = skbCloned(a.skb);
      const delta = skbTryCoalesce(a.skb, b.skb);
      if (delta >= 0) {
        expect(wasCloned).toBe(false);
        if (delta === 0 && b.bytes.length > 0) expect(room).toBeGreaterThanOrEqual(b.bytes.length);
        else expect(skbTruesize(a.skb)).toBeLessThanOrEqual(before + b.bytes.length);
        a.bytes.push(...b.bytes);
        kfreeSkbPartial(b.skb, delta > 0);
        all.splice(j, 1);
      } else touched.push(b);
    } else if (op === 19) {
      what = "store";
      const skb = skbCopy(a.skb);
      kfreeSkb(a.skb);
      a.skb = skb;
      const n = random.below(a.bytes.length + 1);
      const at = random.below(a.bytes.length - n + 1);
      const page = allocPage(65536);
      const bytes = random.bytes(n);
      u8.set(bytes, page);
      expect(skbStoreBits(a.skb, at, page, n)).toBe(0);
      expect(skbStoreBits(a.skb, at, page, a.bytes.length - at + 1)).toBe(-14);
      putPage(page);
      a.bytes.splice(at, n, ...bytes);
    } else if (op === 20) {
      if (i === j || skbNext(a.skb) !== 0) continue;
      what = "morph";
      skbMorph(a.skb, b.skb);
      a.bytes = [...b.bytes];
      touched.push(b);
    } else {
      what = "pullTail";
      const n = random.below(skbDataLen(a.skb) + 1);
      const headlen = skbHeadlen(a.skb);
      if (n === 0) continue;
      expect(__pskbPullTail(a.skb, n)).toBe(skbTail(a.skb));
      expect(skbHeadlen(a.skb)).toBe(headlen + n);
    }
    done.set(what, (done.get(what) ?? 0) + 1);
    what = `seed ${seed} step ${step} ${what}`;
    if (op >= 6 && all.includes(a)) touched.push(a);
    for (const model of touched) {
      checkBytes(model, what);
      const n = random.below(model.bytes.length + 1);
      const at = random.below(model.bytes.length - n + 1);
      expect(csumFold(skbChecksum(model.skb, at, n, 0)), what).toBe(rfc1071(model.bytes.slice(at, at + n)));
    }
    if (step % 16 === 0) for (const model of all) checkBytes(model, `${what}, another one`);
  }
  for (const model of all) checkBytes(model, `seed ${seed} at the end`);
  for (const model of all) kfreeSkb(model.skb);
  if (open.page !== 0) putPage(open.page);
  // Every operation had its turn.
  expect(done.size).toBe(17);
}

describe("skb operations against a model", () => {
  for (let i = 0; i < Math.max(5, RUNS / 20); i++) {
    it(`seed ${SEED + i}`, () => run(SEED + i, 1000));
  }
});
