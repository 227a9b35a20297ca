/** The iterator of a Msghdr (lib/iov_iter.c): where user bytes come from and where they go. */

import { wasm } from "../../mm/mem.ts";
import { copyFromUser, copyToUser } from "../../mm/usercopy.ts";
import { EFAULT } from "../../uapi/errno.ts";
import type { Msghdr, PageFrag } from "./sock.ts";

/** iov_iter_init over one buffer; makes no garbage when `msg` is used again. */
/* notrace */
export function msgIterInit(msg: Msghdr, buf: Uint8Array, count: number): void {
  // Setting an array's length costs more than all the rest here.
  if (msg.iov.length !== 1) msg.iov = [buf];
  else msg.iov[0] = buf;
  msg.iovIdx = 0;
  msg.iovOff = 0;
  msg.count = count;
}

/** iov_iter_init over several buffers (writev). `iov` is kept, not copied. */
/* notrace */
export function msgIterInitVec(msg: Msghdr, iov: Uint8Array[]): void {
  let count = 0;
  for (let i = 0; i < iov.length; i++) count += (iov[i] as Uint8Array).length;
  msg.iov = iov;
  msg.iovIdx = 0;
  msg.iovOff = 0;
  msg.count = count;
}

/** iov_iter_advance. */
/* notrace */
export function msgIterAdvance(msg: Msghdr, n: number): void {
  msg.count -= n;
  while (n > 0) {
    const left = (msg.iov[msg.iovIdx] as Uint8Array).length - msg.iovOff;
    if (n < left) {
      msg.iovOff += n;
      return;
    }
    n -= left;
    msg.iovIdx++;
    msg.iovOff = 0;
  }
}

/** iov_iter_revert: takes back `n` bytes of what was advanced over. */
/* notrace */
export function msgIterRevert(msg: Msghdr, n: number): void {
  msg.count += n;
  while (n > msg.iovOff) {
    n -= msg.iovOff;
    msg.iovIdx--;
    msg.iovOff = (msg.iov[msg.iovIdx] as Uint8Array).length;
  }
  msg.iovOff -= n;
}

/** memcpy_from_msg: `len` user bytes to the stack's memory at `addr`. 0, or -EFAULT when the user gave fewer. */
/* notrace */
export function msgIterCopyTo(addr: number, msg: Msghdr, len: number): number {
  if (len > msg.count) return -EFAULT;
  if (msg.lent !== null) return lentCopyTo(addr, msg, msg.lent, len);
  let left = len;
  while (left > 0) {
    const buf = msg.iov[msg.iovIdx];
    // A count that promises more than the vector holds: what is behind its end is nobody's memory.
    if (buf === undefined) return -EFAULT;
    let n = buf.length - msg.iovOff;
    if (n > left) n = left;
    if (n > 0) {
      copyFromUser(addr, buf, msg.iovOff, n);
      addr += n;
      left -= n;
      msg.iovOff += n;
    }
    if (msg.iovOff === buf.length && left > 0) {
      msg.iovIdx++;
      msg.iovOff = 0;
    }
  }
  msg.count -= len;
  return 0;
}

/** Bytes that the caller has put into the stack's memory: either they stand where they shall, or they are moved there. */
/* notrace */
function lentCopyTo(addr: number, msg: Msghdr, lent: PageFrag, len: number): number {
  const from = lent.page + lent.offset;
  if (addr !== from) {
    wasm.memcpy(addr, from, len);
    lent.offset += len;
  }
  msg.count -= len;
  return 0;
}

/** copy_to_iter: `len` bytes of the stack's memory at `addr` to the user. Returns how many had room. */
/* notrace */
export function copyToIter(addr: number, len: number, msg: Msghdr): number {
  if (len > msg.count) len = msg.count;
  let left = len;
  while (left > 0) {
    const buf = msg.iov[msg.iovIdx];
    if (buf === undefined) {
      msg.count -= len - left;
      return len - left;
    }
    let n = buf.length - msg.iovOff;
    if (n > left) n = left;
    if (n > 0) {
      copyToUser(buf, msg.iovOff, addr, n);
      addr += n;
      left -= n;
      msg.iovOff += n;
    }
    if (msg.iovOff === buf.length && left > 0) {
      msg.iovIdx++;
      msg.iovOff = 0;
    }
  }
  msg.count -= len;
  return len;
}
