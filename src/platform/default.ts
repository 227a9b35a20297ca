/**
 * The clock, the entropy and the event loop that browsers and Node both have. A machine is driven from here: after every
 * context that leaves work behind, `run()` is scheduled for its next deadline.
 */

import type { Clock, Kernel } from "../kernel/kernel.ts";
import type { RandomSource } from "../kernel/random.ts";

/**
 * Where a machine's clock starts: five minutes, as the kernel's jiffies start five minutes from a wrap. A time stamp of 0
 * means "never" in many places, and a limit that refills with time is full at boot.
 */
const BOOT_US = 300_000_000;

/** Monotonic microseconds, BOOT_US when the page or process started. */
export const systemClock: Clock = {
  now(): number {
    return performance.now() * 1000 + BOOT_US;
  },
  realtime(): number {
    return (performance.timeOrigin + performance.now()) * 1000;
  },
};

/** crypto.getRandomValues, drawn in blocks. */
export function systemRandom(): RandomSource {
  const block = new Uint32Array(64);
  let at = block.length;
  const u32 = (): number => {
    if (at === block.length) {
      crypto.getRandomValues(block);
      at = 0;
    }
    return block[at++] as number;
  };
  return {
    u32,
    fill(bytes: Uint8Array): void {
      for (let i = 0; i < bytes.length; i++) bytes[i] = u32() & 0xff;
    },
  };
}

type Immediate = (fn: () => void) => void;

/** A task as soon as the event loop turns: setImmediate in Node, a message to oneself in browsers (no 4 ms clamp). */
function makeImmediate(): Immediate {
  const g = globalThis as { setImmediate?: (fn: () => void) => void };
  if (g.setImmediate !== undefined) return g.setImmediate;
  const channel = new MessageChannel();
  const queue: (() => void)[] = [];
  channel.port1.addEventListener("message", () => queue.shift()?.());
  channel.port1.start();
  return (fn): void => {
    queue.push(fn);
    channel.port2.postMessage(0);
  };
}

/**
 * Wakeups follow the code that caused them as microtasks, so many in a row; then the event loop has a turn, so that two
 * sockets that answer each other do not starve the rest of the process.
 */
const MICROTASK_TURNS = 32;

/** Lets promises and the event loop have a turn. */
export function eventLoopTurn(): Promise<void> {
  return new Promise((resolve) => immediateOnce()(resolve));
}

let theImmediate: Immediate | null = null;
function immediateOnce(): Immediate {
  theImmediate ??= makeImmediate();
  return theImmediate;
}

/** What keeps a machine going. `ref`/`unref` count handles that should keep the process alive (sockets, servers). */
export interface KernelDriver {
  ref(): void;
  unref(): void;
  /** Stops driving: nothing is scheduled any more. */
  stop(): void;
}

/** Drives `kernel` on the wall clock. */
export function driveRealTime(kernel: Kernel): KernelDriver {
  const immediate = immediateOnce();
  let scheduled = false;
  let microtasks = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let timerDue = Infinity;
  let alive: ReturnType<typeof setInterval> | undefined;
  let refs = 0;
  let stopped = false;

  const arm = (): void => {
    if (stopped) return;
    const due = kernel.nextDeadline();
    if (due <= kernel.now) {
      if (scheduled) return;
      scheduled = true;
      if (kernel.hasWakeups && microtasks++ < MICROTASK_TURNS) queueMicrotask(turn);
      else immediate(looped);
      return;
    }
    if (due === Infinity || due >= timerDue) return;
    if (timer !== undefined) clearTimeout(timer);
    timerDue = due;
    timer = setTimeout(onTimer, Math.min(Math.max(0, Math.ceil((due - kernel.clock.now()) / 1000)), 0x7fffffff));
    if (refs === 0) unrefTimer(timer);
  };
  const turn = (): void => {
    scheduled = false;
    if (stopped) return;
    kernel.run();
    arm();
  };
  const looped = (): void => {
    microtasks = 0;
    turn();
  };
  const onTimer = (): void => {
    timer = undefined;
    microtasks = 0;
    timerDue = Infinity;
    turn();
  };
  kernel.onWork = arm;
  return {
    ref(): void {
      if (refs++ === 0 && alive === undefined) alive = setInterval(() => {}, 0x7fffffff);
    },
    unref(): void {
      if (--refs === 0 && alive !== undefined) {
        clearInterval(alive);
        alive = undefined;
      }
    },
    stop(): void {
      stopped = true;
      kernel.onWork = null;
      if (timer !== undefined) clearTimeout(timer);
      if (alive !== undefined) clearInterval(alive);
    },
  };
}

/** In Node a timer that only serves the stack must not keep the process alive by itself. */
function unrefTimer(timer: unknown): void {
  (timer as { unref?: () => void }).unref?.();
}

/** Turns in a row that take no virtual time. */
const TURNS_FOR_NOTHING = 1000;

/** Virtual time: stands still while code runs, and jumps to the next deadline when nothing else is to be done. */
export class VirtualClock implements Clock {
  /** Microseconds. */
  time: number = BOOT_US;
  /** 2026-01-01T00:00:00Z at boot, so that captures have sensible, reproducible dates. */
  readonly epoch: number = 1_767_225_600_000_000 - BOOT_US;
  #turns = 0;
  now(): number {
    return this.time;
  }
  realtime(): number {
    return this.epoch + this.time;
  }

  /**
   * Everything that wanted to run at this moment has run: on to `due`, the next deadline. Where that is now, again and again
   * (a full queue that drops what is sent again at once), a turn costs a microsecond, as it costs a real machine time: the
   * deadline that would end it comes.
   */
  moveTo(due: number): void {
    if (due > this.time) {
      if (due !== Infinity) this.time = due;
      this.#turns = 0;
    } else if (++this.#turns > TURNS_FOR_NOTHING) {
      this.time++;
    }
  }
}

/**
 * Drives `kernel` in virtual time from the event loop: promises and streams of the caller run first, then time jumps. The
 * order of everything depends on the seed alone, as long as the caller awaits nothing but the stack.
 */
export function driveVirtualTime(kernel: Kernel, clock: VirtualClock): KernelDriver {
  const immediate = immediateOnce();
  let scheduled = false;
  let microtasks = 0;
  let stopped = false;
  const arm = (): void => {
    if (stopped || scheduled || kernel.nextDeadline() === Infinity) return;
    scheduled = true;
    if (kernel.hasWakeups && microtasks++ < MICROTASK_TURNS) queueMicrotask(turn);
    else immediate(looped);
  };
  const looped = (): void => {
    microtasks = 0;
    clock.moveTo(kernel.nextDeadline());
    turn();
  };
  const turn = (): void => {
    scheduled = false;
    if (stopped) return;
    kernel.run();
    arm();
  };
  kernel.onWork = arm;
  return {
    ref(): void {},
    unref(): void {},
    stop(): void {
      stopped = true;
      kernel.onWork = null;
    },
  };
}
