/** splice(2) from a TCP socket into a pipe (net/ipv4/tcp.c, and skb_splice_bits of net/core/skbuff.c). */

import { SKB_DATA, SKB_HEAD } from "../../../assembly/layout.ts";
import type { PipeInodeInfo } from "../../fs/pipe.ts";
import { pipeBuf, pipeFull, pipePush } from "../../fs/pipe.ts";
import { u32 } from "../../mm/mem.ts";
import {
  skbFragList,
  skbFragOffset,
  skbFragPage,
  skbFragSize,
  skbHeadlen,
  skbLen,
  skbNext,
  skbNrFrags,
} from "../../mm/skb.ts";
import { EAGAIN, ENOTCONN, EPIPE } from "../../uapi/errno.ts";
import { TCP_CLOSE, TCP_LISTEN, TCPHDR_FIN } from "../../uapi/tcp.ts";
import { getPage, skbPeek, skbPeekTail } from "../core/skbuff.ts";
import type { Sock, Socket } from "../core/sock.ts";
import { RCV_SHUTDOWN, SOCK_DONE, sockError, sockFlag } from "../core/sock.ts";
import { seqAdd, seqSub } from "./seq.ts";
import { sendSizeGoal, tcpCleanupRbuf, tcpEatRecvSkb, tcpPush, tcpSendMss } from "./tcp.ts";
import { tcpRcvSpaceAdjust } from "./tcp_input.ts";
import type { TcpSock } from "./tcp_sock.ts";
import { tcpSkbFlags, tcpSkbSeq } from "./tcp_sock.ts";

/** How many bytes skb_splice_bits has still to pass over, and how many to take. */
let spliceOffset = 0;
let spliceLeft = 0;
/** The pipe's head when the call began: what is before it belongs to other calls. */
let spliceHead = 0;

/** __splice_segment: a piece of `plen` bytes at `poff` of a buffer. False when the pipe is full. */
/* notrace */
function spliceSegment(pipe: PipeInodeInfo, page: number, poff: number, plen: number): boolean {
  if (spliceOffset >= plen) {
    spliceOffset -= plen;
    return true;
  }
  const at = poff + spliceOffset;
  const n = Math.min(plen - spliceOffset, spliceLeft);
  spliceOffset = 0;
  if (n === 0) return true;
  // Bytes that follow the last buffer's in the same page make it longer (spd_can_coalesce).
  const last = pipe.head === spliceHead ? null : pipeBuf(pipe, pipe.head - 1);
  if (last !== null && last.page === page && last.offset + last.len === at) last.len += n;
  else {
    if (pipeFull(pipe)) return false;
    getPage(page);
    pipePush(pipe, page, at, n);
  }
  spliceLeft -= n;
  return true;
}

/** __skb_splice_bits. The linear part is a piece of a buffer like any other here: received bytes are never written again. */
function __skbSpliceBits(skb: number, pipe: PipeInodeInfo): boolean {
  const head = u32[(skb + SKB_HEAD) >>> 2] as number;
  if (!spliceSegment(pipe, head, (u32[(skb + SKB_DATA) >>> 2] as number) - head, skbHeadlen(skb))) return false;
  const nr = skbNrFrags(skb);
  for (let i = 0; i < nr && spliceLeft > 0; i++) {
    if (!spliceSegment(pipe, skbFragPage(skb, i), skbFragOffset(skb, i), skbFragSize(skb, i))) return false;
  }
  for (let list = skbFragList(skb); list !== 0 && spliceLeft > 0; list = skbNext(list)) {
    if (!__skbSpliceBits(list, pipe)) return false;
  }
  return true;
}

/** skb_splice_bits: up to `len` bytes of the skb from `offset` on into the pipe, by reference. How many, -EAGAIN or -EPIPE. */
export function skbSpliceBits(skb: number, offset: number, pipe: PipeInodeInfo, len: number): number {
  if (pipe.readers === 0) return -EPIPE;
  spliceOffset = offset;
  spliceLeft = len;
  spliceHead = pipe.head;
  __skbSpliceBits(skb, pipe);
  const n = len - spliceLeft;
  return n > 0 ? n : -EAGAIN;
}

/** tcp_recv_skb: the skb with the byte `seq`, or the FIN there; what stands before it has been read and goes. 0 = none. */
function tcpRecvSkb(sk: TcpSock, at: TcpSock["copiedSeq"]): number {
  for (let skb = skbPeek(sk.skReceiveQueue); skb !== 0; skb = skbPeek(sk.skReceiveQueue)) {
    if (seqSub(at, tcpSkbSeq(skb)) < skbLen(skb) || (tcpSkbFlags(skb) & TCPHDR_FIN) !== 0) return skb;
    tcpEatRecvSkb(sk, skb);
  }
  return 0;
}

/** tcp_read_sock with tcp_splice_data_recv as its actor. Bytes, or a negative errno. */
function __tcpSpliceRead(sk: TcpSock, pipe: PipeInodeInfo, count: number): number {
  if (sk.skcState === TCP_LISTEN) return -ENOTCONN;
  let at = sk.copiedSeq;
  let copied = 0;
  for (let skb = tcpRecvSkb(sk, at); skb !== 0; skb = tcpRecvSkb(sk, at)) {
    const offset = seqSub(at, tcpSkbSeq(skb));
    if (offset < skbLen(skb)) {
      let len = skbLen(skb) - offset;
      // Urgent data ends the read.
      if (sk.urgData !== 0) {
        const urgOffset = seqSub(sk.urgSeq, at) >>> 0;
        if (urgOffset < len) len = urgOffset;
        if (len === 0) break;
      }
      const used = skbSpliceBits(skb, offset, pipe, Math.min(count, len));
      if (used <= 0) {
        if (copied === 0) copied = used;
        break;
      }
      at = seqAdd(at, used);
      copied += used;
      count -= used;
      if (offset + used < skbLen(skb)) {
        if (count === 0) break;
        continue;
      }
    }
    const fin = (tcpSkbFlags(skb) & TCPHDR_FIN) !== 0;
    tcpEatRecvSkb(sk, skb);
    if (fin) {
      at = seqAdd(at, 1);
      break;
    }
    if (count === 0) break;
  }
  sk.copiedSeq = at;
  tcpRcvSpaceAdjust(sk);
  if (copied > 0) {
    tcpRecvSkb(sk, at);
    tcpCleanupRbuf(sk, copied);
  }
  return copied;
}

/** tcp_splice_eof: sendfile(2) has no more, though it has said so: what waits for it leaves. */
export function tcpSpliceEof(sock: Socket): void {
  const sk = sock.sk as Sock as TcpSock;
  if (skbPeekTail(sk.skWriteQueue) === 0) return;
  const mssNow = tcpSendMss(sk, 0);
  tcpPush(sk, 0, mssNow, sk.nonagle, sendSizeGoal());
}

/**
 * tcp_splice_read: up to `len` received bytes into the pipe. 0 at the end of the stream (and where only urgent data stands, for a
 * caller that would wait); -EAGAIN when nothing is there.
 */
export function tcpSpliceRead(sock: Socket, pipe: PipeInodeInfo, len: number, _flags: number): number {
  const sk = sock.sk as Sock as TcpSock;
  const ret = __tcpSpliceRead(sk, pipe, len);
  if (ret !== 0) return ret;
  if (sockFlag(sk, SOCK_DONE)) return 0;
  if (sk.skErr !== 0) return sockError(sk);
  if ((sk.skShutdown & RCV_SHUTDOWN) !== 0) return 0;
  if (sk.skcState === TCP_CLOSE) return -ENOTCONN;
  if (!sock.nonblock && skbPeek(sk.skReceiveQueue) !== 0) return 0;
  return -EAGAIN;
}
