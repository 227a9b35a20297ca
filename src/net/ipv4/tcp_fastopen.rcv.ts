/** TCP Fast Open (RFC 7413), receiving: data in a SYN or SYN-ACK, and the requests of children that were made early. */

import { skbLen, skbTruesize } from "../../mm/skb.ts";
import { TCPHDR_FIN, TCPHDR_SYN } from "../../uapi/tcp.ts";
import { __skbPull, skbClone, skbDstDrop, skbQueueTail } from "../core/skbuff.ts";
import { skbSetOwnerR, skForcedMemSchedule } from "../core/sock.ts";
import type { RequestSock } from "./inet_sock.ts";
import { seqAdd } from "./seq.ts";
import { tcpHdrlen, tcpSegsIn } from "./tcp_h.ts";
import { tcpFin } from "./tcp_input.rcv.ts";
import type { TcpSock } from "./tcp_sock.ts";
import { tcpSkbEndSeq, tcpSkbFlags, tcpSkbSeq, tcpSkbSetFlags, tcpSkbSetSeq } from "./tcp_sock.ts";

/** tcp_fastopen_add_skb: queues a copy of what a SYN or SYN-ACK carries besides its SYN. The skb stays the caller's. */
export function tcpFastopenAddSkb(sk: TcpSock, skb0: number): void {
  if (tcpSkbEndSeq(skb0) === sk.rcvNxt) return;
  const skb = skbClone(skb0);
  if (skb === 0) return;
  skbDstDrop(skb);
  // tcp_create_openreq_child has counted the segment already.
  sk.segsIn = 0;
  tcpSegsIn(sk, skb);
  __skbPull(skb, tcpHdrlen(skb));
  skForcedMemSchedule(sk, skbTruesize(skb));
  skbSetOwnerR(skb, sk);
  tcpSkbSetSeq(skb, seqAdd(tcpSkbSeq(skb), 1));
  tcpSkbSetFlags(skb, tcpSkbFlags(skb) & ~TCPHDR_SYN);
  sk.rcvNxt = tcpSkbEndSeq(skb);
  skbQueueTail(sk.skReceiveQueue, skb);
  sk.synDataAcked = true;
  sk.bytesReceived = skbLen(skb);
  if ((tcpSkbFlags(skb) & TCPHDR_FIN) !== 0) tcpFin(sk);
}

/** reqsk_fastopen_remove: the handshake of a Fast Open child is over, or was reset. */
export function reqskFastopenRemove(sk: TcpSock, req: RequestSock, _reset: boolean): void {
  sk.fastopenRsk = null;
  req.rskListener.icskAcceptQueue.fastopenqQlen--;
  req.tfoListener = false;
}
