import { describe, expect, it } from "vitest";
import {
  BLOCK_SIZE,
  CLASS_2K,
  CLASS_512,
  CTRL,
  CTRL_FREE_BLOCK_COUNT,
  CTRL_POOL_BASE,
  CTRL_STAGING_BASE,
  SKB_SHARED_INFO_SIZE,
} from "../../assembly/layout.ts";
import { createMachine, createMachineSync, machine, u8, u32, useMachine, wasm } from "../../src/mm/mem.ts";
import { memStats, poolBlocksInUse, poolFree, poolInUse, poolSetLimit } from "../../src/mm/pool.ts";
import { skbEnd, skbHead, skbTruesize } from "../../src/mm/skb.ts";
import { allocPage, allocSkb, getPage, kfreeSkb, pageRefs, pageSize, putPage } from "../../src/net/core/skbuff.ts";
import { Random, RUNS, SEED, withMachine } from "./util.ts";

withMachine();

describe("pages", () => {
  it("come from the smallest class that holds them", () => {
    for (const [size, cls] of [
      [1, 512],
      [512, 512],
      [513, 2048],
      [2048, 2048],
      [2049, 4096],
      [4097, 16384],
      [16385, 32768],
      [32769, 65536],
      [65536, 65536],
    ] as const) {
      const page = allocPage(size);
      expect(page).toBeGreaterThan(0);
      expect(page % cls).toBe(0);
      expect(pageSize(page)).toBe(cls);
      expect(pageRefs(page)).toBe(1);
      putPage(page);
    }
    expect(allocPage(65537)).toBe(0);
    expect(memStats().allocFail).toBe(1);
  });

  it("live as long as their last reference", () => {
    const page = allocPage(4096);
    getPage(page);
    getPage(page);
    expect(pageRefs(page)).toBe(3);
    putPage(page);
    putPage(page);
    expect(poolFree().buffers).toBe(1);
    putPage(page);
    expect(pageRefs(page)).toBe(0);
    expect(poolFree().buffers).toBe(0);
    expect(() => putPage(page)).toThrow(WebAssembly.RuntimeError);
  });

  it("are handed out again last in, first out", () => {
    const pages = [allocPage(2048), allocPage(2048), allocPage(2048)];
    for (const page of pages) putPage(page);
    const again = [allocPage(2048), allocPage(2048), allocPage(2048)];
    expect(again).toEqual([...pages].reverse());
    for (const page of again) putPage(page);
  });
});

describe("skb heads", () => {
  it("have the room of their class and its truesize", () => {
    for (const [size, cls] of [
      [0, 512],
      [512 - SKB_SHARED_INFO_SIZE, 512],
      [512 - SKB_SHARED_INFO_SIZE + 1, 2048],
      [1514 + 64, 2048],
      [4000, 16384],
      [16384, 32768],
      [60000, 65536],
      [65536 - SKB_SHARED_INFO_SIZE, 65536],
    ] as const) {
      const skb = allocSkb(size);
      expect(skbEnd(skb) - skbHead(skb)).toBe(cls - SKB_SHARED_INFO_SIZE);
      expect(skbTruesize(skb)).toBe(cls + 256);
      kfreeSkb(skb);
    }
  });

  it("that no class holds are refused, whatever the number", () => {
    for (const size of [65536 - SKB_SHARED_INFO_SIZE + 1, 65537, 0x7fffffff, 0xffffffff, -1, -240]) {
      expect(allocSkb(size)).toBe(0);
    }
  });
});

describe("scarcity", () => {
  it("CTRL_BLOCK_LIMIT makes an allocation fail at once, and freeing helps", () => {
    poolSetLimit(3);
    const skbs: number[] = [];
    for (;;) {
      const skb = allocSkb(1500);
      if (skb === 0) break;
      skbs.push(skb);
    }
    // One block of sk_buffs, two of 2K buffers.
    expect(skbs.length).toBe(64);
    expect(poolBlocksInUse()).toBe(3);
    expect(memStats().allocFail).toBe(1);
    expect(allocPage(100)).toBe(0);
    kfreeSkb(skbs.pop() as number);
    const again = allocSkb(1500);
    expect(again).not.toBe(0);
    kfreeSkb(again);
    for (const skb of skbs) kfreeSkb(skb);
  });

  it("a memory can be used to its last block and comes back whole", () => {
    const small = createMachineSync({ memoryBytes: 4 << 20 });
    const held = machine;
    useMachine(small);
    const before = poolFree();
    const pages: number[] = [];
    for (let page = allocPage(65536); page !== 0; page = allocPage(65536)) pages.push(page);
    expect(pages.length * BLOCK_SIZE).toBe(before.bytes);
    expect(poolFree().bytes).toBe(0);
    expect(new Set(pages).size).toBe(pages.length);
    for (const page of pages) putPage(page);
    expect(poolFree()).toEqual(before);
    useMachine(held);
  });

  it("refuses a memory that is too small for its own tables", () => {
    expect(() => createMachineSync({ memoryBytes: 65536 })).toThrow(RangeError);
    expect(() => createMachineSync({ memoryBytes: 4 * 2 ** 30 })).toThrow(RangeError);
  });
});

describe("blocks", () => {
  it("go back when they are empty, but for one a class", () => {
    const free = (): number => u32[(CTRL + CTRL_FREE_BLOCK_COUNT) >>> 2];
    const before = free();
    const pages: number[] = [];
    for (let i = 0; i < 100; i++) pages.push(allocPage(2048));
    expect(before - free()).toBe(4);
    for (const page of pages) putPage(page);
    expect(before - free()).toBe(1);
    // A block serves another class next time.
    const others: number[] = [];
    for (let i = 0; i < 300; i++) others.push(allocPage(512));
    expect(before - free()).toBe(4);
    for (const page of others) putPage(page);
    expect(before - free()).toBe(2);
    expect(wasm.inUse(CLASS_2K) + wasm.inUse(CLASS_512)).toBe(0);
  });

  it("stress: random sizes, no overlap, nothing lost", () => {
    const random = new Random(SEED);
    const held: { page: number; size: number; stamp: number }[] = [];
    const owner = new Map<number, number>(); // 512-byte unit -> stamp
    for (let step = 0; step < RUNS * 200; step++) {
      if (held.length > 0 && (random.below(100) < 48 || held.length > 400)) {
        const i = random.below(held.length);
        const { page, size, stamp } = held[i] as (typeof held)[0];
        held[i] = held[held.length - 1] as (typeof held)[0];
        held.pop();
        for (let at = page; at < page + size; at += 512) owner.delete(at);
        if (u32[page >>> 2] !== stamp || u32[(page + size - 4) >>> 2] !== stamp)
          expect.fail(`page ${page} was overwritten`);
        putPage(page);
      } else {
        const want = [1, 512, 600, 2048, 4096, 9000, 20000, 65536][random.below(8)] as number;
        const page = allocPage(want);
        if (page === 0) continue;
        const size = pageSize(page);
        for (let at = page; at < page + size; at += 512) {
          if (owner.has(at)) expect.fail(`${at} was handed out twice`);
          owner.set(at, step);
        }
        u32[page >>> 2] = step;
        u32[(page + size - 4) >>> 2] = step;
        held.push({ page, size, stamp: step });
      }
    }
    for (const { page } of held) putPage(page);
  });
});

describe("two cpus on one memory", () => {
  it("the second finds the memory as it is", async () => {
    const first = machine;
    const skb = allocSkb(100);
    u8[skbHead(skb)] = 77;
    const second = await createMachine({ memory: first.memory, cpu: 1 });
    expect(second.u8[skbHead(skb)]).toBe(77);
    expect(second.staging).not.toBe(first.staging);
    useMachine(second);
    expect(poolInUse().map((one) => one.skb)).toEqual([skb]);
    useMachine(first);
    kfreeSkb(skb);
  });

  it("a buffer that the other cpu frees comes back to its owner", () => {
    const first = machine;
    const second = createMachineSync({ memory: first.memory, cpu: 1 });
    const skbs = Array.from({ length: 100 }, () => allocSkb(1500));
    useMachine(second);
    const own = Array.from({ length: 50 }, () => allocSkb(1500));
    for (const skb of skbs) kfreeSkb(skb);
    useMachine(first);
    for (const skb of own) kfreeSkb(skb);
    expect(wasm.inUse(0)).toBe(150); // they wait on the return stacks
    const again = Array.from({ length: 300 }, () => allocSkb(1500));
    expect(new Set(again).size).toBe(300);
    for (const skb of again) kfreeSkb(skb);
    useMachine(second);
    wasm.drainReturned();
    useMachine(first);
  });

  it("serial numbers never meet", () => {
    const first = machine;
    const second = createMachineSync({ memory: first.memory, cpu: 1 });
    const a = allocSkb(1);
    useMachine(second);
    const b = allocSkb(1);
    const [x, y] = poolInUse();
    expect(x?.origin).not.toBe(y?.origin);
    kfreeSkb(b);
    useMachine(first);
    kfreeSkb(a);
  });
});

it("the staging areas lie before the pool", () => {
  expect(u32[(CTRL + CTRL_STAGING_BASE) >>> 2]).toBeLessThan(u32[(CTRL + CTRL_POOL_BASE) >>> 2]);
});
