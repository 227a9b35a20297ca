/** mm/memfd.c and mm/shmem.c: a file without a name, in pages of the machine's memory. */

import { u8 } from "../mm/mem.ts";
import { copyFromUser, copyToUser } from "../mm/usercopy.ts";
import type { Net } from "../net/core/net_namespace.ts";
import { allocPage, getPage, putPage } from "../net/core/skbuff.ts";
import type { SocketWaiter, WaitCallback } from "../net/core/sock.ts";
import { EBADF, EINVAL, ENOSPC, ESPIPE } from "../uapi/errno.ts";
import { O_RDWR } from "../uapi/fcntl.ts";
import { EPOLLIN, EPOLLOUT, EPOLLRDNORM, EPOLLWRNORM } from "../uapi/poll.ts";
import { MFD_CLOEXEC } from "../uapi/splice.ts";
import type { FileOperations } from "./file.ts";
import { File, fileReadable, fileWritable } from "./file.ts";
import type { PipeInodeInfo } from "./pipe.ts";
import { PAGE_SIZE, pipeBuf, pipeConsume, pipeEmpty, pipeFull, pipePush, wakeupPipeWriters } from "./pipe.ts";

export const SEEK_SET = 0;
export const SEEK_CUR = 1;
export const SEEK_END = 2;

/** struct inode of a memory file. */
class ShmemInode {
  /** Buffers of PAGE_SIZE; 0 = a hole. */
  readonly pages: number[] = [];
  size = 0;
}

const noWaiters: SocketWaiter[] = [];
const noCallbacks: WaitCallback[] = [];

/** The page that position `pos` is in, made if there is none; 0 = no memory. */
/* notrace */
function shmemGetPage(inode: ShmemInode, pos: number): number {
  const index = Math.floor(pos / PAGE_SIZE);
  while (inode.pages.length <= index) inode.pages.push(0);
  let page = inode.pages[index] as number;
  if (page === 0) {
    page = allocPage(PAGE_SIZE);
    if (page === 0) return 0;
    u8.fill(0, page, page + PAGE_SIZE);
    inode.pages[index] = page;
  }
  return page;
}

/** shmem_file_read_iter at `pos`. */
function shmemRead(inode: ShmemInode, pos: number, ubuf: Uint8Array, size: number): number {
  let done = 0;
  const left = Math.min(size, Math.max(0, inode.size - pos));
  while (done < left) {
    const at = (pos + done) % PAGE_SIZE;
    const n = Math.min(PAGE_SIZE - at, left - done);
    const page = inode.pages[Math.floor((pos + done) / PAGE_SIZE)] ?? 0;
    if (page === 0) ubuf.fill(0, done, done + n);
    else copyToUser(ubuf, done, page + at, n);
    done += n;
  }
  return done;
}

/** Where `len` bytes go at `pos`, one page at a time: `copy` is told an address and how many. Bytes, or -ENOSPC. */
function shmemWrite(inode: ShmemInode, pos: number, len: number, copy: (to: number, n: number) => void): number {
  let done = 0;
  while (done < len) {
    const at = (pos + done) % PAGE_SIZE;
    const n = Math.min(PAGE_SIZE - at, len - done);
    const page = shmemGetPage(inode, pos + done);
    if (page === 0) break;
    copy(page + at, n);
    done += n;
    if (pos + done > inode.size) inode.size = pos + done;
  }
  return done > 0 || len === 0 ? done : -ENOSPC;
}

const shmemFileOperations: FileOperations = {
  seekable: true,
  poll: (): number => EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLWRNORM,
  waitQueue: (): SocketWaiter[] => noWaiters,
  waitCallbacks: (): WaitCallback[] => noCallbacks,
  release(file: File): void {
    const inode = file.privateData as ShmemInode;
    for (const page of inode.pages) if (page !== 0) putPage(page);
    inode.pages.length = 0;
  },
  read(file: File, ubuf: Uint8Array, size: number): number {
    const n = shmemRead(file.privateData as ShmemInode, file.fPos, ubuf, size);
    file.fPos += n;
    return n;
  },
  write(file: File, buff: Uint8Array, len: number): number {
    let from = 0;
    const n = shmemWrite(file.privateData as ShmemInode, file.fPos, len, (to, m) => {
      copyFromUser(to, buff, from, m);
      from += m;
    });
    if (n > 0) file.fPos += n;
    return n;
  },
  /** shmem_file_splice_read: the pages themselves. */
  spliceRead(file: File, pos: number, pipe: PipeInodeInfo, len: number, _flags: number): number {
    const inode = file.privateData as ShmemInode;
    let done = 0;
    const left = Math.min(len, Math.max(0, inode.size - pos));
    while (done < left && !pipeFull(pipe)) {
      const at = (pos + done) % PAGE_SIZE;
      const n = Math.min(PAGE_SIZE - at, left - done);
      const page = shmemGetPage(inode, pos + done);
      if (page === 0) break;
      getPage(page);
      pipePush(pipe, page, at, n);
      done += n;
    }
    return done;
  },
  /** iter_file_splice_write: a copy. */
  spliceWrite(pipe: PipeInodeInfo, file: File, pos: number, len: number, _flags: number): number {
    const inode = file.privateData as ShmemInode;
    let done = 0;
    while (done < len && !pipeEmpty(pipe)) {
      const buf = pipeBuf(pipe, pipe.tail);
      let from = buf.page + buf.offset;
      const n = shmemWrite(inode, pos + done, Math.min(buf.len, len - done), (to, m) => {
        u8.copyWithin(to, from, from + m);
        from += m;
      });
      if (n < 0) return done > 0 ? done : n;
      pipeConsume(pipe, n);
      done += n;
    }
    if (done > 0) wakeupPipeWriters(pipe);
    return done;
  },
};

/**
 * memfd_create(2): a descriptor of an empty file.
 *
 * @param flags MFD_CLOEXEC
 * @returns a descriptor, -EINVAL or -EMFILE
 */
export function sysMemfdCreate(net: Net, _name: string, flags: number): number {
  if ((flags & ~MFD_CLOEXEC) !== 0) return -EINVAL;
  const file = new File(shmemFileOperations, new ShmemInode(), O_RDWR);
  return net.files.alloc(file, (flags & MFD_CLOEXEC) !== 0);
}

/** lseek(2). `whence`: SEEK_SET 0, SEEK_CUR 1, SEEK_END 2. */
export function sysLseek(net: Net, fd: number, offset: number, whence: number): number {
  const file = net.files.get(fd);
  if (file === null) return -EBADF;
  if (file.fOp !== shmemFileOperations) return -ESPIPE;
  const base =
    whence === SEEK_SET
      ? 0
      : whence === SEEK_CUR
        ? file.fPos
        : whence === SEEK_END
          ? (file.privateData as ShmemInode).size
          : Number.NaN;
  const pos = base + offset;
  if (!(pos >= 0)) return -EINVAL;
  file.fPos = pos;
  return pos;
}

/** pread(2). */
export function sysPread(net: Net, fd: number, ubuf: Uint8Array, size: number, pos: number): number {
  const file = net.files.get(fd);
  if (file === null || !fileReadable(file)) return -EBADF;
  if (file.fOp !== shmemFileOperations) return -ESPIPE;
  if (pos < 0 || size > ubuf.length) return -EINVAL;
  const k = net.kernel;
  k.enter();
  try {
    return shmemRead(file.privateData as ShmemInode, pos, ubuf, size);
  } finally {
    k.exit();
  }
}

/** ftruncate(2): what lies behind is zero when the file grows again. */
export function sysFtruncate(net: Net, fd: number, length: number): number {
  const file = net.files.get(fd);
  if (file === null) return -EBADF;
  if (file.fOp !== shmemFileOperations || !fileWritable(file) || length < 0) return -EINVAL;
  const k = net.kernel;
  k.enter();
  try {
    const inode = file.privateData as ShmemInode;
    const keep = Math.ceil(length / PAGE_SIZE);
    for (let i = keep; i < inode.pages.length; i++) if (inode.pages[i] !== 0) putPage(inode.pages[i] as number);
    if (keep < inode.pages.length) inode.pages.length = keep;
    const last = length % PAGE_SIZE !== 0 ? (inode.pages[keep - 1] ?? 0) : 0;
    if (last !== 0) u8.fill(0, last + (length % PAGE_SIZE), last + PAGE_SIZE);
    inode.size = length;
    return 0;
  } finally {
    k.exit();
  }
}
