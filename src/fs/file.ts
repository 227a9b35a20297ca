/** fs/file.c, struct file and struct file_operations: the descriptors of a host's programs. */

import type { Net, PernetOperations } from "../net/core/net_namespace.ts";
import { registerPernetSubsys } from "../net/core/net_namespace.ts";
import type { SocketWaiter, WaitCallback } from "../net/core/sock.ts";
import { EMFILE } from "../uapi/errno.ts";
import { O_ACCMODE, O_RDONLY, O_WRONLY } from "../uapi/fcntl.ts";
import type { PipeInodeInfo } from "./pipe.ts";

/** struct file_operations: what a descriptor stands for. */
export interface FileOperations {
  /** EPOLL* bits that are up now. */
  poll(file: File): number;
  /** Who is told when they change: outside of kernel context, and inside of it. */
  waitQueue(file: File): SocketWaiter[];
  waitCallbacks(file: File): WaitCallback[];
  /** The last descriptor was closed. */
  release(file: File): void;
  ioctl?(file: File, cmd: number, arg: number): number;
  /** read(2) and write(2) of what is no socket: bytes, 0 at the end, -EAGAIN where they would wait. */
  read?(file: File, ubuf: Uint8Array, size: number): number;
  write?(file: File, buff: Uint8Array, len: number): number;
  /** Up to `len` bytes (at `pos`, of a file that has positions) into the pipe, by reference. */
  spliceRead?(file: File, pos: number, pipe: PipeInodeInfo, len: number, flags: number): number;
  /** Up to `len` bytes out of the pipe. */
  spliceWrite?(pipe: PipeInodeInfo, file: File, pos: number, len: number, flags: number): number;
  /** sendfile(2) has promised more (SPLICE_F_MORE) and has no more. */
  spliceEof?(file: File): void;
  /** The file has positions: pread(2), lseek(2), sendfile(2)'s offset. */
  readonly seekable?: boolean;
}

/** struct file. */
export class File {
  readonly fOp: FileOperations;
  /** The Socket, EventPoll, PipeInodeInfo, ... */
  readonly privateData: unknown;
  /** O_RDWR | O_NONBLOCK ... */
  fFlags: number;
  fPos = 0;
  /** Descriptors that refer to it. */
  fCount = 0;
  /** Interests of epoll instances in this file (f_ep). */
  readonly fEp: Set<{ remove(): void }> = new Set();

  constructor(fOp: FileOperations, privateData: unknown, flags: number) {
    this.fOp = fOp;
    this.privateData = privateData;
    this.fFlags = flags;
  }
}

/** struct files_struct: the descriptors of a host, from 3 up (0 to 2 belong to whoever runs us). */
export class Files {
  readonly fdt: (File | null)[] = [null, null, null];
  readonly closeOnExec: boolean[] = [];
  /** RLIMIT_NOFILE. */
  rlimitNofile = 1048576;
  /** No descriptor below this one is free. */
  #next = 3;

  /** alloc_fd: the lowest free descriptor from `start` on; -EMFILE when there is none. */
  alloc(file: File, cloexec: boolean, start = 3): number {
    let fd = Math.max(start, this.#next);
    while (fd < this.fdt.length && this.fdt[fd] !== null) fd++;
    if (fd >= this.rlimitNofile) return -EMFILE;
    while (this.fdt.length < fd) this.fdt.push(null);
    this.fdt[fd] = file;
    this.closeOnExec[fd] = cloexec;
    file.fCount++;
    if (start <= this.#next) this.#next = fd + 1;
    return fd;
  }

  get(fd: number): File | null {
    return this.fdt[fd] ?? null;
  }

  /** Takes the descriptor away and returns its file. */
  take(fd: number): File | null {
    const file = this.fdt[fd] ?? null;
    if (file === null) return null;
    this.fdt[fd] = null;
    if (fd < this.#next) this.#next = fd;
    return file;
  }
}

declare module "../net/core/net_namespace.ts" {
  interface Net {
    /** The descriptors of this host's programs. */
    files: Files;
  }
}

/** fput of a descriptor's reference: the last one releases the file. */
export function filpClose(file: File): void {
  if (--file.fCount > 0) return;
  for (const epi of file.fEp) epi.remove();
  file.fOp.release(file);
}

const filesNetOps: PernetOperations = {
  name: "files",
  init(net: Net): number {
    net.files = new Files();
    return 0;
  },
  preExit(net: Net): void {
    const fdt = net.files.fdt;
    for (let fd = 3; fd < fdt.length; fd++) {
      const file = net.files.take(fd);
      if (file !== null) filpClose(file);
    }
  },
  exit(_net: Net): void {},
};

/** files_init: makes every namespace have descriptors. */
export function filesInit(): void {
  registerPernetSubsys(filesNetOps);
}

/** FMODE_READ, FMODE_WRITE. */
/* notrace */
export function fileReadable(file: File): boolean {
  return (file.fFlags & O_ACCMODE) !== O_WRONLY;
}
/* notrace */
export function fileWritable(file: File): boolean {
  return (file.fFlags & O_ACCMODE) !== O_RDONLY;
}
