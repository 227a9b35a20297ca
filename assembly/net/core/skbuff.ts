/**
 * sk_buff: allocation, cloning, freeing, and all that moves bytes between the linear part, the frags and the frag list
 * (net/core/skbuff.c). Pure field moves (skb_put, skb_push, skb_pull) are done by src/net/core/skbuff.ts on the views.
 *
 * What an operation gives back besides its return value stands in this cpu's ARENA_RESULT words. An sk_buff that came
 * out of a frag list is never freed here: its destructor is JavaScript. It is returned, linked through `next`.
 */

import { cpu } from "../../env";
import {
  ARENA_RESULT,
  ARENA_SERIAL,
  ARENA_STAT_ALLOC_FAIL,
  ARENA_STAT_SKB_ALLOC,
  ARENA_STAT_SKB_CLONE,
  ARENA_STAT_SKB_FREE,
  CLASS_SKB,
  FRAG_LEN,
  FRAG_OFFSET,
  FRAG_PAGE,
  FRAG_SIZE,
  SHINFO_DATAREF,
  SHINFO_FRAG_LIST,
  SHINFO_FRAGS,
  SHINFO_NR_FRAGS,
  SHINFO_UARG,
  SKB_CLONED,
  SKB_DATA,
  SKB_DATA_LEN,
  SKB_DATAREF_MASK,
  SKB_DATAREF_SHIFT,
  SKB_DESTRUCTOR,
  SKB_END,
  SKB_FLAG_NOHDR,
  SKB_FLAG_PEEKED,
  SKB_FLAGS,
  SKB_HDR_LEN,
  SKB_HEAD,
  SKB_ID,
  SKB_LEN,
  SKB_NEXT,
  SKB_ORIGIN,
  SKB_PREV,
  SKB_SHARED_INFO_SIZE,
  SKB_SIZE,
  SKB_SK,
  SKB_TAIL,
  SKB_TRUESIZE,
  SKB_USERS,
} from "../../layout";
import { allocBuffer, allocObject, arena, classSize, freeObject, putPage, sizeToClass, statAdd } from "../../mm/slab";

/** Sets word `i` of the result area. */
export function setResult(i: u32, value: u32): void {
  store<u32>(arena() + ARENA_RESULT + (i << 2), value);
}

/** The next serial number: the cpu in the top 4 bits, so that no two cpus share one and cpu 0 counts 1, 2, 3. */
function nextSerial(): u32 {
  const a = arena();
  const serial = (load<u32>(a, ARENA_SERIAL) + 1) & 0x0fff_ffff;
  store<u32>(a, serial, ARENA_SERIAL);
  return serial | ((cpu as u32) << 28);
}

/** skb_shinfo(skb). */
export function shinfo(skb: u32): u32 {
  return load<u32>(skb, SKB_END);
}

/** Zeroes a skb_shared_info and gives it its first reference. */
function initShinfo(si: u32): void {
  v128.store(si, i64x2.splat(0));
  store<u64>(si, (1 as u64) << 32, 16); // uarg = 0, dataref = 1
}

/** alloc_skb: no headroom; the tailroom is what the size class has. 0 = no memory, or more than CLASS_64K holds. */
export function allocSkb(size: u32): u32 {
  const cls = size > 65536 ? 0 : sizeToClass(size + SKB_SHARED_INFO_SIZE);
  if (cls == 0) {
    statAdd(ARENA_STAT_ALLOC_FAIL, 1);
    return 0;
  }
  const skb = allocObject(CLASS_SKB);
  if (skb == 0) return 0;
  const head = allocBuffer(cls);
  if (head == 0) {
    store<u32>(skb, 0, SKB_USERS);
    freeObject(skb);
    return 0;
  }
  const zero = i64x2.splat(0);
  for (let at = skb, stop = skb + SKB_SIZE; at < stop; at += 64) {
    v128.store(at, zero);
    v128.store(at, zero, 16);
    v128.store(at, zero, 32);
    v128.store(at, zero, 48);
  }
  const bytes = classSize(cls);
  const end = head + bytes - SKB_SHARED_INFO_SIZE;
  store<u32>(skb, head, SKB_HEAD);
  store<u32>(skb, head, SKB_DATA);
  store<u32>(skb, head, SKB_TAIL);
  store<u32>(skb, end, SKB_END);
  store<u32>(skb, bytes + SKB_SIZE, SKB_TRUESIZE);
  store<u32>(skb, 1, SKB_USERS);
  const id = nextSerial();
  store<u32>(skb, id, SKB_ID);
  store<u32>(skb, id, SKB_ORIGIN);
  initShinfo(end);
  statAdd(ARENA_STAT_SKB_ALLOC, 1);
  return skb;
}

/** skb_clone: a second sk_buff over the same data. It has no owner and stands in no list. 0 = no memory. */
export function skbClone(skb: u32): u32 {
  const n = allocObject(CLASS_SKB);
  if (n == 0) return 0;
  for (let at: u32 = 0; at < SKB_SIZE; at += 64) {
    v128.store(n + at, v128.load(skb + at));
    v128.store(n + at, v128.load(skb + at, 16), 16);
    v128.store(n + at, v128.load(skb + at, 32), 32);
    v128.store(n + at, v128.load(skb + at, 48), 48);
  }
  store<u32>(n, 0, SKB_NEXT);
  store<u32>(n, 0, SKB_PREV);
  store<u32>(n, 0, SKB_SK);
  store<u8>(n, 0, SKB_DESTRUCTOR);
  const flags = load<u8>(skb, SKB_FLAGS);
  if ((flags & (SKB_FLAG_NOHDR as u8)) != 0) {
    store<u16>(n, (load<u32>(skb, SKB_DATA) - load<u32>(skb, SKB_HEAD)) as u16, SKB_HDR_LEN);
  }
  store<u8>(n, flags & ~((SKB_FLAG_NOHDR | SKB_FLAG_PEEKED) as u8), SKB_FLAGS);
  store<u8>(n, 1, SKB_CLONED);
  store<u32>(n, 1, SKB_USERS);
  store<u32>(n, nextSerial(), SKB_ID);
  store<u8>(skb, 1, SKB_CLONED);
  atomic.add<u32>(shinfo(skb), 1, SHINFO_DATAREF);
  statAdd(ARENA_STAT_SKB_CLONE, 1);
  return n;
}

/** Drops the sk_buff's reference to its data. Returns the detached frag list, if the data went and there was one. */
export function skbReleaseData(skb: u32): u32 {
  const head: u32 = load<u32>(skb, SKB_HEAD);
  if (head == 0) return 0; // stolen by skbTryCoalesce
  const si = shinfo(skb);
  const dec: u32 = (load<u8>(skb, SKB_FLAGS) & (SKB_FLAG_NOHDR as u8)) != 0 ? (1 << SKB_DATAREF_SHIFT) + 1 : 1;
  const refs = load<u32>(si, SHINFO_DATAREF);
  if (refs != dec && atomic.sub<u32>(si, dec, SHINFO_DATAREF) != dec) {
    if ((refs & SKB_DATAREF_MASK) == 0) unreachable();
    return 0;
  }
  let frag = si + SHINFO_FRAGS;
  const stop = frag + (load<u8>(si, SHINFO_NR_FRAGS) as u32) * FRAG_SIZE;
  for (; frag < stop; frag += FRAG_SIZE) putPage(load<u32>(frag, FRAG_PAGE));
  const list = load<u32>(si, SHINFO_FRAG_LIST);
  const uarg = load<u32>(si, SHINFO_UARG);
  if (uarg != 0) setResult(1, uarg);
  putPage(head);
  return list;
}

/**
 * Frees an sk_buff of which the caller held the last reference, and what it holds. Returns the frag list that came
 * loose (to be freed by the caller) or 0. A zero-copy notifier that is done is left in result word 1.
 */
export function kfreeSkbMem(skb: u32): u32 {
  const list = skbReleaseData(skb);
  store<u32>(skb, 0, SKB_USERS);
  statAdd(ARENA_STAT_SKB_FREE, 1);
  freeObject(skb);
  return list;
}

/** kfreeSkbMem for a whole chain (linked through `next`). Returns all frag lists that came loose as one chain. */
export function kfreeSkbListMem(skb: u32): u32 {
  let loose: u32 = 0;
  while (skb != 0) {
    const next = load<u32>(skb, SKB_NEXT);
    const list = kfreeSkbMem(skb);
    if (list != 0) {
      let last: u32 = list;
      while (load<u32>(last, SKB_NEXT) != 0) last = load<u32>(last, SKB_NEXT);
      store<u32>(last, loose, SKB_NEXT);
      loose = list;
    }
    skb = next;
  }
  return loose;
}
