/**
 * The allocator: SLUB in miniature over the shared memory.
 *
 * Memory is cut into blocks of 64 KiB. A block belongs to one cpu and holds objects of one size class, or is free. Its
 * descriptor carries a LIFO list of freed objects and the address from which objects were never handed out, so a fresh
 * block costs nothing until it is used:
 *
 *   block    | obj | obj | free | obj | free | never used ......... |
 *   desc       free_list -> free -> free      fresh ^
 *
 * A cpu takes from the first block of its partial list for that class; full blocks stand in no list. An object that
 * another cpu frees goes on its owner's return stack with one compare-and-swap, and the owner takes the whole stack
 * at once when it runs out. An empty block goes back to the free blocks, except that a class keeps its last one.
 *
 * A buffer (every class but CLASS_SKB) has a reference count in the table at CTRL_REFS_BASE. It serves the skb heads
 * and the page frags alike.
 */

import { cpu } from "../env";
import {
  ARENA_IN_USE,
  ARENA_PARTIAL,
  ARENA_RETURNED,
  ARENA_STAT_ALLOC_FAIL,
  ARENA_STAT_BUF_ALLOC,
  ARENA_STAT_BUF_FREE,
  ARENA_STATS,
  BLOCK_CLASS,
  BLOCK_CPU,
  BLOCK_DESC_SIZE,
  BLOCK_FREE,
  BLOCK_FREE_LIST,
  BLOCK_FRESH,
  BLOCK_FULL,
  BLOCK_IN_USE,
  BLOCK_NEXT,
  BLOCK_PARTIAL,
  BLOCK_PREV,
  BLOCK_SHIFT,
  BLOCK_SIZE,
  BLOCK_STATE,
  BLOCK_TABLE,
  CLASS_2K,
  CLASS_4K,
  CLASS_16K,
  CLASS_32K,
  CLASS_64K,
  CLASS_512,
  CLASS_SKB,
  CPU_ARENA_SIZE,
  CTRL,
  CTRL_ARENAS,
  CTRL_BLOCK_LIMIT,
  CTRL_BLOCK_LOCK,
  CTRL_FREE_BLOCK_COUNT,
  CTRL_FREE_BLOCKS,
  CTRL_MAGIC,
  CTRL_MEM_SIZE,
  CTRL_NEXT_BLOCK,
  CTRL_POOL_BASE,
  CTRL_POOL_BLOCKS,
  CTRL_REFS_BASE,
  CTRL_STAGING_BASE,
  CTRL_VERSION,
  LAYOUT_VERSION,
  MEM_MAGIC,
  NR_CPUS,
  REF_SHIFT,
  SKB_FLAG_POISONED,
  SKB_FLAGS,
  SKB_USERS,
  STAGING_SIZE,
} from "../layout";

/** The debug target compiles without optimization; what stands under this is not in the release module at all. */
export const DEBUG: bool = ASC_OPTIMIZE_LEVEL == 0;

const POISON: u8 = 0x6b;

// ---- helpers --------------------------------------------------------------------------------------------------------

/** This cpu's arena. */
export function arena(): u32 {
  return CTRL + CTRL_ARENAS + (cpu as u32) * CPU_ARENA_SIZE;
}

/** Adds to one of this cpu's ARENA_STAT_* counters. */
export function statAdd(stat: u32, n: u32): void {
  const at = arena() + ARENA_STATS + stat;
  store<u32>(at, load<u32>(at) + n);
}

/** log2 of the object size of a class: one byte a class (a table in memory would be a data segment). */
function classShift(cls: u32): u32 {
  return ((0x0010_0f0e_0c0b_0908 as u64) >> (cls << 3)) as u32 & 0xff;
}

export function classSize(cls: u32): u32 {
  return 1 << classShift(cls);
}

/** The smallest buffer class that holds `size` bytes; 0 (no buffer class) if none does. */
export function sizeToClass(size: u32): u32 {
  if (size <= 512) return CLASS_512;
  if (size <= 2048) return CLASS_2K;
  if (size <= 4096) return CLASS_4K;
  if (size <= 16384) return CLASS_16K;
  if (size <= 32768) return CLASS_32K;
  if (size <= 65536) return CLASS_64K;
  return 0;
}

function blockDesc(object: u32): u32 {
  return BLOCK_TABLE + (object >> BLOCK_SHIFT) * BLOCK_DESC_SIZE;
}

/** The address of a buffer's reference count. */
export function refAddr(buffer: u32): u32 {
  return load<u32>(CTRL + CTRL_REFS_BASE) + ((buffer >> REF_SHIFT) << 2);
}

/** The size in bytes of the buffer's class. */
export function bufferSize(buffer: u32): u32 {
  return classSize(load<u32>(blockDesc(buffer), BLOCK_CLASS));
}

// ---- blocks ---------------------------------------------------------------------------------------------------------

/**
 * Lays out a memory of `memBytes` bytes, unless that was done before: a second instance on the same memory finds it
 * as it is. Returns 1, or 0 if the memory is too small or was laid out by another version.
 */
export function mmInit(memBytes: u32): i32 {
  if (load<u32>(CTRL + CTRL_MAGIC) == MEM_MAGIC) return (load<u32>(CTRL + CTRL_VERSION) == LAYOUT_VERSION) as i32;
  const blocks = memBytes >> BLOCK_SHIFT;
  const refs = (BLOCK_TABLE + blocks * BLOCK_DESC_SIZE + 4095) & ~4095;
  const staging = (refs + ((memBytes >> REF_SHIFT) << 2) + 4095) & ~4095;
  const pool = (staging + NR_CPUS * STAGING_SIZE + BLOCK_SIZE - 1) & ~(BLOCK_SIZE - 1);
  if (pool + BLOCK_SIZE > memBytes) return 0;
  store<u32>(CTRL + CTRL_VERSION, LAYOUT_VERSION);
  store<u32>(CTRL + CTRL_MEM_SIZE, memBytes);
  store<u32>(CTRL + CTRL_REFS_BASE, refs);
  store<u32>(CTRL + CTRL_STAGING_BASE, staging);
  store<u32>(CTRL + CTRL_POOL_BASE, pool);
  store<u32>(CTRL + CTRL_POOL_BLOCKS, (memBytes - pool) >> BLOCK_SHIFT);
  store<u32>(CTRL + CTRL_FREE_BLOCK_COUNT, (memBytes - pool) >> BLOCK_SHIFT);
  store<u32>(CTRL + CTRL_NEXT_BLOCK, pool >> BLOCK_SHIFT);
  store<u32>(CTRL + CTRL_MAGIC, MEM_MAGIC);
  return 1;
}

function lockBlocks(): void {
  while (atomic.cmpxchg<u32>(CTRL + CTRL_BLOCK_LOCK, 0, 1) != 0) {}
}

function unlockBlocks(): void {
  atomic.store<u32>(CTRL + CTRL_BLOCK_LOCK, 0);
}

/** Takes a block from the free ones. Returns its descriptor, 0 if there is none. */
function takeBlock(cls: u32): u32 {
  let block: u32 = 0;
  lockBlocks();
  const free = load<u32>(CTRL + CTRL_FREE_BLOCK_COUNT);
  const total = load<u32>(CTRL + CTRL_POOL_BLOCKS);
  const limit = load<u32>(CTRL + CTRL_BLOCK_LIMIT);
  if (free != 0 && (limit == 0 || total - free < limit)) {
    const head = load<u32>(CTRL + CTRL_FREE_BLOCKS);
    if (head != 0) {
      block = head - 1;
      store<u32>(CTRL + CTRL_FREE_BLOCKS, load<u32>(BLOCK_TABLE + block * BLOCK_DESC_SIZE, BLOCK_NEXT));
    } else {
      block = load<u32>(CTRL + CTRL_NEXT_BLOCK);
      store<u32>(CTRL + CTRL_NEXT_BLOCK, block + 1);
    }
    store<u32>(CTRL + CTRL_FREE_BLOCK_COUNT, free - 1);
  }
  unlockBlocks();
  if (block == 0) return 0;
  const desc: u32 = BLOCK_TABLE + block * BLOCK_DESC_SIZE;
  store<u32>(desc, cls, BLOCK_CLASS);
  store<u32>(desc, cpu, BLOCK_CPU);
  store<u32>(desc, 0, BLOCK_FREE_LIST);
  store<u32>(desc, 0, BLOCK_IN_USE);
  store<u32>(desc, block << BLOCK_SHIFT, BLOCK_FRESH);
  return desc;
}

/** Gives an empty block, which stands in no list, back to all cpus. */
function giveBlock(desc: u32): void {
  lockBlocks();
  store<u32>(desc, BLOCK_FREE, BLOCK_STATE);
  store<u32>(desc, load<u32>(CTRL + CTRL_FREE_BLOCKS), BLOCK_NEXT);
  store<u32>(CTRL + CTRL_FREE_BLOCKS, ((desc - BLOCK_TABLE) / BLOCK_DESC_SIZE + 1) as u32);
  store<u32>(CTRL + CTRL_FREE_BLOCK_COUNT, load<u32>(CTRL + CTRL_FREE_BLOCK_COUNT) + 1);
  unlockBlocks();
}

function linkPartial(list: u32, desc: u32): void {
  const first = load<u32>(list);
  store<u32>(desc, BLOCK_PARTIAL, BLOCK_STATE);
  store<u32>(desc, first, BLOCK_NEXT);
  store<u32>(desc, 0, BLOCK_PREV);
  if (first != 0) store<u32>(first, desc, BLOCK_PREV);
  store<u32>(list, desc);
}

function unlinkPartial(list: u32, desc: u32): void {
  const next = load<u32>(desc, BLOCK_NEXT);
  const prev = load<u32>(desc, BLOCK_PREV);
  if (next != 0) store<u32>(next, prev, BLOCK_PREV);
  if (prev != 0) store<u32>(prev, next, BLOCK_NEXT);
  else store<u32>(list, next);
}

// ---- objects --------------------------------------------------------------------------------------------------------

/** Finds a block with room after the partial list of the class ran empty. Returns its descriptor or 0. */
function refill(a: u32, cls: u32): u32 {
  const list = a + ARENA_PARTIAL + (cls << 2);
  if (atomic.load<u32>(a, ARENA_RETURNED) != 0) {
    drainReturned();
    const desc = load<u32>(list);
    if (desc != 0) return desc;
  }
  const fresh = takeBlock(cls);
  if (fresh == 0) {
    statAdd(ARENA_STAT_ALLOC_FAIL, 1);
    return 0;
  }
  linkPartial(list, fresh);
  return fresh;
}

/** An object of the class; its bytes are whatever they were. Returns 0 if there is no memory. */
export function allocObject(cls: u32): u32 {
  const a = arena();
  const list = a + ARENA_PARTIAL + (cls << 2);
  let desc: u32 = load<u32>(list);
  if (desc == 0) {
    desc = refill(a, cls);
    if (desc == 0) return 0;
  }
  let object: u32 = load<u32>(desc, BLOCK_FREE_LIST);
  if (object != 0) {
    store<u32>(desc, load<u32>(object), BLOCK_FREE_LIST);
    if (DEBUG) checkPoison(object, cls);
  } else {
    object = load<u32>(desc, BLOCK_FRESH);
    store<u32>(desc, object + classSize(cls), BLOCK_FRESH);
  }
  const inUse = load<u32>(desc, BLOCK_IN_USE) + 1;
  store<u32>(desc, inUse, BLOCK_IN_USE);
  if (inUse == BLOCK_SIZE >> classShift(cls)) {
    unlinkPartial(list, desc);
    store<u32>(desc, BLOCK_FULL, BLOCK_STATE);
  }
  store<u32>(a + (cls << 2), load<u32>(a + (cls << 2), ARENA_IN_USE) + 1, ARENA_IN_USE);
  return object;
}

/** Frees an object of any cpu. */
export function freeObject(object: u32): void {
  const desc = blockDesc(object);
  const cls = load<u32>(desc, BLOCK_CLASS);
  if (DEBUG) poison(object, cls);
  const owner = load<u32>(desc, BLOCK_CPU);
  if (owner != cpu) {
    returnObject(owner, object);
    return;
  }
  const a = arena() + (cls << 2);
  const used = load<u32>(desc, BLOCK_IN_USE) - 1;
  store<u32>(object, load<u32>(desc, BLOCK_FREE_LIST));
  store<u32>(desc, object, BLOCK_FREE_LIST);
  store<u32>(desc, used, BLOCK_IN_USE);
  store<u32>(a, load<u32>(a, ARENA_IN_USE) - 1, ARENA_IN_USE);
  if (load<u32>(desc, BLOCK_STATE) == BLOCK_FULL) linkPartial(a + ARENA_PARTIAL, desc);
  if (used == 0) blockEmpty(a + ARENA_PARTIAL, desc);
}

/** A block became empty: it goes back unless it is the last one of its class. */
function blockEmpty(list: u32, desc: u32): void {
  if (load<u32>(list) == desc && load<u32>(desc, BLOCK_NEXT) == 0) return;
  unlinkPartial(list, desc);
  giveBlock(desc);
}

/** Puts an object on the return stack of the cpu that it came from. */
function returnObject(owner: u32, object: u32): void {
  const stack: u32 = CTRL + CTRL_ARENAS + owner * CPU_ARENA_SIZE + ARENA_RETURNED;
  let top = atomic.load<u32>(stack);
  while (true) {
    store<u32>(object, top);
    const seen = atomic.cmpxchg<u32>(stack, top, object);
    if (seen == top) return;
    top = seen;
  }
}

/** Takes back what other cpus have freed. */
export function drainReturned(): void {
  let object: u32 = atomic.xchg<u32>(arena() + ARENA_RETURNED, 0);
  while (object != 0) {
    const next = load<u32>(object);
    freeObject(object);
    object = next;
  }
}

/** Objects of the class in use on all cpus (what waits on a return stack counts as in use). */
export function inUse(cls: u32): u32 {
  let sum: u32 = 0;
  for (let i: u32 = 0; i < NR_CPUS; i++) {
    sum += load<u32>(CTRL + CTRL_ARENAS + i * CPU_ARENA_SIZE + ARENA_IN_USE + (cls << 2));
  }
  return sum;
}

// ---- the debug build's poison ---------------------------------------------------------------------------------------

function poison(object: u32, cls: u32): void {
  if (cls == CLASS_SKB && (load<u8>(object, SKB_FLAGS) & (SKB_FLAG_POISONED as u8)) != 0) {
    if (load<u32>(object, SKB_USERS) == 0) unreachable(); // freed twice
  }
  memory.fill(object + 4, POISON, classSize(cls) - 4);
  if (cls == CLASS_SKB) {
    store<u32>(object, 0, SKB_USERS);
    store<u8>(object, SKB_FLAG_POISONED as u8, SKB_FLAGS);
  }
}

/** Traps if a freed object was written to. */
function checkPoison(object: u32, cls: u32): void {
  if (cls == CLASS_SKB) {
    if (load<u32>(object, SKB_USERS) != 0 || load<u8>(object, SKB_FLAGS) != (SKB_FLAG_POISONED as u8)) unreachable();
    store<u32>(object, 0x6b6b6b6b, SKB_USERS);
    store<u8>(object, POISON, SKB_FLAGS);
  }
  const end = object + classSize(cls);
  for (let at = object + 4; at < end; at += 4) if (load<u32>(at) != 0x6b6b6b6b) unreachable();
}

// ---- buffers --------------------------------------------------------------------------------------------------------

/** A buffer of the class with one reference. 0 = no memory. */
export function allocBuffer(cls: u32): u32 {
  const buffer = allocObject(cls);
  if (buffer == 0) return 0;
  store<u32>(refAddr(buffer), 1);
  statAdd(ARENA_STAT_BUF_ALLOC, 1);
  return buffer;
}

/** A buffer that holds at least `size` bytes, with one reference: get_page / put_page. 0 = no memory or too large. */
export function allocPage(size: u32): u32 {
  const cls = sizeToClass(size);
  if (cls == 0) {
    statAdd(ARENA_STAT_ALLOC_FAIL, 1);
    return 0;
  }
  return allocBuffer(cls);
}

/** Adds a reference to a buffer. */
export function getPage(buffer: u32): void {
  if (DEBUG && load<u32>(refAddr(buffer)) == 0) unreachable();
  atomic.add<u32>(refAddr(buffer), 1);
}

/** Drops a reference to a buffer; the last one frees it. Traps when there was none. */
export function putPage(buffer: u32): void {
  const ref = refAddr(buffer);
  const count = load<u32>(ref);
  // The only holder needs no atomic operation: nobody else can add a reference to what he does not hold.
  if (count == 1) store<u32>(ref, 0);
  else {
    if (count == 0) unreachable();
    if (atomic.sub<u32>(ref, 1) != 1) return;
  }
  statAdd(ARENA_STAT_BUF_FREE, 1);
  freeObject(buffer);
}

/** References to a buffer. */
export function pageRefs(buffer: u32): u32 {
  return load<u32>(refAddr(buffer));
}
