import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { RING_SLOTS, SKB_MARK } from "../../assembly/layout.ts";
import { compileWasmSync } from "../../src/mm/loader.ts";
import { createMachineSync, machine, u32, useMachine, wasm } from "../../src/mm/mem.ts";
import {
  allocPage,
  allocSkb,
  consumeSkbList,
  kfreeSkbList,
  poolBlocksInUse,
  putPage,
  skbNext,
  skbSetMark,
  skbSetNext,
} from "../../src/net/core/skbuff.ts";
import { withMachine } from "../mm/util.ts";

withMachine();

function chain(n: number): number {
  let first = 0;
  for (let i = 0; i < n; i++) {
    const skb = allocSkb(100);
    skbSetNext(skb, first);
    first = skb;
  }
  return first;
}
function members(list: number): number[] {
  const out: number[] = [];
  for (let skb = list; skb !== 0; skb = skbNext(skb)) out.push(skb);
  return out;
}

describe("ring", () => {
  it("keeps order, takes what fits and hands out what was asked for", () => {
    const ring = allocPage(RING_SLOTS + 4 * 8);
    wasm.ringInit(ring, 8);
    const list = chain(11);
    const all = members(list);
    const rest = wasm.ringPush(ring, list);
    expect(members(rest)).toEqual(all.slice(8));
    expect(wasm.ringCount(ring)).toBe(8);
    const some = wasm.ringPop(ring, 3);
    expect(members(some)).toEqual(all.slice(0, 3));
    expect(wasm.ringPush(ring, rest)).toBe(0);
    const more = wasm.ringPop(ring, 100);
    expect(members(more)).toEqual(all.slice(3));
    expect(wasm.ringPop(ring, 100)).toBe(0);
    kfreeSkbList(some);
    consumeSkbList(more);
    putPage(ring);
  });

  it("counts on past 2^32", () => {
    const ring = allocPage(RING_SLOTS + 4 * 4);
    wasm.ringInit(ring, 4);
    u32[ring >>> 2] = 0xfffffffe;
    u32[(ring + 64) >>> 2] = 0xfffffffe;
    const list = chain(4);
    const all = members(list);
    expect(wasm.ringPush(ring, list)).toBe(0);
    expect(wasm.ringCount(ring)).toBe(4);
    const out = wasm.ringPop(ring, 10);
    expect(members(out)).toEqual(all);
    kfreeSkbList(out);
    putPage(ring);
  });

  it("joins two cpus: what one sends the other frees", () => {
    const first = machine;
    const second = createMachineSync({ memory: first.memory, cpu: 1 });
    const ring = allocPage(RING_SLOTS + 4 * 64);
    wasm.ringInit(ring, 64);
    for (let round = 0; round < 50; round++) {
      expect(wasm.ringPush(ring, chain(40))).toBe(0);
      useMachine(second);
      const list = wasm.ringPop(ring, 64);
      expect(members(list).length).toBe(40);
      consumeSkbList(list);
      useMachine(first);
    }
    // Everything came back: the pool did not grow with the rounds.
    putPage(ring);
  });

  it("joins two threads that run at the same time", async () => {
    const rounds = 2000;
    const batch = 16;
    const ring = allocPage(RING_SLOTS + 4 * 256);
    wasm.ringInit(ring, 256);
    // The worker is cpu 1: it takes what comes, frees it (onto cpu 0's return stack), and counts.
    const worker = new Worker(
      `const { parentPort, workerData: { module, memory, ring, total } } = require("node:worker_threads");
       const wasm = new WebAssembly.Instance(module, { env: { memory, cpu: 1 } }).exports;
       const u32 = new Uint32Array(memory.buffer);
       if (wasm.mmInit(memory.buffer.byteLength) !== 1) throw new Error("mmInit");
       let sum = 0;
       for (let n = 0; n < total; ) {
         const list = wasm.ringPop(ring, 64);
         for (let skb = list; skb !== 0; skb = u32[skb >>> 2]) { n++; sum = (sum + u32[(skb + ${SKB_MARK}) >>> 2]) >>> 0; }
         wasm.kfreeSkbListMem(list);
       }
       parentPort.postMessage(sum);`,
      { eval: true, workerData: { module: compileWasmSync(), memory: machine.memory, ring, total: rounds * batch } },
    );
    const done = new Promise<number>((resolve, reject) => worker.once("message", resolve).once("error", reject));
    let sum = 0;
    let serial = 0;
    for (let round = 0; round < rounds; round++) {
      let list = chain(batch);
      for (let skb = list; skb !== 0; skb = skbNext(skb)) {
        skbSetMark(skb, ++serial);
        sum = (sum + serial) >>> 0;
      }
      for (;;) {
        list = wasm.ringPush(ring, list);
        if (list === 0) break;
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    expect(await done).toBe(sum);
    await worker.terminate();
    putPage(ring);
    // 512 skbs at most were under way: memory came back while the worker ran.
    expect(poolBlocksInUse()).toBeLessThan(rounds);
  });
});
