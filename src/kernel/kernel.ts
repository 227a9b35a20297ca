/**
 * The machine. A `Kernel` owns the shared memory and its wasm instance, the timers, the softirq queue, the clock and
 * the random source. It does no I/O and reads no clock of its own: a clock, a random source and links are handed in.
 *
 * One kernel is *current* at a time (`kernel`, a live binding, like the kernel's per-cpu base register): every entry
 * from outside (a system call, a link's input, a timer run) goes through `enter()` / `exit()`, which switch the
 * machine's memory in. Code below the entry points just uses `kernel`, `u32`, `dv` ... of the current machine.
 *
 * Locks: a machine runs one context at a time and never sleeps inside it, so `lock_sock` and the backlog have no
 * counterpart here. Softirqs run when the outermost context exits, as they do on `local_bh_enable`.
 */

import type { Machine } from "../mm/mem.ts";
import { useMachine } from "../mm/mem.ts";
import { BugError } from "./bug.ts";
import type { RandomSource } from "./random.ts";
import { TimerWheel } from "./timer.ts";

/** Microseconds since the machine's own epoch; never goes back. */
export interface Clock {
  /** Monotonic time in microseconds. */
  now(): number;
  /** Microseconds since 1970 (for SO_TIMESTAMP, pcapng). */
  realtime(): number;
}

export const NET_TX_SOFTIRQ = 0;
export const NET_RX_SOFTIRQ = 1;
export const TASKLET_SOFTIRQ = 2;
export const HI_SOFTIRQ = 3;
export const NR_SOFTIRQS = 4;

/** Something that wants to be told, outside of kernel context, that its state changed (a socket's wait queue). */
export interface Wakeable {
  /** True while it stands in the kernel's list; managed by `Kernel.wake`. */
  wakePending: boolean;
  /** Runs outside of kernel context, from a clean stack, in the order of the first `wake`. May call into the kernel. */
  onWake(): void;
}

/** 1 ms, as with HZ=1000: TCP's timers round to it. */
export const USEC_PER_JIFFY = 1000;
export const HZ = 1000;

/** How many rounds of softirqs one exit runs before it hands the rest to the next `run()` (MAX_SOFTIRQ_RESTART). */
const MAX_SOFTIRQ_RESTART = 10;

/** The current machine. Undefined until the first `enter()`. */
export let kernel: Kernel = undefined as unknown as Kernel;

export class Kernel {
  readonly machine: Machine;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly timers: TimerWheel;
  /** Microseconds; taken from the clock when the outermost context is entered, constant inside it. */
  now: number;
  /** Counts of dropped skbs by SKB_DROP_REASON_*. */
  readonly dropReasons: Float64Array = new Float64Array(256);
  /** Called for every dropped skb when set: pcap comments, `skbuff trace`, tests. */
  onDrop: ((skb: number, reason: number) => void) | null = null;
  /** Called (once a run) when there is new work and nobody is running: the driver schedules `run()`. */
  onWork: (() => void) | null = null;
  /** Called with every line of the kernel log (`dmesg`) when set; see printk.ts. */
  onPrintk: ((level: number, text: string) => void) | null = null;

  #depth = 0;
  #running = false;
  #softirqPending = 0;
  #inSoftirq = false;
  readonly #softirqVec: ((() => void) | null)[] = [null, null, null, null];
  #wakeups: Wakeable[] = [];
  #wakeupsRunning: Wakeable[] = [];

  constructor(machine: Machine, clock: Clock, random: RandomSource) {
    this.machine = machine;
    this.clock = clock;
    this.random = random;
    this.now = clock.now();
    this.timers = new TimerWheel(this.now);
  }

  /** Whole milliseconds: the kernel's `jiffies`. */
  get jiffies(): number {
    return Math.floor(this.now / USEC_PER_JIFFY);
  }

  /** True while a context of this machine runs. */
  get inContext(): boolean {
    return this.#depth > 0;
  }

  /** Begins a context (system call, link input). Contexts of one machine nest; contexts of two machines never do. */
  enter(): void {
    if (this.#depth++ === 0) {
      if (kernel !== this) {
        if (kernel !== undefined && kernel.#depth > 0) {
          this.#depth--;
          throw new BugError("entered a machine while another one is running");
        }
        kernel = this;
        useMachine(this.machine);
      }
      const now = this.clock.now();
      if (now > this.now) this.now = now;
    }
  }

  /**
   * Ends a context. The outermost one runs pending softirqs. Wakeups wait for `run()`: a callback that ran inside of
   * somebody's system call could make the same call again before the first has returned.
   */
  exit(): void {
    if (this.#depth === 1 && this.#softirqPending !== 0) this.doSoftirq();
    if (--this.#depth === 0 && this.onWork !== null && !this.#running) this.onWork();
  }

  /** Runs what is due now: timers, softirqs, wakeups. Returns the next deadline (see `nextDeadline`). */
  run(): number {
    if (this.#running) return this.now;
    this.#running = true;
    try {
      this.enter();
      try {
        this.timers.run(this.now);
      } finally {
        this.exit();
      }
      if (this.#wakeups.length !== 0) this.#runWakeups();
    } finally {
      this.#running = false;
    }
    return this.nextDeadline();
  }

  /** When the machine next wants `run()`: microseconds, `now` if work is waiting, Infinity if nothing is. */
  nextDeadline(): number {
    if (this.#softirqPending !== 0 || this.#wakeups.length !== 0) return this.now;
    return this.timers.nextExpiry();
  }

  openSoftirq(nr: number, action: () => void): void {
    this.#softirqVec[nr] = action;
  }

  raiseSoftirq(nr: number): void {
    this.#softirqPending |= 1 << nr;
  }

  /**
   * local_bh_enable in the middle of a system call that does a lot: runs pending softirqs now, so that what the call has
   * sent is received, and answered, while it is still in the caches and before a ring overflows. Returns whether there
   * were any. The caller stands where the kernel would let go of its socket (sk_flush_backlog): anything may have
   * happened to that meanwhile. Does nothing inside of a softirq or a nested context.
   */
  flushSoftirq(): boolean {
    if (this.#softirqPending === 0 || this.#inSoftirq || this.#depth !== 1) return false;
    this.doSoftirq();
    return true;
  }

  /** Runs pending softirqs, HI first; what they raise is run too, for a bounded number of rounds. */
  doSoftirq(): void {
    this.#inSoftirq = true;
    for (let round = 0; round < MAX_SOFTIRQ_RESTART && this.#softirqPending !== 0; round++) {
      const pending = this.#softirqPending;
      this.#softirqPending = 0;
      if (pending & (1 << HI_SOFTIRQ)) this.#softirqVec[HI_SOFTIRQ]?.();
      if (pending & (1 << NET_TX_SOFTIRQ)) this.#softirqVec[NET_TX_SOFTIRQ]?.();
      if (pending & (1 << NET_RX_SOFTIRQ)) this.#softirqVec[NET_RX_SOFTIRQ]?.();
      if (pending & (1 << TASKLET_SOFTIRQ)) this.#softirqVec[TASKLET_SOFTIRQ]?.();
    }
    this.#inSoftirq = false;
  }

  /** True while wakeups wait for `run()`. */
  get hasWakeups(): boolean {
    return this.#wakeups.length !== 0;
  }

  /** Puts `w` on the list that the next `run()` works off, outside of kernel context. */
  wake(w: Wakeable): void {
    if (w.wakePending) return;
    w.wakePending = true;
    this.#wakeups.push(w);
  }

  /** Runs the wakeups, and those that they cause, for a bounded number of rounds. */
  #runWakeups(): void {
    for (let round = 0; round < MAX_SOFTIRQ_RESTART && this.#wakeups.length !== 0; round++) {
      const list = this.#wakeups;
      this.#wakeups = this.#wakeupsRunning;
      this.#wakeupsRunning = list;
      for (let i = 0; i < list.length; i++) {
        const w = list[i] as Wakeable;
        w.wakePending = false;
        w.onWake();
      }
      list.length = 0;
    }
  }
}
