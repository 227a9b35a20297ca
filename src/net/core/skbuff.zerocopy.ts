/**
 * Bytes that are sent without a copy of them in between (net/core/skbuff.c): MSG_ZEROCOPY's notifications, and pages that
 * splice(2) hands to a socket.
 *
 * A send with MSG_ZEROCOPY copies all the same: user memory is not the stack's. Everything else is as in the kernel: each
 * skb_shared_info that holds bytes of the send refers to its notifier, and the last one to let go (the bytes are
 * acknowledged, or thrown away) puts it on the error queue, with SO_EE_CODE_ZEROCOPY_COPIED, as over any device that copies.
 */

import {
  MAX_SKB_FRAGS,
  SKB_SK,
  SKB_TRUESIZE,
  UARG_BYTELEN,
  UARG_ID,
  UARG_LEN,
  UARG_REFCNT,
} from "../../../assembly/layout.ts";
import { machine, u32 } from "../../mm/mem.ts";
import { copyFromUser } from "../../mm/usercopy.ts";
import { EEXIST, EFAULT, EMSGSIZE, ENOMEM } from "../../uapi/errno.ts";
import { SO_EE_CODE_ZEROCOPY_COPIED, SO_EE_ORIGIN_ZEROCOPY, SOCK_STREAM } from "../../uapi/socket.ts";
import { skbExtErrExtend, skbExtErrOrigin, skbSetExtErr } from "./errqueue.ts";
import { msgIterAdvance } from "./iov_iter.ts";
import {
  consumeSkb,
  getPage,
  pageOf,
  registerUargDone,
  skbCanCoalesce,
  skbFillPageDesc,
  skbFragSizeAdd,
  skbLen,
  skbLenAdd,
  skbNrFrags,
  skbPeekTail,
  skbQueueTail,
  skbSetUarg,
  skbUarg,
} from "./skbuff.ts";
import type { Msghdr, Sock } from "./sock.ts";
import {
  SOCK_DEAD,
  skbPageFragRefill,
  skErrorReport,
  skMemCharge,
  skWmemQueuedAdd,
  sockFlag,
  sockHold,
  sockOmalloc,
  sockPut,
} from "./sock.ts";

// ---- notifiers ------------------------------------------------------------------------------------------------------

/** After so many bytes a notifier takes no further sends: a few super-packets. */
const BYTE_LIMIT = 1 << 19;
const USHRT_MAX = 0xffff;

/** The socket that a notifier belongs to, whoever releases it. */
/* notrace */
function uargSk(uarg: number): Sock {
  return machine.socks.items[u32[(uarg + SKB_SK) >>> 2]!] as Sock;
}

/** msg_zerocopy_alloc: a notifier for a send of `size` bytes, with the caller's reference. 0 = no memory (ENOBUFS). */
function msgZerocopyAlloc(sk: Sock, size: number): number {
  const skb = sockOmalloc(sk, 0);
  if (skb === 0) return 0;
  u32[(skb + UARG_ID) >>> 2] = sk.skZckey;
  sk.skZckey = (sk.skZckey + 1) >>> 0;
  u32[(skb + UARG_LEN) >>> 2] = 1;
  u32[(skb + UARG_BYTELEN) >>> 2] = size;
  u32[(skb + UARG_REFCNT) >>> 2] = 1;
  sockHold(sk);
  return skb;
}

/**
 * msg_zerocopy_realloc: the notifier for a send of `size` bytes: the one that the last skb has (`uarg`, 0 = none), if the
 * numbers follow each other and it has not too much already, else a new one. The caller has a reference to it (a datagram that is
 * appended to: only to a new one). 0 = no memory.
 */
export function msgZerocopyRealloc(sk: Sock, size: number, uarg: number): number {
  if (uarg === 0) return msgZerocopyAlloc(sk, size);
  const len = u32[(uarg + UARG_LEN) >>> 2]!;
  const bytelen = u32[(uarg + UARG_BYTELEN) >>> 2]! + size;
  const stream = sk.skType === SOCK_STREAM;
  if (len === USHRT_MAX - 1 || bytelen > BYTE_LIMIT) {
    // TCP can begin a new skb for another notifier.
    return stream ? msgZerocopyAlloc(sk, size) : 0;
  }
  if ((u32[(uarg + UARG_ID) >>> 2]! + len) >>> 0 !== sk.skZckey) return msgZerocopyAlloc(sk, size);
  u32[(uarg + UARG_LEN) >>> 2] = len + 1;
  u32[(uarg + UARG_BYTELEN) >>> 2] = bytelen;
  sk.skZckey = (sk.skZckey + 1) >>> 0;
  if (stream) u32[(uarg + UARG_REFCNT) >>> 2]! += 1;
  return uarg;
}

/** skb_zcopy_set: `skb` holds bytes of the notifier's sends. */
/* notrace */
export function skbZcopySet(skb: number, uarg: number): void {
  if (skbUarg(skb) !== 0) return;
  u32[(uarg + UARG_REFCNT) >>> 2]! += 1;
  skbSetUarg(skb, uarg);
}

/** net_zcopy_put. */
export function netZcopyPut(uarg: number): void {
  const refs = u32[(uarg + UARG_REFCNT) >>> 2]! - 1;
  u32[(uarg + UARG_REFCNT) >>> 2] = refs;
  if (refs === 0) msgZerocopyCallback(uarg);
}

/** net_zcopy_put_abort: the send that the last number was for has sent nothing. `haveUref`: the caller's reference goes. */
export function netZcopyPutAbort(uarg: number, haveUref: boolean): void {
  const sk = uargSk(uarg);
  sk.skZckey = (sk.skZckey - 1) >>> 0;
  u32[(uarg + UARG_LEN) >>> 2]! -= 1;
  if (haveUref) netZcopyPut(uarg);
}

/**
 * __msg_zerocopy_callback: nobody refers to the bytes of the notifier's sends any more: tells their socket. A notification that
 * continues the queue's last one is merged into it.
 */
function msgZerocopyCallback(uarg: number): void {
  const sk = uargSk(uarg);
  const len = u32[(uarg + UARG_LEN) >>> 2]!;
  const lo = u32[(uarg + UARG_ID) >>> 2]!;
  let skb = uarg;
  // Without sends there was one, and it was taken back.
  if (len !== 0 && !sockFlag(sk, SOCK_DEAD)) {
    const q = sk.skErrorQueue;
    const tail = skbPeekTail(q);
    if (tail === 0 || skbExtErrOrigin(tail) !== SO_EE_ORIGIN_ZEROCOPY || !skbExtErrExtend(tail, lo, len)) {
      const hi = (lo + len - 1) >>> 0;
      skbSetExtErr(skb, 0, SO_EE_ORIGIN_ZEROCOPY, 0, SO_EE_CODE_ZEROCOPY_COPIED, lo, hi);
      skbQueueTail(q, skb);
      skb = 0;
    }
    skErrorReport(sk);
  }
  consumeSkb(skb);
  sockPut(sk);
}
registerUargDone(msgZerocopyCallback);

// ---- bytes of one send, each piece of user memory a fragment --------------------------------------------------------

const PAGE_SIZE = 4096;

/**
 * __zerocopy_sg_from_iter: up to `length` bytes of the iterator as fragments of `skb`: one for each page of user memory that they
 * touch, as if it had been pinned. The skb is charged whole pages. 0; -EMSGSIZE when the fragments are used up, -EFAULT,
 * -ENOMEM: what fitted is in the skb.
 */
function zerocopySgFromIter(msg: Msghdr, sk: Sock, skb: number, length: number): number {
  const pfrag = sk.pageFrag;
  let lastBuf: ArrayBufferLike | null = null;
  let lastEnd = 0;
  let err = 0;
  let truesize = 0;
  while (length > 0 && msg.count > 0) {
    const buf = msg.iov[msg.iovIdx];
    if (buf === undefined) {
      err = -EFAULT;
      break;
    }
    if (msg.iovOff === buf.length) {
      msg.iovIdx++;
      msg.iovOff = 0;
      continue;
    }
    const i = skbNrFrags(skb);
    const start = buf.byteOffset + msg.iovOff;
    const inPage = start & (PAGE_SIZE - 1);
    let n = PAGE_SIZE - inPage;
    if (n > buf.length - msg.iovOff) n = buf.length - msg.iovOff;
    if (n > length) n = length;
    if (n > msg.count) n = msg.count;
    const merge = inPage !== 0 && buf.buffer === lastBuf && start === lastEnd;
    if (i === MAX_SKB_FRAGS) {
      err = -EMSGSIZE;
      break;
    }
    if (!skbPageFragRefill(n + 8, pfrag)) {
      err = -ENOMEM;
      break;
    }
    if (!merge || !skbCanCoalesce(skb, i, pfrag.page, pfrag.offset)) {
      // Copies between memories that agree modulo 8 are several times faster.
      pfrag.offset += (start - pfrag.offset) & 7;
      skbFillPageDesc(skb, i, pfrag.page, pfrag.offset, 0);
      getPage(pfrag.page);
    }
    copyFromUser(pfrag.page + pfrag.offset, buf, msg.iovOff, n);
    skbFragSizeAdd(skb, skbNrFrags(skb) - 1, n);
    pfrag.offset += n;
    msgIterAdvance(msg, n);
    skbLenAdd(skb, n);
    truesize += PAGE_SIZE - n;
    length -= n;
    lastBuf = buf.buffer;
    lastEnd = start + n;
  }
  // skb_len_add counted the bytes; a page weighs all of itself.
  u32[(skb + SKB_TRUESIZE) >>> 2]! += truesize;
  return err;
}

/**
 * skb_zerocopy_iter_stream: appends up to `len` bytes of the iterator to `skb` for the send that `uarg` stands for. How many; -EEXIST
 * when the skb has another notifier, -EMSGSIZE when it has no fragment left, -EFAULT, -ENOMEM.
 */
export function skbZerocopyIterStream(sk: Sock, skb: number, msg: Msghdr, len: number, uarg: number): number {
  const other = skbUarg(skb);
  if (other !== 0 && other !== uarg) return -EEXIST;
  const before = skbLen(skb);
  const truesize = u32[(skb + SKB_TRUESIZE) >>> 2]!;
  const err = zerocopySgFromIter(msg, sk, skb, len);
  const delta = u32[(skb + SKB_TRUESIZE) >>> 2]! - truesize;
  skWmemQueuedAdd(sk, delta);
  skMemCharge(sk, delta);
  const done = skbLen(skb) - before;
  if (err !== 0 && done === 0) return err;
  skbZcopySet(skb, uarg);
  return done;
}

// ---- pages that are the stack's already -----------------------------------------------------------------------------

/**
 * skb_splice_from_iter: up to `maxsize` bytes of the iterator, whose arrays are views of the stack's own memory, as fragments of `skb`
 * that refer to them. How many, or -EMSGSIZE when the skb has no fragment left.
 */
export function skbSpliceFromIter(skb: number, msg: Msghdr, maxsize: number): number {
  let spliced = 0;
  while (spliced < maxsize && msg.count > 0) {
    const buf = msg.iov[msg.iovIdx] as Uint8Array;
    let n = buf.length - msg.iovOff;
    if (n === 0) {
      msg.iovIdx++;
      msg.iovOff = 0;
      continue;
    }
    if (n > maxsize - spliced) n = maxsize - spliced;
    const at = buf.byteOffset + msg.iovOff;
    const page = pageOf(at);
    const i = skbNrFrags(skb);
    if (skbCanCoalesce(skb, i, page, at - page)) skbFragSizeAdd(skb, i - 1, n);
    else if (i < MAX_SKB_FRAGS) {
      getPage(page);
      skbFillPageDesc(skb, i, page, at - page, n);
    } else break;
    msgIterAdvance(msg, n);
    spliced += n;
  }
  if (spliced === 0) return -EMSGSIZE;
  skbLenAdd(skb, spliced);
  return spliced;
}
