/**
 * A ring of skbs between one producer and one consumer, on any two cpus: what joins workers over one memory. A call
 * moves a whole chain (linked through `next`), because a cache line's way from one core to the other costs more than
 * all else.
 *
 *   0 head: slots written (producer)  64 tail: slots read (consumer)   128 slots - 1   192 slot 0, slot 1, ...
 *   (each on its own cache line)
 *
 * `head` and `tail` count without end, modulo 2^32.
 */

import { RING_HEAD, RING_MASK, RING_SLOTS, RING_TAIL, SKB_NEXT } from "../../layout";

/**
 * Makes an empty ring of `entries` (a power of two) slots at `ring`, which has room for RING_SLOTS + 4 * entries
 * bytes.
 */
export function ringInit(ring: u32, entries: u32): void {
  store<u32>(ring, entries - 1, RING_MASK);
  atomic.store<u32>(ring + RING_HEAD, 0);
  atomic.store<u32>(ring + RING_TAIL, 0);
}

/** Slots in use. */
export function ringCount(ring: u32): u32 {
  return atomic.load<u32>(ring + RING_HEAD) - atomic.load<u32>(ring + RING_TAIL);
}

/** Producer: hands over the skbs of chain `list`. Returns those that found no room, still chained; 0 if all went. */
export function ringPush(ring: u32, list: u32): u32 {
  const mask = load<u32>(ring, RING_MASK);
  const start = load<u32>(ring, RING_HEAD);
  const stop = atomic.load<u32>(ring + RING_TAIL) + mask + 1;
  let head = start;
  while (list != 0 && head != stop) {
    const next = load<u32>(list, SKB_NEXT);
    store<u32>(list, 0, SKB_NEXT);
    store<u32>(ring + RING_SLOTS + ((head & mask) << 2), list);
    head++;
    list = next;
  }
  // Sequentially consistent: who sees the new head sees the slots and the skbs.
  if (head != start) atomic.store<u32>(ring + RING_HEAD, head);
  return list;
}

/** Consumer: takes up to `max` skbs, as a chain in the order they came; 0 if there are none. */
export function ringPop(ring: u32, max: u32): u32 {
  const mask = load<u32>(ring, RING_MASK);
  let tail = load<u32>(ring, RING_TAIL);
  const n = min<u32>(max, atomic.load<u32>(ring + RING_HEAD) - tail);
  let first: u32 = 0;
  let last: u32 = 0;
  for (let i: u32 = 0; i < n; i++) {
    const skb = load<u32>(ring + RING_SLOTS + ((tail & mask) << 2));
    if (last == 0) first = skb;
    else store<u32>(last, skb, SKB_NEXT);
    last = skb;
    tail++;
  }
  if (n != 0) atomic.store<u32>(ring + RING_TAIL, tail);
  return first;
}
