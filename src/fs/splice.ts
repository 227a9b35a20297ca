/**
 * fs/splice.c and sendfile(2): bytes from one file to another through a pipe, by reference. A socket's pages are those that its skbs
 * refer to; what a pipe holds becomes fragments of skbs.
 *
 * The calls here never sleep: what would wait returns what was moved, or -EAGAIN. syscalls_async.ts has the others.
 */

import type { Net } from "../net/core/net_namespace.ts";
import { EAGAIN, EBADF, EINVAL, EPIPE, ESPIPE } from "../uapi/errno.ts";
import { O_APPEND } from "../uapi/fcntl.ts";
import { SPLICE_F_ALL, SPLICE_F_MORE } from "../uapi/splice.ts";
import type { File } from "./file.ts";
import { fileReadable, fileWritable } from "./file.ts";
import {
  getPipeInfo,
  PAGE_SIZE,
  PipeInodeInfo,
  pipeEmpty,
  pipeFull,
  pipeRelease,
  pipeSpace,
  splicePipeToPipe,
  wakeupPipeReaders,
} from "./pipe.ts";

/** A position in a file that a call reads and moves on (loff_t *). */
export interface FileOffset {
  value: number;
}

/** do_splice_read: up to `len` bytes from `pos` of the file into the pipe, not more than it has room for. */
function doSpliceRead(file: File, pos: number, pipe: PipeInodeInfo, len: number, flags: number): number {
  if (len === 0) return 0;
  if (file.fOp.spliceRead === undefined) return -EINVAL;
  return file.fOp.spliceRead(file, pos, pipe, Math.min(len, pipeSpace(pipe) * PAGE_SIZE), flags);
}

/** splice_file_to_pipe. */
function spliceFileToPipe(file: File, pos: number, pipe: PipeInodeInfo, len: number, flags: number): number {
  if (pipe.readers === 0) return -EPIPE;
  if (pipeFull(pipe)) return -EAGAIN;
  const n = doSpliceRead(file, pos, pipe, len, flags);
  if (n > 0) wakeupPipeReaders(pipe);
  return n;
}

/** do_splice. */
function doSplice(
  input: File,
  offIn: FileOffset | null,
  out: File,
  offOut: FileOffset | null,
  len: number,
  flags: number,
): number {
  if (!fileReadable(input) || !fileWritable(out)) return -EBADF;
  const ipipe = getPipeInfo(input);
  const opipe = getPipeInfo(out);
  if (ipipe !== null && opipe !== null) {
    if (offIn !== null || offOut !== null) return -ESPIPE;
    if (ipipe === opipe) return -EINVAL;
    return splicePipeToPipe(ipipe, opipe, len);
  }
  if (ipipe !== null) {
    if (offIn !== null) return -ESPIPE;
    if (offOut !== null && out.fOp.seekable !== true) return -EINVAL;
    if ((out.fFlags & O_APPEND) !== 0 || out.fOp.spliceWrite === undefined) return -EINVAL;
    const n = out.fOp.spliceWrite(ipipe, out, offOut !== null ? offOut.value : out.fPos, len, flags);
    if (n > 0) advance(out, offOut, n);
    return n;
  }
  if (opipe !== null) {
    if (offOut !== null) return -ESPIPE;
    if (offIn !== null && input.fOp.seekable !== true) return -EINVAL;
    const n = spliceFileToPipe(input, offIn !== null ? offIn.value : input.fPos, opipe, len, flags);
    if (n > 0) advance(input, offIn, n);
    return n;
  }
  return -EINVAL;
}

/* notrace */
function advance(file: File, off: FileOffset | null, n: number): void {
  if (off !== null) off.value += n;
  else if (file.fOp.seekable === true) file.fPos += n;
}

/**
 * splice(2): moves up to `len` bytes from one file to another, of which one is a pipe.
 *
 * @param offIn offOut positions, of files that have them; null = the file's own
 * @param flags SPLICE_F_MORE: a socket waits for more before it sends a short packet; SPLICE_F_NONBLOCK
 * @returns bytes moved, 0 at the end of the input, or a negative errno (-EAGAIN: nothing there, or no room)
 */
export function sysSplice(
  net: Net,
  fdIn: number,
  offIn: FileOffset | null,
  fdOut: number,
  offOut: FileOffset | null,
  len: number,
  flags: number,
): number {
  if (len === 0) return 0;
  if ((flags & ~SPLICE_F_ALL) !== 0) return -EINVAL;
  const input = net.files.get(fdIn);
  const out = net.files.get(fdOut);
  if (input === null || out === null) return -EBADF;
  const k = net.kernel;
  k.enter();
  try {
    return doSplice(input, offIn, out, offOut, len, flags);
  } finally {
    k.exit();
  }
}

/** The pipe that splice_direct_to_actor keeps for each task. */
const directPipe = new PipeInodeInfo();

/**
 * splice_direct_to_actor with direct_splice_actor: `len` bytes of `input` from `pos` on to `out`, through a pipe of the call's own,
 * 16 pages at a time. While more is to come the output hears so (SPLICE_F_MORE).
 */
function doSpliceDirect(input: File, pos: number, out: File, len: number): number {
  const pipe = directPipe;
  pipe.readers = 1;
  pipe.writers = 0;
  let bytes = 0;
  let ret = 0;
  let more = 0;
  while (len > 0) {
    ret = doSpliceRead(input, pos, pipe, len, 0);
    if (ret <= 0) {
      // Less was there than was promised to the output.
      if (ret === 0 && more !== 0) out.fOp.spliceEof?.(out);
      break;
    }
    const readLen = ret;
    more = readLen < len ? SPLICE_F_MORE : 0;
    ret = (out.fOp.spliceWrite as NonNullable<typeof out.fOp.spliceWrite>)(pipe, out, out.fPos, readLen, more);
    if (ret <= 0) break;
    bytes += ret;
    len -= ret;
    pos += ret;
    if (out.fOp.seekable === true) out.fPos += ret;
    if (ret < readLen) break;
  }
  // What the output did not take is read again by the next call.
  if (!pipeEmpty(pipe)) pipeRelease(pipe);
  return bytes > 0 ? bytes : ret;
}

/**
 * sendfile(2): up to `count` bytes of a file with positions to any other; to a socket, the pages of the file become fragments
 * of skbs, so what is written to the file before they are acknowledged may go out instead.
 *
 * @param offset where from, moved on by what was sent; null = the file's own position
 * @returns bytes sent, 0 at the end of the file, or a negative errno (-EAGAIN: no room)
 */
export function sysSendfile(net: Net, outFd: number, inFd: number, offset: FileOffset | null, count: number): number {
  const input = net.files.get(inFd);
  const out = net.files.get(outFd);
  if (input === null || out === null || !fileReadable(input) || !fileWritable(out)) return -EBADF;
  if (offset !== null && input.fOp.seekable !== true) return -ESPIPE;
  if (offset !== null && offset.value < 0) return -EINVAL;
  if (count < 0) return -EINVAL;
  const k = net.kernel;
  k.enter();
  try {
    const pos = offset !== null ? offset.value : input.fPos;
    const opipe = getPipeInfo(out);
    let n: number;
    if (opipe !== null) n = spliceFileToPipe(input, pos, opipe, count, 0);
    else if (input.fOp.seekable !== true || (out.fFlags & O_APPEND) !== 0 || out.fOp.spliceWrite === undefined) {
      return -EINVAL;
    } else n = doSpliceDirect(input, pos, out, count);
    if (n > 0) advance(input, offset, n);
    return n;
  } finally {
    k.exit();
  }
}
