/**
 * What the pool has and what it has done: for tests (nothing leaks), for limits, for the counters of the benchmarks.
 */

import {
  ARENA_STAT_ALLOC_FAIL,
  ARENA_STAT_BUF_ALLOC,
  ARENA_STAT_BUF_FREE,
  ARENA_STAT_BYTES_COPIED,
  ARENA_STAT_BYTES_SUMMED,
  ARENA_STAT_SEGMENTS,
  ARENA_STAT_SKB_ALLOC,
  ARENA_STAT_SKB_CLONE,
  ARENA_STAT_SKB_FREE,
  ARENA_STATS,
  BLOCK_CLASS,
  BLOCK_DESC_SIZE,
  BLOCK_FREE,
  BLOCK_FRESH,
  BLOCK_SIZE,
  BLOCK_STATE,
  BLOCK_TABLE,
  CLASS_SKB,
  CPU_ARENA_SIZE,
  CTRL,
  CTRL_ARENAS,
  CTRL_BLOCK_LIMIT,
  CTRL_FREE_BLOCK_COUNT,
  CTRL_NEXT_BLOCK,
  CTRL_POOL_BASE,
  CTRL_POOL_BLOCKS,
  NR_CLASSES,
  NR_CPUS,
  SKB_LEN,
  SKB_ORIGIN,
  SKB_SIZE,
  SKB_USERS,
} from "../../assembly/layout.ts";
import { u32, wasm } from "./mem.ts";

/** The size of each class in bytes, by CLASS_*. */
export const CLASS_SIZES: readonly number[] = [256, 512, 2048, 4096, 16384, 32768, 65536];

/** virt_to_head_page: the buffer that the address is in. */
export function pageOf(addr: number): number {
  const cls = u32[(BLOCK_TABLE + (addr >>> 16) * BLOCK_DESC_SIZE + BLOCK_CLASS) >>> 2] as number;
  return addr - ((addr & (BLOCK_SIZE - 1)) % (CLASS_SIZES[cls] as number));
}

export interface PoolFree {
  /** Bytes of the pool that are in no object. */
  bytes: number;
  /** sk_buffs in use. */
  skbs: number;
  /** Buffers (heads and pages) in use. */
  buffers: number;
}

/** The state of the pool, all cpus together. A test compares it before and after: the same numbers mean no leak. */
export function poolFree(): PoolFree {
  wasm.drainReturned();
  let used = 0;
  let buffers = 0;
  for (let cls = 0; cls < NR_CLASSES; cls++) {
    const n = wasm.inUse(cls);
    used += n * CLASS_SIZES[cls];
    if (cls !== CLASS_SKB) buffers += n;
  }
  return { bytes: u32[(CTRL + CTRL_POOL_BLOCKS) >>> 2] * BLOCK_SIZE - used, skbs: wasm.inUse(CLASS_SKB), buffers };
}

export interface SkbInUse {
  skb: number;
  /** Serial number of the skb that it was cloned or segmented from: where the leak began. */
  origin: number;
  users: number;
  len: number;
}

/** Every sk_buff in use, oldest origin first: the leak checker's list. */
export function poolInUse(): SkbInUse[] {
  const out: SkbInUse[] = [];
  const end = u32[(CTRL + CTRL_NEXT_BLOCK) >>> 2];
  for (let block = u32[(CTRL + CTRL_POOL_BASE) >>> 2] / BLOCK_SIZE; block < end; block++) {
    const desc = (BLOCK_TABLE + block * BLOCK_DESC_SIZE) >>> 2;
    if (u32[desc + (BLOCK_STATE >>> 2)] === BLOCK_FREE || u32[desc + (BLOCK_CLASS >>> 2)] !== CLASS_SKB) continue;
    const fresh = u32[desc + (BLOCK_FRESH >>> 2)];
    for (let skb = block * BLOCK_SIZE; skb < fresh; skb += SKB_SIZE) {
      const users = u32[(skb + SKB_USERS) >>> 2];
      if (users !== 0) out.push({ skb, origin: u32[(skb + SKB_ORIGIN) >>> 2], users, len: u32[(skb + SKB_LEN) >>> 2] });
    }
  }
  return out.sort((a, b) => a.origin - b.origin);
}

/** Counters of the memory work since the memory was made, all cpus together. They wrap at 2^32 a cpu. */
export interface MemStats {
  skbAlloc: number;
  skbClone: number;
  skbFree: number;
  bufAlloc: number;
  bufFree: number;
  allocFail: number;
  bytesCopied: number;
  bytesSummed: number;
  segments: number;
}

function stat(offset: number): number {
  let sum = 0;
  for (let cpu = 0; cpu < NR_CPUS; cpu++)
    sum += u32[(CTRL + CTRL_ARENAS + cpu * CPU_ARENA_SIZE + ARENA_STATS + offset) >>> 2];
  return sum;
}

/** The deterministic counters: the same work counts the same on every machine. */
export function memStats(): MemStats {
  return {
    skbAlloc: stat(ARENA_STAT_SKB_ALLOC),
    skbClone: stat(ARENA_STAT_SKB_CLONE),
    skbFree: stat(ARENA_STAT_SKB_FREE),
    bufAlloc: stat(ARENA_STAT_BUF_ALLOC),
    bufFree: stat(ARENA_STAT_BUF_FREE),
    allocFail: stat(ARENA_STAT_ALLOC_FAIL),
    bytesCopied: stat(ARENA_STAT_BYTES_COPIED),
    bytesSummed: stat(ARENA_STAT_BYTES_SUMMED),
    segments: stat(ARENA_STAT_SEGMENTS),
  };
}

/** Lets the pool hand out at most `blocks` blocks of 64 KiB from now on (those in use count); 0 = no limit. */
export function poolSetLimit(blocks: number): void {
  u32[(CTRL + CTRL_BLOCK_LIMIT) >>> 2] = blocks;
}

/** Blocks of 64 KiB that are handed out now. */
export function poolBlocksInUse(): number {
  return u32[(CTRL + CTRL_POOL_BLOCKS) >>> 2] - u32[(CTRL + CTRL_FREE_BLOCK_COUNT) >>> 2];
}
