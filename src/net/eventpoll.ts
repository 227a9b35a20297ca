/**
 * epoll(7) (fs/eventpoll.c): a set of files, and a list of those that may be ready. An item joins the list when its file's
 * wait queue is woken; epoll_wait asks each of them what is up, reports it, and keeps level-triggered ones on the list.
 */

import type { FileOperations } from "../fs/file.ts";
import { File } from "../fs/file.ts";
import type { Wakeable } from "../kernel/kernel.ts";
import { kernel } from "../kernel/kernel.ts";
import { EBADF, EEXIST, EINVAL, ELOOP, ENOENT } from "../uapi/errno.ts";
import { O_RDWR } from "../uapi/fcntl.ts";
import {
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLLERR,
  EPOLLET,
  EPOLLEXCLUSIVE,
  EPOLLHUP,
  EPOLLIN,
  EPOLLONESHOT,
  EPOLLOUT,
  EPOLLRDNORM,
  EPOLLWAKEUP,
} from "../uapi/poll.ts";
import type { Net } from "./core/net_namespace.ts";
import type { SocketWaiter, WaitCallback } from "./core/sock.ts";
import { wakeCallbacks } from "./core/sock.ts";

/** struct epoll_event. `data` comes back with every event of the file. */
export interface EpollEvent {
  events: number;
  data: unknown;
}

const EP_PRIVATE_BITS: number = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE;
const EPOLLEXCLUSIVE_OK_BITS: number =
  EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;
const EP_MAX_NESTS = 4;

/** struct epitem: one file (by one descriptor) of an epoll instance. It stands in the file's wait queue. */
class EpItem implements WaitCallback {
  readonly ep: EventPoll;
  readonly file: File;
  readonly fd: number;
  events = 0;
  data: unknown = null;
  mask = 0;
  exclusive = false;
  /** rdllink. */
  ready = false;
  next: EpItem | null = null;
  prev: EpItem | null = null;

  constructor(ep: EventPoll, file: File, fd: number) {
    this.ep = ep;
    this.file = file;
    this.fd = fd;
  }

  set(event: EpollEvent): void {
    this.events = event.events | EPOLLERR | EPOLLHUP;
    this.data = event.data;
    this.mask = this.events & ~EP_PRIVATE_BITS;
    this.exclusive = (event.events & EPOLLEXCLUSIVE) !== 0;
  }

  /** ep_poll_callback. */
  callback(events: number): boolean {
    // A mask of 0 was disarmed by EPOLLONESHOT.
    if ((events & this.mask) === 0) return false;
    if (!this.ready) this.ep.addReady(this);
    return this.ep.wakeUp();
  }

  /** The file goes away. */
  remove(): void {
    this.ep.removeItem(this);
  }
}

/** struct eventpoll. */
export class EventPoll implements Wakeable {
  /** By descriptor; the same file may be here under several. */
  readonly items: Map<number, EpItem[]> = new Map();
  /** Those who wait in epoll_wait or poll, and the items of epoll instances that watch this one. */
  readonly waiters: SocketWaiter[] = [];
  readonly callbacks: WaitCallback[] = [];
  wakePending = false;
  #head: EpItem | null = null;
  #tail: EpItem | null = null;

  get hasReady(): boolean {
    return this.#head !== null;
  }

  addReady(epi: EpItem): void {
    epi.ready = true;
    epi.next = null;
    epi.prev = this.#tail;
    if (this.#tail !== null) this.#tail.next = epi;
    else this.#head = epi;
    this.#tail = epi;
  }

  #unlink(epi: EpItem): void {
    if (!epi.ready) return;
    if (epi.prev !== null) epi.prev.next = epi.next;
    else this.#head = epi.next;
    if (epi.next !== null) epi.next.prev = epi.prev;
    else this.#tail = epi.prev;
    epi.ready = false;
    epi.next = null;
    epi.prev = null;
  }

  find(file: File, fd: number): EpItem | null {
    const list = this.items.get(fd);
    if (list === undefined) return null;
    for (let i = 0; i < list.length; i++) if ((list[i] as EpItem).file === file) return list[i] as EpItem;
    return null;
  }

  /** ep_insert. */
  insert(file: File, fd: number, event: EpollEvent): void {
    const epi = new EpItem(this, file, fd);
    epi.set(event);
    const list = this.items.get(fd);
    if (list === undefined) this.items.set(fd, [epi]);
    else list.push(epi);
    file.fEp.add(epi);
    file.fOp.waitCallbacks(file).push(epi);
    this.#checkNow(epi);
  }

  /** ep_modify. */
  modify(epi: EpItem, event: EpollEvent): void {
    epi.set(event);
    this.#checkNow(epi);
  }

  /** What is up already counts as an event, for edge-triggered items too. */
  #checkNow(epi: EpItem): void {
    if ((epi.file.fOp.poll(epi.file) & epi.mask) === 0) return;
    if (!epi.ready) this.addReady(epi);
    this.wakeUp();
  }

  /** ep_remove. */
  removeItem(epi: EpItem): void {
    this.#unlink(epi);
    const queue = epi.file.fOp.waitCallbacks(epi.file);
    const at = queue.indexOf(epi);
    if (at >= 0) queue.splice(at, 1);
    epi.file.fEp.delete(epi);
    const list = this.items.get(epi.fd) as EpItem[];
    list.splice(list.indexOf(epi), 1);
    if (list.length === 0) this.items.delete(epi.fd);
  }

  /**
   * ep_send_events: up to `max` events into `out` (its objects are used again). Level-triggered items go back to the end of
   * the list, so that a busy file does not starve the others.
   */
  collect(out: EpollEvent[], max: number): number {
    let n = 0;
    const last = this.#tail;
    for (let epi = this.#head; epi !== null && n < max; ) {
      const next: EpItem | null = epi === last ? null : epi.next;
      this.#unlink(epi);
      const revents = epi.file.fOp.poll(epi.file) & epi.mask;
      if (revents !== 0) {
        const slot = out[n];
        if (slot === undefined) out.push({ events: revents, data: epi.data });
        else {
          slot.events = revents;
          slot.data = epi.data;
        }
        n++;
        if ((epi.events & EPOLLONESHOT) !== 0) {
          epi.events &= EP_PRIVATE_BITS;
          epi.mask = 0;
        } else if ((epi.events & EPOLLET) === 0) this.addReady(epi);
      }
      epi = next;
    }
    return n;
  }

  /** ep_eventpoll_poll: readable when an item is really ready. */
  poll(): number {
    const last = this.#tail;
    for (let epi = this.#head; epi !== null; ) {
      if ((epi.file.fOp.poll(epi.file) & epi.mask) !== 0) return EPOLLIN | EPOLLRDNORM;
      const next: EpItem | null = epi === last ? null : epi.next;
      this.#unlink(epi);
      epi = next;
    }
    return 0;
  }

  /** Tells those who watch this instance, and those who wait for it. True when somebody waits. In kernel context. */
  wakeUp(): boolean {
    if (this.callbacks.length !== 0) wakeCallbacks(this.callbacks, EPOLLIN | EPOLLRDNORM);
    if (this.waiters.length === 0) return false;
    kernel.wake(this);
    return true;
  }

  /** One caller of epoll_wait, and everybody who polls. Outside of kernel context. */
  onWake(): void {
    let exclusive = 1;
    let left = this.waiters.length;
    for (let i = 0; left > 0 && i < this.waiters.length; left--) {
      const w = this.waiters[i] as SocketWaiter;
      if (w.exclusive !== true || exclusive > 0) {
        if (w.exclusive === true) exclusive--;
        w.wake(EPOLLIN | EPOLLRDNORM);
      }
      if (this.waiters[i] === w) i++;
    }
  }

  release(): void {
    for (const list of [...this.items.values()]) for (const epi of [...list]) this.removeItem(epi);
    // A caller that still waits finds its descriptor gone.
    if (this.waiters.length !== 0) kernel.wake(this);
  }
}

const eventpollFops: FileOperations = {
  poll(file: File): number {
    return (file.privateData as EventPoll).poll();
  },
  waitQueue(file: File): SocketWaiter[] {
    return (file.privateData as EventPoll).waiters;
  },
  waitCallbacks(file: File): WaitCallback[] {
    return (file.privateData as EventPoll).callbacks;
  },
  release(file: File): void {
    (file.privateData as EventPoll).release();
  },
};

/** The epoll instance of a descriptor; null if it is none. */
/* notrace */
export function epollFromFd(net: Net, epfd: number): EventPoll | null {
  const file = net.files.get(epfd);
  return file !== null && file.fOp === eventpollFops ? (file.privateData as EventPoll) : null;
}

/** epoll_create1(2): a descriptor, or -EINVAL for unknown flags. */
export function sysEpollCreate1(net: Net, flags: number): number {
  if ((flags & ~EPOLL_CLOEXEC) !== 0) return -EINVAL;
  return net.files.alloc(new File(eventpollFops, new EventPoll(), O_RDWR), (flags & EPOLL_CLOEXEC) !== 0);
}

/** epoll_create(2). */
export function sysEpollCreate(net: Net, size: number): number {
  return size <= 0 ? -EINVAL : sysEpollCreate1(net, 0);
}

/** ep_loop_check: how deep instances nest below `ep`; more than EP_MAX_NESTS when `target` is among them. */
function epDepth(ep: EventPoll, target: EventPoll, depth: number): number {
  if (ep === target || depth > EP_MAX_NESTS) return EP_MAX_NESTS + 1;
  let max = depth;
  for (const list of ep.items.values()) {
    for (const epi of list) {
      if (epi.file.fOp !== eventpollFops) continue;
      max = Math.max(max, epDepth(epi.file.privateData as EventPoll, target, depth + 1));
    }
  }
  return max;
}

/**
 * epoll_ctl(2).
 *
 * @param op EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL (`event` may be null)
 * @returns 0, -EBADF, -EEXIST, -ENOENT, -ELOOP, -EINVAL
 */
export function sysEpollCtl(net: Net, epfd: number, op: number, fd: number, event: EpollEvent | null): number {
  const k = net.kernel;
  k.enter();
  try {
    const file = net.files.get(epfd);
    const tfile = net.files.get(fd);
    if (file === null || tfile === null) return -EBADF;
    if (file === tfile || file.fOp !== eventpollFops) return -EINVAL;
    const ep = file.privateData as EventPoll;
    const nested = tfile.fOp === eventpollFops;
    if (event !== null && op !== EPOLL_CTL_DEL && (event.events & EPOLLEXCLUSIVE) !== 0) {
      if (op === EPOLL_CTL_MOD) return -EINVAL;
      if (nested || (event.events & ~EPOLLEXCLUSIVE_OK_BITS) !== 0) return -EINVAL;
    }
    if (op === EPOLL_CTL_ADD && nested && epDepth(tfile.privateData as EventPoll, ep, 1) > EP_MAX_NESTS) return -ELOOP;
    const epi = ep.find(tfile, fd);
    switch (op) {
      case EPOLL_CTL_ADD:
        if (event === null) return -EINVAL;
        if (epi !== null) return -EEXIST;
        ep.insert(tfile, fd, event);
        return 0;
      case EPOLL_CTL_DEL:
        if (epi === null) return -ENOENT;
        ep.removeItem(epi);
        return 0;
      case EPOLL_CTL_MOD:
        if (event === null) return -EINVAL;
        if (epi === null) return -ENOENT;
        if (epi.exclusive) return -EINVAL;
        ep.modify(epi, event);
        return 0;
      default:
        return -EINVAL;
    }
  } finally {
    k.exit();
  }
}

/** epoll_wait(2) with a timeout of 0: fills `events` (its objects are used again) and returns how many. */
export function sysEpollWait(net: Net, epfd: number, events: EpollEvent[], maxevents: number): number {
  const k = net.kernel;
  k.enter();
  try {
    if (maxevents <= 0) return -EINVAL;
    const file = net.files.get(epfd);
    if (file === null) return -EBADF;
    if (file.fOp !== eventpollFops) return -EINVAL;
    return (file.privateData as EventPoll).collect(events, maxevents);
  } finally {
    k.exit();
  }
}
