/**
 * Lent buffers: the caller fills the pages that will be sent, and reads received bytes where they lie, instead of having
 * them copied (`sysReserve`, `sysCommit`, `sysPeek`, `sysConsume` of net/socket.ts). The kernel has no such calls; nearest
 * to them are vmsplice and TCP_ZEROCOPY_RECEIVE.
 */

import {
  FRAG_LEN,
  FRAG_OFFSET,
  FRAG_PAGE,
  SHINFO_FRAG_LIST,
  SKB_DATA,
  SKB_END,
  SKB_LEN,
  SKB_NEXT,
} from "../../../assembly/layout.ts";
import { u32 } from "../../mm/mem.ts";
import { EAGAIN, ENOTCONN, EPIPE } from "../../uapi/errno.ts";
import { TCP_CLOSE, TCP_LISTEN, TCPHDR_FIN } from "../../uapi/tcp.ts";
import { skbFrag, skbHeadlen, skbNext, skbNrFrags, skbPeek } from "../core/skbuff.ts";
import {
  PageFrag,
  RCV_SHUTDOWN,
  SEND_SHUTDOWN,
  SOCK_DONE,
  SOCK_URGINLINE,
  type Socket,
  skbPageFragRefill,
  sockError,
  sockFlag,
} from "../core/sock.ts";
import { skStreamError, skStreamMemoryFree } from "../core/stream.ts";
import { seqSub } from "./seq.ts";
import { recvQueueSkip, streamConnected } from "./tcp.ts";
import { type TcpSock, tcpSkbFlags, tcpSkbSeq } from "./tcp_sock.ts";

/** The most that one reservation gives: one page. */
const LEND_MAX = 32768;

/** proto_ops->reserve of TCP: what tcp_sendmsg would answer, and room for up to `n` bytes. */
export function tcpReserve(sock: Socket, n: number): number {
  const sk = sock.sk as TcpSock;
  const err = streamConnected(sk);
  if (err !== 0) return err;
  if (sk.skErr !== 0 || (sk.skShutdown & SEND_SHUTDOWN) !== 0) return skStreamError(sk, 0, -EPIPE);
  if (!skStreamMemoryFree(sk)) {
    sk.skNoSpace = true;
    return -EAGAIN;
  }
  sk.lentFrag ??= new PageFrag();
  const want = n < LEND_MAX ? n : LEND_MAX;
  sk.lentLen = 0;
  if (!skbPageFragRefill(want, sk.lentFrag)) return -EAGAIN;
  sk.lentLen = want;
  return want;
}

/** proto_ops->peek of TCP: the piece of memory that the next unread bytes stand in; what tcp_recvmsg would answer, if none. */
export function tcpPeek(sock: Socket, out: { addr: number }): number {
  const sk = sock.sk as TcpSock;
  if (sk.skcState === TCP_LISTEN) return -ENOTCONN;
  for (let skb = skbPeek(sk.skReceiveQueue); skb !== 0; skb = skbNext(skb)) {
    let offset = recvQueueSkip(skb, seqSub(sk.copiedSeq, tcpSkbSeq(skb)));
    let len = u32[(skb + SKB_LEN) >>> 2] - offset;
    if (len <= 0) {
      if (tcpSkbFlags(skb) & TCPHDR_FIN) return 0;
      continue;
    }
    if (sk.urgData !== 0) {
      const urg = seqSub(sk.urgSeq, sk.copiedSeq);
      if (urg > 0 && urg < len) len = urg;
      else if (urg === 0 && !sockFlag(sk, SOCK_URGINLINE)) {
        // The urgent byte is not part of the stream.
        offset++;
        if (--len === 0) continue;
      }
    }
    const there = pieceAt(skb, offset, out);
    return there < len ? there : len;
  }
  if (sockFlag(sk, SOCK_DONE)) return 0;
  if (sk.skErr !== 0) return sockError(sk);
  if ((sk.skShutdown & RCV_SHUTDOWN) !== 0) return 0;
  return sk.skcState === TCP_CLOSE ? -ENOTCONN : -EAGAIN;
}

/** Where the byte at `offset` of the skb is, and how many lie there in one piece. */
function pieceAt(skb: number, offset: number, out: { addr: number }): number {
  let skip = offset;
  const headlen = skbHeadlen(skb);
  if (skip < headlen) {
    out.addr = u32[(skb + SKB_DATA) >>> 2] + skip;
    return headlen - skip;
  }
  skip -= headlen;
  const nr = skbNrFrags(skb);
  for (let i = 0; i < nr; i++) {
    const frag = skbFrag(skb, i);
    const size = u32[(frag + FRAG_LEN) >>> 2];
    if (skip < size) {
      out.addr = u32[(frag + FRAG_PAGE) >>> 2] + u32[(frag + FRAG_OFFSET) >>> 2] + skip;
      return size - skip;
    }
    skip -= size;
  }
  let list = u32[(u32[(skb + SKB_END) >>> 2] + SHINFO_FRAG_LIST) >>> 2];
  while (skip >= u32[(list + SKB_LEN) >>> 2]) {
    skip -= u32[(list + SKB_LEN) >>> 2];
    list = u32[(list + SKB_NEXT) >>> 2];
  }
  return pieceAt(list, skip, out);
}
