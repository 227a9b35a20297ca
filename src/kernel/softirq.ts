/** Tasklets: work that an interrupt handler puts off (kernel/softirq.c). */

import { HI_SOFTIRQ, type Kernel, kernel, TASKLET_SOFTIRQ } from "./kernel.ts";

/** struct tasklet_struct. Runs once for any number of schedules before it runs. */
export class TaskletStruct {
  readonly func: (t: TaskletStruct) => void;
  readonly data: unknown;
  /** TASKLET_STATE_SCHED. */
  scheduled = false;
  /** Disabled while positive (tasklet_disable). */
  count = 0;
  next: TaskletStruct | null = null;

  constructor(func: (t: TaskletStruct) => void, data: unknown) {
    this.func = func;
    this.data = data;
  }
}

class TaskletHead {
  head: TaskletStruct | null = null;
  tail: TaskletStruct | null = null;
}

/** tasklet_vec and tasklet_hi_vec of a machine. */
class Tasklets {
  readonly vec: TaskletHead = new TaskletHead();
  readonly hiVec: TaskletHead = new TaskletHead();
}

const vectors = new WeakMap<Kernel, Tasklets>();
// The current machine's, so that scheduling costs no lookup.
let owner: Kernel | null = null;
let current: Tasklets = new Tasklets();

function tasklets(): Tasklets {
  if (owner === kernel) return current;
  let t = vectors.get(kernel);
  if (t === undefined) {
    t = new Tasklets();
    vectors.set(kernel, t);
    kernel.openSoftirq(TASKLET_SOFTIRQ, taskletAction);
    kernel.openSoftirq(HI_SOFTIRQ, taskletHiAction);
  }
  owner = kernel;
  current = t;
  return t;
}

/** tasklet_setup. */
export function taskletSetup(func: (t: TaskletStruct) => void, data: unknown): TaskletStruct {
  return new TaskletStruct(func, data);
}

function enqueue(t: TaskletStruct, head: TaskletHead, nr: number): void {
  t.next = null;
  if (head.tail === null) head.head = t;
  else head.tail.next = t;
  head.tail = t;
  kernel.raiseSoftirq(nr);
}

/** tasklet_schedule. */
export function taskletSchedule(t: TaskletStruct): void {
  if (t.scheduled) return;
  t.scheduled = true;
  enqueue(t, tasklets().vec, TASKLET_SOFTIRQ);
}

/** tasklet_hi_schedule: before all other softirqs. */
export function taskletHiSchedule(t: TaskletStruct): void {
  if (t.scheduled) return;
  t.scheduled = true;
  enqueue(t, tasklets().hiVec, HI_SOFTIRQ);
}

/** tasklet_disable and tasklet_enable. */
export function taskletDisable(t: TaskletStruct): void {
  t.count++;
}
export function taskletEnable(t: TaskletStruct): void {
  t.count--;
}

/** tasklet_kill: takes it off the list if it stands there. */
export function taskletKill(t: TaskletStruct): void {
  if (!t.scheduled) return;
  const both = tasklets();
  unlink(both.vec, t);
  unlink(both.hiVec, t);
  t.scheduled = false;
}

function unlink(head: TaskletHead, t: TaskletStruct): void {
  let prev: TaskletStruct | null = null;
  for (let at = head.head; at !== null; prev = at, at = at.next) {
    if (at !== t) continue;
    if (prev === null) head.head = t.next;
    else prev.next = t.next;
    if (head.tail === t) head.tail = prev;
    t.next = null;
    return;
  }
}

function taskletActionCommon(head: TaskletHead, nr: number): void {
  let t = head.head;
  head.head = null;
  head.tail = null;
  while (t !== null) {
    const next: TaskletStruct | null = t.next;
    t.next = null;
    if (t.count > 0) {
      // Disabled: it keeps its turn until it is enabled.
      enqueue(t, head, nr);
    } else {
      t.scheduled = false;
      t.func(t);
    }
    t = next;
  }
}

function taskletAction(): void {
  taskletActionCommon(tasklets().vec, TASKLET_SOFTIRQ);
}

function taskletHiAction(): void {
  taskletActionCommon(tasklets().hiVec, HI_SOFTIRQ);
}
