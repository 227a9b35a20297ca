/** net/core/datagram.c: receive queues of datagrams, and copies between skbs and the user's buffers. */

import { SKB_FLAG_PEEKED, SKB_FLAGS, SKB_LEN } from "../../../assembly/layout.ts";
import { u8, u32 } from "../../mm/mem.ts";
import { EAGAIN, EFAULT } from "../../uapi/errno.ts";
import {
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
  EPOLLRDNORM,
  EPOLLWRBAND,
  EPOLLWRNORM,
} from "../../uapi/poll.ts";
import { MSG_PEEK } from "../../uapi/socket.ts";
import type { SkBuffHead } from "./skbuff.ts";
import { skbCopyToUser, skbDequeue, skbGet, skbPeek, skbQueueNext, skbUnlink } from "./skbuff.ts";
import type { ErrBox, Msghdr, Sock, Socket } from "./sock.ts";
import { RCV_SHUTDOWN, SHUTDOWN_MASK, sockError, sockWriteable } from "./sock.ts";

/** The offset into the skb that the last peek stopped at (SO_PEEK_OFF), for the caller of skb_recv_datagram. */
export let peekOffset = 0;

/**
 * __skb_try_recv_from_queue: the first datagram of `queue`; with MSG_PEEK it stays there and gets another reference. With
 * SO_PEEK_OFF (`off` >= 0) that many bytes are passed over first; `peekOffset` is what remains inside of the skb. 0 = none.
 */
export function __skbTryRecvFromQueue(queue: SkBuffHead, flags: number, off: number): number {
  let skb = skbPeek(queue);
  peekOffset = 0;
  if ((flags & MSG_PEEK) === 0) {
    if (skb !== 0) skbUnlink(skb, queue);
    return skb;
  }
  const peekAtOff = off >= 0;
  for (; skb !== 0; skb = skbQueueNext(skb)) {
    const len = u32[(skb + SKB_LEN) >>> 2] as number;
    const peeked = (u8[skb + SKB_FLAGS]! & SKB_FLAG_PEEKED) !== 0;
    // An empty datagram is shown once only: no offset would ever pass it.
    if (peekAtOff && off >= len && (off !== 0 || peeked)) {
      off -= len;
      continue;
    }
    if (len === 0) u8[skb + SKB_FLAGS]! |= SKB_FLAG_PEEKED;
    skbGet(skb);
    peekOffset = peekAtOff ? off : 0;
    return skb;
  }
  return 0;
}

/**
 * skb_recv_datagram: the next datagram of the receive queue. 0 with `err.value`: a pending error, or -EAGAIN (after a
 * shutdown as well: a call that does not block never looks at it; the blocking forms turn it into an end of file).
 */
export function skbRecvDatagram(sk: Sock, flags: number, err: ErrBox): number {
  // An error that an ICMP message left goes before data: the datagrams stay for the next call.
  if (sk.skErr !== 0) {
    err.value = sockError(sk);
    return 0;
  }
  const skb =
    (flags & MSG_PEEK) === 0
      ? skbDequeue(sk.skReceiveQueue)
      : __skbTryRecvFromQueue(sk.skReceiveQueue, flags, sk.skPeekOff);
  if (skb !== 0) {
    err.value = 0;
    return skb;
  }
  err.value = -EAGAIN;
  return 0;
}

/** skb_copy_datagram_msg: `len` bytes of the skb from `offset` on to the user. 0 or -EFAULT. */
/* notrace */
export function skbCopyDatagramMsg(skb: number, offset: number, msg: Msghdr, len: number): number {
  if (len > msg.count) return -EFAULT;
  let left = len;
  while (left > 0) {
    const buf = msg.iov[msg.iovIdx];
    // The count promises more than the vector holds.
    if (buf === undefined) return -EFAULT;
    let n = buf.length - msg.iovOff;
    if (n > left) n = left;
    if (n > 0) {
      skbCopyToUser(skb, offset, buf, msg.iovOff, n);
      offset += n;
      left -= n;
      msg.iovOff += n;
    }
    if (left > 0 && msg.iovOff === buf.length) {
      msg.iovIdx++;
      msg.iovOff = 0;
    }
  }
  msg.count -= len;
  return 0;
}

/** sk_set_peek_off: SO_PEEK_OFF. */
export function skSetPeekOff(sk: Sock, val: number): number {
  sk.skPeekOff = val;
  return 0;
}
/** sk_peek_offset_fwd: a peek moves SO_PEEK_OFF on. */
/* notrace */
export function skPeekOffsetFwd(sk: Sock, val: number): void {
  if (sk.skPeekOff >= 0) sk.skPeekOff += val;
}
/** sk_peek_offset_bwd: a read moves it back. */
/* notrace */
export function skPeekOffsetBwd(sk: Sock, val: number): void {
  if (sk.skPeekOff > 0) sk.skPeekOff = Math.max(sk.skPeekOff - val, 0);
}

/** datagram_poll: EPOLL* bits of a datagram socket. */
export function datagramPoll(sock: Socket): number {
  const sk = sock.sk as Sock;
  let mask = 0;
  if (sk.skErr !== 0 || sk.skErrorQueue.qlen !== 0) mask |= EPOLLERR | (sk.skSelectErrQueue ? EPOLLPRI : 0);
  if ((sk.skShutdown & RCV_SHUTDOWN) !== 0) mask |= EPOLLRDHUP | EPOLLIN | EPOLLRDNORM;
  if (sk.skShutdown === SHUTDOWN_MASK) mask |= EPOLLHUP;
  if (sk.skReceiveQueue.qlen !== 0) mask |= EPOLLIN | EPOLLRDNORM;
  if (sockWriteable(sk)) mask |= EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
  else sk.skNoSpace = true;
  return mask;
}
