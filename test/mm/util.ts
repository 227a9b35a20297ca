/** What the tests of the memory layer share: a machine each, seeds, and the pool's state before and after. */

import fc from "fast-check";
import { afterEach, beforeEach, expect } from "vitest";
import { createMachineSync, type Machine, type MachineOptions, u8, useMachine } from "../../src/mm/mem.ts";
import { type PoolFree, poolFree, poolInUse } from "../../src/mm/pool.ts";

/** The seed of every property in this run: SKBUFF_SEED, or one that is fixed. fast-check prints it when one fails. */
export const SEED: number = Number(process.env["SKBUFF_SEED"] ?? 20120806);
/** How often a property runs: more with SKBUFF_FULL. */
export const RUNS: number = process.env["SKBUFF_FULL"] ? 2000 : 100;

fc.configureGlobal({ seed: SEED, numRuns: RUNS });

/** Makes a machine for every test of the file and checks afterwards that nothing of its pool is in use. */
export function withMachine(opts: MachineOptions = {}): { current: Machine; before: PoolFree } {
  const held = {} as { current: Machine; before: PoolFree };
  beforeEach(() => {
    held.current = createMachineSync({ memoryBytes: 64 << 20, ...opts });
    useMachine(held.current);
    held.before = poolFree();
  });
  afterEach(() => {
    expect(poolInUse()).toEqual([]);
    expect(poolFree()).toEqual(held.before);
  });
  return held;
}

/** A small generator of numbers, the same for the same seed (mulberry32). */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  u32(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }
  /** 0 .. n - 1 */
  below(n: number): number {
    return this.u32() % n;
  }
  bytes(n: number): Uint8Array<ArrayBuffer> {
    const out = new Uint8Array(n);
    for (let i = 0; i < n; i++) out[i] = this.u32();
    return out;
  }
}

/** The bytes at an address, as a copy. */
export function bytesAt(addr: number, len: number): Uint8Array {
  return Uint8Array.from(u8.subarray(addr, addr + len));
}

/** RFC 1071 by the letter: the checksum of `bytes` as a big-endian number, with `init` (16-bit words) added. */
export function rfc1071(bytes: ArrayLike<number>, init = 0): number {
  let sum = init;
  for (let i = 0; i < bytes.length; i += 2)
    sum += ((bytes[i] as number) << 8) | (i + 1 < bytes.length ? (bytes[i + 1] as number) : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}
