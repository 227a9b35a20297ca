/**
 * Kernel timers: `timer_setup`, `mod_timer`, `del_timer`.
 *
 * TCP re-arms a timer at every ACK, nearly always to a later time, and it nearly never fires. Such a re-arm only writes
 * the new expiry into the timer: its place in the heap stays where it was, too early, and is put right when that place
 * comes to the top, which is at most once per timeout instead of once per ACK. Deleting is as lazy. Only arming a timer
 * for earlier than its place costs O(log n). Nothing allocates.
 */

import { kernel } from "./kernel.ts";

const NOT_QUEUED = -1;

/** struct timer_list. `expires` is in microseconds of kernel time. */
export class TimerList {
  /** When it fires, in microseconds; meaningful while `pending`. Read only: use `modTimer`. */
  expires: number = Infinity;
  /** Called once when it fires, in kernel context, no longer pending; it may arm itself again. */
  fn: (t: TimerList) => void;
  data: unknown;
  /** True from `modTimer` until it fires or `delTimer`. Read only. */
  pending = false;
  /** The timer's place in the wheel's heap, and the order of its arming (ties of expiry). */
  index: number = NOT_QUEUED;
  order = 0;
  base: TimerWheel | null = null;

  constructor(fn: (t: TimerList) => void, data: unknown) {
    this.fn = fn;
    this.data = data;
  }
}

/** All timers of a machine, in order of expiry, then of arming. */
export class TimerWheel {
  /** Timers armed (mod_timer calls that took effect) and fired, for the deterministic counters of the bench gate. */
  armed = 0;
  fired = 0;

  #heap: TimerList[] = [];
  // The keys that the heap is ordered by. A timer's key is never later than its expiry.
  #keys: Float64Array = new Float64Array(64);
  #orders: Float64Array = new Float64Array(64);
  #size = 0;
  /** Deleted timers that still have a place in the heap. */
  #dead = 0;
  #order = 0;

  /** `now` is the machine's time at its creation, in microseconds. */
  constructor(_now = 0) {}

  /** How many timers are pending. */
  get pending(): number {
    return this.#size - this.#dead;
  }

  /** mod_timer: arms, or re-arms, `t`. Returns whether it was pending. */
  mod(t: TimerList, expires: number): boolean {
    const was = t.pending;
    // As mod_timer: the same expiry again keeps the timer's turn.
    if (was && t.expires === expires) return true;
    this.armed++;
    t.expires = expires;
    t.order = ++this.#order;
    const index = t.index;
    if (index === NOT_QUEUED) {
      t.pending = true;
      this.#insert(t);
      return false;
    }
    if (!was) {
      t.pending = true;
      this.#dead--;
    }
    if (expires < (this.#keys[index] as number)) this.#siftUp(index, t, expires, t.order);
    return was;
  }

  /** del_timer: returns whether it was pending. Its place in the heap is given up later. */
  del(t: TimerList): boolean {
    if (!t.pending) return false;
    t.pending = false;
    if (++this.#dead > 64 && this.#dead * 2 > this.#size) this.#sweep();
    return true;
  }

  /** Deletes `t` and its place, so that nothing refers to it any more (timer_shutdown). */
  remove(t: TimerList): boolean {
    const was = t.pending;
    t.pending = false;
    if (t.index !== NOT_QUEUED) {
      if (!was) this.#dead--;
      this.#removeAt(t.index);
    }
    return was;
  }

  /** The time of the next timer, exact; Infinity when there is none. Microseconds. */
  nextExpiry(): number {
    this.#settle();
    return this.#size === 0 ? Infinity : (this.#keys[0] as number);
  }

  /**
   * Fires every timer that is due at `now`, in order. A timer that is armed by one of them for no later than `now`
   * waits for the next run, so that a timer that re-arms itself cannot hold the machine.
   */
  run(now: number): void {
    const last = this.#order;
    for (;;) {
      this.#settle();
      if (this.#size === 0 || (this.#keys[0] as number) > now) return;
      const t = this.#heap[0] as TimerList;
      if (t.order > last) return;
      this.#removeAt(0);
      t.pending = false;
      this.fired++;
      t.fn(t);
    }
  }

  /** Makes the heap's top a pending timer whose key is its expiry. */
  #settle(): void {
    while (this.#size !== 0) {
      const t = this.#heap[0] as TimerList;
      if (!t.pending) {
        this.#dead--;
        this.#removeAt(0);
      } else if (this.#orders[0] !== t.order) {
        this.#siftDown(0, t, t.expires, t.order);
      } else {
        return;
      }
    }
  }

  #insert(t: TimerList): void {
    const index = this.#size++;
    if (index === this.#keys.length) this.#grow();
    t.base = this;
    this.#siftUp(index, t, t.expires, t.order);
  }

  #grow(): void {
    const keys = new Float64Array(this.#keys.length * 2);
    const orders = new Float64Array(keys.length);
    keys.set(this.#keys);
    orders.set(this.#orders);
    this.#keys = keys;
    this.#orders = orders;
  }

  #removeAt(index: number): void {
    const heap = this.#heap;
    const t = heap[index] as TimerList;
    t.index = NOT_QUEUED;
    t.base = null;
    const end = --this.#size;
    const moved = heap.pop() as TimerList;
    if (index === end) return;
    const key = this.#keys[end] as number;
    const order = this.#orders[end] as number;
    if (index > 0 && this.#less(key, order, (index - 1) >> 1)) this.#siftUp(index, moved, key, order);
    else this.#siftDown(index, moved, key, order);
  }

  #less(key: number, order: number, than: number): boolean {
    const other = this.#keys[than] as number;
    return key < other || (key === other && order < (this.#orders[than] as number));
  }

  #siftUp(from: number, t: TimerList, key: number, order: number): void {
    const heap = this.#heap;
    const keys = this.#keys;
    const orders = this.#orders;
    let index = from;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const parentKey = keys[parent] as number;
      if (parentKey < key || (parentKey === key && (orders[parent] as number) < order)) break;
      const moved = heap[parent] as TimerList;
      heap[index] = moved;
      keys[index] = parentKey;
      orders[index] = orders[parent] as number;
      moved.index = index;
      index = parent;
    }
    heap[index] = t;
    keys[index] = key;
    orders[index] = order;
    t.index = index;
  }

  #siftDown(from: number, t: TimerList, key: number, order: number): void {
    const heap = this.#heap;
    const keys = this.#keys;
    const orders = this.#orders;
    const size = this.#size;
    let index = from;
    for (;;) {
      let child = index * 2 + 1;
      if (child >= size) break;
      let childKey = keys[child] as number;
      const right = child + 1;
      if (right < size) {
        const rightKey = keys[right] as number;
        if (rightKey < childKey || (rightKey === childKey && (orders[right] as number) < (orders[child] as number))) {
          child = right;
          childKey = rightKey;
        }
      }
      if (key < childKey || (key === childKey && order < (orders[child] as number))) break;
      const moved = heap[child] as TimerList;
      heap[index] = moved;
      keys[index] = childKey;
      orders[index] = orders[child] as number;
      moved.index = index;
      index = child;
    }
    heap[index] = t;
    keys[index] = key;
    orders[index] = order;
    t.index = index;
  }

  /** Drops the deleted timers' places, so that they and what they refer to can be collected. */
  #sweep(): void {
    const old = this.#heap;
    let size = 0;
    for (let i = 0; i < this.#size; i++) {
      const t = old[i] as TimerList;
      if (t.pending) {
        old[size] = t;
        t.index = size;
        this.#keys[size] = t.expires;
        this.#orders[size] = t.order;
        size++;
      } else {
        t.index = NOT_QUEUED;
        t.base = null;
      }
    }
    old.length = size;
    this.#size = size;
    this.#dead = 0;
    for (let i = (size >> 1) - 1; i >= 0; i--) {
      this.#siftDown(i, old[i] as TimerList, this.#keys[i] as number, this.#orders[i] as number);
    }
  }
}

/** timer_setup: a timer that is not armed. */
export function timerSetup(fn: (t: TimerList) => void, data: unknown = null): TimerList {
  return new TimerList(fn, data);
}

/** mod_timer: arms `t` of the current machine for `expires` (microseconds). Returns whether it was pending. */
export function modTimer(t: TimerList, expires: number): boolean {
  return (t.base ?? kernel.timers).mod(t, expires);
}

/** add_timer with a relative time: arms `t` to fire `delay` microseconds from now. */
export function modTimerIn(t: TimerList, delay: number): boolean {
  return modTimer(t, kernel.now + delay);
}

/** timer_reduce: like modTimer, but never to a later time than it is armed for. */
export function timerReduce(t: TimerList, expires: number): boolean {
  if (t.pending && t.expires <= expires) return true;
  return modTimer(t, expires);
}

/** del_timer (timer_delete): returns whether it was pending. */
export function delTimer(t: TimerList): boolean {
  return t.base !== null && t.base.del(t);
}

/** timer_shutdown: deletes `t` for good; the machine keeps no reference to it. */
export function timerShutdown(t: TimerList): boolean {
  return t.base !== null && t.base.remove(t);
}

/** timer_pending. */
export function timerPending(t: TimerList): boolean {
  return t.pending;
}
