import { describe, expect, it } from "vitest";
import { RING_SLOTS } from "../../assembly/layout.ts";
import { createMachineSync, machine, u32, useMachine, wasm } from "../../src/mm/mem.ts";
import {
  allocPage,
  allocSkb,
  consumeSkbList,
  kfreeSkbList,
  putPage,
  skbNext,
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
});
