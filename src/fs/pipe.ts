/**
 * fs/pipe.c: a ring of buffers, each a piece of a page. What is spliced into a pipe stands in it by reference; what is written is
 * copied to pages of its own, which later writes fill up.
 */

import type { Wakeable } from "../kernel/kernel.ts";
import { kernel } from "../kernel/kernel.ts";
import { copyFromUser, copyToUser } from "../mm/usercopy.ts";
import type { Net } from "../net/core/net_namespace.ts";
import { allocPage, getPage, putPage } from "../net/core/skbuff.ts";
import type { SocketWaiter, WaitCallback } from "../net/core/sock.ts";
import { wakeCallbacks, wakeWaiters } from "../net/core/sock.ts";
import { EAGAIN, EINVAL, ENOMEM, EPIPE } from "../uapi/errno.ts";
import { O_CLOEXEC, O_DIRECT, O_NONBLOCK, O_RDONLY, O_WRONLY } from "../uapi/fcntl.ts";
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDNORM, EPOLLWRNORM } from "../uapi/poll.ts";
import { PIPE_DEF_BUFFERS } from "../uapi/splice.ts";
import type { FileOperations } from "./file.ts";
import { File, fileReadable, fileWritable, filpClose } from "./file.ts";

export const PAGE_SIZE = 4096;

/** struct pipe_buffer: `len` bytes at `offset` of the buffer `page`, to which it holds a reference. */
export class PipeBuffer {
  page = 0;
  offset = 0;
  len = 0;
  /** PIPE_BUF_FLAG_CAN_MERGE: the page is the pipe's own and has room behind. */
  canMerge = false;
}

/** struct pipe_inode_info. */
export class PipeInodeInfo implements Wakeable {
  /** The buffers; `tail` is the oldest, `head` the next free one, both counting on for ever. */
  readonly bufs: PipeBuffer[] = [];
  head = 0;
  tail = 0;
  /** Open ends. */
  readers = 0;
  writers = 0;

  wakePending = false;
  wakeEvents = 0;
  readonly waiters: SocketWaiter[] = [];
  readonly callbacks: WaitCallback[] = [];

  constructor() {
    for (let i = 0; i < PIPE_DEF_BUFFERS; i++) this.bufs.push(new PipeBuffer());
  }

  onWake(): void {
    const events = this.wakeEvents;
    this.wakeEvents = 0;
    wakeWaiters(this.waiters, events);
  }
}

// ---- the ring -------------------------------------------------------------------------------------------------------

/* notrace */
export function pipeEmpty(pipe: PipeInodeInfo): boolean {
  return pipe.head === pipe.tail;
}
/* notrace */
export function pipeFull(pipe: PipeInodeInfo): boolean {
  return pipe.head - pipe.tail >= PIPE_DEF_BUFFERS;
}
/** How many buffers are free. */
/* notrace */
export function pipeSpace(pipe: PipeInodeInfo): number {
  return PIPE_DEF_BUFFERS - (pipe.head - pipe.tail);
}
/** The buffer at position `i`, between tail and head. */
/* notrace */
export function pipeBuf(pipe: PipeInodeInfo, i: number): PipeBuffer {
  return pipe.bufs[i % PIPE_DEF_BUFFERS] as PipeBuffer;
}

/** Appends a buffer, which takes over the caller's reference to `page`. The pipe must not be full. */
/* notrace */
export function pipePush(pipe: PipeInodeInfo, page: number, offset: number, len: number): PipeBuffer {
  const buf = pipeBuf(pipe, pipe.head++);
  buf.page = page;
  buf.offset = offset;
  buf.len = len;
  buf.canMerge = false;
  return buf;
}

/** Takes `len` bytes off the front. */
/* notrace */
export function pipeConsume(pipe: PipeInodeInfo, len: number): void {
  while (len > 0) {
    const buf = pipeBuf(pipe, pipe.tail);
    const n = Math.min(len, buf.len);
    buf.offset += n;
    buf.len -= n;
    len -= n;
    if (buf.len !== 0) return;
    putPage(buf.page);
    buf.page = 0;
    pipe.tail++;
  }
}

/** wake_up_interruptible_poll on the pipe. */
export function pipeWake(pipe: PipeInodeInfo, events: number): void {
  if (pipe.callbacks.length !== 0) wakeCallbacks(pipe.callbacks, events);
  if (pipe.waiters.length === 0) return;
  pipe.wakeEvents |= events;
  kernel.wake(pipe);
}

const READABLE: number = EPOLLIN | EPOLLRDNORM;
const WRITABLE: number = EPOLLOUT | EPOLLWRNORM;

/** wakeup_pipe_readers. */
export function wakeupPipeReaders(pipe: PipeInodeInfo): void {
  pipeWake(pipe, READABLE);
}
/** wakeup_pipe_writers. */
export function wakeupPipeWriters(pipe: PipeInodeInfo): void {
  pipeWake(pipe, WRITABLE);
}

// ---- file operations ------------------------------------------------------------------------------------------------

/** The pipe of a file (get_pipe_info); null for any other file. */
/* notrace */
export function getPipeInfo(file: File): PipeInodeInfo | null {
  return file.fOp === pipefifoFops ? (file.privateData as PipeInodeInfo) : null;
}

/** anon_pipe_read: what is there; 0 when it is empty and nobody can write, -EAGAIN when somebody can. */
function pipeRead(file: File, ubuf: Uint8Array, size: number): number {
  const pipe = file.privateData as PipeInodeInfo;
  if (size === 0) return 0;
  let done = 0;
  const tail = pipe.tail;
  while (done < size && !pipeEmpty(pipe)) {
    const buf = pipeBuf(pipe, pipe.tail);
    const n = Math.min(size - done, buf.len);
    copyToUser(ubuf, done, buf.page + buf.offset, n);
    done += n;
    pipeConsume(pipe, n);
  }
  if (pipe.tail !== tail) wakeupPipeWriters(pipe);
  if (done > 0) return done;
  return pipe.writers === 0 ? 0 : -EAGAIN;
}

/**
 * anon_pipe_write: as much as there is room for; -EAGAIN if there is none, -EPIPE if nobody can read. The odd bytes of a write that
 * are less than a page are put behind the last one's if they fit there whole.
 */
function pipeWrite(file: File, buff: Uint8Array, len: number): number {
  const pipe = file.privateData as PipeInodeInfo;
  if (len === 0) return 0;
  if (pipe.readers === 0) return -EPIPE;
  let done = 0;
  const odd = len & (PAGE_SIZE - 1);
  if (odd !== 0 && !pipeEmpty(pipe)) {
    const last = pipeBuf(pipe, pipe.head - 1);
    const at = last.offset + last.len;
    if (last.canMerge && at + odd <= PAGE_SIZE) {
      copyFromUser(last.page + at, buff, 0, odd);
      last.len += odd;
      done = odd;
    }
  }
  while (done < len && !pipeFull(pipe)) {
    const page = allocPage(PAGE_SIZE);
    if (page === 0) {
      if (done === 0) return -ENOMEM;
      break;
    }
    const n = Math.min(PAGE_SIZE, len - done);
    copyFromUser(page, buff, done, n);
    pipePush(pipe, page, 0, n).canMerge = (file.fFlags & O_DIRECT) === 0;
    done += n;
  }
  if (done > 0) wakeupPipeReaders(pipe);
  return done > 0 ? done : -EAGAIN;
}

const pipefifoFops: FileOperations = {
  poll(file: File): number {
    const pipe = file.privateData as PipeInodeInfo;
    let mask = 0;
    if (fileReadable(file)) {
      if (!pipeEmpty(pipe)) mask |= READABLE;
      if (pipe.writers === 0) mask |= EPOLLHUP;
    }
    if (fileWritable(file)) {
      if (!pipeFull(pipe)) mask |= WRITABLE;
      if (pipe.readers === 0) mask |= EPOLLERR;
    }
    return mask;
  },
  waitQueue: (file: File): SocketWaiter[] => (file.privateData as PipeInodeInfo).waiters,
  waitCallbacks: (file: File): WaitCallback[] => (file.privateData as PipeInodeInfo).callbacks,
  release(file: File): void {
    const pipe = file.privateData as PipeInodeInfo;
    if (fileReadable(file)) pipe.readers--;
    if (fileWritable(file)) pipe.writers--;
    if (pipe.readers === 0 && pipe.writers === 0) pipeRelease(pipe);
    else pipeWake(pipe, READABLE | WRITABLE | EPOLLERR | EPOLLHUP);
  },
  read: pipeRead,
  write: pipeWrite,
};

/** Gives the pages of all buffers back. */
/* notrace */
export function pipeRelease(pipe: PipeInodeInfo): void {
  while (!pipeEmpty(pipe)) pipeConsume(pipe, pipeBuf(pipe, pipe.tail).len);
}

// ---- splice_pipe_to_pipe --------------------------------------------------------------------------------------------

/** splice_pipe_to_pipe: moves up to `len` bytes, whole buffers as they are. -EAGAIN: one is empty or the other full. */
export function splicePipeToPipe(ipipe: PipeInodeInfo, opipe: PipeInodeInfo, len: number): number {
  let done = 0;
  const tail = ipipe.tail;
  while (done < len) {
    if (opipe.readers === 0) {
      if (done === 0) return -EPIPE;
      break;
    }
    if (pipeEmpty(ipipe) || pipeFull(opipe)) {
      if (done === 0 && !(pipeEmpty(ipipe) && ipipe.writers === 0)) return -EAGAIN;
      break;
    }
    const ibuf = pipeBuf(ipipe, ipipe.tail);
    const n = Math.min(ibuf.len, len - done);
    const canMerge = ibuf.canMerge && n === ibuf.len;
    getPage(ibuf.page);
    pipePush(opipe, ibuf.page, ibuf.offset, n).canMerge = canMerge;
    pipeConsume(ipipe, n);
    done += n;
  }
  if (done > 0) wakeupPipeReaders(opipe);
  if (ipipe.tail !== tail) wakeupPipeWriters(ipipe);
  return done;
}

// ---- pipe2(2) -------------------------------------------------------------------------------------------------------

/**
 * pipe2(2): `fds[0]` is the end to read from, `fds[1]` the one to write to.
 *
 * @param flags O_NONBLOCK | O_CLOEXEC | O_DIRECT
 * @returns 0, -EINVAL or -EMFILE
 */
export function sysPipe2(net: Net, fds: number[], flags: number): number {
  if ((flags & ~(O_NONBLOCK | O_CLOEXEC | O_DIRECT)) !== 0) return -EINVAL;
  const pipe = new PipeInodeInfo();
  const keep = flags & (O_NONBLOCK | O_DIRECT);
  const out = new File(pipefifoFops, pipe, O_RDONLY | keep);
  const input = new File(pipefifoFops, pipe, O_WRONLY | keep);
  pipe.readers = 1;
  pipe.writers = 1;
  const cloexec = (flags & O_CLOEXEC) !== 0;
  const rfd = net.files.alloc(out, cloexec);
  if (rfd < 0) return rfd;
  const wfd = net.files.alloc(input, cloexec);
  if (wfd < 0) {
    net.files.take(rfd);
    filpClose(out);
    return wfd;
  }
  fds[0] = rfd;
  fds[1] = wfd;
  return 0;
}

/** pipe(2). */
export function sysPipe(net: Net, fds: number[]): number {
  return sysPipe2(net, fds, 0);
}
